//! The envelope of a model: the value of a record of `weir.models`, or a file.
//!
//! ```text
//! magic "WRCM" | format u16 | kind u16 | flags u8 | site, device, metric: length u16 and text | version u64
//! | valid_from_us i64 | trained_until_us i64 | min_agent 3 x u16 | features_hash 16
//! | width u16 | 8 golden rows: width x f64 in, 2 x f64 out | payload length u32 | SHA-256 of the payload
//! | Ed25519 of all before | payload
//! ```
//!
//! Numbers are little-endian. The signature stands before the payload and covers its hash. Promises: whatever the bytes
//! are, opening them ends with a model or a reason, takes no more memory than a few times their length, and believes
//! nothing before a pinned key has signed it. A version only ever rises: a roll-back is an older model under a new version,
//! so that whoever can write to the topic cannot put back what was in force once.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};

use super::bytes::{Reader, Writer};
use super::sign::SIGNATURE_BYTES;
use super::{Kind, Model, OpenError, PublicKey, SigningKey};
use crate::detect::group::CHANNELS_MAX;
use crate::limit::NAME_BYTES_MAX;
use crate::pattern::glob;

/// Most bytes of a model: a record of Kafka holds 1 MiB unless told otherwise.
pub const MODEL_BYTES_MAX: usize = 900_000;
/// Rows that come with the outputs that the trainer saw.
pub const GOLDEN_ROWS: usize = 8;
/// How far an output may be off, relative to it, or to 1 where it is smaller.
const GOLDEN_TOLERANCE: f64 = 1e-5;

const MAGIC: [u8; 4] = *b"WRCM";
const FORMAT: u16 = 1;
/// Behind magic, format and kind.
const FLAGS_AT: usize = 8;
const HASH_BYTES: usize = 32;
/// An older model that a person went back to.
const ROLLBACK: u8 = 1;
const WIDTH_MAX: usize =
    if super::FEATURES_MAX > CHANNELS_MAX { super::FEATURES_MAX } else { CHANNELS_MAX };

/// A version of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub [u16; 3]);

impl Version {
    /// Of this program.
    #[must_use]
    pub fn own() -> Self {
        env!("CARGO_PKG_VERSION").parse().unwrap_or(Self([0; 3]))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl FromStr for Version {
    type Err = OpenError;

    fn from_str(text: &str) -> Result<Self, OpenError> {
        let bad = OpenError::Value { what: "version of a program" };
        let release = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = [0; 3];
        let mut parts = release.split('.');
        for number in &mut numbers {
            let part = parts.next().and_then(|part| part.parse().ok());
            *number = part.ok_or_else(|| bad.clone())?;
        }
        if parts.next().is_none() { Ok(Self(numbers)) } else { Err(bad) }
    }
}

/// Which series a model is for; in each pattern `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Site.
    pub site: Box<str>,
    /// Device.
    pub device: Box<str>,
    /// Metric; of a group `*`.
    pub metric: Box<str>,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.site, self.device, self.metric)
    }
}

impl Scope {
    /// Whether a series is in it.
    #[must_use]
    pub fn holds(&self, site: &str, device: &str, metric: &str) -> bool {
        let parts = [(&self.site, site), (&self.device, device), (&self.metric, metric)];
        parts.into_iter().all(|(pattern, name)| glob(pattern, name))
    }
}

/// What is known of a model without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which series it is for.
    pub scope: Scope,
    /// Rises with each model of one kind and scope.
    pub version: u64,
    /// Readings before this time are not judged by it, microseconds since the Unix epoch.
    pub valid_from_us: i64,
    /// The newest reading that it was fitted to or calibrated with.
    pub trained_until_us: i64,
    /// The oldest agent that understands it.
    pub min_agent: Version,
    /// Whether a person went back to it: it is in force at once, without a trial.
    pub rollback: bool,
}

impl Head {
    /// The key of its record: one model of a kind and scope is in force.
    #[must_use]
    pub fn key(&self, kind: Kind) -> String {
        format!("{kind}/{}", self.scope)
    }
}

/// A model that was verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Central {
    /// For what, since when.
    pub head: Head,
    /// The model.
    pub model: Model,
}

impl Central {
    /// Opens an envelope: length, format, signature by one of `keys`, hash, payload, meaning of the inputs, program,
    /// golden rows, in this order.
    ///
    /// # Errors
    /// Says what is wrong and what to do.
    pub fn open(bytes: &[u8], keys: &[PublicKey], own: Version) -> Result<Self, OpenError> {
        let found = bytes.len();
        if found > MODEL_BYTES_MAX {
            return Err(OpenError::TooLarge { found, most: MODEL_BYTES_MAX });
        }
        let mut from = Reader::new(bytes);
        let outside = Outside::read(&mut from)?;
        let signed = bytes.get(..found - from.left()).unwrap_or_default();
        let signature = from.bytes(SIGNATURE_BYTES)?;
        if !keys.iter().any(|key| key.verifies(signed, signature)) {
            return Err(OpenError::Signature);
        }
        let payload = from.bytes(outside.payload_bytes)?;
        from.finish()?;
        if digest(&SHA256, payload).as_ref() != outside.payload_hash {
            return Err(OpenError::Payload);
        }
        let Outside { head, kind, .. } = outside;
        if head.min_agent > own {
            return Err(OpenError::Program { needs: head.min_agent, own });
        }
        let model = Model::decode(Kind::of(kind)?, payload)?;
        if model.features_hash() != outside.features_hash || model.width() != outside.width {
            return Err(OpenError::Features);
        }
        for (row, numbers) in outside.golden.chunks_exact(outside.width + 2).enumerate() {
            let (inputs, outputs) = numbers.split_at(outside.width);
            for (found, expected) in model.evaluate(inputs).into_iter().zip(outputs) {
                // A comparison that NaN fails.
                let close = (found - expected).abs() <= GOLDEN_TOLERANCE * expected.abs().max(1.0);
                if !close {
                    return Err(OpenError::Golden { row, found, expected: *expected });
                }
            }
        }
        Ok(Self { head, model })
    }

