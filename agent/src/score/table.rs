//! `weir-agent score`: what the agent makes of a table of readings, without starting anything.
//!
//! In: CSV with a head line; a column of stamps and one or more columns of values, which are the metrics of one device.
//! Several columns are looked at together, too. Out: for each row, in order, one JSON object; or for a person the alarms and a summary. Promises: the code that
//! scores is that of the running agent, with the same settings; a score depends on no later row; one answer a row,
//! whatever the row holds: what cannot be scored is answered with the reason (`refused`) and score 0. Bounded: a line
//! longer than 1 MiB is refused, and rows are read one at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use weir_models::detect::Verdict;
use weir_models::event::Value;

use super::readings::{GROUP_LEVEL, ReadingStage};
use super::{Draft, ScoreConfig};
use crate::config::Config;
use crate::parse::{Zone, table};

/// Longest row, in bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Names by which the column of stamps is known; without one of them it is the first column.
const STAMP_NAMES: [&str; 6] = ["timestamp", "time", "ts", "datetime", "date", "ts_us"];

/// The options of `score`.
#[derive(Debug, Args)]
pub struct Options {
    /// The table; `-` for standard input.
    file: String,
    /// Writes one JSON object a row.
    #[arg(long)]
    json: bool,
    /// Columns to score, separated by commas; default: all but the stamps.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    values: Vec<String>,
    /// The name of the device, for rules of the configuration; default: the name of the file.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Takes `[score]` from this configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<String>,
}

/// Why a table was not scored.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("cannot read `{file}`: {error}: name a file that exists, or `-` for standard input")]
    Read {
        /// The file.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// Its head line is not one.
    #[error("line 1: {0}")]
    Head(String),
    /// The scores cannot be written.
    #[error("cannot write the scores: {0}")]
    Write(#[from] io::Error),
}

/// One line of output with `--json`.
#[derive(Debug, Default, Serialize)]
struct Answer<'a> {
    /// As it is given.
    timestamp: Cow<'a, str>,
    #[serde(flatten)]
    overall: Scores,
    /// With several columns: each of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'a BTreeMap<String, Scores>>,
}

/// What is said of a value, or of all of a row.
#[derive(Clone, Debug, Default, Serialize)]
struct Scores {
    /// The height of an excursion, said once, when it is over its top; 0 elsewhere. Of several columns together: how
    /// unusual they are, at each time.
    score: f32,
    alarm: bool,
    /// The score as it is stored with the reading: never suppressed.
    continuous: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<&'static str>,
    /// With several columns: the one that the scores of the row are from.
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<String>,
    /// Why it was not scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// Of a row: the rules that it breaks, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<String>,
}

impl Scores {
    fn of(verdict: &Verdict) -> Self {
        if let Some(refusal) = verdict.refused {
            return Self::refused(format!("the value cannot be judged: {refusal}"));
        }
        Self {
            score: verdict.peak,
            alarm: verdict.alarm,
            continuous: verdict.score,
            threshold: Some(verdict.threshold),
            expected: Some(verdict.expected),
            low: Some(verdict.low),
            high: Some(verdict.high),
            member: Some(verdict.member),
            ..Self::default()
        }
    }

    fn refused(reason: String) -> Self {
        Self { refused: Some(reason), ..Self::default() }
    }
}

/// Where the columns are.
#[derive(Debug)]
struct Head {
    separator: char,
    columns: usize,
    stamp: usize,
    values: Vec<(usize, String)>,
}

/// Scores row after row.
#[derive(Debug)]
struct Table {
    head: Head,
    group_level: f32,
    first_us: Option<i64>,
    now_s: u32,
    stage: ReadingStage,
    zone: Zone,
    site: String,
    device: String,
    values: BTreeMap<String, Value>,
    scores: BTreeMap<String, Scores>,
}

/// What a person is told at the end.
#[derive(Debug, Default)]
struct Summary {
    rows: u64,
    refused: u64,
    alarms: u64,
}

