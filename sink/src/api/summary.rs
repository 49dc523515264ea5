//! `GET /v1/logs/summary`: how many lines when, and of which templates.
//!
//! In: the same conditions as for lines. Out: counts by time and by template. Promises: bounded in lines that are read
//! ([`LINES_MAX`], the newest), in lines that are held at once ([`STEP_LINES`], of few requests at a time), in time
//! ([`WITHIN`]) and in templates ([`TEMPLATES_MAX`]); where a bound was met, `truncated` says so, and `from_us` how far
//! back the counts go. What can go wrong: nothing is read in that time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use weir_models::time::{DAY_US, HOUR_US, SECOND_US};

use super::guard::SHORTER;
use super::logs::Query;
use super::openapi::{Problems, TooWide};
use super::params::Params;
use super::{Api, Problem};
use crate::store::bucket::window_start;
use crate::store::seal::Position;
use crate::store::{LogQuery, LogRow, Store, TimeRange};

/// Most lines that are counted.
const LINES_MAX: usize = 50_000;
/// Lines that are read at once; they may be long.
const STEP_LINES: usize = 4_000;
/// Longest part of the message of a template that is told, in characters.
const MESSAGE_CHARS_MAX: usize = 300;
/// Longest time for reading them.
const WITHIN: Duration = Duration::from_secs(8);
/// Most templates that are told apart; lines of others count for the histogram only.
const TEMPLATES_MAX: usize = 5_000;
/// Most templates that are told, by number and by novelty each.
const TOLD_MAX: usize = 100;
/// Most windows that the histogram spans.
const BINS_MAX: i64 = 120;
/// Windows as people read them.
const STEPS_US: [i64; 13] = [
    SECOND_US,
    5 * SECOND_US,
    15 * SECOND_US,
    60 * SECOND_US,
    300 * SECOND_US,
    900 * SECOND_US,
    HOUR_US,
    3 * HOUR_US,
    6 * HOUR_US,
    12 * HOUR_US,
    DAY_US,
    7 * DAY_US,
    28 * DAY_US,
];
/// Severities up to this are errors.
const ERROR: u8 = 3;

/// Lines of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LineBin {
    /// Begin of the window, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Lines.
    pub n: u64,
    /// Of these, errors and worse.
    pub errors: u64,
}

/// Lines of a template.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Template {
    /// Template id, 16 hexadecimal digits; none of lines without a template.
    pub template: Option<String>,
    /// Lines.
    pub n: u64,
    /// Its first line among those counted, microseconds since the Unix epoch.
    pub first_us: i64,
    /// Its newest line.
    pub last_us: i64,
    /// The worst severity of its lines.
    pub severity: Option<u8>,
    /// Application of the newest line.
    pub app: Option<String>,
    /// Message of the newest line; the first 300 characters of a longer one.
    pub message: String,
}

/// Counted lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Summary {
    /// Begin of the time that is counted, microseconds since the Unix epoch.
    pub from_us: i64,
    /// End of it.
    pub to_us: i64,
    /// Lines.
    pub n: u64,
    /// Whether there are more lines than were read, before `from_us`.
    pub truncated: bool,
    /// Width of the windows, microseconds.
    pub bin_us: i64,
    /// The windows that have lines, ascending.
    pub bins: Vec<LineBin>,
    /// How many templates there are; more than 5000 are not told apart.
    pub templates_n: u64,
    /// The templates with the most lines and those that came last, by number of lines, the greatest first.
    pub templates: Vec<Template>,
}

/// The place of a line in the order of lines.
fn place_of(row: &LogRow) -> Position {
    Position { ts_us: row.ts_us, stream: row.stream.as_i64(), seq: row.seq.cast_signed() }
}

/// What is counted as lines come, newest first.
#[derive(Default)]
struct Counts {
    lines: Vec<(i64, bool)>,
    templates: HashMap<Option<String>, Template>,
}

impl Counts {
    fn add(&mut self, row: LogRow) {
        self.lines.push((row.ts_us, row.severity.is_some_and(|severity| severity <= ERROR)));
        if let Some(known) = self.templates.get_mut(&row.template) {
            known.n += 1;
            known.first_us = known.first_us.min(row.ts_us);
            known.last_us = known.last_us.max(row.ts_us);
            known.severity = known.severity.into_iter().chain(row.severity).min();
        } else if self.templates.len() < TEMPLATES_MAX {
            let LogRow { template, ts_us, severity, app, message, .. } = row;
            let (n, first_us, last_us) = (1, ts_us, ts_us);
            let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
            let new = Template {
                template: template.clone(),
                n,
                first_us,
                last_us,
                severity,
                app,
                message,
            };
            self.templates.insert(template, new);
        }
    }

