//! The table of devices on disk (redb), by `site/device` and by `site/alias`.
//!
//! In: [`Update`]s from the topic and from files. Out: devices by key. Promises: an update is one
//! transaction, synced when it returns; readers never wait for a writer. A table that cannot be
//! opened is moved aside as `*.broken` and begun anew: it is a cache, its origin has the truth.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use weir_models::device::Device;
use weir_models::limit::{META_ENTRIES_MAX, NAME_BYTES_MAX};

const DEVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("devices");
const ALIASES: TableDefinition<'_, &str, &str> = TableDefinition::new("aliases");
const FACTS: TableDefinition<'_, &str, i64> = TableDefinition::new("facts");
const IN_STEP: &str = "in_step_us";
/// The page cache of the table; the hot entries are cached above it, decoded.
const CACHE_BYTES: usize = 1024 * 1024;

/// A change to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The device is as told; an older `updated_us` than what is known is ignored.
    Put(Device),
    /// The device with this key (`site/device`) is gone.
    Delete(String),
}

/// The table could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error(
    "metadata cache `{path}`: {source}; check the disk under it, or delete the file: it is fetched anew"
)]
pub struct TableError {
    path: PathBuf,
    #[source]
    source: Box<redb::Error>,
}

/// Devices on disk.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    db: Database,
    version: AtomicU64,
    in_step_us: AtomicI64,
    in_step_saved_us: AtomicI64,
}

