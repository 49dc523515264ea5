//! Topic patterns: what a topic says about its payloads.
//!
//! In: patterns like `plant/{site}/{device}/{metric}` or `sensors/+/{device}/#`. Out: the filter to
//! subscribe to, and for each topic the labels. Pure. Wildcards as in MQTT 5, section 4.7: `+` is one
//! level, `#` at the end all further ones and the one above; neither matches a first level that begins
//! with `$`.

use serde::Deserialize;
use weir_models::limit::NAME_BYTES_MAX;

use super::super::Labels;

/// A topic pattern.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    /// One level, perhaps named.
    One(Option<Name>),
    /// All further levels.
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Site,
    Device,
    Metric,
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut levels = Vec::new();
        let count = text.split('/').count();
        for (at, level) in text.split('/').enumerate() {
            let level = match level {
                "+" => Level::One(None),
                "{site}" => Level::One(Some(Name::Site)),
                "{device}" => Level::One(Some(Name::Device)),
                "{metric}" => Level::One(Some(Name::Metric)),
                "#" if at + 1 == count => Level::Rest,
                "#" => return Err(format!("`{text}`: `#` can only be the last level")),
                _ if level.starts_with('{') && level.ends_with('}') => {
                    return Err(format!(
                        "`{text}`: `{level}` names nothing; known are `{{site}}`, `{{device}}` and `{{metric}}`"
                    ));
                }
                _ if level.contains(['+', '#', '{', '}', '\0']) => {
                    return Err(format!(
                        "`{text}`: `+`, `#` and names have to be whole levels, not part of `{level}`"
                    ));
                }
                _ => Level::Literal(level.into()),
            };
            if matches!(level, Level::One(Some(_))) && levels.contains(&level) {
                return Err(format!("`{text}`: a name can be there once only"));
            }
            levels.push(level);
        }
        if text.is_empty() || text.len() > usize::from(u16::MAX) {
            return Err(
                "a topic pattern has at least one character and at most 65535 bytes".into(),
            );
        }
        Ok(Self { levels })
    }
}

impl Pattern {
    /// The filter that subscribes to every topic that matches.
    #[must_use]
    pub fn filter(&self) -> String {
        let levels: Vec<_> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Literal(text) => text.as_str(),
                Level::One(_) => "+",
                Level::Rest => "#",
            })
            .collect();
        levels.join("/")
    }

    /// What `topic` says, if it matches. An empty level, or one too long for a name, names nothing.
    #[must_use]
    pub fn labels(&self, topic: &str) -> Option<Labels> {
        let mut labels = Labels::default();
        let mut topics = topic.split('/');
        for (at, level) in self.levels.iter().enumerate() {
            if matches!(level, Level::Rest) {
                return (at > 0 || !topic.starts_with('$')).then_some(labels);
            }
            let found = topics.next()?;
            match level {
                Level::Literal(text) if text != found => return None,
                Level::One(_) if at == 0 && found.starts_with('$') => return None,
                Level::One(Some(name)) if !found.is_empty() && found.len() <= NAME_BYTES_MAX => {
                    let label = match name {
                        Name::Site => &mut labels.site,
                        Name::Device => &mut labels.device,
                        Name::Metric => &mut labels.metric,
                    };
                    *label = Some(found.into());
                }
                _ => {}
            }
        }
        topics.next().is_none().then_some(labels)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::try_from(text.to_owned()).unwrap()
    }

    #[track_caller]
    fn check(text: &str, topic: &str, expected: Option<[&str; 3]>) {
        let found = pattern(text).labels(topic).map(|labels| {
            [labels.site, labels.device, labels.metric].map(Option::unwrap_or_default)
        });
        assert_eq!(found, expected.map(|labels| labels.map(str::to_owned)));
    }

    #[test]
    fn names_are_taken_from_their_levels() {
        let plant = "plant/{site}/{device}/{metric}";
        check(
            plant,
            "plant/hall 3/pump7/temp_c",
            Some(["hall 3", "pump7", "temp_c"]),
        );
        check(plant, "plant/hall3/pump7", None);
        check(plant, "plant/hall3/pump7/temp_c/raw", None);
        check(plant, "Plant/hall3/pump7/temp_c", None);
        check(plant, "plant//pump7/temp_c", Some(["", "pump7", "temp_c"]));
        check("{device}", "pump7", Some(["", "pump7", ""]));
        check(
            "{device}",
            &"x".repeat(NAME_BYTES_MAX + 1),
            Some(["", "", ""]),
        );
    }

    #[test]
    fn wildcards_match_as_in_mqtt() {
        check(
            "sensors/+/{device}/#",
            "sensors/a/b/c/d",
            Some(["", "b", ""]),
        );
        check("sensors/+/{device}/#", "sensors/a/b", Some(["", "b", ""]));
        check("sensors/+/{device}/#", "sensors/a", None);
        check("#", "a/b", Some(["", "", ""]));
        check("#", "$SYS/uptime", None);
        check("+/uptime", "$SYS/uptime", None);
        check("$SYS/{metric}", "$SYS/uptime", Some(["", "", "uptime"]));
        check("a/+", "a/", Some(["", "", ""]));
        check("a/+", "a", None);
        check("/+", "/a", Some(["", "", ""]));
    }

    #[test]
    fn the_filter_is_what_the_broker_understands() {
        assert_eq!(pattern("plant/{site}/x/{metric}").filter(), "plant/+/x/+");
        assert_eq!(pattern("sensors/+/{device}/#").filter(), "sensors/+/+/#");
    }

    #[test]
    fn bad_patterns_say_why() {
        for (text, why) in [
            ("", "at least one"),
            ("a/#/b", "last level"),
            ("a/b+", "whole levels"),
            ("a/{site}x", "whole levels"),
            ("a/{line}", "names nothing"),
            ("{site}/{site}", "once"),
        ] {
            let error = Pattern::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_its_filter_matches(
            levels in proptest::collection::vec("a|b|\\+|\\{site\\}", 1..5),
            rest in any::<bool>(),
            topic in proptest::collection::vec("a|b|", 1..6),
        ) {
            let mut text = levels.join("/");
            if rest { text.push_str("/#"); }
            if let Ok(pattern) = Pattern::try_from(text) {
                let topic = topic.join("/");
                let filter = pattern.filter();
                prop_assert_eq!(pattern.labels(&topic).is_some(), rumqttc::matches(&topic, &filter), "{} {}", filter, topic);
            }
        }
    }
}
