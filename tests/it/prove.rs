//! The commands that prove and rebuild, on real services: archive, dead letters, audit, replay.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::archive::objects;
use weir_tests::kafka::{Kafka, Message};
use weir_tests::line::Line;
use weir_tests::program::Finished;
use weir_tests::{Launch, Program, free_port, parquet_rows, services, unique, wait_until};

use crate::line::steady::Steady;

const SOON: Duration = Duration::from_secs(60);
const ARRIVE: Duration = Duration::from_secs(90);

/// The sink's commands, with the archive of a sink that runs in `folder`.
pub(crate) struct Commands(Launch);

impl Commands {
    pub(crate) fn of(folder: &Path) -> Self {
        let config = fs::read_to_string(folder.join("sink.toml")).unwrap();
        let config = ["archive", "store.sqlite"].iter().fold(config, |config, name| {
            let place = folder.join(name).display().to_string();
            config.replace(&format!("path = \"{name}\""), &format!("path = \"{place}\""))
        });
        // The load has stamps of its own; all days are compared.
        let config = config.replace("[store.cassandra]", "[store.cassandra]\nhot_days = 0");
        Self(Launch::ours("weir-sink").file("c.toml", config))
    }

    /// `weir-sink COMMAND -c c.toml ARGS`.
    fn run(&self, command: &str, args: &[&str]) -> Finished {
        self.0.clone().args([command, "-c", "c.toml"]).args(args).run(ARRIVE)
    }

    #[track_caller]
    fn ok(&self, command: &str, args: &[&str]) -> String {
        self.run(command, args).ok()
    }

    /// Every stream is whole, and the store holds what the archive holds.
    #[track_caller]
    pub(crate) fn audit_is_clean(&self) {
        let clean = self.ok("audit", &[]);
        assert!(clean.contains(", 0 not whole\n") && clean.contains(", 0 differ\n"), "{clean}");
    }

