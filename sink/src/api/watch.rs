//! `GET /v1/live`: what has just been stored, as server-sent events.
//!
//! In: the pipeline's broadcast channel. Out: one server-sent event per record that passes the
//! filters, named `reading`, `log`, `loss` or `alert`, its data the same JSON record as on Kafka; a
//! comment every 15 s when nothing happens. Promises: a slow client holds up nobody: it loses the
//! oldest records and gets an event `missed` with their number. The stream ends when the sink stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event as Message, KeepAlive};
use futures_util::{Stream, StreamExt, future};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use utoipa::IntoParams;
use weir_models::event::Body;

use super::openapi::Problems;
use super::params::{self, Params};
use super::{Api, Problem};
use crate::live::Live;

const KINDS: [&str; 4] = ["reading", "log", "loss", "alert"];
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Only this site.
    site: Option<String>,
    /// Only this device.
    device: Option<String>,
    /// Only log lines of this host, and alerts of the device of that name.
    host: Option<String>,
    /// Only these kinds, separated by commas: `reading`, `log`, `loss`, `alert`.
    #[param(example = "log,alert")]
    kind: Option<String>,
}

/// Which records a client wants.
#[derive(Debug, Default)]
struct Filter {
    site: Option<String>,
    device: Option<String>,
    host: Option<String>,
    kinds: Option<Vec<&'static str>>,
}

/// Live records, as they are stored.
#[utoipa::path(
    get, path = "/v1/live", operation_id = "watch_live", tag = "data", params(Query),
    responses(
        (status = 200, description = "Server-sent events `reading`, `log`, `loss`, `alert` (data: the JSON record as on Kafka) and `missed` (data: `{\"missed\": n}`, when the client was too slow)", body = String, content_type = "text/event-stream"),
        Problems,
    )
)]
pub(super) async fn get(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Problem> {
    let filter = Filter::new(query)?;
    let permit = Arc::clone(&api.watchers)
        .try_acquire_owned()
        .map_err(|_| Problem::busy("too many live streams at once"))?;
    let mut stop = api.stop.clone();
    let stopped = async move {
        // A sender that is gone means the same as a stop.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let records = BroadcastStream::new(api.live.subscribe())
        .filter_map(move |live| future::ready(message(&filter, live)));
    // The comment sends the head of the response at once, so that a client knows it is connected.
    let hello = futures_util::stream::iter([Ok(Message::default().comment("connected"))]);
    let messages = hello.chain(records).take_until(Box::pin(stopped));
    Ok(Sse::new(holding(permit, messages)).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// The stream, which holds the permit until it is dropped.
fn holding<S: Stream>(permit: OwnedSemaphorePermit, stream: S) -> impl Stream<Item = S::Item> {
    stream.map(move |item| {
        let _ = &permit;
        item
    })
}

fn message(
    filter: &Filter,
    live: Result<Live, BroadcastStreamRecvError>,
) -> Option<Result<Message, Infallible>> {
    let message = match live {
        Ok(live) if !filter.wants(&live) => return None,
        Ok(Live::Event(event)) => Message::default().event(kind_of(&event.body)).json_data(&*event),
        Ok(Live::Alert(alert)) => Message::default().event("alert").json_data(&*alert),
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            Message::default().event("missed").json_data(serde_json::json!({ "missed": missed }))
        }
    };
    match message {
        Ok(message) => Some(Ok(message)),
        Err(error) => {
            tracing::warn!(%error, "a live record could not be written as JSON");
            None
        }
    }
}

fn kind_of(body: &Body) -> &'static str {
    match body {
        Body::Reading(_) => "reading",
        Body::Log(_) => "log",
        Body::Loss(_) => "loss",
    }
}

impl Filter {
    fn new(query: Query) -> Result<Self, Problem> {
        let kinds = query.kind.map(|text| {
            let known = |word: &str| KINDS.into_iter().find(|kind| *kind == word.trim());
            text.split(',').map(known).collect::<Option<Vec<_>>>()
        });
        if kinds == Some(None) {
            return Err(Problem::parameter(
                "`kind` has an unknown word",
                format!("it takes {}, separated by commas", KINDS.join(", ")),
            ));
        }
        Ok(Self {
            site: params::name_if("site", query.site)?,
            device: params::name_if("device", query.device)?,
            host: params::name_if("host", query.host)?,
            kinds: kinds.flatten(),
        })
    }

    fn wants(&self, live: &Live) -> bool {
        let (kind, site, device, host) = match live {
            Live::Event(event) => {
                (kind_of(&event.body), &event.site, &event.device, event.log().map(|log| &log.host))
            }
            Live::Alert(alert) => {
                let data = &alert.data;
                ("alert", &data.site, &data.device, Some(&data.device))
            }
        };
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            && self.site.as_ref().is_none_or(|wanted| wanted == site)
            && self.device.as_ref().is_none_or(|wanted| wanted == device)
            && self.host.as_ref().is_none_or(|wanted| Some(wanted) == host)
    }
}
