//! SCRAM, the client's side: RFC 5802, with SHA-256 (RFC 7677) or SHA-512, without channel binding
//! (Kafka has none).
//!
//! In: user, password, the server's two messages. Out: the client's two messages. Promises: the number of
//! rounds is bounded in both directions; the server has to prove that it knows the password.
//! User and password are sent as they are, without SASLprep (RFC 4013): Kafka does not prepare them
//! either (`ScramFormatter.normalize`), so that what was set there is what works here.

use std::num::NonZeroU32;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::{digest, hmac, pbkdf2};

use super::Step;

/// Fewer rounds are refused: RFC 7677, section 4, and Kafka's minimum.
const ROUNDS_MIN: u32 = 4_096;
/// More are refused: they would keep a small processor busy for seconds. Kafka's maximum is 16,384.
const ROUNDS_MAX: u32 = 100_000;
const NONCE_BYTES: usize = 24;
/// "n,,": no channel binding, no other identity.
const NO_BINDING: &str = "n,,";

/// The hash of the mechanism.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// A conversation.
pub(crate) struct Scram {
    hash: Hash,
    password: String,
    nonce: String,
    /// The first message without what stands before it.
    first_bare: String,
    expects: Expects,
}

enum Expects {
    Challenge,
    /// The server's signature over all messages, with the key it has from the password.
    Signature {
        key: hmac::Key,
        messages: String,
    },
    Nothing,
}

impl Scram {
    pub(super) fn new(hash: Hash, user: &str, password: &str) -> Result<Self, String> {
        let mut random = [0; NONCE_BYTES];
        getrandom::fill(&mut random).map_err(|error| format!("no random numbers: {error}"))?;
        Ok(Self::with_nonce(hash, user, password, BASE64_STANDARD.encode(random)))
    }

    fn with_nonce(hash: Hash, user: &str, password: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Self { hash, password: password.into(), nonce, first_bare, expects: Expects::Challenge }
    }

    pub(super) fn first(&self) -> Vec<u8> {
        format!("{NO_BINDING}{}", self.first_bare).into_bytes()
    }

    pub(super) fn next(&mut self, said: &[u8]) -> Result<Step, String> {
        let said =
            std::str::from_utf8(said).map_err(|_| "the broker's SCRAM message is no text")?;
        match std::mem::replace(&mut self.expects, Expects::Nothing) {
            Expects::Challenge => self.prove(said).map(Step::Send),
            Expects::Signature { key, messages } => {
                let signature = field(said, "v=", "signature")
                    .map_err(|error| said.strip_prefix("e=").map_or(error, Into::into))?;
                let signature = decode(signature, "signature")?;
                hmac::verify(&key, messages.as_bytes(), &signature).map_err(|_| {
                    "the broker does not know our password, and may not be the one it claims to be"
                })?;
                Ok(Step::Done)
            }
            Expects::Nothing => Err("the broker goes on when SCRAM is over".into()),
        }
    }

    /// The answer to the challenge `r=NONCE,s=SALT,i=ROUNDS`.
    fn prove(&mut self, challenge: &str) -> Result<Vec<u8>, String> {
        let mut fields = challenge.split(',');
        let mut next = |name: &str, what: &str| {
            field(fields.next().unwrap_or_default(), name, what).map(str::to_owned)
        };
        let nonce = next("r=", "nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker answers with a nonce that is not ours".into());
        }
        let salt = decode(&next("s=", "salt")?, "salt")?;
        let rounds = next("i=", "number of rounds")?;
        let rounds = rounds.parse().ok().filter(|n| (ROUNDS_MIN..=ROUNDS_MAX).contains(n));
        let rounds = rounds.and_then(NonZeroU32::new).ok_or_else(|| {
            format!("the broker asks for a number of SCRAM rounds outside of {ROUNDS_MIN} to {ROUNDS_MAX}: set the user's credentials anew")
        })?;

        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), rounds, &salt, self.password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(self.hash.hmac(), &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let last_bare = format!("c={},r={nonce}", BASE64_STANDARD.encode(NO_BINDING));
        let messages = format!("{},{challenge},{last_bare}", self.first_bare);
        let stored_key = hmac::Key::new(self.hash.hmac(), stored_key.as_ref());
        let signature = hmac::sign(&stored_key, messages.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();

        let server_key = hmac::sign(&salted, b"Server Key");
        let key = hmac::Key::new(self.hash.hmac(), server_key.as_ref());
        self.expects = Expects::Signature { key, messages };
        Ok(format!("{last_bare},p={}", BASE64_STANDARD.encode(proof)).into_bytes())
    }
}

fn field<'a>(text: &'a str, name: &str, what: &str) -> Result<&'a str, String> {
    text.strip_prefix(name).ok_or_else(|| format!("the broker's SCRAM message has no {what}"))
}

fn decode(text: &str, what: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|_| format!("the broker's SCRAM {what} is not base64"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// The conversation of RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    const PROOF_512: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
    const SIGNATURE_512: &str = "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";

    fn conversation(hash: Hash) -> Scram {
        Scram::with_nonce(hash, "user", "pencil", NONCE.into())
    }

    #[track_caller]
    fn said(step: Result<Step, String>) -> String {
        match step {
            Ok(Step::Send(bytes)) => String::from_utf8(bytes).unwrap(),
            Ok(Step::Done) => "done".into(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn sha_256_is_as_in_the_rfc() {
        let mut scram = conversation(Hash::Sha256);
        assert_eq!(scram.first(), format!("n,,n=user,r={NONCE}").as_bytes());
        assert_eq!(said(scram.next(CHALLENGE.as_bytes())), PROOF);
        assert_eq!(said(scram.next(SIGNATURE.as_bytes())), "done");
        assert!(scram.next(b"more").is_err());
    }

    /// No RFC has an example. This one is computed with Python's `hashlib` and `hmac` from the text
    /// of RFC 5802, section 3.
    #[test]
    fn sha_512_is_as_another_implementation_has_it() {
        let mut scram = conversation(Hash::Sha512);
        assert_eq!(said(scram.next(CHALLENGE.as_bytes())), PROOF_512);
        assert_eq!(said(scram.next(SIGNATURE_512.as_bytes())), "done");
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let mut scram = conversation(Hash::Sha256);
        said(scram.next(CHALLENGE.as_bytes()));
        let other = SIGNATURE.replace("6rri", "7rri");
        let error = scram.next(other.as_bytes()).err().unwrap();
        assert!(error.contains("does not know our password"), "{error}");
    }

    #[test]
    fn what_a_server_may_not_say() {
        #[track_caller]
        fn check(challenge: &str, expected: &str) {
            let error = conversation(Hash::Sha256).next(challenge.as_bytes()).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
        check("", "nonce");
        check("r=somebody else's,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "not ours");
        check(&format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"), "not ours");
        check(&format!("r={NONCE}x,s=???,i=4096"), "salt");
        check(&format!("r={NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ=="), "rounds");
        check(&format!("r={NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1"), "4096 to 100000");
        check(&format!("r={NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4294967295"), "4096 to 100000");
        let mut scram = conversation(Hash::Sha256);
        said(scram.next(CHALLENGE.as_bytes()));
        assert_eq!(scram.next(b"e=other-error").err().unwrap(), "other-error");
    }

    #[test]
    fn a_user_name_does_not_break_out_of_its_field() {
        let scram = Scram::with_nonce(Hash::Sha256, "a=b,c", "x", "n".into());
        assert_eq!(scram.first(), b"n,,n=a=3Db=2Cc,r=n");
    }
}
