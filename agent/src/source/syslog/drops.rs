//! Datagrams that the kernel dropped because the receive buffer of a UDP socket was full.
//!
//! In: the kernel's table `/proc/net/udp` or `udp6`. Out: how many were dropped since the last look.
//! (`SO_RXQ_OVFL` would tell with each datagram, but needs unsafe code.) Where the table cannot be
//! read, nothing is known and nothing told.

use tokio::net::UdpSocket;

/// Watches the drop counter of one socket.
pub(super) struct Drops {
    table: &'static str,
    inode: Option<u64>,
    seen: u32,
}

impl Drops {
    /// Watches `socket`.
    pub(super) fn of(socket: &UdpSocket) -> Self {
        let is_v6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        Self {
            table: if is_v6 {
                "/proc/net/udp6"
            } else {
                "/proc/net/udp"
            },
            inode: rustix::fs::fstat(socket).ok().map(|stat| stat.st_ino),
            seen: 0,
        }
    }

    /// How many datagrams were dropped since the last call.
    pub(super) fn since_last(&mut self) -> u64 {
        let Some(inode) = self.inode else { return 0 };
        let table = std::fs::read_to_string(self.table).unwrap_or_default();
        let Some(total) = drops_of(&table, inode) else {
            return 0;
        };
        // The kernel's counter has 32 bits and wraps.
        let lost = total.wrapping_sub(self.seen);
        self.seen = total;
        u64::from(lost)
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
}
