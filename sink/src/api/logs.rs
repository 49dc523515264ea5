//! `GET /v1/logs`: log lines of a site, newest first.
//!
//! In: conditions. Out: one list, or, to who asks for `application/x-ndjson`, one line of JSON after the other as they
//! are found. Promises: bounded in lines, in what the store reads for them, in time, and in searches at once; the
//! search ends when the client goes. What can go wrong: a stream that has begun breaks off without its end when the store fails, so that
//! it cannot be taken for all there is.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Deserializer, de};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use utoipa::IntoParams;
use weir_models::ident::Stream as EventStream;
use weir_models::time::HOUR_US;

use super::lists::Items;
use super::openapi::{Problems, TooWide};
use super::params::{self, Params, When};
use super::{Api, Problem};
use crate::store::seal::Position;
use crate::store::{LogQuery, LogRow, StoreError, has_words};

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 10_000;
const TEXT_BYTES_MAX: usize = 1_024;
/// Lines, one JSON object each.
const NDJSON: &str = "application/x-ndjson";

/// A place in the order of lines: `ts_us,stream,seq` as a line has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before(Position);

impl<'de> Deserialize<'de> for Before {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut parts = text.split(',');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        let place = match parts {
            [Some(ts_us), Some(stream), Some(seq), None] => {
                let (ts_us, stream) = (ts_us.parse().ok(), stream.parse::<EventStream>().ok());
                ts_us.zip(stream).zip(seq.parse::<u64>().ok())
            }
            _ => None,
        };
        let ((ts_us, stream), seq) = place.ok_or_else(|| {
            de::Error::custom(
                "`before` is `ts_us,stream,seq` of the line that the answer is to go on behind",
            )
        })?;
        Ok(Self(Position { ts_us, stream: stream.as_i64(), seq: seq.cast_signed() }))
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Site.
    site: String,
    /// Only this host.
    host: Option<String>,
    /// Only lines at least this severe: 0 (emergency) to 7 (debug); 3 gives errors and worse.
    #[param(minimum = 0, maximum = 7)]
    severity: Option<u8>,
    /// Only this application.
    app: Option<String>,
    /// Only lines of this template, 16 hexadecimal digits.
    template: Option<String>,
    /// Only lines that have each of these words, in any order, letter case ignored. A word is a run of letters, digits
    /// and `_`. Quick over any time.
    #[param(min_length = 1, max_length = 1024, example = "connection refused")]
    words: Option<String>,
    /// Only lines that contain this text, letter case ignored, also in the middle of a word.
    #[param(min_length = 1, max_length = 1024)]
    q: Option<String>,
    /// Only lines behind this one, `ts_us,stream,seq`: the last of an answer gives the next page.
    #[param(value_type = Option<String>, example = "1763719200000000,00000000000000a7,12")]
    before: Option<Before>,
    /// First time, RFC 3339 or microseconds since the Unix epoch; default: an hour before `to`.
    #[param(value_type = Option<String>, example = "2026-11-21T10:00:00Z")]
    from: Option<When>,
    /// First time after the range, same forms; default: now.
    #[param(value_type = Option<String>, example = "2026-11-21T11:00:00Z")]
    to: Option<When>,
    /// At most so many lines; default 500.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
}

impl Query {
    /// Whether it says how many lines.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// The query of the store.
    pub(super) fn checked(self) -> Result<LogQuery, Problem> {
        if self.severity.is_some_and(|severity| severity > 7) {
            return Err(Problem::parameter(
                "`severity` is above 7",
                "severities go from 0 (emergency) to 7 (debug)",
            ));
        }
        for (name, text) in [("q", &self.q), ("words", &self.words)] {
            if text.as_ref().is_some_and(|text| !(1..=TEXT_BYTES_MAX).contains(&text.len())) {
                return Err(Problem::parameter(
                    format!("`{name}` is empty or too long"),
                    format!("search for 1 to {TEXT_BYTES_MAX} bytes, or leave `{name}` out"),
                ));
            }
        }
        if self.words.as_ref().is_some_and(|words| !has_words(words)) {
            return Err(Problem::parameter(
                "`words` has no word",
                "a word is made of letters, digits and `_`; to look for other signs, use `q`",
            ));
        }
        Ok(LogQuery {
            site: params::name("site", self.site)?,
            host: params::name_if("host", self.host)?,
            range: params::range(self.from, self.to, HOUR_US)?,
            severity_max: self.severity,
            app: params::name_if("app", self.app)?,
            template: params::name_if("template", self.template)?,
            words: self.words,
            text: self.q,
            before: self.before.map(|before| before.0),
            limit: params::limit(self.limit, LIMIT_DEFAULT, LIMIT_MAX)?,
        })
    }
}

