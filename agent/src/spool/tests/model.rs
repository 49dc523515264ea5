//! The spool against a model, under kills, power cuts, a full and failing disk, and damage.
//!
//! The disk's faults come from `log::faults`: writes that end half-way, and which bytes of a file a
//! power cut leaves for certain. Each of them was seen to find its bug: see the functions below.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::spool::log::faults;

const LANES: [Lane; 2] = [Lane::Alerts, Lane::Rest];

#[derive(Debug, Clone)]
enum Step {
    Append {
        lane: usize,
        key: u8,
        bytes: usize,
    },
    Flush,
    Sync,
    /// The next write ends half-way: the disk is full, or failing.
    FailWrite {
        bytes: usize,
        full: bool,
    },
    /// Reads some groups and acknowledges them.
    Acknowledge {
        lane: usize,
        groups: usize,
    },
    Rewind {
        lane: usize,
    },
    /// The process is killed and started again.
    Kill,
    /// A clean end, then a reboot.
    Close,
    /// A power cut takes the end of the newest segment.
    Cut {
        lane: usize,
        at: Index,
    },
    /// A power cut takes everything that was not synced, or a part of it.
    PowerCut {
        kept: Index,
        zeros: bool,
    },
    /// The flash changes a byte of any segment.
    Flip {
        lane: usize,
        segment: Index,
        at: Index,
        bit: u8,
        /// In the first bytes, where the heads are.
        near: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let lane = || 0..LANES.len();
    prop_oneof![
        20 => (lane(), any::<u8>(), 0usize..12_000)
            .prop_map(|(lane, key, bytes)| Step::Append { lane, key, bytes }),
        10 => Just(Step::Flush),
        1 => Just(Step::Sync),
        3 => (lane(), 1usize..6).prop_map(|(lane, groups)| Step::Acknowledge { lane, groups }),
        1 => lane().prop_map(|lane| Step::Rewind { lane }),
        2 => (0usize..20_000, any::<bool>())
            .prop_map(|(bytes, full)| Step::FailWrite { bytes, full }),
        2 => Just(Step::Kill),
        1 => Just(Step::Close),
        1 => (lane(), any::<Index>()).prop_map(|(lane, at)| Step::Cut { lane, at }),
        1 => (any::<Index>(), any::<bool>())
            .prop_map(|(kept, zeros)| Step::PowerCut { kept, zeros }),
        3 => (lane(), any::<Index>(), any::<Index>(), 0u8..8, any::<bool>()).prop_map(
            |(lane, segment, at, bit, near)| Step::Flip { lane, segment, at, bit, near }
        ),
    ]
}

/// One event of the model: its identity and the time it was appended, which no other event shares.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    id: String,
    ts_ms: i64,
    /// Which batch holds it, at most: flush, topic and partition.
    batch: (u32, usize, u32),
    /// A power cut cannot take it.
    synced: bool,
}

struct Model {
    dir: TempDir,
    opened: Option<(Spool, [LaneReader; 4])>,
    topics: [Arc<str>; 2],
    now_ms: i64,
    flushes: u32,
    flips: u32,
    /// By lane: appended and not flushed.
    pending: [Vec<Known>; 2],
    /// By lane: flushed and not acknowledged, in order.
    waiting: [Vec<Known>; 2],
    /// Everything that was ever read: Kafka may have it.
    published: HashMap<String, i64>,
    /// What damage took. It may come back, where a second flip undoes the first.
    lost: HashSet<String>,
}

