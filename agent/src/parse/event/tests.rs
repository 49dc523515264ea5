#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use bytes::Bytes;
use expect_test::{Expect, expect};
use weir_models::device::Device;

const RECEIVED_US: i64 = 1_781_524_800_000_000;

fn parser() -> Parser {
    let text = r#"
        agent = { id = "gw", site = "home" }
        kafka = { brokers = ["localhost:9092"] }
        [[source.syslog]]
        listen = "udp://127.0.0.1:0"
        zone = "UTC"
        [[source.http]]
        listen = "127.0.0.1:0"
        keep_raw = false
        [source.http.fields]
        device = "id"
        time = "ts"
        values = "data"
    "#;
    let config = Config::parse("agent.toml", text).unwrap();
    Parser::new(&"gw".into(), &config).unwrap()
}

fn parse(index: usize, format: Format, labels: &Labels, payload: &[u8]) -> Box<Event> {
    let source = Source { name: "src".into(), index, format };
    let raw = Raw { bytes: Bytes::copy_from_slice(payload), received_us: RECEIVED_US, cut: false };
    let peer = Some("10.0.0.9".parse().unwrap());
    parser().parse(&source, peer, Some(labels), &raw).into_event()
}

#[track_caller]
fn check(index: usize, format: Format, labels: &Labels, payload: &str, expected: Expect) {
    let mut json = Vec::new();
    parse(index, format, labels, payload.as_bytes()).write_json(&mut json);
    expected.assert_eq(std::str::from_utf8(&json).unwrap());
}

#[test]
fn a_syslog_line_is_a_log_event_of_its_host() {
    check(
        0,
        Format::Syslog,
        &Labels::default(),
        "<34>Jun 14 22:14:15 web su[7]: 'su root' failed",
        expect![[
            r#"{"agent":"gw","stream":"0000000000000000","seq":0,"site":"home","device":"web","ts_us":1781475255000000,"received_us":1781524800000000,"clock":"synced","source":"src","dialect":"rfc3164","parse":"ok","meta_state":"miss","facility":4,"severity":2,"host":"web","app":"su","procid":"7","message":"'su root' failed","raw":"<34>Jun 14 22:14:15 web su[7]: 'su root' failed"}"#
        ]],
    );
}

#[test]
fn a_clock_that_is_wrong_gives_no_year() {
    #[track_caller]
    fn check(believed_from_us: i64, line: &str, expected: (i64, Clock)) {
        let mut parser = parser();
        parser.believe_from(believed_from_us);
        let source = Source { name: "src".into(), index: 0, format: Format::Syslog };
        let bytes = Bytes::copy_from_slice(line.as_bytes());
        let raw = Raw { bytes, received_us: RECEIVED_US, cut: false };
        let event = parser.parse(&source, None, None, &raw).into_event();
        assert_eq!((event.ts_us, event.clock), expected, "{line}");
    }
    let (guessed, stated) =
        ("<34>Jun 14 22:14:15 web su: x", "<34>1 2026-06-14T22:14:15Z web su - - - x");
    check(RECEIVED_US, guessed, (1_781_475_255_000_000, Clock::Synced));
    check(RECEIVED_US + 1, guessed, (RECEIVED_US, Clock::Unsynced));
    check(RECEIVED_US + 1, stated, (1_781_475_255_000_000, Clock::Unsynced));
}

#[test]
fn what_cannot_be_parsed_is_an_event_with_its_bytes_and_the_reason() {
    check(
        1,
        Format::Json,
        &Labels::default(),
        "{\"id\":",
        expect![[
            r#"{"agent":"gw","stream":"0000000000000000","seq":0,"site":"home","device":"10.0.0.9","ts_us":1781524800000000,"received_us":1781524800000000,"clock":"synced","source":"src","dialect":"json","parse":"raw","parse_reason":"not JSON: a value is missing at byte 6","meta_state":"miss","host":"10.0.0.9","message":"{\"id\":"}"#
        ]],
    );
    let event = parse(0, Format::Syslog, &Labels::default(), b"<34>\xff\xfe");
    assert_eq!(event.raw, Some(RawBytes(Bytes::from_static(b"<34>\xff\xfe"))));
    assert_ne!(event.parse, ParseState::Ok);
}

