//! Release: models in files and in the topic of models.
//!
//! In: sealed models. Out: files named by what they are for; records with the key `kind/site/device/metric`, of which the
//! newest is in force; and what is in force now. Promises: what is published is read back first by the code that gateways
//! run, and rises in its version or is marked as a roll-back. What can go wrong: Kafka is away ([`ReleaseError`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use sha2::{Digest, Sha256};
use weir_models::central::{Central, Head, Kind, OpenError, PublicKey, Version};

use crate::consume::scan::{From, scan};

/// Most bytes of the topic, also of what is overtaken.
const READ_BYTES_MAX: usize = 512 << 20;

/// A model cannot be had or published.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReleaseError {
    #[error("cannot read the model `{0}`: {1}; name a file that `weir-sink train` wrote")]
    File(String, std::io::Error),
    #[error("cannot write the model `{0}`: {1}; let `--out` name a folder that can be written")]
    Write(String, std::io::Error),
    #[error("`{0}`: {1}")]
    Open(String, OpenError),
    #[error(
        "cannot read the topic `{0}`: {1}; check `[kafka]`, and whether `weir-sink migrate` made the topic"
    )]
    Topic(String, String),
}

/// Records of the topic of models, by key: the newest value of each, none where it was withdrawn.
pub(super) type Records = BTreeMap<String, Vec<u8>>;

/// The name of the file of a model: what it is for in letters that every system takes, and enough of a hash to keep
/// two apart that look alike then.
pub(super) fn file_name(kind: Kind, head: &Head) -> String {
    let key = head.key(kind);
    let plain = key.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' => c,
        _ => '-',
    });
    let plain: String = plain.take(100).collect();
    let hash = Sha256::digest(key.as_bytes());
    format!("{plain}-{:02x}{:02x}{:02x}-{}.model", hash[0], hash[1], hash[2], head.version)
}

/// Writes a sealed model into `folder`: under another name first, so that it shows up whole or not at all.
pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, ReleaseError> {
    let path = folder.join(name);
    let half = folder.join(format!(".{name}.part"));
    let write = || {
        std::fs::create_dir_all(folder)?;
        std::fs::write(&half, bytes)?;
        std::fs::File::open(&half)?.sync_all()?;
        std::fs::rename(&half, &path)
    };
    write().map_err(|error| ReleaseError::Write(path.display().to_string(), error))?;
    Ok(path)
}

/// Reads a model from a file and opens it.
pub(super) fn read(file: &str, keys: &[PublicKey]) -> Result<(Vec<u8>, Central), ReleaseError> {
    let bytes = std::fs::read(file).map_err(|error| ReleaseError::File(file.into(), error))?;
    let central = Central::open(&bytes, keys, Version::own())
        .map_err(|error| ReleaseError::Open(file.into(), error))?;
    Ok((bytes, central))
}

/// All that is in force: reads the topic from its beginning to the end it has now.
pub(super) fn records(
    connection: &BTreeMap<String, String>,
    topic: &str,
) -> Result<Records, ReleaseError> {
    let failed = |why: &dyn std::fmt::Display| ReleaseError::Topic(topic.into(), why.to_string());
    let mut records = Records::new();
    let mut read_bytes = 0;
    let each = |record: &BorrowedMessage<'_>| {
        let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
        read_bytes += key.len() + record.payload_len();
        match record.payload() {
            Some(value) => records.insert(key, value.to_vec()),
            None => records.remove(&key),
        };
        read_bytes <= READ_BYTES_MAX
    };
    scan(connection, topic, From::Beginning, each).map_err(|error| failed(&error))?;
    if read_bytes > READ_BYTES_MAX {
        return Err(failed(&"it holds more than 512 MiB: find out who writes to it"));
    }
    Ok(records)
}
