//! Connect: a session with the cluster, or an error that says what to do.
//!
//! In: `[store.cassandra]`. Out: a session that asks replicas of the local datacentre first (token
//! aware), never another datacentre, with client time stamps that only rise. What can go wrong:
//! nobody answers at the contact points (passing: the cluster may be starting), wrong user or
//! password, a certificate that one side does not trust (until a person sets it right), a datacentre that does not
//! exist.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::PoolSize;
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileBuilder};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind as SetupError, DbError,
    MetadataError, NewSessionError,
};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::timestamp_generator::MonotonicTimestampGenerator;
use weir_models::config::Secret;
use weir_models::kafka::TlsConfig;

use crate::store::StoreError;
use crate::store::config::{CassandraConfig, Consistency};

/// CQL port where a contact point names none.
const PORT: u16 = 9042;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SCHEMA_AGREEMENT: Duration = Duration::from_secs(30);
/// Connections to each node: a second one lets two of the driver's tasks work at once.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// A session, and the datacentre whose nodes it asks.
pub(super) struct Connected {
    pub(super) session: Session,
    pub(super) datacentre: String,
}

pub(super) async fn connect(config: &CassandraConfig) -> Result<Connected, StoreError> {
    check(config).map_err(StoreError::Fatal)?;
    let points: Vec<String> = config.contact_points.iter().map(|p| with_port(p)).collect();
    let profile = profile(config).build();
    let mut handle = profile.into_handle();
    let mut builder = SessionBuilder::new()
        .known_nodes(&points)
        .connection_timeout(CONNECT_TIMEOUT)
        .schema_agreement_timeout(SCHEMA_AGREEMENT)
        .pool_size(PoolSize::PerHost(CONNECTIONS))
        .timestamp_generator(Arc::new(MonotonicTimestampGenerator::new()))
        .keyspaces_to_fetch([&config.keyspace])
        .default_execution_profile_handle(handle.clone());
    if let Some((user, password)) = credentials(config)? {
        builder = builder.user(user, password.expose());
    }
    if let Some(files) = &config.tls {
        builder = secured(builder, files, &points).map_err(StoreError::Fatal)?;
    }
    let session =
        builder.build().await.map_err(|error| explain(&points, config.tls.as_ref(), &error))?;
    let datacentre = local_datacentre(config, &datacentres(&session))?;
    let local = DefaultPolicy::builder()
        .prefer_datacenter(datacentre.clone())
        .token_aware(true)
        .permit_dc_failover(false)
        .build();
    handle.map_to_another_profile(self::profile(config).load_balancing_policy(local).build());
    Ok(Connected { session, datacentre })
}

#[cfg(feature = "cassandra-tls")]
fn secured(
    builder: SessionBuilder,
    files: &TlsConfig,
    points: &[String],
) -> Result<SessionBuilder, String> {
    Ok(builder.tls_context(Some(super::tls::client(files, points)?)))
}

#[cfg(not(feature = "cassandra-tls"))]
fn secured(_: SessionBuilder, _: &TlsConfig, _: &[String]) -> Result<SessionBuilder, String> {
    Err("this program was built without TLS to Cassandra: remove `[store.cassandra.tls]`, or build it with the feature `cassandra-tls`".into())
}

fn profile(config: &CassandraConfig) -> ExecutionProfileBuilder {
    let consistency = match config.consistency {
        Consistency::One => scylla::statement::Consistency::One,
        Consistency::LocalOne => scylla::statement::Consistency::LocalOne,
        Consistency::LocalQuorum => scylla::statement::Consistency::LocalQuorum,
        Consistency::Quorum => scylla::statement::Consistency::Quorum,
        Consistency::All => scylla::statement::Consistency::All,
    };
    ExecutionProfile::builder()
        .consistency(consistency)
        .request_timeout(Some(Duration::from_millis(config.request_timeout_ms)))
}

