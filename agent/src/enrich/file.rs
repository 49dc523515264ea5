//! Devices from CSV and JSON files.
//!
//! In: the text of a file. CSV: a header line with `site`, `device`, optionally `aliases`
//! (separated by blanks) and `unit:METRIC`; every other column is metadata. JSON: an array of
//! devices, or one device a line, in the form of `weir.metadata`. Out: devices. One bad line
//! refuses the file and is named: half a file would look like deleted devices.

use std::path::Path;

use weir_models::device::Device;

/// A metadata file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read the metadata file `{0}`: {1}")]
    Read(String, std::io::Error),
    /// A line is not as it should be.
    #[error("metadata file `{file}`, line {line}: {reason}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Reads all devices of a file; `site` is taken where a line names none, `updated_us` is the
/// file's modification time.
///
/// # Errors
/// When the file cannot be read or one line is wrong.
pub fn read_devices(path: &Path, site: &str) -> Result<Vec<Device>, FileError> {
    let name = path.display().to_string();
    let read = |error| FileError::Read(name.clone(), error);
    let text = std::fs::read_to_string(path).map_err(read)?;
    let modified = std::fs::metadata(path).and_then(|meta| meta.modified()).map_err(read)?;
    let updated_us = modified
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    parse_devices(&text, site, updated_us).map_err(|(line, reason)| FileError::Line {
        file: name,
        line,
        reason,
    })
}

/// The devices that the text of a file tells; `site` is taken where a line names none.
///
/// # Errors
/// The line that is wrong, from 1, and what is wrong with it.
pub(crate) fn parse_devices(
    text: &str,
    site: &str,
    updated_us: i64,
) -> Result<Vec<Device>, (usize, String)> {
    let is_json = text.trim_start().starts_with(['{', '[']);
    let mut devices = if is_json { parse_json(text) } else { parse_csv(text) }?;
    for device in &mut devices {
        if device.site.is_empty() {
            site.clone_into(&mut device.site);
        }
        device.updated_us = updated_us;
    }
    Ok(devices)
}

fn parse_json(text: &str) -> Result<Vec<Device>, (usize, String)> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| (error.line(), error.to_string()));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| serde_json::from_str(line).map_err(|error| (i + 1, error.to_string())))
        .collect()
}

fn parse_csv(text: &str) -> Result<Vec<Device>, (usize, String)> {
    let mut rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, header)) = rows.next() else { return Ok(Vec::new()) };
    let columns = split_csv(header).map_err(|reason| (1, reason))?;
    if !columns.iter().any(|column| column == "device") {
        return Err((1, "the header needs a column `device`".into()));
    }
    let mut devices = Vec::new();
    for (i, row) in rows {
        let cells = split_csv(row).map_err(|reason| (i + 1, reason))?;
        if cells.len() != columns.len() {
            let reason = format!("{} cells, but the header has {}", cells.len(), columns.len());
            return Err((i + 1, reason));
        }
        let mut device = Device::default();
        for (column, cell) in columns.iter().zip(cells) {
            match column.as_str() {
                "site" => device.site = cell,
                "device" => device.device = cell,
                "aliases" => device.aliases = cell.split_whitespace().map(Into::into).collect(),
                _ if cell.is_empty() => {}
                column => match column.strip_prefix("unit:") {
                    Some(metric) => drop(device.units.insert(metric.into(), cell)),
                    None => drop(device.meta.insert(column.into(), cell)),
                },
            }
        }
        if device.device.is_empty() {
            return Err((i + 1, "the cell of `device` is empty".into()));
        }
        devices.push(device);
    }
    Ok(devices)
}

/// Splits one line as RFC 4180 says, but for line breaks inside quotes.
fn split_csv(line: &str) -> Result<Vec<String>, String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        let cell = cells.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cells[cell].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells[cell].push(c),
        }
    }
    if quoted { Err("a quote is not closed".into()) } else { Ok(cells) }
}
