//! Tests of blocks of lines.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weir_models::ident::Stream;

use super::*;
use crate::store::{LogFilter, LogQuery, LogRow, TimeRange};

pub(super) const EVER: TimeRange = TimeRange { from_us: i64::MIN, to_us: i64::MAX };

pub(super) fn line(ts_us: i64, seq: u64, message: &str) -> LogRow {
    LogRow {
        site: "s".into(),
        host: "gw".into(),
        ts_us,
        stream: Stream(7),
        seq,
        device: "d".into(),
        facility: None,
        severity: None,
        app: None,
        procid: None,
        msgid: None,
        message: message.into(),
        template: None,
        score: None,
    }
}

fn rows_of(part: &LinePart) -> Vec<LogRow> {
    let rows = part.blocks.iter().map(|blob| Block::decode(blob).unwrap().rows("s").unwrap());
    rows.flatten().collect()
}

/// What a search finds of a part, and how many blocks it opened.
fn search(part: &LinePart, query: &LogQuery) -> (Vec<LogRow>, usize) {
    let filter = LogFilter::of(query);
    let heads = heads_of(&part.heads).unwrap();
    let (mut found, mut opened) = (Vec::new(), 0);
    for (head, blob) in heads.iter().zip(&part.blocks).rev() {
        if head.may_have(&filter) {
            opened += 1;
            found.extend(Block::decode(blob).unwrap().find(&filter, query.limit).unwrap());
        }
    }
    found.truncate(query.limit);
    (found, opened)
}

/// The same of the lines themselves.
fn expected(rows: &[LogRow], query: &LogQuery) -> Vec<LogRow> {
    let filter = LogFilter::of(query);
    rows.iter().rev().filter(|row| filter.matches(row)).take(query.limit).cloned().collect()
}

#[test]
fn every_column_comes_back() {
    let full = LogRow {
        stream: Stream(0x8000_0000_0000_0001),
        facility: Some(23),
        severity: Some(0),
        app: Some("sshd".into()),
        procid: Some("-1".into()),
        msgid: Some("ID47".into()),
        template: Some("00000000000000ff".into()),
        score: Some(7.25),
        ..line(3, u64::MAX, "naïve\n\"text\" 📈 \u{0}")
    };
    let empty = LogRow {
        host: String::new(),
        app: Some(String::new()),
        procid: Some(String::new()),
        msgid: Some(String::new()),
        template: Some(String::new()),
        facility: Some(255),
        severity: Some(255),
        score: Some(-0.0),
        ..line(5, 1, "")
    };
    let rows = [line(i64::MIN, 1, "x"), full, line(4, 9, ""), empty, line(i64::MAX, 2, "y")];
    let part = encode_lines(&rows).unwrap();
    assert_eq!(rows_of(&part), rows);
    assert_eq!((part.t0_us, part.t1_us, part.weight), (i64::MIN, i64::MAX, 5));
    let severe = LogQuery { severity_max: Some(0), ..LogQuery::of_site("s", EVER, 9) };
    assert_eq!(search(&part, &severe).0, expected(&rows, &severe));
    let none = encode_lines(&[]).unwrap();
    assert!(none.blocks.is_empty() && heads_of(&none.heads).unwrap().is_empty());
}

#[test]
fn lines_are_cut_into_blocks_by_number_and_by_bytes() {
    let many: Vec<LogRow> = (0..20_000).map(|n| line(n, 1, &format!("line {n} of many"))).collect();
    let part = encode_lines(&many).unwrap();
    let lines = |part: &LinePart| -> Vec<usize> {
        heads_of(&part.heads).unwrap().iter().map(|head| head.lines).collect()
    };
    assert_eq!(lines(&part), [6_667, 6_667, 6_666]);
    assert_eq!(rows_of(&part), many);
    assert_eq!(lines(&encode_lines(&many[..BLOCK_LINES]).unwrap()), [BLOCK_LINES]);
    let long = "x".repeat(3 << 20);
    let long: Vec<LogRow> = (0..3).map(|n| line(n, 1, &long)).collect();
    let part = encode_lines(&long).unwrap();
    assert_eq!((lines(&part), part.weight), (vec![1, 1, 1], 3 * (1 + 3 * 1_024)));
    assert_eq!(rows_of(&part), long);
}

#[test]
fn a_search_opens_few_blocks() {
    let mut rows: Vec<LogRow> =
        (0..40_000).map(|n| line(n, 1, &format!("request {} took {n} us", n % 7))).collect();
    rows[9_000].message = "a xylophone fell".into();
    rows[9_001].app = Some("band".into());
    rows[9_002].severity = Some(2);
    rows[30_000].template = Some("00000000000000ab".into());
    let part = encode_lines(&rows).unwrap();
    let all = LogQuery::of_site("s", EVER, 10);
    let words = |words: &str| LogQuery { words: Some(words.into()), ..all.clone() };
    let text = |text: &str| LogQuery { text: Some(text.into()), ..all.clone() };
    let cases = [
        (words("Xylophone"), 1, 1),
        (words("xylo"), 0, 1),
        (words("zeppelin"), 0, 1),
        (text("a xylophone fe"), 1, 1),
        (text("ylopho"), 1, 5),
        (LogQuery { app: Some("band".into()), ..all.clone() }, 1, 1),
        (LogQuery { template: Some("00000000000000ab".into()), ..all.clone() }, 1, 1),
        (LogQuery { severity_max: Some(3), ..all.clone() }, 1, 1),
        (LogQuery { host: Some("other".into()), ..all.clone() }, 0, 1),
        (LogQuery { range: TimeRange { from_us: 100, to_us: 103 }, ..all.clone() }, 3, 1),
    ];
    for (query, lines, blocks) in cases {
        let (found, opened) = search(&part, &query);
        assert_eq!(found.len(), lines, "{query:?}");
        // One of five may be opened by chance, where none had to be.
        assert!(opened <= blocks, "{opened} for {query:?}");
        assert_eq!(found, expected(&rows, &query));
    }
}

