//! Runs a program from the root file system of its image.
//!
//! In: `weir-container PROGRAM ROOT`, as root. Out: an exit status; a panic says what was not so. The program runs
//! as the image's user, sees nothing but the image, read-only, and its own folder, says that it is well, and ends
//! within ten seconds of SIGTERM. `weir-sink` has to make topics and schema, and take what an agent sends through
//! Kafka to Cassandra and the archive; `weir` has to take what a sender sends, and have it again after a restart.
//! Run by `cargo dev container --test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]
#![allow(clippy::print_stdout, reason = "the figures are for the reader of the output")]

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_tests::archive::objects;
use weir_tests::line::{Line, SITE};
use weir_tests::{Launch, Program, free_port, http, services};

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
mount --bind "$1" "$0/var/lib/$2"
mount -o remount,bind,ro "$0"
program=$2
shift 2
exec unshare --root="$root" --wd="/var/lib/$program" --setgid=65532 --setuid=65532 "/usr/bin/$program" "$@"
"#;

fn main() {
    let mut args = std::env::args().skip(1);
    let program = args.next().expect("weir-container PROGRAM ROOT");
    let root = PathBuf::from(args.next().expect("weir-container PROGRAM ROOT"));
    match &*program {
        "weir-sink" => try_sink(root),
        "weir" => try_site(&root),
        other => panic!("there is no image of `{other}`"),
    }
}

/// Agent and sink in one.
fn try_site(root: &Path) {
    let (page, syslog) = (free_port(), free_port());
    let config = format!(
        "[site]\nname = \"{SITE}\"\ndata_dir = \"/var/lib/weir\"\narchive_close_after_s = 1\n\
         [http]\nlisten = \"127.0.0.1:{page}\"\n\
         [[source.syslog]]\nlisten = \"tcp://127.0.0.1:{syslog}\"\n"
    );
    let launch = Launch::at("weir", "unshare".into()).file("site.toml", &config);
    let launch = entered(root, "weir", launch);
    let mut site = launch.clone().args(["up", "-c", "site.toml"]).start();
    let url = format!("http://127.0.0.1:{page}");
    site.wait_http(&format!("{url}/readyz"), LIMIT);
    let mut socket = TcpStream::connect(("127.0.0.1", syslog)).unwrap();
    for n in 0..LINES {
        writeln!(socket, "<13>1 2026-03-01T10:00:00Z host app - - - line {n}").unwrap();
    }
    drop(socket);
    let range = "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&limit=2000";
    let lines = format!("{url}/v1/logs?site={SITE}&{range}");
    let all = |site: &mut Program| {
        site.wait("all lines in the store", LIMIT, |_| {
            let found = http::get_json(&lines)["items"].as_array().map_or(0, Vec::len);
            if found == LINES { Ok(()) } else { Err(format!("{found} of {LINES}")) }
        });
    };
    all(&mut site);
    let health = || launch.clone().args(["health", "-c", "site.toml"]).run(GRACE);
    let well = health();
    assert!(well.status.success(), "{}", well.stderr);
    let begun = Instant::now();
    let status = site.term(GRACE);
    assert!(status.success(), "it ended with {status}");
    let ended = begun.elapsed();
    let gone = health();
    assert_eq!(gone.status.code(), Some(1), "{}", gone.stderr);
    site.restart();
    site.wait_http(&format!("{url}/readyz"), LIMIT);
    all(&mut site);
    assert!(site.term(GRACE).success());
    let objects = objects(&site.dir().join("archive"));
    assert!(!objects.is_empty());
    println!("{LINES} lines, {} objects, ended in {:.1} s", objects.len(), ended.as_secs_f64());
}

fn try_sink(root: PathBuf) {
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
        enter(&root, "weir-sink", &folder, Launch::at("health", "unshare".into()))
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
    entered(root, "weir-sink", launch)
}

/// In the folder of `launch`, which becomes that of the image's user.
fn entered(root: &Path, program: &str, launch: Launch) -> Launch {
    chown(launch.dir(), Some(USER), Some(USER)).unwrap();
    let folder = launch.dir().to_owned();
    enter(root, program, &folder, launch)
}

fn enter(root: &Path, program: &str, folder: &Path, launch: Launch) -> Launch {
    let script = format!("set -e\nroot=$0\n{ENTER}");
    launch.args(["--mount", "sh", "-c", &script]).arg(root).arg(folder).arg(program)
}
