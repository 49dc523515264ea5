//! `docs/config.md`, `docs/agent.schema.json`, `docs/sink.schema.json`: every key of the configurations.
//!
//! In: the types that the programs read, the comments in them, and what the pages `docs/agent.md` and
//! `docs/sink.md` show of each key. Out: a page for people, and JSON schemas for editors. Kept equal to the code by this test;
//! `cargo dev docs` writes them. A key that the pages do not name fails it, and so does a key or a value in
//! a page that the types do not take.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fmt::Write as _;

use expect_test::expect_file;
use serde_json::{Value, json};

mod meaning;
mod trace;

use trace::{Key, Node, shape};

const AGENT: &str = include_str!("../../docs/agent.md");
const SINK: &str = include_str!("../../docs/sink.md");
/// Has a block for each of the two; that of the agent is the one below this heading.
const MODELS: &str = include_str!("../../docs/models.md");
const ON_THE_GATEWAY: &str = "\n## On the gateway\n";

/// What a page shows of a key: a value, and what stands behind it.
#[derive(Default, Clone)]
struct Shown {
    value: String,
    about: String,
}

/// The blocks of TOML in a page, without that of `weir up`.
fn blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("\n```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    blocks.filter(|block| !block.contains("[site]")).collect()
}

/// Splits a line at the `#` that is in no text.
fn comment(line: &str) -> (&str, &str) {
    let mut in_text = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => in_text = !in_text,
            '#' if !in_text => return (line[..at].trim(), line[at + 1..].trim()),
            _ => {}
        }
    }
    (line.trim(), "")
}

/// What the blocks say of each key, by its way.
fn shown(page: &str) -> HashMap<String, Shown> {
    let mut found: HashMap<String, Shown> = HashMap::new();
    for block in blocks(page) {
        let mut table = String::new();
        for line in block.lines() {
            let (code, about) = comment(line);
            if let Some(name) = code.strip_prefix("[[") {
                table = format!("{}[]", name.trim_end_matches(']'));
            } else if let Some(name) = code.strip_prefix('[') {
                table = name.trim_end_matches(']').to_owned();
            } else if let Some((key, value)) = code.split_once(" = ") {
                let way = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
                let entry = found.entry(way).or_default();
                if entry.about.is_empty() {
                    *entry = Shown { value: value.to_owned(), about: about.to_owned() };
                }
                continue;
            }
            if !about.is_empty() && !code.is_empty() {
                found.entry(table.clone()).or_default().about = about.to_owned();
            }
        }
    }
    found
}

