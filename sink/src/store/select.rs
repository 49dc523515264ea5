//! Select: what every implementation does alike with rows it has read. Pure.
//!
//! In: stored rows. Out: what the query asked for: log lines that match, the newest of several
//! hosts, alerts folded from their two records.

use weir_models::alert::{Alert, AlertState};
use weir_models::ident::EventId;

use super::seal::Position;
use super::sealed::place_of;
use super::words::{Kind, Text, Words, hash};
use super::{AlertQuery, AlertRecords, LogQuery, LogRow, TimeRange};

/// The conditions of a log query that are tested on each line, hot or sealed, and what a block must have so that
/// one of its lines can meet them.
#[derive(Debug)]
pub struct LogFilter<'a> {
    query: &'a LogQuery,
    words: Words,
    text: Option<Text>,
    probes: Vec<u64>,
    /// Of words beyond ASCII, which are others where other letters are known.
    letter_probes: Vec<u64>,
}

impl<'a> LogFilter<'a> {
    /// The conditions of a query.
    #[must_use]
    pub fn of(query: &'a LogQuery) -> Self {
        let words = query.words.as_deref().map(Words::of).unwrap_or_default();
        let text = query.text.as_deref().map(Text::of);
        let named = |kind, name: &Option<String>| name.as_deref().map(|name| hash(kind, name));
        let inner = text.iter().flat_map(Text::inner_words);
        let (plain, others): (Vec<&str>, Vec<&str>) =
            words.iter().chain(inner).partition(|word| word.is_ascii());
        let hash_of = |word: &str| hash(Kind::Word, word);
        let letter_probes = others.into_iter().map(hash_of).collect();
        let names = [
            named(Kind::Host, &query.host),
            named(Kind::App, &query.app),
            named(Kind::Template, &query.template),
        ];
        let probes = names.into_iter().flatten().chain(plain.into_iter().map(hash_of)).collect();
        Self { query, words, text, probes, letter_probes }
    }

    /// Whether every line of a host matches, so that the store itself may count up to the limit.
    pub(crate) fn takes_all(&self) -> bool {
        let LogQuery { severity_max, app, template, before, .. } = self.query;
        severity_max.is_none()
            && app.is_none()
            && template.is_none()
            && before.is_none()
            && self.words.is_empty()
            && self.text.is_none()
    }

    /// Whether a line of the host asked for matches. A line without severity is not known to be severe; one
    /// without application has none.
    pub(crate) fn matches(&self, row: &LogRow) -> bool {
        let (app, template) = (row.app.as_deref(), row.template.as_deref());
        let id = EventId { stream: row.stream, seq: row.seq };
        self.takes_context(&row.host, row.severity, app, template)
            && self.takes_place(row.ts_us, id)
            && self.takes_message(&row.message)
    }

    pub(crate) fn site(&self) -> &str {
        &self.query.site
    }

    pub(crate) fn range(&self) -> TimeRange {
        self.query.range
    }

    /// The hashes of all that a block must have in its bloom. `same_letters`: its words were made with the letters that
    /// this program knows (another version of Unicode has more).
    pub(crate) fn probes(&self, same_letters: bool) -> impl Iterator<Item = u64> {
        let more = if same_letters { &self.letter_probes[..] } else { &[] };
        self.probes.iter().chain(more).copied()
    }

    pub(crate) fn takes_severity(&self, severity: Option<u8>) -> bool {
        let severe = |max| severity.is_some_and(|severity| severity <= max);
        self.query.severity_max.is_none_or(severe)
    }

    pub(crate) fn takes_context(
        &self,
        host: &str,
        severity: Option<u8>,
        app: Option<&str>,
        template: Option<&str>,
    ) -> bool {
        let same = |asked: &Option<String>, has: Option<&str>| {
            asked.as_deref().is_none_or(|asked| has == Some(asked))
        };
        same(&self.query.host, Some(host))
            && same(&self.query.app, app)
            && same(&self.query.template, template)
            && self.takes_severity(severity)
    }

    pub(crate) fn takes_place(&self, ts_us: i64, id: EventId) -> bool {
        let place = Position { ts_us, stream: id.stream.as_i64(), seq: id.seq.cast_signed() };
        let TimeRange { from_us, to_us } = self.query.range;
        from_us <= ts_us && ts_us < to_us && self.query.before.is_none_or(|before| place < before)
    }

    pub(crate) fn takes_message(&self, message: &str) -> bool {
        self.words.are_in(message) && self.text.as_ref().is_none_or(|text| text.is_in(message))
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

    /// Adds rows of which each counts in place of one that was added before and is the same line.
    pub(crate) fn replace(&mut self, mut rows: Vec<LogRow>) {
        if rows.is_empty() {
            return;
        }
        rows.append(&mut self.rows);
        self.rows = Vec::new();
        self.add(rows);
    }

    fn settle(&mut self) {
        // Newest first; of one stamp as the stores sort them: by the signed bits, downwards.
        self.rows.sort_by(|a, b| place_of(b).cmp(&place_of(a)));
        // A line may come from a block and from the hot rows; sorting is stable, the first one stays.
        self.rows.dedup_by(|a, b| place_of(a) == place_of(b));
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

/// The records of an alert from their JSON; none that cannot be read.
pub(crate) fn read_alert(firing: Option<&str>, resolved: Option<&str>) -> AlertRecords {
    let read = |text: &str| serde_json::from_str::<Alert>(text).ok();
    (firing.and_then(read), resolved.and_then(read))
}

/// One alert from the records that came of it so far, in JSON; nothing when neither can be read.
///
/// The resolved record is the present state. What it leaves out (baseline, last values, message, rank)
/// is taken from the firing one.
pub(crate) fn fold_alert(firing: Option<&str>, resolved: Option<&str>) -> Option<Alert> {
    let (firing, resolved) = read_alert(firing, resolved);
    let Some(mut now) = resolved else {
        return firing;
    };
    if let Some(firing) = firing {
        now.data.baseline = now.data.baseline.or(firing.data.baseline);
        now.data.message = now.data.message.or(firing.data.message);
        now.data.recent = now.data.recent.or(firing.data.recent);
        now.data.rank = now.data.rank.or(firing.data.rank);
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

#[cfg(test)]
mod tests {
    use weir_models::ident::Stream;

    use super::*;

    fn row(ts_us: i64, score: f32) -> LogRow {
        LogRow {
            site: "s".into(),
            host: "h".into(),
            ts_us,
            stream: Stream(1),
            seq: 1,
            device: "d".into(),
            facility: None,
            severity: None,
            app: None,
            procid: None,
            msgid: None,
            message: "m".into(),
            template: None,
            score: Some(score),
        }
    }

    #[test]
    fn what_replaces_a_line_counts_and_what_is_added_does_not() {
        let mut newest = Newest::new(3);
        newest.add([row(1, 0.0), row(2, 0.0), row(3, 0.0), row(4, 0.0)]);
        newest.replace(vec![row(4, 1.0), row(3, 1.0)]);
        newest.add([row(2, 2.0), row(3, 2.0)]);
        newest.replace(Vec::new());
        let rows = newest.into_rows();
        let scores: Vec<_> = rows.iter().map(|row| (row.ts_us, row.score)).collect();
        assert_eq!(scores, [(4, Some(1.0)), (3, Some(1.0)), (2, Some(0.0))]);
    }
}
