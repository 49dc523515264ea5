//! SQLite: the embedded store, one file, for demonstrations and small sites.
//!
//! In and out: as every [`Store`]. Promises the same as the others. One writer at a time, a
//! transaction per batch; readers have a connection of their own and never wait for the writer
//! (write-ahead log). Anybody can open the file with `sqlite3`.
//!
//! **Power cuts.** The pipeline commits its offsets after `write` has answered, so an answer must
//! hold through a power cut: with `synchronous = NORMAL` the last transactions could be gone while
//! the offsets behind them are kept, and nobody would send those rows again. It is therefore `FULL`:
//! one sync of the log file per batch, not per row, and a batch is thousands of rows. What a power
//! cut costs is the batch under way, which is read again from its offset.
//!
//! Old rows stay: a small site has room for years, and there is no time to live here yet. What can
//! go wrong: the disk is full or another process holds the file ([`StoreError::Retry`]), the file is
//! damaged or no database ([`StoreError::Fatal`]).

mod line_rows;
mod losses;
mod read;
mod seal_rows;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use weir_models::alert::Alert;
use weir_models::device::Device;
use weir_models::ident::{EventId, SeriesKey};
use weir_models::time::now_us;

use super::census::Census;
use super::config::SqliteConfig;
use super::seal::marks::Marks;
use super::seal::{self, SealStore};
use super::{
    Agents, AlertQuery, AlertRecords, Audit, Batch, ChangesQuery, Chunks, DeviceChange, Feedbacks,
    Latest, Lines, LogQuery, LogRow, LossQuery, LossRow, Point, Rolls, Series, Store, StoreError,
    TimeRange,
};

/// The migrations in their order; the number in its name is the version. Never change one that was released.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_first_tables", include_str!("migrations/0001_first_tables.sql")),
    (SEALING, include_str!("migrations/0002_sealing.sql")),
    ("0003_log_blocks", include_str!("migrations/0003_log_blocks.sql")),
    ("0004_device_changes", include_str!("migrations/0004_device_changes.sql")),
    ("0005_losses", include_str!("migrations/0005_losses.sql")),
    ("0006_feedback", include_str!("migrations/0006_feedback.sql")),
];
/// From this one on readings are sealed.
const SEALING: &str = "0002_sealing";
/// How long one process waits for another that writes.
const BUSY: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection.
const STATEMENTS_MAX: usize = 64;

/// A database file.
pub struct SqliteStore {
    path: PathBuf,
    writer: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
    marks: Marks,
}

impl SqliteStore {
    /// Opens the file, which is made when missing; the schema is not looked at.
    ///
    /// # Errors
    /// [`StoreError::Fatal`] when the file cannot be used; the message says why.
    pub async fn open(config: &SqliteConfig) -> Result<Self, StoreError> {
        let path = config.path.clone();
        let opened = tokio::task::spawn_blocking(move || Self::open_now(path));
        opened.await.map_err(|error| StoreError::Fatal(error.to_string()))?
    }

    fn open_now(path: PathBuf) -> Result<Self, StoreError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(|error| {
                StoreError::Fatal(format!(
                    "cannot make the folder {} of store.sqlite.path: {error}",
                    folder.display()
                ))
            })?;
        }
        let failed = |error| explain(&path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let writer = connection(&path, flags | OpenFlags::SQLITE_OPEN_CREATE).map_err(failed)?;
        let reader = connection(&path, flags).map_err(failed)?;
        reader.pragma_update(None, "query_only", true).map_err(failed)?;
        Ok(Self {
            path,
            writer: Arc::new(Mutex::new(writer)),
            reader: Arc::new(Mutex::new(reader)),
            marks: Marks::default(),
        })
    }

    /// Runs `work` with a connection on a thread that may block.
    async fn with<T: Send + 'static>(
        &self,
        connection: &Arc<Mutex<Connection>>,
        work: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (connection, path) = (Arc::clone(connection), self.path.clone());
        let done = tokio::task::spawn_blocking(move || {
            // A panic elsewhere rolled its transaction back; the connection is sound.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection).map_err(|error| explain(&path, &error))
        });
        done.await
            .map_err(|error| StoreError::Retry(format!("the store's thread ended: {error}")))?
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with(&self.reader, move |connection| {
            // One moment for all statements of a query.
            let transaction = connection.transaction()?;
            work(&transaction)
        })
        .await
    }
}

fn connection(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// What an error means for us.
fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.display();
    let message = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Retry(format!(
            "the disk of {path} is full: free some space, nothing is lost meanwhile"
        )),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Retry(format!(
            "another process writes to {path} ({message}): only one weir may use it"
        )),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => {
            StoreError::Retry(format!("{path}: {message}"))
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Fatal(format!(
            "{path} is damaged or no SQLite file ({message}): move it away; the archive can fill a \
             new one"
        )),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StoreError::Fatal(format!(
                "cannot open {path} for writing ({message}): check store.sqlite.path and its \
                 permissions"
            ))
        }
        _ if message.contains("no such table") => StoreError::Fatal(format!(
            "{path} has no weir tables yet ({message}): run `weir-sink migrate`"
        )),
        _ => StoreError::Fatal(format!("{path}: {message}")),
    }
}

