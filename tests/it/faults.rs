//! Two sinks share the work of a line under load, and one of them is killed: at each of its named points in turn, then
//! at random moments, while a third comes and goes; ten times, a hundred with `cargo dev test --long`. Whoever is left takes over. In the
//! end everything is there once, and `audit` finds nothing lost and nothing double.
#![allow(clippy::print_stderr, reason = "figures and seed are for the reader of the output")]

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use weir_sink::fault::{Point, VARIABLE};
use weir_tests::line::Line;
use weir_tests::program;
use weir_tests::{Launch, Program, free_port, services, wait_until};

use crate::line::arrived::Arrived;
use crate::line::random::Random;
use crate::line::steady::Steady;
use crate::prove::Commands;

/// For a sink to come to one of its points: marks of one that was killed are taken up after some seconds.
const SOON: Duration = Duration::from_secs(90);
/// For everything to arrive.
const ARRIVE: Duration = Duration::from_secs(120);
/// Days are sealed at once, and marks of sinks that were killed soon.
const SEAL: &str = "[store.seal]\nafter_s = 1\nadopt_after_s = 12\n";

/// The line, and more sinks of its group.
struct Scene {
    line: Line,
    second: Program,
    load: Steady,
    begun: Instant,
}

impl Scene {
    #[track_caller]
    fn start(name: &str) -> Self {
        let begun = Instant::now();
        let line = Line::start_with(name, services::kafka(), services::cassandra(), SEAL);
        let second = another(&line);
        let load = Steady::start(&line, 2);
        load.wait_more(500);
        Self { line, second, load, begun }
    }

    /// Starts the first sink so that it ends at that passing of a point, and waits for that. It has all partitions at first;
    /// then the second comes back and gets some of them.
    #[track_caller]
    fn killed_at(&mut self, point: Point, times: u32) {
        let from = Instant::now();
        let sink = &mut self.line.sink;
        sink.kill9();
        self.second.kill9();
        sink.restart_with(VARIABLE, &format!("{}@{times}", point.name()));
        wait_until("partitions of readings, or the end", SOON, || {
            let has =
                |line: &program::Line| line.text.contains("partition assigned topic=\"readings\"");
            let is_so = sink.try_status().is_some() || sink.lines().iter().any(has);
            if is_so { Ok(()) } else { Err("neither") }
        });
        self.second.restart();
        let status = self.line.sink.wait_exit(SOON);
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{point:?}: {status}");
        eprintln!("faults: killed at {} after {:.1} s", point.name(), from.elapsed().as_secs_f64());
        self.line.sink.restart_without(VARIABLE);
    }

    /// Either sink is killed at any moment.
    #[track_caller]
    fn killed_at_random(&mut self, kills: u64, random: &mut Random) {
        for _ in 0..kills {
            sleep(Duration::from_millis(random.below(2_000)));
            let sink = if random.below(2) == 0 { &mut self.line.sink } else { &mut self.second };
            sink.kill9();
            sink.restart();
        }
    }

    /// A third sink comes and goes, so that partitions move all the time.
    #[track_caller]
    fn storm(&mut self, rounds: u64, random: &mut Random) {
        let mut third = another(&self.line);
        for _ in 0..rounds {
            sleep(Duration::from_millis(random.below(1_500)));
            if random.below(2) == 0 {
                third.kill9();
            } else {
                third.term(SOON);
            }
            sleep(Duration::from_millis(random.below(500)));
            third.restart();
        }
        third.term(SOON);
    }

    /// Everything is there, once.
    #[track_caller]
    fn check(mut self) {
        self.load.wait_more(1_000);
        let sent = self.load.stop();
        assert_eq!(sent.repeated, 0, "the agent has refused input");
        self.line.wait_ready(SOON);
        self.line.settle(ARRIVE);
        let arrived = Arrived::read(&self.line);
        arrived.check();
        assert_eq!(sent.check(arrived.events()), 0, "events there twice");
        Commands::of(self.line.sink.dir()).audit_is_clean();
        let after_s = self.begun.elapsed().as_secs_f64();
        eprintln!("faults: {} lines, each there once, {after_s:.1} s", sent.lines.len());
    }
}

/// One more sink of the group, with the same archive.
fn another(line: &Line) -> Program {
    let config = std::fs::read_to_string(line.sink.dir().join("sink.toml")).unwrap();
    let (api, archive) = (line.api(""), line.archive().display().to_string());
    let listen = api.trim_start_matches("http://");
    let config = config
        .replace("path = \"archive\"", &format!("path = \"{archive}\""))
        .replace(listen, &format!("127.0.0.1:{}", free_port()));
    Launch::ours("weir-sink").file("sink.toml", config).args(["run", "-c", "sink.toml"]).start()
}

#[test]
fn sinks_killed_at_each_point_and_at_random_lose_nothing() {
    let kills = if weir_tests::long() { 100 } else { 10 };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    eprintln!("faults: seed {seed}, {kills} kills at random");
    let mut random = Random::new(seed);
    let mut scene = Scene::start("faults");
    for point in Point::ALL {
        // Not the first time, where a sink has more than one in a short while.
        let times = match point {
            Point::Taken | Point::StoreBefore | Point::StoreAfter => 3,
            Point::ObjectBefore | Point::ObjectAfter | Point::ManifestAfter => 2,
            _ => 1,
        };
        scene.killed_at(point, times);
    }
    scene.killed_at_random(kills, &mut random);
    scene.storm(kills / 2, &mut random);
    scene.check();
}
