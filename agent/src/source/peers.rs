//! Peers: who is connected, how often, and how fast each may go.
//!
//! In: connections and the events they bring. Out: a [`Guest`] for each connection that may come in,
//! which says when the next read may be made. Promises: no peer address holds more connections than
//! its share, and none brings more events a second than it may, averaged over more than a second: it is
//! not read until its time has come, so that it waits and nothing is lost. What a limit does is
//! counted each time and logged every ten seconds at most. Memory is bounded: of peers that have gone
//! only those are remembered that went too fast, and no more than [`GONE_MAX`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Counter;
use tokio::time::Instant;
use weir_models::metric;

/// A peer that said little may send so much more at once, as time at its rate.
const BURST: Duration = Duration::from_secs(1);
/// Least time between two lines in the log about the same limit.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// So many peers that went too fast are remembered after their last connection at most.
const GONE_MAX: usize = 1_024;

/// What peers of one source may do; 0 stands for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Connections of all peers together.
    pub(super) connections_max: usize,
    /// Connections of one peer address.
    pub(super) peer_connections_max: usize,
    /// Events a second of one peer address.
    pub(super) peer_events_per_s_max: u32,
}

/// The peers of one source.
pub(super) struct Peers {
    source: Arc<str>,
    limits: Limits,
    inside: Mutex<Inside>,
    refused: [Counter; 3],
    held: Counter,
}

/// The limits that refuse or cut a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Connections,
    PeerConnections,
    Idle,
}

impl Limit {
    const ALL: [Self; 3] = [Self::Connections, Self::PeerConnections, Self::Idle];

    /// The key in the configuration.
    fn key(self) -> &'static str {
        match self {
            Self::Connections => "connections_max",
            Self::PeerConnections => "peer_connections_max",
            Self::Idle => "idle_s",
        }
    }
}

#[derive(Default)]
struct Inside {
    connections: usize,
    peers: HashMap<IpAddr, Peer>,
    seldom: [Seldom; 4],
}

#[derive(Default)]
struct Peer {
    connections: usize,
    /// When what it has sent so far is paid for; none or past when it may send.
    free_at: Option<Instant>,
}

impl Peers {
    /// The peers of the source of this name.
    pub(super) fn new(source: &Arc<str>, limits: Limits) -> Arc<Self> {
        let refused = |limit: Limit| metrics::counter!(metric::AGENT_REFUSED.name, "source" => source.to_string(), "limit" => limit.key());
        Arc::new(Self {
            source: Arc::clone(source),
            limits,
            inside: Mutex::default(),
            refused: Limit::ALL.map(refused),
            held: metrics::counter!(metric::AGENT_HELD.name, "source" => source.to_string()),
        })
    }