/// Log lines of a site.
#[utoipa::path(
    get, path = "/v1/logs", operation_id = "list_logs", tag = "data", params(Query),
    responses(
        (
            status = 200,
            description = "The lines, newest first; with `Accept: application/x-ndjson` one a line, as they are found",
            content((Items<LogRow> = "application/json"), (String = "application/x-ndjson")),
        ),
        Problems,
        TooWide,
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Params(query): Params<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut query = query.checked()?;
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains(NDJSON)) {
        return as_found(api, query).await;
    }
    let limit = query.limit;
    query.limit += 1;
    let rows = api.store.logs(&query).await?;
    Ok(Json(Items::cut(rows, limit)).into_response())
}

type Found = Result<Vec<LogRow>, StoreError>;

/// Lines as they are found. What fails before the first is a problem as elsewhere.
async fn as_found(api: Api, query: LogQuery) -> Result<Response, Problem> {
    // The answer begins long before the search ends: the permit of the request is back by then.
    let permit = Arc::clone(&api.searches).try_acquire_owned();
    let permit = permit.map_err(|_| Problem::busy("too many searches at once"))?;
    let mut found = search(api, query, permit);
    let first = found.recv().await.transpose()?;
    let rest =
        stream::unfold(found, |mut found| async { found.recv().await.map(|chunk| (chunk, found)) });
    let chunks = stream::iter(first.map(Ok)).chain(rest).map(|chunk| chunk.map(|rows| json(&rows)));
    let body = Body::from_stream(chunks);
    Ok(([(header::CONTENT_TYPE, NDJSON)], body).into_response())
}

/// Searches beside the request, until all is told, the client goes, or the time is over; until then it holds the permit.
fn search(api: Api, query: LogQuery, permit: OwnedSemaphorePermit) -> mpsc::Receiver<Found> {
    let (sender, found) = mpsc::channel(1);
    tokio::spawn(async move {
        let told = async {
            let mut chunks = api.store.find_logs(&query);
            while let Some(chunk) = chunks.next().await {
                let is_last = chunk.is_err();
                if sender.send(chunk).await.is_err() || is_last {
                    return;
                }
            }
        };
        let late = tokio::select! {
            () = told => false,
            () = sender.closed() => false,
            () = sleep(api.limits.timeout) => true,
        };
        drop(permit);
        if late {
            let error = StoreError::Retry("the search took too long: narrow the range".into());
            // A slow client still has a chunk to read; it must see the error behind it. Who has gone needs no answer.
            let _ = sender.send(Err(error)).await;
        }
    });
    found
}

fn json(rows: &[LogRow]) -> Bytes {
    let mut lines = Vec::new();
    for row in rows {
        // Text and numbers are always JSON.
        if serde_json::to_writer(&mut lines, row).is_ok() {
            lines.push(b'\n');
        }
    }
    lines.into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use tokio::sync::{broadcast, watch};

    use super::*;
    use crate::api::Limits;
    use crate::api::tests::double::{MemoryProducer, MemoryStore};
    use crate::store::TimeRange;

    fn line(seq: u64) -> LogRow {
        LogRow {
            site: "hall".into(),
            host: "gw".into(),
            ts_us: 1,
            stream: EventStream(8),
            seq,
            device: "gw".into(),
            facility: None,
            severity: None,
            app: None,
            procid: None,
            msgid: None,
            message: "a line".into(),
            template: None,
            score: None,
        }
    }

    #[tokio::test]
    async fn a_slow_reader_learns_that_the_time_was_over() {
        let store = Arc::new(MemoryStore::default());
        store.rows.lock().unwrap().logs = (0..9).map(|seq| Arc::new(line(seq).into())).collect();
        let (live, _) = broadcast::channel(1);
        let (_stop, stopped) = watch::channel(false);
        let timeout = Duration::from_millis(50);
        let api = Api::new(store, Arc::new(MemoryProducer::default()), live, stopped);
        let api = api.limits(Limits { timeout, searches_max: 1, ..Limits::default() });
        let query = LogQuery::of_site("hall", TimeRange { from_us: 0, to_us: 9 }, 100);
        let searches = Arc::clone(&api.searches);
        let permit = Arc::clone(&searches).try_acquire_owned().unwrap();
        let mut found = search(api, query, permit);
        assert_eq!(found.recv().await.unwrap().unwrap().len(), 1);
        assert_eq!(searches.available_permits(), 0);
        sleep(timeout * 4).await;
        assert_eq!(searches.available_permits(), 1, "nobody searches any more");
        let mut last = None;
        while let Some(chunk) = found.recv().await {
            last = Some(chunk);
        }
        assert!(matches!(last, Some(Err(StoreError::Retry(_)))), "{last:?}");
    }
}