/// What is wrong with the configuration by itself.
fn check(config: &CassandraConfig) -> Result<(), String> {
    let name = &config.keyspace;
    let first = name.bytes().next().unwrap_or_default();
    let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !first.is_ascii_lowercase() || name.len() > 48 || !name.bytes().all(sound) {
        return Err(format!(
            "`{name}` cannot be a keyspace: at most 48 lower case letters, digits and `_`, and a \
             letter first"
        ));
    }
    if config.contact_points.is_empty() {
        return Err("store.cassandra.contact_points is empty: name some nodes as host:port".into());
    }
    if config.in_flight == 0 || config.request_timeout_ms == 0 {
        return Err("store.cassandra: in_flight and request_timeout_ms must be above 0".into());
    }
    Ok(())
}

fn with_port(point: &str) -> String {
    let has_port = point.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
    });
    match (has_port, point.contains(':') && !point.starts_with('[')) {
        (true, _) => point.into(),
        (false, true) => format!("[{point}]:{PORT}"),
        (false, false) => format!("{point}:{PORT}"),
    }
}

fn credentials(config: &CassandraConfig) -> Result<Option<(&str, Secret)>, StoreError> {
    match (&config.username, &config.password) {
        (Some(user), Some(password)) => password
            .resolve(|path| std::fs::read_to_string(path), |name| std::env::var(name).ok())
            .map(|secret| Some((user.as_str(), secret)))
            .map_err(|error| StoreError::Fatal(format!("store.cassandra.password: {error}"))),
        (None, None) => Ok(None),
        _ => Err(StoreError::Fatal(
            "store.cassandra: username and password belong together, give both or none".into(),
        )),
    }
}

/// The datacentres of the cluster and how many nodes each has are seen once connected.
fn datacentres(session: &Session) -> BTreeSet<String> {
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info().iter();
    nodes.filter_map(|node| node.datacenter.clone()).collect()
}

fn local_datacentre(
    config: &CassandraConfig,
    found: &BTreeSet<String>,
) -> Result<String, StoreError> {
    let names = || found.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match &config.local_datacenter {
        Some(wanted) if found.contains(wanted) => Ok(wanted.clone()),
        Some(wanted) => Err(StoreError::Fatal(format!(
            "store.cassandra.local_datacenter is `{wanted}`, but the cluster has: {}",
            names()
        ))),
        None => match found.first() {
            Some(only) if found.len() == 1 => Ok(only.clone()),
            _ => Err(StoreError::Fatal(format!(
                "the cluster has several datacentres ({}): set store.cassandra.local_datacenter \
                 to the nearest one",
                names()
            ))),
        },
    }
}

/// What to do about a connection that could not be made.
fn explain(points: &[String], tls: Option<&TlsConfig>, error: &NewSessionError) -> StoreError {
    let tried = points.join(", ");
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
        ConnectionPoolError::Broken { last_connection_error },
    )) = error
    else {
        return match error {
            NewSessionError::FailedToResolveAnyHostname(_) => StoreError::Retry(format!(
                "no contact point of store.cassandra has an address (tried {tried}): check the \
                 names and the resolver"
            )),
            _ => StoreError::Retry(format!("no session with Cassandra (tried {tried}): {error}")),
        };
    };
    if let Some(why) = explain_tls(tls, last_connection_error) {
        return StoreError::Refused(format!("no TLS with Cassandra at {tried}: {why}"));
    }
    match last_connection_error {
        ConnectionError::ConnectionSetupRequestError(setup) => match setup.get_error() {
            SetupError::DbError(DbError::AuthenticationError, message) => {
                StoreError::Refused(format!(
                    "Cassandra at {tried} refuses user or password ({message}): check \
                     store.cassandra.username and password"
                ))
            }
            SetupError::MissingAuthentication => StoreError::Fatal(format!(
                "Cassandra at {tried} asks for a password: set store.cassandra.username and \
                 password"
            )),
            other => {
                let tls = if tls.is_some() { "with TLS" } else { "without TLS" };
                StoreError::Retry(format!(
                    "Cassandra at {tried} does not take the connection: {other}; is this its CQL \
                     port, and {tls}? (`[store.cassandra.tls]`)"
                ))
            }
        },
        other => StoreError::Retry(format!(
            "cannot reach Cassandra at {tried}: {other}; check that it runs and that host and \
             port are right"
        )),
    }
}

/// What is wrong with TLS, if it is spoken and that is what ended the connection.
#[cfg(feature = "cassandra-tls")]
fn explain_tls(tls: Option<&TlsConfig>, error: &ConnectionError) -> Option<String> {
    let files = tls?;
    if let ConnectionError::IoError(error) = error {
        return super::tls::explain(error, files);
    }
    super::tls::explain_text(&error.to_string(), files)
}

