use proptest::prelude::*;

use super::*;

/// Measurement, tags, metrics, texts and time of a line, in one readable text.
fn shown(line: &Line<'_>) -> String {
    let reading = &line.reading;
    let mut out = line.measurement.to_string();
    for (name, value) in &reading.tags {
        out += &format!(" [{name}={value}]");
    }
    for value in &reading.values {
        out += &format!(" {}={:?}", value.name, value.v);
    }
    for (name, text) in &reading.texts {
        out += &format!(" {name}={text:?}");
    }
    if let Some(ts_us) = reading.ts_us {
        out += &format!(" @{ts_us}");
    }
    out
}

#[track_caller]
fn check_with(fields: &LineFields, input: &str, expected: &str, reason: Option<&str>) {
    let line = parse(input.as_bytes(), fields, &Limits::default()).unwrap();
    assert_eq!(shown(&line), expected, "{input}");
    assert_eq!(line.reading.reason.as_deref(), reason, "{input}");
    assert_eq!(line.reading.state == ParseState::Ok, reason.is_none());
}

#[track_caller]
fn check(input: &str, expected: &str) {
    check_with(&LineFields::default(), input, expected, None);
}

#[track_caller]
fn check_partial(input: &str, expected: &str, reason: &str) {
    check_with(&LineFields::default(), input, expected, Some(reason));
}

#[track_caller]
fn check_raw(input: &str, reason: &str) {
    check_with(&LineFields::default(), input, "", Some(reason));
    assert_eq!(
        parse(input.as_bytes(), &LineFields::default(), &Limits::default()).unwrap().reading.state,
        ParseState::Raw
    );
}

#[test]
fn whole_lines() {
    check(
        "weather,location=us temperature=82 1465839830100400200",
        "weather [location=us] weather.temperature=82.0 @1465839830100400",
    );
    check("weather temperature=82", "weather weather.temperature=82.0");
    check(
        "m a=1,b=-2.5e3,c=3i,d=4u,e=t,f=FALSE 0",
        "m m.a=1.0 m.b=-2500.0 m.c=3.0 m.d=4.0 m.e=1.0 m.f=0.0 @0",
    );
    check("temp value=1.5 -1", "temp temp=1.5 @-1");
    check(
        "m,t=1 s=\"a, b=c \\\" \\\\ \\n\",v=2i\r\n",
        "m [t=1] m.v=2.0 m.s=\"a, b=c \\\" \\\\ \\\\n\"",
    );
    check("  m   v=1   1000  ", "m m.v=1.0 @1");
    check("m v=9007199254740992i", "m m.v=9007199254740992.0");
}

#[test]
fn escapes_of_the_protocol() {
    check(r"my\ m\,x,tag\ k\=1=v\,1\ 2 f\ \=\,k=1", "my m,x [tag k=1=v,1 2] my m,x.f =,k=1.0");
    check(r"m,path=C:\dir\x v=1", r"m [path=C:\dir\x] m.v=1.0");
    check("größe,ort=köln wert=1", "größe [ort=köln] größe.wert=1.0");
    check(r"a=b v=1", "a=b a=b.v=1.0");
}

#[test]
fn fields_of_the_source() {
    let fields: LineFields = toml::from_str(
        "device = 'host'\nsite = 'plant'\nprecision = 's'\nmeasurement_in_name = false",
    )
    .unwrap();
    let line =
        parse(b"m,host=d1,plant=p1,x=y v=1,value=2 17", &fields, &Limits::default()).unwrap();
    assert_eq!(line.reading.device.as_deref(), Some("d1"));
    assert_eq!(line.reading.site.as_deref(), Some("p1"));
    assert_eq!(shown(&line), "m [x=y] v=1.0 value=2.0 @17000000");
    assert!(toml::from_str::<LineFields>("devise = 'host'").is_err());
    let us = LineFields { precision: Precision::Us, ..LineFields::default() };
    check_with(&us, "m v=1 17", "m m.v=1.0 @17", None);
    let ms = LineFields { precision: Precision::Ms, ..LineFields::default() };
    check_with(&ms, "m v=1 17", "m m.v=1.0 @17000", None);
    let reason = Some("the time stamp is out of range: check the precision of the source");
    check_with(&ms, "m v=1 9223372036854775807", "m m.v=1.0", reason);
}

#[test]
fn what_is_half_good_is_kept() {
    check_partial(
        "m v=9007199254740993i",
        "m m.v=9007199254740992.0",
        "field `m.v` is beyond 2^53, it is rounded",
    );
    check_partial(
        "m v=18446744073709551615u",
        "m m.v=1.8446744073709552e19",
        "field `m.v` is beyond 2^53, it is rounded",
    );
    check_partial(
        "m a=nan,b=1",
        "m m.b=1.0",
        "field `m.a` holds no number, boolean or string, it is left out",
    );
    check_partial(
        "m a=1e999,b=1",
        "m m.b=1.0",
        "field `m.a` holds no number, boolean or string, it is left out",
    );
    check_partial(
        "m a=,b=1",
        "m m.b=1.0",
        "field `m.a` holds no number, boolean or string, it is left out",
    );
    check_partial("m a=1,a=2", "m m.a=2.0", "field `m.a` occurs twice, the last one counts");
}

