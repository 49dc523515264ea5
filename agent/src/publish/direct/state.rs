//! What a lane has to know to go on after a kill: who it is to the broker, and its next sequences.
//!
//! In: the state as it is after a group. Out: bytes for the slot of the checkpoint, and back.
//! Together with the groups behind the checkpoint it says exactly which bytes were sent: whatever
//! would change that (another count of partitions, a record left out) takes another epoch of the
//! producer first, and is stored before anything is sent under it.
//!
//! It holds for one boot of one machine, because only then is the checkpoint exact; for one cluster;
//! and for half of the time that a broker remembers a producer (`producer.id.expiration.ms`).

use std::collections::BTreeMap;
use std::sync::Arc;

/// Half of Kafka's default of a day.
const USED_WITHIN_S: u64 = 12 * 3_600;
/// The version of the layout and of how groups are packed: another one is not gone on with.
const VERSION: u8 = 1;
/// Flag: numbers are given as records turn out, so they cannot be found again.
const UNFIT: u8 = 1;

/// Who we are to the broker, in one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducerId {
    /// From InitProducerId.
    pub(super) id: i64,
    /// Raised by us: it begins new sequences, and fences what is still under way of the old ones.
    pub(super) epoch: i16,
}

/// One topic, as the lane fills it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TopicState {
    /// The topic's id in the cluster; zero when the broker tells none.
    pub(super) id: [u8; 16],
    /// Records sent to each partition under the producer id. The sequence is its low 31 bits. The
    /// length is the number of partitions reckoned with.
    pub(super) sent: Vec<u64>,
}

/// The state of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) producer: ProducerId,
    pub(super) cluster: Arc<str>,
    pub(super) topics: BTreeMap<Arc<str>, TopicState>,
    /// Numbers are given as records turn out: not to be gone on with after a restart.
    pub(super) unfit: bool,
}

/// Where and when this process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Here {
    /// This boot of this machine; zero if not known.
    pub(super) boot: [u8; 16],
    /// Seconds since the boot.
    pub(super) uptime_s: u64,
}

impl Here {
    /// Now.
    pub(super) fn now() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(32).collect();
        let boot = u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes();
        Self { boot, uptime_s: uptime_s() }
    }

    /// The same place, now.
    pub(super) fn later(self) -> Self {
        Self { uptime_s: uptime_s(), ..self }
    }
}

fn uptime_s() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or_default()
}

/// The sequence of the record after `sent` others. Kafka counts from 0 again after `i32::MAX`.
pub(super) fn sequence(sent: u64) -> i32 {
    (sent & 0x7fff_ffff) as i32
}

impl State {
    /// Nothing is sent yet, and there is no id.
    pub(super) fn new(cluster: Arc<str>) -> Self {
        let producer = ProducerId { id: -1, epoch: -1 };
        Self { producer, cluster, topics: BTreeMap::new(), unfit: false }
    }

    /// The bytes to store.
    pub(super) fn encode(&self, here: Here) -> Vec<u8> {
        let mut out = vec![VERSION, if self.unfit { UNFIT } else { 0 }];
        out.extend_from_slice(&here.boot);
        out.extend_from_slice(&here.uptime_s.to_be_bytes());
        out.extend_from_slice(&self.producer.id.to_be_bytes());
        out.extend_from_slice(&self.producer.epoch.to_be_bytes());
        put_text(&mut out, &self.cluster);
        put_number(&mut out, self.topics.len() as u64);
        for (name, topic) in &self.topics {
            put_text(&mut out, name);
            out.extend_from_slice(&topic.id);
            put_number(&mut out, topic.sent.len() as u64);
            for sent in &topic.sent {
                put_number(&mut out, *sent);
            }
        }
        out
    }

