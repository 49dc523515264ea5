#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use weir_models::alert::Alert;
use weir_models::time::now_us;
use weir_models::topic::Topic;

use super::client::Post;
use super::config::HooksConfig;
use super::receiver::{Receiver, receivers};
use super::teller;
use super::verdict::Answer;
use crate::consume::{Committed, ConsumeError, Consumer, Partition, Polled, Record};
use crate::status::{Part, Status};

mod promises;

/// An alert as an agent writes it; `state` is `firing` or `resolved`.
pub(super) fn alert(id: &str, state: &str) -> Alert {
    serde_json::from_value(alert_json(id, state)).unwrap()
}

fn alert_json(id: &str, state: &str) -> Value {
    let mut data = json!({
        "alert_id": id, "state": state, "kind": "reading", "agent": "gw", "stream": "0000000000000007",
        "seq": 1, "site": "plant", "device": "oven 1", "metric": "temp", "fired_us": 1_700_000_000_000_000_i64,
        "score": 1.5, "threshold": 1.0, "model": {"name": "rule", "version": "1"}, "why": "range",
        "message": "95 is above 90", "cause_stream": "0000000000000007", "cause_seq": 1,
    });
    if state == "resolved" {
        data["resolved_us"] = json!(1_700_000_060_000_000_i64);
    }
    json!({
        "specversion": "1.0", "id": format!("{id}/{state}"), "source": "/weir/agent/gw",
        "type": format!("io.weir.alert.{state}"), "subject": "plant/oven 1/temp",
        "time": "2023-11-14T22:13:20Z", "datacontenttype": "application/json", "data": data,
    })
}

fn partition(number: i32) -> Partition {
    Partition { topic: Topic::Alerts, number }
}

/// What answers a request: `None` hangs.
type Script = dyn FnMut(&Told) -> Option<u16> + Send;

/// A request as it came.
#[derive(Clone, Debug)]
struct Told {
    /// `webhook-id`, or of each alert of Alertmanager its `alert_id` and whether it has ended.
    ids: Vec<String>,
    status: Option<u16>,
    at: Instant,
}

/// A topic, and a receiver that answers as it is told to.
#[derive(Clone)]
struct World(Arc<Mutex<State>>);

struct State {
    logs: BTreeMap<Partition, Vec<Record>>,
    committed: BTreeMap<Partition, Committed>,
    /// How many records were handed out.
    taken: usize,
    changes: VecDeque<Polled>,
    script: Box<Script>,
    requests: Vec<Told>,
}

