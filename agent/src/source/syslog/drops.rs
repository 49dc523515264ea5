//! Datagrams that the kernel dropped because the receive buffer of a UDP socket was full.
//!
//! In: the kernel's counter of one socket. It comes with each datagram (`SO_RXQ_OVFL`), as it was when
//! that one was queued, so what was dropped behind the last one shows with the next; when none comes,
//! the same counter is looked up in the kernel's table `/proc/net/udp` or `udp6`. Out: how many were
//! lost since the last time, once a second at most, so that a flood does not become a flood of
//! markers. Promises: each drop is told once, also when the counter, which has 32 bits, wraps, and
//! when another source takes over the socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use metrics::Counter;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::super::sockets::UdpEnd;

/// Least time between two losses told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Watches the drop counter of one socket.
pub(super) struct Drops {
    table: &'static str,
    inode: Option<u64>,
    /// Goes with the socket to the next source; nobody else looks at it meanwhile.
    seen: Arc<AtomicU32>,
    untold: u64,
    told_at: Option<Instant>,
    metric: Counter,
}

impl Drops {
    /// Watches the socket of `end`; counts in `metric` at once.
    pub(super) fn of(end: &UdpEnd<UdpSocket>, metric: Counter) -> Self {
        let socket = &end.socket;
        let is_v6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        Self {
            table: if is_v6 { "/proc/net/udp6" } else { "/proc/net/udp" },
            inode: rustix::fs::fstat(socket).ok().map(|stat| stat.st_ino),
            seen: Arc::clone(&end.drops_seen),
            untold: 0,
            told_at: None,
            metric,
        }
    }

    /// The kernel's counter was `total`.
    pub(super) fn saw(&mut self, total: u32) {
        let new = total.wrapping_sub(self.seen.load(Ordering::Relaxed));
        // A datagram that was queued before the table was looked at carries an older count.
        if new == 0 || new > u32::MAX / 2 {
            return;
        }
        self.seen.store(total, Ordering::Relaxed);
        self.untold += u64::from(new);
        self.metric.increment(u64::from(new));
    }

    /// Looks into the kernel's table; where it cannot be read, the next datagram will tell.
    pub(super) fn look(&mut self) {
        let Some(inode) = self.inode else { return };
        let table = std::fs::read_to_string(self.table).unwrap_or_default();
        if let Some(total) = drops_of(&table, inode) {
            self.saw(total);
        }
    }

    /// What is to be told now.
    pub(super) fn due(&mut self, now: Instant) -> u64 {
        if self.untold == 0 || self.told_at.is_some_and(|at| now.duration_since(at) < TELL_EVERY) {
            return 0;
        }
        self.told_at = Some(now);
        self.all()
    }

    /// What is to be told in the end.
    pub(super) fn all(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }
}

/// The last column of the row with this inode (the tenth column), as in
/// `net/ipv4/udp.c: udp4_format_sock`.
fn drops_of(table: &str, inode: u64) -> Option<u32> {
    table.lines().skip(1).find_map(|row| {
        let mut columns = row.split_ascii_whitespace();
        (columns.nth(9)?.parse() == Ok(inode)).then(|| columns.next_back()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_the_socket_is_found() {
        let table = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1133: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   112        0 22801 2 0000000000000000 0
 2215: 00000000:1923 00000000:0000 07 00000000:00015D40 00:00000000 00000000     0        0 4711 2 0000000000000000 4294967295
";
        assert_eq!(drops_of(table, 22801), Some(0));
        assert_eq!(drops_of(table, 4711), Some(u32::MAX));
        assert_eq!(drops_of(table, 2), None);
        assert_eq!(drops_of("", 2), None);
    }

    fn drops(seen: u32) -> Drops {
        let (table, inode, untold, told_at) = ("", None, 0, None);
        let seen = Arc::new(AtomicU32::new(seen));
        Drops { table, inode, seen, untold, told_at, metric: Counter::noop() }
    }

    #[track_caller]
    fn check(seen: u32, counts: &[u32], expected: u64) {
        let mut drops = drops(seen);
        counts.iter().for_each(|total| drops.saw(*total));
        assert_eq!(drops.all(), expected, "{seen} {counts:?}");
        assert_eq!(drops.all(), 0);
    }

    #[test]
    fn each_drop_is_counted_once() {
        check(0, &[0, 3, 3, 5], 5);
        // The table was quicker than the datagrams in the queue.
        check(0, &[10, 4, 7, 10, 11], 11);
        // The counter wraps.
        check(u32::MAX - 1, &[u32::MAX, 0, 2], 4);
        check(u32::MAX - 1, &[1, u32::MAX, 2], 4);
    }

    #[test]
    fn a_loss_is_told_at_once_and_then_once_a_second() {
        let (start, mut drops) = (Instant::now(), drops(0));
        let told: Vec<u64> = (1..=25)
            .map(|n| {
                drops.saw(n * 10);
                drops.due(start + Duration::from_millis(100) * n)
            })
            .collect();
        let told: Vec<u64> = told.into_iter().filter(|lost| *lost > 0).collect();
        assert_eq!(told, [10, 100, 100]);
        assert_eq!(drops.all(), 40);
    }
}
