//! Runs the sink from the root file system of its image, in the whole line.
//!
//! In: `weir-container ROOT`, as root. Out: an exit status; a panic says what was not so. The sink runs
//! as the image's user, sees nothing but the image, read-only, and its own folder; it has to make topics
//! and schema, take what an agent sends through Kafka to Cassandra and the archive, say that it is well,
//! and end within ten seconds of SIGTERM. Run by `cargo dev container --test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]
#![allow(clippy::print_stdout, reason = "the figures are for the reader of the output")]

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_tests::archive::objects;
use weir_tests::line::{Line, SITE};
use weir_tests::{Launch, http, services};

/// For everything to arrive.
const LIMIT: Duration = Duration::from_secs(90);
/// What a container engine waits before it kills.
const GRACE: Duration = Duration::from_secs(10);
/// The image's user and group.
const USER: u32 = 65_532;
const LINES: usize = 1_000;

/// As a container engine does it: mounts of our own, the image read-only, the volume at its place, then
/// the program in place of the shell. `$0` is the root, `$1` the folder, the rest are the arguments.
const ENTER: &str = r#"
mount --bind "$0" "$0"
mount --bind "$1" "$0/var/lib/weir-sink"
mount -o remount,bind,ro "$0"
shift
exec unshare --root="$root" --wd=/var/lib/weir-sink --setgid=65532 --setuid=65532 /usr/bin/weir-sink "$@"
"#;

fn main() {
    let root = std::env::args().nth(1).expect("weir-container ROOT");
    let root = PathBuf::from(root);
    let refused = sink(&root, "").args(["health", "-c", "sink.toml"]).run(LIMIT);
    assert_eq!(refused.status.code(), Some(2), "no configuration: {}", refused.stderr);

    let sink = |config: &str| sink(&root, config);
    let mut line = Line::start_by("box", services::kafka(), services::cassandra(), sink);
    let mut socket = TcpStream::connect(line.tcp()).unwrap();
    for n in 0..LINES {
        writeln!(socket, "<13>1 2026-03-01T10:00:00Z host app - - - line {n}").unwrap();
    }
    drop(socket);
    let logs = line.topic("logs");
    line.agent.wait("all lines in Kafka", LIMIT, |_| match line.kafka.count(&logs) {
        n if n >= LINES as i64 => Ok(()),
        n => Err(format!("{n} of {LINES}")),
    });
    line.settle(LIMIT);

    let range = "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&limit=1000";
    let found = http::get_json(&line.api(&format!("/v1/logs?site={SITE}&{range}")));
    assert_eq!(found["items"].as_array().map(Vec::len), Some(LINES));
    let archived = objects(&line.archive());
    assert!(!archived.is_empty());
    let owner = line.archive().metadata().unwrap().uid();
    assert_eq!(owner, USER, "who writes the archive");

    let health = |line: &Line| {
        let (config, folder) = ("sink.toml", line.sink.dir().to_owned());
        enter(&root, &folder, Launch::at("health", "unshare".into()))
            .args(["health", "-c", config])
            .run(GRACE)
    };
    let well = health(&line);
    assert!(well.status.success(), "{}", well.stderr);
    let begun = Instant::now();
    let status = line.sink.term(GRACE);
    assert!(status.success(), "it ended with {status}");
    let ended = begun.elapsed();
    let gone = health(&line);
    assert_eq!(gone.status.code(), Some(1), "{}", gone.stderr);
    println!("{LINES} lines, {} objects, ended in {:.1} s", archived.len(), ended.as_secs_f64());
}

/// The sink of the image, in a folder with that configuration.
fn sink(root: &Path, config: &str) -> Launch {
    let mut launch = Launch::at("weir-sink", "unshare".into());
    if !config.is_empty() {
        launch = launch.file("sink.toml", config);
    }
    chown(launch.dir(), Some(USER), Some(USER)).unwrap();
    let folder = launch.dir().to_owned();
    enter(root, &folder, launch)
}

fn enter(root: &Path, folder: &Path, launch: Launch) -> Launch {
    let script = format!("set -e\nroot=$0\n{ENTER}");
    launch.args(["--mount", "sh", "-c", &script]).arg(root).arg(folder)
}
