//! The contenders: our agent and the peers, each with the same work.
//!
//! In: where to read and where to write. Out: how to start the program. The work: take syslog over TCP or
//! from a file, parse it, look the host up in a table, make JSON, write it to one topic of Kafka with
//! `acks=all`, lz4 and an idempotent producer. Our agent does more: it scores each line and keeps it on
//! disk until Kafka has it; the queues of the peers are in memory. A peer whose program is not on this
//! machine, or that cannot do a task, is left out and named.

mod benthos;
mod fluent_bit;
mod otelcol;
mod rsyslog;
mod syslog_ng;
mod telegraf;
mod weir;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use weir_tests::{Launch, free_port, paths};

use crate::load::{CLASS, KNOWN_HOSTS};

/// Where messages come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Four connections.
    Tcp,
    /// Datagrams of one sender; our agent only.
    Udp,
    /// A file that grows.
    File,
}

/// A program ready to be started.
pub(crate) struct Contender {
    /// What it is called.
    pub(crate) name: &'static str,
    /// How to start it.
    pub(crate) launch: Launch,
    /// Where it listens; of no use with a file.
    pub(crate) port: u16,
    /// The file that it follows: `input.log` in its folder.
    pub(crate) file: PathBuf,
    /// The topic that holds what it has read.
    pub(crate) topic: String,
    /// Whether it can look hosts up in a table.
    pub(crate) looks_up: bool,
    /// Where our agent tells its metrics.
    pub(crate) metrics: Option<String>,
}

/// What a contender is told.
pub(crate) struct Place<'a> {
    /// A release build of `weir-agent`.
    pub(crate) agent: &'a Path,
    /// Kafka.
    pub(crate) bootstrap: &'a str,
    /// Before the names of topics.
    pub(crate) prefix: &'a str,
    /// How many messages will come.
    pub(crate) events: usize,
}

/// A contender before it is told where.
struct Kind {
    name: &'static str,
    /// What to look for on this machine; ours is given.
    program: Option<&'static str>,
    follows_files: bool,
    make: fn(Input, &Place<'_>, u16) -> Contender,
}

/// All that are known here, ours first.
const KINDS: [Kind; 7] = [
    Kind { name: "weir", program: None, follows_files: true, make: weir::weir },
    Kind {
        name: "rsyslog",
        program: Some("rsyslogd"),
        follows_files: true,
        make: rsyslog::rsyslog,
    },
    Kind {
        name: "syslog-ng",
        program: Some("syslog-ng"),
        follows_files: true,
        make: syslog_ng::syslog_ng,
    },
    Kind {
        name: "fluent-bit",
        program: Some("fluent-bit"),
        follows_files: true,
        make: fluent_bit::fluent_bit,
    },
    Kind { name: "otelcol", program: Some("otelcol"), follows_files: true, make: otelcol::otelcol },
    Kind {
        name: "telegraf",
        program: Some("telegraf"),
        follows_files: true,
        make: telegraf::telegraf,
    },
    // Its input `file` ends with the file.
    Kind {
        name: "benthos",
        program: Some("benthos"),
        follows_files: false,
        make: benthos::benthos,
    },
];

/// The names of all.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

/// Why the contender of that name cannot do a task here; none: it can.
pub(crate) fn why_not(name: &str, input: Input) -> Option<String> {
    let kind = kind(name);
    match (kind.program, input) {
        (Some(_), Input::Udp) => Some("only our agent is measured with UDP".into()),
        (_, Input::File) if !kind.follows_files => Some("it cannot follow a file".into()),
        (Some(program), _) if paths::find_tool(&[program]).is_none() => {
            Some(format!("there is no `{program}` on this machine"))
        }
        _ => None,
    }
}

/// The contender of that name.
pub(crate) fn contender(name: &str, input: Input, place: &Place<'_>) -> Contender {
    (kind(name).make)(input, place, free_port())
}

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| {
        let known: Vec<_> = names().collect();
        panic!("no contender is called `{name}`: {}", known.join(", "))
    })
}

fn finish(name: &'static str, launch: Launch, port: u16, topic: String) -> Contender {
    let launch = launch.file("input.log", "");
    let file = launch.dir().join("input.log");
    Contender { name, launch, port, file, topic, looks_up: true, metrics: None }
}

/// A line for each known host: its name and `class,critical`.
fn table(head: &str, line: impl Fn(&str, &str) -> String) -> String {
    let mut out = if head.is_empty() { String::new() } else { format!("{head}\n") };
    for host in 0..KNOWN_HOSTS {
        let row = format!("{CLASS}{},{}", host % 7, host % 2);
        writeln!(out, "{}", line(&format!("host-{host}"), &row)).unwrap();
    }
    out
}
