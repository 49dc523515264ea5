//! Block: some thousand log lines as columns.
//!
//! In: lines in the order of [`super::LinePlace`]. Out: one blob, and back every column of every line. What repeats
//! together (host, device, facility, severity, application, message id, template) is the **context** of a line and is
//! written once; messages lie sorted by context, so that like stands beside like, and compress well; the order of the
//! lines follows from their contexts and costs nothing. A search tests each context once, and unpacks process ids only
//! of lines it found. What can go wrong: a blob is [`Damaged`].

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use memchr::memchr;
use sha2::{Digest, Sha256};
use weir_models::ident::EventId;

use super::frame::{Damaged, Reader, Writer, bounded};
use super::numbers::{pack, pack_floats, unpack, unpack_floats};
use super::stamps::{Identity, Stamps};
use crate::store::{LogFilter, LogRow};

/// Level of zstd: beyond it a line gets hardly smaller.
const LEVEL: i32 = 9;
/// Most lines in a block, as far as a reader is concerned.
const LINES_MAX: usize = 1 << 20;
/// Most bytes of a column before it was compressed.
const COLUMN_BYTES_MAX: usize = 1 << 30;
/// Ends a text: no UTF-8 has it.
const END: u8 = 0xff;
/// A text that is not there, which is another thing than an empty one. Nor has any UTF-8 this.
const NONE: u8 = 0xfe;
/// Texts of a context.
const TEXTS: usize = 7;

/// What many lines share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Context<'a> {
    pub(super) app: Option<&'a str>,
    pub(super) template: Option<&'a str>,
    msgid: Option<&'a str>,
    severity: Option<u8>,
    facility: Option<u8>,
    pub(super) host: &'a str,
    device: &'a str,
}

impl<'a> Context<'a> {
    fn of(row: &'a LogRow) -> Self {
        Self {
            app: row.app.as_deref(),
            template: row.template.as_deref(),
            msgid: row.msgid.as_deref(),
            severity: row.severity,
            facility: row.facility,
            host: &row.host,
            device: &row.device,
        }
    }

    fn put(&self, to: &mut Vec<u8>) {
        let number = |number: Option<u8>| number.map(|number| number.to_string());
        put(self.app, to);
        put(self.template, to);
        put(self.msgid, to);
        put(number(self.severity).as_deref(), to);
        put(number(self.facility).as_deref(), to);
        put(Some(self.host), to);
        put(Some(self.device), to);
    }

    fn read(texts: &[Option<&'a str>]) -> Result<Self, Damaged> {
        let number = |text: Option<&str>| text.map(str::parse).transpose();
        let wrong = || Damaged("a context is none".into());
        let &[app, template, msgid, severity, facility, Some(host), Some(device)] = texts else {
            return Err(wrong());
        };
        let severity = number(severity).map_err(|_| wrong())?;
        let facility = number(facility).map_err(|_| wrong())?;
        Ok(Self { app, template, msgid, severity, facility, host, device })
    }
}

fn put(text: Option<&str>, to: &mut Vec<u8>) {
    match text {
        Some(text) => to.extend_from_slice(text.as_bytes()),
        None => to.push(NONE),
    }
    to.push(END);
}

/// Takes the next text off a column.
fn take<'a>(column: &'a [u8], from: &mut usize) -> Result<&'a [u8], Damaged> {
    let rest = column.get(*from..).unwrap_or_default();
    let length = memchr(END, rest).ok_or_else(|| Damaged("a column ends too early".into()))?;
    *from += length + 1;
    Ok(&rest[..length])
}

fn text(bytes: &[u8]) -> Result<&str, Damaged> {
    std::str::from_utf8(bytes).map_err(|_| Damaged("a text is none".into()))
}

fn text_if(bytes: &[u8]) -> Result<Option<&str>, Damaged> {
    if bytes == [NONE] { Ok(None) } else { text(bytes).map(Some) }
}

/// The contexts of lines in order, and which of them each line has.
pub(super) fn contexts(rows: &[LogRow]) -> (Vec<Context<'_>>, Vec<u32>) {
    let mut places: BTreeMap<Context<'_>, u32> = BTreeMap::new();
    for row in rows {
        places.entry(Context::of(row)).or_default();
    }
    for (place, number) in places.values_mut().zip(0u32..) {
        *place = number;
    }
    let of = rows.iter().map(|row| places.get(&Context::of(row)).copied().unwrap_or_default());
    let of = of.collect();
    (places.into_keys().collect(), of)
}

