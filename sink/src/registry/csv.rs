//! CSV: lists of devices as text. Pure.
//!
//! In: text as RFC 4180 says, in UTF-8, with a header line of `site`, `device` and, as far as wanted, `aliases`
//! (separated by blanks), `meta.NAME`, `units.METRIC`. Out: a JSON merge patch for each line. Promises: a column that
//! is not there leaves what is known as it is, an empty cell takes it away; what [`write`] wrote comes back the same
//! (but for entries with an empty value, which a cell cannot tell from none). What can go wrong: a header that cannot
//! be (nothing is read then), a line that cannot be (it is named, the others are read).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use weir_models::device::Device;

/// What a column is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Site,
    Device,
    Aliases,
    Meta(String),
    Units(String),
}

impl Column {
    fn of(name: &str) -> Result<Self, String> {
        let named = |rest: &str| (!rest.is_empty()).then(|| rest.to_owned());
        let column = match name {
            "site" => Some(Self::Site),
            "device" => Some(Self::Device),
            "aliases" => Some(Self::Aliases),
            _ => {
                let meta = name.strip_prefix("meta.").and_then(named).map(Self::Meta);
                meta.or_else(|| name.strip_prefix("units.").and_then(named).map(Self::Units))
            }
        };
        column.ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            format!(
                "`{}` is no column: there are site, device, aliases, meta.NAME and units.METRIC{}",
                shown.escape_debug(),
                if name.contains(';') { "; columns are separated by commas" } else { "" }
            )
        })
    }

    fn name(&self) -> String {
        match self {
            Self::Site => "site".into(),
            Self::Device => "device".into(),
            Self::Aliases => "aliases".into(),
            Self::Meta(name) => format!("meta.{name}"),
            Self::Units(metric) => format!("units.{metric}"),
        }
    }
}

/// What a line says of a device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) site: String,
    pub(super) device: String,
    /// What changes, as a JSON merge patch.
    pub(super) patch: Value,
}

/// A line, from 1, with what it says or why it cannot be.
pub(super) type Line = (usize, Result<Row, String>);

/// Reads a list.
///
/// # Errors
/// When the header cannot be, or nothing can be read from a line on.
pub(super) fn read(text: &str) -> Result<Vec<Line>, String> {
    let mut lines = cells(text.trim_start_matches('\u{feff}'))?.into_iter();
    let (_, header) =
        lines.next().ok_or("there is nothing in it: the first line has to name the columns")?;
    let columns: Vec<Column> =
        header.iter().map(|name| Column::of(name)).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = columns.iter().find(|column| !seen.insert(*column)) {
        return Err(format!("the column `{}` is there twice", twice.name()));
    }
    if !seen.contains(&Column::Site) || !seen.contains(&Column::Device) {
        return Err("the first line has to name the columns `site` and `device`".into());
    }
    Ok(lines.map(|(line, cells)| (line, row(&columns, cells))).collect())
}

fn row(columns: &[Column], cells: Vec<String>) -> Result<Row, String> {
    if cells.len() != columns.len() {
        return Err(format!("{} cells, but there are {} columns", cells.len(), columns.len()));
    }
    let (mut site, mut device) = (String::new(), String::new());
    let mut patch = Map::new();
    for (column, cell) in columns.iter().zip(cells) {
        let value = if cell.is_empty() { Value::Null } else { json!(cell) };
        let (field, name) = match column {
            Column::Site => {
                site = cell;
                continue;
            }
            Column::Device => {
                device = cell;
                continue;
            }
            Column::Aliases => {
                let aliases: Vec<&str> = cell.split_whitespace().collect();
                patch.insert("aliases".into(), json!(aliases));
                continue;
            }
            Column::Meta(name) => ("meta", name),
            Column::Units(metric) => ("units", metric),
        };
        let field = patch.entry(field).or_insert_with(|| json!({}));
        field[name] = value;
    }
    Ok(Row { site, device, patch: Value::Object(patch) })
}

/// The cells of each line with its number; empty lines are left out.
fn cells(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let (mut lines, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begun) = (1, 1);
    // Whether we are within quotes, and whether the cell had some.
    let (mut within, mut quoted) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if within && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if within || cell.is_empty() => {
                within = !within;
                quoted = true;
            }
            ',' if !within => row.push(std::mem::take(&mut cell)),
            '\r' if !within && chars.peek() == Some(&'\n') => {}
            '\n' if !within => {
                if !(row.is_empty() && cell.is_empty() && !quoted) {
                    row.push(std::mem::take(&mut cell));
                    lines.push((begun, std::mem::take(&mut row)));
                }
                (line, quoted) = (line + 1, false);
                begun = line;
            }
            c => {
                line += usize::from(c == '\n');
                cell.push(c);
            }
        }
    }
    if within {
        return Err(format!("line {begun}: a quote is not closed"));
    }
    if !(row.is_empty() && cell.is_empty() && !quoted) {
        row.push(cell);
        lines.push((begun, row));
    }
    Ok(lines)
}

