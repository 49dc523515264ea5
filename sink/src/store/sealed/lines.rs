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
/// Most bytes of texts in a block; a single longer line has a block of its own.
const BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of the blooms of a part: half of what Cassandra takes in one write. A bloom of words without end that is
/// full by then costs time, and never a line.
const BLOOMS_BYTES: usize = 8 * 1024 * 1024;
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
    1 + bytes_of(row) / WEIGHT_BYTES
}

/// Bytes of its texts.
fn bytes_of(row: &LogRow) -> usize {
    let LogRow { host, device, app, procid, msgid, message, template, .. } = row;
    let some = [app, procid, msgid, template].into_iter().flatten();
    [host, device, message].into_iter().chain(some).map(String::len).sum()
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
    /// Whether they were made with the letters that this program knows.
    same_letters: bool,
}

impl Head {
    fn of(rows: &[LogRow], bloom_bytes: usize) -> Self {
        let mut hashes = Vec::new();
        for row in rows {
            each_word(&row.message, |word| {
                hashes.push(hash(Kind::Word, word));
                // Whoever takes the letters beside them for signs looks for these.
                if !word.is_ascii() {
                    let runs = word.split(|letter: char| !letter.is_ascii());
                    let runs = runs.filter(|run| !run.is_empty());
                    hashes.extend(runs.map(|run| hash(Kind::Word, run)));
                }
            });
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
        let bloom = bloom(&hashes, bloom_bytes);
        Self { lines: rows.len(), t0_us, t1_us, severity, bloom, same_letters: true }
    }

    /// Whether a line may be in it that the filter takes.
    #[must_use]
    pub fn may_have(&self, filter: &LogFilter<'_>) -> bool {
        let TimeRange { from_us, to_us } = filter.range();
        self.t0_us < to_us
            && self.t1_us >= from_us
            && filter.takes_severity(self.severity)
            && filter.probes(self.same_letters).all(|hash| may_have(&self.bloom, hash))
    }
}

/// Cuts lines into blocks, by number and by bytes; those of short lines have about the same number.
fn cut(rows: &[LogRow]) -> Vec<&[LogRow]> {
    let lines = rows.len().div_ceil(rows.len().div_ceil(BLOCK_LINES).max(1));
    let mut blocks = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (place, row) in rows.iter().enumerate() {
        let full = place - begin >= lines || bytes + bytes_of(row) > BLOCK_BYTES;
        if place > begin && full {
            blocks.push(&rows[begin..place]);
            (begin, bytes) = (place, 0);
        }
        bytes += bytes_of(row);
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
    let mut heads = Vec::with_capacity(cut.len());
    let bloom_bytes = BLOOMS_BYTES / cut.len().max(1);
    for rows in cut {
        blocks.push(encode(rows, &mut content)?);
        heads.push(Head::of(rows, bloom_bytes));
    }
    let heads = write_heads(&heads, char::UNICODE_VERSION)?;
    let ends = rows.first().zip(rows.last());
    let (t0_us, t1_us) = ends.map_or((0, 0), |(first, last)| (first.ts_us, last.ts_us));
    let weight = rows.iter().map(weight_of).sum();
    let id = first_bits(content);
    Ok(LinePart { id, t0_us, t1_us, weight, heads, blocks })
}

fn write_heads(heads: &[Head], letters: (u8, u8, u8)) -> Result<Vec<u8>, Damaged> {
    let mut blob = Writer::new();
    blob.section(&<[u8; 3]>::from(letters))?;
    blob.number(heads.len())?;
    for head in heads {
        blob.number(head.lines)?;
        blob.section(&head.t0_us.to_le_bytes())?;
        blob.section(&head.t1_us.to_le_bytes())?;
        blob.section(head.severity.as_slice())?;
        blob.section(&head.bloom)?;
    }
    Ok(blob.finish())
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
    let same_letters = blob.section()? == <[u8; 3]>::from(char::UNICODE_VERSION);
    let n = bounded(blob.number()?, BLOCKS_MAX)?;
    let head = |_| {
        let lines = blob.number()?;
        let (t0_us, t1_us) = (stamp(blob.section()?)?, stamp(blob.section()?)?);
        let severity = blob.section()?.first().copied();
        let bloom = blob.section()?.to_vec();
        Ok(Head { lines, t0_us, t1_us, severity, bloom, same_letters })
    };
    (0..n).map(head).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::store::LogQuery;
    use crate::store::sealed::line_tests::{EVER, line};

    #[test]
    fn all_texts_of_a_line_count() {
        let long = |what: &str, seq: u64| format!("{what}{seq:01023}");
        let row = |seq| LogRow {
            host: long("h", seq),
            device: long("d", seq),
            app: Some(long("a", seq)),
            procid: Some(long("p", seq)),
            msgid: Some(long("m", seq)),
            ..line(1, seq, "short")
        };
        let rows: Vec<LogRow> = (0..2_000).map(row).collect();
        assert_eq!(weight_of(&rows[0]), 1 + 5);
        let part = encode_lines(&rows).unwrap();
        assert_eq!((part.weight, part.blocks.len()), (12_000, 3), "10 MB of texts");
    }

    #[test]
    fn the_heads_of_a_part_are_bounded() {
        // Words without end: 10 bits of each would be 9.4 MB.
        let words = |seq: u64| -> String {
            (0..5_000).map(|n| format!("{:x} ", seq * 5_000 + n)).collect()
        };
        let rows: Vec<LogRow> = (0..1_500).map(|seq| line(1, seq, &words(seq))).collect();
        let part = encode_lines(&rows).unwrap();
        assert!(part.heads.len() < BLOOMS_BYTES + 100_000, "{} bytes", part.heads.len());
    }

    #[test]
    fn other_letters_cost_time_and_no_line() {
        // U+1C89 is a letter since Unicode 16: to an older program it parts words.
        let head = Head::of(&[line(1, 1, "disk\u{1c89}full of ABC")], 1_000);
        let query =
            |words: &str| LogQuery { words: Some(words.into()), ..LogQuery::of_site("s", EVER, 9) };
        let may_have = |letters, words: &str| {
            let blob = write_heads(std::slice::from_ref(&head), letters).unwrap();
            heads_of(&blob).unwrap()[0].may_have(&LogFilter::of(&query(words)))
        };
        let own = char::UNICODE_VERSION;
        let older = (own.0 - 1, own.1, own.2);
        assert!(!may_have(own, "über") && may_have(older, "über"));
        assert!(may_have(own, "abc") && may_have(older, "abc"));
        for words in ["disk", "full"] {
            assert!(may_have(older, words), "{words}");
        }
        assert!(!may_have(older, "zeppelin über"));
    }
}
