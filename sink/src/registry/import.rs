//! Import: a list of devices as changes.
//!
//! In: CSV text. Out: a report: which lines make a device, change one, change nothing, cannot be. Promises: without
//! `dry_run` each line that can be is sent, as a patch of what is known; the same list again changes nothing. A
//! dry run says the same and sends nothing. What can go wrong: the list cannot be read at all ([`Invalid`]); Kafka or
//! the store fail half-way: then the same list is sent again.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use utoipa::ToSchema;
use weir_models::device::Device;
use weir_models::limit::NAME_BYTES_MAX;
use weir_models::time::now_us;

use super::body::check_text;
use super::csv::{self, Row};
use super::sent::Place;
use super::{Condition, DeviceBody, Invalid, Registry, RegistryError, Wish, differences};
use crate::store::StoreError;

/// Largest list taken, in bytes.
pub(crate) const IMPORT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most lines that a report tells one by one.
pub(super) const TOLD_MAX: usize = 1_000;
/// Devices that are changed at once; an acknowledgement is worth waiting for together.
const AT_ONCE: usize = 256;

/// What became, or would become, of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ImportReport {
    /// Whether nothing was sent, as was asked for.
    pub(crate) dry_run: bool,
    /// Lines of devices that were not known.
    pub(crate) created: usize,
    /// Lines that change what is known of a device.
    pub(crate) changed: usize,
    /// Lines that say what is known already.
    pub(crate) unchanged: usize,
    /// Lines that cannot be; the others are not held up by them.
    pub(crate) refused: usize,
    /// The first 1,000 lines that make or change a device.
    pub(crate) changes: Vec<ImportedLine>,
    /// The first 1,000 lines that cannot be.
    pub(crate) errors: Vec<RefusedLine>,
}

/// A line that makes or changes a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ImportedLine {
    /// The line, from 1.
    pub(crate) line: usize,
    /// Site.
    pub(crate) site: String,
    /// Device.
    pub(crate) device: String,
    /// Whether the device was not known.
    pub(crate) created: bool,
    /// The fields that become others: `aliases`, `meta.NAME`, `units.METRIC`.
    pub(crate) fields: Vec<String>,
}

/// A line that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RefusedLine {
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

/// A place to import a list.
pub(crate) struct Import<'a> {
    registry: &'a Arc<Registry>,
    _place: tokio::sync::SemaphorePermit<'a>,
}

/// What becomes of one line.
struct Planned {
    line: usize,
    is_new: bool,
    row: Row,
    /// As far as there is room in the report.
    told: Option<ImportedLine>,
}

type Known = HashMap<Place, Device>;

impl Registry {
    /// A place for an import; none while another one runs.
    pub(crate) fn import(self: &Arc<Self>) -> Option<Import<'_>> {
        let place = self.importing.try_acquire().ok()?;
        Some(Import { registry: self, _place: place })
    }
}

impl Import<'_> {
    pub(super) fn registry(&self) -> &Arc<Registry> {
        self.registry
    }

    /// Imports the list, or with `dry_run` says what would become of it.
    ///
    /// # Errors
    /// When the list cannot be read, or the store or Kafka fail.
    pub(crate) async fn run(
        self,
        text: String,
        dry_run: bool,
        by: Option<&str>,
    ) -> Result<ImportReport, RegistryError> {
        // Computing for long on a thread of the runtime would hold up other requests.
        let (rows, mut report) = apart(move || {
            let mut report = ImportReport { dry_run, ..ImportReport::default() };
            let rows = read(&text, &mut report)?;
            Ok((rows, report))
        })
        .await?;
        let known = self.known(&rows).await?;
        let (planned, mut report) = apart(move || {
            let planned = plan(rows, &known, &mut report);
            Ok((planned, report))
        })
        .await?;
        if dry_run {
            planned.into_iter().for_each(|plan| report.take(plan));
        } else {
            let sends = stream::iter(planned).map(|plan| self.send(plan, by));
            let mut sent = sends.buffered(AT_ONCE);
            while let Some(outcome) = sent.try_next().await? {
                match outcome {
                    Sent::Changed(plan) => report.take(plan),
                    Sent::Unchanged => report.unchanged += 1,
                    Sent::Refused(line, why) => report.refuse(line, why.to_string()),
                }
            }
        }
        report.errors.sort_by_key(|error| error.line);
        report.errors.truncate(TOLD_MAX);
        Ok(report)
    }

    /// What is known of the devices that the list names.
    async fn known(&self, rows: &[(usize, Row)]) -> Result<Known, RegistryError> {
        let mut stored: HashMap<&str, HashMap<String, Device>> = HashMap::new();
        let mut known = HashMap::new();
        for (_, row) in rows {
            if !stored.contains_key(&*row.site) {
                let devices = self.registry.store.devices(&row.site).await?;
                let devices = devices.into_iter().map(|device| (device.device.clone(), device));
                stored.insert(&row.site, devices.collect());
            }
            let stored = stored.get_mut(&*row.site).and_then(|site| site.remove(&row.device));
            let place = (row.site.clone(), row.device.clone());
            let now = self.registry.sent().look(&place, stored, now_us());
            if let Some(current) = now.current {
                known.insert(place, current);
            }
        }
        Ok(known)
    }

    /// Applies a line to what is known by now: somebody may have said something since it was planned.
    async fn send(&self, plan: Planned, by: Option<&str>) -> Result<Sent, RegistryError> {
        let (row, any) = (&plan.row, Condition::default());
        let wish = Wish::Merge(row.patch());
        match self.registry.change(&row.site, &row.device, wish, &any, by).await {
            Ok((_, true)) => Ok(Sent::Changed(plan)),
            Ok((_, false)) => Ok(Sent::Unchanged),
            Err(RegistryError::Invalid(why)) => Ok(Sent::Refused(plan.line, why)),
            Err(error) => Err(error),
        }
    }
}

