//! Schema: numbered migrations as data, applied by `migrate`, looked at by `check_schema`.
//!
//! In: the files in `migrations/`. Out: a keyspace of the version that this program needs. Promises:
//! doing it twice, or by two instances at once, is harmless: every statement is `IF NOT EXISTS`, all
//! instances send their statements to the same node (the one with the smallest host id), which does
//! them one after the other, and a migration is noted by a lightweight transaction once all nodes
//! agree on the schema. A migration that was interrupted is done again from its first statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use scylla::client::session::Session;
use scylla::policies::load_balancing::{
    LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy,
};
use scylla::statement::unprepared::Statement;
use weir_models::time::{DAY_US, SECOND_US, now_us};

use super::CassandraStore;
use super::failure::Failure;
use super::guard::{HOT_TABLES, window_days};
use crate::store::StoreError;
use crate::store::config::{CassandraConfig, Replication};
use crate::store::seal::{mark_before_sealing, mark_before_sealing_lines};

/// The migrations in their order; the number in its name is the version. Never change one that was released.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_first_tables", include_str!("migrations/0001_first_tables.cql")),
    (SEALING, include_str!("migrations/0002_sealing.cql")),
    (LOG_BLOCKS, include_str!("migrations/0003_log_blocks.cql")),
    ("0004_device_changes", include_str!("migrations/0004_device_changes.cql")),
    ("0005_losses", include_str!("migrations/0005_losses.cql")),
    ("0006_feedback", include_str!("migrations/0006_feedback.cql")),
    (WIDTHS, include_str!("migrations/0007_widths.cql")),
];
/// From this one on readings are sealed.
const SEALING: &str = "0002_sealing";
/// From this one on log lines are sealed.
const LOG_BLOCKS: &str = "0003_log_blocks";

/// From this one on partitions may be divided.
const WIDTHS: &str = "0007_widths";
/// How long after [`WIDTHS`] a sink of an older version may still run beside newer ones.
const OLD_SINKS_US: i64 = 2 * DAY_US;
/// Migrations that are noted within this time are of one run.
const MIGRATED_AT_ONCE_US: i64 = 60 * SECOND_US;

/// The version of a migration: the number in front of its name.
fn version_of(name: &str) -> i32 {
    name.split('_').next().and_then(|number| number.parse().ok()).unwrap_or(i32::MAX)
}

/// The migrations with their versions.
fn migrations() -> impl Iterator<Item = (i32, &'static (&'static str, &'static str))> {
    MIGRATIONS.iter().map(|migration| (version_of(migration.0), migration))
}

/// The version that this program needs.
fn newest() -> i32 {
    migrations().last().map_or(0, |(version, _)| version)
}

/// Copies in the local datacentre where the configuration tells nothing.
const COPIES: usize = 3;

/// Seconds after which hot rows go; 0 keeps them.
fn ttl_s(config: &CassandraConfig) -> i64 {
    i64::from(config.hot_days) * (DAY_US / SECOND_US)
}

/// The window in which hot tables are compacted, as the first migration has it.
const WINDOW: &str = "'compaction_window_size': 1}";

/// The statements of a migration; a table that is made has windows for its time to live.
fn statements(text: &str, config: &CassandraConfig) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("--"));
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    let code =
        code.replace("{keyspace}", &config.keyspace).replace("{ttl_s}", &ttl_s(config).to_string());
    let window = format!("'compaction_window_size': {}}}", window_days(ttl_s(config)));
    let code = code.replace(WINDOW, &window);
    let parts = code.split(";\n").map(str::trim);
    parts.filter(|part| !part.is_empty()).map(Into::into).collect()
}

/// The replication map of a new keyspace.
fn replication(config: &CassandraConfig, datacentre: &str, nodes: usize) -> Result<String, String> {
    let per_datacentre = |copies: &mut dyn Iterator<Item = (&str, usize)>| {
        let copies: Vec<String> = copies.map(|(name, n)| format!("'{name}': {n}")).collect();
        format!("{{'class': 'NetworkTopologyStrategy', {}}}", copies.join(", "))
    };
    let wrong = |what: String| {
        Err(format!(
            "store.cassandra.replication {what}: write \"SimpleStrategy 1\" or a table of copies \
             per datacentre, {{ dc1 = 3 }}"
        ))
    };
    match &config.replication {
        None => {
            let copies = nodes.clamp(1, COPIES);
            Ok(per_datacentre(&mut std::iter::once((datacentre, copies))))
        }
        Some(Replication::Simple(text)) => {
            let copies = text.strip_prefix("SimpleStrategy ").map(str::parse::<u8>);
            match copies {
                Some(Ok(n @ 1..)) => {
                    Ok(format!("{{'class': 'SimpleStrategy', 'replication_factor': {n}}}"))
                }
                _ => wrong(format!("is `{text}`")),
            }
        }
        Some(Replication::PerDatacentre(copies)) => {
            let sound = |name: &str| !name.is_empty() && !name.contains(['\'', '\\']);
            if copies.is_empty() || copies.iter().any(|(name, &n)| n == 0 || !sound(name)) {
                return wrong("has no datacentre, or one without copies".into());
            }
            let mut copies = copies.iter().map(|(name, &n)| (name.as_str(), n.into()));
            Ok(per_datacentre(&mut copies))
        }
    }
}

