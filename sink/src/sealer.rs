//! Sealer: the task beside the pipeline that turns hot rows into parts, with low priority.
//!
//! In: a store that can be sealed, and when ([`SealConfig`]). Out: parts; what is wrong is told to the
//! status, and stands in the log and the metrics, but does not make the sink unready: rows are safe as they
//! are. Promises: one device-day or site-hour at a time; it may be broken off anywhere; an instance that does not seal
//! still tells that it lives, because it marks what it writes. What can go wrong: the store is away, then it
//! is tried again with growing waits, and everything waits in the hot rows, for as long as `hot_days`.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use weir_models::metric::{
    SINK_SEAL_BYTES, SINK_SEAL_DUE, SINK_SEAL_ERRORS, SINK_SEAL_PARTS, SINK_SEALED,
};

use crate::backoff::Backoff;
use crate::status::{Part, Status};
use crate::store::seal::SealStore;
use crate::store::seal::close::seal;
use crate::store::seal::keeper::Keeper;
use crate::store::{SealConfig, Store};

/// How often others are told that this instance lives.
const BEAT_EVERY: Duration = Duration::from_secs(60);
/// How often an instance that does not seal leaves its marks to those that do.
const HAND_OVER_EVERY: Duration = Duration::from_secs(12 * 3_600);
/// How often it is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// Seals until `stop` becomes true or its sender is gone, then leaves its marks to the others. To be
/// stopped after the last write.
pub async fn run(
    store: Arc<dyn Store>,
    config: SealConfig,
    status: Arc<Status>,
    mut stop: watch::Receiver<bool>,
) {
    let Some(sealing) = store.sealing() else {
        return;
    };
    tokio::select! {
        () = beats(sealing, &config) => {}
        () = rounds(sealing, &config, &status), if config.enabled => {}
        () = hand_over(sealing), if !config.enabled => {}
        // A sender that is gone means stop, too.
        () = async { let _ = stop.wait_for(|stop| *stop).await; } => {}
    }
    leave(sealing).await;
}

async fn leave(store: &dyn SealStore) {
    if let Err(error) = store.marks().leave(store).await {
        tracing::warn!(%error, "others take over what is not sealed only after a while");
    }
}

/// A wait that fits several times into a time of the configuration.
fn within(longest: Duration, seconds: u64) -> Duration {
    longest.min(Duration::from_secs(seconds) / 10).max(Duration::from_millis(100))
}

async fn beats(store: &dyn SealStore, config: &SealConfig) {
    let every = within(BEAT_EVERY, config.adopt_after_s);
    loop {
        if let Err(error) = store.marks().beat(store).await {
            tracing::warn!(%error, "cannot tell the other sinks that this one lives");
        }
        sleep(every).await;
    }
}

/// Leaves marks to the others from time to time, or nobody would seal what a living instance has marked.
async fn hand_over(store: &dyn SealStore) {
    loop {
        sleep(HAND_OVER_EVERY).await;
        leave(store).await;
    }
}

async fn rounds(store: &dyn SealStore, config: &SealConfig, status: &Status) {
    let every = within(LOOK_EVERY, config.after_s.min(config.adopt_after_s));
    let after = Duration::from_secs(config.after_s);
    let mut keeper = Keeper::new(after, Duration::from_secs(config.adopt_after_s));
    let mut backoff = Backoff::default();
    loop {
        let now = Instant::now();
        let wait = match round(store, &mut keeper).await {
            Ok(()) => {
                status.fine(Part::Seal);
                backoff.worked();
                every
            }
            Err(why) => {
                counter!(SINK_SEAL_ERRORS.name).increment(1);
                status.problem(Part::Seal, why);
                backoff.failed(now);
                every.max(backoff.until(now).saturating_duration_since(now))
            }
        };
        sleep(wait).await;
    }
}

