//! The load: numbered RFC 5424 messages, and how they are sent.
//!
//! In: how many, and how fast. Out: bytes over TCP or at the end of a file. The texts are real
//! (`fixtures/syslog/auth.rfc3164.log`), a message is about 150 bytes long, and 900 of the 1,000 hosts
//! are in the table of hosts. All is made before the clock starts: making it costs more than sending.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_tests::fixtures;

/// Hosts in the messages.
pub(crate) const HOSTS: usize = 1_000;
/// Hosts in the table, which is what a gateway knows.
pub(crate) const KNOWN_HOSTS: usize = 900;
/// Before the number of a host's class, which only the table has.
pub(crate) const CLASS: &str = "class-";
/// Connections over which messages come.
const CONNECTIONS: usize = 4;
/// How often a paced sender sends.
const TICK: Duration = Duration::from_millis(10);

/// What messages say.
pub(crate) struct Lines {
    texts: Vec<String>,
}

impl Lines {
    pub(crate) fn new() -> Self {
        let log = std::fs::read_to_string(fixtures().join("syslog/auth.rfc3164.log")).unwrap();
        // What follows stamp and host in the file: the tag and the text.
        let texts = log.lines().filter_map(|line| line.splitn(5, ' ').last());
        Self { texts: texts.map(String::from).collect() }
    }

    /// Appends message number `i`; it ends in ` sqNNNNNNNNN`.
    pub(crate) fn write(&self, i: usize, out: &mut String) {
        let (host, text) = (i % HOSTS, &self.texts[i % self.texts.len()]);
        let (minute, second, milli) = (i / 60_000 % 60, i / 1_000 % 60, i % 1_000);
        let stamp = format!("2026-11-21T10:{minute:02}:{second:02}.{milli:03}Z");
        let pid = 1_000 + i % 9_000;
        writeln!(out, "<86>1 {stamp} host-{host} sshd {pid} - - {text} sq{i:09}").unwrap();
    }
}

/// Rendered messages, LF-framed, cut for the connections.
pub(crate) struct Load {
    parts: Vec<Arc<Vec<u8>>>,
    /// How many there are.
    pub(crate) events: usize,
}

impl Load {
    /// Renders `events` messages.
    pub(crate) fn new(events: usize) -> Self {
        let lines = Lines::new();
        let mut parts = vec![String::new(); CONNECTIONS];
        for i in 0..events {
            lines.write(i, &mut parts[i % CONNECTIONS]);
        }
        Self { parts: parts.into_iter().map(|part| Arc::new(part.into_bytes())).collect(), events }
    }

    /// Sends all over TCP, `rate` messages a second, or as fast as they are taken.
    pub(crate) fn send(&self, port: u16, rate: Option<f64>) {
        let each = rate.map(|rate| rate / CONNECTIONS as f64);
        let senders = self.parts.iter().cloned().map(|part| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.set_nodelay(true).unwrap();
                write_paced(&part, each, &mut stream);
            })
        });
        let senders: Vec<_> = senders.collect();
        for sender in senders {
            sender.join().expect("a sender");
        }
    }

    /// Sends all as datagrams, `rate` messages a second.
    pub(crate) fn send_datagrams(&self, port: u16, rate: f64) {
        let mut socket = Datagrams(UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.0.connect(("127.0.0.1", port)).unwrap();
        for part in &self.parts {
            write_paced(part, Some(rate), &mut socket);
        }
    }

    /// Appends all to a file, as fast as the disk takes it.
    pub(crate) fn append(&self, file: &mut File) {
        for part in &self.parts {
            write_paced(part, None, file);
        }
    }
}

/// Each line a datagram.
struct Datagrams(UdpSocket);

impl Write for Datagrams {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.0.send(line)?;
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn write_paced(bytes: &[u8], rate: Option<f64>, out: &mut impl Write) {
    let Some(rate) = rate else {
        for chunk in bytes.chunks(128 << 10) {
            out.write_all(chunk).unwrap();
        }
        return;
    };
    let mut ends =
        bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let (began, mut sent, mut from) = (Instant::now(), 0_usize, 0);
    while from < bytes.len() {
        let due = (began.elapsed().as_secs_f64() * rate) as usize;
        let to = (sent..due).map_while(|_| ends.next()).last();
        if let Some(to) = to {
            out.write_all(&bytes[from..to]).unwrap();
            (sent, from) = (due, to);
        }
        std::thread::sleep(TICK);
    }
}

/// What has arrived, by the numbers of the messages.
pub(crate) struct Arrived {
    seen: Vec<bool>,
    /// Messages that are there.
    pub(crate) distinct: usize,
    /// Messages that are there again.
    pub(crate) double: usize,
    /// Messages of hosts that are in the table, without what it says of them.
    pub(crate) not_looked_up: usize,
}

impl Arrived {
    /// Nothing yet of `events` messages.
    pub(crate) fn of(events: usize) -> Self {
        Self { seen: vec![false; events], distinct: 0, double: 0, not_looked_up: 0 }
    }

    /// Counts one.
    pub(crate) fn count(&mut self, value: &[u8]) {
        let Some(number) = number(value).filter(|number| *number < self.seen.len()) else { return };
        if std::mem::replace(&mut self.seen[number], true) {
            self.double += 1;
            return;
        }
        self.distinct += 1;
        let looked_up = value.windows(CLASS.len()).any(|bytes| bytes == CLASS.as_bytes());
        self.not_looked_up += usize::from(number % HOSTS < KNOWN_HOSTS && !looked_up);
    }
}

fn number(value: &[u8]) -> Option<usize> {
    let at = value.windows(3).position(|bytes| bytes == b" sq")? + 3;
    std::str::from_utf8(value.get(at..at + 9)?).ok()?.parse().ok()
}
