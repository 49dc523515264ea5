//! The table `[source]` of the configuration.
//!
//! In: TOML. Out: one struct a source, and what the parser needs to know of each, in the order syslog,
//! file, stdin, http, mqtt, relp. What serde cannot see, such as two sources of one name,
//! [`Config::check`] finds. A source is told from another by its name.

use std::collections::HashSet;

use serde::Deserialize;
use weir_models::limit::UDP_SOCKETS_MAX;

use super::listen::Listen;
use super::{OneSource, SourceSettings, file, http, mqtt, relp, stdin, syslog, tls};

/// Longest name of a source, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// All sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Syslog listeners.
    pub syslog: Vec<syslog::Config>,
    /// Followed files.
    pub file: Vec<file::Config>,
    /// Standard input.
    pub stdin: Option<stdin::Config>,
    /// HTTP listeners.
    pub http: Vec<http::Config>,
    /// MQTT brokers.
    pub mqtt: Vec<mqtt::Config>,
    /// RELP listeners.
    pub relp: Vec<relp::Config>,
}

/// A configuration that is well-formed but cannot be meant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {hint}")]
pub struct Invalid {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Invalid {
    fn new(message: String, hint: &str) -> Self {
        Self { message, hint: hint.into() }
    }
}

impl Config {
    /// Writes down the names that are left to be made up, so that it makes no difference who wrote them.
    pub(crate) fn set_names(&mut self) {
        macro_rules! set_names {
            ($($kind:ident),*) => {
                $(for config in &mut self.$kind {
                    config.name = Some(config.name());
                })*
            };
        }
        set_names!(syslog, file, http, mqtt, relp);
    }

    /// Every source.
    #[must_use]
    pub fn all(&self) -> Vec<OneSource> {
        let syslog = self.syslog.iter().cloned().map(OneSource::Syslog);
        let file = self.file.iter().cloned().map(OneSource::File);
        let stdin = self.stdin.iter().cloned().map(OneSource::Stdin);
        let http = self.http.iter().cloned().map(OneSource::Http);
        let mqtt = self.mqtt.iter().cloned().map(OneSource::Mqtt);
        let relp = self.relp.iter().cloned().map(OneSource::Relp);
        syslog.chain(file).chain(stdin).chain(http).chain(mqtt).chain(relp).collect()
    }

    /// The parse settings of every source, in the order of [`Config::all`].
    #[must_use]
    pub fn settings(&self) -> Vec<SourceSettings> {
        self.all().iter().map(OneSource::settings).collect()
    }

    /// Whether the sources can be meant as they are written.
    ///
    /// # Errors
    /// Names the source, the key and what to do.
    pub fn check(&self) -> Result<(), Invalid> {
        let mut names = HashSet::new();
        for settings in self.settings() {
            let name = settings.name;
            let is_fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_fine) {
                return Err(Invalid::new(
                    format!("`{name}` is no name for a source"),
                    "set `name` to up to 64 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`",
                ));
            }
            if !names.insert(name.clone()) {
                return Err(Invalid::new(
                    format!("two sources have the name `{name}`"),
                    "give each its own `name`",
                ));
            }
        }
        for config in &self.syslog {
            positive(&config.name(), "connections_max", config.connections_max)?;
            check_tls(&config.name(), &config.listen, config.tls.as_ref())?;
            positive(&config.name(), "sockets", config.sockets)?;
            if config.sockets > UDP_SOCKETS_MAX {
                return Err(Invalid::new(
                    format!("`sockets` of source `{}` is {}", config.name(), config.sockets),
                    "a socket for each processor is enough, 64 are the most",
                ));
            }
        }
        for config in &self.relp {
            positive(&config.name(), "connections_max", config.connections_max)?;
            if !config.is_stream() {
                return Err(Invalid::new(
                    format!("source `{}` cannot speak RELP on {}", config.name(), config.listen),
                    "write `tcp://0.0.0.0:2514` or, with `tls`, `tls://0.0.0.0:2514`",
                ));
            }
            check_tls(&config.name(), &config.listen, config.tls.as_ref())?;
        }
        for config in &self.file {
            positive(&config.name(), "paths", config.paths.len())?;
            positive(&config.name(), "poll_ms", config.poll_ms)?;
            let mut paths = HashSet::new();
            if let Some(twice) = config.paths.iter().find(|path| !paths.insert(*path)) {
                return Err(Invalid::new(
                    format!("`{}` follows {} twice", config.name(), twice.display()),
                    "name each path once",
                ));
            }
        }
        for config in &self.http {
            positive(&config.name(), "connections_max", config.connections_max)?;
            positive(&config.name(), "body_bytes_max", config.body_bytes_max)?;
        }
        for config in &self.mqtt {
            positive(&config.name(), "topics", config.topics.len())?;
            positive(&config.name(), "in_flight_max", config.in_flight_max)?;
            positive(&config.name(), "keep_alive_s", config.keep_alive_s)?;
            if config.password.is_some() && config.username.is_none() {
                return Err(Invalid::new(
                    format!("`password` of source `{}` has no `username`", config.name()),
                    "set `username` too",
                ));
            }
            check_mqtts(config)?;
        }
        Ok(())
    }
}

