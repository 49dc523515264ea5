//! What is parsed, and how what is not says so.

use super::*;

/// A tree in brackets, so that precedence shows.
fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Number(value) => value.to_string(),
        Expr::Leaf(n) => format!("#{n}"),
        Expr::Matrix(..) => "matrix".into(),
        Expr::Negate(of) => format!("(-{})", shown(of)),
        Expr::Call(_, arguments) => {
            format!("f({})", arguments.iter().map(shown).collect::<Vec<_>>().join(","))
        }
        Expr::Aggregate { how, param, grouping, of } => {
            let param = param.as_ref().map_or(String::new(), |param| shown(param));
            format!("{how:?}[{param}]{grouping:?}({})", shown(of))
        }
        Expr::Binary { operator, is_bool, sides, .. } => {
            let is_bool = if *is_bool { " bool" } else { "" };
            format!("({} {operator:?}{is_bool} {})", shown(&sides[0]), shown(&sides[1]))
        }
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(shown(&parse(text).unwrap().expr), expected, "{text}");
}

#[test]
fn operators_bind_as_in_prometheus() {
    check("1 + 2 * 3 ^ 2 ^ 2", "(1 Add (2 Multiply (3 Power (2 Power 2))))");
    check("1 - 2 - 3", "((1 Subtract 2) Subtract 3)");
    check("-1 ^ 2", "(-(1 Power 2))");
    check("-1 * 2", "((-1) Multiply 2)");
    check("2 ^ -1", "(2 Power (-1))");
    check("(1 + 2) % 3", "((1 Add 2) Modulo 3)");
    check("a or b and c == d", "(#0 Or (#1 And (#2 Equal #3)))");
    check("1 < BOOL 2", "(1 Less bool 2)");
    check("5m + Inf", "(300 Add inf)");
}

#[test]
fn selectors_have_matchers_ranges_and_offsets() {
    let query = parse("rate(temp{site=\"a\", unit!='',device=~`p.*`,}[1m30s] offset -5m)").unwrap();
    let leaf = &query.leaves[0];
    assert_eq!((leaf.range_us, leaf.fold), (Some(90_000_000), Fold::Rate));
    assert_eq!((leaf.selector.offset_us, leaf.selector.matchers.len()), (-300_000_000, 4));
    check("{site=\"a\"}", "#0");
    check("{\"a.b\"} offset 1h", "#0");
    check("x[300]", "matrix");
    check("sum + by{on=\"x\"}", "(#0 Add #1)");
    check("quantile_over_time(-0.5, x[5m])", "#0");
}

#[test]
fn groups_stand_before_or_after() {
    let expected = "Sum[]Only([\"site\", \"device\"])(#0)";
    check("sum by (site, device) (x)", expected);
    check("SUM(x) by (site, device,)", expected);
    check("topk without (unit) (3, x)", "Topk[3]AllBut([\"unit\"])(#0)");
    check("count(x)", "Count[]Only([])(#0)");
}

#[test]
fn what_does_not_fit_is_told() {
    for (text, expected) in [
        ("", "unexpected the end"),
        ("1 +", "unexpected the end"),
        ("sum(", "unexpected the end"),
        ("a b", "unexpected `b`"),
        ("a{b=c}", "a text in quotes"),
        ("a{b \"c\"}", "one of = != =~ !~"),
        ("a{b=~\"(\"}", "not a regular expression"),
        ("{}", "at least one non-empty matcher"),
        ("{a=~\".*\"}", "at least one non-empty matcher"),
        ("1 < 2", "must use BOOL modifier"),
        ("1 + bool 2", "after a comparison only"),
        ("1 and a", "not scalars"),
        ("1 * on(a) b", "only allowed between instant vectors"),
        ("a[5m] + 1", "only scalar and instant vector"),
        ("rate(a)", "expected type range vector in call to function \"rate\", got instant vector"),
        ("abs(a[5m])", "expected type instant vector"),
        ("sum(1)", "expected type instant vector in aggregation expression, got scalar"),
        ("sum(1, a)", "wrong number of arguments"),
        ("topk(a, a)", "expected type scalar"),
        ("abs()", "expected 1 argument(s)"),
        ("a[0s]", "greater than 0"),
        ("a[x]", "expected a duration"),
        ("a offset x", "expected a duration"),
        ("(a", "expected"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    for (text, named) in [
        ("histogram_quantile(0.9, a)", "`histogram_quantile` is not supported"),
        ("rate(a[5m])[1h:1m]", "subqueries"),
        ("max_over_time(a[1h:5m])", "subqueries"),
        ("sum(a)[5m]", "subqueries"),
        ("a @ 5", "`@`"),
        ("a offset 5m @ end()", "`@`"),
        ("sum(a) offset 5m", "`offset` stands directly after"),
        ("a * on(x) group_left(y) b", "`group_left`"),
        ("\"text\"", "a text"),
        ("quantile_over_time(1 + 1, a[5m])", "a number as it is written"),
        ("label_replace(a, \"b\", \"c\", \"d\", \"e\")", "not supported"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(named), "{text}: {error}");
    }
}

#[test]
fn a_query_is_bounded() {
    let long = vec!["1"; QUERY_NODES_MAX].join("+");
    assert!(parse(&long).unwrap_err().contains("parts"));
    let deep = format!("{}1{}", "(-".repeat(QUERY_NODES_MAX), ")".repeat(QUERY_NODES_MAX));
    assert!(parse(&deep).is_err());
    assert!(parse(&"(".repeat(QUERY_BYTES_MAX)).is_err());
    assert!(parse(&" ".repeat(QUERY_BYTES_MAX + 1)).unwrap_err().contains("bytes"));
    let many = |part: &str, n: usize| parse(&format!("a{{{}}}", vec![part; n].join(",")));
    assert!(many("b=\"c\"", 250).unwrap_err().contains("parts"));
    assert!(many("b=\"c\"", 240).is_ok());
    assert!(many("b=~\"c\"", 32).unwrap_err().contains("parts"));
    assert!(many("b!~\"c\"", 31).is_ok());
    let labels = vec!["b"; 250].join(",");
    assert!(parse(&format!("sum by ({labels}) (a)")).unwrap_err().contains("parts"));
}
