//! Central models by the commands that people use: a key, a training from the archive, a file, the topic, a step back; and
//! by an agent that takes them up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use weir_models::event::Event;
use weir_models::topic::Topic;
use weir_sink::archive::{Archive, Open, Row, RowBody};
use weir_sink::consume::Partition;
use weir_sink::decode::dedupe::Snapshot;
use weir_tests::kafka::Kafka;
use weir_tests::{Launch, Program, free_port, http, services, unique};

const SOON: Duration = Duration::from_secs(60);
const FIRST_MS: i64 = 1_750_000_000_000;

/// What the pump reads at the `n`th quarter of an hour.
fn value(n: i64) -> f64 {
    20.0 + (n / 4 % 24 - 12).abs() as f64 * 0.5 + (n * 7919 % 101) as f64 * 0.01
}

/// An archive of ten days of a pump, a reading each quarter of an hour: warmer by day, and not quite even.
async fn archive(folder: &Path) {
    let archive = Archive::local(folder).unwrap();
    let partition = Partition { topic: Topic::Readings, number: 0 };
    let mut open = Open::new(partition, &"weir.readings".into(), 0, FIRST_MS, Instant::now());
    for n in 0..960_i64 {
        let ts_us = FIRST_MS * 1_000 + n * 900_000_000;
        let value = value(n);
        let json = json!({
            "agent": "gw", "stream": "0000000000000007", "seq": n + 1, "site": "plant", "device": "pump",
            "ts_us": ts_us, "received_us": ts_us, "clock": "synced", "source": "s", "dialect": "json",
            "parse": "ok", "meta": {}, "meta_state": "miss", "values": {"temp": {"v": value}},
        });
        let event = Event::from_json(json.to_string().as_bytes()).unwrap();
        let body = RowBody::Event(Arc::new(event));
        open.push(Row { offset: n, kafka_ms: FIRST_MS, body }, 300).unwrap();
    }
    archive.put(&open.seal(960, Snapshot::default()).unwrap()).await.unwrap();
}