#[test]
fn lines_take_few_bytes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/syslog/auth.rfc3164.log");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<LogRow> =
        (1u64..).zip(text.lines()).map(|(seq, text)| line(seq as i64, seq, &text[16..])).collect();
    let part = encode_lines(&rows).unwrap();
    let bytes = part.heads.len() + part.blocks.iter().map(Vec::len).sum::<usize>();
    assert!(bytes < 25 * rows.len(), "{bytes} bytes of {} lines", rows.len());
}

fn message() -> impl Strategy<Value = String> {
    let words = proptest::sample::select(vec![
        "disk",
        "FULL",
        "sda1",
        "Über",
        "\u{212a}elvin",
        "_x",
        "温度",
        "7",
        "=",
        "/",
        " ",
        "\n",
    ]);
    vec(words, 0..6).prop_map(|words| words.join(" "))
}

prop_compose! {
    fn some_line()(
        ts_us in -50i64..50,
        (stream, seq) in (any::<u64>(), any::<u64>()),
        (host, device) in ("[ab]{0,1}", "[ab]{0,1}"),
        (facility, severity) in (option::of(0u8..24), option::of(0u8..8)),
        (app, procid, msgid) in (option::of("[cd]{0,1}"), option::of("[0-9]{0,5}"), option::of("[M]{0,1}")),
        message in message(),
        template in option::of("[0-1]{16}"),
        score in option::of(any::<f32>().prop_filter("finite", |score| score.is_finite())),
    ) -> LogRow {
        LogRow {
            site: "s".into(), host, ts_us, stream: Stream(stream), seq, device, facility, severity,
            app, procid, msgid, message, template, score,
        }
    }
}

prop_compose! {
    fn some_query()(
        (from_us, length) in (-60i64..60, 1i64..120),
        host in option::of("[ab]{0,1}"),
        severity_max in option::of(0u8..8),
        app in option::of("[cd]{0,1}"),
        words in option::of(message()),
        text in option::of(message()),
        limit in 0usize..20,
    ) -> LogQuery {
        let range = TimeRange { from_us, to_us: from_us + length };
        LogQuery { host, severity_max, app, words, text, ..LogQuery::of_site("s", range, limit) }
    }
}

fn in_order(mut rows: Vec<LogRow>) -> Vec<LogRow> {
    rows.sort_by(|a, b| place_of(a).cmp(&place_of(b)));
    rows.dedup_by(|a, b| place_of(a) == place_of(b));
    rows
}

proptest! {
    #[test]
    fn all_lines_come_back_and_the_same_make_the_same(rows in vec(some_line(), 0..80)) {
        let rows = in_order(rows);
        let part = encode_lines(&rows).unwrap();
        prop_assert_eq!(rows_of(&part), rows.clone());
        prop_assert_eq!(encode_lines(&rows).unwrap(), part.clone());
        if let Some((_, others)) = rows.split_first() {
            prop_assert_ne!(encode_lines(others).unwrap().id, part.id);
        }
    }

    #[test]
    fn blocks_are_searched_as_lines_are(rows in vec(some_line(), 0..80), query in some_query()) {
        let rows = in_order(rows);
        let part = encode_lines(&rows).unwrap();
        prop_assert_eq!(search(&part, &query).0, expected(&rows, &query));
    }

    #[test]
    fn a_bloom_never_misses_a_word_that_is_there(rows in vec(some_line(), 1..80), at in any::<u64>()) {
        let rows = in_order(rows);
        let part = encode_lines(&rows).unwrap();
        let row = &rows[at as usize % rows.len()];
        let query = LogQuery {
            words: Some(row.message.clone()),
            app: row.app.clone(),
            template: row.template.clone(),
            host: Some(row.host.clone()),
            ..LogQuery::of_site("s", EVER, usize::MAX)
        };
        prop_assert!(search(&part, &query).0.contains(row));
    }

    #[test]
    fn damage_is_told(rows in vec(some_line(), 1..20), at in any::<u32>(), bit in 0u8..8) {
        let part = encode_lines(&in_order(rows)).unwrap();
        let flip = |blob: &[u8]| {
            let mut blob = blob.to_vec();
            let place = at as usize % blob.len();
            blob[place] ^= 1 << bit;
            blob
        };
        let (heads, block) = (flip(&part.heads), flip(&part.blocks[0]));
        prop_assert!(heads_of(&heads).is_err());
        prop_assert!(Block::decode(&block).is_err());
        prop_assert!(Block::decode(&part.blocks[0][..at as usize % part.blocks[0].len()]).is_err());
    }
}
