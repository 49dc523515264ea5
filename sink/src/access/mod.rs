//! Access: who may ask the API what.
//!
//! In: the tokens of the configuration, what a request carries and which role it needs. Out: who asks, or why it
//! may not. Promises: tokens are known by their hashes only; a look-up compares all bytes of all of them, so that
//! its time tells nothing about any; nothing here shows a token, in `Debug` neither. What can go wrong: a hash
//! that is none, two tokens of one name ([`check`] says which and what to do).
//!
//! `token` is a token and its hash, `needs` the one table of what needs which role, `command` makes a token.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use weir_models::config::Secret;
use weir_models::limit::API_TOKENS_MAX;

mod command;
mod needs;
mod token;

pub(crate) use command::{TokenCommand, run_token};
pub(crate) use needs::need;
pub use token::TokenHash;

/// How the token of the key `http.token` is called.
const WHOLE_KEY: &str = "http.token";
/// Longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What a token may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Queries, the page, live records.
    Read,
    /// Also what is known of devices, and feedback on alerts.
    Devices,
    /// Everything.
    Admin,
}

impl Role {
    /// As it is written in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Devices => "devices",
            Self::Admin => "admin",
        }
    }

    /// This role and those above it, in words.
    pub(crate) fn or_above(self) -> &'static str {
        match self {
            Self::Read => "`read`, `devices` or `admin`",
            Self::Devices => "`devices` or `admin`",
            Self::Admin => "`admin`",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A token that may ask the API, `[[http.tokens]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Who has it; is noted with the changes that it makes.
    pub name: String,
    /// What it may do; each role may do what those before it may.
    pub role: Role,
    /// Its hash, as `weir-sink token new` prints it; the token itself stands nowhere.
    pub hash: TokenHash,
}

/// What is wrong with the tokens of a configuration, and what to do.
///
/// # Errors
/// The message and the hint.
pub fn check(tokens: &[TokenConfig]) -> Result<(), (String, &'static str)> {
    if tokens.len() > API_TOKENS_MAX {
        let message = format!("there are {} tables `http.tokens`", tokens.len());
        return Err((message, "256 are the most: let a proxy tell people apart"));
    }
    let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    for token in tokens {
        let name = &token.name;
        let sound = !name.trim().is_empty() && !name.chars().any(char::is_control);
        if !sound || name.len() > NAME_BYTES_MAX || name == WHOLE_KEY {
            let shown = name.chars().take(NAME_BYTES_MAX).collect::<String>();
            return Err((
                format!("`http.tokens` has the name `{}`", shown.escape_debug()),
                "a name has 1 to 64 bytes and no control characters; `http.token` is that of the key of this name",
            ));
        }
        if !names.insert(name) {
            let message = format!("two of `http.tokens` have the name `{name}`");
            return Err((
                message,
                "give each a name of its own, so that changes tell who made them",
            ));
        }
        if !hashes.insert(token.hash.bytes()) {
            let message = format!("the token `{name}` has the hash of another one");
            return Err((message, "make a token for each with `weir-sink token new`"));
        }
    }
    Ok(())
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Name of the token; none where no token was asked for.
    pub(crate) name: Option<Arc<str>>,
}

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has no token, or not as `Authorization: Bearer TOKEN`.
    Missing,
    /// Nobody has this token.
    Unknown,
    /// The token of this name may do less.
    Role {
        /// Its name.
        name: Arc<str>,
        /// What it may do.
        has: Role,
    },
}

struct Known {
    name: Arc<str>,
    role: Role,
    hash: TokenHash,
}

/// Who may use the API.
#[derive(Clone, Default)]
pub struct Access {
    known: Arc<[Known]>,
    open_reads: bool,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.known.iter().map(|known| &*known.name).collect();
        f.debug_struct("Access")
            .field("names", &names)
            .field("open_reads", &self.open_reads)
            .finish()
    }
}

impl Access {
    /// Lets in who has the token `whole`, which may do everything, or one of `tokens`; everybody when there is
    /// none at all. With `open_reads`, reading needs no token.
    #[must_use]
    pub fn new(whole: Option<&Secret>, tokens: &[TokenConfig], open_reads: bool) -> Self {
        let whole = whole.map(|secret| Known {
            name: WHOLE_KEY.into(),
            role: Role::Admin,
            hash: TokenHash::of(secret.expose()),
        });
        let others = tokens.iter().map(|token| Known {
            name: token.name.as_str().into(),
            role: token.role,
            hash: token.hash.clone(),
        });
        Self { known: whole.into_iter().chain(others).collect(), open_reads }
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether everybody may do what needs this role.
    pub(crate) fn opens(&self, need: Role) -> bool {
        self.is_open() || (self.open_reads && need == Role::Read)
    }

    /// Who asks with these headers for what needs the role `need`.
    pub(crate) fn admit(&self, need: Role, headers: &HeaderMap) -> Result<Caller, Denied> {
        if self.opens(need) {
            return Ok(Caller::default());
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = given.and_then(|text| text.split_once(' ')).ok_or(Denied::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Denied::Missing);
        }
        let known = self.find(token.trim()).ok_or(Denied::Unknown)?;
        let name = Arc::clone(&known.name);
        if known.role >= need {
            Ok(Caller { name: Some(name) })
        } else {
            Err(Denied::Role { name, has: known.role })
        }
    }

    /// The token among all of them; each is compared to its end.
    fn find(&self, token: &str) -> Option<&Known> {
        let given = TokenHash::of(token);
        self.known.iter().fold(
            None,
            |found, known| {
                if known.hash.is_same(&given) { Some(known) } else { found }
            },
        )
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn token(name: &str, role: Role, token: &str) -> TokenConfig {
        TokenConfig { name: name.into(), role, hash: TokenHash::of(token) }
    }

    fn asked(access: &Access, need: Role, given: &str) -> Result<Option<String>, Denied> {
        let value = HeaderValue::from_str(given).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        access.admit(need, &headers).map(|caller| caller.name.map(|name| name.to_string()))
    }

    #[test]
    fn a_role_may_do_what_those_below_it_may() {
        let roles = [Role::Read, Role::Devices, Role::Admin];
        let tokens = roles.map(|role| token(role.name(), role, &format!("weir_{role}")));
        let access = Access::new(Some(&Secret::new("old")), &tokens, false);
        for (place, need) in roles.into_iter().enumerate() {
            assert_eq!(asked(&access, need, "Bearer old"), Ok(Some("http.token".into())));
            for (above, role) in roles.into_iter().enumerate() {
                let answer = asked(&access, need, &format!("Bearer weir_{role}"));
                let expected = if above >= place {
                    Ok(Some(role.name().into()))
                } else {
                    Err(Denied::Role { name: role.name().into(), has: role })
                };
                assert_eq!(answer, expected, "{role} for {need}");
            }
        }
    }

    #[test]
    fn without_a_token_or_with_another_one_nobody_comes_in() {
        let access = Access::new(None, &[token("a", Role::Admin, "weir_a")], false);
        assert!(!access.is_open());
        assert_eq!(access.admit(Role::Read, &HeaderMap::new()), Err(Denied::Missing));
        for given in ["weir_a", "Basic weir_a", "Bearer"] {
            assert_eq!(asked(&access, Role::Read, given), Err(Denied::Missing), "{given}");
        }
        let hash = TokenHash::of("weir_a").to_string();
        for given in ["weir_b", "weir_", "weir_aa", "", &hash] {
            let answer = asked(&access, Role::Read, &format!("Bearer {given}"));
            assert_eq!(answer, Err(Denied::Unknown), "{given}");
        }
        assert!(asked(&access, Role::Read, "bearer  weir_a ").is_ok());
    }

    #[test]
    fn open_reads_opens_reads_only_and_no_token_at_all_opens_everything() {
        let access = Access::new(None, &[token("a", Role::Read, "weir_a")], true);
        let nobody = HeaderMap::new();
        assert_eq!(access.admit(Role::Read, &nobody), Ok(Caller::default()));
        assert_eq!(access.admit(Role::Devices, &nobody), Err(Denied::Missing));
        assert_eq!(Access::default().admit(Role::Admin, &nobody), Ok(Caller::default()));
    }

    #[test]
    fn tokens_have_names_and_hashes_of_their_own() {
        let sound = [token("a", Role::Read, "1"), token("b", Role::Read, "2")];
        assert_eq!(check(&sound), Ok(()));
        let said = |tokens: &[TokenConfig]| check(tokens).unwrap_err().0;
        let twice = [token("a", Role::Read, "1"), token("a", Role::Admin, "2")];
        assert_eq!(said(&twice), "two of `http.tokens` have the name `a`");
        let same = [token("a", Role::Read, "1"), token("b", Role::Admin, "1")];
        assert_eq!(said(&same), "the token `b` has the hash of another one");
        let long = "x".repeat(65);
        for name in ["", " ", "a\nb", "http.token", &long] {
            assert!(said(&[token(name, Role::Read, "1")]).contains("has the name"), "{name}");
        }
        let many: Vec<_> = (0..=API_TOKENS_MAX)
            .map(|n| token(&n.to_string(), Role::Read, &n.to_string()))
            .collect();
        assert!(said(&many).contains("257 tables"));
    }

    #[test]
    fn nothing_shows_a_token_or_its_hash() {
        let config = token("a", Role::Read, "weir_a");
        let access =
            Access::new(Some(&Secret::new("s3cret")), std::slice::from_ref(&config), false);
        let shown = format!("{config:?} {access:?}");
        let hash = TokenHash::of("weir_a").to_string();
        for secret in ["weir_a", "s3cret", hash.trim_start_matches("sha256:")] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("http.token"), "{shown}");
    }
}
