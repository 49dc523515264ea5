//! Guard: whether the hot tables still are as rows need them that leave by time.
//!
//! In: what the cluster says of `readings` and `logs`. Out: advice for whoever runs it, or a refusal to start where rows
//! would be lost. Time windows hold what was **written** at about the same time, whatever its stamps say, and all of it
//! lives equally long: so a window leaves as a whole, late rows or not (decision 24). It rests on the table having such
//! windows, and one time to live.

use std::collections::BTreeMap;

use scylla::client::session::Session;
use weir_models::time::{DAY_US, SECOND_US};

use super::failure::Failure;
use crate::store::StoreError;
use crate::store::config::CassandraConfig;

/// The tables whose rows leave.
pub(super) const HOT_TABLES: [&str; 2] = ["readings", "logs"];
/// Below this a day may leave before it is sealed: it has to be over, and quiet, and somebody has to see to it.
const TTL_MIN_S: i64 = 2 * DAY_S;
/// More windows than this are more files than a read should look into.
const WINDOWS_MAX: i64 = 60;
/// About so many windows are right.
const WINDOWS: i64 = 30;
const DAY_S: i64 = DAY_US / SECOND_US;

/// How a table lets rows leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Options {
    /// Seconds, 0 for never.
    ttl_s: i64,
    compaction: BTreeMap<String, String>,
}

/// What to do about the hot tables, in words; nothing where they are as they should be.
///
/// # Errors
/// [`StoreError::Fatal`] when rows would leave before they are sealed.
pub(super) async fn advice(
    session: &Session,
    config: &CassandraConfig,
) -> Result<Vec<String>, StoreError> {
    let mut all = Vec::new();
    for table in HOT_TABLES {
        if let Some(options) = options(session, config, table).await? {
            let wanted_s = i64::from(config.hot_days) * DAY_S;
            let advice = judge(&format!("{}.{table}", config.keyspace), wanted_s, &options);
            all.extend(advice.map_err(StoreError::Fatal)?);
        }
    }
    Ok(all)
}

async fn options(
    session: &Session,
    config: &CassandraConfig,
    table: &str,
) -> Result<Option<Options>, StoreError> {
    let select = "SELECT default_time_to_live, compaction FROM system_schema.tables WHERE \
                  keyspace_name = ? AND table_name = ?";
    let answer = session.query_unpaged(select, (&config.keyspace, table)).await;
    let rows =
        answer.map_err(Failure::from)?.into_rows_result().map_err(|e| Failure::lasting(&e))?;
    let row = rows.maybe_first_row::<(Option<i32>, Option<BTreeMap<String, String>>)>();
    let row = row.map_err(|e| Failure::lasting(&e))?;
    Ok(row.map(|(ttl_s, compaction)| Options {
        ttl_s: ttl_s.unwrap_or_default().into(),
        compaction: compaction.unwrap_or_default(),
    }))
}

/// What is to be said of a table whose rows should leave after `wanted_s`; an error where it must not be written to.
fn judge(table: &str, wanted_s: i64, options: &Options) -> Result<Vec<String>, String> {
    let ttl_s = options.ttl_s;
    if (1..TTL_MIN_S).contains(&ttl_s) {
        return Err(format!(
            "rows of `{table}` leave {ttl_s} s after they were written, before they are sealed: run `weir-sink \
             migrate`, which sets it to `store.cassandra.hot_days`"
        ));
    }
    let mut advice = Vec::new();
    if ttl_s != wanted_s {
        advice.push(format!(
            "rows of `{table}` leave after {}, but `store.cassandra.hot_days` says {}: run `weir-sink migrate`, or \
             set `hot_days` to what the table has",
            days(ttl_s),
            days(wanted_s)
        ));
    }
    let class = options.compaction.get("class").map_or("", String::as_str);
    match window_s(&options.compaction) {
        _ if ttl_s == 0 => {}
        None => advice.push(format!(
            "`{table}` is compacted by `{class}`: rows that have left may stay on the disk for long; {}",
            set_window(table, ttl_s)
        )),
        Some(window_s) if ttl_s / window_s > WINDOWS_MAX => advice.push(format!(
            "`{table}` has {} windows of compaction, each a file or more that a read may have to look into; {}",
            ttl_s / window_s,
            set_window(table, ttl_s)
        )),
        Some(_) => {}
    }
    Ok(advice)
}

fn days(ttl_s: i64) -> String {
    match ttl_s {
        0 => "no time".into(),
        ttl_s if ttl_s % DAY_S == 0 => format!("{} days", ttl_s / DAY_S),
        ttl_s => format!("{ttl_s} s"),
    }
}

