use std::sync::Arc;

use serde_json::Value;

use super::*;

fn log<'a>(source: &'a str, host: &'a str, json: &'a str) -> Passing<'a> {
    Passing { kind: "log", source, device: "dev", host, lane: "rest", json: json.as_bytes() }
}

fn all() -> Wants {
    Wants { sample: 1, ..Wants::default() }
}

/// What waits, a value a line.
fn lines(tap: &Tap) -> Vec<Value> {
    let lines = std::mem::take(&mut locked(&tap.queue.waiting).lines);
    let text = String::from_utf8(lines).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_sees_what_it_wants() {
    let passing = [
        log("net", "h1", r#"{"n":0,"message":"failed"}"#),
        log("web", "h2", r#"{"n":1,"message":"ok"}"#),
        Passing { lane: DROPPED, ..log("net", "h1", r#"{"n":2}"#) },
        Passing::alert("press-7", br#"{"n":3}"#),
    ];
    #[track_caller]
    fn check(passing: &[Passing<'_>], wants: Wants, expected: &[u64]) {
        let taps = Arc::new(Taps::default());
        let tap = taps.tap(wants).unwrap();
        passing.iter().for_each(|it| taps.show(*it));
        let seen: Vec<u64> = lines(&tap).iter().map(|line| line["n"].as_u64().unwrap()).collect();
        assert_eq!(seen, expected);
    }
    let some = |text: &str| Some(text.to_owned());
    check(&passing, all(), &[0, 1, 3]);
    check(&passing, Wants { dropped: true, ..all() }, &[0, 1, 2, 3]);
    check(&passing, Wants { source: some("n*"), dropped: true, ..all() }, &[0, 2]);
    check(&passing, Wants { device: some("h2"), ..all() }, &[1]);
    check(&passing, Wants { device: some("dev"), ..all() }, &[0, 1]);
    check(&passing, Wants { kind: some("alert"), ..all() }, &[3]);
    check(&passing, Wants { text: some("\"fai"), ..all() }, &[0]);
    check(&passing, Wants { sample: 2, ..all() }, &[0, 3]);
}

#[test]
fn a_line_has_the_record_and_its_lane() {
    let taps = Arc::new(Taps::default());
    assert!(!taps.is_open());
    let tap = taps.tap(all()).unwrap();
    assert!(taps.is_open());
    taps.show(log("net", "h", r#"{"a":1}"#));
    assert_eq!(lines(&tap), [serde_json::json!({"lane": "rest", "a": 1})]);
    drop(tap);
    assert!(!taps.is_open());
    taps.show(log("net", "h", r#"{"a":1}"#));
}

#[test]
fn who_does_not_read_takes_no_more_than_its_room_and_is_told_what_is_missing() {
    let taps = Arc::new(Taps::default());
    let tap = taps.tap(all()).unwrap();
    let json = format!("{{\"message\":\"{}\"}}", "x".repeat(10_000));
    for _ in 0..1_000 {
        taps.show(log("net", "h", &json));
    }
    let held = taps.held_bytes() as usize;
    assert!((ROOM_BYTES - 10_200..=ROOM_BYTES).contains(&held), "{held}");
    assert_eq!(locked(&tap.queue.waiting).lines.capacity(), ROOM_BYTES);
    let seen = lines(&tap).len() as u64;
    taps.show(log("net", "h", &json));
    let after = lines(&tap);
    assert_eq!(after[0]["left_out"]["no_room"], 1_000 - seen);
    assert_eq!(after.len(), 2);
}

#[test]
fn no_more_a_second_than_is_wanted() {
    let taps = Arc::new(Taps::default());
    let tap = taps.tap(Wants { per_s: 3, ..all() }).unwrap();
    for _ in 0..5 {
        taps.show(log("net", "h", r#"{"a":1}"#));
    }
    assert_eq!(lines(&tap).len(), 3);
    // Another second.
    locked(&tap.queue.waiting).second.0 -= Duration::from_secs(1);
    taps.show(log("net", "h", r#"{"a":1}"#));
    assert_eq!(lines(&tap)[0]["left_out"]["above_rate"], 2);
}

#[test]
fn no_more_taps_than_the_pipeline_can_bear() {
    let taps = Arc::new(Taps::default());
    let mut open: Vec<Tap> = (0..TAPS_MAX).map(|_| taps.tap(all()).unwrap()).collect();
    assert!(taps.tap(all()).is_none());
    open.pop();
    assert!(taps.tap(all()).is_some());
}
