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
    /// User and password.
    #[serde(default)]
    pub sasl: Option<SaslConfig>,
    /// Further librdkafka settings, as they are; they win over ours.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, String>,
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

/// User and password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslConfig {
    /// Which mechanism.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// Where the password is.
    pub password: SecretRef,
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
            librdkafka: BTreeMap::new(),
        }
    }

    /// The settings of the connection as librdkafka names them. `password` is the resolved
    /// [`SaslConfig::password`].
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
                },
            );
            set("sasl.username", &sasl.username);
            set("sasl.password", password.map_or("", Secret::expose));
        }
        out.extend(self.librdkafka.clone());
        out
    }
}
