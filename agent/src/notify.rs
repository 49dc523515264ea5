//! Tells the service manager how the agent fares, by systemd's `sd_notify` protocol: a datagram of
//! `KEY=VALUE` lines to the socket that `NOTIFY_SOCKET` names.
//!
//! In: the environment, and whether the pipeline answers. Out: `READY=1` when all sources listen,
//! `WATCHDOG=1` while the pipeline's thread goes round, `RELOADING=1`, `STOPPING=1`. A thread that hangs (a disk that
//! never answers) says nothing more, and the service manager starts the agent anew; a full spool or a
//! Kafka that is away does not hang it, and a restart would not help. Without a service manager all of
//! this does nothing; a message that cannot be sent is logged and never stops the agent.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::pipeline::{Report, report};

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// It starts us anew when it hears nothing for so long.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// From the environment of this process.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let Some(socket) = variable("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let watchdog = watchdog(
            variable("WATCHDOG_USEC").as_deref().and_then(OsStr::to_str),
            variable("WATCHDOG_PID").as_deref().and_then(OsStr::to_str),
            std::process::id(),
        );
        Self::to(&socket, watchdog).unwrap_or_else(|error| {
            tracing::warn!(?socket, %error, "the service manager cannot be told how we fare");
            Self::default()
        })
    }

    /// To a socket: a path, or `@NAME` for an abstract one.
    fn to(socket: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(socket)?,
        };
        let ours = UnixDatagram::unbound()?;
        // A manager that does not read must not hold us up.
        ours.set_nonblocking(true)?;
        Ok(Self { manager: Some((ours, address)), watchdog })
    }

    /// All sources listen.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The configuration is being taken over anew; [`Notifier::ready`] follows.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// One line for a person, shown by `systemctl status`.
    pub fn tell(&self, status: &str) {
        self.send(&format!("STATUS={}", status.lines().next().unwrap_or_default()));
    }

    /// The agent was asked to end, or has nothing more to do.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Tells the watchdog that we live, for as long as the pipeline answers in time; returns when
    /// the pipeline has ended, and never when there is no watchdog.
    pub async fn watch(&self, ask: mpsc::Sender<oneshot::Sender<Report>>) {
        let Some(watchdog) = self.watchdog else {
            return std::future::pending().await;
        };
        // Twice within its time, and the answer may take as long as the wait for the next turn.
        let turn = watchdog / 4;
        loop {
            match answer(&ask, turn).await {
                Answer::Alive => self.send("WATCHDOG=1"),
                Answer::Late => tracing::error!(
                    waited_ms = turn.as_millis(),
                    "the pipeline does not answer; the service manager restarts the agent if that lasts"
                ),
                Answer::Ended => return,
            }
            tokio::time::sleep(turn).await;
        }
    }

    fn send(&self, message: &str) {
        let Some((ours, address)) = &self.manager else {
            return;
        };
        if let Err(error) = ours.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(message, %error, "the service manager was not told");
        }
    }
}

/// How the pipeline answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Alive,
    Late,
    Ended,
}

async fn answer(ask: &mpsc::Sender<oneshot::Sender<Report>>, within: Duration) -> Answer {
    match tokio::time::timeout(within, report(ask)).await {
        Ok(Some(_)) => Answer::Alive,
        Ok(None) => Answer::Ended,
        Err(_) => Answer::Late,
    }
}

/// The watchdog's time, when there is one and it means this process (`sd_watchdog_enabled(3)`).
fn watchdog(usec: Option<&str>, for_pid: Option<&str>, pid: u32) -> Option<Duration> {
    if for_pid.is_some_and(|text| text.parse() != Ok(pid)) {
        return None;
    }
    let usec: u64 = usec?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const AT_ONCE: Duration = Duration::from_millis(1);

    fn next(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        socket.set_read_timeout(Some(SOON)).unwrap();
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    }

    #[test]
    fn messages_reach_a_socket_in_the_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str(), None).unwrap();
        notifier.ready();
        assert_eq!(next(&manager), "READY=1");
        notifier.reloading();
        let said = next(&manager);
        let since = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(since.parse::<u64>().unwrap() > 0, "{said}");
        notifier.tell("one line\nand no more");
        assert_eq!(next(&manager), "STATUS=one line");
        notifier.stopping();
        assert_eq!(next(&manager), "STOPPING=1");
        // Gone: logged, no more.
        drop(manager);
        notifier.stopping();
    }

    #[test]
    fn messages_reach_an_abstract_socket() {
        let name = format!("weir-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(OsStr::new(&format!("@{name}")), None).unwrap().ready();
        assert_eq!(next(&manager), "READY=1");
    }

    #[test]
    fn the_watchdog_is_for_one_process() {
        #[track_caller]
        fn check(usec: Option<&str>, pid: Option<&str>, expected_ms: Option<u64>) {
            assert_eq!(watchdog(usec, pid, 7), expected_ms.map(Duration::from_millis));
        }
        check(Some("2000"), Some("7"), Some(2));
        check(Some("2000"), None, Some(2));
        check(Some("2000"), Some("8"), None);
        check(Some("2000"), Some("x"), None);
        check(Some("0"), Some("7"), None);
        check(Some("-1"), None, None);
        check(None, Some("7"), None);
    }

    #[tokio::test]
    async fn the_watchdog_hears_of_a_pipeline_that_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str(), Some(AT_ONCE)).unwrap();
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<Report>>(1);
        let heard = std::thread::spawn(move || next(&manager));
        let pipeline = async move {
            while !heard.is_finished() {
                // Late is no harm: it is asked again.
                let Some(answer) = asked.recv().await else { break };
                let _ = answer.send(Report::default());
            }
            drop(asked);
            heard.join().unwrap()
        };
        // `watch` returns because the pipeline ends.
        let ((), message) = tokio::join!(notifier.watch(ask), pipeline);
        assert_eq!(message, "WATCHDOG=1");
    }

    #[tokio::test]
    async fn a_pipeline_that_hangs_is_not_alive() {
        let (ask, asked) = mpsc::channel::<oneshot::Sender<Report>>(1);
        assert_eq!(answer(&ask, AT_ONCE).await, Answer::Late);
        drop(asked);
        assert_eq!(answer(&ask, SOON).await, Answer::Ended);
    }
}
