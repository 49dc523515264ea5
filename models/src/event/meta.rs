//! The metadata of a device, as its events carry it.
//!
//! In: names and values. Out: the same, and their JSON, which is written once for all events of the
//! device and not once for each.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::write::texts;

/// Metadata of a device: name to value.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Meta {
    entries: BTreeMap<String, String>,
    #[serde(skip)]
    json: OnceLock<Vec<u8>>,
}

impl Meta {
    /// The JSON object of it.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.json.get_or_init(|| {
            let mut json = Vec::new();
            texts(&mut json, self.entries.iter());
            json
        })
    }
}

impl From<BTreeMap<String, String>> for Meta {
    fn from(entries: BTreeMap<String, String>) -> Self {
        Self { entries, json: OnceLock::new() }
    }
}

impl Deref for Meta {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for Meta {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_its_json_stays_equal() {
        let meta = Meta::from(BTreeMap::from([("line".into(), "4 \"b\"".into())]));
        let unasked = meta.clone();
        assert_eq!(meta.json(), br#"{"line":"4 \"b\""}"#);
        assert_eq!(meta.json(), meta.clone().json());
        assert_eq!(meta, unasked);
        assert_ne!(meta, Meta::default());
    }
}
