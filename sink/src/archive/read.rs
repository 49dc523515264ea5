//! Reading the archive back: which events are in it.
//!
//! In: the target. Out: the identity of every row of every object, in the order of the objects'
//! names, each as often as it is there. Reads object by object, two columns only. What can go wrong:
//! the target does not answer, or an object is no Parquet of ours; both name the object.

use arrow_array::types::Int64Type;
use bytes::Bytes;
use object_store::ObjectStoreExt;
use weir_models::ident::EventId;
use weir_models::topic::Topic;

use super::fields::{Fields, batches};
use super::{Archive, ArchiveError, Chain};

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
        for path in self.paths(topic).await? {
            let data = self.bytes(&path).await?;
            contents.objects += 1;
            ids(data, &mut contents.ids).map_err(|reason| ReadError::Damaged { path, reason })?;
        }
        Ok(contents)
    }

    /// The objects of a topic that count, in the order of their names.
    pub(super) async fn paths(&self, topic: Topic) -> Result<Vec<String>, ArchiveError> {
        let catalogue = self.catalogue(&[topic]).await?;
        let of_chain = |chain: &Chain| {
            let there = chain.entries.iter().filter(|entry| entry.has_object);
            there.map(|entry| chain.path(entry)).collect::<Vec<_>>()
        };
        let mut paths: Vec<_> = catalogue.chains.iter().flat_map(of_chain).collect();
        paths.sort();
        Ok(paths)
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

fn ids(data: Bytes, out: &mut Vec<EventId>) -> Result<(), String> {
    for batch in batches(data, Some(&["stream", "seq"]))? {
        out.extend(Fields(&batch.map_err(|error| error.to_string())?).ids()?);
    }
    Ok(())
}
