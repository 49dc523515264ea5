//! JSON as YAML for people: blocks, keys in a fixed order, quotes where they are needed.

use std::fmt::Write as _;

use serde_json::Value;

/// These go first, in this order; all others follow by name.
const FIRST: [&str; 14] = [
    "asyncapi",
    "info",
    "title",
    "name",
    "address",
    "action",
    "channel",
    "type",
    "format",
    "summary",
    "description",
    "contentType",
    "defaultContentType",
    "required",
];
/// What a reader of YAML would take for something else than text.
const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "y"];

/// The document, with a line's end at its end.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    out
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        // Empty ones only.
        Value::Object(_) => "{}".into(),
        Value::Array(_) => "[]".into(),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || " _./`()-;,".contains(c);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
        && !text.ends_with(' ')
        && !WORDS.contains(&text.to_lowercase().as_str());
    // The escapes of JSON are some of those of YAML.
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn block(out: &mut String, value: &Value, indent: usize) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort_by_key(|name| {
                (FIRST.iter().position(|first| first == name).unwrap_or(99), *name)
            });
            for name in names {
                let (key, inner) = (quoted(name), &map[name]);
                if is_block(inner) {
                    writeln!(out, "{margin}{key}:").unwrap();
                    block(out, inner, indent + 2);
                } else {
                    writeln!(out, "{margin}{key}: {}", scalar(inner)).unwrap();
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if is_block(item) {
                    let mut inner = String::new();
                    block(&mut inner, item, indent + 2);
                    writeln!(out, "{margin}- {}", inner.trim()).unwrap();
                } else {
                    writeln!(out, "{margin}- {}", scalar(item)).unwrap();
                }
            }
        }
        other => writeln!(out, "{margin}{}", scalar(other)).unwrap(),
    }
}

#[test]
fn a_document_reads_as_it_was() {
    let value = serde_json::json!({
        "title": "a", "b": [1, { "x": "no", "y": [] }, "- z"], "c": { "$ref": "#/a" }, "type": null,
        "d": [["i", 2], []],
    });
    let expected = "title: a\ntype: null\nb:\n  - 1\n  - x: \"no\"\n    \"y\": []\n  - \"- z\"\n\
                    c:\n  \"$ref\": \"#/a\"\nd:\n  - - i\n    - 2\n  - []\n";
    assert_eq!(write(&value), expected);
}
