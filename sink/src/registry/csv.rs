//! CSV: lists of devices as text. Pure.
//!
//! In: text as RFC 4180 says, in UTF-8, with a header line of `site`, `device` and, as far as wanted, `aliases`
//! (separated by blanks; one with blanks in double quotes), `meta.NAME`, `units.METRIC`. Out: a JSON merge patch for each line. Promises: a column that
//! is not there leaves what is known as it is, an empty cell takes it away; what [`write`] wrote comes back the same
//! (but for entries with an empty value, which a cell cannot tell from none). What can go wrong: a header that cannot
//! be (nothing is read then), a line that cannot be (it is named, the others are read).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_models::device::Device;

/// Most lines of a list.
const LINES_MAX: usize = 50_000;
/// Most cells of a list.
const CELLS_MAX: usize = 4_000_000;
/// Most columns of a list.
const COLUMNS_MAX: usize = 10_000;

/// What a column is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Site,
    Device,
    Aliases,
    Meta(String),
    Units(String),
}

impl Column {
    pub(super) fn of(name: &str) -> Result<Self, String> {
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

    pub(super) fn name(&self) -> String {
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
    columns: Arc<Vec<Column>>,
    cells: Cells,
    aliases: Vec<String>,
}

/// The cells of a line, one after the other, and where each ends: many are empty, and there may be millions.
#[derive(Clone, Debug, Default, PartialEq)]
struct Cells {
    text: String,
    ends: Vec<usize>,
}

impl Cells {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| self.text.get(begin..*end).unwrap_or_default())
    }
}

/// A line, from 1, with what it says or why it cannot be.
pub(super) type Line = (usize, Result<Row, String>);

/// Reads a list, line by line. An error among them ends it.
///
/// # Errors
/// When the header cannot be.
pub(super) fn read(text: &str) -> Result<impl Iterator<Item = Result<Line, String>>, String> {
    let mut lines = Lines::of(text);
    let nothing = "there is nothing in it: the first line has to name the columns";
    let (_, header) = lines.next().ok_or(nothing)??;
    if header.ends.len() > COLUMNS_MAX {
        return Err(format!("{} columns, 10,000 at most", header.ends.len()));
    }
    let columns: Vec<Column> = header.iter().map(Column::of).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = columns.iter().find(|column| !seen.insert(*column)) {
        return Err(format!("the column `{}` is there twice", twice.name()));
    }
    if !seen.contains(&Column::Site) || !seen.contains(&Column::Device) {
        return Err("the first line has to name the columns `site` and `device`".into());
    }
    let columns = Arc::new(columns);
    Ok(lines.map(move |read| read.map(|(line, cells)| (line, Row::of(&columns, cells)))))
}

impl Row {
    fn of(columns: &Arc<Vec<Column>>, cells: Cells) -> Result<Self, String> {
        if cells.ends.len() != columns.len() {
            let (found, named) = (cells.ends.len(), columns.len());
            return Err(format!("{found} cells, but there are {named} columns"));
        }
        let (mut site, mut device, mut aliases) = (String::new(), String::new(), Vec::new());
        for (column, cell) in columns.iter().zip(cells.iter()) {
            match column {
                Column::Site => cell.clone_into(&mut site),
                Column::Device => cell.clone_into(&mut device),
                Column::Aliases => aliases = split(cell)?,
                Column::Meta(_) | Column::Units(_) => {}
            }
        }
        Ok(Self { site, device, columns: Arc::clone(columns), cells, aliases })
    }

    /// What changes, as a JSON merge patch.
    pub(super) fn patch(&self) -> Value {
        let mut patch = Map::new();
        for (column, cell) in self.columns.iter().zip(self.cells.iter()) {
            let (field, name) = match column {
                Column::Site | Column::Device => continue,
                Column::Aliases => {
                    patch.insert("aliases".into(), json!(self.aliases));
                    continue;
                }
                Column::Meta(name) => ("meta", name),
                Column::Units(metric) => ("units", metric),
            };
            let field = patch.entry(field).or_insert_with(|| json!({}));
            field[name] = if cell.is_empty() { Value::Null } else { json!(cell) };
        }
        Value::Object(patch)
    }
}

