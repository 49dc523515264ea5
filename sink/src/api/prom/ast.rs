//! Ast: a query as a tree, and the series it has to be told about.
//!
//! What has to be read from the store is a [`Leaf`] each; all above them is arithmetic on their answers.

use super::fold::Fold;
use super::names::Matcher;

/// Which series, and how far back from the time of evaluation.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    /// All of them hold.
    pub(super) matchers: Vec<Matcher>,
    /// How far back the times of evaluation are moved, microseconds.
    pub(super) offset_us: i64,
}

/// One answer of the store: for each series and each time of evaluation one number made of the values in a
/// window that ends there.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Which series.
    pub(super) selector: Selector,
    /// Length of the window; none stands for the look-back.
    pub(super) range_us: Option<i64>,
    /// What is made of the values.
    pub(super) fold: Fold,
}

/// A query.
#[derive(Debug)]
pub(super) struct Query {
    /// What is computed.
    pub(super) expr: Expr,
    /// What it is computed of.
    pub(super) leaves: Vec<Leaf>,
    /// How many parts it has; see [`QUERY_NODES_MAX`](weir_models::limit::QUERY_NODES_MAX).
    pub(super) nodes: usize,
}

/// A node of the tree.
#[derive(Debug)]
pub(super) enum Expr {
    /// A number.
    Number(f64),
    /// The rows of this leaf.
    Leaf(usize),
    /// The values of a range as they are: only as the whole of an instant query.
    Matrix(Selector, i64),
    /// `-x`
    Negate(Box<Expr>),
    /// A function of scalars and instant vectors.
    Call(Function, Vec<Expr>),
    /// One row of many.
    Aggregate {
        /// What is made of them.
        how: Aggregation,
        /// `k` of `topk`, the quantile of `quantile`.
        param: Option<Box<Expr>>,
        /// Which rows belong together.
        grouping: Grouping,
        /// The rows.
        of: Box<Expr>,
    },
    /// `a + b`
    Binary {
        /// The operator.
        operator: Operator,
        /// Whether a comparison gives 0 and 1 instead of leaving rows out.
        is_bool: bool,
        /// Which labels have to agree.
        matching: Grouping,
        /// Left and right side.
        sides: Box<[Expr; 2]>,
    },
}

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One number for each time.
    Scalar,
    /// Rows with labels, at most one number each for each time.
    Vector,
    /// Rows with all values of a range.
    Matrix,
}

impl Kind {
    /// As Prometheus says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

impl Expr {
    /// What it gives.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Number(_) => Kind::Scalar,
            Self::Leaf(_) | Self::Aggregate { .. } => Kind::Vector,
            Self::Matrix(..) => Kind::Matrix,
            Self::Negate(of) => of.kind(),
            Self::Call(Function::Time | Function::Scalar, _) => Kind::Scalar,
            Self::Call(..) => Kind::Vector,
            Self::Binary { sides, .. } => match (sides[0].kind(), sides[1].kind()) {
                (Kind::Scalar, Kind::Scalar) => Kind::Scalar,
                _ => Kind::Vector,
            },
        }
    }
}

/// Labels that count, or labels that do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// `by (…)`, `on (…)`
    Only(Vec<String>),
    /// `without (…)`, `ignoring (…)`
    AllBut(Vec<String>),
}

/// A function of scalars and instant vectors.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    /// A number of a number, for each value.
    Math(fn(f64) -> f64),
    /// `clamp(v, min, max)`
    Clamp,
    /// `clamp_min(v, min)`
    ClampMin,
    /// `clamp_max(v, max)`
    ClampMax,
    /// `round(v, to)`
    Round,
    /// `time()`
    Time,
    /// `vector(s)`
    Vector,
    /// `scalar(v)`
    Scalar,
    /// `absent(v)`
    Absent,
    /// `sort(v)`
    Sort,
    /// `sort_desc(v)`
    SortDesc,
}

