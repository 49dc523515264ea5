//! Token: what a client shows, and the hash by which we know it.
//!
//! In: random bytes of the system, or the text of a hash. Out: a token, its hash. Promises: a hash is compared in a
//! time that does not tell how much of it was right, and hides in `Debug`.
//!
//! The hash is a plain SHA-256, and that is right *because* we draw the tokens: 256 random bits cannot be guessed
//! or looked up in a table, so that the salt and the slow computation that passwords need would protect nothing
//! here. They would only cost each request, and whoever sends wrong tokens could keep the sink busy with them.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{self, Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use weir_models::config::Secret;

/// What every token begins with, so that a search for lost secrets finds it.
pub(super) const PREFIX: &str = "weir_";
/// What every hash begins with.
const ALGORITHM: &str = "sha256:";
const BYTES: usize = 32;

/// Draws a token.
///
/// # Errors
/// When the system has no random bytes.
pub(super) fn draw() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
}

/// The SHA-256 of a token: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; BYTES]);

/// What stands in place of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// The token itself, which is a secret no more.
    #[error(
        "this is a token and not its hash: whoever reads this file has it now; make a new one with `weir-sink token new` and write its hash here"
    )]
    Token,
    /// The hash of an empty text.
    #[error(
        "this is the hash of nothing: everybody would have the token; make one with `weir-sink token new`"
    )]
    Empty,
    /// Something else.
    #[error("a hash is `sha256:` and 64 hexadecimal digits, as `weir-sink token new` prints it")]
    Form,
}

impl TokenHash {
    /// The hash of `token`.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    pub(super) fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Compares all bytes, whatever the first ones say.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(other.0).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl FromStr for TokenHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        if text.starts_with(PREFIX) {
            return Err(BadHash::Token);
        }
        let digits = text.strip_prefix(ALGORITHM).ok_or(BadHash::Form)?.as_bytes();
        if digits.len() != 2 * BYTES {
            return Err(BadHash::Form);
        }
        let mut bytes = [0; BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(BadHash::Form);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| BadHash::Form)?;
        }
        let hash = Self(bytes);
        if hash == Self::of("") { Err(BadHash::Empty) } else { Ok(hash) }
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALGORITHM)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hash>")
    }
}

// By hand, because an error must not show what stands there: it may be the token.
impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = TokenHash;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a hash")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TokenHash, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_drawn_anew_each_time_and_has_256_bits() {
        let (one, two) = (draw().unwrap(), draw().unwrap());
        assert_ne!(one.expose(), two.expose());
        let random = one.expose().strip_prefix("weir_").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(random).unwrap().len(), 32);
    }

    #[test]
    fn a_hash_is_that_of_the_whole_token_and_comes_back_from_its_text() {
        let hash = TokenHash::of("abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash.clone()));
        assert_eq!(text.to_uppercase().replace("SHA256", "sha256").parse(), Ok(hash.clone()));
        assert!(hash.is_same(&TokenHash::of("abc")) && !hash.is_same(&TokenHash::of("abd")));
        assert_eq!(format!("{hash:?}"), "<hash>");
    }

    #[test]
    fn what_is_no_hash_is_refused_and_not_shown() {
        let digits = "0123456789abcdef".repeat(4);
        for (text, expected) in [
            (draw().unwrap().expose().to_owned(), BadHash::Token),
            (digits.clone(), BadHash::Form),
            (format!("sha256:{}", &digits[1..]), BadHash::Form),
            (format!("sha256:{digits}0"), BadHash::Form),
            (format!("sha256:{}", digits.replace('e', "g")), BadHash::Form),
            (format!("sha256:{}", digits.replace("ab", "ä")), BadHash::Form),
            (format!("sha512:{digits}"), BadHash::Form),
            (TokenHash::of("").to_string(), BadHash::Empty),
            (String::new(), BadHash::Form),
        ] {
            assert_eq!(text.parse::<TokenHash>(), Err(expected), "{text}");
            let error = serde_json::from_value::<TokenHash>(text.clone().into()).unwrap_err();
            assert!(text.is_empty() || !error.to_string().contains(&text), "{error}");
        }
    }
}
