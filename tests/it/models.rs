//! Central models by the commands that people use: a key, a training from the archive, a file, the topic, a step back.

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
use weir_tests::{Launch, services, unique};

const SOON: Duration = Duration::from_secs(60);
const FIRST_MS: i64 = 1_750_000_000_000;

/// An archive of ten days of a pump, a reading each quarter of an hour: warmer by day, and not quite even.
async fn archive(folder: &Path) {
    let archive = Archive::local(folder).unwrap();
    let partition = Partition { topic: Topic::Readings, number: 0 };
    let mut open = Open::new(partition, &"weir.readings".into(), 0, FIRST_MS, Instant::now());
    for n in 0..960_i64 {
        let ts_us = FIRST_MS * 1_000 + n * 900_000_000;
        let value = 20.0 + (n / 4 % 24 - 12).abs() as f64 * 0.5 + (n * 7919 % 101) as f64 * 0.01;
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