    /// The state in `bytes` and where it was stored; none if there is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<(State, Here)> {
        let mut rest = bytes;
        let input = &mut rest;
        let [version, flags] = take(input)?;
        if version != VERSION {
            return None;
        }
        let here = Here { boot: take(input)?, uptime_s: u64::from_be_bytes(take(input)?) };
        let producer = ProducerId {
            id: i64::from_be_bytes(take(input)?),
            epoch: i16::from_be_bytes(take(input)?),
        };
        let cluster = take_text(input)?;
        let mut topics = BTreeMap::new();
        for _ in 0..take_number(input)? {
            let name = take_text(input)?;
            let id = take(input)?;
            let mut sent = Vec::new();
            for _ in 0..take_number(input)? {
                sent.push(take_number(input)?);
            }
            topics.insert(name, TopicState { id, sent });
        }
        let state = State { producer, cluster, topics, unfit: flags & UNFIT != 0 };
        input.is_empty().then_some((state, here))
    }

    /// Whether a process that runs `here`, at `cluster`, may go on with it.
    pub(super) fn is_fit(&self, stored: Here, here: Here, cluster: &str) -> bool {
        let age_s = here.uptime_s.checked_sub(stored.uptime_s);
        !self.unfit
            && stored.boot != [0; 16]
            && stored.boot == here.boot
            && age_s.is_some_and(|age_s| age_s < USED_WITHIN_S)
            && !self.cluster.is_empty()
            && *self.cluster == *cluster
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*taken)
}

fn take_number(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(input)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_text(input: &mut &[u8]) -> Option<Arc<str>> {
    let length = usize::try_from(take_number(input)?).ok()?;
    let (text, rest) = input.split_at_checked(length)?;
    *input = rest;
    std::str::from_utf8(text).ok().map(Into::into)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const HERE: Here = Here { boot: [7; 16], uptime_s: 100_000 };

    fn state() -> State {
        let topic = |sent: &[u64]| TopicState { id: [9; 16], sent: sent.to_vec() };
        State {
            producer: ProducerId { id: 4_000, epoch: 3 },
            cluster: "MkU3OEVBNTcwNTJENDM2Qk".into(),
            topics: [
                ("weir.logs".into(), topic(&[0, 1, 127, 128, u64::MAX])),
                ("weir.alerts".into(), topic(&[])),
            ]
            .into(),
            unfit: false,
        }
    }

    #[test]
    fn a_state_comes_back_whole_or_not_at_all() {
        for unfit in [false, true] {
            let state = State { unfit, ..state() };
            let bytes = state.encode(HERE);
            assert_eq!(State::decode(&bytes), Some((state, HERE)));
            for end in 0..bytes.len() {
                assert_eq!(State::decode(&bytes[..end]), None, "{end}");
            }
        }
        assert_eq!(State::decode(&[VERSION + 1, 0]), None);
        // Promises more than there is.
        let mut bytes = State { topics: BTreeMap::new(), ..state() }.encode(HERE);
        *bytes.last_mut().unwrap() = 0x7f;
        assert_eq!(State::decode(&bytes), None);
    }

    #[test]
    fn a_state_serves_one_boot_one_cluster_and_half_a_day() {
        #[track_caller]
        fn check(state: &State, here: Here, cluster: &str, expected: bool) {
            assert_eq!(state.is_fit(HERE, here, cluster), expected, "{here:?} {cluster}");
        }
        let (state, cluster) = (state(), "MkU3OEVBNTcwNTJENDM2Qk");
        let later = |seconds| Here { uptime_s: HERE.uptime_s + seconds, ..HERE };
        check(&state, HERE, cluster, true);
        check(&state, later(USED_WITHIN_S - 1), cluster, true);
        check(&state, later(USED_WITHIN_S), cluster, false);
        check(&state, Here { uptime_s: 99_999, ..HERE }, cluster, false);
        check(&state, Here { boot: [8; 16], ..HERE }, cluster, false);
        check(&state, HERE, "another", false);
        check(&State { unfit: true, ..state.clone() }, HERE, cluster, false);
        let unknown = Here { boot: [0; 16], ..HERE };
        assert!(!state.is_fit(unknown, unknown, cluster), "a boot that is not known");
    }

    #[test]
    fn hundreds_of_partitions_fit_into_a_slot_of_the_checkpoint() {
        let topic = TopicState { id: [9; 16], sent: vec![3_000_000_000; 700] };
        let state = State { topics: [("weir.readings".into(), topic)].into(), ..state() };
        assert!(state.encode(HERE).len() < 3_900);
    }

    #[test]
    fn sequences_begin_again_after_the_largest() {
        assert_eq!(sequence(0), 0);
        assert_eq!(sequence(i32::MAX as u64), i32::MAX);
        assert_eq!(sequence(i32::MAX as u64 + 1), 0);
        assert_eq!(sequence(i32::MAX as u64 + 6), 5);
    }

    #[test]
    fn this_machine_tells_its_boot_and_uptime() {
        let here = Here::now();
        assert_ne!(here.boot, [0; 16]);
        assert!(here.uptime_s > 0 && here.later().uptime_s >= here.uptime_s);
    }
}
