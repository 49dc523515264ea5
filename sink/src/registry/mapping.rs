//! Mapping: what the columns of somebody else's list are to us. Pure.
//!
//! In: `COLUMN=FIELD` and `FIELD=TEXT` as a person writes them; rows of cells in the order of the columns. Out: of each
//! row the device that it names and a JSON merge patch, as a line of CSV gives them. Promises: a cell that is null takes
//! away what is known, one that is not there leaves it; a whole map that is null says nothing (an empty one is null in
//! Cassandra). What can go wrong: a field that is none, one that is there
//! twice, neither site nor device (nothing is read then); a cell that cannot be that field (the row is named, the
//! others are taken).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::csv::{Column, split};

/// What a row has in a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Nothing is said of it.
    Absent,
    /// It is said to be nothing.
    Null,
    Text(String),
    List(Vec<String>),
    Map(Vec<(String, String)>),
    /// What cannot be a text, and why.
    Other(String),
}

/// A device and what is to become of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) site: String,
    pub(crate) device: String,
    pub(crate) patch: Value,
}

/// A row, from 1, with what it says or why it cannot be.
pub(crate) type Mapped = (usize, Result<Entry, String>);

/// What a column is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    One(Column),
    /// All entries of `meta`, or of `units`.
    All(&'static str),
}

impl Field {
    fn of(name: &str) -> Result<Self, String> {
        match name {
            "meta" => Ok(Self::All("meta")),
            "units" => Ok(Self::All("units")),
            _ => Column::of(name).map(Self::One),
        }
    }
}

/// Which column is which field.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    columns: Vec<String>,
    fields: Vec<Field>,
    set: Vec<(Field, String)>,
}

impl Mapping {
    /// Of `COLUMN=FIELD`, and of `FIELD=TEXT` for what is the same in all rows. Without any of the first kind, columns
    /// have the names that the fields have.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(crate) fn parse(maps: &[String], set: &[String]) -> Result<Self, String> {
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        for map in maps {
            // A name of a column may have any sign.
            let (column, field) = map
                .rsplit_once('=')
                .filter(|(column, _)| !column.is_empty())
                .ok_or_else(|| format!("`--map {map}` is not COLUMN=FIELD, as `hall=meta.hall`"))?;
            columns.push(column.to_owned());
            fields.push(Field::of(field).map_err(|why| format!("`--map {map}`: {why}"))?);
        }
        let pair = |text: &String| {
            let pair = text.split_once('=').filter(|(_, value)| !value.is_empty());
            let (field, value) =
                pair.ok_or_else(|| format!("`--set {text}` is not FIELD=TEXT, as `site=plant`"))?;
            match Field::of(field).map_err(|why| format!("`--set {text}`: {why}"))? {
                Field::All(_) => Err(format!("`--set {text}`: name one entry, as `meta.hall=B`")),
                field => Ok((field, value.to_owned())),
            }
        };
        let set: Vec<_> = set.iter().map(pair).collect::<Result<_, _>>()?;
        if maps.is_empty() {
            for name in ["site", "device", "aliases", "meta", "units"] {
                let field = Field::of(name)?;
                if !set.iter().any(|(known, _)| *known == field) {
                    columns.push(name.to_owned());
                    fields.push(field);
                }
            }
        }
        let mapping = Self { columns, fields, set };
        mapping.check()?;
        Ok(mapping)
    }

    fn check(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for field in self.fields.iter().chain(self.set.iter().map(|(field, _)| field)) {
            if !seen.insert(field) {
                let shown = match field {
                    Field::One(column) => column.name(),
                    Field::All(name) => (*name).to_owned(),
                };
                return Err(format!("`{shown}` is said twice: by `--map` or `--set`, and once"));
            }
        }
        for (column, name) in [(Column::Site, "site"), (Column::Device, "device")] {
            if !seen.contains(&Field::One(column)) {
                return Err(format!(
                    "nothing says what the {name} is: `--map COLUMN={name}`, or `--set {name}=TEXT` where it is the same for all"
                ));
            }
        }
        Ok(())
    }

    /// The columns that are asked for.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// What a row says; its cells are in the order of [`Self::columns`].
    pub(crate) fn entry(&self, cells: Vec<Cell>) -> Result<Entry, String> {
        let mut entry = Entry { site: String::new(), device: String::new(), patch: Value::Null };
        let mut patch = Map::new();
        for (field, text) in &self.set {
            put(&mut entry, &mut patch, field, Cell::Text(text.clone()))?;
        }
        for ((column, field), cell) in self.columns.iter().zip(&self.fields).zip(cells) {
            put(&mut entry, &mut patch, field, cell).map_err(|why| format!("`{column}`: {why}"))?;
        }
        entry.patch = Value::Object(patch);
        Ok(entry)
    }
}

