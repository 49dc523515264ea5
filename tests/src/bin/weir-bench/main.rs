//! Measures whole programs: CPU seconds per million syslog events, wall rate, idle and peak memory.
//!
//! In: what to measure, and the path of a release build of `weir-agent`. Out: a table on standard output,
//! a row for each run, the best of each contender, and the ratios of ours to theirs. Every run sends
//! the same messages, ends when Kafka has all, and reads the topic back: a message that is missing or
//! there twice is told. Run by `cargo dev bench agent`,
//! `cargo dev bench udp`, `cargo dev bench peers`, `cargo dev bench outage` and
//! `cargo dev bench readings`; `cargo dev bench sink` and `cargo dev bench reads` measure the sink (`sink`, `reads`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails so")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the output of this command"
)]

mod connect;
mod contender;
mod figures;
mod load;
mod measure;
mod outage;
mod readings;
mod reads;
mod sink;

use std::path::{Path, PathBuf};

use contender::Input;
use figures::{Figures, summary};
use load::Load;
use measure::{Task, measure};

const USAGE: &str = "weir-bench agent|udp|peers PATH-OF-WEIR-AGENT [--work full|paced|file] \
                     [--events N] [--rate EVENTS_PER_SECOND] [--rounds N] [--only NAME,NAME]\n\
                     weir-bench outage PATH-OF-WEIR-AGENT [MINUTES]\n\
                     weir-bench readings PATH-OF-WEIR-AGENT [READINGS]\n\
                     weir-bench reads PATH-OF-WEIR-SINK\n\
                     weir-bench sink PATH-OF-WEIR-SINK [--events N] [--rounds N] [--hosts N] [--partitions N] \
                     [--close-after SECONDS] [--gather MIB] [--alone [--instances N]]";

struct Options {
    agent: PathBuf,
    names: Vec<String>,
    tasks: Vec<(&'static str, Task, usize)>,
    rounds: usize,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["reads", program] = words.as_slice() {
        return reads::reads(&std::fs::canonicalize(program).expect(USAGE));
    }
    if let ["sink", program, rest @ ..] = words.as_slice() {
        return of_sink(&std::fs::canonicalize(program).expect(USAGE), rest);
    }
    if let [what @ ("outage" | "readings"), agent, rest @ ..] = words.as_slice() {
        let agent = std::fs::canonicalize(agent).expect(USAGE);
        let number = |usual| rest.first().map_or(usual, |number| number.parse().expect(USAGE));
        match *what {
            "outage" => outage::outage(&agent, number(30)),
            _ => readings::readings(&agent, number(1_000_000) as usize),
        }
        return;
    }
    let options = options(args.into_iter());
    for (title, task, events) in &options.tasks {
        println!("\n{title}, {events} events");
        let mut names: Vec<&str> = options.names.iter().map(String::as_str).collect();
        names.retain(|name| match contender::why_not(name, task.input) {
            Some(why) => {
                println!("without {name}: {why}");
                false
            }
            None => true,
        });
        println!("{}", Figures::HEAD);
        let load = Load::new(*events);
        let mut runs: Vec<Figures> = Vec::new();
        // In turn and not one after the other: what else the machine does disturbs all alike.
        for _ in 0..options.rounds {
            for name in &names {
                let figures = measure(name, *task, &load, &options.agent);
                println!("{figures}");
                runs.push(figures);
            }
        }
        println!("{}", summary(&runs, &names, task.rate.is_none()));
    }
}

fn of_sink(program: &Path, mut rest: &[&str]) {
    let (mut rounds, mut with_peer) = (3, true);
    let mut work = sink::Work {
        events: 1_000_000,
        hosts: 1_000,
        partitions: 4,
        instances: 1,
        close_after_s: 1,
        gather_bytes: 8 << 20,
    };
    while let [option, more @ ..] = rest {
        rest = more;
        let mut number = || {
            let (number, more) = more.split_first().expect(USAGE);
            rest = more;
            number.parse().expect(USAGE)
        };
        match *option {
            "--events" => work.events = number(),
            "--rounds" => rounds = number(),
            "--hosts" => work.hosts = number(),
            "--partitions" => work.partitions = i32::try_from(number()).expect(USAGE),
            "--instances" => work.instances = number(),
            "--close-after" => work.close_after_s = number() as u64,
            "--gather" => work.gather_bytes = number() << 20,
            "--alone" => with_peer = false,
            _ => panic!("{USAGE}"),
        }
    }
    assert!(work.instances == 1 || !with_peer, "{USAGE}");
    sink::sink(program, work, rounds, with_peer);
}

fn options(mut args: impl Iterator<Item = String>) -> Options {
    let what = args.next().expect(USAGE);
    let agent = std::fs::canonicalize(PathBuf::from(args.next().expect(USAGE))).expect(USAGE);
    let (mut events, mut rate, mut rounds, mut work, mut only) = (None, None, None, None, None);
    while let Some(option) = args.next() {
        let value = args.next().expect(USAGE);
        match option.as_str() {
            "--events" => events = Some(value.parse().expect(USAGE)),
            "--rate" => rate = Some(value.parse().expect(USAGE)),
            "--rounds" => rounds = Some(value.parse().expect(USAGE)),
            "--work" => work = Some(value),
            "--only" => only = Some(value),
            _ => panic!("{USAGE}"),
        }
    }
    let full = Task { input: Input::Tcp, rate: None };
    let paced = Task { input: Input::Tcp, rate: Some(rate.unwrap_or(5_000.0)) };
    let udp = Task { input: Input::Udp, rate: Some(rate.unwrap_or(50_000.0)) };
    let file = Task { input: Input::File, rate: None };
    let mut tasks = vec![
        ("full", "TCP, as fast as it is taken", full, 1_000_000),
        ("paced", "TCP, at a gateway's pace", paced, 100_000),
        ("file", "from a file", file, 1_000_000),
        ("udp", "UDP, at a steady pace", udp, 500_000),
    ];
    let peers = match what.as_str() {
        "agent" | "udp" => false,
        "peers" => true,
        _ => panic!("{USAGE}"),
    };
    let wanted = match what.as_str() {
        "udp" => "udp".into(),
        _ => work.unwrap_or(if peers { "full,paced,file" } else { "full,paced" }.into()),
    };
    tasks.retain(|(key, ..)| wanted.split(',').any(|work| work == *key));
    let names = match only {
        Some(names) => names.split(',').map(Into::into).collect(),
        None if peers => contender::names().map(String::from).collect(),
        None => vec!["weir".into()],
    };
    Options {
        agent,
        names,
        tasks: tasks
            .into_iter()
            .map(|(_, title, task, n)| (title, task, events.unwrap_or(n)))
            .collect(),
        rounds: rounds.unwrap_or(if peers { 3 } else { 1 }),
    }
}