/// The aliases of a cell: separated by blanks; one with blanks stands in double quotes, a quote in it is doubled.
pub(super) fn split(cell: &str) -> Result<Vec<String>, String> {
    let (mut aliases, mut rest) = (Vec::new(), cell.trim_start());
    while !rest.is_empty() {
        let mut alias = String::new();
        if let Some(mut within) = rest.strip_prefix('"') {
            loop {
                let (part, after) =
                    within.split_once('"').ok_or("aliases: a quote is not closed")?;
                alias.push_str(part);
                let Some(more) = after.strip_prefix('"') else {
                    rest = after;
                    break;
                };
                alias.push('"');
                within = more;
            }
            if rest.starts_with(|c: char| !c.is_whitespace()) {
                return Err("aliases: a blank is missing behind a closing quote".into());
            }
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            alias.push_str(word);
            rest = after;
        }
        aliases.push(alias);
        rest = rest.trim_start();
    }
    Ok(aliases)
}

/// An alias as [`split`] reads it.
fn shown(alias: &str) -> Cow<'_, str> {
    if alias.is_empty() || alias.starts_with('"') || alias.contains(char::is_whitespace) {
        Cow::Owned(format!("\"{}\"", alias.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(alias)
    }
}

/// The cells of each line with its number; empty lines are left out. Ends behind an error.
struct Lines<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    lines: usize,
    cells: usize,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let chars = text.trim_start_matches('\u{feff}').chars().peekable();
        Self { chars, line: 1, lines: 0, cells: 0 }
    }

    /// The next line that is not empty, and where it begins.
    fn line(&mut self) -> Result<Option<(usize, Cells)>, String> {
        let (mut cells, mut begun, mut begin) = (Cells::default(), self.line, 0);
        // Whether we are within quotes, and whether the line had some.
        let (mut within, mut quoted) = (false, false);
        while let Some(c) = self.chars.next() {
            match c {
                '"' if within && self.chars.peek() == Some(&'"') => {
                    self.chars.next();
                    cells.text.push('"');
                }
                '"' if within || cells.text.len() == begin => {
                    within = !within;
                    quoted = true;
                }
                ',' if !within => {
                    begin = cells.text.len();
                    cells.ends.push(begin);
                    if self.cells + cells.ends.len() > CELLS_MAX {
                        return Err("more than 4,000,000 cells".into());
                    }
                }
                '\r' if !within && self.chars.peek() == Some(&'\n') => {}
                '\n' if !within => {
                    self.line += 1;
                    if !cells.ends.is_empty() || !cells.text.is_empty() || quoted {
                        cells.ends.push(cells.text.len());
                        return Ok(Some((begun, cells)));
                    }
                    begun = self.line;
                }
                c => {
                    self.line += usize::from(c == '\n');
                    cells.text.push(c);
                }
            }
        }
        if within {
            return Err(format!("line {begun}: a quote is not closed"));
        }
        let is_empty = cells.ends.is_empty() && cells.text.is_empty() && !quoted;
        cells.ends.push(cells.text.len());
        Ok((!is_empty).then_some((begun, cells)))
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<(usize, Cells), String>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.line().and_then(|read| {
            let Some((line, cells)) = read else { return Ok(None) };
            self.cells += cells.ends.len();
            self.lines += 1;
            // The first one has the names.
            if self.lines > LINES_MAX + 1 {
                return Err("more than 50,000 lines".to_owned());
            }
            Ok(Some((line, cells)))
        });
        if read.is_err() {
            self.chars = "".chars().peekable();
        }
        read.transpose()
    }
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
            Column::Aliases => {
                let aliases: Vec<_> = device.aliases.iter().map(|alias| shown(alias)).collect();
                aliases.join(" ")
            }
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

    fn all(text: &str) -> Result<Vec<Line>, String> {
        read(text)?.collect()
    }

    fn row(line: &Line) -> (&str, &str, Value) {
        let row = line.1.as_ref().unwrap();
        (&row.site, &row.device, row.patch())
    }

    #[test]
    fn a_line_becomes_a_patch() {
        let text = "\u{feff}site,device,aliases,meta.hall,units.t\r\n\
                    plant,\"pump, 1\",10.0.0.7  p1,\"the \"\"big\"\" one\",K\r\n\r\nplant,p2,,,\r\n";
        let lines = all(text).unwrap();
        let first = json!({"aliases": ["10.0.0.7", "p1"], "meta": {"hall": "the \"big\" one"}, "units": {"t": "K"}});
        let second = json!({"aliases": [], "meta": {"hall": null}, "units": {"t": null}});
        let numbers: Vec<_> = lines.iter().map(|(line, _)| *line).collect();
        assert_eq!(numbers, [2, 4]);
        assert_eq!(row(&lines[0]), ("plant", "pump, 1", first));
        assert_eq!(row(&lines[1]), ("plant", "p2", second));
        // What has no column is not touched.
        assert_eq!(row(&all("device,site\nd,s").unwrap()[0]), ("s", "d", json!({})));
    }

    #[test]
    fn an_alias_with_blanks_stands_in_quotes() {
        for (cell, aliases) in [
            ("", vec![]),
            (r#" a  "Pump 4" b"c """" "#, vec!["a", "Pump 4", "b\"c", "\""]),
            ("x\u{a0}y", vec!["x", "y"]),
        ] {
            assert_eq!(split(cell).unwrap(), aliases, "{cell}");
        }
        assert!(split(r#""Pump 4"#).unwrap_err().contains("not closed"));
        assert!(split(r#""a"b"#).unwrap_err().contains("blank is missing"));
    }

    #[test]
    fn a_list_that_is_too_large_ends_early() {
        let many = format!("site,device\n{}", "a\n".repeat(8_000_000));
        let mut lines = read(&many).unwrap();
        assert_eq!(lines.by_ref().take_while(Result::is_ok).count(), 50_000);
        assert!(lines.next().is_none());
        let columns: String = (0..9_000).map(|n| format!(",meta.{n}")).collect();
        let wide =
            format!("site,device{columns}\n{}", format!("{}\n", ",".repeat(9_001)).repeat(500));
        assert_eq!(all(&wide).unwrap_err(), "more than 4,000,000 cells");
        let columns: String = (0..10_000).map(|n| format!(",meta.{n}")).collect();
        assert!(all(&format!("site,device{columns}\n")).unwrap_err().contains("10,000 at most"));
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
            let error = all(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_the_others_are_read() {
        let lines = all("site,device\na,\"b\nb\"\nc\nd,e,f\ng,h").unwrap();
        let numbers: Vec<_> = lines.iter().map(|(line, row)| (*line, row.is_ok())).collect();
        assert_eq!(numbers, [(2, true), (4, false), (5, false), (6, true)]);
        assert_eq!(lines[2].1.as_ref().unwrap_err(), "3 cells, but there are 2 columns");
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
            names in btree_map("[a-z \",\n;äß\u{feff}]{1,6}", ("[a-z.: \"\u{a0}]{1,5}", "[a-z ,\"\n]{1,5}"), 0..6),
        ) {
            let devices: Vec<Device> = names.into_iter().map(|(device, (alias, value))| Device {
                site: "s,\"".into(),
                meta: [(alias.clone(), value.clone())].into(),
                units: [(value, alias.clone())].into(),
                aliases: vec![alias],
                device,
                updated_us: 0,
            }).collect();
            let lines = all(&write(&devices)).unwrap();
            prop_assert_eq!(lines.len(), devices.len());
            for ((_, row), device) in lines.into_iter().zip(&devices) {
                let row = row.unwrap();
                prop_assert_eq!((&row.site, &row.device), (&device.site, &device.device));
                let body = super::super::DeviceBody::default();
                let mut whole = serde_json::to_value(body).unwrap();
                super::super::body::merge(&mut whole, &row.patch());
                prop_assert_eq!(&whole["aliases"], &json!(device.aliases));
                prop_assert_eq!(&whole["meta"], &json!(device.meta));
                prop_assert_eq!(&whole["units"], &json!(device.units));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-c,\"\r\n\u{feff}.]{0,60}") {
            let _ = all(&text);
            let _ = all(&format!("site,device\n{text}"));
        }
    }
}
