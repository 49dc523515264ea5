//! The API over real sockets, on a store and a producer in memory.

mod access;
mod counts;
mod devices;
pub(crate) mod double;
mod errors;
mod imports;
mod feedback;
mod prom;
mod queries;
mod stream;
mod transfer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};
use weir_models::alert::{Alert, AlertData, AlertKind, AlertState, Model};
use weir_models::device::{AgentStatus, Device, LaneStatus};
use weir_models::event::{Clock, Event, Loss};
use weir_models::feedback::{Feedback, Verdict};
use weir_models::ident::{EventId, SeriesKey, Stream};
use weir_models::time::now_us;

use self::double::{MemoryProducer, MemoryStore};
use super::{Api, router};
use crate::live::Live;
use crate::store::{Batch, DeviceChange, LogRow, LossRow, ReadingRow};

const PROBLEM: &str = "application/problem+json";

/// A running API.
struct Server {
    runtime: Runtime,
    address: SocketAddr,
    store: Arc<MemoryStore>,
    producer: Arc<MemoryProducer>,
    live: broadcast::Sender<Live>,
    stop: watch::Sender<bool>,
}

/// An answer: status, content type, body.
#[derive(Debug)]
struct Answer {
    status: u16,
    kind: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    fn is_problem(&self, status: u16, word: &str) {
        assert_eq!((self.status, self.kind.as_str()), (status, PROBLEM), "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:weir:problem:{word}"));
        for field in ["title", "detail", "hint"] {
            assert!(problem[field].as_str().unwrap().len() > 5, "{problem}");
        }
    }
}

impl Server {
    fn start(rows: Batch) -> Self {
        Self::start_with(rows, |api| api)
    }

    fn start_with(rows: Batch, change: impl FnOnce(Api) -> Api) -> Self {
        let runtime = Runtime::new().unwrap();
        let store = Arc::new(MemoryStore::default());
        *store.rows.lock().unwrap() = rows;
        let producer = Arc::new(MemoryProducer::default());
        // Small, so that a slow client is soon behind.
        let (live, _) = broadcast::channel(8);
        let (stop, stopped) = watch::channel(false);
        let api = change(Api::new(store.clone(), producer.clone(), live.clone(), stopped));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router(api)).await });
        Self { runtime, address, store, producer, live, stop }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let response = self.raw(method, path, headers, body);
        let kind = response.headers().get("content-type");
        Answer {
            status: response.status().as_u16(),
            kind: kind.map(|kind| kind.to_str().unwrap().into()).unwrap_or_default(),
            text: String::from_utf8(response.into_body()).unwrap(),
        }
    }

    /// The answer as it came.
    fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> ureq::http::Response<Vec<u8>> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(std::time::Duration::from_secs(20)))
            .allow_non_standard_methods(true)
            .build()
            .into();
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, mut body) =
            agent.run(request.body(body.to_owned()).unwrap()).unwrap().into_parts();
        let bytes = body.with_config().limit(1 << 30).read_to_vec().unwrap();
        ureq::http::Response::from_parts(parts, bytes)
    }
}

fn key(device: &str, metric: &str) -> SeriesKey {
    SeriesKey { site: "hall".into(), device: device.into(), metric: metric.into() }
}

fn reading(ts_us: i64, seq: u64, value: f64, score: Option<f32>) -> ReadingRow {
    ReadingRow {
        key: key("press", "temp"),
        ts_us,
        id: EventId { stream: Stream(7), seq },
        value,
        score,
        unit: Some("°C".into()),
    }
}

fn line(ts_us: i64, seq: u64, severity: u8, message: &str) -> Arc<Event> {
    let row = LogRow {
        site: "hall".into(),
        host: "gw".into(),
        ts_us,
        stream: Stream(8),
        seq,
        device: "gw".into(),
        facility: Some(3),
        severity: Some(severity),
        app: Some("sshd".into()),
        procid: None,
        msgid: None,
        message: message.into(),
        template: None,
        score: None,
    };
    Arc::new(row.into())
}

fn alert(id: &str, fired_us: i64, resolved_us: Option<i64>) -> Alert {
    let state = match resolved_us {
        Some(_) => AlertState::Resolved,
        None => AlertState::Firing,
    };
    let data = AlertData {
        alert_id: id.into(),
        state,
        kind: AlertKind::Reading,
        agent: "gw".into(),
        stream: Stream(9),
        seq: 1,
        site: "hall".into(),
        device: "press".into(),
        metric: "temp".into(),
        fired_us,
        resolved_us,
        score: 2.5,
        threshold: 1.0,
        model: Model { name: "ewma".into(), version: "1".into() },
        why: "level".into(),
        baseline: None,
        last_values: Vec::new(),
        message: None,
        cause_stream: Stream(7),
        cause_seq: 1,
        recent: None,
        rank: None,
    };
    Alert::new("/weir/agent/gw", fired_us, data)
}

fn heartbeat(agent: &str, ts_us: i64) -> AgentStatus {
    AgentStatus {
        agent: agent.into(),
        site: "hall".into(),
        version: "0.1.0".into(),
        ts_us,
        started_us: 1,
        interval_s: 30,
        clock: Clock::Synced,
        events_in: 10,
        events_out: 9,
        filtered: BTreeMap::new(),
        lost: BTreeMap::new(),
        spool_bytes: 4096,
        lanes: vec![LaneStatus {
            lane: "normal".into(),
            stream: Stream(7),
            last_seq: 10,
            waiting: 1,
            backlog: Vec::new(),
        }],
        devices: 1,
        series: 1,
        ..AgentStatus::default()
    }
}

fn loss(agent: &str, ts_us: i64, seq: u64) -> LossRow {
    let range = Some((Stream(7), 3, 5));
    let loss = Loss { count: 3, range, reason: "spool_full".into(), lane: Some("rest".into()) };
    LossRow {
        site: "hall".into(),
        agent: agent.into(),
        ts_us,
        stream: Stream(7),
        seq,
        source: "spool".into(),
        loss,
    }
}

fn said(alert_id: &str, fired_us: i64, verdict: Verdict) -> Feedback {
    Feedback {
        alert_id: alert_id.into(),
        site: "hall".into(),
        device: "press".into(),
        metric: "temp".into(),
        fired_us,
        verdict,
        note: None,
        by: Some("the night shift".into()),
        given_us: 7,
    }
}

/// Seconds 1 to 3 of a small site.
fn rows() -> Batch {
    Batch {
        readings: vec![
            reading(1_000_000, 1, 20.0, Some(0.1)),
            reading(2_000_000, 2, 90.0, Some(1.8)),
            reading(3_000_000, 3, 21.0, None),
        ],
        logs: vec![
            line(1_000_000, 1, 6, "Accepted password for root"),
            line(2_000_000, 2, 3, "Failed password for root"),
            line(3_000_000, 3, 4, "Invalid user admin"),
        ],
        alerts: vec![alert("a1", 1_000_000, Some(2_000_000)), alert("a2", 2_000_000, None)],
        devices: vec![DeviceChange {
            site: "hall".into(),
            device: "press".into(),
            record: Some(Device {
                site: "hall".into(),
                device: "press".into(),
                meta: BTreeMap::from([("line".into(), "4".into())]),
                ..Device::default()
            }),
            ..DeviceChange::default()
        }],
        agents: vec![heartbeat("awake", now_us()), heartbeat("silent", 5)],
        losses: vec![loss("awake", 1_000_000, 1), loss("silent", 2_000_000, 2)],
        feedback: vec![said("a1", 1_000_000, Verdict::Expected)],
        ..Batch::default()
    }
}
