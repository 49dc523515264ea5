//! What the code says of each key: the comment above the field that it is read into.
//!
//! In: the sources of the programs. Out: the structs in them, with their fields' comments. A struct is known
//! by its name and its fields, since some share a name.

use std::fs;
use std::path::Path;

/// A struct of the sources: its name, its fields and what is said of each.
pub(super) struct Described {
    name: String,
    fields: Vec<(String, String)>,
}

/// All structs of these folders of the project.
pub(super) fn read(folders: &[&str]) -> Vec<Described> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for folder in folders {
        walk(&root.join(folder), &mut found);
    }
    found
}

fn walk(folder: &Path, found: &mut Vec<Described>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            structs(&fs::read_to_string(path).unwrap(), found);
        }
    }
}

/// The structs of a file, laid out as rustfmt does.
fn structs(text: &str, found: &mut Vec<Described>) {
    let mut open: Option<Described> = None;
    let mut comment = String::new();
    for line in text.lines() {
        let code = line.trim();
        let named = |code: &'_ str| {
            let after = code.strip_prefix("pub ").unwrap_or(code);
            let after = after
                .strip_prefix("pub(crate) ")
                .or(after.strip_prefix("pub(super) "))
                .unwrap_or(after);
            after.to_owned()
        };
        if let Some(described) = &mut open {
            if line == "}" {
                found.extend(open.take());
            } else if let Some(text) = code.strip_prefix("///") {
                comment = format!("{comment} {}", text.trim());
            } else if let Some((field, _)) = named(code).split_once(':')
                && field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            {
                let said = comment.trim().replace("[`", "`").replace("`]", "`");
                described.fields.push((field.to_owned(), said));
                comment.clear();
            }
        } else if let Some(rest) = named(line).strip_prefix("struct ")
            && let Some(name) = rest.strip_suffix(" {")
        {
            open = Some(Described { name: name.to_owned(), fields: Vec::new() });
            comment.clear();
        }
    }
}

/// What is said of a key in the struct of that name that has all of these fields.
pub(super) fn of(all: &[Described], name: &str, fields: &[&str], key: &str) -> Option<String> {
    let has = |described: &&Described| {
        let known = |field: &&str| described.fields.iter().any(|(name, _)| name == field);
        described.name == name && fields.iter().all(known)
    };
    let described = all.iter().find(has)?;
    let (_, said) = described.fields.iter().find(|(field, _)| field == key)?;
    (!said.is_empty()).then(|| said.clone())
}

#[test]
fn comments_belong_to_their_fields() {
    let mut found = Vec::new();
    let text = "/// No field.\npub struct Config {\n    /// One [`Link`]\n    /// and more.\n    #[serde(default)]\n    \
                pub a: u8,\n    pub b: Vec<u8>,\n}\nstruct Config {\n    /// Another.\n    a: u8,\n    c: u8,\n}\n";
    structs(text, &mut found);
    let of = |fields: &[&str], key| of(&found, "Config", fields, key);
    assert_eq!(of(&["a", "b"], "a").as_deref(), Some("One `Link` and more."));
    assert_eq!(of(&["a", "b"], "b"), None);
    assert_eq!(of(&["a", "c"], "a").as_deref(), Some("Another."));
    assert_eq!(of(&["a", "d"], "a"), None);
}
