//! Config: which store, and how to reach it.
//!
//! In: the table `[store]` of the sink's TOML file. Out: an open [`Store`]. Exactly one of
//! `[store.cassandra]` and `[store.sqlite]` is given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use weir_models::config::SecretRef;
use weir_models::kafka::TlsConfig;

use super::cassandra::CassandraStore;
use super::seal::marks::ADOPT_AFTER;
use super::sqlite::SqliteStore;
use super::{Store, StoreError};

/// `[store]`: exactly one of its tables.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// A Cassandra cluster.
    #[serde(default)]
    pub cassandra: Option<CassandraConfig>,
    /// One file on this machine: for demonstrations and small sites.
    #[serde(default)]
    pub sqlite: Option<SqliteConfig>,
    /// When rows are sealed.
    #[serde(default)]
    pub seal: SealConfig,
}

/// `[store.seal]`: when rows become parts that stay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SealConfig {
    /// Whether this instance seals. One that does not still marks what it writes, so that others can.
    pub enabled: bool,
    /// A day, or an hour of log lines, that is over is sealed so many seconds after this instance last wrote to it.
    pub after_s: u64,
    /// The marks of an instance of which nothing was heard for so many seconds are taken over. The same
    /// for all instances of one store.
    pub adopt_after_s: u64,
}

impl Default for SealConfig {
    fn default() -> Self {
        Self { enabled: true, after_s: 3_600, adopt_after_s: ADOPT_AFTER.as_secs() }
    }
}

/// `[store.sqlite]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The database file; its folder is made when missing.
    pub path: PathBuf,
}

/// `[store.cassandra]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CassandraConfig {
    /// Some nodes, as `host:port` (port 9042 where not told); the others are found through them.
    pub contact_points: Vec<String>,
    /// The keyspace: lower case letters, digits and `_`.
    #[serde(default = "default_keyspace")]
    pub keyspace: String,
    /// The datacentre whose nodes are asked. Needed when the cluster has several.
    #[serde(default)]
    pub local_datacenter: Option<String>,
    /// How `migrate` makes the keyspace where it is missing: `"SimpleStrategy 1"` or copies per
    /// datacentre, `{ dc1 = 3 }`. Without it: three copies in the local datacentre, fewer where it
    /// has fewer nodes.
    #[serde(default)]
    pub replication: Option<Replication>,
    /// Consistency of reads and writes.
    #[serde(default)]
    pub consistency: Consistency,
    /// User, where the cluster asks for one.
    #[serde(default)]
    pub username: Option<String>,
    /// Where the password is.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// TLS to the nodes; an empty table turns it on with the system's authorities. A node's certificate has to
    /// be for its address or for a name in `contact_points`.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// How long one request may take, milliseconds.
    #[serde(default = "default_request_timeout_ms")]
    pub request_timeout_ms: u64,
    /// At most so many requests that write are under way at once; fewer while Cassandra is slow or refuses.
    #[serde(default = "default_in_flight")]
    pub in_flight: usize,
    /// A series or host whose partition gets more rows than this has narrower buckets from then on; 0: never.
    #[serde(default = "default_partition_rows")]
    pub partition_rows: u64,
    /// Days after which readings and log lines leave the hot tables; 0 keeps them for ever.
    #[serde(default = "default_hot_days")]
    pub hot_days: u32,
}

impl CassandraConfig {
    /// The defaults, for these nodes.
    #[must_use]
    pub fn at(contact_points: Vec<String>) -> Self {
        Self {
            contact_points,
            keyspace: default_keyspace(),
            local_datacenter: None,
            replication: None,
            consistency: Consistency::default(),
            username: None,
            password: None,
            tls: None,
            request_timeout_ms: default_request_timeout_ms(),
            in_flight: default_in_flight(),
            partition_rows: default_partition_rows(),
            hot_days: default_hot_days(),
        }
    }
}

fn default_keyspace() -> String {
    "weir".into()
}

