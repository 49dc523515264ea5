//! Parse: tokens to a tree, each node checked for what it may be made of. Pure.
//!
//! In: text in PromQL. Out: a [`Query`]. What can go wrong: what is no PromQL, what does not fit together, and
//! what this subset does not have; each error says where, and names what it does not know.

use weir_models::limit::{QUERY_BYTES_MAX, QUERY_NODES_MAX};

use super::ast::{
    AGGREGATIONS, Aggregation, Expr, FUNCTIONS, Function, Grouping, Kind, Leaf, OPERATORS,
    Operator, POWER, Query, Selector,
};
use super::fold::{FOLDS, Fold};
use super::lex::{Token, place, seconds_us, tokens};
use super::names::{Matcher, NAME, is_label};

/// The query in `text`.
pub(super) fn parse(text: &str) -> Result<Query, String> {
    let mut parser = Parser::of(text)?;
    let expr = parser.binary(0)?;
    parser.end()?;
    Ok(Query { expr, leaves: parser.leaves, nodes: parser.nodes })
}

/// What a pattern counts for beside its matcher: it takes far more memory than any other part.
const PATTERN_NODES: usize = 7;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, usize)>,
    at: usize,
    leaves: Vec<Leaf>,
    nodes: usize,
}

impl<'a> Parser<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(format!("the query has more than {QUERY_BYTES_MAX} bytes"));
        }
        let tokens = tokens(text).map_err(|error| format!("parse error: {error}"))?;
        Ok(Self { text, tokens, at: 0, leaves: Vec::new(), nodes: 0 })
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// Takes the next token when it is this sign.
    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(next) if *next == sign);
        self.at += usize::from(found);
        found
    }

    /// Takes the next token when it is this word, in any case.
    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(next) if next.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("expected `{sign}`"))) }
    }

    fn error(&self, what: &str) -> String {
        let at = self.tokens.get(self.at).map_or(self.text.len(), |(_, at)| *at);
        format!("{}: parse error: {what}", place(self.text, at))
    }

    fn unexpected(&self, expected: &str) -> String {
        let found = match self.peek() {
            Token::Number(_) => "a number".to_owned(),
            Token::Duration(_) => "a duration".into(),
            Token::Text(_) => "a text".into(),
            Token::Word(word) => format!("`{word}`"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end of the query".into(),
        };
        self.error(&format!("unexpected {found}, {expected}"))
    }

    fn end(&self) -> Result<(), String> {
        match self.peek() {
            Token::End => Ok(()),
            Token::Sign("[") => {
                Err(self.error("subqueries are not supported: only a selector has a range"))
            }
            Token::Sign("@") => Err(self.error("the modifier `@` is not supported")),
            Token::Word(word) if word.eq_ignore_ascii_case("offset") => {
                Err(self.error("`offset` stands directly after a selector"))
            }
            _ => Err(self.unexpected("expected an operator or the end")),
        }
    }

    /// Depth and size are bounded by one number: whoever walks the tree needs no bound of its own.
    fn node(&mut self) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > QUERY_NODES_MAX {
            return Err(self.error(&format!("the query has more than {QUERY_NODES_MAX} parts")));
        }
        Ok(())
    }

    fn operator(&self) -> Option<(Operator, u8)> {
        let text = match self.peek() {
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Word(word) => word.to_ascii_lowercase(),
            _ => return None,
        };
        let found = OPERATORS.iter().find(|(name, ..)| *name == text);
        found.map(|&(_, operator, level)| (operator, level))
    }

    /// An expression of operators that bind at least as tightly as `least`.
    fn binary(&mut self, least: u8) -> Result<Expr, String> {
        let mut left = self.unary()?;
        while let Some((operator, level)) = self.operator().filter(|(_, level)| *level >= least) {
            self.node()?;
            self.next();
            let is_bool = self.word("bool");
            if is_bool && !operator.is_comparison() {
                return Err(self.error("`bool` stands after a comparison only"));
            }
            let matching = self.matching()?;
            let right = self.binary(if level == POWER { level } else { level + 1 })?;
            left = self.joined(operator, is_bool, matching, [left, right])?;
        }
        Ok(left)
    }

    fn matching(&mut self) -> Result<Option<Grouping>, String> {
        let grouping = if self.word("on") {
            Some(Grouping::Only(self.names()?))
        } else if self.word("ignoring") {
            Some(Grouping::AllBut(self.names()?))
        } else {
            None
        };
        for word in ["group_left", "group_right"] {
            if self.word(word) {
                return Err(
                    self.error(&format!("`{word}` is not supported: rows are joined one to one"))
                );
            }
        }
        Ok(grouping)
    }

    fn joined(
        &self,
        operator: Operator,
        is_bool: bool,
        matching: Option<Grouping>,
        sides: [Expr; 2],
    ) -> Result<Expr, String> {
        let kinds = [sides[0].kind(), sides[1].kind()];
        if kinds.contains(&Kind::Matrix) {
            return Err(
                self.error("binary expression must contain only scalar and instant vector types")
            );
        }
        if operator.is_set() && kinds.contains(&Kind::Scalar) {
            return Err(
                self.error("set operators `and`, `or`, `unless` join instant vectors, not scalars")
            );
        }
        if matching.is_some() && kinds.contains(&Kind::Scalar) {
            return Err(self.error("vector matching only allowed between instant vectors"));
        }
        if operator.is_comparison() && !is_bool && kinds == [Kind::Scalar; 2] {
            return Err(self.error("comparisons between scalars must use BOOL modifier"));
        }
        let matching = matching.unwrap_or(Grouping::AllBut(Vec::new()));
        Ok(Expr::Binary { operator, is_bool, matching, sides: Box::new(sides) })
    }

    fn unary(&mut self) -> Result<Expr, String> {
        self.node()?;
        let minus = self.sign("-");
        if !minus && !self.sign("+") {
            return self.primary();
        }
        let of = self.binary(POWER)?;
        match of.kind() {
            Kind::Matrix => Err(self.error("a sign stands before a scalar or an instant vector")),
            _ if minus => Ok(Expr::Negate(Box::new(of))),
            _ => Ok(of),
        }
    }

    fn primary(&mut self) -> Result<Expr, String> {
        match self.peek().clone() {
            Token::Number(value) => {
                self.next();
                Ok(Expr::Number(value))
            }
            // As in Prometheus 3: a duration is a number of seconds.
            Token::Duration(us) => {
                self.next();
                Ok(Expr::Number(us as f64 / 1e6))
            }
            Token::Sign("(") => {
                self.next();
                let inner = self.binary(0)?;
                if !matches!(self.peek(), Token::Sign(")")) {
                    self.end()?;
                }
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("{") => self.selector(None),
            Token::Word(word) => {
                self.next();
                self.named(&word)
            }
            Token::Text(_) => Err(self.error("a text is not supported as an expression")),
            _ => Err(self.unexpected("expected an expression")),
        }
    }

    /// What begins with a word: an aggregation, a call, a number, or a selector.
    fn named(&mut self, word: &str) -> Result<Expr, String> {
        let low = word.to_ascii_lowercase();
        let opens = matches!(self.peek(), Token::Sign("("));
        let groups = matches!(self.peek(), Token::Word(word) if ["by", "without"].contains(&&*word.to_ascii_lowercase()));
        let aggregation = AGGREGATIONS.iter().find(|(name, _)| *name == low);
        if let Some(&(_, how)) = aggregation.filter(|_| opens || groups) {
            return self.aggregate(how);
        }
        if opens {
            return self.call(word);
        }
        match low.as_str() {
            "inf" => Ok(Expr::Number(f64::INFINITY)),
            "nan" => Ok(Expr::Number(f64::NAN)),
            _ => self.selector(Some(word)),
        }
    }

    fn selector(&mut self, name: Option<&str>) -> Result<Expr, String> {
        let mut matchers = Vec::new();
        if let Some(name) = name {
            matchers.push(Matcher::new(NAME, "=", name.to_owned())?);
        }
        if self.sign("{") {
            while !self.sign("}") {
                matchers.push(self.matcher()?);
                if !self.sign(",") && !matches!(self.peek(), Token::Sign("}")) {
                    return Err(self.unexpected("expected `,` or `}`"));
                }
            }
        }
        if matchers.iter().all(|matcher| matcher.takes("")) {
            return Err(self.error("vector selector must contain at least one non-empty matcher"));
        }
        let range_us = self.range()?;
        let offset_us = self.offset()?;
        let selector = Selector { matchers, offset_us };
        Ok(match range_us {
            Some(range_us) => Expr::Matrix(selector, range_us),
            None => self.leaf(Leaf { selector, range_us: None, fold: Fold::Last }),
        })
    }

    fn leaf(&mut self, leaf: Leaf) -> Expr {
        self.leaves.push(leaf);
        Expr::Leaf(self.leaves.len() - 1)
    }

    fn matcher(&mut self) -> Result<Matcher, String> {
        self.node()?;
        let label = match self.next() {
            Token::Word(label) if is_label(&label) => label,
            // `{"name"}` is the name of the metric itself.
            Token::Text(name) if matches!(self.peek(), Token::Sign("," | "}")) => {
                return Matcher::new(NAME, "=", name);
            }
            Token::Text(label) => label,
            _ => {
                self.at -= 1;
                return Err(self.unexpected("expected the name of a label"));
            }
        };
        let signs = ["=", "!=", "=~", "!~"];
        let Some(sign) = signs.into_iter().find(|sign| self.sign(sign)) else {
            return Err(self.unexpected("expected one of = != =~ !~"));
        };
        if sign.ends_with('~') {
            self.nodes += PATTERN_NODES - 1;
            self.node()?;
        }
        match self.next() {
            Token::Text(text) => {
                Matcher::new(&label, sign, text).map_err(|error| self.error(&error))
            }
            _ => {
                self.at -= 1;
                Err(self.unexpected("expected a text in quotes"))
            }
        }
    }

    fn duration(&mut self) -> Result<i64, String> {
        let found = match self.peek() {
            Token::Duration(us) => Some(*us),
            Token::Number(seconds) => seconds_us(*seconds),
            _ => None,
        };
        let us = found.ok_or_else(|| self.unexpected("expected a duration as 5m"))?;
        self.next();
        Ok(us)
    }

    fn range(&mut self) -> Result<Option<i64>, String> {
        if !self.sign("[") {
            return Ok(None);
        }
        let range_us = self.duration()?;
        if range_us <= 0 {
            return Err(self.error("duration must be greater than 0"));
        }
        // A colon may stand in a name, so it is one here.
        if matches!(self.peek(), Token::Word(word) if word.starts_with(':')) {
            return Err(self.error("subqueries are not supported: only a selector has a range"));
        }
        self.expect("]")?;
        Ok(Some(range_us))
    }

    fn offset(&mut self) -> Result<i64, String> {
        if matches!(self.peek(), Token::Sign("@")) {
            return Err(self.error("the modifier `@` is not supported"));
        }
        if !self.word("offset") {
            return Ok(0);
        }
        let minus = self.sign("-");
        let us = self.duration()?;
        if matches!(self.peek(), Token::Sign("@")) {
            return Err(self.error("the modifier `@` is not supported"));
        }
        Ok(if minus { -us } else { us })
    }

    fn names(&mut self) -> Result<Vec<String>, String> {
        self.expect("(")?;
        let mut names = Vec::new();
        while !self.sign(")") {
            self.node()?;
            match self.next() {
                Token::Word(name) | Token::Text(name) if is_label(&name) => names.push(name),
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected("expected the name of a label"));
                }
            }
            if !self.sign(",") && !matches!(self.peek(), Token::Sign(")")) {
                return Err(self.unexpected("expected `,` or `)`"));
            }
        }
        Ok(names)
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, String> {
        if self.word("by") {
            Ok(Some(Grouping::Only(self.names()?)))
        } else if self.word("without") {
            Ok(Some(Grouping::AllBut(self.names()?)))
        } else {
            Ok(None)
        }
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, String> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        while !self.sign(")") {
            arguments.push(self.binary(0)?);
            if !self.sign(",") && !matches!(self.peek(), Token::Sign(")")) {
                self.end()?;
                return Err(self.unexpected("expected `,` or `)`"));
            }
        }
        Ok(arguments)
    }

    fn aggregate(&mut self, how: Aggregation) -> Result<Expr, String> {
        let before = self.grouping()?;
        let mut arguments = self.arguments()?;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or(Grouping::Only(Vec::new())),
        };
        let wanted = if how.has_param() { 2 } else { 1 };
        if arguments.len() != wanted {
            let n = arguments.len();
            return Err(self.error(&format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {n}")));
        }
        let of = arguments.pop().map(Box::new);
        let param = arguments.pop().map(Box::new);
        if let Some(param) = &param {
            self.check(param, Kind::Scalar, "aggregation parameter")?;
        }
        match of {
            Some(of) => {
                self.check(&of, Kind::Vector, "aggregation expression")?;
                Ok(Expr::Aggregate { how, param, grouping, of })
            }
            None => Err(self.error("no argument for the aggregation")),
        }
    }

    fn check(&self, of: &Expr, wanted: Kind, place: &str) -> Result<(), String> {
        let kind = of.kind();
        if kind == wanted {
            return Ok(());
        }
        Err(self.error(&format!("expected type {} in {place}, got {}", wanted.name(), kind.name())))
    }

    fn call(&mut self, name: &str) -> Result<Expr, String> {
        if let Some(&(_, fold)) = FOLDS.iter().find(|(known, _)| *known == name) {
            return self.fold(name, fold);
        }
        let Some(&(_, function, least, most)) = FUNCTIONS.iter().find(|(known, ..)| *known == name)
        else {
            let known =
                FOLDS.iter().map(|(name, _)| *name).chain(FUNCTIONS.iter().map(|(name, ..)| *name));
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(
                self.error(&format!("the function `{name}` is not supported; there are {known}"))
            );
        };
        let arguments = self.arguments()?;
        if !(least..=most).contains(&arguments.len()) {
            let n = arguments.len();
            return Err(
                self.error(&format!("expected {most} argument(s) in call to \"{name}\", got {n}"))
            );
        }
        for (i, argument) in arguments.iter().enumerate() {
            let wanted = if i > 0 || matches!(function, Function::Vector) {
                Kind::Scalar
            } else {
                Kind::Vector
            };
            self.check(argument, wanted, &format!("call to function \"{name}\""))?;
        }
        Ok(Expr::Call(function, arguments))
    }

    /// A function of a range becomes a leaf: only the store knows the values.
    fn fold(&mut self, name: &str, fold: Fold) -> Result<Expr, String> {
        let mut arguments = self.arguments()?;
        let is_quantile = matches!(fold, Fold::Quantile(_));
        let wanted = 1 + usize::from(is_quantile);
        if arguments.len() != wanted {
            let n = arguments.len();
            return Err(self
                .error(&format!("expected {wanted} argument(s) in call to \"{name}\", got {n}")));
        }
        let fold = match arguments.first() {
            Some(Expr::Number(q)) if is_quantile => Fold::Quantile(*q),
            Some(Expr::Negate(of)) if is_quantile => match **of {
                Expr::Number(q) => Fold::Quantile(-q),
                _ => return Err(self.error("the quantile has to be a number as it is written")),
            },
            _ if is_quantile => {
                return Err(self.error("the quantile has to be a number as it is written"));
            }
            _ => fold,
        };
        match arguments.pop() {
            Some(Expr::Matrix(selector, range_us)) => {
                Ok(self.leaf(Leaf { selector, range_us: Some(range_us), fold }))
            }
            Some(other) => {
                self.check(&other, Kind::Matrix, &format!("call to function \"{name}\""))?;
                Err(self.error("the range has to be one of a selector"))
            }
            None => Err(self.error("no argument")),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "parse_tests.rs"]
mod tests;
