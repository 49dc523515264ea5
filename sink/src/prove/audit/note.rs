//! Note: what an audit found, left in the store for who looks at the page.

use weir_models::time::now_us;

use crate::store::{Audit, Batch, StoreConfig, TimeRange, open};

/// A note of an audit that begins now; `kafka`: whether that is asked, too.
pub(super) fn begin(range: TimeRange, kafka: bool) -> Audit {
    Audit {
        ended_us: now_us(),
        from_us: Some(range.from_us).filter(|&us| us != i64::MIN),
        to_us: Some(range.to_us).filter(|&us| us != i64::MAX),
        kafka,
        ..Audit::default()
    }
}

/// Leaves the note in the store.
pub(super) async fn leave(config: &StoreConfig, begun: Audit) {
    let ended_us = now_us();
    let audit = Audit { ended_us, took_us: ended_us.saturating_sub(begun.ended_us), ..begun };
    let batch = Batch { audits: vec![audit], ..Batch::default() };
    let left = async { open(config).await?.write(&batch).await };
    if let Err(error) = left.await {
        tracing::warn!(%error, "the result cannot be noted in the store: the page will not show it");
    }
}