/// The functions: name, least and most number of arguments.
pub(super) const FUNCTIONS: [(&str, Function, usize, usize); 23] = [
    ("abs", Function::Math(f64::abs), 1, 1),
    ("ceil", Function::Math(f64::ceil), 1, 1),
    ("floor", Function::Math(f64::floor), 1, 1),
    ("exp", Function::Math(f64::exp), 1, 1),
    ("ln", Function::Math(f64::ln), 1, 1),
    ("log2", Function::Math(f64::log2), 1, 1),
    ("log10", Function::Math(f64::log10), 1, 1),
    ("sqrt", Function::Math(f64::sqrt), 1, 1),
    ("sgn", Function::Math(sign), 1, 1),
    ("sin", Function::Math(f64::sin), 1, 1),
    ("cos", Function::Math(f64::cos), 1, 1),
    ("deg", Function::Math(f64::to_degrees), 1, 1),
    ("rad", Function::Math(f64::to_radians), 1, 1),
    ("clamp", Function::Clamp, 3, 3),
    ("clamp_min", Function::ClampMin, 2, 2),
    ("clamp_max", Function::ClampMax, 2, 2),
    ("round", Function::Round, 1, 2),
    ("time", Function::Time, 0, 0),
    ("vector", Function::Vector, 1, 1),
    ("scalar", Function::Scalar, 1, 1),
    ("absent", Function::Absent, 1, 1),
    ("sort", Function::Sort, 1, 1),
    ("sort_desc", Function::SortDesc, 1, 1),
];

fn sign(value: f64) -> f64 {
    if value == 0. || value.is_nan() { value } else { value.signum() }
}

/// What an aggregation makes of the rows of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregation {
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// Their number.
    Count,
    /// 1.
    Group,
    /// Standard deviation.
    Stddev,
    /// Variance.
    Stdvar,
    /// A quantile.
    Quantile,
    /// The `k` greatest rows.
    Topk,
    /// The `k` least rows.
    Bottomk,
}

/// The aggregations by name.
pub(super) const AGGREGATIONS: [(&str, Aggregation); 11] = [
    ("sum", Aggregation::Sum),
    ("avg", Aggregation::Avg),
    ("min", Aggregation::Min),
    ("max", Aggregation::Max),
    ("count", Aggregation::Count),
    ("group", Aggregation::Group),
    ("stddev", Aggregation::Stddev),
    ("stdvar", Aggregation::Stdvar),
    ("quantile", Aggregation::Quantile),
    ("topk", Aggregation::Topk),
    ("bottomk", Aggregation::Bottomk),
];

impl Aggregation {
    /// Whether a number comes before the rows.
    pub(super) fn has_param(self) -> bool {
        matches!(self, Self::Quantile | Self::Topk | Self::Bottomk)
    }
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `^`
    Power,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `<=`
    LessOrEqual,
    /// `>=`
    GreaterOrEqual,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

/// The operators: sign or word, how tightly they bind.
pub(super) const OPERATORS: [(&str, Operator, u8); 15] = [
    ("or", Operator::Or, 1),
    ("and", Operator::And, 2),
    ("unless", Operator::Unless, 2),
    ("==", Operator::Equal, 3),
    ("!=", Operator::NotEqual, 3),
    ("<", Operator::Less, 3),
    (">", Operator::Greater, 3),
    ("<=", Operator::LessOrEqual, 3),
    (">=", Operator::GreaterOrEqual, 3),
    ("+", Operator::Add, 4),
    ("-", Operator::Subtract, 4),
    ("*", Operator::Multiply, 5),
    ("/", Operator::Divide, 5),
    ("%", Operator::Modulo, 5),
    ("^", Operator::Power, POWER),
];

/// How tightly `^` binds, the only operator that goes from right to left.
pub(super) const POWER: u8 = 6;

impl Operator {
    /// Whether it compares.
    pub(super) fn is_comparison(self) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | Greater | LessOrEqual | GreaterOrEqual)
    }

    /// Whether it joins sets of rows.
    pub(super) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// The number of two numbers; of a comparison 1 when it holds, else 0.
    pub(super) fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Modulo => a % b,
            Self::Power => a.powf(b),
            Self::Equal => f64::from(a == b),
            Self::NotEqual => f64::from(a != b),
            Self::Less => f64::from(a < b),
            Self::Greater => f64::from(a > b),
            Self::LessOrEqual => f64::from(a <= b),
            Self::GreaterOrEqual => f64::from(a >= b),
            // Sets have no numbers.
            Self::And | Self::Or | Self::Unless => f64::NAN,
        }
    }
}
