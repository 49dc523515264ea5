//! Which record of a refused batch is the bad one?
//!
//! In: the batches of a group of which one was refused. Out: the records that Kafka will never take;
//! all others are there. One batch is under way at a time; one that is refused is halved, until a
//! single record is left. That one is packed anew once, in case it was the packing, and then put
//! aside.

use std::sync::Arc;

use weir_models::wire::Codec;

use super::batch::Batch;
use super::cluster::View;
use super::errors::{Class, class, words};
use super::problems::Failure;
use super::regroup::{pack, unpack};
use super::sender::{Piece, Sender, codes, produce};
use crate::publish::{PublishError, Refused};
use kafka_protocol::messages::ProduceRequest;

/// Error code: the time stamp is not within the bounds of the topic.
const INVALID_TIMESTAMP: i16 = 32;
/// Error codes that cannot come from the packing.
const TOO_LARGE: [i16; 2] = [10, 18];

struct Item {
    batch: Batch,
    is_rebuilt: bool,
}

impl Sender {
    /// Sends these batches and answers what was refused of them.
    pub(super) async fn search(
        &self,
        epoch: u64,
        batches: Vec<Batch>,
    ) -> Result<Vec<Refused>, PublishError> {
        self.idle(epoch).await?;
        let view = self.view();
        let mut refused = Vec::new();
        // The next one is on top.
        let new = |batch| Item { batch, is_rebuilt: false };
        let mut left: Vec<Item> = batches.into_iter().rev().map(new).collect();
        while let Some(item) = left.pop() {
            let outcome = self.try_one(epoch, &view, &item.batch).await;
            let answer = outcome.map_err(|failure| {
                self.producer().fail_slowly(&failure);
                self.tell(&failure);
                PublishError::Failed(failure.text)
            })?;
            let Some((code, told)) = answer else { continue };
            match taken_apart(item, code, told) {
                Ok(parts) => left.extend(parts.into_iter().rev()),
                Err(record) => refused.push(*record),
            }
        }
        Ok(refused)
    }

    /// Sends one batch; answers the error code if it is refused for good.
    async fn try_one(
        &self,
        epoch: u64,
        view: &View,
        batch: &Batch,
    ) -> Result<Option<(i16, Option<String>)>, Failure> {
        let over = |error: PublishError| Failure::passing("retry", error.to_string());
        let leader = view.leader(&batch.topic, batch.partition);
        let what = format!("the topic {}, partition {}", batch.topic, batch.partition);
        let node = leader.ok_or_else(|| Failure::answered(5, &what, None))?;
        let connection = self.ready(view, node).await?;
        let version = connection.versions().newest::<ProduceRequest>(9)?;
        let (producer, entry) = self.producer().number_slowly(epoch, batch).map_err(over)?;
        let pieces = [Piece { entry: entry.clone(), bytes: batch.bytes.clone() }];
        let response = connection.start(version, &produce(producer, &pieces))?.await?;
        self.cluster.throttle(node, response.throttle_time_ms);
        let Some((entry, code, told)) = codes(&response, vec![entry]).pop() else {
            return Err(Failure::answered(-1, &what, None));
        };
        match class(code) {
            Class::Done => {
                self.producer().settled(&entry, true);
                Ok(None)
            }
            Class::Refused => {
                self.producer().settled(&entry, false);
                Ok(Some((code, told)))
            }
            _ => Err(Failure::answered(code, &what, told.as_deref())),
        }
    }
}

/// What to try instead of a batch that was refused, or the record that will never be taken.
fn taken_apart(item: Item, code: i16, told: Option<String>) -> Result<Vec<Item>, Box<Refused>> {
    let Item { batch, is_rebuilt } = item;
    let part = |records: &[_], codec, is_rebuilt| {
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let batch = Batch { bytes: pack(records, codec), records: count, ..batch.clone() };
        Item { batch, is_rebuilt }
    };
    let told = told.as_deref();
    let reason = || words(code, &format!("a record of the topic {}", batch.topic), told);
    let mut records = unpack(&batch.bytes).unwrap_or_default();
    match records.len() {
        // It was read before it came here; if it cannot be read now, its bytes are kept as they are.
        0 => Err(Box::new(unreadable(&batch, reason()))),
        1 if is_rebuilt || TOO_LARGE.contains(&code) => {
            let record = records.remove(0);
            Err(Box::new(record.refused(&batch.topic, reason())))
        }
        1 => {
            let mut record = records.remove(0);
            if code == INVALID_TIMESTAMP {
                record = record.at(weir_models::time::now_us() / 1_000);
            }
            Ok(vec![part(&[record], Codec::None, true)])
        }
        many => {
            let (first, second) = records.split_at(many / 2);
            Ok(vec![part(first, Codec::Zstd, false), part(second, Codec::Zstd, false)])
        }
    }
}

fn unreadable(batch: &Batch, reason: String) -> Refused {
    let topic = Arc::clone(&batch.topic);
    Refused { topic, key: Default::default(), value: batch.bytes.clone(), id: None, reason }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use weir_models::wire::{BatchBuilder, Compressor};

    use super::*;

    fn item(values: &[&str]) -> Item {
        let mut builder = BatchBuilder::new();
        for value in values {
            builder.push(1_000, Some(b"key"), Some(value.as_bytes()), &[]);
        }
        let mut bytes = Vec::new();
        let info = builder.finish(&mut Compressor::new(Codec::Zstd, 1), &mut bytes);
        let (topic, bytes) = ("t".into(), bytes.into());
        let batch = Batch { topic, partition: 3, records: info.records, bytes };
        Item { batch, is_rebuilt: false }
    }

    #[test]
    fn a_refused_batch_is_halved_until_one_record_is_left() {
        let parts = taken_apart(item(&["a", "b", "c"]), 10, None).unwrap();
        let counts: Vec<u32> = parts.iter().map(|part| part.batch.records).collect();
        assert_eq!(counts, [1, 2]);
        let records = |item: &Item| unpack(&item.batch.bytes).unwrap();
        assert_eq!(
            [records(&parts[0]), records(&parts[1])].concat(),
            records(&item(&["a", "b", "c"]))
        );
        assert!(parts.iter().all(|part| part.batch.partition == 3));
    }

    #[test]
    fn a_single_record_is_packed_anew_once_and_then_put_aside() {
        let refused = taken_apart(item(&["a"]), 10, Some("much".into())).err().unwrap();
        assert!(refused.reason.contains("MESSAGE_TOO_LARGE") && refused.reason.contains("much"));
        assert_eq!((&refused.key[..], &refused.value[..]), (&b"key"[..], &b"a"[..]));

        let [again] = &mut taken_apart(item(&["a"]), 87, None).unwrap()[..] else { panic!() };
        let again = std::mem::replace(again, item(&[]));
        assert_eq!(unpack(&again.batch.bytes).unwrap(), unpack(&item(&["a"]).batch.bytes).unwrap());
        assert!(taken_apart(again, 87, None).is_err());
    }

    #[test]
    fn a_time_stamp_that_is_refused_becomes_the_present() {
        let old = unpack(&item(&["a"]).batch.bytes).unwrap().remove(0);
        let [again] = &taken_apart(item(&["a"]), 32, None).unwrap()[..] else { panic!() };
        let new = unpack(&again.batch.bytes).unwrap().remove(0);
        assert_ne!(new, old);
        assert_eq!(new.at(1_000), old);
    }
}