    /// The sums; `range` is what was asked for, `truncated` whether only its newest lines were read.
    fn told(self, range: TimeRange, truncated: bool) -> Summary {
        let oldest = self.lines.iter().map(|line| line.0).min().unwrap_or(range.from_us);
        let newest = self.lines.iter().map(|line| line.0).max().unwrap_or(range.to_us);
        // A range may be far wider than what has lines.
        let is_wide =
            |us: i64| us.saturating_sub(range.from_us) > newest.saturating_sub(oldest).max(HOUR_US);
        let from_us = if truncated || is_wide(oldest) { oldest } else { range.from_us };
        let to_us =
            range.to_us.min(newest.saturating_add(newest.saturating_sub(from_us).max(HOUR_US)));
        let span = to_us.saturating_sub(from_us);
        let widest = span / BINS_MAX + 1;
        let bin_us = STEPS_US.into_iter().find(|step| *step >= widest).unwrap_or(widest);
        let mut bins = std::collections::BTreeMap::<i64, LineBin>::new();
        for (ts_us, is_error) in &self.lines {
            let begin = window_start(*ts_us, bin_us);
            let bin = bins.entry(begin).or_insert(LineBin { ts_us: begin, ..LineBin::default() });
            bin.n += 1;
            bin.errors += u64::from(*is_error);
        }
        let templates_n = self.templates.len() as u64;
        let mut templates: Vec<Template> = self.templates.into_values().collect();
        templates.sort_by(|a, b| (b.first_us, &b.template).cmp(&(a.first_us, &a.template)));
        let mut rest = templates.split_off(TOLD_MAX.min(templates.len()));
        rest.sort_by(|a, b| (b.n, &b.template).cmp(&(a.n, &a.template)));
        templates.extend(rest.into_iter().take(TOLD_MAX));
        templates.sort_by(|a, b| (b.n, &b.template).cmp(&(a.n, &a.template)));
        Summary {
            from_us,
            to_us,
            n: self.lines.len() as u64,
            truncated,
            bin_us,
            bins: bins.into_values().collect(),
            templates_n,
            templates,
        }
    }
}

/// Reads the newest `limit` lines until then; gives whether there are more, none when nothing was read in that time.
async fn read(
    store: &dyn Store,
    query: &mut LogQuery,
    (limit, until): (usize, Instant),
    counts: &mut Counts,
) -> Result<Option<bool>, Problem> {
    let mut found = 0;
    loop {
        query.limit = STEP_LINES.min((limit + 1).saturating_sub(found));
        let (mut read, mut last) = (0, None);
        let mut chunks = store.find_logs(query);
        loop {
            let rows = match timeout_at(until, chunks.next()).await {
                Err(_) => return Ok((found + read > 0).then_some(true)),
                Ok(None) => break,
                Ok(Some(rows)) => rows?,
            };
            last = rows.iter().map(place_of).chain(last).min();
            let room = limit.saturating_sub(found + read);
            read += rows.len();
            rows.into_iter().take(room).for_each(|row| counts.add(row));
        }
        drop(chunks);
        found += read;
        if read < query.limit || found > limit {
            return Ok(Some(found > limit));
        }
        query.before = last;
    }
}

/// How many log lines when, and of which templates. Counts the newest 50,000 lines of the range, or `limit` of them.
#[utoipa::path(
    get, path = "/v1/logs/summary", operation_id = "count_logs", tag = "data", params(Query),
    responses((status = 200, description = "Counts by time and by template", body = Summary), Problems, TooWide)
)]
pub(super) async fn get(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Json<Summary>, Problem> {
    let is_limited = query.is_limited();
    let mut query = query.checked()?;
    let limit = if is_limited { query.limit } else { LINES_MAX };
    let mut range = query.range;
    if let Some(before) = query.before {
        range.to_us = range.to_us.min(before.ts_us.saturating_add(1)).max(range.from_us);
    }
    let permit = Arc::clone(&api.searches).try_acquire_owned();
    let _permit = permit.map_err(|_| Problem::busy("too many searches at once"))?;
    let within = WITHIN.min(api.limits.timeout / 2);
    let until = Instant::now() + within;
    let late = || Problem::timeout(within.as_secs().max(1), SHORTER);
    let _turn = timeout_at(until, api.counting.acquire()).await.map_err(|_| late())?;
    let mut counts = Counts::default();
    let truncated = read(&*api.store, &mut query, (limit, until), &mut counts).await?;
    Ok(Json(counts.told(range, truncated.ok_or_else(late)?)))
}