/// The width of the windows in which a table is compacted, in seconds; none where it has none.
fn window_s(compaction: &BTreeMap<String, String>) -> Option<i64> {
    if !compaction.get("class")?.ends_with("TimeWindowCompactionStrategy") {
        return None;
    }
    let unit_s = match compaction.get("compaction_window_unit").map(String::as_str) {
        Some("MINUTES") => 60,
        Some("HOURS") => 3_600,
        _ => DAY_S,
    };
    let size = compaction.get("compaction_window_size").and_then(|size| size.parse::<i64>().ok());
    Some(unit_s * size.unwrap_or(1).max(1))
}

/// The width of a window in days for a table that is made: a day, unless there would be too many.
pub(super) fn window_days(ttl_s: i64) -> i64 {
    if ttl_s / DAY_S > WINDOWS_MAX { wider_days(ttl_s) } else { 1 }
}

fn wider_days(ttl_s: i64) -> i64 {
    ttl_s.div_euclid(DAY_S * WINDOWS).max(1)
}

fn set_window(table: &str, ttl_s: i64) -> String {
    let days = wider_days(ttl_s);
    format!(
        "set it with ALTER TABLE {table} WITH compaction = {{'class': 'TimeWindowCompactionStrategy', \
         'compaction_window_unit': 'DAYS', 'compaction_window_size': {days}}}"
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn options(days: i64, compaction: &[(&str, &str)]) -> Options {
        let compaction = compaction.iter().map(|&(key, value)| (key.into(), value.into()));
        Options { ttl_s: days * DAY_S, compaction: compaction.collect() }
    }

    const TWCS: (&str, &str) =
        ("class", "org.apache.cassandra.db.compaction.TimeWindowCompactionStrategy");

    /// Every advice has the words that are expected of it.
    #[track_caller]
    fn check(wanted_days: i64, options: &Options, expected: &[&[&str]]) {
        let advice = judge("weir.readings", wanted_days * DAY_S, options).unwrap();
        assert_eq!(advice.len(), expected.len(), "{advice:?}");
        for (advice, words) in advice.iter().zip(expected) {
            for word in *words {
                assert!(advice.contains(word), "{advice} lacks {word}");
            }
        }
    }

    #[test]
    fn what_migrate_makes_is_as_it_should_be() {
        for (days, window) in [(30, 1), (60, 1), (0, 1), (61, 2), (90, 3), (3_650, 121)] {
            assert_eq!(window_days(days * DAY_S), window);
            let size = window.to_string();
            let size = ("compaction_window_size", size.as_str());
            check(days, &options(days, &[TWCS, ("compaction_window_unit", "DAYS"), size]), &[]);
        }
        check(3, &options(3, &[TWCS]), &[]);
    }

    #[test]
    fn another_time_to_live_is_told() {
        check(
            30,
            &options(10, &[TWCS]),
            &[&["after 10 days", "says 30 days", "weir-sink migrate"]],
        );
        check(30, &options(0, &[TWCS]), &[&["after no time", "says 30 days"]]);
        check(0, &options(30, &[TWCS]), &[&["after 30 days", "says no time"]]);
    }

    #[test]
    fn rows_that_leave_before_they_are_sealed_are_refused() {
        let hour = Options { ttl_s: 3_600, ..options(0, &[TWCS]) };
        let refused = judge("weir.logs", 30 * DAY_S, &hour).unwrap_err();
        assert!(
            refused.contains("`weir.logs`") && refused.contains("weir-sink migrate"),
            "{refused}"
        );
    }

    #[test]
    fn another_compaction_is_told_with_the_statement_that_sets_it_back() {
        let levels = ("class", "org.apache.cassandra.db.compaction.LeveledCompactionStrategy");
        let words: &[&str] = &["LeveledCompaction", "ALTER TABLE weir.readings WITH compaction"];
        check(30, &options(30, &[levels]), &[words]);
        check(0, &options(0, &[levels]), &[]);
        let wide: &[&str] = &["400 windows", "'compaction_window_size': 13"];
        check(400, &options(400, &[TWCS]), &[wide]);
        let small = [TWCS, ("compaction_window_unit", "HOURS"), ("compaction_window_size", "6")];
        check(30, &options(30, &small), &[&["120 windows", "'compaction_window_size': 1"]]);
        let right = [TWCS, ("compaction_window_unit", "HOURS"), ("compaction_window_size", "12")];
        check(30, &options(30, &right), &[]);
    }
}