/// What became of a line.
enum Sent {
    Changed(Planned),
    Unchanged,
    Refused(usize, Invalid),
}

/// Computes on a thread where that holds up nobody.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
) -> Result<T, RegistryError> {
    let broke_off = |error: tokio::task::JoinError| StoreError::Retry(error.to_string());
    tokio::task::spawn_blocking(work).await.map_err(broke_off)?
}

/// The lines of a list that name a device that can be.
fn read(text: &str, report: &mut ImportReport) -> Result<Vec<(usize, Row)>, RegistryError> {
    let hint = "send CSV in UTF-8 with a first line like `site,device,aliases,meta.hall,units.temperature`, \
                50,000 lines and 4,000,000 cells at most: a longer list in parts";
    let unreadable = |why: String| RegistryError::from(Invalid::new(why, hint));
    let mut first = HashMap::new();
    let mut rows = Vec::new();
    for line in csv::read(text).map_err(unreadable)? {
        let (line, row) = line.map_err(unreadable)?;
        match row.and_then(|row| sound(line, row, &mut first)) {
            Ok(row) => rows.push((line, row)),
            Err(why) => report.refuse(line, why),
        }
    }
    Ok(rows)
}

/// Whether there can be such a device.
pub(super) fn check_names(site: &str, device: &str) -> Result<(), String> {
    for (what, name) in [("site", site), ("device", device)] {
        let sound = check_text(name, 1, NAME_BYTES_MAX);
        sound.map_err(|error| format!("{what}: {error}"))?;
    }
    if site.contains('/') {
        return Err("the site contains a slash, which only a device may have".to_owned());
    }
    Ok(())
}

/// The row, when it names a device that can be, and for the first time.
fn sound(line: usize, row: Row, first: &mut HashMap<Place, usize>) -> Result<Row, String> {
    check_names(&row.site, &row.device)?;
    match first.insert((row.site.clone(), row.device.clone()), line) {
        None => Ok(row),
        Some(before) => Err(format!("the device stands in line {before} already")),
    }
}

/// What becomes of each line; those that change nothing are counted.
fn plan(rows: Vec<(usize, Row)>, known: &Known, report: &mut ImportReport) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (line, row) in rows {
        let (site, device) = (row.site.clone(), row.device.clone());
        let base = known.get(&(site.clone(), device.clone()));
        let body = base.map(DeviceBody::of).unwrap_or_default();
        let record = match body.patched(&row.patch()) {
            Ok(body) => body.record(&site, &device),
            Err(error) => {
                report.refuse(line, error.to_string());
                continue;
            }
        };
        let (is_new, fields) = (base.is_none(), differences(base, Some(&record)));
        if !is_new && fields.is_empty() {
            report.unchanged += 1;
            continue;
        }
        let told = ImportedLine { line, site, device, created: is_new, fields };
        let told = (planned.len() < TOLD_MAX).then_some(told);
        planned.push(Planned { line, is_new, row, told });
    }
    planned
}

impl ImportReport {
    pub(super) fn refuse(&mut self, line: usize, message: String) {
        self.refused += 1;
        self.errors.push(RefusedLine { line, message });
        // They come in the order of lines, twice: when they are read, and when they are planned.
        if self.errors.len() >= 3 * TOLD_MAX {
            self.errors.sort_by_key(|error| error.line);
            self.errors.truncate(TOLD_MAX);
        }
    }

    fn take(&mut self, plan: Planned) {
        if plan.is_new {
            self.created += 1;
        } else {
            self.changed += 1;
        }
        self.changes.extend(plan.told);
    }
}