fn put(
    entry: &mut Entry,
    patch: &mut Map<String, Value>,
    field: &Field,
    cell: Cell,
) -> Result<(), String> {
    if let Cell::Other(why) = cell {
        return Err(why);
    }
    match field {
        Field::One(Column::Site) => entry.site = text(cell)?.unwrap_or_default(),
        Field::One(Column::Device) => entry.device = text(cell)?.unwrap_or_default(),
        Field::One(Column::Aliases) => {
            let aliases = match cell {
                Cell::Absent => return Ok(()),
                Cell::List(aliases) => aliases,
                cell => split(&text(cell)?.unwrap_or_default())?,
            };
            patch.insert("aliases".into(), json!(aliases));
        }
        Field::One(Column::Meta(_) | Column::Units(_)) if cell == Cell::Absent => {}
        Field::One(Column::Meta(name)) => {
            part(patch, "meta")[name] = value(text(cell)?);
        }
        Field::One(Column::Units(metric)) => {
            part(patch, "units")[metric] = value(text(cell)?);
        }
        // What a map does not have it says nothing of.
        Field::All(field) => match cell {
            Cell::Absent | Cell::Null => {}
            Cell::Map(pairs) => {
                for (name, text) in pairs {
                    part(patch, field)[name] = value(Some(text));
                }
            }
            _ => return Err(format!("`{field}` takes a map; for one entry say `{field}.NAME`")),
        },
    }
    Ok(())
}

fn part<'a>(patch: &'a mut Map<String, Value>, field: &str) -> &'a mut Value {
    patch.entry(field).or_insert_with(|| json!({}))
}

/// An empty text takes away, as an empty cell of CSV does.
fn value(text: Option<String>) -> Value {
    text.filter(|text| !text.is_empty()).map_or(Value::Null, Value::String)
}

fn text(cell: Cell) -> Result<Option<String>, String> {
    match cell {
        Cell::Text(text) => Ok(Some(text)),
        Cell::Absent | Cell::Null => Ok(None),
        Cell::List(_) => Err("a list can only be `aliases`".into()),
        Cell::Map(_) => Err("a map can only be `meta` or `units`".into()),
        Cell::Other(why) => Err(why),
    }
}