#[test]
fn a_json_message_is_a_reading_by_the_rule_of_its_source() {
    check(
        1,
        Format::Json,
        &Labels { site: Some("plant".into()), ..Labels::default() },
        r#"{"id":"b-1","ts":1594598735.7727768,"data":{"temp":27.0,"light":true}}"#,
        expect![[
            r#"{"agent":"gw","stream":"0000000000000000","seq":0,"site":"plant","device":"b-1","ts_us":1594598735772776,"received_us":1781524800000000,"clock":"synced","source":"src","dialect":"json","parse":"ok","meta_state":"miss","values":{"light":{"v":1.0},"temp":{"v":27.0}}}"#
        ]],
    );
}

#[test]
fn a_topic_names_what_a_bare_number_does_not() {
    let labels =
        Labels { device: Some("b-2".into()), metric: Some("temp".into()), ..Labels::default() };
    let event = parse(0, Format::Json, &labels, b"21.5");
    assert_eq!(event.device, "b-2");
    let Body::Reading(values) = event.body else { unreachable!() };
    assert_eq!(values["temp"].v, 21.5);
}

#[test]
fn a_line_takes_device_and_precision_from_where_they_are() {
    let labels = Labels { time_unit: Some(TimeUnit::Seconds), ..Labels::default() };
    let event = parse(1, Format::Line, &labels, b"temp,device=b-3 value=21.5 1594598735");
    assert_eq!((event.device.as_str(), event.ts_us), ("b-3", 1_594_598_735_000_000));
    let event = parse(1, Format::Line, &labels, b"cpu,host=h-1 user=3,idle=97i");
    assert_eq!((event.device.as_str(), event.ts_us), ("h-1", RECEIVED_US));
    let Body::Reading(values) = event.body else { unreachable!() };
    assert_eq!(values.keys().collect::<Vec<_>>(), ["cpu.idle", "cpu.user"]);
}

#[test]
fn names_that_would_break_a_key_are_mended() {
    let event = parse(1, Format::Line, &Labels::default(), b"t,device=a/b value=1");
    assert_eq!(event.device, "a_b");
    let long = format!("t,device={} value=1", "ä".repeat(300));
    let event = parse(1, Format::Line, &Labels::default(), long.as_bytes());
    assert_eq!(event.device.len(), NAME_BYTES_MAX);
}

#[test]
fn metadata_names_the_device_and_gives_units() {
    let dir = tempfile::tempdir().unwrap();
    let table = Arc::new(crate::enrich::Table::open(&dir.path().join("m.redb")).unwrap());
    let device = Device {
        site: "home".into(),
        device: "boiler".into(),
        aliases: vec!["b-3".into()],
        meta: [("floor".to_owned(), "2".to_owned())].into(),
        units: [("temp".to_owned(), "C".to_owned())].into(),
        updated_us: 1,
    };
    table.apply(&[crate::enrich::Update::Put(device)]).unwrap();
    table.in_step(RECEIVED_US);
    let mut enricher = Enricher::new(&crate::enrich::MetadataConfig::default(), table);
    let parsed = parse(1, Format::Line, &Labels::default(), b"temp,device=b-3 value=21.5");
    let event =
        Parsed { event: parsed, ts_rule: StampRule::None }.enrich(&mut enricher).into_event();
    assert_eq!(event.device, "boiler");
    assert_eq!((event.meta_state, event.meta_age_s), (MetaState::Hit, Some(0)));
    assert_eq!(event.meta["floor"], "2");
    let Body::Reading(values) = event.body else { unreachable!() };
    assert_eq!(values["temp"].unit.as_deref(), Some("C"));
}

