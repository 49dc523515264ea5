#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

/// The frames of `stream` when it comes in reads that end at `cuts`.
fn frames(framing: Framing, stream: &[u8], cuts: &[usize]) -> Vec<(Vec<u8>, bool)> {
    let mut framer = Framer::new(framing);
    let mut found = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([stream.len()]) {
        framer.buffer().extend_from_slice(&stream[from..to]);
        found.extend(framer.take());
        from = to;
    }
    found.extend(framer.finish());
    assert_eq!(framer.waiting_bytes(), 0);
    found
        .into_iter()
        .map(|frame| (frame.bytes.to_vec(), frame.cut))
        .collect()
}

#[track_caller]
fn check(stream: &str, expected: &[&str]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|frame| (frame.as_bytes().to_vec(), false))
        .collect();
    assert_eq!(frames(Framing::Syslog, stream.as_bytes(), &[]), expected);
    let every_byte: Vec<_> = (0..stream.len()).collect();
    assert_eq!(
        frames(Framing::Syslog, stream.as_bytes(), &every_byte),
        expected
    );
}

#[test]
fn both_framings_are_told_apart_for_each_frame() {
    check("<13>a\n<14>b\n", &["<13>a", "<14>b"]);
    check("5 <13>a5 <14>b", &["<13>a", "<14>b"]);
    check("5 <13>a<14>b\n6 <15>cc", &["<13>a", "<14>b", "<15>cc"]);
    check("8 <13>a\nb\n<14>c\n", &["<13>a\nb", "<14>c"]);
}

#[test]
fn terminators_are_lf_crlf_and_nul_and_empty_frames_are_none() {
    check(
        "<13>a\r\n<14>b\0<15>c\n\0\n\r\n",
        &["<13>a", "<14>b", "<15>c"],
    );
    check("6 <13>a\n6 <14>b\0\n<15>c", &["<13>a", "<14>b", "<15>c"]);
    check("\n\n\0", &[]);
    check("", &[]);
}

#[test]
fn a_line_that_begins_with_digits_is_no_count() {
    check("2026-11-21 up\n", &["2026-11-21 up"]);
    check("12 monkeys\n5 <13>a", &["12 monkeys", "<13>a"]);
    check("05 <13>a\n", &["05 <13>a"]);
    check("12345678 <13>a\n", &["12345678 <13>a"]);
}

#[test]
fn the_last_frame_needs_no_terminator() {
    check("<13>a\n<14>b", &["<13>a", "<14>b"]);
    check("<13>a\n12", &["<13>a", "12"]);
    check("<13>a\n12 ", &["<13>a", "12 "]);
}

#[test]
fn a_counted_frame_whose_end_never_comes_is_marked() {
    assert_eq!(
        frames(Framing::Syslog, b"99 <13>a", &[]),
        [(b"<13>a".to_vec(), true)]
    );
}

#[test]
fn lines_of_files_end_with_lf_only_and_have_no_counts() {
    assert_eq!(
        frames(Framing::Lines, b"5 <13>a\nb\0c\r\n\nd", &[]),
        [
            (b"5 <13>a".to_vec(), false),
            (b"b\0c".to_vec(), false),
            (b"d".to_vec(), false)
        ]
    );
}

#[test]
fn what_is_too_long_is_cut_and_continued() {
    let max = LINE_BYTES_MAX;
    let lengths = |stream: &[u8]| -> Vec<(usize, bool)> {
        frames(Framing::Syslog, stream, &[])
            .into_iter()
            .map(|(frame, cut)| (frame.len(), cut))
            .collect()
    };
    let line = |length: usize| [vec![b'x'; length], b"\n<13>a\n".to_vec()].concat();
    assert_eq!(lengths(&line(max)), [(max, false), (5, false)]);
    assert_eq!(
        lengths(&line(max + 1)),
        [(max, true), (1, true), (5, false)]
    );
    assert_eq!(
        lengths(&line(2 * max + 9)),
        [(max, true), (max, true), (9, true), (5, false)]
    );
    let counted = |length: usize| {
        let frame = [b"<13>".to_vec(), vec![b'y'; length - 4]].concat();
        [
            format!("{length} ").into_bytes(),
            frame,
            b"<13>a\n".to_vec(),
        ]
        .concat()
    };
    assert_eq!(lengths(&counted(max)), [(max, false), (5, false)]);
    assert_eq!(
        lengths(&counted(max + 7)),
        [(max, true), (7, true), (5, false)]
    );
}

#[test]
fn frames_of_one_read_share_one_buffer_and_small_reads_share_it_too() {
    let mut framer = Framer::new(Framing::Syslog);
    framer.buffer().extend_from_slice(b"<13>a\n<14>b\n<15");
    let first = framer.take();
    let capacity = framer.buffer().capacity();
    framer.buffer().extend_from_slice(b">c\n");
    let second = framer.take();
    assert_eq!((first.len(), second.len()), (2, 1));
    let distance = second[0].bytes.as_ptr() as usize - first[0].bytes.as_ptr() as usize;
    assert_eq!(distance, 12);
    assert!(capacity > ROOM_BYTES_MIN);
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        "[ -~]{0,12}\n".prop_map(String::into_bytes),
        "<[0-9]{1,3}>[a-zé]{0,9}"
            .prop_map(|text| [format!("{} ", text.len()), text].concat().into_bytes()),
        "[0-9]{1,9} ?<?".prop_map(String::into_bytes),
        "[\n\r\0]{1,3}".prop_map(String::into_bytes),
        Just([vec![b'z'; LINE_BYTES_MAX - 2], "éé€\n".as_bytes().to_vec()].concat()),
        Just([b"70000 <1>".to_vec(), "€".repeat(23_333).into_bytes()].concat()),
        proptest::collection::vec(any::<u8>(), 0..9),
    ];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_cut_of_the_stream_gives_the_same_frames(
        stream in streams(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        lines in any::<bool>(),
    ) {
        let framing = if lines { Framing::Lines } else { Framing::Syslog };
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = frames(framing, &stream, &[]);
        prop_assert!(whole.iter().all(|(frame, _)| frame.len() <= LINE_BYTES_MAX));
        prop_assert_eq!(frames(framing, &stream, &cuts), whole);
    }

    #[test]
    fn lines_lose_nothing_but_line_ends(stream in streams()) {
        let ends = |bytes: &[u8]| -> Vec<u8> {
            bytes.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r' | 0)).collect()
        };
        let found: Vec<u8> = frames(Framing::Lines, &stream, &[]).into_iter().flat_map(|(frame, _)| frame).collect();
        prop_assert_eq!(ends(&found), ends(&stream));
    }
}
