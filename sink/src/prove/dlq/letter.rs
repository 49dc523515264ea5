//! Letter: a record of the topic of dead letters, and which of them are chosen. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use weir_models::topic::{Topic, TopicNames};

use crate::consume::RETRIED;

/// Header of a receipt: the letter that was sent back.
pub(super) const RECEIPT: &str = "letter";

/// Names a letter: partition and offset in the topic of dead letters, written `3/17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (partition, offset) = text.split_once('/')?;
            let (partition, offset) = (partition.parse().ok()?, offset.parse().ok()?);
            (partition >= 0 && offset >= 0).then_some(Self { partition, offset })
        };
        read().ok_or_else(|| "write it as `weir-sink dlq ls` shows it, for example 3/17".into())
    }
}

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) id: Id,
    pub(super) ts_ms: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    /// Header to value.
    pub(super) headers: Vec<(String, Bytes)>,
}

impl Letter {
    /// A header as text, what is not UTF-8 replaced; empty where it is not there.
    pub(super) fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }

    /// The letter that this is the receipt of.
    pub(super) fn receipt_of(&self) -> Option<Id> {
        self.header(RECEIPT).parse().ok().filter(|_| self.value.is_none())
    }

    /// How often it was sent back before it came (again).
    pub(super) fn retried(&self) -> u32 {
        self.header(RETRIED).parse().unwrap_or(0)
    }

    /// The topic it came from.
    pub(super) fn topic(&self, names: &TopicNames) -> Result<Topic, String> {
        let name = self.header("topic");
        let ours = |topic: &Topic| *topic != Topic::Dlq && *topic != Topic::Models;
        names.topic(&name).filter(ours).ok_or_else(|| {
            format!("letter {} came from `{name}`, which the sink does not read; check `[kafka] topic_prefix`", self.id)
        })
    }
}

/// Which letters are sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// These, whatever they are.
    Named(BTreeSet<Id>),
    /// Those whose reason holds this text, letter case ignored.
    Reason { text: String, again: bool },
}

impl Choice {
    /// Whether a letter is sent back. `done` are the letters that have a receipt. Of compacted topics
    /// only what is named: an old record would take the place of a newer one.
    pub(super) fn takes(&self, letter: &Letter, done: &BTreeSet<Id>, names: &TopicNames) -> bool {
        match self {
            Self::Named(ids) => ids.contains(&letter.id),
            Self::Reason { text, again } => {
                !done.contains(&letter.id)
                    && (*again || letter.retried() == 0)
                    && letter.topic(names).is_ok_and(Topic::is_data)
                    && letter.header("reason").to_lowercase().contains(&text.to_lowercase())
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn letter(offset: i64, headers: &[(&str, &str)]) -> Letter {
        let headers = headers
            .iter()
            .map(|&(key, value)| (key.to_owned(), Bytes::copy_from_slice(value.as_bytes())));
        Letter {
            id: Id { partition: 3, offset },
            ts_ms: 0,
            key: None,
            value: Some(Bytes::from_static(b"x")),
            headers: headers.collect(),
        }
    }

    #[test]
    fn an_id_is_written_as_it_is_read() {
        assert_eq!("3/17".parse::<Id>().unwrap(), Id { partition: 3, offset: 17 });
        assert_eq!(Id { partition: 3, offset: 17 }.to_string(), "3/17");
        for text in ["", "3", "3/", "/17", "3/-1", "-3/1", "a/b", "3/17/1"] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_receipt_names_its_letter_and_has_no_value() {
        let mut receipt = letter(5, &[(RECEIPT, "3/4")]);
        assert_eq!(receipt.receipt_of(), None);
        receipt.value = None;
        assert_eq!(receipt.receipt_of(), Some(Id { partition: 3, offset: 4 }));
        assert_eq!(letter(5, &[("reason", "r")]).receipt_of(), None);
    }

    #[test]
    fn what_was_sent_back_or_failed_again_is_left_out_unless_it_is_asked_for() {
        let names = TopicNames::default();
        let open = letter(1, &[("topic", "weir.logs"), ("reason", "No Value")]);
        let failed = letter(2, &[("topic", "weir.logs"), ("reason", "x"), (RETRIED, "1")]);
        let device = letter(3, &[("topic", "weir.metadata"), ("reason", "x")]);
        let foreign = letter(4, &[("topic", "other.logs"), ("reason", "x")]);
        let all = [open, failed, device, foreign];
        let taken = |choice: &Choice, done: &[i64]| -> Vec<i64> {
            let done = done.iter().map(|&offset| Id { partition: 3, offset }).collect();
            let taken = all.iter().filter(|letter| choice.takes(letter, &done, &names));
            taken.map(|letter| letter.id.offset).collect()
        };
        let reason = |text: &str, again| Choice::Reason { text: text.into(), again };
        assert_eq!(taken(&reason("", false), &[]), [1]);
        assert_eq!(taken(&reason("", false), &[1]), [0i64; 0]);
        assert_eq!(taken(&reason("", true), &[]), [1, 2]);
        assert_eq!(taken(&reason("no value", true), &[]), [1]);
        let named = Choice::Named([1, 3].map(|offset| Id { partition: 3, offset }).into());
        assert_eq!(taken(&named, &[1]), [1, 3]);
        assert!(all[3].topic(&names).unwrap_err().contains("`other.logs`"));
    }
}
