//! Waiting for something to become true, with a limit, and free ports.

use std::fmt::{Debug, Display};
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);

/// Asks until the answer is `Ok`, and gives that back. After `timeout` it panics with `what` was
/// waited for and the last `Err`.
#[track_caller]
pub fn wait_until<T, E: Display>(
    what: &str,
    timeout: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > timeout => {
                panic!("{what}: not so after {timeout:?}; last seen: {seen}")
            }
            Err(_) => sleep(POLL),
        }
    }
}

/// Asks until the answer is `expected`. After `timeout` it panics with the last answer.
#[track_caller]
pub fn wait_for<T: PartialEq + Debug>(
    what: &str,
    expected: T,
    timeout: Duration,
    mut ask: impl FnMut() -> T,
) {
    wait_until(what, timeout, || {
        let seen = ask();
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}, expected {expected:?}")) }
    });
}

/// A port of 127.0.0.1 that is free for TCP and UDP, and that no other call gave out.
///
/// Not from the range that the system hands to outgoing connections: one of those could take the
/// port before the program that it is for listens.
#[track_caller]
pub fn free_port() -> u16 {
    const FIRST: u16 = 31_000;
    const COUNT: u16 = 1_700;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes side by side start at different places.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        let tcp = TcpListener::bind(("127.0.0.1", port));
        let udp = UdpSocket::bind(("127.0.0.1", port));
        if tcp.is_ok() && udp.is_ok() {
            return port;
        }
    }
    panic!("no port is free from {FIRST} on");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the moon: not so after 1ms; last seen: 3, expected 4")]
    fn a_limit_says_what_was_seen() {
        wait_for("the moon", 4, Duration::from_millis(1), || 3);
    }

    #[test]
    fn asked_again_until_it_is_so() {
        let mut n = 0;
        let got = wait_until("three", Duration::from_secs(10), || {
            n += 1;
            if n == 3 { Ok(n) } else { Err(n) }
        });
        assert_eq!(got, 3);
    }

    #[test]
    fn ports_differ() {
        assert_ne!(free_port(), free_port());
    }
}