    /// Lets a connection of `peer` in, or says in the log why not.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Guest> {
        let now = Instant::now();
        let admitted = self.inside().admit(self.limits, peer, now);
        match admitted {
            Ok(()) => Some(Guest { peers: Arc::clone(self), peer }),
            Err(limit) => {
                self.refuse(limit, peer, now);
                None
            }
        }
    }

    fn refuse(&self, limit: Limit, peer: IpAddr, now: Instant) {
        self.refused[limit as usize].increment(1);
        let due = self.inside().seldom[limit as usize].due(now);
        let Some(more) = due else { return };
        let (source, limit) = (&self.source, limit.key());
        if limit == Limit::Idle.key() {
            tracing::info!(%source, %peer, limit, more, "closed a connection that said nothing for `{limit}`");
        } else {
            tracing::warn!(%source, %peer, limit, more, "refused a connection: raise `{limit}`, or find out who opens so many");
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Nothing in there can be left half done.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn admit(&mut self, limits: Limits, peer: IpAddr, now: Instant) -> Result<(), Limit> {
        let is_full = |connections: usize, max: usize| max > 0 && connections >= max;
        if is_full(self.connections, limits.connections_max) {
            return Err(Limit::Connections);
        }
        let known = self.peers.get(&peer).map_or(0, |peer| peer.connections);
        if is_full(known, limits.peer_connections_max) {
            return Err(Limit::PeerConnections);
        }
        if self.peers.len() >= self.connections + GONE_MAX {
            self.forget(now);
        }
        self.connections += 1;
        self.peers.entry(peer).or_default().connections += 1;
        Ok(())
    }

    fn brought(&mut self, peer: IpAddr, events: usize, rate: u32, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.free_at = Some(paid_at(peer.free_at, now, events, rate));
        }
    }

    /// When `peer` may be read, if not now.
    fn free_at(&self, peer: IpAddr, now: Instant) -> Option<Instant> {
        self.peers.get(&peer)?.free_at.filter(|at| *at > now)
    }

    /// A connection of `peer` has ended.
    fn left(&mut self, peer: IpAddr, now: Instant) {
        self.connections -= 1;
        if let Some(known) = self.peers.get_mut(&peer) {
            known.connections -= 1;
            if known.connections == 0 && known.free_at.is_none_or(|at| at <= now) {
                self.peers.remove(&peer);
            }
        }
    }

    /// Forgets who has gone; who still has to wait only when there is no room for all of them.
    fn forget(&mut self, now: Instant) {
        let is_waiting = |peer: &Peer| peer.free_at.is_some_and(|at| at > now);
        self.peers.retain(|_, peer| peer.connections > 0 || is_waiting(peer));
        if self.peers.len() >= self.connections + GONE_MAX {
            self.peers.retain(|_, peer| peer.connections > 0);
        }
    }
}

/// One connection that was let in.
pub(super) struct Guest {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Guest {
    /// The peer's address.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Waits until the peer may be read.
    pub(super) async fn may_read(&self) {
        if self.peers.limits.peer_events_per_s_max == 0 {
            return;
        }
        let mut is_told = false;
        // Another connection of the same peer may have been quicker.
        while let Some(at) = self.free_at() {
            if !std::mem::replace(&mut is_told, true) {
                self.held();
            }
            tokio::time::sleep_until(at).await;
        }
    }

    /// The peer has brought so many events.
    pub(super) fn brought(&self, events: usize) {
        let rate = self.peers.limits.peer_events_per_s_max;
        if rate > 0 && events > 0 {
            self.peers.inside().brought(self.peer, events, rate, Instant::now());
        }
    }

    /// The connection is closed because it said nothing for long.
    pub(super) fn is_idle(&self) {
        self.peers.refuse(Limit::Idle, self.peer, Instant::now());
    }

    /// When it may be read, if not now. The lock is not held while it waits.
    fn free_at(&self) -> Option<Instant> {
        self.peers.inside().free_at(self.peer, Instant::now())
    }

