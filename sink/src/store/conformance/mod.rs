//! Conformance: what every [`Store`] must do, as one suite that all implementations pass.
//!
//! In: a migrated store, which may hold anything else. Out: a panic that names the broken promise.
//! Each case works on sites of its own, drawn anew at each run, so that the suite can run again and
//! again, and by several at once, on one real cluster.

#![allow(
    clippy::unwrap_used,
    clippy::cloned_ref_to_slice_refs,
    reason = "a test fails by panicking"
)]

mod alerts;
mod changes;
mod line_sealers;
mod log_blocks;
mod logs;
mod losses;
mod readings;
mod records;
mod sealers;
mod sealing;
mod widths;

pub use self::sealers::two;

use weir_models::ident::{EventId, SeriesKey, Stream};

use super::{Batch, ReadingRow, Store, TimeRange};

/// Runs every case.
///
/// # Panics
/// When the store breaks a promise.
pub async fn all(store: &dyn Store) {
    store.check_schema().await.unwrap();
    let again = store.migrate().await.unwrap();
    assert!(again.is_empty(), "a second migration does nothing: {again:?}");
    store.write(&Batch::default()).await.unwrap();
    readings::all(store).await;
    logs::all(store).await;
    alerts::all(store).await;
    records::all(store).await;
    changes::all(store).await;
    losses::all(store).await;
    widths::all(store).await;
    // Before sealing: it leaves parts behind that are broken.
    log_blocks::all(store).await;
    sealing::all(store).await;
}

/// All of time.
const EVER: TimeRange = TimeRange { from_us: i64::MIN, to_us: i64::MAX };

/// A day in 2025 that the cases are about, microseconds.
const NOON_US: i64 = 1_750_000_000_000_000 / 86_400_000_000 * 86_400_000_000 + 43_200_000_000;

/// A name that nobody used before.
fn fresh(name: &str) -> String {
    format!("{name}-{:016x}", getrandom::u64().unwrap())
}

fn key(site: &str, device: &str, metric: &str) -> SeriesKey {
    SeriesKey { site: site.into(), device: device.into(), metric: metric.into() }
}

fn id(stream: u64, seq: u64) -> EventId {
    EventId { stream: Stream(stream), seq }
}

fn reading(key: &SeriesKey, ts_us: i64, id: EventId, value: f64) -> ReadingRow {
    ReadingRow { key: key.clone(), ts_us, id, value, score: None, unit: None }
}

async fn write_readings(store: &dyn Store, readings: Vec<ReadingRow>) {
    let batch = Batch { readings, ..Batch::default() };
    store.write(&batch).await.unwrap();
}