#[test]
fn bad_lines_are_raw_with_the_reason() {
    check_raw("weather", "no fields after the measurement");
    check_raw("weather,location=us", "no fields after the tags");
    check_raw("weather,location temperature=82", "a tag without a value");
    check_raw("weather,=us temperature=82", "a tag without a name or a value");
    check_raw("weather,a=b=c temperature=82", "an unescaped `=` in a tag");
    check_raw(",a=b v=1", "no measurement");
    check_raw("weather temperature", "a field without a value");
    check_raw("weather =82", "a field without a name");
    check_raw("weather v=1 2 3", "the time stamp is no integer");
    check_raw("weather v=1 now", "the time stamp is no integer");
    check_raw("weather v=1, 5", "a field without a value");
    check_raw("weather s=\"open 5", "a string without its closing quote");
    check_raw("weather s=\"a\"b 5", "something right after the closing quote of a string");
    let long = format!("m v=1,{}=1", "x".repeat(2000));
    check_raw(&long, "a name or tag longer than the limit");
    let line = parse(b"m v=\xff", &LineFields::default(), &Limits::default()).unwrap();
    assert_eq!(line.reading, Reading::raw("not UTF-8"));
    // Nothing is left of a line whose only field is bad.
    let line = parse(b"m v=x", &LineFields::default(), &Limits::default()).unwrap();
    assert_eq!(line.reading.state, ParseState::Raw);
}

#[test]
fn comments_and_empty_lines_are_nothing() {
    for input in ["", "  \r\n", "# comment", "\0"] {
        assert_eq!(parse(input.as_bytes(), &LineFields::default(), &Limits::default()), None);
    }
}

#[test]
fn fields_are_bounded() {
    let limits = Limits { reading_fields: 2, line_bytes: 30, ..Limits::default() };
    let line = parse(b"m a=1,b=2,c=3", &LineFields::default(), &limits).unwrap();
    assert_eq!(shown(&line), "m m.a=1.0 m.b=2.0");
    assert_eq!(line.reading.reason.as_deref(), Some("more than 2 values, the rest is left out"));
    let line = parse(b"m,a=1,b=2,c=3 v=1", &LineFields::default(), &limits).unwrap();
    assert_eq!(line.reading.tags.len(), 2);
    assert_eq!(line.reading.reason.as_deref(), Some("more than 2 tags, the rest is left out"));
    let line = parse(b"m a=1111111111111111111111111111", &LineFields::default(), &limits).unwrap();
    assert_eq!(line.reading.reason.as_deref(), Some("longer than the limit of a line"));
}

proptest! {
    #[test]
    fn no_bytes_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&input, &LineFields::default(), &Limits::default());
    }

    #[test]
    fn near_lines_never_panic(input in r#"[a,= \\"1ift.\n]{0,40}"#) {
        let _ = parse(input.as_bytes(), &LineFields::default(), &Limits::default());
    }

    #[test]
    fn what_is_written_is_read(
        measurement in "[a-z][a-z ,]{0,6}[a-z]",
        tag in "[a-z=, ]{1,8}",
        text in any::<String>().prop_filter("one line", |text| text.len() < 500),
        v in any::<f64>().prop_filter("finite", |v| v.is_finite()),
        n in any::<i32>(),
        ns in any::<i64>(),
    ) {
        let escape = |text: &str, special: &[char]| text.chars().flat_map(|c| special.contains(&c).then_some('\\').into_iter().chain([c])).collect::<String>();
        let line = format!(
            "{},t={} f={v},n={n}i,s=\"{}\" {ns}",
            escape(&measurement, &[',', ' ']), escape(&tag, &[',', '=', ' ']), escape(&text, &['"', '\\']),
        );
        let fields = LineFields { measurement_in_name: false, ..LineFields::default() };
        let read = parse(line.as_bytes(), &fields, &Limits::default()).unwrap();
        prop_assert_eq!(&read.reading.reason, &None);
        prop_assert_eq!(&read.measurement, &measurement);
        prop_assert_eq!(&read.reading.tags[0].1, &tag);
        prop_assert_eq!(read.reading.values[0].v.to_bits(), v.to_bits());
        prop_assert_eq!(read.reading.values[1].v, f64::from(n));
        prop_assert_eq!(&read.reading.texts[0].1, &text);
        prop_assert_eq!(read.reading.ts_us, Some(ns.div_euclid(1000)));
    }
}
