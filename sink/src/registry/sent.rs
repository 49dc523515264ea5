//! Sent: what this instance sent last for each device, until the store has it. Pure.
//!
//! In: what was sent, and what the store shows. Out: what counts, and the stamp that the next change has to be above.
//! Promises: what was acknowledged counts until the store shows it, or something newer; an older stamp in the store
//! never wins because time has passed. What can go wrong: more was sent than is remembered; then the store has to
//! show it. A stamp that somebody else sets below ours counts only when the store has shown ours before.

use std::num::NonZeroUsize;

use lru::LruCache;
use weir_models::device::Device;

/// Site and device.
pub(super) type Place = (String, String);

/// Devices that are remembered: more than the largest list has.
const DEVICES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_535);
/// Bytes of text of the records that are remembered.
const BYTES_MAX: usize = 128 * 1024 * 1024;
/// Longest time for which a new device counts, or something that may not have been sent, although the store does
/// not show it, microseconds.
const IN_DOUBT_US: i64 = 300_000_000;

/// A change that Kafka may have or not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Doubt {
    pub(super) us: i64,
    pub(super) record: Option<Device>,
    pub(super) by: Option<String>,
}

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    pub(super) current: Option<Device>,
    /// The next stamp is above it.
    pub(super) before_us: i64,
    pub(super) doubt: Option<Doubt>,
}

#[derive(Debug)]
struct Entry {
    us: i64,
    record: Option<Device>,
    /// Whether the store has shown this, or something newer.
    seen: bool,
    doubt: Option<Doubt>,
    /// Highest stamp that was ever used.
    highest_us: i64,
}

/// What was sent.
pub(super) struct Sent {
    entries: LruCache<Place, Entry>,
    bytes: usize,
}

impl Default for Sent {
    fn default() -> Self {
        Self { entries: LruCache::new(DEVICES_MAX), bytes: 0 }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        let doubt = self.doubt.as_ref().and_then(|doubt| doubt.record.as_ref());
        self.record.iter().chain(doubt).map(text_bytes).sum()
    }

    /// Whether what the store shows leaves no doubt about a change any more.
    fn settles(&self, doubt: &Doubt, stored_us: Option<i64>, now_us: i64) -> bool {
        let shows = match stored_us {
            Some(stored_us) => stored_us >= doubt.us,
            None => doubt.record.is_none() && (self.seen || self.record.is_none()),
        };
        shows || now_us - doubt.us >= IN_DOUBT_US
    }

    /// Whether what the store shows counts, and not what was sent.
    fn yields(&mut self, stored_us: Option<i64>, now_us: i64) -> bool {
        self.seen |= match (&self.record, stored_us) {
            (_, Some(stored_us)) => stored_us >= self.us,
            (record, None) => record.is_none(),
        };
        // A new device that never showed up: somebody else has deleted it meanwhile.
        let is_lost = stored_us.is_none() && now_us - self.us >= IN_DOUBT_US;
        if self.seen {
            self.record = None;
        }
        self.seen || is_lost
    }
}

impl Sent {
    /// What is known of a device when the store shows this.
    pub(super) fn look(&mut self, place: &Place, stored: Option<Device>, now_us: i64) -> Known {
        let stored_us = stored.as_ref().map(|stored| stored.updated_us);
        let Some(entry) = self.entries.get_mut(place) else {
            return Known { before_us: stored_us.unwrap_or(0), current: stored, doubt: None };
        };
        let bytes = entry.bytes();
        let doubt = entry.doubt.take();
        entry.doubt = doubt.filter(|doubt| !entry.settles(doubt, stored_us, now_us));
        let current = if entry.yields(stored_us, now_us) { stored } else { entry.record.clone() };
        let before_us = entry.highest_us.max(stored_us.unwrap_or(0));
        let known = Known { current, before_us, doubt: entry.doubt.clone() };
        self.bytes = self.bytes + entry.bytes() - bytes;
        known
    }

    /// What is known of a device while the store is away.
    pub(super) fn recall(&mut self, place: &Place) -> Known {
        self.entries.get(place).map_or_else(Known::default, |entry| Known {
            current: entry.record.clone(),
            before_us: entry.highest_us,
            doubt: entry.doubt.clone(),
        })
    }

    /// Kafka has it.
    pub(super) fn sent(&mut self, place: Place, us: i64, record: Option<Device>) {
        self.put(place, Entry { us, record, seen: false, doubt: None, highest_us: us });
    }