/// The version of a migration: the number in front of its name.
fn version_of(name: &str) -> usize {
    name.split('_').next().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

/// The version that this program needs.
fn newest() -> usize {
    MIGRATIONS.last().map_or(0, |(name, _)| version_of(name))
}

/// What a schema of this version lacks.
fn missing(version: usize) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    MIGRATIONS.iter().filter(move |(name, _)| version_of(name) > version)
}

fn version(connection: &Connection) -> Result<usize, rusqlite::Error> {
    let version = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
    let version = connection.pragma_query_value(None, "user_version", version)?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn newer(path: &Path, version: usize) -> StoreError {
    StoreError::Fatal(format!(
        "the schema of {} (version {version}) is newer than this program (version {}): update this \
         program",
        path.display(),
        newest()
    ))
}

/// Applies what is missing, all or nothing.
fn migrate(connection: &mut Connection) -> Result<Result<Vec<String>, usize>, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now = version(&transaction)?;
    if now > newest() {
        return Ok(Err(now));
    }
    for (_, text) in missing(now) {
        transaction.execute_batch(text)?;
    }
    transaction.pragma_update(None, "user_version", newest().to_string())?;
    transaction.commit()?;
    Ok(Ok(missing(now).map(|(name, _)| (*name).to_owned()).collect()))
}

#[async_trait]
impl Store for SqliteStore {
    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let done = self.with(&self.writer, migrate).await?;
        let done = done.map_err(|version| newer(&self.path, version))?;
        // Hot rows stay here, so readings without a mark are only read more slowly. Lines without one would not be
        // found: their migration marks them itself.
        if done.iter().any(|name| name == SEALING) {
            seal::mark_before_sealing(self, 0).await?;
        }
        Ok(done)
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        let version = self.read(version).await?;
        match version.cmp(&newest()) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(newer(&self.path, version)),
            std::cmp::Ordering::Less => Err(StoreError::Fatal(format!(
                "{} lacks {}: run `weir-sink migrate`",
                self.path.display(),
                missing(version).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    async fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let writing = self.marks.begin(self, batch).await?;
        let batch = batch.clone();
        self.with(&self.writer, move |connection| {
            let now_us = now_us();
            let census = Census::of(&batch, now_us);
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            write::write(&transaction, &batch, &census, now_us)?;
            transaction.commit()
        })
        .await?;
        writing.end()
    }

    async fn readings(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<Point>, StoreError> {
        seal::readings(self, key, range, limit).await
    }

    fn scan<'a>(&'a self, key: &'a SeriesKey, range: TimeRange) -> Chunks<'a> {
        seal::scan(self, key, range, usize::MAX)
    }

    async fn rollups(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        step_us: i64,
    ) -> Result<Rolls, StoreError> {
        seal::rollups(self, key, range, step_us).await
    }

    fn sealing(&self) -> Option<&dyn SealStore> {
        Some(self)
    }

    async fn latest(&self, site: &str) -> Result<Vec<Latest>, StoreError> {
        let site = site.to_owned();
        self.read(move |connection| read::latest(connection, &site)).await
    }

    async fn sites(&self) -> Result<Vec<String>, StoreError> {
        self.read(read::sites).await
    }

    async fn series(&self, site: &str, device: Option<&str>) -> Result<Vec<Series>, StoreError> {
        let (site, device) = (site.to_owned(), device.map(ToOwned::to_owned));
        self.read(move |connection| read::series(connection, &site, device.as_deref())).await
    }

    async fn logs(&self, query: &LogQuery) -> Result<Vec<LogRow>, StoreError> {
        seal::logs(self, query).await
    }

    fn find_logs<'a>(&'a self, query: &'a LogQuery) -> Lines<'a> {
        seal::find(self, query)
    }

    async fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, StoreError> {
        let query = query.clone();
        self.read(move |connection| read::alerts(connection, &query)).await
    }

    async fn alert_records(
        &self,
        site: &str,
        fired_us: i64,
    ) -> Result<Vec<AlertRecords>, StoreError> {
        let site = site.to_owned();
        self.read(move |connection| read::alert_records(connection, &site, fired_us)).await
    }

    async fn feedback(&self, site: &str, range: TimeRange) -> Result<Feedbacks, StoreError> {
        let site = site.to_owned();
        self.read(move |connection| read::feedback(connection, &site, range)).await
    }

    async fn devices(&self, site: &str) -> Result<Vec<Device>, StoreError> {
        let site = site.to_owned();
        self.read(move |connection| read::devices(connection, &site)).await
    }

    async fn device(&self, site: &str, device: &str) -> Result<Option<Device>, StoreError> {
        let (site, device) = (site.to_owned(), device.to_owned());
        self.read(move |connection| read::device(connection, &site, &device)).await
    }

    async fn device_changes(&self, query: &ChangesQuery) -> Result<Vec<DeviceChange>, StoreError> {
        let query = query.clone();
        self.read(move |connection| read::device_changes(connection, &query)).await
    }

    async fn agents(&self) -> Result<Agents, StoreError> {
        self.read(read::agents).await
    }

    async fn losses(&self, query: &LossQuery) -> Result<Vec<LossRow>, StoreError> {
        let query = query.clone();
        self.read(move |connection| losses::losses(connection, &query)).await
    }

    async fn audits(&self, limit: usize) -> Result<Vec<Audit>, StoreError> {
        self.read(move |connection| losses::audits(connection, limit)).await
    }

    async fn event_ids(&self) -> Result<Vec<EventId>, StoreError> {
        seal::event_ids(self).await
    }
}

#[cfg(test)]
mod tests;