/// Applies what is missing and names it.
pub(super) async fn migrate(store: &CassandraStore) -> Result<Vec<String>, StoreError> {
    let (session, config, datacentre) = (&store.session, &store.config, store.datacentre.as_str());
    let leader = Leader::of(session)?;
    let state = session.get_cluster_state();
    let local = |node: &&Arc<_>| is_in(node, datacentre);
    let nodes = state.get_nodes_info().iter().filter(local).count();
    let replication = replication(config, datacentre, nodes).map_err(StoreError::Fatal)?;
    let keyspace = &config.keyspace;
    if !keyspace_exists(session, keyspace).await? {
        tracing::info!(keyspace, replication, "making the keyspace");
        let create =
            format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}");
        leader.run(session, &create).await?;
    }
    leader
        .run(
            session,
            &format!(
                "CREATE TABLE IF NOT EXISTS {keyspace}.schema_migrations (program text, version \
                 int, name text, applied_us bigint, PRIMARY KEY ((program), version))"
            ),
        )
        .await?;
    let applied = applied(session, config).await?;
    refuse_newer(config, &applied)?;
    let missing = migrations().filter(|(version, _)| !applied.contains_key(version));
    let missing: Vec<(i32, &(&str, &str))> = missing.collect();
    for (_, (_, text)) in &missing {
        for statement in statements(text, config) {
            leader.run(session, &statement).await?;
        }
    }
    // What fills tables needs all of them.
    let mut names = Vec::new();
    for (version, (name, _)) in missing {
        match *name {
            SEALING => mark_before_sealing(store, config.hot_days.into()).await?,
            LOG_BLOCKS => {
                let hours = store.read_hours_of_lines().await?;
                mark_before_sealing_lines(store, hours).await?;
            }
            _ => {}
        }
        note(session, config, version, name).await?;
        names.push((*name).to_owned());
    }
    names.extend(set_ttl(session, config, &leader).await?);
    Ok(names)
}

fn is_in(node: &scylla::cluster::Node, datacentre: &str) -> bool {
    node.datacenter.as_deref() == Some(datacentre)
}

/// The one node that all instances send schema changes to.
struct Leader(Arc<dyn LoadBalancingPolicy>);

impl Leader {
    fn of(session: &Session) -> Result<Self, StoreError> {
        let state = session.get_cluster_state();
        let nodes = state.get_nodes_info().iter();
        let node = nodes
            .filter(|node| node.is_connected())
            .min_by_key(|node| node.host_id)
            .ok_or_else(|| StoreError::Retry("no node of the cluster is reachable".into()))?;
        let target = NodeIdentifier::Node(Arc::clone(node));
        Ok(Self(SingleTargetLoadBalancingPolicy::new(target, None)))
    }

    async fn run(&self, session: &Session, text: &str) -> Result<(), StoreError> {
        let mut statement = Statement::new(text);
        statement.set_load_balancing_policy(Some(Arc::clone(&self.0)));
        // A schema change waits for all nodes; the usual time for a row is too short for it.
        statement.set_request_timeout(Some(std::time::Duration::from_secs(60)));
        session.query_unpaged(statement, ()).await.map_err(Failure::from)?;
        let agreed = session.await_schema_agreement().await;
        agreed.map(drop).map_err(|error| {
            StoreError::Retry(format!(
                "the nodes do not agree on the schema ({error}): look at `nodetool describecluster`"
            ))
        })
    }
}

/// Notes a migration; a second instance that does the same finds it noted.
async fn note(
    session: &Session,
    config: &CassandraConfig,
    version: i32,
    name: &str,
) -> Result<(), StoreError> {
    let insert = format!(
        "INSERT INTO {}.schema_migrations (program, version, name, applied_us) VALUES ('weir', ?, \
         ?, ?) IF NOT EXISTS",
        config.keyspace
    );
    session.query_unpaged(insert, (version, name, now_us())).await.map_err(Failure::from)?;
    Ok(())
}

