//! In the background: the running sink merges what is over, once an hour.
//!
//! In: the archive and `[archive.merge]`. Out: larger objects, and counts of them. Promises: it takes one object after the
//! other, at rest for as long as it works; it holds up nobody, and several instances take turns. What can go wrong: the archive does
//! not answer: that is logged, and tried again an hour later.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::counter;
use tokio::sync::watch;
use tokio::time::sleep;
use weir_models::metric::{SINK_MERGE_ERRORS, SINK_MERGED};
use weir_models::topic::Topic;

use super::{Merge, MergeError, Step};
use crate::archive::{Archive, Hours, MergeConfig};
use crate::store::TimeRange;

/// Between two runs.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// The first run begins within this time, so that instances started together do not meet.
const FIRST_WITHIN_S: u64 = 10 * 60;
/// Most objects that are remembered as told.
const TOLD_MAX: usize = 10_000;

/// Merges until `stop` becomes true or its sender is gone. A merge under way is left as it is: the next run goes on with it.
pub async fn run(archive: Archive, config: MergeConfig, mut stop: watch::Receiver<bool>) {
    if !config.enabled {
        return;
    }
    let work = async {
        let random = getrandom::u64().unwrap_or(0) % FIRST_WITHIN_S;
        sleep(Duration::from_secs(random)).await;
        let mut told = BTreeSet::new();
        loop {
            once(&archive, &config, &mut told).await;
            sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// `told` is what stays, and why, of the runs before: it is logged once.
async fn once(archive: &Archive, config: &MergeConfig, told: &mut BTreeSet<(String, String)>) {
    let ever = Hours::of(TimeRange { from_us: i64::MIN, to_us: i64::MAX });
    let archived: Vec<Topic> = Topic::ALL.into_iter().filter(|topic| topic.is_data()).collect();
    let merge = Merge::new(config, &archived, ever).gently();
    let ended = merge.run(archive, |step| match step {
        Step::Merged { object, objects, rows, bytes } => {
            counter!(SINK_MERGED.name).increment(*objects);
            tracing::info!(object, objects, rows, bytes, "merged");
        }
        Step::Left { object, why } => {
            if told.len() < TOLD_MAX && told.insert((object.clone(), why.clone())) {
                tracing::warn!(object, why, "not merged");
            }
        }
        Step::Removed { object } => tracing::info!(object, "removed, it was merged before"),
        Step::Planned { .. } => {}
    });
    match ended.await {
        Ok(()) => {}
        Err(error @ MergeError::Held { .. }) => tracing::debug!(%error, "not merged"),
        Err(error @ MergeError::Archive(_)) => {
            counter!(SINK_MERGE_ERRORS.name).increment(1);
            tracing::warn!(%error, "not merged, tried again in an hour");
        }
    }
}