impl Model {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let opened = Some(Spool::open(dir.path(), &config()).unwrap());
        Model {
            dir,
            opened,
            topics: [topic("a"), topic("b")],
            now_ms: 0,
            flushes: 0,
            flips: 0,
            pending: Default::default(),
            waiting: Default::default(),
            published: HashMap::new(),
            lost: HashSet::new(),
        }
    }

    fn spool(&mut self) -> &mut Spool {
        &mut self.opened.as_mut().unwrap().0
    }

    fn reader(&mut self, lane: usize) -> &mut LaneReader {
        &mut self.opened.as_mut().unwrap().1[LANES[lane] as usize]
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append { lane, key, bytes } => self.append(lane, key, bytes),
            Step::Flush => {
                // A lane that fails does not hold up the other one.
                let _ = self.spool().flush();
                self.flushes += 1;
                for (lane, of) in LANES.into_iter().enumerate() {
                    if self.spool().lanes_pending(of) == 0 {
                        let flushed = std::mem::take(&mut self.pending[lane]);
                        self.waiting[lane].extend(flushed);
                    }
                }
                self.mark_losses();
            }
            Step::Sync => {
                self.spool().sync().unwrap();
                self.waiting.iter_mut().flatten().for_each(|known| known.synced = true);
            }
            Step::FailWrite { bytes, full } => {
                let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
                faults::fail_next_write(bytes, kind);
            }
            Step::PowerCut { kept, zeros } => self.power_cut(kept, zeros),
            Step::Acknowledge { lane, groups } => self.acknowledge(lane, groups),
            Step::Rewind { lane } => self.reader(lane).rewind(),
            Step::Kill => self.reopen(),
            Step::Close => {
                faults::heal();
                self.take(Step::Flush);
                self.pending = Default::default();
                let (spool, _) = self.opened.take().unwrap();
                let _ = spool.close();
                for lane in LANES {
                    reboot(self.dir.path(), lane);
                }
                self.reopen();
            }
            Step::Cut { lane, at } => self.cut(lane, at),
            Step::Flip { lane, segment, at, bit, near } => {
                let at_most = if near { 500 } else { u64::MAX };
                self.flip(lane, segment, at, bit, at_most);
            }
        }
    }

    fn append(&mut self, lane: usize, key: u8, bytes: usize) {
        self.now_ms += 1;
        let (ts_ms, topic) = (self.now_ms, Arc::clone(&self.topics[usize::from(key & 1)]));
        let id = self.spool().append(LANES[lane], &topic, 4, &[key], ts_ms, |id, out| {
            out.extend_from_slice(text(id).as_bytes());
            out.resize(out.len() + bytes, b' ');
        });
        let batch = (self.flushes, usize::from(key & 1), partition_for(&[key], 4));
        self.pending[lane].push(Known { id: text(id), ts_ms, batch, synced: false });
    }

    /// What a pipeline would do; the markers themselves are left out.
    fn mark_losses(&mut self) {
        drop(self.spool().take_losses());
        self.spool().losses_are_told();
    }

    /// The events of a group; none of them may have been published as another one.
    fn note(&mut self, group: &Group) -> Vec<String> {
        for frame in &group.frames {
            let (view, _) = BatchView::parse(&frame.batch).unwrap();
            for record in &view.records(MAX_RAW_BYTES).unwrap() {
                let record = record.unwrap();
                let id = std::str::from_utf8(record.value.unwrap()).unwrap().trim_end();
                let before = *self.published.entry(id.to_owned()).or_insert(record.ts_ms);
                assert_eq!(before, record.ts_ms, "{id} names two events");
            }
        }
        let mut found = events(group);
        found.retain(|id| !self.lost.contains(id));
        found
    }

    fn acknowledge(&mut self, lane: usize, groups: usize) {
        for _ in 0..groups {
            let Some(group) = self.reader(lane).next_group().unwrap() else {
                return;
            };
            let read = self.note(&group);
            let expected: Vec<_> =
                self.waiting[lane].iter().map(|known| known.id.clone()).collect();
            self.mark_losses();
            self.reader(lane).acknowledge(group.end).unwrap();
            // Reading may be ahead of the checkpoint: what lies before is acknowledged with it.
            let Some(last) = read.last() else { continue };
            let count = expected.iter().position(|id| id == last).unwrap() + 1;
            assert!(expected[..count].ends_with(&read));
            self.waiting[lane].drain(..count);
        }
    }

    /// Reads a lane from the checkpoint on; answers which of the events that wait are missing.
    fn missing(&mut self, lane: usize) -> Vec<usize> {
        self.reader(lane).rewind();
        let mut read = Vec::new();
        while let Some(group) = self.reader(lane).next_group().unwrap() {
            read.extend(self.note(&group));
        }
        self.reader(lane).rewind();
        let mut read = read.into_iter().peekable();
        let mut missing = Vec::new();
        for (i, known) in self.waiting[lane].iter().enumerate() {
            if read.next_if_eq(&known.id).is_none() {
                missing.push(i);
            }
        }
        assert_eq!(read.next(), None, "read twice, out of order, or never written");
        missing
    }

    fn forget(&mut self, lane: usize, missing: &[usize]) {
        for i in missing.iter().rev() {
            let known = self.waiting[lane].remove(*i);
            self.lost.insert(known.id);
        }
    }

    fn reopen(&mut self) {
        faults::heal();
        self.opened = None;
        self.pending = Default::default();
        self.opened = Some(Spool::open(self.dir.path(), &config()).unwrap());
    }

    fn segments(&self, lane: usize) -> Vec<PathBuf> {
        let folder = self.dir.path().join(LANES[lane].folder());
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
        paths.sort();
        paths
    }

    fn cut(&mut self, lane: usize, at: Index) {
        self.opened = None;
        if let Some(path) = self.segments(lane).pop() {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(at.index(length as usize + 1) as u64).unwrap();
        }
        for lane in LANES {
            reboot(self.dir.path(), lane);
        }
        self.reopen();
        let missing = self.missing(lane);
        let kept = self.waiting[lane].len() - missing.len();
        assert!(missing.iter().all(|i| *i >= kept), "a cut takes the end only: {missing:?}");
        self.forget(lane, &missing);
    }

    /// Every segment loses what was not synced: cut somewhere behind that, and the rest zeros, as
    /// file systems leave it that note a file's length before its content.
    fn power_cut(&mut self, kept: Index, zeros: bool) {
        self.opened = None;
        for (lane, of) in LANES.into_iter().enumerate() {
            for path in self.segments(lane) {
                let mut bytes = std::fs::read(&path).unwrap();
                let safe = (faults::safe_bytes(&path) as usize).min(bytes.len());
                let kept = safe + kept.index(bytes.len() - safe + 1);
                if zeros {
                    bytes[kept..].fill(0);
                } else {
                    bytes.truncate(kept);
                }
                std::fs::write(&path, bytes).unwrap();
            }
            reboot(self.dir.path(), of);
        }
        self.reopen();
        for lane in 0..LANES.len() {
            let missing = self.missing(lane);
            let synced = missing.iter().find(|i| self.waiting[lane][**i].synced);
            assert_eq!(synced, None, "a power cut took what was synced");
            self.forget(lane, &missing);
        }
    }

    fn flip(&mut self, lane: usize, segment: Index, at: Index, bit: u8, at_most: u64) {
        self.opened = None;
        let segments = self.segments(lane);
        if !segments.is_empty() {
            let file =
                OpenOptions::new().read(true).write(true).open(segment.get(&segments)).unwrap();
            let length = file.metadata().unwrap().len().min(at_most);
            // The copies are spared: a flip in each of both is more than one bad byte.
            let at = match at.index(length as usize) as u64 {
                at @ 36..72 => at - 36,
                at => at,
            };
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
        }
        self.reopen();
        let missing = self.missing(lane);
        let stats = self.spool().stats(LANES[lane]);
        if stats.torn_bytes == 0 {
            // Old damage that lies ahead is counted again by a new process.
            assert!(stats.skipped_events >= missing.len() as u64, "{stats:?} {missing:?}");
        } else {
            let kept = self.waiting[lane].len() - missing.len();
            assert!(missing.iter().all(|i| *i >= kept), "a cut takes the end only: {missing:?}");
        }
        let batches: HashSet<_> = missing.iter().map(|i| self.waiting[lane][*i].batch).collect();
        // A second flip may meet the other copy of a head that the first one has hit.
        self.flips += 1;
        assert!(batches.len() <= 1 || self.flips > 1, "one bad byte costs one batch: {batches:?}");
        let flushes: HashSet<u32> = batches.iter().map(|batch| batch.0).collect();
        assert!(flushes.len() <= 1, "and never more than one group");
        self.forget(lane, &missing);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_was_flushed_is_read_once_in_order(steps in proptest::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.take(step);
        }
        faults::heal();
        for lane in 0..LANES.len() {
            assert_eq!(model.missing(lane), Vec::<usize>::new());
        }
        model.take(Step::Kill);
        for lane in 0..LANES.len() {
            assert_eq!(model.missing(lane), Vec::<usize>::new());
        }
    }
}
