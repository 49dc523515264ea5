//! One source of any kind, as it is configured.
//!
//! In: the settings of one kind. Out: what all kinds have in common: a name, what the parser needs to
//! know, a place to listen at; and in what way two of them differ, for whoever takes one for the other.

use weir_models::config::SecretRef;

use super::sockets::Place;
use super::{Format, file, http, mqtt, relp, stdin, syslog};
use crate::parse::json::Fields;
use crate::parse::line::LineFields;
use crate::spool::WhenFull;

/// How the payloads of one source are parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// Name of the source.
    pub name: String,
    /// How to read its payloads.
    pub format: Format,
    /// Time zone of stamps without one; `None` is the machine's.
    pub zone: Option<String>,
    /// Whether events carry the bytes as received.
    pub keep_raw: bool,
    /// What becomes of its events when the spool is full.
    pub when_full: WhenFull,
    /// What is what in JSON payloads.
    pub fields: Fields,
    /// What is what in lines of the line protocol.
    pub line: LineFields,
}

/// One source of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneSource {
    /// A syslog listener.
    Syslog(syslog::Config),
    /// Followed files.
    File(file::Config),
    /// Standard input.
    Stdin(stdin::Config),
    /// An HTTP listener.
    Http(http::Config),
    /// An MQTT broker.
    Mqtt(mqtt::Config),
    /// A RELP listener.
    Relp(relp::Config),
}

/// Does the same with the settings of any kind.
macro_rules! of_any {
    ($source:expr, $config:ident => $what:expr) => {
        match $source {
            OneSource::Syslog($config) => $what,
            OneSource::File($config) => $what,
            OneSource::Stdin($config) => $what,
            OneSource::Http($config) => $what,
            OneSource::Mqtt($config) => $what,
            OneSource::Relp($config) => $what,
        }
    };
}

impl OneSource {
    /// Its name, which no other source has.
    #[must_use]
    pub fn name(&self) -> String {
        of_any!(self, config => config.name())
    }

    /// Its kind, as in the configuration.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Syslog(_) => "syslog",
            Self::File(_) => "file",
            Self::Stdin(_) => "stdin",
            Self::Http(_) => "http",
            Self::Mqtt(_) => "mqtt",
            Self::Relp(_) => "relp",
        }
    }

    /// How its payloads are parsed.
    #[must_use]
    pub fn settings(&self) -> SourceSettings {
        let format = match self {
            Self::Syslog(config) => config.format,
            Self::File(config) => config.format,
            Self::Stdin(config) => config.format,
            Self::Http(_) => Format::Json,
            Self::Mqtt(config) => config.format,
            Self::Relp(config) => config.format,
        };
        of_any!(self, config => SourceSettings {
            name: config.name(),
            format,
            zone: config.zone.clone(),
            keep_raw: config.keep_raw,
            when_full: config.when_full,
            fields: config.fields.clone(),
            line: config.line.clone(),
        })
    }

    /// Whether the two take the same payloads from the same place in the same way, so that a running
    /// source need not know which of them it is: only what the parser makes of them may differ.
    #[must_use]
    pub fn takes_the_same(&self, other: &Self) -> bool {
        self.without_parsing() == other.without_parsing()
    }

    fn without_parsing(&self) -> Self {
        let mut same = self.clone();
        of_any!(&mut same, config => {
            config.zone = None;
            config.keep_raw = true;
            config.when_full = WhenFull::default();
            config.fields = Fields::default();
            config.line = LineFields::default();
        });
        same
    }

    /// Whether both listen at the same place with the same sockets.
    #[must_use]
    pub fn has_place_of(&self, other: &Self) -> bool {
        let sockets = |source: &Self| match source {
            Self::Syslog(config) => config.sockets,
            _ => 1,
        };
        self.place().is_some() && self.place() == other.place() && sockets(self) == sockets(other)
    }

    /// Whether it listens at a place that `other` listens at, or at one that is in its way.
    #[must_use]
    pub fn shares_place_with(&self, other: &Self) -> bool {
        match (self.place(), other.place()) {
            (Some(mine), Some(others)) => mine.overlaps(&others),
            _ => false,
        }
    }

    /// Where the secrets are that it reads when it starts.
    pub(super) fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::Http(config) => config.token.iter().collect(),
            Self::Mqtt(config) => config.password.iter().collect(),
            Self::Syslog(_) | Self::File(_) | Self::Stdin(_) | Self::Relp(_) => Vec::new(),
        }
    }

    /// Where it listens, if it does.
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Self::Syslog(config) => Some(Place::from(&config.listen)),
            Self::Relp(config) => Some(Place::from(&config.listen)),
            Self::Http(config) => Some(Place::Tcp(config.listen)),
            Self::File(_) | Self::Stdin(_) | Self::Mqtt(_) => None,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::Config;

    #[test]
    fn what_only_the_parser_knows_is_told_from_what_the_source_does() {
        #[track_caller]
        fn check(change: &str, expected: bool) {
            let one = |more: &str| {
                let text = format!("[[syslog]]\nlisten = 'tcp://[::]:1'\n{more}");
                let config: Config = weir_models::config::parse("agent.toml", &text).unwrap();
                config.all().remove(0)
            };
            let (before, after) = (one(""), one(change));
            assert_ne!(before, after);
            assert_eq!(before.takes_the_same(&after), expected, "{change}");
        }
        for parsing in [
            "zone = 'UTC'",
            "keep_raw = false",
            "when_full = 'drop_lowest'",
            "fields = { time = 't' }",
            "line = { device = 'host' }",
        ] {
            check(parsing, true);
        }
        for taking in ["format = 'text'", "idle_s = 1", "connections_max = 1", "name = 'x'"] {
            check(taking, false);
        }
    }
}
