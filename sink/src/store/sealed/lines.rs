//! Lines: log lines of some stretch of time as blocks, with a head for each that says what can be in it.
//!
//! In: the lines of a site, in the order of [`LinePlace`]. Out: a [`LinePart`]: blocks of some thousand lines, and one
//! blob with their [`Head`]s, so that a search reads blocks only where it may find something. Promises: as of all that
//! is sealed: lossless, the same lines give the same id and the same bytes, and what was damaged is told.

use sha2::{Digest, Sha256};

use super::block::{contexts, encode};
use super::bloom::{bloom, may_have};
use super::frame::{Damaged, Reader, Writer, bounded};
use super::part::first_bits;
use crate::store::words::{Kind, each_word, hash};
use crate::store::{LogFilter, LogRow, TimeRange};

/// Most lines of a block: enough for the compressor, and quickly read.
pub const BLOCK_LINES: usize = 8_192;
/// Most bytes of messages in a block; a single longer one has a block of its own.
const BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// Most blocks of a part, as far as a reader is concerned.
const BLOCKS_MAX: usize = 1 << 20;
/// Bytes of a line that count as one more.
const WEIGHT_BYTES: usize = 1_024;

/// A place in the order of the lines of a site: as of a reading (see [`crate::store::seal::Position`]), and then the host.
pub type LinePlace<'a> = (i64, i64, i64, &'a str);

/// Where a line is.
#[must_use]
pub fn place_of(row: &LogRow) -> LinePlace<'_> {
    (row.ts_us, row.stream.as_i64(), row.seq.cast_signed(), &row.host)
}

/// For how many lines a line counts where memory is bounded.
#[must_use]
pub fn weight_of(row: &LogRow) -> usize {
    1 + row.message.len() / WEIGHT_BYTES
}

/// What is sealed of the lines of a site in one go.
#[derive(Clone, Debug, PartialEq)]
pub struct LinePart {
    /// Names the content: the first 64 bits of its SHA-256.
    pub id: i64,
    /// First stamp, microseconds since the Unix epoch.
    pub t0_us: i64,
    /// Last stamp.
    pub t1_us: i64,
    /// Sum of [`weight_of`] its lines.
    pub weight: usize,
    /// What can be in each block, for [`heads_of`].
    pub heads: Vec<u8>,
    /// The blocks, for [`super::Block::decode`].
    pub blocks: Vec<Vec<u8>>,
}

/// What can be in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of lines.
    pub lines: usize,
    /// First stamp, microseconds since the Unix epoch.
    pub t0_us: i64,
    /// Last stamp.
    pub t1_us: i64,
    /// The least number, that is the most severe, of those that its lines have.
    pub severity: Option<u8>,
    /// Words, hosts, applications and templates.
    bloom: Vec<u8>,
}

impl Head {
    fn of(rows: &[LogRow]) -> Self {
        let mut hashes = Vec::new();
        for row in rows {
            each_word(&row.message, |word| hashes.push(hash(Kind::Word, word)));
        }
        for context in contexts(rows).0 {
            hashes.push(hash(Kind::Host, context.host));
            hashes.extend(context.app.map(|app| hash(Kind::App, app)));
            hashes.extend(context.template.map(|template| hash(Kind::Template, template)));
        }
        hashes.sort_unstable();
        hashes.dedup();
        let ends = rows.first().zip(rows.last());
        let (t0_us, t1_us) = ends.map_or((0, 0), |(first, last)| (first.ts_us, last.ts_us));
        let severity = rows.iter().filter_map(|row| row.severity).min();
        Self { lines: rows.len(), t0_us, t1_us, severity, bloom: bloom(&hashes) }
    }

    /// Whether a line may be in it that the filter takes.
    #[must_use]
    pub fn may_have(&self, filter: &LogFilter<'_>) -> bool {
        let TimeRange { from_us, to_us } = filter.range();
        self.t0_us < to_us
            && self.t1_us >= from_us
            && filter.takes_severity(self.severity)
            && filter.probes().iter().all(|&hash| may_have(&self.bloom, hash))
    }
}

/// Cuts lines into blocks, by number and by bytes; those of short lines have about the same number.
fn cut(rows: &[LogRow]) -> Vec<&[LogRow]> {
    let lines = rows.len().div_ceil(rows.len().div_ceil(BLOCK_LINES).max(1));
    let mut blocks = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (place, row) in rows.iter().enumerate() {
        let full = place - begin >= lines || bytes + row.message.len() > BLOCK_BYTES;
        if place > begin && full {
            blocks.push(&rows[begin..place]);
            (begin, bytes) = (place, 0);
        }
        bytes += row.message.len();
    }
    if begin < rows.len() {
        blocks.push(&rows[begin..]);
    }
    blocks
}

/// Encodes lines of one site, ascending by [`place_of`], each once.
///
/// # Errors
/// None that lines of the store can cause: see [`Damaged`].
pub fn encode_lines(rows: &[LogRow]) -> Result<LinePart, Damaged> {
    let cut = cut(rows);
    let mut content = Sha256::new();
    let mut blocks = Vec::with_capacity(cut.len());
    let mut heads = Writer::new();
    heads.number(cut.len())?;
    for rows in cut {
        let block = encode(rows, &mut content)?;
        let head = Head::of(rows);
        heads.number(head.lines)?;
        heads.section(&head.t0_us.to_le_bytes())?;
        heads.section(&head.t1_us.to_le_bytes())?;
        heads.section(head.severity.as_slice())?;
        heads.section(&head.bloom)?;
        blocks.push(block);
    }
    let ends = rows.first().zip(rows.last());
    let (t0_us, t1_us) = ends.map_or((0, 0), |(first, last)| (first.ts_us, last.ts_us));
    let weight = rows.iter().map(weight_of).sum();
    let id = first_bits(content);
    Ok(LinePart { id, t0_us, t1_us, weight, heads: heads.finish(), blocks })
}

/// Reads the heads of a part, in the order of its blocks.
///
/// # Errors
/// The blob was damaged.
pub fn heads_of(blob: &[u8]) -> Result<Vec<Head>, Damaged> {
    fn stamp(section: &[u8]) -> Result<i64, Damaged> {
        let bytes = section.try_into().map_err(|_| Damaged("a stamp is none".into()))?;
        Ok(i64::from_le_bytes(bytes))
    }
    let mut blob = Reader::new(blob)?;
    let n = bounded(blob.number()?, BLOCKS_MAX)?;
    let head = |_| {
        let lines = blob.number()?;
        let (t0_us, t1_us) = (stamp(blob.section()?)?, stamp(blob.section()?)?);
        let severity = blob.section()?.first().copied();
        Ok(Head { lines, t0_us, t1_us, severity, bloom: blob.section()?.to_vec() })
    };
    (0..n).map(head).collect()
}