/// Writes a list, with a column for each entry that any of the devices has.
pub(super) fn write(devices: &[Device]) -> String {
    let meta: BTreeSet<&String> = devices.iter().flat_map(|device| device.meta.keys()).collect();
    let units: BTreeSet<&String> = devices.iter().flat_map(|device| device.units.keys()).collect();
    let mut columns = vec![Column::Site, Column::Device, Column::Aliases];
    columns.extend(meta.into_iter().cloned().map(Column::Meta));
    columns.extend(units.into_iter().cloned().map(Column::Units));
    let line = |cells: Vec<String>| {
        cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n"
    };
    let mut text = line(columns.iter().map(Column::name).collect());
    for device in devices {
        let cell = |column: &Column| match column {
            Column::Site => device.site.clone(),
            Column::Device => device.device.clone(),
            Column::Aliases => device.aliases.join(" "),
            Column::Meta(name) => device.meta.get(name).cloned().unwrap_or_default(),
            Column::Units(metric) => device.units.get(metric).cloned().unwrap_or_default(),
        };
        text += &line(columns.iter().map(cell).collect());
    }
    text
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) || cell.starts_with('\u{feff}') {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_becomes_a_patch() {
        let text = "\u{feff}site,device,aliases,meta.hall,units.t\r\n\
                    plant,\"pump, 1\",10.0.0.7  p1,\"the \"\"big\"\" one\",K\r\n\r\nplant,p2,,,\r\n";
        let lines = read(text).unwrap();
        let first = json!({"aliases": ["10.0.0.7", "p1"], "meta": {"hall": "the \"big\" one"}, "units": {"t": "K"}});
        let second = json!({"aliases": [], "meta": {"hall": null}, "units": {"t": null}});
        let row = |device: &str, patch| Row { site: "plant".into(), device: device.into(), patch };
        assert_eq!(lines, [(2, Ok(row("pump, 1", first))), (4, Ok(row("p2", second)))]);
        // What has no column is not touched.
        assert_eq!(read("device,site\nd,s").unwrap()[0].1.as_ref().unwrap().patch, json!({}));
    }

    #[test]
    fn a_header_that_cannot_be_is_named() {
        for (text, part) in [
            ("", "there is nothing in it"),
            ("\n\n", "there is nothing in it"),
            ("site,hall\n", "`hall` is no column"),
            ("site;device\n", "separated by commas"),
            ("site,device,meta.\n", "`meta.` is no column"),
            ("site,device,meta.a,meta.a\n", "`meta.a` is there twice"),
            ("device,aliases\n", "`site` and `device`"),
            ("site,device\na,\"b\nc,d\n", "line 2: a quote is not closed"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_the_others_are_read() {
        let lines = read("site,device\na,\"b\nb\"\nc\nd,e,f\ng,h").unwrap();
        let numbers: Vec<_> = lines.iter().map(|(line, row)| (*line, row.is_ok())).collect();
        assert_eq!(numbers, [(2, true), (4, false), (5, false), (6, true)]);
        assert_eq!(lines[2].1.as_ref().unwrap_err(), "3 cells, but there are 2 columns");
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
            names in btree_map("[a-z \",\n;äß\u{feff}]{1,6}", ("[a-z.:]{1,5}", "[a-z ,\"\n]{1,5}"), 0..6),
        ) {
            let devices: Vec<Device> = names.into_iter().map(|(device, (alias, value))| Device {
                site: "s,\"".into(),
                meta: [(alias.clone(), value.clone())].into(),
                units: [(value, alias.clone())].into(),
                aliases: vec![alias],
                device,
                updated_us: 0,
            }).collect();
            let lines = read(&write(&devices)).unwrap();
            prop_assert_eq!(lines.len(), devices.len());
            for ((_, row), device) in lines.into_iter().zip(&devices) {
                let row = row.unwrap();
                prop_assert_eq!((&row.site, &row.device), (&device.site, &device.device));
                let body = super::super::DeviceBody::default();
                let mut whole = serde_json::to_value(body).unwrap();
                super::super::body::merge(&mut whole, &row.patch);
                prop_assert_eq!(&whole["aliases"], &json!(device.aliases));
                prop_assert_eq!(&whole["meta"], &json!(device.meta));
                prop_assert_eq!(&whole["units"], &json!(device.units));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-c,\"\r\n\u{feff}.]{0,60}") {
            let _ = read(&text);
            let _ = read(&format!("site,device\n{text}"));
        }
    }
}