#[cfg(not(feature = "cassandra-tls"))]
fn explain_tls(_: Option<&TlsConfig>, _: &ConnectionError) -> Option<String> {
    None
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[track_caller]
    fn check_keyspace(name: &str, sound: bool) {
        let config =
            CassandraConfig { keyspace: name.into(), ..CassandraConfig::at(vec!["h".into()]) };
        assert_eq!(check(&config).is_ok(), sound, "{name}");
    }

    #[test]
    fn a_keyspace_is_a_plain_name() {
        check_keyspace("weir", true);
        check_keyspace("weir_2", true);
        let long = "a".repeat(49);
        for name in ["", "2weir", "Weir", "weir-2", "weir; DROP", "_weir", &long] {
            check_keyspace(name, false);
        }
    }

    #[test]
    fn a_contact_point_gets_the_usual_port() {
        let points = ["h", "h:1", "10.0.0.1", "::1", "[::1]", "[::1]:7"];
        let expected = ["h:9042", "h:1", "10.0.0.1:9042", "[::1]:9042", "[::1]:9042", "[::1]:7"];
        assert_eq!(points.map(with_port), expected);
    }

    #[test]
    fn the_datacentre_is_known_or_asked_for() {
        let mut config = CassandraConfig::at(vec!["h".into()]);
        let two = BTreeSet::from(["east".to_owned(), "west".to_owned()]);
        let one = BTreeSet::from(["east".to_owned()]);
        assert_eq!(local_datacentre(&config, &one).unwrap(), "east");
        let asked = local_datacentre(&config, &two).unwrap_err().to_string();
        assert!(asked.contains("east, west"), "{asked}");
        config.local_datacenter = Some("north".into());
        let wrong = local_datacentre(&config, &two).unwrap_err().to_string();
        assert!(wrong.contains("`north`") && wrong.contains("east, west"), "{wrong}");
    }

    #[tokio::test]
    async fn nobody_there_is_passing_and_says_where() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let error = connect(&CassandraConfig::at(vec![address.clone()])).await.err().unwrap();
        let where_to_look = matches!(&error, StoreError::Retry(m) if m.contains(&address));
        assert!(where_to_look, "{error:?}");
    }

    /// Answers every frame of a client in turn with these opcodes and bodies.
    async fn refusing_server(answers: Vec<(u8, Vec<u8>)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                for (opcode, body) in &answers {
                    let mut head = [0u8; 9];
                    if socket.read_exact(&mut head).await.is_err() {
                        break;
                    }
                    let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let mut request = vec![0u8; length as usize];
                    socket.read_exact(&mut request).await.unwrap();
                    let mut answer = vec![0x84, 0, head[2], head[3], *opcode];
                    answer.extend((body.len() as u32).to_be_bytes());
                    answer.extend(body);
                    socket.write_all(&answer).await.unwrap();
                }
            }
        });
        address
    }

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    }

    #[tokio::test]
    async fn a_wrong_or_missing_password_is_for_a_person() {
        let authenticate = (0x03, text("org.apache.cassandra.auth.PasswordAuthenticator"));
        let mut bad = 0x0100u32.to_be_bytes().to_vec();
        bad.extend(text("Provided username x and/or password are incorrect"));
        let supported = (0x06, vec![0, 0]);
        let address = refusing_server(vec![supported, authenticate, (0x00, bad)]).await;
        let mut config = CassandraConfig::at(vec![address]);
        let missing = connect(&config).await.err().unwrap();
        assert!(
            matches!(&missing, StoreError::Fatal(m) if m.contains("asks for a password")),
            "{missing:?}"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "wrong\n").unwrap();
        config.username = Some("x".into());
        config.password = Some(weir_models::config::SecretRef {
            file: Some(file.to_string_lossy().into_owned()),
            env: None,
        });
        let wrong = connect(&config).await.err().unwrap();
        assert!(
            matches!(&wrong, StoreError::Refused(m) if m.contains("refuses user or password")),
            "{wrong:?}"
        );
        assert!(!format!("{wrong:?}").contains("wrong\n"));
    }
}
