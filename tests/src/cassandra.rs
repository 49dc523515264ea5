//! Cassandra by CQL: rows as JSON objects, to compare with what was sent.

use std::sync::{Arc, OnceLock};

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::{CqlValue, Row as CqlRow};
use serde_json::{Map, Value, json};

use crate::runtime::wait;
use crate::services::unique;

/// A row: column name to value. Time stamps are milliseconds, dates days since 1970, blobs and
/// uuids text in hexadecimal.
pub type Row = Map<String, Value>;

/// A cluster.
#[derive(Clone)]
pub struct Cassandra {
    /// `host:port` of each node.
    pub contact_points: Vec<String>,
    session: Arc<OnceLock<Session>>,
}

impl Cassandra {
    /// The cluster at these contact points, with commas between.
    pub fn at(contact_points: &str) -> Self {
        let contact_points = contact_points.split(',').map(str::to_string).collect();
        Self { contact_points, session: Arc::default() }
    }

    /// The session, connected at first use. It follows the cluster through restarts.
    #[track_caller]
    pub fn session(&self) -> &Session {
        self.session.get_or_init(|| {
            let builder = SessionBuilder::new().known_nodes(&self.contact_points);
            match wait(builder.build()) {
                Ok(session) => session,
                Err(e) => panic!("no session with {:?}: {e}", self.contact_points),
            }
        })
    }

    /// Makes a keyspace with a unique name, for one test.
    #[track_caller]
    pub fn keyspace(&self, name: &str) -> String {
        let name = unique(name);
        self.cql(&format!(
            "CREATE KEYSPACE {name} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', 'dc1': 1}} AND durable_writes = true"
        ));
        name
    }

    /// Runs a statement; the rows that it gives, none if it gives none.
    #[track_caller]
    pub fn cql(&self, statement: &str) -> Vec<Row> {
        match self.try_cql(statement) {
            Ok(rows) => rows,
            Err(e) => panic!("{statement}: {e}"),
        }
    }

    /// Runs a statement; the error as text.
    #[track_caller]
    pub fn try_cql(&self, statement: &str) -> Result<Vec<Row>, String> {
        let session = self.session();
        let result = wait(session.query_unpaged(statement, ())).map_err(|e| e.to_string())?;
        if !result.is_rows() {
            return Ok(Vec::new());
        }
        let rows = result.into_rows_result().map_err(|e| e.to_string())?;
        let names: Vec<String> =
            rows.column_specs().iter().map(|spec| spec.name().to_string()).collect();
        let mut found = Vec::new();
        for row in rows.rows::<CqlRow>().map_err(|e| e.to_string())? {
            let row = row.map_err(|e| e.to_string())?;
            let values = row.columns.iter().map(|v| v.as_ref().map_or(Value::Null, json));
            found.push(names.iter().cloned().zip(values).collect());
        }
        Ok(found)
    }
}

/// A value as JSON. What no table of ours has is shown as the driver prints it.
fn json(value: &CqlValue) -> Value {
    match value {
        CqlValue::Ascii(s) | CqlValue::Text(s) => json!(s),
        CqlValue::Boolean(b) => json!(b),
        CqlValue::TinyInt(n) => json!(n),
        CqlValue::SmallInt(n) => json!(n),
        CqlValue::Int(n) => json!(n),
        CqlValue::BigInt(n) => json!(n),
        CqlValue::Counter(n) => json!(n.0),
        CqlValue::Float(x) => json!(x),
        CqlValue::Double(x) => json!(x),
        CqlValue::Timestamp(t) => json!(t.0),
        CqlValue::Date(d) => json!(i64::from(d.0) - (1 << 31)),
        CqlValue::Uuid(u) => json!(u.to_string()),
        CqlValue::Timeuuid(u) => json!(u.to_string()),
        CqlValue::Inet(address) => json!(address.to_string()),
        CqlValue::Blob(bytes) => json!(hex(bytes)),
        CqlValue::List(values) | CqlValue::Set(values) | CqlValue::Vector(values) => {
            values.iter().map(json).collect()
        }
        CqlValue::Map(pairs) => {
            let text = |key: &CqlValue| match json(key) {
                Value::String(s) => s,
                other => other.to_string(),
            };
            Value::Object(pairs.iter().map(|(k, v)| (text(k), json(v))).collect())
        }
        other => json!(format!("{other:?}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
