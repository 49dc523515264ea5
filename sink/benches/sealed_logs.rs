//! Sealed log lines: how many bytes a line takes, and what sealing and searching cost.
//!
//! `cargo bench -p weir-sink --bench sealed_logs`: first a table of bytes, then times for a day of 200,000 lines of 50
//! hosts. The day is made of the 4,500 real lines of `fixtures/syslog/auth.rfc3164.log`, repeated, with every number of
//! four digits and more drawn anew, and one word planted: repetition flatters the bytes, the numbers do not. Then the
//! same searches of a whole store (SQLite) that has sealed the day, or as many days as `WEIR_BENCH_DAYS` says (50 are
//! 10,000,000 lines, and take some minutes to be written).
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::TryStreamExt;
use tokio::runtime::Runtime;
use weir_models::ident::Stream;
use weir_models::time::DAY_US;
use weir_sink::store::config::SqliteConfig;
use weir_sink::store::seal::close::seal;
use weir_sink::store::sealed::{Block, LinePart, encode_lines, heads_of};
use weir_sink::store::{Batch, LogFilter, LogQuery, LogRow, Store, StoreConfig, TimeRange, open};

const LINES: usize = 200_000;
const HOSTS: usize = 50;
/// Lines of a part, as sealing makes them at most.
const PART_LINES: usize = 65_536;

/// What stands in a message where another one of its kind has something else.
fn template(message: &str) -> String {
    let fixed = message.split(' ').filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    let hash = fixed.flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The fixture, an event each second.
fn fixture() -> Vec<LogRow> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/syslog/auth.rfc3164.log");
    let text = std::fs::read_to_string(path).unwrap();
    let row = |(seq, line): (u64, &str)| {
        // `Mar 27 13:06:56 host app[pid]: message`
        let mut parts = line.get(16..).unwrap().splitn(2, ' ');
        let (host, rest) = (parts.next().unwrap(), parts.next().unwrap());
        let (tag, message) = rest.split_once(": ").unwrap_or(("", rest));
        let (app, procid) = match tag.split_once('[') {
            Some((app, pid)) => (app, Some(pid.trim_end_matches(']').to_owned())),
            None => (tag, None),
        };
        LogRow {
            site: "plant".into(),
            host: host.into(),
            ts_us: seq as i64 * 1_000_000,
            stream: Stream(7),
            seq,
            device: host.into(),
            facility: Some(10),
            severity: Some(if message.contains("nvalid") { 4 } else { 6 }),
            app: Some(app.into()),
            procid,
            msgid: None,
            message: message.into(),
            template: Some(template(message)),
            score: None,
        }
    };
    (1u64..).zip(text.lines()).map(row).collect()
}

/// Draws each number of four digits and more anew.
fn redrawn(text: &str, random: &mut impl FnMut() -> u64) -> String {
    let mut drawn = String::with_capacity(text.len());
    let mut digits = 0;
    for (place, letter) in text.char_indices() {
        digits = if letter.is_ascii_digit() { digits + 1 } else { 0 };
        if digits == 1 {
            let length = text[place..].bytes().take_while(u8::is_ascii_digit).count();
            digits = if length < 4 { 1_000 } else { 1 };
        }
        match digits {
            1..1_000 => drawn.push(char::from(b'0' + (random() % 10) as u8)),
            _ => drawn.push(letter),
        }
    }
    drawn
}

/// A day of many hosts.
fn day() -> Vec<LogRow> {
    let fixture = fixture();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let step = DAY_US / LINES as i64;
    let mut rows: Vec<LogRow> = (0..LINES)
        .map(|n| {
            let mut row = fixture[n % fixture.len()].clone();
            let host = format!("host-{:02}", random() as usize % HOSTS);
            row.ts_us = n as i64 * step + (random() % step as u64) as i64;
            (row.host, row.device) = (host.clone(), host);
            row.seq = n as u64 + 1;
            row.message = redrawn(&row.message, &mut random);
            row.procid = row.procid.map(|pid| redrawn(&pid, &mut random));
            row
        })
        .collect();
    rows[LINES / 3].message.push_str(" xylophone");
    rows
}

fn parts_of(rows: &[LogRow]) -> Vec<LinePart> {
    rows.chunks(PART_LINES).map(|rows| encode_lines(rows).unwrap()).collect()
}

/// What a search does once it has heads and blocks: the lines found, and the blocks that were opened for them.
fn search(parts: &[LinePart], query: &LogQuery) -> (usize, usize) {
    let filter = LogFilter::of(query);
    let (mut found, mut opened) = (0, 0);
    for part in parts.iter().rev() {
        let heads = heads_of(&part.heads).unwrap();
        for (head, block) in heads.iter().zip(&part.blocks).rev() {
            if found < query.limit && head.may_have(&filter) {
                opened += 1;
                found +=
                    Block::decode(block).unwrap().find(&filter, query.limit - found).unwrap().len();
            }
        }
    }
    (found, opened)
}