/// A certificate is there where it is needed, and only there.
fn check_tls(name: &str, listen: &Listen, tls: Option<&tls::Config>) -> Result<(), Invalid> {
    match (listen, tls) {
        (Listen::Tls(_), None) => Err(Invalid::new(
            format!("source `{name}` listens on {listen} and has no certificate"),
            "set `tls = { cert_file = \"PATH\", key_file = \"PATH\" }`",
        )),
        (Listen::Udp(_) | Listen::Tcp(_) | Listen::Unix(_), Some(_)) => Err(Invalid::new(
            format!("source `{name}` has a certificate and listens on {listen}"),
            "write `tls://` in place of what stands there, or leave `tls` out",
        )),
        _ => Ok(()),
    }
}

fn check_mqtts(config: &mqtt::Config) -> Result<(), Invalid> {
    let name = config.name();
    let Some(tls) = &config.tls else { return Ok(()) };
    if !config.url.is_tls {
        return Err(Invalid::new(
            format!("source `{name}` has `tls` and a plain connection"),
            "write `mqtts://` in `url`, or leave `tls` out",
        ));
    }
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        return Err(Invalid::new(
            format!("`tls` of source `{name}` has only one of `cert_file` and `key_file`"),
            "set both, or none",
        ));
    }
    Ok(())
}

