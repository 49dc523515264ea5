//! The spool against a model, under kills, power cuts, a full and failing disk, and damage.
//!
//! The disk's faults come from `log::faults`: writes that end half-way, and which bytes of a file a
//! power cut leaves for certain. Each of them was seen to find its bug: see the functions below.

mod steps;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;
use steps::{Step, step};
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::spool::folders::strands;
use crate::spool::log::faults;

/// In the second one live data overtakes.
const LANES: [Lane; 2] = [Lane::Alerts, Lane::Rest];
/// What makes a lane late.
const LATE_MS: i64 = 31_000;

/// One event of the model: its identity and the time it was appended, which no other event shares.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    id: String,
    /// The number of its strand.
    strand: u64,
    ts_ms: i64,
    /// Which batch holds it, at most: flush, topic and partition.
    batch: (u32, usize, u32),
    /// The flush that wrote it; those that failed before left it to that one.
    group: u32,
    /// A power cut cannot take it.
    synced: bool,
}

struct Opened {
    spool: Spool,
    /// By lane and number of the strand.
    readers: BTreeMap<(usize, u64), LaneReader>,
    later: [Receiver<LaneReader>; 2],
}

impl Opened {
    fn new(dir: &TempDir) -> Self {
        let (spool, all) = Spool::open(dir.path(), &config()).unwrap();
        let mut readers = BTreeMap::new();
        let [alerts, _, _, rest] = all;
        let later = [(0, alerts), (1, rest)].map(|(lane, mut reader)| {
            let later = reader.later().unwrap();
            readers.insert((lane, reader.strand().number), reader);
            later
        });
        let mut opened = Opened { spool, readers, later };
        opened.meet();
        opened
    }

    /// Takes the readers of new strands.
    fn meet(&mut self) {
        for (lane, later) in self.later.iter_mut().enumerate() {
            while let Ok(reader) = later.try_recv() {
                self.readers.insert((lane, reader.strand().number), reader);
            }
        }
    }

    fn strands(&self, lane: usize) -> Vec<u64> {
        self.readers.keys().filter(|key| key.0 == lane).map(|key| key.1).collect()
    }
}

struct Model {
    dir: TempDir,
    opened: Option<Opened>,
    topics: [Arc<str>; 2],
    now_ms: i64,
    flushes: u32,
    damages: u32,
    /// By lane: appended and not flushed.
    pending: [Vec<Known>; 2],
    /// By lane and strand: flushed and not acknowledged, in order.
    waiting: BTreeMap<(usize, u64), Vec<Known>>,
    /// Everything that was ever read: Kafka may have it.
    published: HashMap<String, i64>,
    /// What damage took. It may come back, where a second flip undoes the first.
    lost: HashSet<String>,
    /// By lane and strand: the last event read since its reader last went back. Nothing may be left
    /// of the group behind it, and its acknowledgement takes this one with it.
    read: HashMap<(usize, u64), String>,
}

