//! The archive in a bucket of a real S3 server: it keeps the contract that the folder keeps in the sink's unit tests; what the
//! store refuses is told with what to do; a sink that is killed while the store refuses loses nothing and doubles nothing, and a
//! merge that is killed neither.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use weir_models::topic::Topic;
use weir_sink::archive::{Archive, ArchiveConfig, conformance};
use weir_tests::archive::objects;
use weir_tests::kafka::Kafka;
use weir_tests::program::Finished;
use weir_tests::s3::{Mood, S3, SECRET_KEY};
use weir_tests::{Launch, Program, free_port, http, parquet_rows, services, unique, wait_until};

use crate::line::random::Random;

const SOON: Duration = Duration::from_secs(60);

/// The archive that a configuration names, as the sink or a command opens it.
fn archive(config: &str) -> ArchiveConfig {
    let table: Value = serde_json::to_value(config.parse::<toml::Table>().unwrap()).unwrap();
    serde_json::from_value(table["archive"].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_passes_the_conformance_suite() {
    let store = S3::start();
    let fresh = |name: &str| {
        let config = archive(&store.config(&format!("a/{name}")));
        // The sink's way and that of commands.
        if name.len().is_multiple_of(2) {
            Archive::open(&config).unwrap()
        } else {
            Archive::existing(&config).unwrap()
        }
    };
    conformance::all(fresh, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_refuses_is_told_with_what_to_do() {
    let mut store = S3::start();
    let good = store.config("a");
    let opened = |config: &str| Archive::open(&archive(config)).unwrap();
    let told = async |config: &str| {
        let archive = opened(config);
        let error = archive.check().await.unwrap_err();
        // Nobody may take this for "it was never written".
        let read = archive.manifest("logs/x.parquet").await.unwrap_err();
        assert!(!read.is_gone(), "{read}");
        let text = format!("{error}; {error:?}; {read:?}; {archive:?}");
        assert!(!text.contains(SECRET_KEY) && !text.contains("wrong"), "{text}");
        (error.to_string(), error.is_temporary())
    };
    opened(&good).check().await.unwrap();
    assert_eq!(opened(&good).manifest("logs/x.parquet").await.unwrap(), None);

    let secret = good.replace(".secret\"", ".wrong\"");
    let (text, is_temporary) = told(&secret).await;
    assert!(text.contains("403 SignatureDoesNotMatch") && !is_temporary, "{text}");
    assert!(text.contains("; check `archive.s3.secret_key`"), "{text}");
    let (text, is_temporary) = told(&good.replace(".access\"", ".wrong\"")).await;
    assert!(text.contains("403 ") && text.contains("`archive.s3.") && !is_temporary, "{text}");
    // This server tells so only of a listing; others are in the sink's unit tests.
    let other = opened(&good.replace("\"weir\"", "\"other\""));
    let error = other.catalogue(&[Topic::Logs]).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("404 NoSuchBucket") && text.contains("make the bucket"), "{text}");
    assert!(!error.is_temporary() && !error.is_gone());
    for (mood, part) in [
        (Mood::Refuses(503, "SlowDown"), "503 SlowDown (Not now); it is busy"),
        (Mood::Refuses(507, "XMinioStorageFull"), "make room or raise the quota"),
        (Mood::Refuses(403, "AccessDenied"), "let this key list, read, write and delete"),
        (Mood::Hangs, "no answer from 127.0.0.1"),
    ] {
        store.mood(mood);
        let (text, is_temporary) = told(&good.replace("timeout_s = 5", "timeout_s = 1")).await;
        assert!(text.contains(part), "{text}");
        assert_eq!(is_temporary, !text.contains("403"), "{text}");
    }
    store.mood(Mood::Works);
    store.leave();
    let (text, is_temporary) = told(&good).await;
    assert!(text.contains("cannot be reached") && text.contains("`archive.s3.endpoint`"), "{text}");
    assert!(is_temporary);
    let missing = Archive::open(&archive(&good.replace(".secret\"", ".none\""))).unwrap_err();
    assert!(missing.to_string().contains("`archive.s3.secret_key`: cannot read"), "{missing}");
}

/// Five hours ago: the hour is over, so that its objects may be merged.
fn earlier_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    i64::try_from(now).unwrap() / 3_600_000 * 3_600_000 - 5 * 3_600_000 + 60_000
}

/// A sink with SQLite on topics of its own, with its archive in a bucket.
struct Line {
    kafka: Kafka,
    name: String,
    store: S3,
    sink: Program,
    command: Launch,
    ready: String,
    sent: u64,
}

impl Line {
    fn start(name: &str) -> Self {
        let (store, kafka) = (S3::start(), services::kafka().clone());
        let (name, port, broker) = (unique(name), free_port(), kafka.bootstrap.clone());
        let config = format!(
            "http = {{ listen = \"127.0.0.1:{port}\" }}\n\
             store = {{ sqlite = {{ path = \"store.sqlite\" }} }}\n\
             consume = {{ group = \"{name}\" }}\n\
             topics = {{ partitions = 2 }}\n\
             kafka = {{ brokers = [\"{broker}\"], topic_prefix = \"{name}.\" }}\n\
             [archive]\nclose_after_s = 1\n{}",
            store.config("sites/north")
        );
        let launch = Launch::ours("weir-sink").file("sink.toml", &config);
        launch.clone().args(["migrate", "-c", "sink.toml"]).run(SOON).ok();
        let checked = launch.clone().args(["check", "--connect", "-c", "sink.toml"]).run(SOON).ok();
        assert!(checked.contains("archive: ok"), "{checked}");
        let sink = launch.clone().args(["run", "-c", "sink.toml"]).start();
        let ready = format!("http://127.0.0.1:{port}/readyz");
        let mut line = Self { kafka, name, store, sink, command: launch, ready, sent: 0 };
        line.wait_ready();
        line
    }

    #[track_caller]
    fn wait_ready(&mut self) {
        self.sink.wait_http(&self.ready, SOON);
    }

    /// Sends log events of one stream.
    fn send(&mut self, count: u64) {
        let events: Vec<_> = (self.sent + 1..=self.sent + count)
            .map(|seq| ("plant/gw", event(seq).to_string()))
            .collect();
        self.kafka.send_at(&format!("{}.logs", self.name), &events, earlier_ms());
        self.sent += count;
    }

    /// Waits until `/readyz` says this of the archive.
    #[track_caller]
    fn wait_told(&self, part: &str) {
        wait_until("the sink to say what is wrong", SOON, || {
            let text = http::try_get(&self.ready).map_or_else(|e| e.to_string(), |a| a.text());
            if text.contains(part) { Ok(()) } else { Err(text) }
        });
    }

    #[track_caller]
    fn wait_committed(&self) {
        let topics = [format!("{}.logs", self.name)];
        wait_until("everything to be committed", SOON, || {
            match self.kafka.uncommitted(&self.name, &topics) {
                0 => Ok(()),
                left => Err(format!("{left} are not")),
            }
        });
    }

    fn run(&self, args: &[&str]) -> Finished {
        let (command, rest) = args.split_first().unwrap();
        self.command.clone().args([*command, "-c", "sink.toml"]).args(rest).run(SOON)
    }

    /// Everything that was sent is in the archive once, by its own commands and by any reader.
    #[track_caller]
    fn check(&self) {
        let verified = self.run(&["archive", "verify"]).ok();
        assert!(verified.ends_with(", 0 faults\n"), "{verified}");
        let audited = self.run(&["audit"]).ok();
        assert!(audited.contains("1 streams, 0 not whole"), "{audited}");
        let listed = self.run(&["archive", "ls", "--json"]).ok();
        let rows = |line: &str| serde_json::from_str::<Value>(line).unwrap()["rows"].as_u64();
        assert_eq!(listed.lines().filter_map(rows).sum::<u64>(), self.sent, "{listed}");
    }

    /// Numbers of all rows of all files.
    fn archived(&self) -> Vec<u64> {
        let rows = parquet_rows(&self.store.bucket());
        let mut seqs: Vec<u64> = rows.iter().map(|row| row.row["seq"].as_u64().unwrap()).collect();
        seqs.sort_unstable();
        seqs
    }
}

fn event(seq: u64) -> Value {
    json!({
        "agent": "gw", "stream": "0000000000000007", "seq": seq, "site": "plant", "device": "gw",
        "ts_us": 1_790_000_000_000_000_u64, "received_us": 1_790_000_000_000_000_u64,
        "host": "gw", "message": format!("line {seq}"),
    })
}

#[test]
fn a_sink_that_is_killed_while_its_store_refuses_loses_nothing() {
    let mut line = Line::start("bucket");
    let mut random = Random::new(u64::from(std::process::id()));
    for (mood, told) in [
        (Mood::RefusesToWrite(503, "SlowDown"), "503 SlowDown (Not now); it is busy"),
        (Mood::RefusesToWrite(507, "XMinioStorageFull"), "make room or raise the quota"),
        (Mood::RefusesToWrite(403, "AccessDenied"), "let this key list, read, write and delete"),
        (Mood::Refuses(500, "InternalError"), "500 InternalError"),
    ] {
        line.send(200);
        sleep(Duration::from_millis(random.below(1_500)));
        line.store.mood(mood);
        line.send(200);
        line.wait_told(told);
        line.sink.kill9();
        if mood != Mood::RefusesToWrite(403, "AccessDenied") {
            // It waits for a store that is busy, full or broken also at the start; a key that may not write needs a person.
            line.sink.restart();
            line.wait_told(told);
        }
        line.store.mood(Mood::Works);
        if mood == Mood::RefusesToWrite(403, "AccessDenied") {
            line.sink.restart();
        }
        line.wait_ready();
        line.wait_committed();
    }
    for _ in 0..6 {
        line.send(200);
        sleep(Duration::from_millis(random.below(2_500)));
        line.sink.kill9();
        line.sink.restart();
        line.wait_ready();
        line.wait_committed();
    }
    line.store.leave();
    line.send(100);
    line.wait_told("cannot be reached");
    line.store.come_back();
    line.wait_ready();
    line.send(100);
    line.wait_committed();
    line.check();
    assert_eq!(line.archived(), (1..=line.sent).collect::<Vec<_>>());
    merged_by_command(&mut line, &mut random);
    let said = line.sink.lines().iter().map(|line| line.text.clone()).collect::<String>();
    assert!(!said.contains(SECRET_KEY));
}

/// Many objects become one, by a command that is killed again and again, while the sink goes on.
fn merged_by_command(line: &mut Line, random: &mut Random) {
    let archive = line.store.bucket().join("sites/north/logs");
    let before = objects(&archive).len();
    assert!(before >= 8, "{before} objects");
    let planned = line.run(&["archive", "merge", "--dry-run"]).ok();
    assert!(planned.contains("would become"), "{planned}");
    assert_eq!(objects(&archive).len(), before);
    for _ in 0..6 {
        let merge = ["archive", "-c", "sink.toml", "merge", "--json"];
        let mut merge = line.command.clone().args(merge).start();
        sleep(Duration::from_millis(20 + random.below(250)));
        merge.kill9();
        // The lock of one that was killed holds the next one off for half an hour.
        let _ = fs::remove_file(line.store.bucket().join("sites/north/_weir_merging"));
        line.check();
    }
    let done = line.run(&["archive", "merge"]).ok();
    let after = objects(&archive).len();
    assert!(after <= 4, "{before} objects became {after}: {done}");
    line.check();
    assert_eq!(line.archived(), (1..=line.sent).collect::<Vec<_>>());
    // The memory of duplicates is where the commits say.
    line.sink.kill9();
    line.sink.restart();
    line.wait_ready();
    let sent = line.sent;
    line.sent = 0;
    line.send(sent);
    line.wait_committed();
    line.check();
    assert_eq!(line.archived(), (1..=sent).collect::<Vec<_>>());
    let verified = line.run(&["replay", "--to-store"]).ok();
    assert!(verified.contains(&format!("{sent} events")), "{verified}");
    assert!(line.run(&["archive", "merge", "--topic", Topic::Logs.suffix()]).status.success());
}
