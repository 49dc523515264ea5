//! Import: a list of devices as changes.
//!
//! In: CSV text. Out: a report: which lines make a device, change one, change nothing, cannot be. Promises: without
//! `dry_run` each line that can be is sent, as a patch of what is known; the same list again changes nothing. A
//! dry run says the same and sends nothing. What can go wrong: the list cannot be read at all ([`Invalid`]); Kafka or
//! the store fail half-way: then the same list is sent again.

use std::collections::HashMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use utoipa::ToSchema;
use weir_models::device::Device;
use weir_models::limit::NAME_BYTES_MAX;

use super::body::check_text;
use super::csv::{self, Row};
use super::{DeviceBody, Invalid, Registry, RegistryError, differences, newest};

/// Largest list taken, in bytes.
pub(crate) const IMPORT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most lines of a list.
const LINES_MAX: usize = 50_000;
/// Most lines that a report tells one by one.
const TOLD_MAX: usize = 1_000;
/// Devices that are changed at once.
const AT_ONCE: usize = 64;

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

/// A list that is read, and a place to import it.
pub(crate) struct Import<'a> {
    registry: &'a Registry,
    _place: tokio::sync::SemaphorePermit<'a>,
}

/// What becomes of one line.
struct Planned {
    told: ImportedLine,
    row: Row,
    /// What it was planned on.
    base: Option<Device>,
    record: Device,
}

impl Registry {
    /// A place for an import; none while another one runs.
    pub(crate) fn import(&self) -> Option<Import<'_>> {
        let place = self.importing.try_acquire().ok()?;
        Some(Import { registry: self, _place: place })
    }
}

impl Import<'_> {
    /// Imports the list, or with `dry_run` says what would become of it.
    ///
    /// # Errors
    /// When the list cannot be read, or the store or Kafka fail.
    pub(crate) async fn run(
        self,
        text: &str,
        dry_run: bool,
        by: Option<&str>,
    ) -> Result<ImportReport, RegistryError> {
        let hint = "send CSV in UTF-8 with a first line like `site,device,aliases,meta.hall,units.temperature`";
        let lines = csv::read(text).map_err(|why| Invalid::new(why, hint))?;
        if lines.len() > LINES_MAX {
            let detail = format!("{} lines", lines.len());
            return Err(Invalid::new(detail, "50,000 at most: send the list in parts").into());
        }
        let mut report = ImportReport { dry_run, ..ImportReport::default() };
        let rows = sound(lines, &mut report);
        let known = self.known(&rows).await?;
        let mut planned = Vec::new();
        for (line, row) in rows {
            let current = known.get(&(row.site.clone(), row.device.clone()));
            match plan(line, row, current) {
                Ok(Some(plan)) => planned.push(plan),
                Ok(None) => report.unchanged += 1,
                Err(error) => report.refuse(line, error.to_string()),
            }
        }
        if !dry_run {
            let mut sends = Vec::with_capacity(planned.len());
            for plan in &planned {
                sends.push(self.send(plan, by));
            }
            stream::iter(sends).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        for plan in planned {
            report.take(plan.told);
        }
        report.errors.sort_by_key(|error| error.line);
        report.errors.truncate(TOLD_MAX);
        Ok(report)
    }

    /// What is known of the devices of these sites.
    async fn known(
        &self,
        rows: &[(usize, Row)],
    ) -> Result<HashMap<(String, String), Device>, RegistryError> {
        let mut known = HashMap::new();
        for (_, row) in rows {
            let place = (row.site.clone(), row.device.clone());
            if !known.contains_key(&row.site) {
                let devices = self.registry.store.devices(&row.site).await?;
                let devices = devices.into_iter().map(|device| (device.device.clone(), device));
                known.insert(row.site.clone(), devices.collect::<HashMap<String, Device>>());
            }
            let Some(devices) = known.get_mut(&row.site) else { continue };
            let mut sent = self.registry.lock(&row.device).await;
            let stored = devices.remove(&row.device);
            if let Some(now) = newest(&mut sent, &place.0, &place.1, stored) {
                devices.insert(row.device.clone(), now);
            }
        }
        let all = known.into_values().flat_map(HashMap::into_values);
        Ok(all.map(|device| ((device.site.clone(), device.device.clone()), device)).collect())
    }

    /// Sends what was planned; where somebody was faster, the line is applied to what they said.
    async fn send(&self, plan: &Planned, by: Option<&str>) -> Result<(), RegistryError> {
        let Planned { row, base, record, .. } = plan;
        let mut sent = self.registry.lock(&row.device).await;
        let current = newest(&mut sent, &row.site, &row.device, base.clone());
        let record =
            if current == *base { record.clone() } else { patched(row, current.as_ref())? };
        self.registry.send(&mut sent, record, by).await.map(drop)
    }
}

/// The lines that name a device that can be, each once.
fn sound(lines: Vec<csv::Line>, report: &mut ImportReport) -> Vec<(usize, Row)> {
    let mut first: HashMap<(String, String), usize> = HashMap::new();
    let mut rows = Vec::with_capacity(lines.len());
    for (line, row) in lines {
        let checked = row.and_then(|row| {
            for (what, name) in [("site", &row.site), ("device", &row.device)] {
                let sound = check_text(name, 1, NAME_BYTES_MAX);
                sound.map_err(|error| format!("{what}: {error}"))?;
            }
            if row.site.contains('/') {
                return Err("the site contains a slash, which only a device may have".to_owned());
            }
            let place = (row.site.clone(), row.device.clone());
            match first.insert(place, line) {
                None => Ok(row),
                Some(before) => Err(format!("the device stands in line {before} already")),
            }
        });
        match checked {
            Ok(row) => rows.push((line, row)),
            Err(why) => report.refuse(line, why),
        }
    }
    rows
}

/// The record that a line makes of what is known.
fn patched(row: &Row, current: Option<&Device>) -> Result<Device, Invalid> {
    let body = current.map(DeviceBody::of).unwrap_or_default().patched(&row.patch)?;
    let mut record = body.record(&row.site, &row.device);
    record.updated_us = current.map_or(0, |current| current.updated_us);
    Ok(record)
}

/// What becomes of a line; none where nothing changes.
fn plan(line: usize, row: Row, base: Option<&Device>) -> Result<Option<Planned>, Invalid> {
    let record = patched(&row, base)?;
    let fields = differences(base, Some(&record));
    if base.is_some() && fields.is_empty() {
        return Ok(None);
    }
    let (site, device) = (row.site.clone(), row.device.clone());
    let told = ImportedLine { line, site, device, created: base.is_none(), fields };
    Ok(Some(Planned { told, row, base: base.cloned(), record }))
}

impl ImportReport {
    fn refuse(&mut self, line: usize, message: String) {
        self.refused += 1;
        self.errors.push(RefusedLine { line, message });
    }

    fn take(&mut self, line: ImportedLine) {
        if line.created {
            self.created += 1;
        } else {
            self.changed += 1;
        }
        if self.changes.len() < TOLD_MAX {
            self.changes.push(line);
        }
    }
}