impl World {
    fn new(script: impl FnMut(&Told) -> Option<u16> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(State {
            logs: BTreeMap::new(),
            committed: BTreeMap::new(),
            taken: 0,
            changes: VecDeque::new(),
            script: Box::new(script),
            requests: Vec::new(),
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn answers(&self, script: impl FnMut(&Told) -> Option<u16> + Send + 'static) {
        self.lock().script = Box::new(script);
    }

    fn add(&self, number: i32, value: &Value) {
        let mut state = self.lock();
        let log = state.logs.entry(partition(number)).or_default();
        let offset = i64::try_from(log.len()).unwrap();
        let value = Some(Bytes::from(serde_json::to_vec(value).unwrap()));
        let ts_ms = now_us() / 1_000;
        log.push(Record {
            partition: partition(number),
            offset,
            ts_ms,
            key: None,
            value,
            retried: 0,
            by: None,
            again: None,
        });
    }

    fn add_alert(&self, number: i32, id: &str, state: &str) {
        self.add(number, &alert_json(id, state));
    }

    /// What the receiver took, in order.
    fn taken(&self) -> Vec<String> {
        let state = self.lock();
        let good = state.requests.iter().filter(|told| told.status == Some(200));
        good.flat_map(|told| told.ids.clone()).collect()
    }

    fn tries(&self) -> usize {
        self.lock().requests.len()
    }

    fn offset(&self, number: i32) -> i64 {
        self.lock().committed.get(&partition(number)).map_or(-1, |committed| committed.offset)
    }

    /// Starts a hook; dropping the sender stops it.
    fn start(&self, kind: &str, status: &Arc<Status>) -> (watch::Sender<bool>, JoinHandle<()>) {
        let (stop, stopped) = watch::channel(false);
        let world = self.clone();
        let connect = move |_: &str| {
            let member = Member { world: world.clone(), positions: BTreeMap::new() };
            Ok(Box::new(member) as Box<dyn Consumer>)
        };
        let receiver = receiver(kind).over(Arc::new(self.clone()));
        let run = teller::keep(receiver, Part::Hook(0), connect, Arc::clone(status), stopped);
        (stop, tokio::spawn(run))
    }

    /// Waits until `done`, for an hour of the test's clock at most.
    #[track_caller]
    fn until<'a>(&'a self, done: impl Fn(&Self) -> bool + 'a) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let deadline = Instant::now() + Duration::from_secs(3_600);
            while !done(self) {
                assert!(Instant::now() < deadline, "{caller}: told {:?}", self.taken());
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn receiver(kind: &str) -> Receiver {
    // Never reached: another way is put in its place.
    let table = match kind {
        "alertmanager" => "[[alertmanager]]\nurl = 'http://am:9093'\nrepeat_s = 60".to_owned(),
        _ => format!(
            "[[webhook]]\nurl = 'http://hook/'\nsecret = {{ file = '{}' }}\n{kind}",
            concat!(env!("CARGO_MANIFEST_DIR"), "/src/hooks/tests/secret")
        ),
    };
    let config: HooksConfig = toml::from_str(&table).unwrap();
    receivers(&config).unwrap().pop().unwrap()
}

#[async_trait]
impl Post for World {
    async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let now = weir_models::time::rfc3339(now_us());
        let ids = match headers.get("webhook-id") {
            Some(id) => vec![id.to_str().unwrap().to_owned()],
            None => {
                let of = |alert: &Value| {
                    let ended = alert["endsAt"].as_str().unwrap() <= &*now;
                    let state = if ended { "resolved" } else { "firing" };
                    format!("{}/{state}", alert["labels"]["alert_id"].as_str().unwrap())
                };
                body.as_array().unwrap().iter().map(of).collect()
            }
        };
        let mut told = Told { ids, status: None, at: Instant::now() };
        let answer = (self.lock().script)(&told);
        // A little time, so that things happen meanwhile.
        sleep(Duration::from_millis(5)).await;
        told.status = answer;
        self.lock().requests.push(told);
        match answer {
            Some(0) => Err("connection refused".into()),
            Some(status) => Ok(Answer { status, retry_after_s: None, text: String::new() }),
            None => {
                sleep(Duration::from_secs(15)).await;
                Err("no answer".into())
            }
        }
    }
}

struct Member {
    world: World,
    /// The next offset of each partition that is ours.
    positions: BTreeMap<Partition, i64>,
}

#[async_trait]
impl Consumer for Member {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Polled>, ConsumeError> {
        let polled = self.take(max);
        if polled.is_empty() {
            sleep(wait.min(Duration::from_millis(50))).await;
        }
        Ok(polled)
    }

    async fn commit(&mut self, offsets: &[(Partition, Committed)]) -> Result<(), ConsumeError> {
        sleep(Duration::from_millis(2)).await;
        if offsets.iter().any(|(partition, _)| !self.positions.contains_key(partition)) {
            return Err(ConsumeError::Lost("revoked".into()));
        }
        self.world.lock().committed.extend(offsets.iter().cloned());
        Ok(())
    }
}

impl Member {
    fn take(&mut self, max: usize) -> Vec<Polled> {
        let mut state = self.world.lock();
        let mut polled: Vec<Polled> = state.changes.drain(..).collect();
        for change in &polled {
            if let Polled::Revoked(partitions, _) = change {
                self.positions.retain(|partition, _| !partitions.contains(partition));
            }
        }
        if self.positions.is_empty() && polled.is_empty() {
            for partition in state.logs.keys().copied().collect::<Vec<_>>() {
                let committed = state.committed.get(&partition).cloned();
                self.positions.insert(partition, committed.as_ref().map_or(0, |c| c.offset));
                polled.push(Polled::Assigned(partition, committed));
            }
        }
        let mut records = Vec::new();
        for (partition, position) in &mut self.positions {
            let from = usize::try_from(*position).unwrap();
            let rest = state.logs[partition].get(from..).unwrap_or_default();
            let some = rest.iter().take(max - records.len());
            records.extend(some.cloned());
            *position = records
                .iter()
                .filter(|r| r.partition == *partition)
                .map(|r| r.offset + 1)
                .fold(*position, i64::max);
        }
        state.taken += records.len();
        if !records.is_empty() {
            polled.push(Polled::Records(records));
        }
        polled
    }
}

/// Takes partitions away; the answer comes when they were let go.
fn revoke(world: &World, numbers: &[i32]) -> oneshot::Receiver<()> {
    let (done, answer) = oneshot::channel();
    let partitions = numbers.iter().map(|number| partition(*number)).collect();
    world.lock().changes.push_back(Polled::Revoked(partitions, done));
    answer
}

#[test]
fn a_hook_that_cannot_begin_says_which_and_why() {
    for (table, expected) in [
        (
            "[[webhook]]\nurl = 'http://h:1/'\nsecret = { file = '/nowhere/s' }",
            "hook `h:1`: `secret`: cannot read",
        ),
        (
            "[[webhook]]\nname = 'x'\nurl = 'http://h:1/'\nsecret = { env = 'PATH' }",
            "hook `x`: `secret`: not base64",
        ),
        (
            "[[alertmanager]]\nurl = 'http://h:1/'\ntoken = { env = 'WEIR_NO_SUCH' }",
            "hook `h:1`: `token`: environment",
        ),
        (
            "[[alertmanager]]\nurl = 'https://h/'\nca_file = '/nowhere/ca'",
            "hook `h:443`: cannot use `ca_file`",
        ),
    ] {
        let config: HooksConfig = toml::from_str(table).unwrap();
        let told = receivers(&config).err().unwrap().to_string();
        assert!(told.starts_with(expected), "{told}");
    }
}