/// Scores the table that the options name.
///
/// # Errors
/// When the table cannot be read, has no usable head line, or the scores cannot be written.
pub fn run(
    options: &Options,
    config: Option<&Config>,
    output: &mut impl Write,
) -> Result<(), Fault> {
    let failed = |error| Fault::Read { file: options.file.clone(), error };
    let mut input: Box<dyn BufRead> = match options.file.as_str() {
        "-" => Box::new(io::stdin().lock()),
        file => Box::new(BufReader::new(File::open(file).map_err(failed)?)),
    };
    let mut line = Vec::new();
    read_line(&mut input, &mut line).map_err(failed)?;
    let head = Head::read(&String::from_utf8_lossy(&line), &options.values)?;
    let mut table = Table::new(head, options, config);
    let mut output = BufWriter::new(output);
    let mut summary = Summary::default();
    for number in 2_u64.. {
        if !read_line(&mut input, &mut line).map_err(failed)? {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            continue;
        }
        let answer = table.score(&text, number);
        summary.add(&answer);
        if options.json {
            serde_json::to_writer(&mut output, &answer).map_err(io::Error::from)?;
            writeln!(output)?;
        } else {
            tell(&mut output, number, &answer)?;
        }
    }
    if !options.json {
        let Summary { rows, refused, alarms } = summary;
        let columns = table.head.values.len();
        writeln!(
            output,
            "{rows} rows of {columns} metric(s): {alarms} alarm(s), {refused} row(s) not or partly scored"
        )?;
    }
    Ok(output.flush()?)
}

impl Head {
    fn read(line: &str, wanted: &[String]) -> Result<Self, Fault> {
        let line = line.trim_start_matches('\u{feff}').trim_end();
        let separator = table::separator(line);
        let names = table::cells(line, separator);
        if names.len() < 2 {
            return Err(Fault::Head(
                "expected the names of at least two columns, such as `timestamp,value`".into(),
            ));
        }
        if names.iter().all(|name| name.parse::<f64>().is_ok()) {
            return Err(Fault::Head(
                "these are values: the first line must name the columns, such as `timestamp,value`"
                    .into(),
            ));
        }
        let is_stamp =
            |name: &str| STAMP_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known));
        let stamp = names.iter().position(|name| is_stamp(name)).unwrap_or(0);
        for name in wanted {
            if names.iter().position(|known| known == name).is_none_or(|at| at == stamp) {
                let all = names.join("`, `");
                return Err(Fault::Head(format!(
                    "no column of values `{name}`; there are `{all}`"
                )));
            }
        }
        let mut values: Vec<(usize, String)> = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let is_wanted = wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
            if at == stamp || !is_wanted {
                continue;
            }
            if values.iter().any(|(_, known)| known == name) {
                return Err(Fault::Head(format!("the column `{name}` occurs twice: rename one")));
            }
            values.push((at, name.to_string()));
        }
        Ok(Self { separator, columns: names.len(), stamp, values })
    }
}

impl Table {
    fn new(head: Head, options: &Options, config: Option<&Config>) -> Self {
        let stem = Path::new(&options.file).file_stem().map(|stem| stem.to_string_lossy());
        let device = options.device.clone().or_else(|| stem.map(Into::into)).unwrap_or_default();
        let agent: Arc<str> = "score".into();
        let mut score = config.map_or_else(ScoreConfig::default, |config| config.score.clone());
        if score.group_level <= 0.0 {
            score.group_level = GROUP_LEVEL;
        }
        // Every column stays, whatever the configuration allows the gateway.
        score.series_max =
            score.series_max.max(head.values.len().try_into().unwrap_or(score.series_max));
        Self {
            head,
            group_level: score.group_level,
            first_us: None,
            now_s: 0,
            stage: ReadingStage::new(agent, &score, 0),
            zone: Zone::fixed(0).unwrap_or_else(Zone::local),
            site: config.map(|config| config.agent.site.to_string()).unwrap_or_default(),
            device,
            values: BTreeMap::new(),
            scores: BTreeMap::new(),
        }
    }