/// Seals what is due. One device-day or site-hour that cannot be sealed does not hold up the others.
async fn round(store: &dyn SealStore, keeper: &mut Keeper) -> Result<(), String> {
    let due = keeper.due(store).await.map_err(|error| error.to_string())?;
    let (mut failed, mut left) = (Ok(()), 0usize);
    let total = due.len();
    for (done, due) in due.into_iter().enumerate() {
        gauge!(SINK_SEAL_DUE.name).set((left + total - done) as f64);
        match seal(store, &due.owner, &due.mark).await {
            Ok(sealed) => {
                counter!(SINK_SEALED.name).increment(sealed.rows as u64);
                counter!(SINK_SEAL_PARTS.name).increment(sealed.parts as u64);
                counter!(SINK_SEAL_BYTES.name).increment(sealed.bytes as u64);
            }
            Err(error) => {
                counter!(SINK_SEAL_ERRORS.name).increment(1);
                failed = Err(error.to_string());
                left += 1;
            }
        }
    }
    gauge!(SINK_SEAL_DUE.name).set(left as f64);
    failed
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use weir_models::ident::{EventId, SeriesKey, Stream};
    use weir_models::time::{DAY_US, now_us};

    use super::*;
    use crate::store::config::SqliteConfig;
    use crate::store::seal::{LEFT, Look};
    use crate::store::{Batch, ReadingRow, StoreConfig, TimeRange, open};

    async fn store_in(folder: &tempfile::TempDir, enabled: bool) -> (Arc<dyn Store>, SealConfig) {
        let seal = SealConfig { enabled, after_s: 0, adopt_after_s: 60 };
        let sqlite = Some(SqliteConfig { path: folder.path().join("store.db") });
        let config = StoreConfig { sqlite, seal: seal.clone(), ..StoreConfig::default() };
        let store = open(&config).await.unwrap();
        store.migrate().await.unwrap();
        (store, seal)
    }

    fn yesterday(seq: u64) -> Batch {
        let key = SeriesKey { site: "s".into(), device: "d".into(), metric: "m".into() };
        let id = EventId { stream: Stream(1), seq };
        let ts_us = now_us() - DAY_US;
        let row = ReadingRow { key, ts_us, id, value: 1., score: None, unit: None };
        Batch { readings: vec![row], ..Batch::default() }
    }

    #[tokio::test]
    async fn seals_what_is_over_and_leaves_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (store, config) = store_in(&folder, true).await;
        store.write(&yesterday(1)).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(store.clone(), config, Status::new(), stopped));
        let sealing = store.sealing().unwrap();
        let sealed = async {
            loop {
                let seals = sealing.all_seals().await.unwrap();
                if seals.iter().any(|(_, seal)| seal.parts.len() == 1 && seal.marks.is_empty()) {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), sealed).await.unwrap();
        store.write(&yesterday(2)).await.unwrap();
        stop.send(true).unwrap();
        task.await.unwrap();
        let owners = sealing.owners(Look::Usual).await.unwrap();
        assert_eq!(owners.iter().map(|(_, beat)| *beat).collect::<Vec<_>>(), [LEFT]);
        let key = &yesterday(1).readings[0].key;
        let ever = TimeRange { from_us: i64::MIN, to_us: i64::MAX };
        assert_eq!(store.readings(key, ever, 9).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn one_that_does_not_seal_still_tells_that_it_lives() {
        let folder = tempfile::tempdir().unwrap();
        let (store, config) = store_in(&folder, false).await;
        store.write(&yesterday(1)).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(store.clone(), config, Status::new(), stopped));
        let sealing = store.sealing().unwrap();
        let beating = async {
            while sealing.owners(Look::Usual).await.unwrap()[0].1 < 1 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), beating).await.unwrap();
        let seals = sealing.all_seals().await.unwrap();
        assert!(seals[0].1.parts.is_empty() && !seals[0].1.marks.is_empty());
        drop(stop);
        task.await.unwrap();
    }
}