fn default_request_timeout_ms() -> u64 {
    10_000
}

fn default_in_flight() -> usize {
    64
}

fn default_partition_rows() -> u64 {
    100_000
}

fn default_hot_days() -> u32 {
    30
}

/// How many copies a new keyspace keeps.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "replication is \"SimpleStrategy 1\" or a table of copies per datacentre, { dc1 = 3 }"
)]
pub enum Replication {
    /// `SimpleStrategy N`, for one datacentre.
    Simple(String),
    /// Copies per datacentre.
    PerDatacentre(BTreeMap<String, u8>),
}

/// How many replicas must answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Consistency {
    /// Any one.
    One,
    /// Any one of the local datacentre.
    LocalOne,
    /// A majority of the local datacentre: what is written survives the loss of a minority and is
    /// seen by every later read.
    #[default]
    LocalQuorum,
    /// A majority of all.
    Quorum,
    /// Every one.
    All,
}

/// Opens the configured store. The schema is not looked at: see [`Store::check_schema`].
///
/// # Errors
/// [`StoreError::Retry`] when the store cannot be reached now, [`StoreError::Fatal`] when the
/// configuration must be changed; either says what to do.
pub async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    let store: Arc<dyn Store> = match (&config.cassandra, &config.sqlite) {
        (Some(cassandra), None) => Arc::new(CassandraStore::connect(cassandra).await?),
        (None, Some(sqlite)) => Arc::new(SqliteStore::open(sqlite).await?),
        (None, None) => {
            return Err(StoreError::Fatal(
                "no store is configured: add [store.cassandra] with contact_points, or \
                 [store.sqlite] with path"
                    .into(),
            ));
        }
        (Some(_), Some(_)) => {
            return Err(StoreError::Fatal(
                "two stores are configured: keep either [store.cassandra] or [store.sqlite]".into(),
            ));
        }
    };
    if let Some(sealing) = store.sealing() {
        sealing.marks().set_adopt_after(Duration::from_secs(config.seal.adopt_after_s));
    }
    Ok(store)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use weir_models::config::parse;

    use super::*;

    #[test]
    fn a_full_table_is_read() {
        let text = r#"
            [cassandra]
            contact_points = ["10.0.0.1:9042"]
            replication = { dc1 = 3, dc2 = 2 }
            consistency = "LOCAL_ONE"
            username = "sink"
            password = { env = "CASSANDRA_PASSWORD" }
        "#;
        let config: StoreConfig = parse("sink.toml", text).unwrap();
        let cassandra = config.cassandra.unwrap();
        assert_eq!(cassandra.consistency, Consistency::LocalOne);
        assert_eq!((cassandra.in_flight, cassandra.hot_days), (64, 30));
        let copies = BTreeMap::from([("dc1".into(), 3), ("dc2".into(), 2)]);
        assert_eq!(cassandra.replication, Some(Replication::PerDatacentre(copies)));
    }

    #[test]
    fn a_misspelt_key_names_the_right_one() {
        let error = parse::<StoreConfig>("sink.toml", "[sqlite]\npaht = \"x\"").unwrap_err();
        assert!(error.to_string().contains("did you mean `path`?"), "{error}");
        let text = "[cassandra]\ncontact_points = []\nreplication = 3";
        let error = parse::<StoreConfig>("sink.toml", text).unwrap_err();
        assert!(error.message.contains("SimpleStrategy 1"), "{error}");
    }

    #[tokio::test]
    async fn none_or_two_stores_are_refused() {
        let sqlite = SqliteConfig { path: "x".into() };
        let both = StoreConfig {
            cassandra: Some(CassandraConfig::at(vec!["127.0.0.1".into()])),
            sqlite: Some(sqlite),
            ..StoreConfig::default()
        };
        for (config, expected) in [(StoreConfig::default(), "no store"), (both, "two stores")] {
            let error = open(&config).await.err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