fn sizes() {
    println!(
        "| lines | number | message | block, B a line | head beside it |\n| --- | --- | --- | --- | --- |"
    );
    for (name, rows) in [("auth.rfc3164.log", fixture()), ("made: a day of 50 hosts", day())] {
        let parts = parts_of(&rows);
        let each = |bytes: usize| bytes as f64 / rows.len() as f64;
        let messages = each(rows.iter().map(|row| row.message.len()).sum());
        let blocks = each(parts.iter().flat_map(|part| &part.blocks).map(Vec::len).sum());
        let heads = each(parts.iter().map(|part| part.heads.len()).sum());
        println!("| {name} | {} | {messages:.1} | {blocks:.2} | {heads:.2} |", rows.len());
    }
}

fn queries() -> Vec<(&'static str, LogQuery)> {
    let ever = TimeRange { from_us: i64::MIN, to_us: i64::MAX };
    let of = |words: Option<&str>, text: Option<&str>, limit| LogQuery {
        words: words.map(Into::into),
        text: text.map(Into::into),
        ..LogQuery::of_site("plant", ever, limit)
    };
    vec![
        ("a word of one line", of(Some("xylophone"), None, 500)),
        ("an absent word", of(Some("zeppelin"), None, 500)),
        ("a common word, newest 500", of(Some("invalid"), None, 500)),
        ("a common word, all", of(Some("invalid"), None, usize::MAX)),
        ("two words that never meet", of(Some("invalid cron"), None, 500)),
        ("a text that no word helps with", of(None, Some("ylophon"), 500)),
    ]
}

/// A store that has sealed some days.
async fn filled(folder: &Path, days: i64) -> Arc<dyn Store> {
    let sqlite = Some(SqliteConfig { path: folder.join("store.db") });
    let config = StoreConfig { sqlite, ..StoreConfig::default() };
    let store = open(&config).await.unwrap();
    store.migrate().await.unwrap();
    let rows = day();
    let mut spent = Duration::ZERO;
    for number in 0..days {
        for some in rows.chunks(5_000) {
            let mut logs = some.to_vec();
            for row in &mut logs {
                row.ts_us += number * DAY_US;
                row.seq += (number as u64) << 32;
            }
            let logs = logs.into_iter().map(|row| Arc::new(row.into())).collect();
            store.write(&Batch { logs, ..Batch::default() }).await.unwrap();
        }
        let sealing = store.sealing().unwrap();
        let owner = sealing.marks().owner();
        let begin = Instant::now();
        for mark in sealing.marks_of(&owner).await.unwrap() {
            seal(sealing, &owner, &mark).await.unwrap();
        }
        spent += begin.elapsed();
    }
    let each = spent.as_secs_f64() * 1e6 / (days as usize * LINES) as f64;
    println!(
        "sealing in the store, reading and writing included: {each:.1} us a line, by the clock"
    );
    store
}

fn whole_store(bench: &mut Criterion) {
    let days = std::env::var("WEIR_BENCH_DAYS").map_or(1, |days| days.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let store = runtime.block_on(filled(folder.path(), days));
    let mut group =
        bench.benchmark_group(format!("a store of {} sealed lines", days as usize * LINES));
    group.sample_size(10);
    for (name, query) in queries() {
        if query.limit == usize::MAX {
            continue;
        }
        group.bench_function(name, |b| b.iter(|| runtime.block_on(store.logs(&query)).unwrap()));
        group.bench_function(format!("{name}, the first found"), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let mut found = store.find_logs(&query);
                    while found.try_next().await.unwrap().is_some_and(|rows| rows.is_empty()) {}
                });
            });
        });
    }
    group.finish();
}

fn times(bench: &mut Criterion) {
    sizes();
    let rows = day();
    let parts = parts_of(&rows);
    let mut group = bench.benchmark_group("sealed logs");
    group.sample_size(10);
    group.throughput(Throughput::Elements(PART_LINES as u64));
    group.bench_function("encode a part", |b| {
        b.iter(|| encode_lines(black_box(&rows[..PART_LINES])).unwrap());
    });
    group.throughput(Throughput::Elements(LINES as u64));
    for (name, query) in queries() {
        let (found, opened) = search(&parts, &query);
        println!("{name}: {found} lines in {opened} blocks");
        group.bench_function(name, |b| b.iter(|| search(black_box(&parts), black_box(&query))));
    }
    group.finish();
}

criterion_group!(benches, times, whole_store);
criterion_main!(benches);
