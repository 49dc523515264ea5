//! The shape of a configuration, seen from serde's side: which keys its types ask for, and what for.
//!
//! In: a type that can be read. Out: its [`Node`]. The type is read again and again, each time with one key
//! only on the way down to the place that is looked at; there what it asks for is noted, and reading fails.
//! So no value has to be made up, and types that check their values are seen as any other.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

/// What may stand at a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// A table, as the struct of this name has it: these keys and no others.
    Table(&'static str, Vec<(&'static str, Node)>),
    /// A table with any keys.
    Map(Box<Node>),
    List(Box<Node>),
    Bool,
    Integer,
    Number,
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Its type looks at what is there, and decides then.
    Any,
}

/// A key of a table.
pub(super) struct Key {
    /// The names down to it, with dots between; `[]` behind a list, `*` for any name.
    pub(super) way: String,
    pub(super) name: &'static str,
    pub(super) node: Node,
    /// The struct that it is a field of, and all fields of that.
    pub(super) table: &'static str,
    pub(super) siblings: Vec<&'static str>,
}

/// The shape of `T`.
pub(super) fn shape<'de, T: Deserialize<'de>>() -> Node {
    explore::<T>(&mut Vec::new())
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Key(&'static str),
    Inside,
}

/// What was asked for at the end of a way.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Table(&'static str, &'static [&'static str]),
    Map,
    List,
    Choice(&'static [&'static str]),
    Leaf(Leaf),
}

#[derive(Debug, Clone, Copy)]
enum Leaf {
    Bool,
    Integer,
    Number,
    Text,
    Any,
}

fn explore<'de, T: Deserialize<'de>>(way: &mut Vec<Step>) -> Node {
    let asked = RefCell::new(None);
    // That it fails is how it ends.
    let _ = T::deserialize(Tracer { way, asked: &asked });
    let asked = asked.into_inner().unwrap_or_else(|| panic!("nothing was asked for at {way:?}"));
    let mut below = |step| {
        way.push(step);
        let node = explore::<T>(way);
        way.pop();
        node
    };
    match asked {
        Asked::Table(name, keys) => {
            Node::Table(name, keys.iter().map(|key| (*key, below(Step::Key(key)))).collect())
        }
        Asked::Map => Node::Map(Box::new(below(Step::Inside))),
        Asked::List => Node::List(Box::new(below(Step::Inside))),
        Asked::Choice(words) => Node::Choice(words),
        Asked::Leaf(Leaf::Bool) => Node::Bool,
        Asked::Leaf(Leaf::Integer) => Node::Integer,
        Asked::Leaf(Leaf::Number) => Node::Number,
        Asked::Leaf(Leaf::Text) => Node::Text,
        Asked::Leaf(Leaf::Any) => Node::Any,
    }
}

impl Node {
    /// As a JSON schema; `about` says what is known of the key at a way of names, `[]` for inside a list.
    pub(super) fn schema(&self, way: &str, about: &dyn Fn(&str) -> Option<String>) -> Value {
        let mut schema = match self {
            Self::Table(_, keys) => {
                let below = |key: &str| {
                    if way.is_empty() { key.to_owned() } else { format!("{way}.{key}") }
                };
                let one = |(key, node): &(&str, Self)| {
                    ((*key).to_owned(), node.schema(&below(key), about))
                };
                let properties: Map<String, Value> = keys.iter().map(one).collect();
                json!({ "type": "object", "additionalProperties": false, "properties": properties })
            }
            Self::Map(inner) => {
                json!({ "type": "object", "additionalProperties": inner.schema(&format!("{way}.*"), about) })
            }
            Self::List(inner) => {
                json!({ "type": "array", "items": inner.schema(&format!("{way}[]"), about) })
            }
            Self::Bool => json!({ "type": "boolean" }),
            Self::Integer => json!({ "type": "integer" }),
            Self::Number => json!({ "type": "number" }),
            Self::Text => json!({ "type": "string" }),
            Self::Choice(words) => json!({ "enum": words }),
            Self::Any => json!({}),
        };
        if let Some(about) = about(way) {
            schema["description"] = about.into();
        }
        schema
    }