/// Brings the time to live of the hot tables to what the configuration says.
async fn set_ttl(
    session: &Session,
    config: &CassandraConfig,
    leader: &Leader,
) -> Result<Vec<String>, StoreError> {
    let wanted = ttl_s(config);
    let mut changed = Vec::new();
    for table in HOT_TABLES {
        let select = "SELECT default_time_to_live FROM system_schema.tables WHERE keyspace_name = \
                      ? AND table_name = ?";
        let answer = session
            .query_unpaged(select, (&config.keyspace, table))
            .await
            .map_err(Failure::from)?;
        let rows = answer.into_rows_result().map_err(|e| Failure::lasting(&e))?;
        let row = rows.maybe_first_row::<(i32,)>();
        let row = row.map_err(|e| Failure::lasting(&e))?;
        if row.is_none_or(|(now,)| i64::from(now) == wanted) {
            continue;
        }
        let keyspace = &config.keyspace;
        let alter = format!("ALTER TABLE {keyspace}.{table} WITH default_time_to_live = {wanted}");
        leader.run(session, &alter).await?;
        changed.push(format!("{table}: hot_days = {}", config.hot_days));
    }
    Ok(changed)
}

async fn keyspace_exists(session: &Session, keyspace: &str) -> Result<bool, StoreError> {
    exists(
        session,
        "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?",
        &[keyspace],
    )
    .await
}

async fn exists(session: &Session, select: &str, names: &[&str]) -> Result<bool, StoreError> {
    let answer = session.query_unpaged(select, names).await;
    let rows =
        answer.map_err(Failure::from)?.into_rows_result().map_err(|e| Failure::lasting(&e))?;
    Ok(rows.rows_num() > 0)
}

/// The migrations that were applied, by version.
async fn applied(
    session: &Session,
    config: &CassandraConfig,
) -> Result<BTreeMap<i32, String>, StoreError> {
    let select = format!(
        "SELECT version, name FROM {}.schema_migrations WHERE program = 'weir'",
        config.keyspace
    );
    let answer = session.query_unpaged(select, ()).await;
    let rows =
        answer.map_err(Failure::from)?.into_rows_result().map_err(|e| Failure::lasting(&e))?;
    let rows = rows.rows::<(i32, String)>();
    rows.map_err(|e| Failure::lasting(&e))?
        .map(|row| row.map_err(|e| Failure::lasting(&e).into()))
        .collect()
}

/// The first stamp at which partitions may be divided.
pub(super) async fn divides_from_us(
    session: &Session,
    config: &CassandraConfig,
) -> Result<i64, StoreError> {
    let select = format!(
        "SELECT version, applied_us FROM {}.schema_migrations WHERE program = 'weir'",
        config.keyspace
    );
    let answer = session.query_unpaged(select, ()).await;
    let rows =
        answer.map_err(Failure::from)?.into_rows_result().map_err(|e| Failure::lasting(&e))?;
    let rows = rows.rows::<(i32, Option<i64>)>().map_err(|e| Failure::lasting(&e))?;
    let mut applied = BTreeMap::new();
    for row in rows {
        let (version, applied_us) = row.map_err(|e| Failure::lasting(&e))?;
        applied.extend(applied_us.map(|applied_us| (version, applied_us)));
    }
    Ok(may_divide_from_us(&applied))
}

/// A sink that was started before [`WIDTHS`] and still runs finds only what lies in buckets of the first width: nothing
/// is divided while one may run. One never did where the keyspace was made with it.
fn may_divide_from_us(applied: &BTreeMap<i32, i64>) -> i64 {
    let first_us = applied.first_key_value().map(|(_, &applied_us)| applied_us);
    match (first_us, applied.get(&version_of(WIDTHS))) {
        (Some(first_us), Some(&widths_us)) if widths_us - first_us < MIGRATED_AT_ONCE_US => {
            first_us
        }
        (_, Some(widths_us)) => widths_us.saturating_add(OLD_SINKS_US),
        (_, None) => i64::MAX,
    }
}

fn refuse_newer(
    config: &CassandraConfig,
    applied: &BTreeMap<i32, String>,
) -> Result<(), StoreError> {
    let newest = applied.last_key_value();
    match newest.filter(|&(&version, _)| version > self::newest()) {
        None => Ok(()),
        Some((version, name)) => Err(StoreError::Fatal(format!(
            "the schema of keyspace `{}` (version {version}, {name}) is newer than this program \
             (version {}): update this program",
            config.keyspace,
            self::newest()
        ))),
    }
}

