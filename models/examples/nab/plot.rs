//! A series as a picture: its values, the score, alarms and labelled windows, as SVG.
//!
//! In: a series that was scored. Out: one SVG of a fixed size. Of all readings that share a column of pixels the lowest
//! and the highest are drawn, so that nothing that stands out is lost and a file stays below 60 KB.

use std::fmt::Write as _;

/// What is drawn; all lists are of one length.
pub(crate) struct Picture<'a> {
    pub(crate) title: &'a str,
    /// The stamps of the first and the last reading.
    pub(crate) span: [&'a str; 2],
    pub(crate) values: &'a [f64],
    pub(crate) scores: &'a [f32],
    /// The level of an alarm.
    pub(crate) levels: &'a [f32],
    pub(crate) alarms: &'a [bool],
    /// Whether a row lies in a labelled window.
    pub(crate) labelled: Vec<bool>,
}

const WIDTH: usize = 900;
const HEIGHT: usize = 300;
/// Left and right of the plot.
const LEFT: usize = 62;
const RIGHT: usize = 12;
const COLUMNS: usize = WIDTH - LEFT - RIGHT;
/// The panes of the values and of the score: top and height.
const VALUES: (f64, f64) = (34.0, 150.0);
const SCORES: (f64, f64) = (204.0, 70.0);
const LEGEND: &str =
    "blue: value; violet: score; dashed: alarm level; red: alarm; shaded: labelled window";
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#4a5568}.t{font-weight:600;fill:#1a202c}\
.w{fill:#f6ad55;fill-opacity:.3}.v{fill:none;stroke:#2b6cb0}.s{fill:none;stroke:#805ad5}\
.l{fill:none;stroke:#a0aec0;stroke-dasharray:4 3}.f{fill:none;stroke:#e2e8f0}.a{fill:#e53e3e}";

impl Picture<'_> {
    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\
             <title>{}</title><style>{STYLE}</style><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n",
            self.title
        );
        for (top, height) in [VALUES, SCORES] {
            let _ = writeln!(
                out,
                "<rect class=\"f\" x=\"{LEFT}\" y=\"{top}\" width=\"{COLUMNS}\" height=\"{height}\"/>"
            );
        }
        self.windows(&mut out);
        let lows = extreme(self.values.iter().copied(), f64::min);
        let highs = extreme(self.values.iter().copied(), f64::max);
        self.line(&mut out, "v", VALUES, (lows, highs), self.values.iter().copied());
        let top = extreme(self.scores.iter().chain(self.levels).map(|s| f64::from(*s)), f64::max);
        let score = self.scores.iter().map(|score| f64::from(*score));
        self.line(&mut out, "s", SCORES, (0.0, top), score);
        let level = self.levels.iter().map(|level| f64::from(*level));
        self.line(&mut out, "l", SCORES, (0.0, top), level);
        self.alarms(&mut out);
        self.words(&mut out, (lows, highs), top);
        out.push_str("</svg>\n");
        out
    }

    fn column(&self, row: usize) -> usize {
        row * COLUMNS / self.values.len().max(1)
    }

    fn windows(&self, out: &mut String) {
        let mut from = None;
        for row in 0..=self.labelled.len() {
            match (from, self.labelled.get(row).copied().unwrap_or(false)) {
                (None, true) => from = Some(row),
                (Some(first), false) => {
                    let (x, end) = (LEFT + self.column(first), LEFT + self.column(row));
                    let (y, height) = (VALUES.0, SCORES.0 + SCORES.1 - VALUES.0);
                    let width = (end - x).max(2);
                    let _ = writeln!(
                        out,
                        "<rect class=\"w\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
                    );
                    from = None;
                }
                _ => {}
            }
        }
    }

    /// A line through the lowest and the highest of each column.
    fn line(
        &self,
        out: &mut String,
        class: &str,
        (top, height): (f64, f64),
        (low, high): (f64, f64),
        values: impl Iterator<Item = f64>,
    ) {
        let span = if high > low { high - low } else { 1.0 };
        let y = |v: f64| top + height * (1.0 - (v - low) / span);
        let _ = write!(out, "<polyline class=\"{class}\" points=\"");
        let mut values = values.enumerate().peekable();
        while let Some((row, value)) = values.next() {
            let column = self.column(row);
            let (mut least, mut most, mut last) = (value, value, value);
            while let Some((_, value)) = values.next_if(|(row, _)| self.column(*row) == column) {
                (least, most, last) = (least.min(value), most.max(value), value);
            }
            // The one nearer to where the line goes on comes last.
            let pair = if last - least > most - last { [least, most] } else { [most, least] };
            let x = LEFT + column;
            let _ = write!(out, "{x},{:.1} ", y(pair[0]));
            if least < most {
                let _ = write!(out, "{x},{:.1} ", y(pair[1]));
            }
        }
        out.push_str("\"/>\n");
    }

    fn alarms(&self, out: &mut String) {
        for (row, _) in self.alarms.iter().enumerate().filter(|(_, alarm)| **alarm) {
            let (x, y) = (LEFT + self.column(row), SCORES.0 - 12.0);
            let _ = writeln!(out, "<path class=\"a\" d=\"M{x} {}l-5 -9h10z\"/>", y + 10.0);
        }
    }

    fn words(&self, out: &mut String, (low, high): (f64, f64), top: f64) {
        let right = WIDTH - RIGHT;
        let (values_end, scores_end) = (VALUES.0 + VALUES.1, SCORES.0 + SCORES.1);
        let mut word = |x: usize, y: f64, more: &str, text: &str| {
            let _ = writeln!(out, "<text x=\"{x}\" y=\"{y:.0}\"{more}>{text}</text>");
        };
        let end = " text-anchor=\"end\"";
        word(LEFT, 22.0, " class=\"t\"", self.title);
        word(LEFT - 6, VALUES.0 + 10.0, end, &brief(high));
        word(LEFT - 6, values_end, end, &brief(low));
        word(LEFT - 6, SCORES.0 + 10.0, end, &brief(top));
        word(LEFT - 6, scores_end, end, "0");
        word(LEFT, scores_end + 18.0, "", self.span[0]);
        word(LEFT + COLUMNS / 2, scores_end + 18.0, " text-anchor=\"middle\"", LEGEND);
        word(right, scores_end + 18.0, end, self.span[1]);
    }
}

fn extreme(values: impl Iterator<Item = f64>, of: fn(f64, f64) -> f64) -> f64 {
    values.reduce(of).unwrap_or_default()
}

/// A number in a few characters.
fn brief(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.1} M", value / 1e6),
        v if v >= 1e4 => format!("{:.0} k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}