    /// Has to end with 1; gives what it said.
    #[track_caller]
    fn wrong(&self, command: &str, args: &[&str]) -> String {
        let Finished { status, stdout, stderr } = self.run(command, args);
        assert_eq!(status.code(), Some(1), "{command} {args:?}: {stdout}\n{stderr}");
        stdout + &stderr
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A sink with SQLite on topics of its own.
struct Small {
    kafka: Kafka,
    name: String,
    sink: Program,
    commands: Commands,
}

impl Small {
    fn start(name: &str) -> Self {
        let (kafka, name, http) = (services::kafka().clone(), unique(name), free_port());
        let broker = &kafka.bootstrap;
        let config = format!(
            "http = {{ listen = \"127.0.0.1:{http}\" }}\n\
             store = {{ sqlite = {{ path = \"store.sqlite\" }} }}\n\
             archive = {{ path = \"archive\", close_after_s = 1 }}\n\
             consume = {{ group = \"{name}\" }}\n\
             topics = {{ partitions = 2 }}\n\
             kafka = {{ brokers = [\"{broker}\"], topic_prefix = \"{name}.\" }}\n"
        );
        let migrate = Launch::ours("weir-sink").file("sink.toml", &config);
        migrate.clone().args(["migrate", "-c", "sink.toml"]).run(SOON).ok();
        let launch = migrate.args(["run", "-c", "sink.toml"]);
        let commands = Commands::of(launch.dir());
        let mut sink = launch.start();
        sink.wait_http(&format!("http://127.0.0.1:{http}/readyz"), SOON);
        Self { kafka, name, sink, commands }
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// Sends log events of one stream, under one key.
    fn send(&self, seqs: &[u64]) {
        let events: Vec<_> = seqs.iter().map(|&seq| ("plant/gw", event(seq).to_string())).collect();
        self.kafka.send(&self.topic("logs"), &events);
    }

    /// Waits until the sink has committed all logs and the letters are these, open and sent back.
    #[track_caller]
    fn wait_letters(&self, open: usize, all: usize) -> Vec<Value> {
        let topics = [self.topic("logs")];
        wait_until("everything to be committed", SOON, || {
            match self.kafka.uncommitted(&self.name, &topics) {
                0 => Ok(()),
                left => Err(format!("{left} are not")),
            }
        });
        assert_eq!(lines(&self.commands.ok("dlq", &["ls", "--all", "--json"])).len(), all);
        let letters = lines(&self.commands.ok("dlq", &["ls", "--json"]));
        assert_eq!(letters.len(), open, "{letters:?}");
        letters
    }

    /// Number of each archived log event, sorted.
    fn archived(&self) -> Vec<i64> {
        let rows = parquet_rows(&self.sink.dir().join("archive").join("logs"));
        let mut seqs: Vec<i64> = rows.iter().map(|row| row.row["seq"].as_i64().unwrap()).collect();
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
fn a_dead_letter_is_shown_mended_and_taken_once() {
    let small = Small::start("letters");
    let run = |args: &[&str]| small.commands.ok("dlq", args);
    small.send(&[1, 2]);
    // Of event 3 the site is missing; higher numbers come behind it.
    let mut broken = event(3);
    broken.as_object_mut().unwrap().remove("site");
    small.kafka.send(&small.topic("logs"), &[("plant/gw", broken.to_string())]);
    small.send(&[4, 5]);
    let letters = small.wait_letters(1, 1);
    let id = letters[0]["id"].as_str().unwrap();
    assert_eq!(letters[0]["topic"], small.topic("logs"));
    assert!(letters[0]["reason"].as_str().unwrap().contains("site"), "{letters:?}");
    assert!(run(&["ls"]).contains("1 letters, 0 more were sent back"));
    let shown = run(&["show", id, "--out", "letter.json"]);
    assert!(shown.contains("key: plant/gw") && shown.contains(&broken.to_string()), "{shown}");
    let file = small.commands.0.dir().join("letter.json");
    assert_eq!(fs::read(&file).unwrap(), broken.to_string().as_bytes());
    // The number is told apart from one that is missing.
    let told = small.commands.wrong("audit", &["--no-store"]);
    assert!(told.contains("among the dead letters: 1 (3)") && !told.contains("missing"), "{told}");

    // As it is it fails again, and is not sent a second time unasked.
    assert_eq!(run(&["retry", "--all"]).trim(), "sent back 1 letters");
    let again = small.wait_letters(1, 2);
    assert_eq!((&again[0]["retried"], again[0]["id"] == id), (&json!(1), false));
    assert_eq!(run(&["retry", "--all"]).trim(), "sent back 0 letters");
    assert_eq!(
        run(&["retry", "--reason", "no such reason", "--again"]).trim(),
        "sent back 0 letters"
    );
    small.wait_letters(1, 2);

    fs::write(&file, event(3).to_string()).unwrap();
    let id = again[0]["id"].as_str().unwrap();
    assert_eq!(run(&["retry", id, "--value", "letter.json"]).trim(), "sent back 1 letters");
    small.wait_letters(0, 2);
    assert_eq!(small.archived(), [1, 2, 3, 4, 5]);
    // Again by name: the sink knows that it has it, also after a crash.
    run(&["retry", id, "--value", "letter.json"]);
    small.wait_letters(0, 2);
    assert_eq!(small.archived(), [1, 2, 3, 4, 5]);
    small.commands.ok("audit", &[]);
    let absent = small.commands.wrong("dlq", &["show", "0/99"]);
    assert!(absent.contains("there is no letter 0/99"), "{absent}");
}

/// The objects of a topic with the most rows first.
fn largest(archive: &Path, topic: &str) -> PathBuf {
    let mut all = objects(&archive.join(topic));
    all.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    all.remove(0)
}

#[test]
fn a_killed_line_is_proved_and_what_is_taken_away_is_named() {
    let mut line = Line::start("prove", services::kafka(), services::cassandra());
    let urls = [line.input("/v1/write?precision=s"), line.input("/v1/events")];
    let load = Steady::to(&urls, 2);
    load.wait_more(1_000);
    line.agent.kill9();
    line.agent.restart();
    line.wait_ready(SOON);
    load.wait_more(1_000);
    line.sink.kill9();
    line.sink.restart();
    line.wait_ready(SOON);
    load.wait_more(1_000);
    sleep(Duration::from_millis(500));
    load.stop();
    line.settle(ARRIVE);

    let (commands, archive) = (Commands::of(line.sink.dir()), line.archive());
    let clean = commands.ok("archive", &["verify"]);
    assert!(clean.ends_with(", 0 faults\n"), "{clean}");
    let listed = lines(&commands.ok("archive", &["ls", "--json"]));
    assert_eq!(listed.len(), objects(&archive).len());
    let rows: u64 = listed.iter().map(|object| object["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows, parquet_rows(&archive).len() as u64);
    assert_eq!(commands.ok("archive", &["ls", "--json", "--to", "2001-01-01T00:00:00Z"]), "");
    commands.audit_is_clean();

    one_byte_flipped(&commands, &archive);
    object_removed(&commands, &archive);
    let clean = commands.ok("audit", &["--json"]);
    assert!(
        lines(&clean).iter().all(|verdict| verdict["missing"]["events"].as_u64().unwrap_or(0) == 0)
    );
    store_emptied(&commands, &line);
    for topic in ["readings", "logs"] {
        sent_again(&commands, &line, topic);
    }
}

/// By stream and number: partition, key, stamp and content.
type Published = BTreeMap<(String, i64), (i32, String, Option<i64>, Value)>;

/// What a topic holds, each event once.
fn published(kafka: &Kafka, topic: &str) -> Published {
    let messages = kafka.read(topic).into_iter().filter(|message| message.topic == topic);
    let one = |message: Message| {
        let record = message.json();
        let id = (record["stream"].as_str().unwrap().to_owned(), record["seq"].as_i64().unwrap());
        (id, (message.partition, message.key_text(), message.timestamp_ms, record))
    };
    messages.map(one).collect()
}

/// A topic from the archive is what it was.
fn sent_again(commands: &Commands, line: &Line, topic: &str) {
    let (from, to) = (line.topic(topic), format!("{}-again-{topic}", line.name));
    let replay = ["--to-topic", &to, "--topic", topic];
    line.kafka.create_topic(&to, 1);
    let told = commands.wrong("replay", &replay);
    assert!(told.contains("has 1 partitions, the archive has 3"), "{told}");
    let to = format!("{to}-3");
    line.kafka.create_topic(&to, 3);
    commands.ok("replay", &["--to-topic", &to, "--topic", topic, "--rate", "100000"]);
    let (before, after) = (published(&line.kafka, &from), published(&line.kafka, &to));
    assert!(!before.is_empty());
    assert_eq!(before.len(), after.len());
    for (id, record) in &before {
        assert_eq!(Some(record), after.get(id), "{id:?}");
    }
}

fn one_byte_flipped(commands: &Commands, archive: &Path) {
    let object = largest(archive, "readings");
    let whole = fs::read(&object).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&object, flipped).unwrap();
    let told =
        lines(commands.wrong("archive", &["verify", "--json"]).split("weir-sink:").next().unwrap());
    assert_eq!(told[0]["fault"], "sha256", "{told:?}");
    assert!(object.ends_with(told[0]["object"].as_str().unwrap()), "{told:?}");
    assert_eq!(told[1]["faults"], 1, "{told:?}");
    fs::write(&object, whole).unwrap();
    commands.ok("archive", &["verify", "--topic", "readings"]);
}

/// Takes an object and its manifest away: the offsets and the numbers that were in it are missing.
fn object_removed(commands: &Commands, archive: &Path) {
    let object = largest(archive, "readings");
    let manifest = object.with_extension("json");
    let told: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let kept = [&object, &manifest].map(|path| (path.clone(), fs::read(path).unwrap()));
    fs::remove_file(&object).unwrap();
    let gone = commands.wrong("archive", &["verify"]);
    assert!(gone.contains("the object is gone, its manifest is there"), "{gone}");
    let audited = commands.wrong("audit", &["--no-store"]);
    assert!(audited.contains("it is gone") && audited.contains("missing: "), "{audited}");

    fs::remove_file(&manifest).unwrap();
    let audited = commands.wrong("audit", &["--no-store", "--json"]);
    let audited = lines(audited.split("weir-sink:").next().unwrap());
    let missing = |stream: &Value| {
        let verdict = audited.iter().find(|verdict| &verdict["stream"] == stream).unwrap();
        verdict["missing"]["events"].as_u64().unwrap()
    };
    let streams = told["streams"].as_array().unwrap();
    // What was highest of all is not known any more to have been there.
    let inner: Vec<_> = streams.iter().filter(|range| missing(&range["stream"]) > 0).collect();
    assert!(!inner.is_empty(), "{audited:?}");
    for range in streams {
        assert!(missing(&range["stream"]) <= range["events"].as_u64().unwrap(), "{range}");
    }
    for (path, bytes) in kept {
        fs::write(path, bytes).unwrap();
    }
}

/// The store loses all readings and gets them back from the archive.
fn store_emptied(commands: &Commands, line: &Line) {
    for table in ["readings", "logs"] {
        line.cassandra.cql(&format!("TRUNCATE {}.{table}", line.name));
    }
    let told = commands.wrong("audit", &[]);
    assert!(told.contains(" values in the archive, 0 in the store"), "{told}");
    let position = ["replay", "--to-store", "--position", "position.json"];
    let told = commands.ok(position[0], &position[1..]);
    assert!(told.contains("replayed"), "{told}");
    let clean = commands.ok("audit", &[]);
    assert!(clean.contains(", 0 differ\n"), "{clean}");
    // Where it ended it goes on: there is nothing left to do.
    assert!(commands.ok(position[0], &position[1..]).contains("replayed 0 objects"));
    let rows = line.cassandra.cql(&format!("SELECT count(*) AS n FROM {}.logs", line.name));
    let archived = parquet_rows(&line.archive().join("logs"));
    let stored = archived.iter().filter(|row| row.row["lost_count"].is_null()).count();
    assert_eq!(rows[0]["n"], stored as u64);
}
