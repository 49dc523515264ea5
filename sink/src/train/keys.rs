//! Keys: makes and reads the key that signs models.
//!
//! In: a path. Out: a PEM file with a PKCS#8 Ed25519 key (RFC 8410) that its owner alone may read, and the public key that
//! agents pin. Promises: an existing file is never overwritten.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use weir_models::central::{BadKey, SigningKey};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
const LINE: usize = 64;

/// The key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error(
        "cannot write the key `{0}`: {1}; name a file that does not exist, in a folder that does"
    )]
    Write(String, std::io::Error),
    #[error("cannot read the key `{0}`: {1}; make one with `weir-sink keys new FILE`")]
    Read(String, std::io::Error),
    #[error("`{0}`: {1}")]
    Bad(String, BadKey),
    #[error("the system gives no random numbers; try again")]
    Random,
}

/// Makes a key and writes it to `file`.
pub(super) fn new(file: &str) -> Result<SigningKey, KeyError> {
    let document =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
    let text = BASE64.encode(document.as_ref());
    let lines: Vec<_> = text.as_bytes().chunks(LINE).map(String::from_utf8_lossy).collect();
    let pem = format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"));
    let key = parse(file, &pem)?;
    let write = || {
        let mut options = OpenOptions::new();
        let mut out = options.write(true).create_new(true).mode(0o600).open(file)?;
        out.write_all(pem.as_bytes())?;
        out.sync_all()
    };
    write().map_err(|error| KeyError::Write(file.into(), error))?;
    Ok(key)
}

/// Reads the key in `file`.
pub(super) fn read(file: &str) -> Result<SigningKey, KeyError> {
    let pem = std::fs::read_to_string(file).map_err(|error| KeyError::Read(file.into(), error))?;
    parse(file, &pem)
}

fn parse(file: &str, pem: &str) -> Result<SigningKey, KeyError> {
    let bad = || KeyError::Bad(file.into(), BadKey::Private);
    let (_, rest) = pem.split_once(BEGIN).ok_or_else(bad)?;
    let (body, _) = rest.split_once(END).ok_or_else(bad)?;
    let text: String = body.split_whitespace().collect();
    let der = BASE64.decode(text).map_err(|_| bad())?;
    SigningKey::from_pkcs8(&der).map_err(|error| KeyError::Bad(file.into(), error))
}
