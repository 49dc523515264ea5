//! How to reach Kafka, checked and ready for connections.
//!
//! In: the `[kafka]` table. Out: [`Settings`]. Promises: what can be checked without a broker is
//! checked here, at the start: addresses, certificates, the place of the secret. Secrets and
//! certificates are read again for later connections, so that they can be replaced while we run.

use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use weir_models::config::{Secret, SecretRef};
use weir_models::kafka::{KafkaConfig, SaslMechanism};

use super::stream::host_and_port;
use super::tls::{Tls, TlsError};

/// All of one connection.
#[derive(Debug)]
pub(super) struct Settings {
    /// Brokers to begin with, each `HOST:PORT`; at least one.
    pub(super) bootstrap: Vec<String>,
    /// Our name in the broker's log and quotas.
    pub(super) client_id: StrBytes,
    /// None = plain TCP.
    pub(super) tls: Option<Tls>,
    /// None = no user.
    pub(super) sasl: Option<Sasl>,
    /// Time for looking a name up, and for reaching each of its addresses.
    pub(super) connect_timeout: Duration,
    /// Time for TLS, and again for versions and user.
    pub(super) handshake_timeout: Duration,
    /// Time for each answer.
    pub(super) request_timeout: Duration,
    /// Larger answers end the connection.
    pub(super) response_bytes_max: usize,
}

/// Who we are.
#[derive(Clone, Debug)]
pub(super) struct Sasl {
    pub(super) mechanism: SaslMechanism,
    /// Empty with OAUTHBEARER.
    pub(super) username: String,
    secret: SecretRef,
}

impl Sasl {
    /// The password or the token as it is now.
    ///
    /// # Errors
    /// Says which file or variable is missing.
    pub(super) fn secret(&self) -> Result<Secret, String> {
        self.secret.resolve(|file| std::fs::read_to_string(file), |name| std::env::var(name).ok())
    }
}

/// The `[kafka]` table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No broker.
    #[error("`kafka.brokers` is empty: name at least one `HOST:PORT`")]
    NoBroker,
    /// Not `HOST:PORT`.
    #[error("`kafka.brokers`: `{0}` is not `HOST:PORT`, for example `kafka.example.org:9092`")]
    Address(String),
    /// The secret cannot be read.
    #[error("`kafka.sasl`: {0}")]
    Secret(String),
    /// Certificates or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Settings for another client.
    #[error(
        "`kafka.librdkafka` sets `{0}`, which only librdkafka knows: remove it, or build with the feature `rdkafka`"
    )]
    Librdkafka(String),
}

impl Settings {
    /// Checks the table, and reads the files it names once to see whether they can be read.
    ///
    /// # Errors
    /// Says which key is wrong and what to do.
    pub(super) fn new(kafka: &KafkaConfig) -> Result<Self, SettingsError> {
        if kafka.brokers.is_empty() {
            return Err(SettingsError::NoBroker);
        }
        if let Some(broker) = kafka.brokers.iter().find(|broker| host_and_port(broker).is_none()) {
            return Err(SettingsError::Address(broker.clone()));
        }
        if let Some(key) = kafka.librdkafka.keys().next() {
            return Err(SettingsError::Librdkafka(key.clone()));
        }
        let sasl = kafka.sasl.as_ref().map(|sasl| Sasl {
            mechanism: sasl.mechanism,
            username: sasl.username.clone(),
            secret: sasl.secret().clone(),
        });
        if let Some(sasl) = &sasl {
            sasl.secret().map_err(SettingsError::Secret)?;
        }
        Ok(Self {
            bootstrap: kafka.brokers.clone(),
            client_id: StrBytes::from_static_str("weir-agent"),
            tls: kafka.tls.as_ref().map(Tls::new).transpose()?,
            sasl,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(8),
            request_timeout: Duration::from_secs(30),
            // Metadata of the largest clusters, and a batch as large as brokers let pass.
            response_bytes_max: 16 << 20,
        })
    }
}