    /// Scores one row. The answer borrows from the row and from the table.
    fn score<'a>(&'a mut self, line: &'a str, number: u64) -> Answer<'a> {
        let cells = table::cells(line, self.head.separator);
        let stamp = cells.get(self.head.stamp).cloned().unwrap_or_default();
        if cells.len() != self.head.columns {
            let (found, named) = (cells.len(), self.head.columns);
            let reason = format!(
                "line {number}: {found} cells, but the first line names {named} columns: correct the row"
            );
            return Answer { timestamp: stamp, overall: Scores::refused(reason), values: None };
        }
        let Some(ts_us) = table::time_us(&stamp, &self.zone) else {
            let reason = format!(
                "line {number}: `{stamp}` is no stamp: write `2014-04-01 00:05:00`, RFC 3339, or a number since 1970"
            );
            return Answer { timestamp: stamp, overall: Scores::refused(reason), values: None };
        };
        self.values.clear();
        self.scores.clear();
        for (at, name) in &self.head.values {
            let cell = cells.get(*at).map_or("", |cell| cell.as_ref());
            match cell.parse::<f64>() {
                Ok(v) => {
                    self.values.insert(name.clone(), Value { v, ..Value::default() });
                }
                Err(_) => {
                    let reason = format!(
                        "line {number}: `{cell}` in column `{name}` is not a number: leave the row out or correct it"
                    );
                    self.scores.insert(name.clone(), Scores::refused(reason));
                }
            }
        }
        let mut drafts = self.silence(ts_us);
        let scores = &mut self.scores;
        let each = |metric: &str, verdict: &Verdict| {
            scores.insert(metric.to_owned(), Scores::of(verdict));
        };
        let group = self.stage.score_each(
            &self.site,
            &self.device,
            ts_us,
            &mut self.values,
            &mut drafts,
            each,
        );
        for metric in self.values.keys() {
            // Of tier T1.
            if !self.scores.contains_key(metric) {
                self.scores.insert(metric.clone(), Scores::default());
            }
        }
        let mut overall = overall(&self.scores);
        if let Some(group) = group {
            overall = Scores {
                score: group.score,
                continuous: group.score,
                threshold: Some(self.group_level),
                metric: Some(group.metric),
                alarm: overall.alarm,
                refused: overall.refused,
                member: Some("group"),
                ..Scores::default()
            };
        }
        overall.alarm |= drafts.iter().any(Draft::fires);
        overall.rules = drafts.iter().filter_map(Draft::broken).collect();
        let several = self.head.values.len() > 1;
        if !several {
            overall.metric = None;
        }
        Answer { timestamp: stamp, overall, values: several.then_some(&self.scores) }
    }

    /// What was silent up to this row. The stamps are the clock.
    fn silence(&mut self, ts_us: i64) -> Vec<Draft> {
        let mut drafts = Vec::new();
        let first_us = *self.first_us.get_or_insert(ts_us);
        let passed_s = ts_us.saturating_sub(first_us) / 1_000_000;
        self.now_s = self.now_s.max(u32::try_from(passed_s).unwrap_or_default());
        if self.stage.watches() {
            self.stage.pass(self.now_s, &mut drafts);
        }
        drafts
    }
}

/// What is said of the row: what is said of its most unusual value.
fn overall(scores: &BTreeMap<String, Scores>) -> Scores {
    let scored = scores.iter().filter(|(_, scores)| scores.refused.is_none());
    let most = scored.max_by(|(_, a), (_, b)| {
        (a.score, a.continuous)
            .partial_cmp(&(b.score, b.continuous))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let reason = scores.values().find_map(|scores| scores.refused.clone());
    match most {
        None => Scores::refused(reason.unwrap_or_default()),
        Some((metric, most)) => Scores {
            alarm: scores.values().any(|scores| scores.alarm),
            continuous: scores.values().map(|scores| scores.continuous).fold(0.0, f32::max),
            metric: Some(metric.clone()),
            refused: reason,
            ..most.clone()
        },
    }
}

impl Summary {
    fn add(&mut self, answer: &Answer<'_>) {
        self.rows += 1;
        self.alarms += u64::from(answer.overall.alarm);
        self.refused += u64::from(answer.overall.refused.is_some());
    }
}

/// Alarms, and what was refused.
fn tell(output: &mut impl Write, number: u64, answer: &Answer<'_>) -> io::Result<()> {
    let overall = &answer.overall;
    if let Some(reason) = &overall.refused {
        writeln!(output, "{reason}")?;
    }
    for rule in &overall.rules {
        writeln!(output, "line {number}  {}  {rule}", answer.timestamp)?;
    }
    let is_by_rule = !overall.rules.is_empty()
        && overall.threshold.is_none_or(|threshold| overall.continuous < threshold);
    if !overall.alarm || is_by_rule {
        return Ok(());
    }
    let one = BTreeMap::new();
    let alarms: Vec<(&str, &Scores)> = match answer.values.unwrap_or(&one) {
        values if values.is_empty() => vec![("value", overall)],
        values => values
            .iter()
            .filter(|(_, scores)| scores.alarm)
            .map(|(name, scores)| (name.as_str(), scores))
            .collect(),
    };
    for (name, scores) in alarms {
        let [expected, low, high] =
            [scores.expected, scores.low, scores.high].map(Option::unwrap_or_default);
        writeln!(
            output,
            "line {number}  {}  alarm on {name}: score {:.2} at level {:.2}, expected {expected:.4} ({low:.4} to {high:.4}), by {}",
            answer.timestamp,
            scores.continuous,
            scores.threshold.unwrap_or_default(),
            scores.member.unwrap_or("rule"),
        )?;
    }
    Ok(())
}

/// The next line; false at the end. What is longer than the limit is cut, and will not have its cells.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() == LINE_BYTES_MAX {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