/// The cells of a JSON object, in the order of `columns`.
pub(crate) fn cells(object: &Value, columns: &[String]) -> Vec<Cell> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    };
    let cell = |value: &Value| match value {
        Value::Null => Cell::Null,
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(scalar).collect();
            items.map_or_else(|| Cell::Other("a list in a list cannot be".into()), Cell::List)
        }
        Value::Object(pairs) => {
            // As in a merge patch: null takes away.
            let text =
                |value: &Value| if value.is_null() { Some(String::new()) } else { scalar(value) };
            let pairs: Option<Vec<_>> =
                pairs.iter().map(|(name, value)| Some((name.clone(), text(value)?))).collect();
            pairs.map_or_else(|| Cell::Other("an object in an object cannot be".into()), Cell::Map)
        }
        value => scalar(value).map_or(Cell::Null, Cell::Text),
    };
    columns.iter().map(|name| object.get(name).map_or(Cell::Absent, cell)).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn mapping(maps: &[&str], set: &[&str]) -> Result<Mapping, String> {
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        Mapping::parse(&own(maps), &own(set))
    }

    #[test]
    fn a_row_becomes_a_patch() {
        let maps =
            ["name=device", "hall=meta.hall", "unit=units.temp", "hosts=aliases", "all=meta"];
        let mapping = mapping(&maps, &["site=plant", "meta.source=erp"]).unwrap();
        assert_eq!(mapping.columns(), ["name", "hall", "unit", "hosts", "all"]);
        let text = |text: &str| Cell::Text(text.into());
        let all = Cell::Map(vec![("line".into(), "4".into()), ("old".into(), String::new())]);
        let row = vec![text("p1"), text("B"), Cell::Null, Cell::List(vec!["Pump 4".into()]), all];
        let entry = mapping.entry(row).unwrap();
        let patch = json!({
            "meta": {"source": "erp", "hall": "B", "line": "4", "old": null},
            "units": {"temp": null}, "aliases": ["Pump 4"],
        });
        assert_eq!((&*entry.site, &*entry.device, &entry.patch), ("plant", "p1", &patch));
        // What is not there is left as it is; a list may be a text, too.
        let row = vec![text("p1"), Cell::Absent, Cell::Absent, text("a \"b c\""), Cell::Null];
        let patch = json!({"meta": {"source": "erp"}, "aliases": ["a", "b c"]});
        assert_eq!(mapping.entry(row).unwrap().patch, patch);
    }

    #[test]
    fn a_mapping_that_cannot_be_is_told() {
        for (maps, set, part) in [
            (&["name"][..], &[][..], "is not COLUMN=FIELD"),
            (&["=device"], &[], "is not COLUMN=FIELD"),
            (&["a=device", "b=hall"], &["site=x"], "`hall` is no column"),
            (&["a=device", "b=device"], &["site=x"], "`device` is said twice"),
            (&["a=device", "b=site"], &["site=x"], "`site` is said twice"),
            (&["a=device"], &[], "nothing says what the site is"),
            (&["a=site"], &[], "nothing says what the device is"),
            (&["a=device"], &["site"], "is not FIELD=TEXT"),
            (&["a=device"], &["site=x", "meta=x"], "name one entry"),
        ] {
            let error = mapping(maps, set).unwrap_err();
            assert!(error.contains(part), "{maps:?} {set:?}: {error}");
        }
    }

    #[test]
    fn a_cell_that_cannot_be_names_its_column() {
        let mapping = mapping(&["n=device", "h=meta.hall", "m=meta"], &["site=x"]).unwrap();
        let row = |hall: Cell, meta: Cell| vec![Cell::Text("d".into()), hall, meta];
        for (row, part) in [
            (row(Cell::List(vec![]), Cell::Null), "`h`: a list can only be `aliases`"),
            (row(Cell::Map(vec![]), Cell::Null), "`h`: a map can only be"),
            (row(Cell::Null, Cell::Text("B".into())), "`m`: `meta` takes a map"),
            (row(Cell::Other("a blob".into()), Cell::Null), "`h`: a blob"),
        ] {
            let error = mapping.entry(row).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn records_have_the_names_of_the_fields_where_nobody_maps_them() {
        let mapping = mapping(&[], &["site=x"]).unwrap();
        let record = json!({"device": "d", "aliases": ["a", 7], "meta": {"n": 4, "gone": null},
                            "units": null, "updated_us": 9, "site": "left aside"});
        let entry = mapping.entry(cells(&record, mapping.columns())).unwrap();
        assert_eq!((&*entry.site, &*entry.device), ("x", "d"));
        let patch = json!({"aliases": ["a", "7"], "meta": {"n": "4", "gone": null}});
        assert_eq!(entry.patch, patch);
        let deep = json!({"device": "d", "meta": {"n": {"m": 1}}});
        let error = mapping.entry(cells(&deep, mapping.columns())).unwrap_err();
        assert!(error.contains("`meta`: an object in an object"), "{error}");
    }
}
