//! Reading a TOML configuration: the errors name file, line, key and the nearest known key.
//!
//! In: text. Out: the program's own struct, or a [`ConfigError`]. The struct refuses unknown keys
//! (`deny_unknown_fields`), because a misspelt key that is silently ignored is found at 3 a.m. in
//! an outage. Keys that hold more than one word put their unit last.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A configuration that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}{}", place(*line, *column), hint.as_ref().map(|h| format!("\n  hint: {h}")).unwrap_or_default())]
pub struct ConfigError {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1; 0 when the error is about the whole file.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(":{line}:{column}") }
}

impl ConfigError {
    /// An error about the whole file, for what only the sum of the keys shows.
    #[must_use]
    pub fn whole(file: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

/// Reads `text`, which came from `file`.
///
/// # Errors
/// On TOML that is no TOML, unknown or missing keys and values of the wrong kind.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let (line, column) = line_and_column(text, offset);
        ConfigError {
            file: file.into(),
            line,
            column,
            message: error.message().trim().replace('\n', " "),
            hint: nearest_hint(error.message()),
        }
    })
}

/// Where the byte `offset` of `text` is, both from 1.
#[must_use]
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&b| b != b'\n').count() + 1;
    (line, column)
}

/// From serde's "unknown field `x`, expected one of `a`, `b`" the key that was probably meant.
fn nearest_hint(message: &str) -> Option<String> {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let known: Vec<&str> = names.collect();
    nearest(unknown, &known).map(|nearest| format!("did you mean `{nearest}`?"))
}

/// The one of `known` that was probably meant by `unknown`, if one is near enough.
#[must_use]
pub fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let nearest = known.iter().min_by_key(|name| distance(unknown, name))?;
    (distance(unknown, nearest) <= nearest.len().div_ceil(2)).then_some(*nearest)
}

/// Edit distance with swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if swap { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[a.len()][b.len()]
}

/// A secret in a file or an environment variable; never in the configuration itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretRef {
    /// File that holds the secret; white space at its end is not part of it.
    pub file: Option<String>,
    /// Environment variable that holds the secret.
    pub env: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretPlace {
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    env: Option<String>,
}

// By hand, because the derived error would show a secret that somebody wrote down in place of a table.
impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Place;
        impl<'de> serde::de::Visitor<'de> for Place {
            type Value = SecretRef;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table with either `file` or `env`")
            }
            fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<SecretRef, E> {
                Err(E::custom(
                    "a secret does not stand here: write { file = \"PATH\" } or { env = \"NAME\" }",
                ))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<SecretRef, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                let SecretPlace { file, env } = SecretPlace::deserialize(map)?;
                Ok(SecretRef { file, env })
            }
        }
        deserializer.deserialize_any(Place)
    }
}

/// A secret that does not show itself in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl SecretRef {
    /// Fetches the secret with the given readers of files and of environment variables.
    ///
    /// # Errors
    /// Says which file or variable is missing; never shows a secret.
    pub fn resolve(
        &self,
        read_file: impl Fn(&str) -> std::io::Result<String>,
        read_env: impl Fn(&str) -> Option<String>,
    ) -> Result<Secret, String> {
        match (&self.file, &self.env) {
            (Some(file), None) => read_file(file)
                .map(|text| Secret::new(text.trim_end()))
                .map_err(|error| format!("cannot read the secret file `{file}`: {error}")),
            (None, Some(name)) => read_env(name)
                .map(Secret::new)
                .ok_or_else(|| format!("environment variable `{name}` is not set")),
            _ => Err("a secret needs either `file` or `env`".into()),
        }
    }
}

#[cfg(test)]
mod tests;