#[test]
fn a_line_from_this_machine_that_names_no_host_is_of_this_machine() {
    let of = |format, payload: &[u8]| {
        let source = Source { name: "src".into(), index: 0, format };
        let bytes = Bytes::copy_from_slice(payload);
        let raw = Raw { bytes, received_us: RECEIVED_US, cut: false };
        parser().parse(&source, None, None, &raw).into_event().device
    };
    assert_eq!(of(Format::Syslog, b"<34>Jun 14 22:14:15 su[7]: failed"), host_name());
    assert_eq!(of(Format::Text, b"failed"), host_name());
    assert_eq!(of(Format::Syslog, b"<34>Jun 14 22:14:15 web su[7]: failed"), "web");
    assert_eq!(of(Format::Json, b"{\"temperature\":1}"), "unknown");
}

#[test]
fn nothing_of_an_event_is_left_in_the_next_one() {
    let mut parser = parser();
    let payloads: [(Format, &str); 7] = [
        (
            Format::Syslog,
            r#"<165>1 2026-06-15T12:00:00.5Z web sshd 17 ID47 [origin ip="10.0.0.1"] a long message"#,
        ),
        (Format::Syslog, "<34>Jun 14 22:14:15 su: failed"),
        (Format::Line, "climate,device=b-3,site=hall temperature=21.5"),
        (Format::Syslog, "no header at all"),
        (Format::Json, r#"{"id":"b-1","data":{"temp":27.0}}"#),
        (Format::Text, "a line"),
        (Format::Json, "no JSON"),
    ];
    let raw = |payload: &str, cut| Raw {
        bytes: Bytes::copy_from_slice(payload.as_bytes()),
        received_us: RECEIVED_US,
        cut,
    };
    let source = |format| Source { name: "src".into(), index: 0, format };
    for (one, before) in payloads {
        for (other, payload) in payloads {
            let mut event = parser.parse(&source(one), None, None, &raw(before, true)).into_event();
            // As the later stages leave it.
            event.id = EventId { stream: Stream(7), seq: 8 };
            event.meta = Arc::new(
                [("hall".to_owned(), "4".to_owned())]
                    .into_iter()
                    .collect::<BTreeMap<_, _>>()
                    .into(),
            );
            (event.meta_state, event.meta_age_s) = (MetaState::Stale, Some(9));
            if let Body::Log(log) = &mut event.body {
                (log.template, log.score) = (Some(weir_models::ident::TemplateId(1)), Some(2.0));
            }
            parser.recycle(event);
            let raw = raw(payload, false);
            let event = parser.parse(&source(other), None, None, &raw).into_event();
            assert_eq!(event, self::parser().parse(&source(other), None, None, &raw).into_event());
            parser.recycle(event);
        }
    }
}

#[test]
fn metadata_of_an_event_is_not_that_of_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let table = Arc::new(crate::enrich::Table::open(&dir.path().join("m.redb")).unwrap());
    let device = Device {
        site: "home".into(),
        device: "web".into(),
        aliases: Vec::new(),
        meta: [("floor".to_owned(), "2".to_owned())].into(),
        units: BTreeMap::new(),
        updated_us: 1,
    };
    table.apply(&[crate::enrich::Update::Put(device)]).unwrap();
    let mut enricher = Enricher::new(&crate::enrich::MetadataConfig::default(), table);
    let source = Source { name: "src".into(), index: 0, format: Format::Syslog };
    let mut parser = parser();
    for (host, floor) in [("web", Some("2")), ("other", None), ("web", Some("2"))] {
        let bytes = Bytes::from(format!("<34>Jun 14 22:14:15 {host} su: failed"));
        let raw = Raw { bytes, received_us: RECEIVED_US, cut: false };
        let event = parser.parse(&source, None, None, &raw).enrich(&mut enricher).into_event();
        assert_eq!(event.meta.get("floor").map(String::as_str), floor, "{host}");
        assert_eq!(event.meta_state == MetaState::Miss, floor.is_none(), "{host}");
        parser.recycle(event);
    }
}
