//! One record to a compacted topic, past the spool.
//!
//! In: topic, key, value. Out: acknowledged by all in-sync replicas, or why not. Such a record is the
//! newest of its key or nothing, so it has no sequence: sent twice it is the same.

use std::time::Duration;

use kafka_protocol::messages::ProduceRequest;
use tokio::time::Instant;
use weir_models::wire::{BatchBuilder, Codec, Compressor, partition_for};

use super::cluster::Cluster;
use super::errors::{Class, class};
use super::problems::{Failure, Part};
use super::producer::Entry;
use super::sender::{Piece, codes, produce};
use super::state::ProducerId;
use crate::publish::PublishError;

/// For how long it is tried again when Kafka cannot take it now.
const TRIED_FOR: Duration = Duration::from_secs(30);
/// First and longest wait in between.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Stands for no producer id.
const NOBODY: ProducerId = ProducerId { id: -1, epoch: -1 };

/// Sends it.
pub(super) async fn send(
    cluster: &Cluster,
    topic: &str,
    key: &[u8],
    value: &[u8],
) -> Result<(), PublishError> {
    let until = Instant::now() + TRIED_FOR;
    let mut wait = WAIT_MIN;
    loop {
        let failure = match try_send(cluster, topic, key, value).await {
            Ok(()) => {
                cluster.problems.over(Part::Single);
                return Ok(());
            }
            Err(failure) => failure,
        };
        let is_last = !failure.is_passing || Instant::now() >= until;
        // Whoever asks for metadata tells sooner whether brokers can be reached again than the next
        // record does, which may be long in coming.
        let is_told_elsewhere = matches!(failure.class, "connection" | "security");
        cluster.problems.met(Part::Single, &failure, is_last && !is_told_elsewhere);
        if is_last {
            return Err(PublishError::Failed(failure.text));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
        if failure.refresh {
            // Should that fail as well, the next try tells.
            let _ = cluster.refresh().await;
        }
    }
}

async fn try_send(cluster: &Cluster, topic: &str, key: &[u8], value: &[u8]) -> Result<(), Failure> {
    let view = cluster.with_topics(&[topic.into()].into()).await?;
    let count = view.topic(topic).map_or(1, |topic| topic.count());
    let partition = partition_for(key, count);
    let what = format!("the topic {topic}, partition {partition}");
    let node = view.leader(topic, partition).ok_or_else(|| Failure::answered(5, &what, None))?;
    let connection = cluster.connection(&view, node).await?;
    while let Some(until) = cluster.held_until(node) {
        tokio::time::sleep_until(until).await;
    }
    let mut builder = BatchBuilder::new();
    let ts_ms = weir_models::time::now_us() / 1_000;
    builder.push(ts_ms, Some(key), Some(value), &[]);
    let mut bytes = Vec::new();
    builder.finish(&mut Compressor::new(Codec::None, 0), &mut bytes);
    let entry =
        Entry { serial: 0, topic: topic.into(), partition, start: 0, end: 1, max_ts_ms: ts_ms };
    let request = produce(NOBODY, &[Piece { entry: entry.clone(), bytes: bytes.into() }]);
    let version = connection.versions().newest::<ProduceRequest>(9)?;
    let response = connection.start(version, &request)?.await?;
    cluster.throttle(node, response.throttle_time_ms);
    match codes(&response, vec![entry]).pop() {
        Some((_, code, _)) if class(code) == Class::Done => Ok(()),
        Some((_, code, told)) if class(code) == Class::Refused => {
            let failure = Failure::answered(code, &what, told.as_deref());
            Err(Failure { is_passing: false, ..failure })
        }
        Some((_, code, told)) => Err(Failure::answered(code, &what, told.as_deref())),
        None => Err(Failure::answered(-1, &what, None)),
    }
}
