//! Topics: their names, keys and settings.
//!
//! In: the configured prefix. Out: names and creation settings on which agent and sink agree.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Readings; key `site/device`.
    Readings,
    /// Log events; key `site/host`.
    Logs,
    /// Alerts; key `site/device/metric`.
    Alerts,
    /// Device metadata, compacted; key `site/device`.
    Metadata,
    /// Heartbeats, compacted; key = agent.
    Agents,
    /// Central models, compacted; key `kind/site/device/metric`.
    Models,
    /// What people say of alerts, compacted; key = alert id.
    Feedback,
    /// What the sink could not take.
    Dlq,
}

/// The default topic prefix.
pub const DEFAULT_PREFIX: &str = "weir.";

impl Topic {
    /// All topics.
    pub const ALL: [Self; 8] = [
        Self::Readings,
        Self::Logs,
        Self::Alerts,
        Self::Metadata,
        Self::Agents,
        Self::Models,
        Self::Feedback,
        Self::Dlq,
    ];

    /// The name without prefix.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Logs => "logs",
            Self::Alerts => "alerts",
            Self::Metadata => "metadata",
            Self::Agents => "agents",
            Self::Models => "models",
            Self::Feedback => "feedback",
            Self::Dlq => "dlq",
        }
    }

    /// Whether only the newest record of each key is kept.
    #[must_use]
    pub fn compacted(self) -> bool {
        matches!(self, Self::Metadata | Self::Agents | Self::Models | Self::Feedback)
    }

    /// Whether its records are events with a stream and a number, which the sink stores once each.
    #[must_use]
    pub fn is_data(self) -> bool {
        matches!(self, Self::Readings | Self::Logs | Self::Alerts)
    }

    /// Settings at creation, as Kafka names them. `compression.type=producer` keeps the batches as
    /// the agent made them.
    #[must_use]
    pub fn settings(self) -> &'static [(&'static str, &'static str)] {
        if self.compacted() {
            &[("cleanup.policy", "compact"), ("compression.type", "producer")]
        } else {
            &[("cleanup.policy", "delete"), ("compression.type", "producer")]
        }
    }
}

/// The names of all topics under one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNames {
    names: [Arc<str>; 8],
}

impl TopicNames {
    /// The names under `prefix`, for example `weir.`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { names: Topic::ALL.map(|topic| format!("{prefix}{}", topic.suffix()).into()) }
    }

    /// The full name of a topic.
    #[must_use]
    pub fn name(&self, topic: Topic) -> &Arc<str> {
        &self.names[topic as usize]
    }

    /// Which topic has this full name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| &**self.name(*topic) == name)
    }
}

impl Default for TopicNames {
    fn default() -> Self {
        Self::new(DEFAULT_PREFIX)
    }
}

/// Writes the key of a record in place of what is in `key`: its parts with `/` between them. What is remembered of a device
/// or a series has the same name.
#[inline]
pub fn write_key<'a>(key: &mut String, parts: impl IntoIterator<Item = &'a str>) {
    key.clear();
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            key.push('/');
        }
        key.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_topics_are_one_to_one() {
        let names = TopicNames::new("test.");
        for topic in Topic::ALL {
            assert_eq!(names.topic(names.name(topic)), Some(topic));
        }
        assert_eq!(&**names.name(Topic::Dlq), "test.dlq");
        assert_eq!(names.topic("weir.dlq"), None);
    }

    #[test]
    fn a_key_takes_the_place_of_the_one_before() {
        let mut key = String::from("before");
        write_key(&mut key, ["plant", "pump", "temp"]);
        assert_eq!(key, "plant/pump/temp");
        write_key(&mut key, ["plant"]);
        assert_eq!(key, "plant");
    }
}
