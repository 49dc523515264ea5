//! A plan in words, for whoever has to decide at night.
//!
//! In: a plan, and the two files it was made of. Out: a line for each change, with the keys that differ
//! as they are written in the files. What may be a secret is not shown.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::{Action, Change, Part, Plan};
use crate::config::Written;

/// Longest value shown, in characters.
const VALUE_CHARS_MAX: usize = 60;
/// Settings that go to librdkafka as they are, a password perhaps among them.
const NOT_SHOWN: &str = "librdkafka";

impl Plan {
    /// The lines of a plan from the file `old` to the file `new`.
    #[must_use]
    pub fn lines(&self, old: &Written, new: &Written) -> Vec<String> {
        self.changes.iter().map(|change| line(change, old, new)).collect()
    }

    /// What follows from the plan.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.is_empty() {
            return "nothing to do: the file says what is in force".into();
        }
        let kept = match self.kept {
            0 => "No source stays as it is.".into(),
            1 => "1 source stays as it is, with its connections.".into(),
            kept => format!("{kept} sources stay as they are, with their connections."),
        };
        if self.refusals().next().is_some() {
            return format!(
                "{kept}\nA reload is refused and changes nothing: what is marked with `!` takes a restart (what \
                 was taken is in the spool, senders have to connect again). Restart the agent, or take that back."
            );
        }
        format!("{kept}\nA reload does all of this without a restart.")
    }

    /// Why a reload is refused, for the log; none when it is not.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let reason = |(part, why): (&Part, &str)| match part {
            Part::Source(name) => format!("source `{name}` takes a restart ({why})"),
            Part::Table(name) => format!("`{name}` takes a restart ({why})"),
        };
        let reasons: Vec<String> = self.refusals().map(reason).collect();
        let hint = "restart the agent, or take that back; `weir-agent plan` shows all differences";
        (!reasons.is_empty()).then(|| format!("{}: {hint}", reasons.join(", ")))
    }
}

fn line(change: &Change, old: &Written, new: &Written) -> String {
    let (what, before, after) = match &change.part {
        Part::Table(name) => {
            let what =
                if *name == "filter" { "`[[filter]]`".into() } else { format!("`[{name}]`") };
            (what, old.table.get(*name), new.table.get(*name))
        }
        Part::Source(name) => (format!("source `{name}`"), source(old, name), source(new, name)),
    };
    let keys = || {
        let mut keys = Vec::new();
        differences("", before, after, &mut keys);
        if keys.is_empty() { String::new() } else { format!(": {}", keys.join(", ")) }
    };
    // What no file shows.
    let keys_or_secret = || match keys() {
        keys if keys.is_empty() => ": its token or password is another one".into(),
        keys => keys,
    };
    let at = |table: Option<&Value>| {
        let place = ["listen", "url", "paths"].iter().find_map(|key| table?.get(*key));
        place.map(|place| format!(" ({})", shown(place))).unwrap_or_default()
    };
    match change.action {
        Action::Add => format!("+ {what} is added{}", at(after)),
        Action::Remove => format!(
            "- {what} is removed{}: what it has read goes on, its connections are closed",
            at(before)
        ),
        Action::Replace { keeps_place: true } => {
            format!(
                "* {what} starts anew on the same socket, its connections are closed{}",
                keys_or_secret()
            )
        }
        Action::Replace { keeps_place: false } => {
            format!("* {what} starts anew{}", keys_or_secret())
        }
        Action::Swap => match &change.part {
            Part::Source(_) => {
                format!("~ {what} stays as it is, its events are read differently{}", keys())
            }
            Part::Table(_) => format!("~ {what} changes between two events{}", keys()),
        },
        Action::Restart(why) => format!("! {what} takes a restart, {why}{}", keys()),
    }
}

/// The table of the source `name`.
fn source<'a>(file: &'a Written, name: &str) -> Option<&'a Value> {
    // Names that are not written down are made up by what reads the file.
    let all = file.config.source.all();
    let found = all.iter().find(|source| source.name() == name)?;
    let same_kind = all.iter().filter(|source| source.kind() == found.kind());
    let at = same_kind.take_while(|source| source.name() != name).count();
    match file.table.get("source")?.get(found.kind())? {
        Value::Array(tables) => tables.get(at),
        table => Some(table),
    }
}

/// Adds what differs below `path`.
fn differences(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<String>) {
    if before == after {
        return;
    }
    let empty = Table::new();
    let table = |value: Option<&'_ Value>| -> Option<Table> {
        match value {
            None => Some(empty.clone()),
            Some(Value::Table(table)) => Some(table.clone()),
            Some(_) => None,
        }
    };
    let is_table = [before, after].into_iter().flatten().any(Value::is_table);
    if let (true, Some(before), Some(after)) = (is_table, table(before), table(after)) {
        let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            differences(&below, before.get(key), after.get(key), found);
        }
        return;
    }
    if let Some(named) = by_name(before, after) {
        found.extend(named);
        return;
    }
    if path.split('.').next() == Some(NOT_SHOWN) {
        found.push(format!("`{path}`"));
        return;
    }
    let text = |value: Option<&Value>| value.map_or_else(|| "default".into(), shown);
    found.push(format!("`{path}` {} -> {}", text(before), text(after)));
}

/// Two lists of tables that have names, such as rules; none when they are something else.
fn by_name(before: Option<&Value>, after: Option<&Value>) -> Option<Vec<String>> {
    let none = Vec::new();
    let list = |value: Option<&Value>| match value {
        None => Some(none.clone()),
        Some(value) => value.as_array().cloned(),
    };
    let (before, after) = (list(before)?, list(after)?);
    let name = |value: &Value| Some(value.get("name")?.as_str()?.to_owned());
    let names = |list: &[Value]| list.iter().map(name).collect::<Option<Vec<_>>>();
    let (old_names, new_names) = (names(&before)?, names(&after)?);
    let mut found = Vec::new();
    for (name, rule) in new_names.iter().zip(&after) {
        match old_names.iter().position(|old| old == name) {
            None => found.push(format!("rule `{name}` is new")),
            Some(at) => {
                let mut keys = Vec::new();
                differences("", Some(&before[at]), Some(rule), &mut keys);
                if !keys.is_empty() {
                    found.push(format!("rule `{name}`: {}", keys.join(", ")));
                }
            }
        }
    }
    let gone = old_names.iter().filter(|name| !new_names.contains(name));
    found.extend(gone.map(|name| format!("rule `{name}` is gone")));
    if found.is_empty() {
        found.push("the rules come in another order".into());
    }
    Some(found)
}

/// A value as it could stand in the file, shortened.
fn shown(value: &Value) -> String {
    let text = written(value);
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX - 1).chain(['…']).collect()
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(is_it) => is_it.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(values) => {
            format!("[{}]", values.iter().map(written).collect::<Vec<_>>().join(", "))
        }
        Value::Table(table) => {
            let mut text = String::from("{");
            for (n, (key, value)) in table.iter().enumerate() {
                let comma = if n == 0 { "" } else { "," };
                // Writing to a string cannot fail.
                let _ = write!(text, "{comma} {key} = {}", written(value));
            }
            text + " }"
        }
    }
}
