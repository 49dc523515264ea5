//! Select: what every implementation does alike with rows it has read. Pure.
//!
//! In: stored rows. Out: what the query asked for: log lines that match, the newest of several
//! hosts, alerts folded from their two records.

use weir_models::alert::{Alert, AlertState};

use super::{AlertQuery, LogQuery, LogRow, TimeRange};

/// The conditions of a log query that are tested on each line.
#[derive(Debug)]
pub(crate) struct LogFilter<'a> {
    query: &'a LogQuery,
    text: Option<String>,
}

impl<'a> LogFilter<'a> {
    pub(crate) fn of(query: &'a LogQuery) -> Self {
        Self { query, text: query.text.as_ref().map(|text| text.to_lowercase()) }
    }

    /// Whether every line matches, so that the store itself may count up to the limit.
    pub(crate) fn takes_all(&self) -> bool {
        self.query.severity_max.is_none() && self.query.app.is_none() && self.text.is_none()
    }

    /// A line without severity is not known to be severe; one without application has none.
    pub(crate) fn matches(&self, row: &LogRow) -> bool {
        let severe = |max| row.severity.is_some_and(|severity| severity <= max);
        self.query.severity_max.is_none_or(severe)
            && (self.query.app.is_none() || self.query.app == row.app)
            && self.text.as_ref().is_none_or(|text| row.message.to_lowercase().contains(text))
    }
}

/// The newest lines so far, at most about twice as many as wanted.
#[derive(Debug)]
pub(crate) struct Newest {
    rows: Vec<LogRow>,
    limit: usize,
}

impl Newest {
    pub(crate) fn new(limit: usize) -> Self {
        Self { rows: Vec::new(), limit }
    }

    pub(crate) fn add(&mut self, rows: impl IntoIterator<Item = LogRow>) {
        self.rows.extend(rows);
        if self.rows.len() > self.limit.saturating_mul(2) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        // Newest first; of one stamp as the stores sort them: by the signed bits, downwards.
        self.rows.sort_by_key(|row| {
            std::cmp::Reverse((row.ts_us, row.stream.as_i64(), row.seq.cast_signed()))
        });
        self.rows.truncate(self.limit);
    }

    /// The oldest stamp among the wanted number of lines; nothing while there are fewer.
    pub(crate) fn floor_us(&mut self) -> Option<i64> {
        self.settle();
        let full = self.rows.len() == self.limit;
        self.rows.last().filter(|_| full).map(|row| row.ts_us)
    }

    pub(crate) fn into_rows(mut self) -> Vec<LogRow> {
        self.settle();
        self.rows
    }
}

/// The stamps at and above which a row is of interest once `floor_us` is known.
pub(crate) fn above(range: TimeRange, floor_us: Option<i64>) -> TimeRange {
    TimeRange { from_us: floor_us.map_or(range.from_us, |floor| floor.max(range.from_us)), ..range }
}

/// One alert from the records that came of it so far, in JSON; nothing when neither can be read.
///
/// The resolved record is the present state. What it leaves out (baseline, last values, message)
/// is taken from the firing one.
pub(crate) fn fold_alert(firing: Option<&str>, resolved: Option<&str>) -> Option<Alert> {
    let read = |text: &str| serde_json::from_str::<Alert>(text).ok();
    let firing = firing.and_then(read);
    let Some(mut now) = resolved.and_then(read) else {
        return firing;
    };
    if let Some(firing) = firing {
        now.data.baseline = now.data.baseline.or(firing.data.baseline);
        now.data.message = now.data.message.or(firing.data.message);
        if now.data.last_values.is_empty() {
            now.data.last_values = firing.data.last_values;
        }
    }
    Some(now)
}

/// Whether an alert, as it is now, is among those asked for.
pub(crate) fn alert_matches(query: &AlertQuery, alert: &Alert) -> bool {
    let place = (alert.data.fired_us, &alert.data.alert_id);
    query.state.is_none_or(|state| state == alert.data.state)
        && query.after.as_ref().is_none_or(|(us, id)| place < (*us, id))
}

/// The JSON of a record, as it is kept.
pub(crate) fn alert_json(alert: &Alert) -> String {
    let mut json = Vec::new();
    alert.write_json(&mut json);
    String::from_utf8(json).unwrap_or_default()
}

/// Whether a record says that the alert is over.
pub(crate) fn is_resolved(alert: &Alert) -> bool {
    alert.data.state == AlertState::Resolved
}

/// The name of a kind of alert, as in its JSON.
pub(crate) fn alert_kind(alert: &Alert) -> &'static str {
    use weir_models::alert::AlertKind;
    match alert.data.kind {
        AlertKind::Reading => "reading",
        AlertKind::Log => "log",
        AlertKind::Silence => "silence",
    }
}
