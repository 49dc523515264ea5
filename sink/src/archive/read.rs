//! Reading the archive back: which events are in it.
//!
//! In: the target. Out: the identity of every row of every object, in the order of the objects'
//! names, each as often as it is there, also where a merge overtakes it. Reads object by object, few columns only. What can go wrong:
//! the target does not answer, or an object is no Parquet of ours; both name the object.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use object_store::ObjectStoreExt;
use weir_models::ident::EventId;
use weir_models::topic::Topic;

use super::fields::{Fields, batches};
use super::{Archive, ArchiveError, Chain, Entry};
use crate::consume::Partition;

/// The archive cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The target does not answer.
    #[error(transparent)]
    Target(#[from] ArchiveError),
    /// An object is not what we write.
    #[error(
        "`{path}` in the archive is damaged: {reason}; restore it from a copy, or replay its offsets from Kafka"
    )]
    Damaged {
        /// The object.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// What an archive holds of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Objects.
    pub objects: u64,
    /// Identity of each row.
    pub ids: Vec<EventId>,
}

/// Names one row of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The agent.
    pub agent: &'a str,
    /// Its stream and number.
    pub id: EventId,
    /// Offset of its record.
    pub offset: i64,
}

/// Hands the identity of every row of an object to `each`, in their order.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn identities(data: Bytes, mut each: impl FnMut(Identity<'_>)) -> Result<(), String> {
    for batch in batches(data, Some(&["agent", "stream", "seq", "offset"]))? {
        let batch = batch.map_err(|error| error.to_string())?;
        let fields = Fields(&batch);
        let (agents, offsets) = (fields.text("agent")?, fields.primitive::<Int64Type>("offset")?);
        for (row, id) in fields.ids()?.into_iter().enumerate() {
            each(Identity { agent: agents.value(row), id, offset: offsets.value(row) });
        }
    }
    Ok(())
}

impl Archive {
    /// The identity of every archived record of a topic.
    ///
    /// # Errors
    /// When the target does not answer or an object is damaged.
    pub async fn contents(&self, topic: Topic) -> Result<Contents, ReadError> {
        let mut contents = Contents::default();
        self.each_object(topic, |data, from| {
            contents.objects += 1;
            ids(data, from, &mut contents.ids).map(|()| true)
        })
        .await?;
        Ok(contents)
    }

    /// Hands every object of a topic that counts to `each`, in the order of their names, until that says no. Rows below the
    /// offset that comes with it were in objects before it.
    pub(super) async fn each_object(
        &self,
        topic: Topic,
        mut each: impl FnMut(Bytes, i64) -> Result<bool, String>,
    ) -> Result<(), ReadError> {
        let catalogue = self.catalogue(&[topic]).await?;
        let mut listed: Vec<(String, &Chain, &Entry)> = Vec::new();
        for chain in &catalogue.chains {
            let there = chain.entries.iter().filter(|entry| entry.has_object);
            listed.extend(there.map(|entry| (chain.path(entry), chain, entry)));
        }
        listed.sort_by(|one, other| one.0.cmp(&other.0));
        let mut last: BTreeMap<(Partition, &str), Entry> = BTreeMap::new();
        for (_, chain, entry) in listed {
            let of = (chain.partition, &*chain.topic_name);
            if last.get(&of).is_some_and(|last| last.covers(entry)) {
                continue;
            }
            let (read, from, data) = self.bytes_now(chain, entry).await?;
            last.insert(of, read);
            let goes_on = each(data, from)
                .map_err(|reason| ReadError::Damaged { path: chain.path(&read), reason })?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// The bytes of an object of a chain; where it was merged since the chain was listed, those of what it was merged into.
    /// Says which it is, and from which offset on its rows come: what is below was in objects before it.
    ///
    /// # Errors
    /// When the target does not answer or there is neither.
    pub async fn bytes_now(
        &self,
        chain: &Chain,
        entry: &Entry,
    ) -> Result<(Entry, i64, Bytes), ArchiveError> {
        match self.bytes(&chain.path(entry)).await {
            Ok(data) => Ok((*entry, i64::MIN, data)),
            Err(error) if error.is_gone() => {
                let merged = self.successor(chain, entry).await?.ok_or(error)?;
                let data = self.bytes(&chain.path(&merged)).await?;
                Ok((merged, entry.first_offset, data))
            }
            Err(error) => Err(error),
        }
    }

    /// The bytes of an object.
    ///
    /// # Errors
    /// When the target does not answer or the object is not there.
    pub async fn bytes(&self, path: &str) -> Result<Bytes, ArchiveError> {
        let at = object_store::path::Path::from(path);
        let read = async { self.target.get(&at).await?.bytes().await };
        read.await.map_err(ArchiveError::of("read", path))
    }
}

/// The rows of a batch from this offset on.
pub(super) fn rows_from(batch: &RecordBatch, offset: i64) -> Result<RecordBatch, String> {
    let offsets = Fields(batch).primitive::<Int64Type>("offset")?;
    let passed = offsets.values().partition_point(|one| *one < offset);
    Ok(batch.slice(passed, batch.num_rows() - passed))
}

fn ids(data: Bytes, from: i64, out: &mut Vec<EventId>) -> Result<(), String> {
    for batch in batches(data, Some(&["stream", "seq", "offset"]))? {
        let batch = rows_from(&batch.map_err(|error| error.to_string())?, from)?;
        out.extend(Fields(&batch).ids()?);
    }
    Ok(())
}
