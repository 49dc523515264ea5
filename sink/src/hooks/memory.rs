//! Memory: what a receiver was told, and which alerts it has to be told again.
//!
//! In: alerts that were told. Out: whether one was told before ([`Known`]), and which ones still fire ([`Firing`]).
//! No IO. Promises: both are bounded. What was forgotten may be told once more; an alert that fires when there are too
//! many, or for too long, is no longer repeated.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use ring::digest::{SHA256, digest};
use tokio::time::Instant;
use weir_models::alert::{Alert, AlertState};

use super::message::Card;
use crate::consume::Partition;

/// Alerts of which a receiver is known to have been told. An entry takes about 64 bytes.
const KNOWN_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);
/// Alerts that fire and are repeated. Each takes about 1 KiB, 4 KiB at most.
pub(super) const FIRING_MAX: usize = 4_096;
/// An alert that was never resolved, because its agent is gone, is repeated for so long.
pub(super) const FIRING_FOR_MS: i64 = 7 * 86_400_000;

/// A name of fixed size; two things of one name are not to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name([u8; 16]);

impl Name {
    fn hash(parts: [&str; 2]) -> Self {
        let hash = digest(&SHA256, parts.join("\0").as_bytes());
        let mut name = [0; 16];
        name.copy_from_slice(&hash.as_ref()[..16]);
        Self(name)
    }

    /// Of an alert: the same when it fires and when it is resolved.
    pub(super) fn of(alert: &Alert) -> Self {
        Self::hash([&alert.source, &alert.data.alert_id])
    }
}

/// The alerts that were told last, and in which state. Both states are forgotten together, or what fires could be told
/// again after it was resolved, and never be resolved.
#[derive(Debug)]
pub(super) struct Known(LruCache<Name, AlertState>);

impl Default for Known {
    fn default() -> Self {
        Self(LruCache::new(KNOWN_MAX))
    }
}

impl Known {
    pub(super) fn add(&mut self, alert: Name, state: AlertState) {
        self.0.put(alert, state);
    }

    /// Whether it is over.
    pub(super) fn is_resolved(&self, alert: Name) -> bool {
        self.0.peek(&alert) == Some(&AlertState::Resolved)
    }

    /// Whether this state of it was told, or the one after it. Asking keeps it from being forgotten.
    pub(super) fn has(&mut self, alert: Name, state: AlertState) -> bool {
        let known = self.0.get(&alert);
        known.is_some_and(|known| *known == state || *known == AlertState::Resolved)
    }
}

/// Where the record of an alert is.
pub(super) type Place = (Partition, i64);

/// An alert that fires.
#[derive(Debug)]
struct Kept {
    name: Name,
    card: Arc<Card>,
    since_ms: i64,
    due: Instant,
}

/// The alerts that fire.
#[derive(Debug, Default)]
pub(super) struct Firing {
    kept: BTreeMap<Place, Kept>,
    places: HashMap<Name, Place>,
}

impl Firing {
    /// An alert fires, and is to be told again at `due`. Tells whether another one had to go for it.
    pub(super) fn add(
        &mut self,
        name: Name,
        place: Place,
        card: Arc<Card>,
        since_ms: i64,
        due: Instant,
    ) -> bool {
        self.remove(name);
        self.places.insert(name, place);
        self.kept.insert(place, Kept { name, card, since_ms, due });
        if self.kept.len() <= FIRING_MAX {
            return false;
        }
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.since_ms);
        if let Some(name) = oldest.map(|(_, kept)| kept.name) {
            self.remove(name);
        }
        true
    }

    /// An alert is resolved.
    pub(super) fn remove(&mut self, name: Name) {
        if let Some(place) = self.places.remove(&name) {
            self.kept.remove(&place);
        }
    }

    /// The alert of that record is not to be told again.
    pub(super) fn leave_out(&mut self, place: Place) {
        if let Some(kept) = self.kept.remove(&place) {
            self.places.remove(&kept.name);
        }
    }

    /// Keeps only what is of partitions for which `ours` says so, and what began at `since_ms` or later.
    pub(super) fn retain(&mut self, since_ms: i64, ours: impl Fn(Partition) -> bool) {
        self.kept.retain(|(partition, _), kept| kept.since_ms >= since_ms && ours(*partition));
        let kept = &self.kept;
        self.places.retain(|_, place| kept.contains_key(place));
    }

    /// The first record of a partition that is still needed after a restart.
    pub(super) fn oldest(&self, partition: Partition) -> Option<i64> {
        let of_it = self.kept.range((partition, i64::MIN)..=(partition, i64::MAX));
        of_it.map(|((_, offset), _)| *offset).next()
    }

    /// Up to `max` alerts of the partitions that `ready` names, that are due.
    pub(super) fn due(
        &self,
        now: Instant,
        max: usize,
        ready: impl Fn(Partition) -> bool,
    ) -> (Vec<Place>, Vec<Arc<Card>>) {
        let due =
            self.kept.iter().filter(|((partition, _), kept)| kept.due <= now && ready(*partition));
        due.take(max).map(|(place, kept)| (*place, Arc::clone(&kept.card))).unzip()
    }

    /// When the next one of the partitions that `ready` names is due.
    pub(super) fn next_due(&self, ready: impl Fn(Partition) -> bool) -> Option<Instant> {
        let ours = self.kept.iter().filter(|((partition, _), _)| ready(*partition));
        ours.map(|(_, kept)| kept.due).min()
    }

    /// They were told again; the next time is `due`.
    pub(super) fn repeated(&mut self, places: &[Place], due: Instant) {
        for place in places {
            if let Some(kept) = self.kept.get_mut(place) {
                kept.due = due;
            }
        }
    }
}