/// Fails unless the schema is the one this version needs.
pub(super) async fn check(session: &Session, config: &CassandraConfig) -> Result<(), StoreError> {
    let keyspace = config.keyspace.as_str();
    let table = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND \
                 table_name = ?";
    if !exists(session, table, &[keyspace, "schema_migrations"]).await? {
        return Err(StoreError::Fatal(format!(
            "keyspace `{keyspace}` has no weir tables yet: run `weir-sink migrate`"
        )));
    }
    let applied = applied(session, config).await?;
    refuse_newer(config, &applied)?;
    let missing: Vec<&str> = migrations()
        .filter(|(version, _)| !applied.contains_key(version))
        .map(|(_, (name, _))| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(StoreError::Fatal(format!(
        "keyspace `{keyspace}` lacks {}: run `weir-sink migrate`",
        missing.join(", ")
    )))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn config(replication: Option<Replication>) -> CassandraConfig {
        CassandraConfig { replication, ..CassandraConfig::at(vec!["h".into()]) }
    }

    #[test]
    fn every_statement_can_be_repeated() {
        let versions: Vec<i32> = migrations().map(|(version, _)| version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b) && versions[0] == 1, "{versions:?}");
        for (version, (name, text)) in migrations() {
            assert!(name.starts_with(&format!("{version:04}_")), "{name}");
            let statements = statements(text, &config(None));
            assert!(!statements.is_empty());
            for statement in statements {
                let adds = statement.contains(" ADD IF NOT EXISTS ");
                let repeatable = statement.contains(" IF NOT EXISTS weir.") || adds;
                assert!(
                    repeatable && !statement.contains(['{', ';']) || statement.contains("= {'"),
                    "{statement}"
                );
            }
        }
    }

    #[test]
    fn the_time_to_live_follows_hot_days() {
        let text = "-- words\nA {keyspace} {ttl_s};\n\nB\n  c;\n";
        let two_days = CassandraConfig { hot_days: 2, ..config(None) };
        assert_eq!(statements(text, &two_days), ["A weir 172800", "B\n  c"]);
        for (hot_days, window) in [(30, 1), (90, 3)] {
            let config = CassandraConfig { hot_days, ..config(None) };
            let made = statements(MIGRATIONS[0].1, &config);
            let window = format!("'compaction_window_size': {window}}}");
            assert_eq!(made.iter().filter(|made| made.contains(&window)).count(), 2);
        }
    }

    #[test]
    fn replication_is_told_or_follows_the_nodes() {
        let of = |told: Option<Replication>, nodes| replication(&config(told), "dc1", nodes);
        let one = of(None, 1).unwrap();
        assert_eq!(one, "{'class': 'NetworkTopologyStrategy', 'dc1': 1}");
        assert!(of(None, 9).unwrap().contains("'dc1': 3"));
        let simple = Replication::Simple("SimpleStrategy 2".into());
        assert!(of(Some(simple), 1).unwrap().contains("'replication_factor': 2"));
        for text in ["SimpleStrategy", "SimpleStrategy 0", "3", "SimpleStrategy 2'"] {
            let error = of(Some(Replication::Simple(text.into())), 1).unwrap_err();
            assert!(error.contains("SimpleStrategy 1"), "{error}");
        }
        let copies = BTreeMap::from([("dc1".to_owned(), 3), ("it's".to_owned(), 1)]);
        assert!(of(Some(Replication::PerDatacentre(copies)), 1).is_err());
    }

    #[test]
    fn nothing_is_divided_while_an_older_sink_may_run() {
        let of = |applied: &[(i32, i64)]| {
            may_divide_from_us(&applied.iter().copied().collect::<BTreeMap<_, _>>())
        };
        let upgraded_us = 300 * DAY_US;
        assert_eq!(of(&[(1, DAY_US), (6, DAY_US), (7, upgraded_us)]), upgraded_us + 2 * DAY_US);
        assert_eq!(of(&[(1, DAY_US), (7, DAY_US + 5 * SECOND_US)]), DAY_US, "a new keyspace");
        assert_eq!(of(&[(1, DAY_US), (6, DAY_US)]), i64::MAX);
        assert_eq!(of(&[]), i64::MAX);
    }

    #[test]
    fn a_newer_schema_is_left_alone() {
        let mut applied = BTreeMap::from([(1, "0001_first_tables".to_owned())]);
        assert!(refuse_newer(&config(None), &applied).is_ok());
        applied.insert(99, "0099_later".into());
        let error = refuse_newer(&config(None), &applied).unwrap_err().to_string();
        assert!(error.contains("newer than this program"), "{error}");
    }
}
