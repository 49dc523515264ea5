//! Marks: which hours were merged last, for who lists the archive meanwhile.
//!
//! In: an hour, marked after its merged object is whole and before a source is removed. Out: a small file beside the
//! topics' folders. Promises: a listing between whose begin and end no mark was set has seen each row once; else the hours that
//! were marked are listed again. What can go wrong: the target does not answer; a file that is damaged counts as none.

use serde::{Deserialize, Serialize};
use weir_models::topic::Topic;

use super::{Archive, ArchiveError};

/// Hours that are kept: more than are merged while a listing goes on.
const HOURS_MAX: usize = 1_000;

/// The marks of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// How many were ever set.
    count: u64,
    /// The last of them, in hours since the Unix epoch, oldest first.
    hours: Vec<i32>,
}

impl Marks {
    /// The hours that were marked since `before`; none when that is not known any more.
    pub(super) fn since(&self, before: &Self) -> Option<Vec<i32>> {
        let new = usize::try_from(self.count.checked_sub(before.count)?).ok()?;
        let mut hours = self.hours.get(self.hours.len().checked_sub(new)?..)?.to_vec();
        hours.sort_unstable();
        hours.dedup();
        Some(hours)
    }

    fn add(&mut self, hour: i32) {
        self.count += 1;
        self.hours.push(hour);
        let excess = self.hours.len().saturating_sub(HOURS_MAX);
        self.hours.drain(..excess);
    }
}

fn path(topic: Topic) -> String {
    format!("_weir_merged/{}.json", topic.suffix())
}

impl Archive {
    pub(super) async fn marks(&self, topic: Topic) -> Result<Marks, ArchiveError> {
        match self.bytes(&path(topic)).await {
            Ok(json) => Ok(serde_json::from_slice(&json).unwrap_or_default()),
            Err(error) if error.is_gone() => Ok(Marks::default()),
            Err(error) => Err(error),
        }
    }

    /// Says that sources in this hour are about to be removed.
    pub(super) async fn mark(&self, topic: Topic, hour: i32) -> Result<(), ArchiveError> {
        let mut marks = self.marks(topic).await?;
        marks.add(hour);
        let json = serde_json::to_vec(&marks).unwrap_or_default();
        self.write(&path(topic), json.into()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_marked_since_is_known_for_a_while() {
        let mut marks = Marks::default();
        marks.add(5);
        let before = marks.clone();
        assert_eq!(marks.since(&before), Some(vec![]));
        for hour in [7, 6, 7] {
            marks.add(hour);
        }
        assert_eq!(marks.since(&before), Some(vec![6, 7]));
        // Somebody removed the file.
        assert_eq!(Marks::default().since(&before), None);
        for hour in 0..1_000 {
            marks.add(hour);
        }
        assert_eq!((marks.since(&before), marks.hours.len()), (None, 1_000));
    }
}
