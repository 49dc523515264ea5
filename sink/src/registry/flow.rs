//! Flow: rows of any number as changes, as they come.
//!
//! In: a stream of devices and patches. Out: the same report as of a list. Promises: only the rows that are being changed
//! are held ([`AT_ONCE`]), and of each device before them a number, so that one which comes again is refused; the same
//! rows again change nothing. What can go wrong: whoever gives the rows, the store or Kafka fail half-way; then no more rows
//! are taken, what is under way is waited for and reported, the error says after how many rows, and the same import again
//! goes on from there.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future;
use futures_util::stream::{Stream, StreamExt as _};
use sha2::{Digest, Sha256};

use super::import::{Import, ImportReport, ImportedLine, TOLD_MAX, check_names};
use super::mapping::{Entry, Mapped};
use super::{Condition, DeviceBody, Registry, RegistryError, Wish, differences};

/// Rows that are changed at once.
const AT_ONCE: usize = 256;
/// Most rows of an import; each is remembered by 16 bytes.
pub(crate) const ROWS_MAX: usize = 1_000_000;

/// What became of a row.
enum Became {
    Changed(ImportedLine),
    Unchanged,
    Refused(usize, String),
}

impl Import<'_> {
    /// Imports rows as they come, or with `dry_run` says what would become of them. With the report of all rows that were
    /// done comes what failed, after how many rows, and what to do.
    pub(crate) async fn flow(
        self,
        rows: impl Stream<Item = Result<Mapped, String>> + Send,
        dry_run: bool,
        by: &str,
    ) -> (ImportReport, Result<(), String>) {
        let mut report = ImportReport { dry_run, ..ImportReport::default() };
        let mut seen = HashSet::new();
        let registry = self.registry();
        let broken = AtomicBool::new(false);
        let changes = rows
            .take_while(|_| future::ready(!broken.load(Ordering::Relaxed)))
            .map(|row| row.and_then(|(row, entry)| Ok((row, first(&mut seen, row, entry)?))))
            .map(|row| async move {
                let (row, entry) = row?;
                one(registry, row, entry, dry_run, by).await
            })
            .buffered(AT_ONCE);
        let mut changes = std::pin::pin!(changes);
        let (mut done, mut failed) = (0, None);
        while let Some(became) = changes.next().await {
            match became {
                Ok(became) => {
                    report.note(became);
                    done += 1;
                }
                Err(why) => {
                    broken.store(true, Ordering::Relaxed);
                    failed.get_or_insert(why);
                }
            }
        }
        report.errors.truncate(TOLD_MAX);
        let again = if dry_run {
            "nothing was sent"
        } else {
            "import it again: what is so already is not sent twice"
        };
        let ended = failed.map_or(Ok(()), |why| Err(format!("after {done} rows: {why}; {again}")));
        (report, ended)
    }
}

/// The entry, when it names a device that can be, and for the first time.
fn first(
    seen: &mut HashSet<[u8; 16]>,
    row: usize,
    entry: Result<Entry, String>,
) -> Result<Result<Entry, String>, String> {
    let entry = match entry {
        Ok(entry) => entry,
        Err(why) => return Ok(Err(why)),
    };
    if let Err(why) = check_names(&entry.site, &entry.device) {
        return Ok(Err(why));
    }
    if seen.len() >= ROWS_MAX {
        return Err(format!(
            "row {row} is one too many: at most 1,000,000 devices, the others by another import"
        ));
    }
    // A site has no slash.
    let digest = Sha256::digest(format!("{}/{}", entry.site, entry.device));
    let mut number = [0; 16];
    number.copy_from_slice(&digest[..16]);
    if seen.insert(number) {
        return Ok(Ok(entry));
    }
    let Entry { site, device, .. } = entry;
    Ok(Err(format!("the device {site}/{device} has come before: one row a device")))
}

async fn one(
    registry: &Arc<Registry>,
    row: usize,
    entry: Result<Entry, String>,
    dry_run: bool,
    by: &str,
) -> Result<Became, String> {
    let Entry { site, device, patch } = match entry {
        Ok(entry) => entry,
        Err(why) => return Ok(Became::Refused(row, why)),
    };
    let base = registry.get(&site, &device).await.map_err(|error| error.to_string())?;
    let body = base.as_ref().map(DeviceBody::of).unwrap_or_default();
    let record = match body.patched(&patch) {
        Ok(body) => body.record(&site, &device),
        Err(why) => return Ok(Became::Refused(row, why.to_string())),
    };
    let fields = differences(base.as_ref(), Some(&record));
    let created = base.is_none();
    if !created && fields.is_empty() {
        return Ok(Became::Unchanged);
    }
    if !dry_run {
        let (wish, any) = (Wish::Merge(patch), Condition::default());
        match registry.change(&site, &device, wish, &any, Some(by)).await {
            Ok((_, true)) => {}
            Ok((_, false)) => return Ok(Became::Unchanged),
            Err(RegistryError::Invalid(why)) => return Ok(Became::Refused(row, why.to_string())),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(Became::Changed(ImportedLine { line: row, site, device, created, fields }))
}

impl ImportReport {
    fn note(&mut self, became: Became) {
        match became {
            Became::Unchanged => self.unchanged += 1,
            Became::Refused(row, why) => self.refuse(row, why),
            Became::Changed(line) => {
                *if line.created { &mut self.created } else { &mut self.changed } += 1;
                if self.changes.len() < TOLD_MAX {
                    self.changes.push(line);
                }
            }
        }
    }
}