impl Table {
    /// Opens the table, or begins it.
    ///
    /// # Errors
    /// When the folder cannot be written. Damaged content is no error.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let open = || Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let db = match open() {
            Ok(db) => db,
            Err(
                damaged @ (redb::DatabaseError::Storage(_)
                | redb::DatabaseError::UpgradeRequired(_)),
            ) if path.exists() => {
                let aside = path.with_extension("broken");
                tracing::error!(path = %path.display(), aside = %aside.display(), error = %damaged,
                    "the metadata cache is damaged: put aside, and fetched anew");
                // When it cannot be moved either, opening again says why.
                let _ = std::fs::rename(path, &aside);
                open().map_err(|error| failed(path, error))?
            }
            Err(error) => return Err(failed(path, error)),
        };
        Self::of(path, db)
    }

    /// A table that ends with its process: for whoever must not touch the agent's.
    ///
    /// # Errors
    /// When memory is short.
    pub fn in_memory() -> Result<Self, TableError> {
        let path = Path::new("(in memory)");
        let backend = redb::backends::InMemoryBackend::new();
        let db = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        Self::of(path, db.map_err(|error| failed(path, error))?)
    }

    fn of(path: &Path, db: Database) -> Result<Self, TableError> {
        let table = Self {
            path: path.into(),
            db,
            version: AtomicU64::new(0),
            in_step_us: AtomicI64::new(0),
            in_step_saved_us: AtomicI64::new(0),
        };
        let saved = table.begin().map_err(|error| failed(path, error))?;
        table.in_step_us.store(saved, Ordering::Relaxed);
        table.in_step_saved_us.store(saved, Ordering::Relaxed);
        Ok(table)
    }

    /// Makes the tables and reads when the cache was last in step.
    fn begin(&self) -> Result<i64, redb::Error> {
        let write = self.db.begin_write()?;
        write.open_table(DEVICES)?;
        write.open_table(ALIASES)?;
        let saved = write.open_table(FACTS)?.get(IN_STEP)?.map_or(0, |saved| saved.value());
        write.commit()?;
        Ok(saved)
    }

    /// The device under `site/name`, where name is its own or an alias. A read error is a miss and
    /// is logged: enrichment never stops the line.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Device> {
        match self.read(key) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot read the metadata cache");
                None
            }
        }
    }

    fn read(&self, key: &str) -> Result<Option<Device>, redb::Error> {
        let read = self.db.begin_read()?;
        let devices = read.open_table(DEVICES)?;
        let json = match devices.get(key)? {
            Some(json) => Some(json),
            None => match read.open_table(ALIASES)?.get(key)? {
                Some(owner) => devices.get(owner.value())?,
                None => None,
            },
        };
        Ok(json.and_then(|json| serde_json::from_slice(json.value()).ok()))
    }

    /// Applies all updates as one transaction. Returns how many changed something.
    ///
    /// # Errors
    /// When the table cannot be written; nothing is changed then.
    pub fn apply(&self, updates: &[Update]) -> Result<usize, TableError> {
        let changed = self.write(updates).map_err(|error| failed(&self.path, error))?;
        if changed > 0 {
            self.version.fetch_add(1, Ordering::Release);
        }
        Ok(changed)
    }

    fn write(&self, updates: &[Update]) -> Result<usize, redb::Error> {
        let write = self.db.begin_write()?;
        let mut changed = 0;
        {
            let mut devices = write.open_table(DEVICES)?;
            let mut aliases = write.open_table(ALIASES)?;
            for update in updates {
                let key = match update {
                    Update::Put(device) => device.key(),
                    Update::Delete(key) => key.clone(),
                };
                let known: Option<Device> =
                    devices.get(key.as_str())?.and_then(|v| serde_json::from_slice(v.value()).ok());
                if let (Update::Put(new), Some(known)) = (update, &known)
                    && (new.updated_us < known.updated_us || new == known)
                {
                    continue;
                }
                for alias in known.iter().flat_map(|known| &known.aliases) {
                    let alias = format!("{}/{alias}", site_of(&key));
                    // Another device may have taken the alias since.
                    if aliases.get(alias.as_str())?.is_some_and(|owner| owner.value() == key) {
                        aliases.remove(alias.as_str())?;
                    }
                }
                match update {
                    Update::Put(device) => {
                        let device = bounded(device);
                        let json = serde_json::to_vec(&device).unwrap_or_default();
                        devices.insert(key.as_str(), json.as_slice())?;
                        for alias in &device.aliases {
                            aliases.insert(
                                format!("{}/{alias}", device.site).as_str(),
                                key.as_str(),
                            )?;
                        }
                    }
                    Update::Delete(_) => {
                        devices.remove(key.as_str())?;
                    }
                }
                changed += 1;
            }
        }
        write.commit()?;
        Ok(changed)
    }

    /// Notes that the cache is in step with its origin now. On disk at most once a minute.
    pub fn in_step(&self, now_us: i64) {
        const SAVE_US: i64 = 60_000_000;
        self.in_step_us.store(now_us, Ordering::Relaxed);
        if now_us.saturating_sub(self.in_step_saved_us.load(Ordering::Relaxed)) < SAVE_US {
            return;
        }
        self.in_step_saved_us.store(now_us, Ordering::Relaxed);
        let save = || -> Result<(), redb::Error> {
            let write = self.db.begin_write()?;
            write.open_table(FACTS)?.insert(IN_STEP, now_us)?;
            write.commit()?;
            Ok(())
        };
        if let Err(error) = save() {
            tracing::warn!(path = %self.path.display(), %error, "cannot write the metadata cache");
        }
    }

    /// When the cache was last in step with its origin, microseconds since the Unix epoch.
    #[must_use]
    pub fn in_step_us(&self) -> i64 {
        self.in_step_us.load(Ordering::Relaxed)
    }

    /// Rises with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// How many devices are known.
    #[must_use]
    pub fn len(&self) -> u64 {
        let count = || -> Result<u64, redb::Error> {
            Ok(self.db.begin_read()?.open_table(DEVICES)?.len()?)
        };
        count().unwrap_or(0)
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys of all devices, for what a file no longer names.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn keys(&self) -> Result<Vec<String>, TableError> {
        let keys = || -> Result<Vec<String>, redb::Error> {
            let devices = self.db.begin_read()?.open_table(DEVICES)?;
            devices.iter()?.map(|row| Ok(row?.0.value().to_owned())).collect()
        };
        keys().map_err(|error| failed(&self.path, error))
    }
}

fn failed(path: &Path, error: impl Into<redb::Error>) -> TableError {
    TableError { path: path.into(), source: Box::new(error.into()) }
}

fn site_of(key: &str) -> &str {
    key.split_once('/').map_or(key, |(site, _)| site)
}

/// The device within our limits: what is above them is left out, longest names first to go.
fn bounded(device: &Device) -> Device {
    let mut device = device.clone();
    device.aliases.retain(|alias| alias.len() <= NAME_BYTES_MAX);
    device.aliases.truncate(META_ENTRIES_MAX);
    device
        .meta
        .retain(|name, value| name.len() <= NAME_BYTES_MAX && value.len() <= 4 * NAME_BYTES_MAX);
    while device.meta.len() > META_ENTRIES_MAX {
        device.meta.pop_last();
    }
    device
}
