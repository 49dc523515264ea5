//! Cisco's headers.

use super::*;

/// A message of Cisco's kind, without time and with the reason, or of 1 March 18:46:11.123.
#[track_caller]
fn check_cisco(text: &str, host: &'static str, app: &'static str, message: &'static str) {
    let some = |field: &'static str| (!field.is_empty()).then_some(field);
    let expected = Expected {
        pri: Some((23, 5)),
        ts: Some("2026-03-01T18:46:11.123Z"),
        host: some(host),
        app: some(app),
        message,
        ..Expected::default()
    };
    check(&format!("<189>{text}"), Dialect::Cisco, expected);
}

#[test]
fn cisco_headers() {
    let app = "%SYS-5-CONFIG_I";
    check_cisco("000019:Mar  1 18:46:11.123: %SYS-5-CONFIG_I:Configured", "", app, "Configured");
    check_cisco(
        "123: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured",
        "",
        app,
        "Configured",
    );
    check_cisco("123: Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured", "", app, "Configured");
    check_cisco(
        "123: .Mar  1 2026 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "",
        app,
        "Configured",
    );
    check_cisco(
        "123: rtr1: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "rtr1",
        app,
        "Configured",
    );
    check_cisco(
        "123: rtr1: 000077: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "rtr1",
        app,
        "Configured",
    );
    check_cisco("*Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured", "", app, "Configured");
    check_cisco("Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured", "", app, "Configured");
    check_cisco(
        "rtr1: Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
        "rtr1",
        app,
        "Configured",
    );
    check_cisco(
        ": 2026 Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured",
        "",
        app,
        "Configured",
    );
    check_cisco("Mar  1 18:46:11.123 fw1 : %ASA-6-302013: Built", "fw1", "%ASA-6-302013", "Built");
    check_cisco("Mar  1 18:46:11.123 fw1 %ASA-6-302013: Built", "fw1", "%ASA-6-302013", "Built");
    check_cisco("Mar  1 18:46:11.123 fw1: %ASA-6-302013: Built", "fw1", "%ASA-6-302013", "Built");
    check_cisco("Mar  1 2026 18:46:11.123: %ASA-6-302013 : Built", "", "%ASA-6-302013", "Built");
    check_cisco("Mar  1 2026 18:46:11.123 %ASA: Built", "", "%ASA", "Built");
    check_cisco(
        "Mar  1 18:46:11.123 10.0.0.1 26: rtr1: *Mar  1 18:46:10: %SYS-5-CONFIG_I: Configured",
        "10.0.0.1",
        app,
        "Configured",
    );
    check_cisco(
        "8: RP/0/RSP0/CPU0:Mar  1 18:46:11.123 : bgp: %ROUTING-BGP-5-ADJCHANGE : up",
        "",
        "bgp",
        "%ROUTING-BGP-5-ADJCHANGE : up",
    );
    check_cisco(
        "8: xr1 RP/0/RSP0/CPU0:Mar  1 18:46:11.123 : bgp: %ROUTING-BGP-5-ADJCHANGE : up",
        "xr1",
        "bgp",
        "%ROUTING-BGP-5-ADJCHANGE : up",
    );
    check_cisco(
        "wlc1: *apfTask0: Mar  1 18:46:11.123: %APF-5-X: apf.c:8 m",
        "wlc1",
        "%APF-5-X",
        "apf.c:8 m",
    );
    check(
        "<189>8: RP/0/RSP0/CPU0:Mar  1 18:46:11.123 : bgp[1046]: up",
        Dialect::Cisco,
        Expected {
            pri: Some((23, 5)),
            ts: Some("2026-03-01T18:46:11.123Z"),
            app: Some("bgp"),
            procid: Some("1046"),
            message: "up",
            ..Expected::default()
        },
    );
    let without = Expected {
        pri: Some((23, 5)),
        app: Some("%LINK-3-UPDOWN"),
        message: "down",
        ..Expected::default()
    };
    let no_stamp = Expected { reason: Some("no time stamp"), ..without };
    check("<189>%LINK-3-UPDOWN: down", Dialect::Cisco, no_stamp);
    check("<189>12: %LINK-3-UPDOWN: down", Dialect::Cisco, no_stamp);
    let uptime = Expected { reason: Some("the time stamp is an uptime"), ..without };
    check("<189>12: 1w2d: %LINK-3-UPDOWN: down", Dialect::Cisco, uptime);
    check("<189>12: 00:00:46: %LINK-3-UPDOWN: down", Dialect::Cisco, uptime);
    check("<189>00:00:46: %LINK-3-UPDOWN: down", Dialect::Cisco, uptime);
}