/// The lines sorted by context, those of one in their order; and where each context begins.
fn grouped(of: &[u32], contexts: usize) -> Result<(Vec<u32>, Vec<usize>), Damaged> {
    let mut begins = vec![0usize; contexts + 1];
    for &context in of {
        let behind = begins.get_mut(context as usize + 1);
        *behind.ok_or_else(|| Damaged("a context is missing".into()))? += 1;
    }
    for place in 0..contexts {
        begins[place + 1] += begins[place];
    }
    let mut next = begins.clone();
    let mut order = vec![0u32; of.len()];
    for (line, &context) in (0u32..).zip(of) {
        let place = &mut next[context as usize];
        order[*place] = line;
        *place += 1;
    }
    Ok((order, begins))
}

/// Adds a column of bytes, compressed.
fn squeeze(block: &mut Writer, column: &[u8]) -> Result<(), Damaged> {
    block.number(bounded(column.len(), COLUMN_BYTES_MAX)?)?;
    let packed = zstd::bulk::compress(column, LEVEL);
    block.section(&packed.map_err(|error| Damaged(error.to_string()))?)
}

fn unsqueeze(packed: &[u8], length: usize) -> Result<Vec<u8>, Damaged> {
    let column = zstd::bulk::decompress(packed, bounded(length, COLUMN_BYTES_MAX)?);
    column.map_err(|error| Damaged(error.to_string()))
}