/// Since when, in milliseconds since the Unix epoch, an alert has to fire to be repeated at `now_ms`.
pub(super) fn repeated_since(now_ms: i64) -> i64 {
    now_ms.saturating_sub(FIRING_FOR_MS)
}

/// How often [`Firing::retain`] is to be asked.
pub(super) const TIDY_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use weir_models::topic::Topic;

    use super::*;

    const PARTITION: Partition = Partition { topic: Topic::Alerts, number: 0 };
    const OTHER: Partition = Partition { topic: Topic::Alerts, number: 1 };

    fn name(number: usize) -> Name {
        Name::hash(["agent", &number.to_string()])
    }

    fn card() -> Arc<Card> {
        Arc::new(Card::default())
    }

    #[test]
    fn what_was_told_last_is_known_and_memory_ends() {
        let mut known = Known::default();
        for number in 0..2 * KNOWN_MAX.get() {
            known.add(name(number), AlertState::Firing);
            assert!(known.has(name(0), AlertState::Firing) || number >= KNOWN_MAX.get());
        }
        assert_eq!(known.0.len(), KNOWN_MAX.get());
        // What is asked for stays.
        let mut fired = |n| known.has(name(n), AlertState::Firing);
        assert!(fired(0) && !fired(1) && fired(2 * KNOWN_MAX.get() - 1));
        // What was resolved does not fire any more, what fires may be resolved.
        assert!(!known.has(name(0), AlertState::Resolved));
        assert!(!known.is_resolved(name(0)));
        known.add(name(0), AlertState::Resolved);
        assert!(known.is_resolved(name(0)));
        assert!(known.has(name(0), AlertState::Firing) && known.has(name(0), AlertState::Resolved));
    }

    #[test]
    fn the_oldest_goes_when_too_many_fire() {
        let (mut firing, now) = (Firing::default(), Instant::now());
        let add = |firing: &mut Firing, n: usize| {
            let offset = i64::try_from(n).unwrap_or_default();
            firing.add(name(n), (PARTITION, offset), card(), offset, now)
        };
        for n in 0..FIRING_MAX {
            assert!(!add(&mut firing, n));
        }
        assert!(add(&mut firing, FIRING_MAX));
        assert_eq!((firing.kept.len(), firing.places.len()), (FIRING_MAX, FIRING_MAX));
        assert_eq!(firing.oldest(PARTITION), Some(1));
    }

    #[test]
    fn the_first_record_that_is_needed_moves_as_alerts_end() {
        let (mut firing, now) = (Firing::default(), Instant::now());
        for n in 0..4 {
            let partition = if n == 3 { OTHER } else { PARTITION };
            firing.add(name(n), (partition, 10 + n as i64), card(), 1_000 * n as i64, now);
        }
        firing.remove(name(0));
        firing.remove(name(9));
        assert_eq!((firing.oldest(PARTITION), firing.oldest(OTHER)), (Some(11), Some(13)));
        // The same alert again, by a redelivery, is one.
        firing.add(name(1), (PARTITION, 20), card(), 1_000, now);
        assert_eq!(firing.oldest(PARTITION), Some(12));
        firing.retain(2_000, |_| true);
        assert_eq!(firing.kept.len(), 2);
        firing.retain(0, |partition| partition == OTHER);
        assert_eq!((firing.oldest(PARTITION), firing.places.len()), (None, 1));
    }

    #[test]
    fn what_is_due_is_told_in_parts() {
        let (mut firing, now) = (Firing::default(), Instant::now());
        for n in 0..5 {
            firing.add(name(n), (PARTITION, n as i64), card(), 0, now);
        }
        let (places, cards) = firing.due(now, 3, |_| true);
        assert_eq!((places.len(), cards.len()), (3, 3));
        let later = now + Duration::from_secs(60);
        firing.repeated(&places, later);
        assert_eq!(firing.due(now, 3, |_| true).0, [(PARTITION, 3), (PARTITION, 4)]);
        assert_eq!(firing.due(later, 9, |partition| partition == OTHER).0, []);
        assert_eq!(firing.next_due(|_| true), Some(now));
    }
}