fn positive<N: Default + PartialEq>(name: &str, key: &str, value: N) -> Result<(), Invalid> {
    if value == N::default() {
        return Err(Invalid::new(
            format!("`{key}` of source `{name}` is empty or 0"),
            "give it at least one, or leave out the source",
        ));
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::Format;
    use super::*;
    use expect_test::{Expect, expect};

    const FULL: &str = r#"
        [[syslog]]
        listen = "udp://0.0.0.0:5514"
        zone = "Europe/Berlin"
        [[syslog]]
        listen = "unix:///run/weir/log.sock"
        mode = 0o600
        [[file]]
        paths = ["/var/log/app/app.log"]
        start = "end"
        format = "text"
        keep_raw = false
        [stdin]
        [[http]]
        listen = "127.0.0.1:8086"
        token = { env = "TOKEN" }
        [[relp]]
        listen = "tcp://0.0.0.0:2514"
        [[mqtt]]
        url = "mqtt://broker"
        protocol = "5"
        topics = ["plant/{site}/{device}/{metric}"]
    "#;

    #[test]
    fn settings_come_in_the_order_of_the_kinds() {
        let config: Config = weir_models::config::parse("agent.toml", FULL).unwrap();
        config.check().unwrap();
        let names: Vec<_> = config
            .settings()
            .into_iter()
            .map(|s| (s.name, s.format, s.zone.is_some(), s.keep_raw))
            .collect();
        let expected = [
            ("syslog-udp-5514", Format::Syslog, true, true),
            ("syslog-unix-log", Format::Syslog, false, true),
            ("file-app.log", Format::Text, false, false),
            ("stdin", Format::Syslog, false, true),
            ("http-8086", Format::Json, false, true),
            ("mqtt-broker", Format::Json, false, true),
            ("relp-2514", Format::Syslog, false, true),
        ];
        assert_eq!(names, expected.map(|(n, f, z, k)| (n.to_owned(), f, z, k)));
        assert_eq!(config.syslog[1].mode, 0o600);
    }

    #[track_caller]
    fn check(text: &str, expected: Expect) {
        let found = match weir_models::config::parse::<Config>("agent.toml", text) {
            Err(error) => error.to_string(),
            Ok(config) => config.check().unwrap_err().to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        check(
            "[[syslog]]\nlisten = 'udp://[::]:1'\n[[syslog]]\nlisten = 'udp://0.0.0.0:1'\n",
            expect!["two sources have the name `syslog-udp-1`: give each its own `name`"],
        );
        check(
            "[stdin]\nname = 'a b'\n",
            expect![
                "`a b` is no name for a source: set `name` to up to 64 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`"
            ],
        );
        check(
            "[[file]]\npaths = []\nname = 'f'\n",
            expect![
                "`paths` of source `f` is empty or 0: give it at least one, or leave out the source"
            ],
        );
        check(
            "[[file]]\npaths = ['/a', '/a']\n",
            expect!["`file-a` follows /a twice: name each path once"],
        );
        check(
            "[[syslog]]\nlisten = 'udp:5514'\n",
            expect![
                "agent.toml:2:10: `udp:5514` is no address to listen on; write `udp://0.0.0.0:5514`, `tcp://0.0.0.0:5514`, `tls://0.0.0.0:6514` or `unix:///run/weir/syslog.sock`"
            ],
        );
        check(
            "[[mqtt]]\nurl = 'mqtt://b'\ntopics = ['a/{sight}']\n",
            expect![
                "agent.toml:3:10: `a/{sight}`: `{sight}` names nothing; known are `{site}`, `{device}` and `{metric}`"
            ],
        );
    }

    #[test]
    fn tls_is_there_where_it_is_needed_and_only_there() {
        check(
            "[[mqtt]]\nurl = 'mqtt://b'\ntopics = ['a']\ntls = {}\n",
            expect![
                "source `mqtt-b` has `tls` and a plain connection: write `mqtts://` in `url`, or leave `tls` out"
            ],
        );
        check(
            "[[mqtt]]\nurl = 'mqtts://b'\ntopics = ['a']\ntls = { cert_file = 'x' }\n",
            expect![
                "`tls` of source `mqtt-b` has only one of `cert_file` and `key_file`: set both, or none"
            ],
        );
        check(
            "[[syslog]]\nlisten = 'tls://[::]:1'\n",
            expect![[
                r#"source `syslog-tls-1` listens on tls://[::]:1 and has no certificate: set `tls = { cert_file = "PATH", key_file = "PATH" }`"#
            ]],
        );
        check(
            "[[relp]]\nlisten = 'tcp://[::]:1'\ntls = { cert_file = 'c', key_file = 'k' }\n",
            expect![
                "source `relp-1` has a certificate and listens on tcp://[::]:1: write `tls://` in place of what stands there, or leave `tls` out"
            ],
        );
        check(
            "[[relp]]\nlisten = 'udp://[::]:1'\n",
            expect![
                "source `relp-0` cannot speak RELP on udp://[::]:1: write `tcp://0.0.0.0:2514` or, with `tls`, `tls://0.0.0.0:2514`"
            ],
        );
        check(
            "[[http]]\nlisten = '[::]:1'\ntls = { cert_file = 'c', key = 'k' }\n",
            expect![
                "agent.toml:3:26: unknown field `key`, expected one of `cert_file`, `key_file`, `client_ca_file`"
            ],
        );
        check(
            "[[syslog]]\nlisten = 'udp://0.0.0.0:5514'\nzoen = 'UTC'\n",
            expect![[r#"
                agent.toml:3:1: unknown field `zoen`, expected one of `name`, `listen`, `tls`, `format`, `zone`, `keep_raw`, `when_full`, `fields`, `line`, `receive_buffer_bytes`, `sockets`, `connections_max`, `peer_connections_max`, `peer_events_per_s_max`, `idle_s`, `mode`
                  hint: did you mean `zone`?"#]],
        );
    }
}
