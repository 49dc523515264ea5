//! A small world around the pipeline: topics with offsets, a group that takes partitions away, a
//! store and an archive that fail, all driven by one seed. What they confirm is what they keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tokio::sync::oneshot;
use weir_models::alert::Alert;
use weir_models::device::Device;
use weir_models::ident::{EventId, SeriesKey};
use weir_models::topic::Topic;

use crate::consume::{
    Committed, ConsumeError, Consumer, Partition, Polled, ProduceError, Producer, Record,
};
use crate::store::{
    Agents, AlertQuery, AlertRecords, Audit, Batch, ChangesQuery, DeviceChange, Feedbacks, Latest,
    LogQuery, LogRow, LossQuery, LossRow, Point, Series, Store, StoreError, TimeRange,
};

/// Random numbers that the seed repeats (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What lasts when the pipeline crashes.
pub(super) struct State {
    pub(super) dice: Dice,
    /// How many of a hundred calls fail.
    pub(super) failing: u64,
    pub(super) store_away: bool,
    /// How long the archive takes for what is put from now on.
    pub(super) put_takes: Duration,
    /// Whether the group takes all partitions away with the next poll.
    pub(super) revoke_all: bool,
    /// Bytes of records that were handed to the pipeline.
    pub(super) polled_bytes: usize,
    pub(super) topics: BTreeMap<Partition, Vec<Record>>,
    pub(super) committed: BTreeMap<Partition, Committed>,
    pub(super) stored: BTreeMap<EventId, u64>,
    pub(super) agents: BTreeSet<String>,
    pub(super) dead: BTreeSet<(String, i64)>,
    /// Which consumer is the member of the group.
    member: u64,
}

#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>);

impl World {
    pub(super) fn new(seed: u64, failing: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            failing,
            store_away: false,
            put_takes: Duration::ZERO,
            revoke_all: false,
            polled_bytes: 0,
            topics: BTreeMap::new(),
            committed: BTreeMap::new(),
            stored: BTreeMap::new(),
            agents: BTreeSet::new(),
            dead: BTreeSet::new(),
            member: 0,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Appends a record.
    pub(super) fn send(&self, partition: Partition, ts_ms: i64, value: Option<String>) {
        self.send_again(partition, ts_ms, value, 0);
    }

    /// Appends a record that was a dead letter so many times.
    pub(super) fn send_again(
        &self,
        partition: Partition,
        ts_ms: i64,
        value: Option<String>,
        retried: u32,
    ) {
        let mut state = self.lock();
        let log = state.topics.entry(partition).or_default();
        // Offsets have holes, as after transaction markers.
        let offset = log.last().map_or(5, |last| last.offset + 1 + i64::from(ts_ms % 7 == 0));
        let value = value.map(Bytes::from);
        log.push(Record {
            partition,
            offset,
            ts_ms,
            key: None,
            value,
            retried,
            by: None,
            again: None,
        });
    }

    pub(super) fn consumer(&self) -> Box<dyn Consumer> {
        let mut state = self.lock();
        state.member += 1;
        Box::new(FakeConsumer {
            world: self.clone(),
            member: state.member,
            next: BTreeMap::new(),
            leaving: Vec::new(),
        })
    }

    fn roll(&self) -> (bool, bool, Duration) {
        let mut state = self.lock();
        let failing = state.failing;
        let fails = state.dice.percent(failing);
        let late = state.dice.percent(50);
        (fails, late, Duration::from_millis(state.dice.below(30)))
    }
}

struct FakeConsumer {
    world: World,
    member: u64,
    /// Next offset of the partitions that are assigned.
    next: BTreeMap<Partition, i64>,
    leaving: Vec<(Vec<Partition>, oneshot::Receiver<()>)>,
}

impl FakeConsumer {
    fn rebalance(&mut self, out: &mut Vec<Polled>) {
        let mut state = self.world.lock();
        self.leaving.retain_mut(|(_, answered)| {
            matches!(answered.try_recv(), Err(oneshot::error::TryRecvError::Empty))
        });
        let leaving = self.leaving.iter().flat_map(|(partitions, _)| partitions);
        let leaving: BTreeSet<_> = leaving.copied().collect();
        let absent: Vec<_> = state.topics.keys().copied().collect();
        for partition in absent {
            if !self.next.contains_key(&partition) && !leaving.contains(&partition) {
                let committed = state.committed.get(&partition).cloned();
                self.next.insert(partition, committed.as_ref().map_or(0, |c| c.offset));
                out.push(Polled::Assigned(partition, committed));
            }
        }
        if std::mem::take(&mut state.revoke_all) {
            let all: Vec<_> = std::mem::take(&mut self.next).into_keys().collect();
            let (done, answered) = oneshot::channel();
            self.leaving.push((all.clone(), answered));
            out.push(Polled::Revoked(all, done));
        }
        let failing = state.failing;
        if state.dice.percent(failing / 2) {
            let count = state.dice.below(3);
            let mut revoked = Vec::new();
            for _ in 0..count {
                let pick = state.dice.below(self.next.len().max(1) as u64) as usize;
                let picked = self.next.keys().nth(pick).copied();
                // What was assigned in this very answer stays for now.
                let picked = picked.filter(|p| {
                    !out.iter().any(|change| matches!(change, Polled::Assigned(a, _) if a == p))
                });
                revoked.extend(picked.inspect(|p| {
                    self.next.remove(p);
                }));
            }
            let (done, answered) = oneshot::channel();
            self.leaving.push((revoked.clone(), answered));
            out.push(Polled::Revoked(revoked, done));
        }
    }