/// Encodes lines, and adds what they are, not how they were compressed, to `content`.
pub(super) fn encode(rows: &[LogRow], content: &mut Sha256) -> Result<Vec<u8>, Damaged> {
    let id = |row: &LogRow| EventId { stream: row.stream, seq: row.seq };
    let stamps = Stamps(rows.iter().map(|row| (row.ts_us, id(row))).collect()).encode()?;
    let (contexts, of) = contexts(rows);
    let (order, _) = grouped(&of, contexts.len())?;
    let (mut names, mut procids, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    contexts.iter().for_each(|context| context.put(&mut names));
    for &line in &order {
        let row = &rows[line as usize];
        put(row.procid.as_deref(), &mut procids);
        put(Some(&row.message), &mut messages);
    }
    let with_score = (0u32..).zip(rows).filter(|(_, row)| row.score.is_some());
    let scored: Vec<u32> = with_score.map(|(line, _)| line).collect();
    let scores: Vec<f64> = rows.iter().filter_map(|row| row.score).map(f64::from).collect();
    let (of, scored, scores_packed) = (pack(&of)?, pack(&scored)?, pack_floats(&scores)?);

    let mut block = Writer::new();
    block.number(rows.len())?;
    block.section(&stamps)?;
    block.number(contexts.len())?;
    squeeze(&mut block, &names)?;
    block.section(&of)?;
    squeeze(&mut block, &procids)?;
    squeeze(&mut block, &messages)?;
    block.number(scores.len())?;
    block.section(&scored)?;
    block.section(&scores_packed)?;
    for part in [&stamps, &names, &of, &procids, &messages, &scored, &scores_packed] {
        content.update((part.len() as u64).to_le_bytes());
        content.update(part);
    }
    Ok(block.finish())
}

/// A block, unpacked as far as a search needs it.
#[derive(Debug)]
pub struct Block<'a> {
    stamps: Vec<Identity>,
    names: Vec<u8>,
    /// Which line stands at each place of the columns that are sorted by context.
    order: Vec<u32>,
    /// Where each context begins in them.
    begins: Vec<usize>,
    messages: Vec<u8>,
    procids: (&'a [u8], usize),
    scores: Vec<Option<f32>>,
}

/// A line that was found.
struct Hit {
    line: u32,
    /// In the sorted columns.
    place: usize,
    context: usize,
    message: Range<usize>,
}

impl<'a> Block<'a> {
    /// Unpacks a blob.
    ///
    /// # Errors
    /// It is not one that [`super::encode_lines`] made.
    pub fn decode(blob: &'a [u8]) -> Result<Self, Damaged> {
        let mut blob = Reader::new(blob)?;
        let n = bounded(blob.number()?, LINES_MAX)?;
        let stamps = Stamps::decode(blob.section()?)?.0;
        if stamps.len() != n {
            return Err(Damaged("it has other stamps".into()));
        }
        let contexts = bounded(blob.number()?, n)?;
        let names = blob.number()?;
        let names = unsqueeze(blob.section()?, names)?;
        let (order, begins) = grouped(&unpack(blob.section()?, n)?, contexts)?;
        let length = blob.number()?;
        let procids = (blob.section()?, length);
        let length = blob.number()?;
        let messages = unsqueeze(blob.section()?, length)?;
        let scores_n = bounded(blob.number()?, n)?;
        let scored = unpack::<u32>(blob.section()?, scores_n)?;
        let found = unpack_floats(blob.section()?, scores_n)?;
        let mut scores = vec![None; n];
        for (line, score) in scored.into_iter().zip(found) {
            let place = scores.get_mut(line as usize);
            *place.ok_or_else(|| Damaged("a score is of no line".into()))? = Some(score as f32);
        }
        Ok(Self { stamps, names, order, begins, messages, procids, scores })
    }

    /// The event of each line.
    pub fn ids(&self) -> impl Iterator<Item = EventId> + '_ {
        self.stamps.iter().map(|&(_, id)| id)
    }

    /// Every line, in order.
    ///
    /// # Errors
    /// The blob was damaged.
    pub fn rows(&self, site: &str) -> Result<Vec<LogRow>, Damaged> {
        let contexts = self.contexts()?;
        let mut hits = self.hits(&contexts, |_| true, |_, _| true)?;
        hits.sort_unstable_by_key(|hit| hit.line);
        self.read(site, &contexts, &hits)
    }

    /// The lines that a filter takes, newest first, at most `limit`.
    ///
    /// # Errors
    /// The blob was damaged.
    pub fn find(&self, filter: &LogFilter<'_>, limit: usize) -> Result<Vec<LogRow>, Damaged> {
        let contexts = self.contexts()?;
        let context = |c: &Context<'_>| filter.takes_context(c.host, c.severity, c.app, c.template);
        let line = |&(ts_us, id): &Identity, message: &str| {
            filter.takes_place(ts_us, id) && filter.takes_message(message)
        };
        let mut hits = self.hits(&contexts, context, line)?;
        hits.sort_unstable_by_key(|hit| Reverse(hit.line));
        hits.truncate(limit);
        self.read(filter.site(), &contexts, &hits)
    }

    fn contexts(&self) -> Result<Vec<Context<'_>>, Damaged> {
        let mut from = 0;
        let mut contexts = Vec::with_capacity(self.begins.len());
        for _ in 1..self.begins.len() {
            let mut texts = [None; TEXTS];
            for place in &mut texts {
                *place = text_if(take(&self.names, &mut from)?)?;
            }
            contexts.push(Context::read(&texts)?);
        }
        Ok(contexts)
    }

    fn hits(
        &self,
        contexts: &[Context<'_>],
        takes_context: impl Fn(&Context<'_>) -> bool,
        takes_line: impl Fn(&Identity, &str) -> bool,
    ) -> Result<Vec<Hit>, Damaged> {
        let mut hits = Vec::new();
        let mut from = 0;
        for (number, context) in contexts.iter().enumerate() {
            let takes = takes_context(context);
            for place in self.begins[number]..self.begins[number + 1] {
                let begin = from;
                let message = take(&self.messages, &mut from)?;
                let line = self.order[place];
                if takes && takes_line(&self.stamps[line as usize], text(message)?) {
                    let message = begin..begin + message.len();
                    hits.push(Hit { line, place, context: number, message });
                }
            }
        }
        Ok(hits)
    }

    fn read(
        &self,
        site: &str,
        contexts: &[Context<'_>],
        hits: &[Hit],
    ) -> Result<Vec<LogRow>, Damaged> {
        if hits.is_empty() {
            return Ok(Vec::new());
        }
        let column = unsqueeze(self.procids.0, self.procids.1)?;
        let mut from = 0;
        let places = 0..self.order.len();
        let procids = places.map(|_| text_if(take(&column, &mut from)?));
        let procids = procids.collect::<Result<Vec<_>, _>>()?;
        let row = |hit: &Hit| {
            let (ts_us, id) = self.stamps[hit.line as usize];
            let context = &contexts[hit.context];
            Ok(LogRow {
                site: site.into(),
                host: context.host.into(),
                ts_us,
                stream: id.stream,
                seq: id.seq,
                device: context.device.into(),
                facility: context.facility,
                severity: context.severity,
                app: context.app.map(Into::into),
                procid: procids[hit.place].map(Into::into),
                msgid: context.msgid.map(Into::into),
                message: text(&self.messages[hit.message.clone()])?.into(),
                template: context.template.map(Into::into),
                score: self.scores[hit.line as usize],
            })
        };
        hits.iter().map(row).collect()
    }
}