/// How a type is called in the page.
fn word(node: &Node) -> String {
    match node {
        Node::Table(..) => "table".into(),
        Node::Map(inner) => format!("table of {}", word(inner)),
        Node::List(inner) => format!("list of {}", word(inner)),
        Node::Bool => "true or false".into(),
        Node::Integer => "integer".into(),
        Node::Number => "number".into(),
        Node::Text => "text".into(),
        Node::Choice(words) => {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        Node::Any => "see the page".into(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A program: its name, the shape of its configuration, what its pages show.
struct Program {
    name: &'static str,
    shape: Node,
    keys: Vec<Key>,
    page: String,
    shown: HashMap<String, Shown>,
    sources: Vec<meaning::Described>,
}

impl Program {
    fn new(name: &'static str, shape: Node, page: String, folder: &str) -> Self {
        let mut keys = Vec::new();
        shape.keys("", &mut keys);
        let sources = meaning::read(&[folder, "models/src"]);
        Self { name, shape, keys, shown: shown(&page), page, sources }
    }

    /// What the code says of a key, else its page, else its page of the same key in a table beside it.
    fn meaning(&self, key: &Key) -> Option<String> {
        let said = meaning::of(&self.sources, key.table, &key.siblings, key.name);
        let shown = || self.shown.get(&key.way).map(|shown| shown.about.clone());
        let beside = || {
            let (first, last) = (key.way.split('.').next(), key.way.rsplit('.').next());
            let is_same =
                |way: &&String| (way.split('.').next(), way.rsplit('.').next()) == (first, last);
            let mut ways: Vec<&String> = self.shown.keys().filter(is_same).collect();
            ways.sort();
            ways.first().map(|way| self.shown[*way].about.clone())
        };
        said.or_else(shown).filter(|said| !said.is_empty()).or_else(beside)
    }

    fn rows(&self, out: &mut String) {
        for key in &self.keys {
            let shown = self.shown.get(&key.way).filter(|shown| !shown.value.is_empty());
            let value = shown.map(|shown| format!("`{}`", cell(&shown.value))).unwrap_or_default();
            let (kind, meaning) = (word(&key.node), cell(&self.meaning(key).unwrap_or_default()));
            writeln!(out, "| `{}` | {kind} | {value} | {meaning} |", key.way).unwrap();
        }
    }

    fn schema(&self) -> String {
        let one = |key: &Key| Some((key.way.clone(), self.meaning(key)?));
        let meanings: HashMap<String, String> = self.keys.iter().filter_map(one).collect();
        let mut schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": format!("The configuration of {}", self.name),
        });
        let rest = self.shape.schema("", &|way| meanings.get(way).cloned());
        let Value::Object(rest) = rest else { panic!("not a table") };
        schema.as_object_mut().unwrap().extend(rest);
        schema.sort_all_objects();
        serde_json::to_string_pretty(&schema).unwrap() + "\n"
    }

    /// Its pages, or those of `more`, name every key, and its own show nothing that it does not take.
    fn check(&self, more: &str) {
        let is_hidden = |key: &&Key| !names(&self.page, key.name) && !names(more, key.name);
        let hidden: Vec<&str> = self.keys.iter().filter(is_hidden).map(|key| &*key.way).collect();
        assert!(hidden.is_empty(), "{} takes what no page names: {hidden:?}", self.name);
        let is_dark = |key: &&Key| self.meaning(key).is_none();
        let dark: Vec<&str> = self.keys.iter().filter(is_dark).map(|key| &*key.way).collect();
        assert!(dark.is_empty(), "neither code nor page say what it means: {dark:?}");
        for block in blocks(&self.page) {
            let block: toml::Table = block.parse().unwrap();
            let taken = self.shape.takes(self.name, &toml::Value::Table(block));
            assert!(taken.is_ok(), "a page shows what is not taken: {taken:?}");
        }
    }
}

/// Whether a page names a key, anywhere.
fn names(page: &str, key: &str) -> bool {
    page.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key)
}

#[test]
fn generated_settings() {
    let (at_the_centre, on_the_gateway) = MODELS.split_once(ON_THE_GATEWAY).unwrap();
    let agent_pages = [AGENT, on_the_gateway].concat();
    let agent = shape::<weir_agent::config::Config>();
    let agent = Program::new("weir-agent", agent, agent_pages, "agent/src");
    agent.check("");
    let sink = shape::<weir_sink::config::Config>();
    let sink = Program::new("weir-sink", sink, [SINK, at_the_centre].concat(), "sink/src");
    // TLS, SASL and the like are told once.
    sink.check(AGENT);
    let mut out = String::from(
        "# Every key\n\n\
         Made from the code by `cargo dev docs`: how they work together stands in [agent.md](agent.md), [sink.md](sink.md) and \
         [models.md](models.md). The value is the default, or an example where there is none. `[]` stands for each table of a list, \
         `*` for a name of your own.\n\n\
         Editors that know JSON schemas complete and check with [agent.schema.json](agent.schema.json) and \
         [sink.schema.json](sink.schema.json); those that use Taplo, by `#:schema agent.schema.json` as the first line of the file. \
         What counts is `weir-agent check` and `weir-sink check`.\n",
    );
    for program in [&agent, &sink] {
        let head = "| key | type | value | meaning |\n| --- | --- | --- | --- |";
        writeln!(out, "\n## {}\n\n{head}", program.name).unwrap();
        program.rows(&mut out);
    }
    expect_file!["../../docs/config.md"].assert_eq(&out);
    expect_file!["../../docs/agent.schema.json"].assert_eq(&agent.schema());
    expect_file!["../../docs/sink.schema.json"].assert_eq(&sink.schema());
}

#[test]
fn a_shape_is_seen_whatever_its_values_may_be() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default)]
        _inner: Vec<Inner>,
        _many: std::collections::BTreeMap<String, Option<f32>>,
    }
    #[derive(serde::Deserialize)]
    #[serde(try_from = "String")]
    struct Even;
    impl TryFrom<String> for Even {
        type Error = &'static str;
        fn try_from(_: String) -> Result<Self, Self::Error> {
            Err("never")
        }
    }
    #[derive(serde::Deserialize)]
    struct Inner {
        _even: Even,
        _word: Word,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        #[allow(dead_code, reason = "only its name counts")]
        FirstOne,
    }
    let inner =
        Node::Table("Inner", vec![("_even", Node::Text), ("_word", Node::Choice(&["first_one"]))]);
    let expected = Node::Table(
        "Outer",
        vec![("_inner", Node::List(Box::new(inner))), ("_many", Node::Map(Box::new(Node::Number)))],
    );
    let shape = shape::<Outer>();
    assert_eq!(shape, expected);
    let takes = |text: &str| shape.takes("c", &toml::Value::Table(text.parse().unwrap()));
    assert_eq!(takes("_inner = [{ _word = 'first_one' }]\n_many = { a = 1 }"), Ok(()));
    assert_eq!(takes("_inner = [{ word = 1 }]"), Err("c._inner[].word is not known".into()));
    assert!(
        takes("_many = { a = 'x' }").is_err() && takes("_inner = [{ _word = 'other' }]").is_err()
    );
}