    fn held(&self) {
        self.peers.held.increment(1);
        let due = self.peers.inside().seldom[Limit::ALL.len()].due(Instant::now());
        if let Some(more) = due {
            tracing::warn!(
                source = %self.peers.source,
                peer = %self.peer,
                more,
                "a peer sends more than `peer_events_per_s_max` and is slowed down: find out why it does, or raise the limit"
            );
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.peers.inside().left(self.peer, Instant::now());
    }
}

/// When `events` more are paid for at `rate` a second, by one whose earlier ones are at `free_at`:
/// the generic cell rate algorithm (ITU-T I.371, annex A), with [`BURST`] as tolerance.
fn paid_at(free_at: Option<Instant>, now: Instant, events: usize, rate: u32) -> Instant {
    let earliest = now.checked_sub(BURST).unwrap_or(now);
    let from = free_at.map_or(earliest, |at| at.max(earliest));
    let nanos = events as u64 * 1_000_000_000 / u64::from(rate.max(1));
    from + Duration::from_nanos(nanos)
}

/// Says when something that happens often is to be logged.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Option<Instant>,
    more: u64,
}

impl Seldom {
    /// How often it happened since the last time it was logged, not counting this one; none when it
    /// is not to be logged now.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < LOG_EVERY) {
            self.more += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.more))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn limits(connections: usize, of_a_peer: usize, events: u32) -> Limits {
        Limits {
            connections_max: connections,
            peer_connections_max: of_a_peer,
            peer_events_per_s_max: events,
        }
    }

    #[test]
    fn a_peer_has_its_share_and_no_more() {
        let peers = Peers::new(&"s".into(), limits(3, 2, 0));
        let first = peers.admit(address(1)).unwrap();
        let _second = peers.admit(address(1)).unwrap();
        assert!(peers.admit(address(1)).is_none());
        let _other = peers.admit(address(2)).unwrap();
        assert!(peers.admit(address(3)).is_none());
        drop(first);
        assert!(peers.admit(address(1)).is_some());
    }

    #[test]
    fn zero_is_no_limit_and_nobody_is_remembered() {
        let peers = Peers::new(&"s".into(), limits(0, 0, 0));
        let guests: Vec<_> = (0..200).map(|n| peers.admit(address(n % 3)).unwrap()).collect();
        guests.iter().for_each(|guest| guest.brought(1_000));
        drop(guests);
        let inside = peers.inside();
        assert_eq!((inside.connections, inside.peers.len()), (0, 0));
    }

    #[test]
    fn a_peer_waits_until_its_events_are_paid_for() {
        let (limits, start, mut inside) = (limits(0, 0, 100), Instant::now(), Inside::default());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let wait_ms = |inside: &Inside, peer, now_ms| {
            let free = inside.free_at(address(peer), at(now_ms));
            free.map_or(0, |free| free.duration_since(at(now_ms)).as_millis())
        };
        for peer in [1, 1, 2] {
            inside.admit(limits, address(peer), start).unwrap();
        }
        // A second's worth at once is fine.
        inside.brought(address(1), 100, 100, start);
        assert_eq!(wait_ms(&inside, 1, 0), 0);
        inside.brought(address(1), 300, 100, start);
        assert_eq!(wait_ms(&inside, 1, 0), 3_000);
        assert_eq!(wait_ms(&inside, 1, 2_500), 500);
        assert_eq!(wait_ms(&inside, 2, 0), 0);
        // To come again does not help.
        inside.left(address(1), at(100));
        inside.left(address(1), at(100));
        inside.admit(limits, address(1), at(200)).unwrap();
        assert_eq!(wait_ms(&inside, 1, 200), 2_800);
        // What was not used for longer than a second is not saved up.
        inside.brought(address(1), 150, 100, at(60_000));
        assert_eq!(wait_ms(&inside, 1, 60_000), 500);
    }

    #[test]
    fn peers_that_have_gone_are_forgotten() {
        let (start, mut inside) = (Instant::now(), Inside::default());
        let nth = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..3 * GONE_MAX {
            inside.admit(limits(0, 0, 1), nth(n), start).unwrap();
            inside.brought(nth(n), 1_000, 1, start);
            inside.left(nth(n), start);
            assert!(inside.peers.len() <= GONE_MAX + 1);
        }
        assert!(inside.peers.len() > GONE_MAX / 2);
        inside.forget(start + Duration::from_secs(2_000));
        assert_eq!(inside.peers.len(), 0);
    }

    #[test]
    fn what_happens_often_is_logged_seldom() {
        let (start, mut seldom) = (Instant::now(), Seldom::default());
        let found: Vec<_> = (0..25).map(|s| seldom.due(start + Duration::from_secs(s))).collect();
        let logged: Vec<_> = found.iter().flatten().copied().collect();
        assert_eq!(logged, [0, 9, 9]);
        assert_eq!((found[10], found[20]), (Some(9), Some(9)));
    }
}