#[track_caller]
fn refused(sink: &Launch, args: &[&str], why: &str) {
    let finished = sink.clone().args(args).run(SOON);
    assert_eq!(finished.status.code(), Some(1), "{args:?}: {}", finished.stdout);
    assert!(finished.stderr.contains(why), "{args:?}: {}", finished.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_trained_published_and_taken_back() {
    let kafka = services::kafka();
    let prefix = format!("{}.", unique("models"));
    let config = |keys: &str| {
        format!(
            "kafka = {{ brokers = [\"{}\"], topic_prefix = \"{prefix}\" }}\n\
             store = {{ sqlite = {{ path = \"store.sqlite\" }} }}\n\
             archive = {{ path = \"archive\" }}\n\
             models = {{ keys = [{keys}] }}\n",
            kafka.bootstrap
        )
    };
    let sink = Launch::ours("weir-sink").file("unpinned.toml", config(""));
    archive(&sink.dir().join("archive")).await;
    let run = |args: &[&str]| sink.clone().args(args).run(SOON).ok();
    let public = run(&["keys", "new", "key.pem"]).trim().to_owned();
    assert_eq!(run(&["keys", "show", "key.pem"]).trim(), public);
    refused(&sink, &["keys", "new", "key.pem"], "name a file that does not exist");
    run(&["keys", "new", "other.pem"]);
    let sink = sink.clone().file("c.toml", config(&format!("\"{public}\"")));
    let run = |args: &[&str]| sink.clone().args(args).run(SOON).ok();
    let models = |args: &[&str]| run(&[&["models", "-c", "c.toml"], args].concat());

    run(&["migrate", "-c", "c.toml"]);
    let train = ["train", "-c", "c.toml", "--kind", "expected", "--key", "key.pem"];
    let told = run(&train);
    assert!(told.contains("plant/pump/temp") && told.contains("from 960 readings"), "{told}");
    let file = std::fs::read_dir(sink.dir().join("models")).unwrap().next().unwrap().unwrap();
    let (path, bytes) = (file.path(), std::fs::read(file.path()).unwrap());
    let path = path.to_str().unwrap();
    assert!(models(&["show", path]).contains("expected/plant/pump/temp"));
    let tested = models(&["backtest", path]);
    assert!(tested.contains("readings judged"), "{tested}");
    assert!(models(&["backtest", "--json", path]).lines().count() > 500);

    assert_eq!(models(&["ls"]), "");
    models(&["promote", path]);
    let records = kafka.read(&format!("{prefix}models"));
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(record.key_text(), "expected/plant/pump/temp");
    assert_eq!(record.payload.as_deref(), Some(&bytes[..]));
    assert!(models(&["ls"]).starts_with("expected/plant/pump/temp: version "));
    refused(&sink, &["models", "-c", "c.toml", "promote", path], "which runs");
    refused(&sink, &["models", "-c", "unpinned.toml", "show", path], "no pinned key");

    let mut tampered = bytes;
    *tampered.last_mut().unwrap() ^= 1;
    std::fs::write(sink.dir().join("tampered"), tampered).unwrap();
    refused(&sink, &["models", "-c", "c.toml", "show", "tampered"], "not the one that was signed");
    std::fs::write(sink.dir().join("large"), vec![0; 1 << 20]).unwrap();
    refused(&sink, &["models", "-c", "c.toml", "promote", "large"], "more than the 900000");

    let rollback = ["models", "-c", "c.toml", "rollback", path, "--key"];
    refused(&sink, &[&rollback[..], &["other.pem"]].concat(), "no pinned key");
    let told = models(&["rollback", path, "--key", "key.pem"]);
    assert!(told.contains("rolled expected/plant/pump/temp back"), "{told}");
    assert!(models(&["ls"]).contains("a roll-back"));
    refused(&sink, &["models", "-c", "c.toml", "promote", path], "which runs");
    models(&["rollback", path, "--withdraw"]);
    assert_eq!(models(&["ls"]), "");
}

/// The centre, and an agent that pins its key.
struct Scene {
    kafka: Kafka,
    topic: String,
    sink: Launch,
    agent: Program,
    input: u16,
    status: u16,
    /// The next reading.
    next: i64,
}

const KEY: &str = "expected/plant/pump/temp";

impl Scene {
    async fn set() -> Self {
        let kafka = services::kafka();
        let prefix = format!("{}.", unique("takeup"));
        let broker = &kafka.bootstrap;
        let sink = Launch::ours("weir-sink");
        archive(&sink.dir().join("archive")).await;
        let public = sink.clone().args(["keys", "new", "key.pem"]).run(SOON).ok();
        let public = public.trim();
        sink.clone().args(["keys", "new", "other.pem"]).run(SOON).ok();
        let sink = sink.file(
            "c.toml",
            format!(
                "kafka = {{ brokers = [\"{broker}\"], topic_prefix = \"{prefix}\" }}\n\
                 store = {{ sqlite = {{ path = \"store.sqlite\" }} }}\n\
                 archive = {{ path = \"archive\" }}\n\
                 models = {{ keys = [\"{public}\"] }}\n"
            ),
        );
        sink.clone().args(["migrate", "-c", "c.toml"]).run(SOON).ok();
        let (input, status) = (free_port(), free_port());
        let mut agent = Program::agent(&format!(
            "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\" }}\n\
             kafka = {{ brokers = [\"{broker}\"], topic_prefix = \"{prefix}\" }}\n\
             status = {{ listen = \"127.0.0.1:{status}\" }}\n\
             models = {{ keys = [\"{public}\"] }}\n\
             [[source.http]]\nlisten = \"127.0.0.1:{input}\"\nline = {{ device = \"device\" }}\n",
        ));
        agent.wait_line("agent is running", SOON);
        Self {
            kafka: kafka.clone(),
            topic: format!("{prefix}models"),
            sink,
            agent,
            input,
            status,
            next: 960,
        }
    }

    fn run(&self, args: &[&str]) -> String {
        self.sink.clone().args(args).run(SOON).ok()
    }

    /// Trains with a key into a folder; gives the file.
    fn train(&self, key: &str, folder: &str) -> String {
        let what = ["train", "-c", "c.toml", "--kind", "expected", "--key", key, "--out", folder];
        self.run(&what);
        let mut files = std::fs::read_dir(self.sink.dir().join(folder)).unwrap();
        files.next().unwrap().unwrap().path().to_str().unwrap().into()
    }

    fn models(&self, args: &[&str]) -> String {
        self.run(&[&["models", "-c", "c.toml"], args].concat())
    }

    /// More of what was trained: a day to look back to, and what a trial takes.
    fn read_on(&mut self) {
        let line = |n: i64| {
            let second = FIRST_MS / 1_000 + n * 900;
            format!("temp,device=pump value={} {second}\n", value(n))
        };
        let body: String = (self.next..self.next + 150).map(line).collect();
        self.next += 150;
        let url = format!("http://127.0.0.1:{}/v1/write?precision=s", self.input);
        assert_eq!(http::post(&url, "text/plain", body.as_bytes()).status, 204);
    }

    /// Waits until a line of the metrics that begins with `name` and holds all of `labels` has this value.
    #[track_caller]
    fn wait_metric(&mut self, name: &str, labels: &[String], wanted: u64) {
        let url = format!("http://127.0.0.1:{}/metrics", self.status);
        self.agent.wait(&format!("{name} {labels:?} {wanted}"), SOON, |_| {
            let text = http::try_get(&url).map_err(|e| e.to_string())?.text();
            let of_it =
                |line: &&str| line.starts_with(name) && labels.iter().all(|l| line.contains(l));
            let lines: Vec<&str> = text.lines().filter(of_it).collect();
            let value = lines.first().and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            if value == Some(wanted as f64) { Ok(()) } else { Err(format!("{lines:?}")) }
        });
    }

    #[track_caller]
    fn wait_version(&mut self, state: &str, version: u64) {
        let labels = [format!("model=\"{KEY}\""), format!("state=\"{state}\"")];
        self.wait_metric("weir_agent_model_version_seconds{", &labels, version);
    }

    #[track_caller]
    fn wait_refused(&mut self, reason: &str) {
        self.wait_metric("weir_agent_models_refused_total{", &[format!("reason=\"{reason}\"")], 1);
    }
}

/// The version in the name of a file.
fn version(file: &str) -> u64 {
    file.trim_end_matches(".model").rsplit('-').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_takes_a_model_up_refuses_what_is_forged_and_follows_a_step_back() {
    let mut scene = Scene::set().await;
    let first = scene.train("key.pem", "first");
    scene.models(&["promote", &first]);
    scene.wait_version("shadow", version(&first));
    scene.read_on();
    scene.wait_version("in_force", version(&first));
    scene.wait_version("shadow", 0);

    let mut altered = std::fs::read(&first).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    scene.kafka.send(&scene.topic, &[(KEY, altered)]);
    scene.wait_refused("changed");
    let forged = scene.train("other.pem", "forged");
    scene.kafka.send(&scene.topic, &[(KEY, std::fs::read(&forged).unwrap())]);
    scene.wait_refused("signature");
    scene.wait_version("in_force", version(&first));

    let second = scene.train("key.pem", "second");
    assert!(version(&second) > version(&first));
    scene.models(&["promote", &second]);
    scene.wait_version("shadow", version(&second));
    scene.kafka.send(&scene.topic, &[(KEY, std::fs::read(&first).unwrap())]);
    scene.wait_refused("older");
    scene.read_on();
    scene.wait_version("in_force", version(&second));

    let told = scene.models(&["rollback", &first, "--key", "key.pem"]);
    let back: u64 = told.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(back > version(&second), "{told}");
    scene.wait_version("in_force", back);

    scene.agent.kill9();
    scene.agent.restart();
    scene.agent.wait_line("central model of before", SOON);
    scene.wait_version("in_force", back);
    scene.models(&["rollback", &first, "--withdraw"]);
    scene.wait_version("in_force", 0);
}