    /// Whether it may take the place of what runs, version `current` of the same kind and scope.
    ///
    /// # Errors
    /// When its version is not higher.
    pub fn may_replace(&self, current: u64) -> Result<(), OpenError> {
        let offered = self.head.version;
        if offered > current { Ok(()) } else { Err(OpenError::Older { offered, current }) }
    }
}

/// Makes a roll-back of an envelope: the same model under a new version, marked and signed anew. Whether it is any good
/// is seen when it is opened.
///
/// # Errors
/// When the bytes are no envelope.
pub fn mark_rollback(bytes: &[u8], version: u64, key: &SigningKey) -> Result<Vec<u8>, OpenError> {
    let mut from = Reader::new(bytes);
    let scope = Outside::read(&mut from)?.head.scope;
    let (outside, rest) = bytes.split_at(bytes.len() - from.left());
    let payload = rest.get(SIGNATURE_BYTES..).ok_or(OpenError::Length)?;
    let names = [&scope.site, &scope.device, &scope.metric];
    let version_at = FLAGS_AT + 1 + names.iter().map(|name| 2 + name.len()).sum::<usize>();
    let mut out = outside.to_vec();
    if let Some(flags) = out.get_mut(FLAGS_AT) {
        *flags |= ROLLBACK;
    }
    let number = out.iter_mut().skip(version_at).zip(version.to_le_bytes());
    number.for_each(|(to, from)| *to = from);
    let signature = key.sign(&out);
    out.extend_from_slice(&signature);
    out.extend_from_slice(payload);
    Ok(out)
}

/// All that stands before the signature.
struct Outside {
    kind: u16,
    head: Head,
    features_hash: [u8; 16],
    width: usize,
    golden: Box<[f64]>,
    payload_bytes: usize,
    payload_hash: [u8; HASH_BYTES],
}

impl Outside {
    fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        if from.take::<4>().map_err(|_| OpenError::Foreign)? != MAGIC {
            return Err(OpenError::Foreign);
        }
        let found = from.u16()?;
        if found != FORMAT {
            return Err(OpenError::Format { found, expected: FORMAT });
        }
        let kind = from.u16()?;
        let flags = from.u8()?;
        if flags & !ROLLBACK != 0 {
            return Err(OpenError::Value { what: "flag" });
        }
        let mut name = || from.text(NAME_BYTES_MAX, "bytes in a scope");
        let scope = Scope { site: name()?, device: name()?, metric: name()? };
        let head = Head {
            scope,
            version: from.u64()?,
            valid_from_us: from.i64()?,
            trained_until_us: from.i64()?,
            min_agent: Version([from.u16()?, from.u16()?, from.u16()?]),
            rollback: flags == ROLLBACK,
        };
        let features_hash = from.take()?;
        let width = from.count(WIDTH_MAX, 8, "inputs")?;
        let golden = from.f64s(GOLDEN_ROWS * (width + 2), "golden row")?;
        let payload_bytes = from.u32()? as usize;
        let payload_hash = from.take()?;
        Ok(Self { kind, head, features_hash, width, golden, payload_bytes, payload_hash })
    }
}

/// Puts a model into a signed envelope. `golden` holds rows of inputs as the model will meet them; eight of them, evenly
/// spread, go with it, and what it makes of them.
///
/// # Errors
/// When the envelope would not be taken: too large, or a name or the rows are not usable.
pub fn seal(
    head: &Head,
    model: &Model,
    golden: &[Vec<f64>],
    key: &SigningKey,
) -> Result<Vec<u8>, OpenError> {
    let width = model.width();
    if golden.len() < GOLDEN_ROWS || golden.iter().any(|row| row.len() != width) {
        return Err(OpenError::Value { what: "golden row" });
    }
    let payload = model.encode();
    let mut out = Writer(MAGIC.to_vec());
    out.u16(FORMAT);
    out.u16(model.kind() as u16);
    out.u8(if head.rollback { ROLLBACK } else { 0 });
    for name in [&head.scope.site, &head.scope.device, &head.scope.metric] {
        out.text(name);
    }
    out.u64(head.version);
    out.i64(head.valid_from_us);
    out.i64(head.trained_until_us);
    head.min_agent.0.iter().for_each(|number| out.u16(*number));
    out.0.extend_from_slice(&model.features_hash());
    out.count(width);
    for i in 0..GOLDEN_ROWS {
        let row = golden.get(i * golden.len() / GOLDEN_ROWS).map_or(&[][..], Vec::as_slice);
        out.f64s(row);
        out.f64s(&model.evaluate(row));
    }
    out.u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    out.0.extend_from_slice(digest(&SHA256, &payload).as_ref());
    let signature = key.sign(&out.0);
    out.0.extend_from_slice(&signature);
    out.0.extend_from_slice(&payload);
    // What nobody would take is not written.
    Central::open(&out.0, &[key.public()], head.min_agent.max(Version::own()))?;
    Ok(out.0)
}
