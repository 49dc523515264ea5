//! `fixtures/syslog/forms.ndjson`: one line each of the forms in which senders write, made by us
//! after the RFCs and the senders' documentation, with what a careful operator reads in it. The
//! lines can be piped into `weir-agent explain --json` as they are. After a change that is meant,
//! `UPDATE_EXPECT=1 cargo test -p weir-agent forms` writes the file anew; read the difference.

use std::fmt::Write as _;

use super::*;

/// One line of the file. Only `raw` or `raw_b64` is read.
#[derive(serde::Serialize, serde::Deserialize)]
struct Form<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_b64: Option<String>,
    #[serde(skip_deserializing)]
    pri: Option<(u8, u8)>,
    #[serde(skip_deserializing)]
    ts: Option<String>,
    #[serde(skip_deserializing)]
    host: Option<&'a str>,
    #[serde(skip_deserializing)]
    app: Option<&'a str>,
    #[serde(skip_deserializing)]
    procid: Option<&'a str>,
    #[serde(skip_deserializing)]
    msgid: Option<&'a str>,
    #[serde(skip_deserializing, skip_serializing_if = "StructuredData::is_empty")]
    sd: StructuredData<'a>,
    #[serde(skip_deserializing)]
    message: &'a str,
    #[serde(skip_deserializing)]
    dialect: &'static str,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[test]
fn forms_of_senders() {
    use base64::Engine as _;
    let path = super::fixtures::folder().join("forms.ndjson");
    let received_us = "2026-06-15T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let mut actual = String::new();
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        let mut form: Form<'_> = serde_json::from_str(line).unwrap();
        let bytes = match (&form.raw, &form.raw_b64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, text) => {
                base64::engine::general_purpose::STANDARD.decode(text.as_deref().unwrap()).unwrap()
            }
        };
        let out = parse_bytes(bytes.leak(), received_us, &Zone::UTC, &Limits::default());
        form.pri = out.facility.zip(out.severity);
        form.ts =
            out.ts_us.map(|ts_us| jiff::Timestamp::from_microsecond(ts_us).unwrap().to_string());
        form.host = out.host;
        form.app = out.app;
        form.procid = out.procid;
        form.msgid = out.msgid;
        form.sd = out.sd;
        form.message = out.message;
        form.dialect = out.dialect.as_str();
        form.reason = out.reason;
        writeln!(actual, "{}", serde_json::to_string(&form).unwrap()).unwrap();
    }
    expect_test::expect_file![path].assert_eq(&actual);
}