impl Model {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let opened = Some(Opened::new(&dir));
        Model {
            dir,
            opened,
            topics: [topic("a"), topic("b")],
            now_ms: 0,
            flushes: 0,
            damages: 0,
            pending: Default::default(),
            waiting: BTreeMap::new(),
            published: HashMap::new(),
            lost: HashSet::new(),
            read: HashMap::new(),
        }
    }

    fn opened(&mut self) -> &mut Opened {
        self.opened.as_mut().unwrap()
    }

    fn spool(&mut self) -> &mut Spool {
        &mut self.opened().spool
    }

    fn reader(&mut self, at: (usize, u64)) -> &mut LaneReader {
        self.opened().readers.get_mut(&at).unwrap()
    }

    fn a_strand(&mut self, lane: usize, strand: Index) -> (usize, u64) {
        (lane, *strand.get(&self.opened().strands(lane)))
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
                        for mut known in std::mem::take(&mut self.pending[lane]) {
                            known.group = self.flushes;
                            self.waiting.entry((lane, known.strand)).or_default().push(known);
                        }
                    }
                }
                self.mark_losses();
            }
            Step::Sync => {
                self.spool().sync().unwrap();
                self.waiting.values_mut().flatten().for_each(|known| known.synced = true);
            }
            Step::FailWrite { bytes, full } => {
                let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
                faults::fail_next_write(bytes, kind);
            }
            Step::PowerCut { kept, zeros } => self.power_cut(kept, zeros),
            Step::Later => self.now_ms += LATE_MS,
            Step::Acknowledge { lane, strand, groups } => {
                let at = self.a_strand(lane, strand);
                self.acknowledge(at, groups);
            }
            Step::Rewind { lane, strand } => {
                let at = self.a_strand(lane, strand);
                self.rewind(at);
            }
            Step::Kill => self.reopen(),
            Step::Close => {
                faults::heal();
                self.take(Step::Flush);
                self.pending = Default::default();
                let _ = self.opened.take().unwrap().spool.close();
                self.reboot();
                self.reopen();
            }
            Step::Cut { lane, strand, at } => {
                let cut = self.a_strand(lane, strand);
                self.cut(cut, at);
            }
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
        self.opened().meet();
        let strand = *self.opened().strands(lane).last().unwrap();
        assert!(lane == 1 || strand == 0, "no alert overtakes another");
        self.pending[lane].push(Known {
            id: text(id),
            strand,
            ts_ms,
            batch,
            group: 0,
            synced: false,
        });
    }

    /// What a pipeline would do; the markers themselves are left out.
    fn mark_losses(&mut self) {
        drop(self.spool().take_losses());
        self.spool().losses_are_told();
    }

    fn rewind(&mut self, at: (usize, u64)) {
        self.read.remove(&at);
        self.reader(at).rewind();
    }

    /// The events of a group; none of them may have been published as another one.
    fn note(&mut self, at: (usize, u64), group: &Group) -> Vec<String> {
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
        if let Some(last) = found.last() {
            self.read.insert(at, last.clone());
        }
        found
    }

    fn acknowledge(&mut self, at: (usize, u64), groups: usize) {
        for _ in 0..groups {
            let Some(group) = self.reader(at).next_group().unwrap() else {
                return self.finish(at);
            };
            let read = self.note(at, &group);
            let waiting = self.waiting.entry(at).or_default();
            let expected: Vec<_> = waiting.iter().map(|known| known.id.clone()).collect();
            self.mark_losses();
            self.reader(at).acknowledge(group.end).unwrap();
            // Reading may be ahead of the checkpoint: what lies before is acknowledged with it.
            let Some(last) = self.read.get(&at) else { continue };
            let count = expected.iter().position(|id| id == last).map_or(0, |i| i + 1);
            assert!(expected[..count].ends_with(&read));
            self.waiting.entry(at).or_default().drain(..count);
        }
        // As the publisher, which has several groups under way.
        if let Some(group) = self.reader(at).next_group().unwrap() {
            self.note(at, &group);
        }
    }

    fn finish(&mut self, at: (usize, u64)) {
        self.rewind(at);
        if let Some(group) = self.reader(at).next_group().unwrap() {
            self.note(at, &group);
            return;
        }
        self.mark_losses();
        if self.reader(at).finish().unwrap() {
            let left = self.waiting.remove(&at).unwrap_or_default();
            assert_eq!(left, [], "a strand has gone with what waits in it");
            self.opened().readers.remove(&at);
        }
    }

    /// Reads a lane from the checkpoints on; answers which of the events that wait are missing.
    fn missing(&mut self, lane: usize) -> Vec<((usize, u64), usize)> {
        let mut missing = Vec::new();
        let strands = self.opened().strands(lane);
        for at in strands.iter().map(|strand| (lane, *strand)) {
            self.rewind(at);
            let mut read = Vec::new();
            while let Some(group) = self.reader(at).next_group().unwrap() {
                read.extend(self.note(at, &group));
            }
            self.rewind(at);
            let mut read = read.into_iter().peekable();
            for (i, known) in self.waiting.entry(at).or_default().iter().enumerate() {
                if read.next_if_eq(&known.id).is_none() {
                    missing.push((at, i));
                }
            }
            assert_eq!(read.next(), None, "read twice, out of order, or never written");
        }
        let unread = self.waiting.iter().filter(|((of, strand), waiting)| {
            *of == lane && !waiting.is_empty() && !strands.contains(strand)
        });
        assert_eq!(unread.count(), 0, "a strand has gone with what waits in it");
        missing
    }

    fn known(&self, (at, i): &((usize, u64), usize)) -> &Known {
        &self.waiting[at][*i]
    }

    fn forget(&mut self, missing: &[((usize, u64), usize)]) {
        for (at, i) in missing.iter().rev() {
            let known = self.waiting.get_mut(at).unwrap().remove(*i);
            self.lost.insert(known.id);
        }
    }

    /// Fails unless only ends of strands are missing.
    #[track_caller]
    fn check_ends(&self, missing: &[((usize, u64), usize)]) {
        for (at, waiting) in &self.waiting {
            let mut of = missing.iter().filter(|missing| missing.0 == *at).map(|missing| missing.1);
            let kept = waiting.len() - of.clone().count();
            assert!(of.all(|i| i >= kept), "a cut takes the end only: {missing:?}");
        }
    }

    fn reopen(&mut self) {
        faults::heal();
        self.opened = None;
        self.pending = Default::default();
        self.read = HashMap::new();
        self.opened = Some(Opened::new(&self.dir));
    }

    /// The machine starts again.
    fn reboot(&self) {
        for strand in LANES.into_iter().flat_map(|lane| strands(self.dir.path(), lane).unwrap()) {
            reboot_strand(self.dir.path(), strand);
        }
    }

    /// None where Kafka has all of the strand, and a flush has taken it away.
    fn segments(&self, strand: Strand) -> Vec<PathBuf> {
        let folder = self.dir.path().join(strand.folder());
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            entries => entries.unwrap().map(|entry| entry.unwrap().path()),
        };
        let mut paths: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
        paths.sort();
        paths
    }

    fn all_segments(&self, lane: usize) -> Vec<PathBuf> {
        let strands = strands(self.dir.path(), LANES[lane]).unwrap();
        strands.into_iter().flat_map(|strand| self.segments(strand)).collect()
    }

    fn cut(&mut self, (lane, number): (usize, u64), at: Index) {
        self.opened = None;
        if let Some(path) = self.segments(Strand { lane: LANES[lane], number }).pop() {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(at.index(length as usize + 1) as u64).unwrap();
        }
        self.reboot();
        self.reopen();
        let missing = self.missing(lane);
        assert!(missing.iter().all(|(at, _)| at.1 == number), "of another strand");
        self.check_ends(&missing);
        self.forget(&missing);
    }

    /// Every segment loses what was not synced: cut somewhere behind that, and the rest zeros, as
    /// file systems leave it that note a file's length before its content.
    fn power_cut(&mut self, kept: Index, zeros: bool) {
        self.opened = None;
        for lane in 0..LANES.len() {
            for path in self.all_segments(lane) {
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
        }
        // Zeros may hit one copy of a head and leave the group readable: a flip may meet the other one.
        self.damages += u32::from(zeros);
        self.reboot();
        self.reopen();
        for lane in 0..LANES.len() {
            let missing = self.missing(lane);
            let synced = missing.iter().find(|missing| self.known(missing).synced);
            assert_eq!(synced, None, "a power cut took what was synced");
            self.forget(&missing);
        }
    }

    fn flip(&mut self, lane: usize, segment: Index, at: Index, bit: u8, at_most: u64) {
        self.opened = None;
        let segments = self.all_segments(lane);
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
            self.check_ends(&missing);
        }
        let batches: HashSet<_> = missing.iter().map(|i| self.known(i).batch).collect();
        // A second damage may meet the other copy of a head that the first one has hit.
        self.damages += 1;
        assert!(
            batches.len() <= 1 || self.damages > 1,
            "one bad byte costs one batch: {batches:?}"
        );
        let groups: HashSet<u32> = missing.iter().map(|i| self.known(i).group).collect();
        assert!(groups.len() <= 1, "and never more than one group");
        self.forget(&missing);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn what_was_flushed_is_read_once_in_order(steps in proptest::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.take(step);
        }
        faults::heal();
        for lane in 0..LANES.len() {
            assert_eq!(model.missing(lane), []);
        }
        model.take(Step::Kill);
        for lane in 0..LANES.len() {
            assert_eq!(model.missing(lane), []);
        }
        // All of it goes in the end, and with it all strands but one of each lane.
        for (lane, of) in LANES.into_iter().enumerate() {
            for strand in model.opened().strands(lane) {
                model.rewind((lane, strand));
                model.acknowledge((lane, strand), usize::MAX);
            }
            model.take(Step::Flush);
            assert_eq!(strands(model.dir.path(), of).unwrap().len(), 1);
        }
    }
}