    /// Kafka may have it.
    pub(super) fn doubt(&mut self, place: Place, doubt: Doubt) {
        let before = self.entries.pop(&place);
        self.bytes -= before.as_ref().map_or(0, Entry::bytes);
        let highest_us = doubt.us;
        let nothing = Entry { us: 0, record: None, seen: true, doubt: None, highest_us };
        let entry = before.unwrap_or(nothing);
        self.put(place, Entry { doubt: Some(doubt), highest_us, ..entry });
    }

    fn put(&mut self, place: Place, entry: Entry) {
        self.bytes += entry.bytes();
        if let Some((_, gone)) = self.entries.push(place, entry) {
            self.bytes -= gone.bytes();
        }
        while self.bytes > BYTES_MAX
            && let Some((_, gone)) = self.entries.pop_lru()
        {
            self.bytes -= gone.bytes();
        }
    }
}

/// About how many bytes a record takes.
pub(crate) fn text_bytes(device: &Device) -> usize {
    let pairs = device.meta.iter().chain(&device.units);
    let aliases = device.aliases.iter().map(|alias| alias.len() + 24);
    aliases.chain(pairs.map(|(name, text)| name.len() + text.len() + 48)).sum()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn place() -> Place {
        ("hall".into(), "press".into())
    }

    fn record(us: i64) -> Option<Device> {
        Some(Device {
            site: "hall".into(),
            device: "press".into(),
            updated_us: us,
            ..Device::default()
        })
    }

    fn doubt(us: i64, record: Option<Device>) -> Doubt {
        Doubt { us, record, by: None }
    }

    fn current_us(sent: &mut Sent, stored: Option<Device>, now_us: i64) -> Option<i64> {
        sent.look(&place(), stored, now_us).current.map(|device| device.updated_us)
    }

    #[test]
    fn what_was_sent_counts_until_the_store_has_it_however_long_that_takes() {
        let mut sent = Sent::default();
        sent.sent(place(), 10, record(10));
        assert_eq!(current_us(&mut sent, record(5), HOUR_US), Some(10));
        assert_eq!(current_us(&mut sent, record(10), HOUR_US), Some(10));
        // A deletion, too.
        sent.sent(place(), 20, None);
        assert_eq!(current_us(&mut sent, record(10), HOUR_US), None);
        assert_eq!(current_us(&mut sent, None, HOUR_US), None);
        // What somebody else says then counts whatever its stamp.
        assert_eq!(current_us(&mut sent, record(15), HOUR_US), Some(15));
        assert_eq!(sent.look(&place(), record(15), HOUR_US).before_us, 20);
    }

    #[test]
    fn what_somebody_else_deleted_is_gone_once_the_store_has_shown_ours() {
        let mut sent = Sent::default();
        sent.sent(place(), 10, record(10));
        assert_eq!(current_us(&mut sent, None, 11), Some(10), "on its way");
        assert_eq!(current_us(&mut sent, record(10), 12), Some(10));
        assert_eq!(current_us(&mut sent, None, 13), None);
        // A new device that the store never showed is given up after a while.
        sent.sent(place(), 20, record(20));
        assert_eq!(current_us(&mut sent, None, 20 + HOUR_US), None);
    }

    #[test]
    fn a_change_in_doubt_is_told_until_the_store_settles_it() {
        let mut sent = Sent::default();
        sent.sent(place(), 10, record(10));
        sent.doubt(place(), doubt(20, record(20)));
        let known = sent.look(&place(), record(5), 21);
        assert_eq!((known.current, known.before_us), (record(10), 20));
        assert_eq!(known.doubt.unwrap().us, 20);
        let known = sent.look(&place(), record(20), 22);
        assert_eq!((known.current, known.doubt), (record(20), None));
        // Or nothing shows it, and it is given up.
        sent.doubt(place(), doubt(30, None));
        assert!(sent.look(&place(), record(20), 31).doubt.is_some());
        let known = sent.look(&place(), record(20), 30 + HOUR_US);
        assert_eq!((known.current, known.before_us, known.doubt), (record(20), 30, None));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_counted() {
        let mut sent = Sent::default();
        let large = Device { aliases: vec!["x".repeat(1 << 20)], ..Device::default() };
        for n in 0..200 {
            sent.sent(("hall".into(), n.to_string()), 1, Some(large.clone()));
            sent.doubt(("hall".into(), n.to_string()), doubt(2, Some(large.clone())));
        }
        assert!(sent.bytes <= BYTES_MAX && sent.entries.len() > 50, "{}", sent.entries.len());
        let places: Vec<Place> = sent.entries.iter().map(|(place, _)| place.clone()).collect();
        for place in places {
            sent.look(&place, Some(Device { updated_us: 9, ..Device::default() }), 10);
        }
        assert_eq!(sent.bytes, 0);
    }
}
