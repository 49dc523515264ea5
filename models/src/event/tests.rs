#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use expect_test::expect;
use proptest::prelude::*;

fn event(body: Body, raw: &[u8]) -> Event {
    Event {
        agent: "gw-1".into(),
        id: EventId { stream: Stream(7), seq: 3 },
        site: "plant-a".into(),
        device: "pump-1".into(),
        ts_us: 1_594_598_735_772_776,
        received_us: 1_594_598_735_800_000,
        clock: Clock::Synced,
        source: "udp".into(),
        dialect: "rfc3164".into(),
        parse: ParseState::Ok,
        parse_reason: None,
        meta: Arc::new(BTreeMap::from([("line".into(), "4".into())]).into()),
        meta_state: MetaState::Hit,
        meta_age_s: Some(12),
        raw: Some(RawBytes(raw.to_vec().into())),
        body,
    }
}

fn json(event: &Event) -> String {
    let mut out = Vec::new();
    event.write_json(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_log_is_one_flat_object() {
    let log = Log { severity: Some(4), host: "h".into(), message: "m\n".into(), ..Log::default() };
    expect![[r#"{"agent":"gw-1","stream":"0000000000000007","seq":3,"site":"plant-a","device":"pump-1","ts_us":1594598735772776,"received_us":1594598735800000,"clock":"synced","source":"udp","dialect":"rfc3164","parse":"ok","meta":{"line":"4"},"meta_state":"hit","meta_age_s":12,"severity":4,"host":"h","message":"m\n","raw":"<12>m"}"#]]
    .assert_eq(&json(&event(Body::Log(log), b"<12>m")));
}

#[test]
fn bytes_that_are_not_utf8_travel_as_base64() {
    let sent = event(Body::Log(Log::default()), b"\xff\x00");
    assert!(json(&sent).contains(r#""raw_b64":"/wA=""#));
    assert_eq!(Event::from_json(json(&sent).as_bytes()).unwrap(), sent);
}

#[test]
fn what_is_no_event_is_refused_with_the_field() {
    let text = json(&event(Body::Log(Log::default()), b"")).replace("\"seq\":3,", "");
    let refused = Event::from_json(text.as_bytes()).unwrap_err().to_string();
    assert!(refused.contains("missing field `seq`"), "{refused}");
    assert!(Event::from_json(b"\xff").is_err());
}

#[test]
fn fields_of_a_newer_writer_are_ignored() {
    let text = json(&event(Body::Log(Log::default()), b""))
        .replace("\"seq\":3,", "\"seq\":3,\"new\":[1],");
    assert!(Event::from_json(text.as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        v in proptest::num::f64::NORMAL,
        score in proptest::option::of(-1e6f32..1e6),
        raw in proptest::collection::vec(any::<u8>(), 0..40),
        name in "\\PC{0,12}",
        message in "\\PC{0,40}",
        kind in 0..3,
    ) {
        let body = match kind {
            0 => Body::Reading(BTreeMap::from([(name, Value { v, unit: Some("C".into()), score })])),
            1 => Body::Loss(Loss {
                count: 3,
                range: Some((Stream(9), 1, 3)),
                reason: name.clone(),
                lane: Some(name),
            }),
            _ => Body::Log(Log { host: name, message, score, ..Log::default() }),
        };
        let sent = event(body, &raw);
        prop_assert_eq!(Event::from_json(json(&sent).as_bytes()).unwrap(), sent);
    }
}

/// What `write_json` writes is what serde writes.
#[track_caller]
fn check_written(event: &Event) {
    assert_eq!(json(event), serde_json::to_string(event).unwrap());
}

#[test]
fn every_escape_at_every_place_of_a_word() {
    for code in 0..=0x2_ff_u32 {
        let escaped = char::from_u32(code).unwrap();
        for before in 0..10 {
            let message = format!("{}{escaped}0123456789é\u{80}ÿ", "x".repeat(before));
            let log = Log { message, ..Log::default() };
            check_written(&event(Body::Log(log), b""));
        }
    }
}

fn some_text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(any::<String>())
}

proptest! {
    #[test]
    fn events_are_written_as_serde_writes_them(
        numbers in (any::<u64>(), any::<u64>(), any::<i64>(), any::<i64>(), proptest::option::of(any::<u64>())),
        names in (any::<String>(), any::<String>(), any::<String>(), some_text()),
        log in (proptest::option::of(0..24_u8), proptest::option::of(0..8_u8), any::<String>(), some_text(), some_text(), some_text(), proptest::option::of(any::<u64>())),
        sd in proptest::collection::btree_map(any::<String>(), proptest::collection::btree_map(any::<String>(), any::<String>(), 0..3), 0..3),
        score in proptest::option::of(any::<f32>()),
        state in 0..3_usize,
        raw in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
    ) {
        let body = Log {
            facility: log.0, severity: log.1, host: log.2, app: log.3, procid: log.4, msgid: log.5,
            template: log.6.map(TemplateId), sd: sd.clone(), message: names.0.clone(), score,
        };
        let mut sent = event(Body::Log(body), b"");
        sent.id = EventId { stream: Stream(numbers.0), seq: numbers.1 };
        (sent.ts_us, sent.received_us, sent.meta_age_s) = (numbers.2, numbers.3, numbers.4);
        (sent.site, sent.device, sent.dialect) = (names.0, names.1, names.2.into());
        sent.parse_reason = names.3.map(Into::into);
        sent.meta = Arc::new(sd.into_values().next().unwrap_or_default().into());
        sent.clock = [Clock::Synced, Clock::Unsynced, Clock::Corrected][state];
        sent.parse = [ParseState::Ok, ParseState::Partial, ParseState::Raw][state];
        sent.meta_state = [MetaState::Hit, MetaState::Miss, MetaState::Stale][state];
        sent.raw = raw.map(|raw| RawBytes(raw.into()));
        check_written(&sent);
        let value = Value { v: 0.1, unit: Some("°C".into()), score };
        sent.body = Body::Reading(BTreeMap::from([("a\"b".into(), value)]));
        check_written(&sent);
        sent.body = Body::Loss(Loss {
            count: 3,
            range: Some((Stream(1), 2, 4)),
            reason: "r".into(),
            lane: None,
        });
        check_written(&sent);
    }
}
