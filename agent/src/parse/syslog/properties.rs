//! What holds for every input.

use proptest::prelude::*;

use super::*;

const RECEIVED_US: i64 = 1_781_524_800_000_000;

/// Checks that what came out is bounded and lies within what came in.
#[track_caller]
fn check(input: &[u8]) {
    let limits = Limits {
        line_bytes: 300,
        field_bytes: 20,
        sd_elements: 3,
        sd_params: 4,
        ..Limits::default()
    };
    let readable = Readable::new(input, &limits);
    let out = parse(&readable, RECEIVED_US, &Zone::UTC, &limits);
    let begin = readable.text().as_ptr() as usize;
    let lies_within = |field: &str| {
        let at = field.as_ptr() as usize;
        at >= begin && at + field.len() <= begin + readable.text().len()
    };
    for field in [out.host, out.app, out.procid, out.msgid].into_iter().flatten() {
        assert!(
            !field.is_empty() && field.len() <= limits.field_bytes && lies_within(field),
            "{field:?}"
        );
    }
    assert!(out.sd.is_empty() || lies_within(out.sd.as_str()));
    assert!(out.sd.elements().count() <= limits.sd_elements);
    assert!(out.sd.elements().flat_map(|element| element.params()).count() <= limits.sd_params);
    assert!(out.message.is_empty() || lies_within(out.message));
    assert_eq!(
        readable.fault().is_some(),
        std::str::from_utf8(input).is_err() || input.len() > 300
    );
    assert_eq!(out.state == ParseState::Ok, out.reason.is_none());
    assert_eq!(out.facility.is_some(), out.severity.is_some());
    assert!(
        out.facility.is_none_or(|facility| facility < 24)
            && out.severity.is_none_or(|severity| severity < 8)
    );
    if out.state == ParseState::Raw {
        assert!(out.host.is_none() && out.app.is_none() && out.ts_us.is_none());
    }
}

fn nil_or(pattern: &'static str) -> impl Strategy<Value = Option<String>> {
    proptest::option::of(pattern.prop_filter("nil", |text| text != "-"))
}

type Element = (String, Vec<(String, String)>);

fn elements() -> impl Strategy<Value = Vec<Element>> {
    let name = "[!#-<>-\\\\^-~]{1,32}";
    proptest::collection::vec(
        (name, proptest::collection::vec((name, any::<String>()), 0..4)),
        0..4,
    )
}

/// Structured data as RFC 5424 writes it.
fn written(elements: &[Element]) -> String {
    if elements.is_empty() {
        return "-".to_owned();
    }
    let mut out = String::new();
    for (id, params) in elements {
        out += &format!("[{id}");
        for (name, value) in params {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
            out += &format!(" {name}=\"{value}\"");
        }
        out += "]";
    }
    out
}

proptest! {
    #[test]
    fn any_bytes(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&input);
    }

    #[test]
    fn bytes_after_a_header(
        header in proptest::sample::select(vec![
            "<34>1 2003-10-11T22:14:15.003Z h a p m ", "<34>1 ", "<34>", "<34>Oct 11 22:14:15 ", "<189>12: *Mar  1 18:46:11.123: ",
            "Oct 11 22:14:15 h ", "2003-10-11T22:14:15Z h app[", "<134>1 1563249630.7 ", "12 <34>",
        ]),
        rest in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        check(&[header.as_bytes(), &rest].concat());
    }

    #[test]
    fn texts_like_syslog(input in r#"(<[0-9]{1,3}>)?[1 ]{0,2}(Oct 11|2003-10-11|Mar  1)?[ T]?(22:14:15)?[.:Z +0-9]{0,5}[a-z\[\]:"=% \\*é-]{0,30}"#) {
        check(input.as_bytes());
    }

    #[test]
    fn rfc5424_gives_its_parts_back(
        priority in 0..192_u8,
        ts_us in -62_135_596_800_000_000..253_402_300_799_999_999_i64,
        host in nil_or("[!-~]{1,255}"),
        app in nil_or("[!-~]{1,48}"),
        procid in nil_or("[!-~]{1,128}"),
        msgid in nil_or("[!-~]{1,32}"),
        elements in elements(),
        message in any::<String>().prop_filter("kept as it is", |text| !text.ends_with(['\0', '\n', '\r']) && !text.starts_with('\u{feff}')),
    ) {
        let ts = jiff::Timestamp::from_microsecond(ts_us).unwrap();
        let nil = |field: &Option<String>| field.clone().unwrap_or("-".to_owned());
        let sd = written(&elements);
        let line = format!("<{priority}>1 {ts} {} {} {} {} {sd} {message}", nil(&host), nil(&app), nil(&procid), nil(&msgid));
        let out = parse_bytes(line.as_bytes(), RECEIVED_US, &Zone::UTC, &Limits::default());
        prop_assert_eq!(out.reason, None, "{}", line);
        prop_assert_eq!(out.dialect, Dialect::Rfc5424);
        prop_assert_eq!(out.facility.zip(out.severity), Some((priority / 8, priority % 8)));
        prop_assert_eq!(out.ts_us, Some(ts_us));
        prop_assert_eq!((out.host, out.app), (host.as_deref(), app.as_deref()));
        prop_assert_eq!((out.procid, out.msgid), (procid.as_deref(), msgid.as_deref()));
        prop_assert_eq!(out.message, message);
        let read: Vec<Element> = out.sd.elements()
            .map(|element| (element.id.to_owned(), element.params().map(|(name, value)| (name.to_owned(), value.into_owned())).collect()))
            .collect();
        prop_assert_eq!(read, elements);
    }

    #[test]
    fn rfc3164_gives_its_parts_back(
        priority in 0..192_u8,
        ts_s in 1_766_000_000..1_797_000_000_i64,
        host in "[a-z][a-z0-9.-]{0,20}[a-z0-9]",
        app in "[a-z][a-z0-9_./-]{0,20}",
        procid in proptest::option::of("[0-9]{1,7}"),
        message in "[!-~]([ -~]{0,30}[!-~])?",
    ) {
        // A host named like a severity, a month or so is another case.
        prop_assume!(!tag::is_severity(&host));
        let ts = jiff::Timestamp::from_second(ts_s).unwrap();
        let pid = procid.as_ref().map(|pid| format!("[{pid}]")).unwrap_or_default();
        let line = format!("<{priority}>{} {host} {app}{pid}: {message}", ts.strftime("%b %e %H:%M:%S"));
        let out = parse_bytes(line.as_bytes(), RECEIVED_US, &Zone::UTC, &Limits::default());
        prop_assert_eq!(out.ts_us, Some(ts_s * 1_000_000), "{}", line);
        prop_assert_eq!((out.host, out.app, out.procid), (Some(host.as_str()), Some(app.as_str()), procid.as_deref()), "{}", line);
        prop_assert_eq!(out.message, message);
        prop_assert_eq!(out.dialect, Dialect::Rfc3164);
        prop_assert_eq!(out.ts_rule, StampRule::NearestYear);
    }
}
