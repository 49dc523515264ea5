//! How to reach Kafka: the `[kafka]` table of both programs, and its librdkafka settings.
//!
//! In: the TOML table. Out: key-value pairs as librdkafka names them
//! (its `CONFIGURATION.md`). Secrets are resolved by the caller.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::{Secret, SecretRef};
use crate::topic::DEFAULT_PREFIX;

/// How to reach Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Bootstrap brokers, each `HOST:PORT`.
    pub brokers: Vec<String>,
    /// Put before every topic name.
    #[serde(default = "default_prefix")]
    pub topic_prefix: String,
    /// TLS to the brokers; an empty table turns it on with the system's authorities.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// User and password, or a token.
    #[serde(default)]
    pub sasl: Option<SaslConfig>,
    /// What the agent publishes by; the sink has librdkafka only.
    #[serde(default)]
    pub publisher: Option<Publisher>,
    /// Further librdkafka settings, as they are; they win over ours.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, String>,
}

/// What the agent publishes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publisher {
    /// Our own client, which sends the spool's batches as they are.
    #[default]
    Direct,
    /// librdkafka, for what only it can, for example Kerberos.
    Librdkafka,
}

/// TLS to the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the authorities to trust; default: the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// PEM file with the client's certificate, for mutual TLS.
    #[serde(default)]
    pub cert_file: Option<String>,
    /// PEM file with the client's key.
    #[serde(default)]
    pub key_file: Option<String>,
}

/// Who we are: user and password, or a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "SaslTable")]
pub struct SaslConfig {
    /// Which mechanism.
    pub mechanism: SaslMechanism,
    /// User name; empty with [`SaslMechanism::OauthBearer`], where the token tells it.
    pub username: String,
    secret: SecretRef,
}

impl SaslConfig {
    /// Where the password is, or with [`SaslMechanism::OauthBearer`] the token.
    #[must_use]
    pub fn secret(&self) -> &SecretRef {
        &self.secret
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaslTable {
    /// How to show who we are.
    mechanism: SaslMechanism,
    /// User; every mechanism but `OAUTHBEARER` takes one.
    username: Option<String>,
    /// Password of the user: the file or the variable that holds it.
    password: Option<SecretRef>,
    /// Token for `OAUTHBEARER`: the file that holds it, read again for each connection.
    token: Option<SecretRef>,
}

impl TryFrom<SaslTable> for SaslConfig {
    type Error = &'static str;

    fn try_from(table: SaslTable) -> Result<Self, Self::Error> {
        let SaslTable { mechanism, username, password, token } = table;
        if mechanism == SaslMechanism::OauthBearer {
            return match (username, password, token) {
                (None, None, Some(secret)) => {
                    Ok(Self { mechanism, username: String::new(), secret })
                }
                _ => Err("OAUTHBEARER takes `token`, and neither `username` nor `password`"),
            };
        }
        match (username, password, token) {
            (Some(username), Some(secret), None) => Ok(Self { mechanism, username, secret }),
            _ => Err("this mechanism takes `username` and `password`, and no `token`"),
        }
    }
}

/// SASL mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum SaslMechanism {
    /// RFC 4616; use it with TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 5802 with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 5802 with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// RFC 7628; use it with TLS only. The agent's own publisher has it; librdkafka gets tokens by
    /// settings of its own (`sasl.oauthbearer.*`) only.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

fn default_prefix() -> String {
    DEFAULT_PREFIX.into()
}

impl KafkaConfig {
    /// A plain connection to these brokers.
    #[must_use]
    pub fn plain(brokers: &str, topic_prefix: &str) -> Self {
        Self {
            brokers: brokers.split(',').map(Into::into).collect(),
            topic_prefix: topic_prefix.into(),
            tls: None,
            sasl: None,
            publisher: None,
            librdkafka: BTreeMap::new(),
        }
    }

    /// The settings of the connection as librdkafka names them. `password` is the resolved
    /// [`SaslConfig::secret`]; a token cannot be given to librdkafka this way.
    #[must_use]
    pub fn librdkafka_settings(&self, password: Option<&Secret>) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        let mut set = |key: &str, value: &str| {
            out.insert(key.to_owned(), value.to_owned());
        };
        set("bootstrap.servers", &self.brokers.join(","));
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            for (key, file) in [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.cert_file),
                ("ssl.key.location", &tls.key_file),
            ] {
                if let Some(file) = file {
                    set(key, file);
                }
            }
        }
        if let Some(sasl) = &self.sasl {
            set(
                "sasl.mechanism",
                match sasl.mechanism {
                    SaslMechanism::Plain => "PLAIN",
                    SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                    SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
                    SaslMechanism::OauthBearer => "OAUTHBEARER",
                },
            );
            if sasl.mechanism != SaslMechanism::OauthBearer {
                set("sasl.username", &sasl.username);
                set("sasl.password", password.map_or("", Secret::expose));
            }
        }
        out.extend(self.librdkafka.clone());
        out
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn a_mechanism_takes_a_user_or_a_token() {
        #[track_caller]
        fn check(sasl: &str, expected: Result<(&str, &str), &str>) {
            let text = format!("brokers = ['k:9092']\nsasl = {{ {sasl} }}\n");
            let found = parse::<KafkaConfig>("c.toml", &text);
            match (found.as_ref().map(|config| config.sasl.as_ref()), expected) {
                (Ok(Some(sasl)), Ok((user, file))) => {
                    assert_eq!(sasl.username, user);
                    assert_eq!(sasl.secret().file.as_deref(), Some(file));
                }
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
        let password = "password = { file = 'p' }";
        let token = "token = { file = 't' }";
        check(&format!("mechanism = 'PLAIN', username = 'u', {password}"), Ok(("u", "p")));
        check(&format!("mechanism = 'OAUTHBEARER', {token}"), Ok(("", "t")));
        let takes_user = "takes `username` and `password`";
        check("mechanism = 'SCRAM-SHA-256', username = 'u'", Err(takes_user));
        check(
            &format!("mechanism = 'PLAIN', username = 'u', {password}, {token}"),
            Err(takes_user),
        );
        let takes_token = "OAUTHBEARER takes `token`";
        check(&format!("mechanism = 'OAUTHBEARER', username = 'u', {password}"), Err(takes_token));
        check("mechanism = 'GSSAPI', username = 'u'", Err("unknown variant `GSSAPI`"));
    }
}