    /// Every key, in the order of the code.
    pub(super) fn keys(&self, way: &str, found: &mut Vec<Key>) {
        match self {
            Self::Table(table, keys) => {
                for (name, node) in keys {
                    let way =
                        if way.is_empty() { (*name).to_owned() } else { format!("{way}.{name}") };
                    let siblings = keys.iter().map(|(name, _)| *name).collect();
                    found.push(Key { way: way.clone(), name, node: node.clone(), table, siblings });
                    node.keys(&way, found);
                }
            }
            Self::Map(inner) => inner.keys(&format!("{way}.*"), found),
            Self::List(inner) => inner.keys(&format!("{way}[]"), found),
            _ => {}
        }
    }

    /// Whether a value of a document may stand here, or where not.
    pub(super) fn takes(&self, way: &str, value: &toml::Value) -> Result<(), String> {
        use toml::Value as Toml;
        match (self, value) {
            (Self::Table(_, keys), Toml::Table(table)) => {
                table.iter().try_for_each(|(key, value)| {
                    let below = format!("{way}.{key}");
                    let node = keys.iter().find(|(known, _)| known == key);
                    let (_, node) = node.ok_or_else(|| format!("{below} is not known"))?;
                    node.takes(&below, value)
                })
            }
            (Self::Map(inner), Toml::Table(table)) => table
                .iter()
                .try_for_each(|(key, value)| inner.takes(&format!("{way}.{key}"), value)),
            (Self::List(inner), Toml::Array(items)) => {
                items.iter().try_for_each(|item| inner.takes(&format!("{way}[]"), item))
            }
            (Self::Bool, Toml::Boolean(_))
            | (Self::Integer, Toml::Integer(_))
            | (Self::Number, Toml::Integer(_) | Toml::Float(_))
            | (Self::Text, Toml::String(_))
            | (Self::Any, _) => Ok(()),
            (Self::Choice(words), Toml::String(word)) if words.contains(&word.as_str()) => Ok(()),
            _ => Err(format!("{way} is no {self:?}: {value:?}")),
        }
    }
}

/// How reading ends.
#[derive(Debug)]
struct End;

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seen enough")
    }
}

impl std::error::Error for End {}

impl de::Error for End {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Self
    }
}

struct Tracer<'a> {
    way: &'a [Step],
    asked: &'a RefCell<Option<Asked>>,
}

impl Tracer<'_> {
    /// Notes what is asked for at the end of the way; goes on elsewhere.
    fn at(self, asked: Asked) -> Result<(Step, Self), End> {
        match self.way.split_first() {
            Some((step, way)) => Ok((*step, Self { way, asked: self.asked })),
            None => {
                *self.asked.borrow_mut() = Some(asked);
                Err(End)
            }
        }
    }

    fn leaf<T>(self, leaf: Leaf) -> Result<T, End> {
        self.at(Asked::Leaf(leaf))?;
        Err(End)
    }
}

macro_rules! leaves {
    ($($leaf:ident: $($method:ident)*;)*) => {
        $($(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, End> {
            self.leaf(Leaf::$leaf)
        })*)*
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = End;

    leaves! {
        Bool: deserialize_bool;
        Integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
            deserialize_u32 deserialize_u64;
        Number: deserialize_f32 deserialize_f64;
        Text: deserialize_char deserialize_str deserialize_string deserialize_identifier;
        Any: deserialize_any deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_ignored_any;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, End> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &str,
        visitor: V,
    ) -> Result<V::Value, End> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &str, _: V) -> Result<V::Value, End> {
        self.leaf(Leaf::Any)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, End> {
        let (_, inside) = self.at(Asked::List)?;
        visitor.visit_seq(Once { key: "", value: Some(inside) })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, End> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, End> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, End> {
        let (_, inside) = self.at(Asked::Map)?;
        visitor.visit_map(Once { key: "any", value: Some(inside) })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, End> {
        match self.at(Asked::Table(name, keys))? {
            (Step::Key(key), value) => visitor.visit_map(Once { key, value: Some(value) }),
            (Step::Inside, _) => Err(End),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &str,
        words: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, End> {
        self.at(Asked::Choice(words))?;
        Err(End)
    }
}

/// A table of one key, or a list of one item.
struct Once<'a> {
    key: &'static str,
    value: Option<Tracer<'a>>,
}

impl<'de> MapAccess<'de> for Once<'_> {
    type Error = End;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, End> {
        if self.value.is_none() {
            return Ok(None);
        }
        seed.deserialize(BorrowedStrDeserializer::new(self.key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, End> {
        seed.deserialize(self.value.take().ok_or(End)?)
    }
}

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = End;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, End> {
        let Some(value) = self.value.take() else { return Ok(None) };
        seed.deserialize(value).map(Some)
    }
}