    fn records(&mut self, max: usize, out: &mut Vec<Polled>) {
        let mut state = self.world.lock();
        let mut records = Vec::new();
        for (partition, next) in &mut self.next {
            let count = state.dice.below(max as u64 + 1) as usize;
            let log = &state.topics[partition];
            let from = log.partition_point(|record| record.offset < *next);
            for record in log[from..].iter().take(count) {
                *next = record.offset + 1;
                records.push(record.clone());
            }
        }
        state.polled_bytes += records.iter().map(Record::bytes).sum::<usize>();
        if !records.is_empty() {
            out.push(Polled::Records(records));
        }
    }
}

#[async_trait]
impl Consumer for FakeConsumer {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Polled>, ConsumeError> {
        tokio::time::sleep(wait.min(Duration::from_millis(20))).await;
        let (fails, ..) = self.world.roll();
        if fails {
            return Err(ConsumeError::Retry("scripted".into()));
        }
        let mut out = Vec::new();
        self.rebalance(&mut out);
        if max > 0 {
            self.records(max, &mut out);
        }
        Ok(out)
    }

    async fn commit(&mut self, offsets: &[(Partition, Committed)]) -> Result<(), ConsumeError> {
        let (fails, late, delay) = self.world.roll();
        tokio::time::sleep(delay).await;
        if fails && !late {
            return Err(ConsumeError::Retry("scripted".into()));
        }
        let mut state = self.world.lock();
        assert_eq!(state.member, self.member, "only the living member commits");
        for (partition, committed) in offsets {
            assert!(self.next.contains_key(partition), "commits only what it owns");
            let before = state.committed.insert(*partition, committed.clone());
            let before = before.map_or(0, |before| before.offset);
            assert!(before <= committed.offset, "a committed offset never goes back");
        }
        // The answer may be lost on its way back.
        if fails { Err(ConsumeError::Retry("scripted".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Producer for World {
    async fn send(
        &self,
        topic: Topic,
        _key: &[u8],
        _value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), ProduceError> {
        let (fails, ..) = self.roll();
        if fails {
            return Err(ProduceError::Retry("scripted".into()));
        }
        assert_eq!(topic, Topic::Dlq);
        let header = |name: &str| {
            let found = headers.iter().find(|(key, _)| *key == name).unwrap();
            String::from_utf8(found.1.to_vec()).unwrap()
        };
        assert!(!header("reason").is_empty());
        let place = format!("{}-{}", header("topic"), header("partition"));
        let offset = header("offset").parse().unwrap();
        self.lock().dead.insert((place, offset));
        Ok(())
    }
}

#[async_trait]
impl Store for World {
    async fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let (fails, late, delay) = self.roll();
        tokio::time::sleep(delay).await;
        let mut state = self.lock();
        let ids = batch.readings.iter().map(|row| row.id);
        let ids = ids.chain(batch.logs.iter().map(|line| line.id));
        let ids: Vec<_> = ids.chain(batch.alerts.iter().map(Alert::event_id)).collect();
        // A write that fails may have been done in part.
        let part = if fails { ids.len() / 2 * usize::from(late) } else { ids.len() };
        for id in &ids[..part] {
            *state.stored.entry(*id).or_insert(0) += 1;
        }
        if fails || state.store_away {
            return Err(StoreError::Retry("scripted".into()));
        }
        let agents = batch.agents.iter().map(|status| status.agent.to_string());
        state.agents.extend(agents);
        Ok(())
    }

    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    async fn check_schema(&self) -> Result<(), StoreError> {
        Ok(())
    }
    async fn readings(
        &self,
        _: &SeriesKey,
        _: TimeRange,
        _: usize,
    ) -> Result<Vec<Point>, StoreError> {
        Ok(Vec::new())
    }
    async fn alert_records(&self, _: &str, _: i64) -> Result<Vec<AlertRecords>, StoreError> {
        Ok(Vec::new())
    }
    async fn feedback_on(&self, _: &str, _: &[(i64, String)]) -> Result<Feedbacks, StoreError> {
        Ok(Feedbacks::new())
    }
    async fn feedback(&self, _: &str, _: TimeRange) -> Result<Feedbacks, StoreError> {
        Ok(Feedbacks::new())
    }
    async fn latest(&self, _: &str) -> Result<Vec<Latest>, StoreError> {
        Ok(Vec::new())
    }
    async fn device(&self, _: &str, _: &str) -> Result<Option<Device>, StoreError> {
        Ok(None)
    }
    async fn device_changes(&self, _: &ChangesQuery) -> Result<Vec<DeviceChange>, StoreError> {
        Ok(Vec::new())
    }
    async fn sites(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    async fn series(&self, _: &str, _: Option<&str>) -> Result<Vec<Series>, StoreError> {
        Ok(Vec::new())
    }
    async fn logs(&self, _: &LogQuery) -> Result<Vec<LogRow>, StoreError> {
        Ok(Vec::new())
    }
    async fn alerts(&self, _: &AlertQuery) -> Result<Vec<Alert>, StoreError> {
        Ok(Vec::new())
    }
    async fn devices(&self, _: &str) -> Result<Vec<Device>, StoreError> {
        Ok(Vec::new())
    }
    async fn agents(&self) -> Result<Agents, StoreError> {
        Ok(Agents::new())
    }
    async fn losses(&self, _: &LossQuery) -> Result<Vec<LossRow>, StoreError> {
        Ok(Vec::new())
    }
    async fn audits(&self, _: usize) -> Result<Vec<Audit>, StoreError> {
        Ok(Vec::new())
    }
    async fn event_ids(&self) -> Result<Vec<EventId>, StoreError> {
        Ok(Vec::new())
    }
}

/// An object store that fails before or after it has done what it was asked.
pub(super) struct Flaky {
    pub(super) world: World,
    pub(super) objects: Arc<InMemory>,
}

impl fmt::Debug for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flaky")
    }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("flaky")
    }
}

fn scripted<T>() -> object_store::Result<T> {
    Err(object_store::Error::Generic { store: "flaky", source: "scripted".into() })
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        let (fails, late, delay) = self.world.roll();
        let takes = self.world.lock().put_takes;
        tokio::time::sleep(delay + takes).await;
        if fails && !late {
            return scripted();
        }
        let done = self.objects.put_opts(location, payload, opts).await;
        tokio::time::sleep(delay).await;
        if fails { scripted() } else { done }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let (fails, _, delay) = self.world.roll();
        tokio::time::sleep(delay).await;
        if fails { scripted() } else { self.objects.get_opts(location, options).await }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
