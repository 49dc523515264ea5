//! Table: somebody else's table, read page by page.
//!
//! In: the name of a table and of some of its columns. Out: a stream of rows, of each the cells in the order of the
//! columns. Promises: nothing is written; a page is held, not the table. What can go wrong: there is no such table or
//! column (the error names those that there are), the user may not read it, a node goes away in the middle.

use futures_util::stream::{Stream, StreamExt as _, TryStreamExt as _};
use scylla::value::{CqlValue, Row};

use super::connect;
use super::failure::Failure;
use crate::registry::Cell;
use crate::store::StoreError;
use crate::store::config::CassandraConfig;

/// Rows that are asked for at once.
const PAGE_ROWS: i32 = 500;

/// The rows of the table `name`, as `KEYSPACE.TABLE`.
///
/// # Errors
/// What is wrong, and what to do.
pub(crate) async fn rows(
    config: &CassandraConfig,
    name: &str,
    columns: &[String],
) -> Result<impl Stream<Item = Result<Vec<Cell>, StoreError>> + use<>, StoreError> {
    let (keyspace, table) = name
        .split_once('.')
        .filter(|(keyspace, table)| !keyspace.is_empty() && !table.is_empty())
        .ok_or_else(|| StoreError::Fatal(format!("`{name}` is not KEYSPACE.TABLE")))?;
    let session = connect::connect(config).await?.session;
    let known =
        "SELECT column_name FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";
    let known = session.execute_iter(prepared(&session, known).await?, (keyspace, table)).await;
    let known = known.map_err(Failure::from)?.rows_stream::<(String,)>();
    let known = known.map_err(|error| Failure::lasting(&error))?;
    let known: Vec<(String,)> = known.try_collect().await.map_err(Failure::from)?;
    if known.is_empty() {
        return Err(StoreError::Fatal(format!(
            "Cassandra has no table `{name}` that this user may see: names are written as `DESCRIBE TABLES` shows them"
        )));
    }
    if let Some(absent) = columns.iter().find(|column| !known.iter().any(|(name,)| name == *column))
    {
        let known: Vec<&str> = known.iter().map(|(name,)| name.as_str()).collect();
        return Err(StoreError::Fatal(format!(
            "`{name}` has no column `{absent}`: it has {}",
            known.join(", ")
        )));
    }
    let asked: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    let select = format!("SELECT {} FROM {}.{}", asked.join(", "), quoted(keyspace), quoted(table));
    let mut statement = prepared(&session, &select).await?;
    statement.set_page_size(PAGE_ROWS);
    let pager = session.execute_iter(statement, ()).await.map_err(Failure::from)?;
    let rows = pager.rows_stream::<Row>().map_err(|error| Failure::lasting(&error))?;
    Ok(rows.map(move |row| {
        // The connections stay as long as rows come.
        let _session = &session;
        row.map(|row| row.columns.into_iter().map(cell).collect())
            .map_err(|error| Failure::from(error).into())
    }))
}

async fn prepared(
    session: &scylla::client::session::Session,
    cql: &str,
) -> Result<scylla::statement::prepared::PreparedStatement, StoreError> {
    session.prepare(cql).await.map_err(|error| Failure::from(error).into())
}

/// A name as CQL takes any: within quotes, those in it doubled.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn cell(value: Option<CqlValue>) -> Cell {
    let all = |values: Vec<CqlValue>| values.into_iter().map(text).collect::<Result<Vec<_>, _>>();
    let cell = match value {
        None | Some(CqlValue::Empty) => Ok(Cell::Null),
        Some(CqlValue::List(values) | CqlValue::Set(values)) => all(values).map(Cell::List),
        Some(CqlValue::Map(pairs)) => {
            let pair = |(name, value)| Ok((text(name)?, text(value)?));
            pairs.into_iter().map(pair).collect::<Result<Vec<_>, _>>().map(Cell::Map)
        }
        Some(value) => text(value).map(Cell::Text),
    };
    cell.unwrap_or_else(|kind| Cell::Other(format!("a {kind} cannot be a text")))
}

/// A value as text; or what it is, where it is none.
fn text(value: CqlValue) -> Result<String, &'static str> {
    Ok(match value {
        CqlValue::Ascii(text) | CqlValue::Text(text) => text,
        // CQL writes these within quotes.
        CqlValue::Inet(_) | CqlValue::Date(_) | CqlValue::Time(_) | CqlValue::Timestamp(_) => {
            value.to_string().trim_matches('\'').to_owned()
        }
        CqlValue::Boolean(_)
        | CqlValue::Counter(_)
        | CqlValue::Double(_)
        | CqlValue::Float(_)
        | CqlValue::Int(_)
        | CqlValue::BigInt(_)
        | CqlValue::SmallInt(_)
        | CqlValue::TinyInt(_)
        | CqlValue::Timeuuid(_)
        | CqlValue::Uuid(_) => value.to_string(),
        CqlValue::Empty => String::new(),
        CqlValue::Blob(_) => return Err("blob"),
        CqlValue::Decimal(_) | CqlValue::Varint(_) => return Err("decimal or varint"),
        CqlValue::Duration(_) => return Err("duration"),
        CqlValue::UserDefinedType { .. } | CqlValue::Tuple(_) => return Err("type with parts"),
        _ => return Err("collection in a collection"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_text_as_people_write_them() {
        for (value, expected) in [
            (CqlValue::Text("it's".into()), "it's"),
            (CqlValue::Inet([10, 0, 0, 7].into()), "10.0.0.7"),
            (CqlValue::Int(-4), "-4"),
            (CqlValue::Boolean(true), "true"),
            (CqlValue::Double(0.5), "0.5"),
        ] {
            assert_eq!(cell(Some(value)), Cell::Text(expected.into()));
        }
        assert_eq!(cell(None), Cell::Null);
        let list = CqlValue::Set(vec![CqlValue::Inet([10, 0, 0, 7].into())]);
        assert_eq!(cell(Some(list)), Cell::List(vec!["10.0.0.7".into()]));
        let pair = (CqlValue::Text("hall".into()), CqlValue::Int(4));
        let pairs = vec![("hall".to_owned(), "4".to_owned())];
        assert_eq!(cell(Some(CqlValue::Map(vec![pair]))), Cell::Map(pairs));
        let blob = cell(Some(CqlValue::Blob(vec![1])));
        assert_eq!(blob, Cell::Other("a blob cannot be a text".into()));
    }

    #[test]
    fn any_name_is_quoted() {
        assert_eq!(quoted("Hall \"B\""), "\"Hall \"\"B\"\"\"");
    }
}
