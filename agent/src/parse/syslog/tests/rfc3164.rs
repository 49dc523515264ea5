//! RFC 3164, ISO stamps, and the dialects of vendors.

use super::*;

/// A message of RFC 3164 or in its name, of priority 34, 11 October 22:14:15: what follows the stamp.
#[track_caller]
fn check_after_stamp(
    rest: &str,
    host: &'static str,
    app: &'static str,
    procid: &'static str,
    message: &'static str,
) {
    check_stamped(
        "Oct 11 22:14:15",
        rest,
        Dialect::Rfc3164,
        "2026-10-11T22:14:15Z",
        [host, app, procid, message],
    );
}

#[track_caller]
fn check_stamped(
    stamp: &str,
    rest: &str,
    dialect: Dialect,
    ts: &'static str,
    fields: [&'static str; 4],
) {
    let some = |field: &'static str| (!field.is_empty()).then_some(field);
    let [host, app, procid, message] = fields;
    let expected = Expected {
        ts: Some(ts),
        host: some(host),
        app: some(app),
        procid: some(procid),
        message,
        ..Expected::default()
    };
    check(&format!("<34>{stamp}{rest}"), dialect, Expected { pri: Some((4, 2)), ..expected });
    let in_file = match dialect {
        Dialect::Rfc3164 => Dialect::Rfc3164File,
        Dialect::Iso => Dialect::IsoFile,
        other => other,
    };
    check(&format!("{stamp}{rest}"), in_file, expected);
}

#[test]
fn rfc3164_tags() {
    check_after_stamp(" mymachine su: 'su root' failed", "mymachine", "su", "", "'su root' failed");
    check_after_stamp(" h sshd[4721]: Accepted", "h", "sshd", "4721", "Accepted");
    check_after_stamp(" h sshd[4721] Accepted", "h", "sshd", "4721", "Accepted");
    check_after_stamp(" h sshd [4721]: Accepted", "h", "sshd", "4721", "Accepted");
    check_after_stamp(" h sshd[4721] : Accepted", "h", "sshd", "4721", "Accepted");
    check_after_stamp(" h sshd(pam_unix)[9]: opened", "h", "sshd(pam_unix)", "9", "opened");
    check_after_stamp(
        " h postfix/submission/smtpd[3]: NOQUEUE",
        "h",
        "postfix/submission/smtpd",
        "3",
        "NOQUEUE",
    );
    check_after_stamp(" h /usr/sbin/cron[5]: (root)", "h", "/usr/sbin/cron", "5", "(root)");
    check_after_stamp(" h app.with.dots-1_2: m", "h", "app.with.dots-1_2", "", "m");
    check_after_stamp(
        " h com.apple.xpc.launchd[1] (com.apple.x[7]): exited",
        "h",
        "com.apple.xpc.launchd",
        "1",
        "(com.apple.x[7]): exited",
    );
    check_after_stamp(" h vpxd[7F2A]: m", "h", "vpxd", "7F2A", "m");
    check_after_stamp(" h worker[main loop]: m", "h", "worker", "main loop", "m");
    check_after_stamp(" h app[]: m", "h", "app", "", "m");
    check_after_stamp(" h Foo::Bar: m", "h", "Foo::Bar", "", "m");
    check_after_stamp(" h su:failed", "h", "su", "", "failed");
    check_after_stamp(
        " h sudo:     root : TTY=pts/0 ; PWD=/",
        "h",
        "sudo",
        "",
        "root : TTY=pts/0 ; PWD=/",
    );
    check_after_stamp(
        " h kernel: [ 12.345678] usb 1-1: new",
        "h",
        "kernel",
        "",
        "[ 12.345678] usb 1-1: new",
    );
    check_after_stamp(" h app:", "h", "app", "", "");
    check_after_stamp("  h   app:  m", "h", "app", "", "m");
    check_after_stamp(
        " h MSWinEventLog\t1\tSecurity\t77",
        "h",
        "MSWinEventLog",
        "",
        "1\tSecurity\t77",
    );
    check_after_stamp(
        " bigip1 notice mcpd[5423]: 01070413:5: up",
        "bigip1",
        "mcpd",
        "5423",
        "01070413:5: up",
    );
    check_after_stamp(
        " master apache_error [Tue Jun 08] [pid 1] m",
        "master",
        "apache_error",
        "",
        "[Tue Jun 08] [pid 1] m",
    );
    check_after_stamp(" h fluentd no colon", "h", "fluentd", "", "no colon");
    check_after_stamp(
        " fw CEF:0|V|P|1|100|n|5|src=10.0.0.1",
        "fw",
        "CEF",
        "",
        "CEF:0|V|P|1|100|n|5|src=10.0.0.1",
    );
    check_after_stamp(" h app: @cee: {\"a\":1}", "h", "app", "", "@cee: {\"a\":1}");
    check_after_stamp(" h1 10.1.2.3 sched[0]: All", "h1", "sched", "0", "All");
}

#[test]
fn rfc3164_missing_parts() {
    check_after_stamp("", "", "", "", "");
    check_after_stamp(" localhost", "localhost", "", "", "");
    // No tag.
    check_after_stamp(" 10.0.0.99 Use the BFG!", "10.0.0.99", "", "", "Use the BFG!");
    check_after_stamp(" h {\"a\": 1}", "h", "", "", "{\"a\": 1}");
    check_after_stamp(" h @cee: {\"a\": 1}", "h", "", "", "@cee: {\"a\": 1}");
    check_after_stamp(" h date=2026-01-01 type=\"x\"", "h", "", "", "date=2026-01-01 type=\"x\"");
    check_after_stamp(
        " PA-VM 1,2026/01/01 10:00:00,0071,TRAFFIC",
        "PA-VM",
        "",
        "",
        "1,2026/01/01 10:00:00,0071,TRAFFIC",
    );
    check_after_stamp(
        " h last message repeated 3 times",
        "h",
        "",
        "",
        "last message repeated 3 times",
    );
    check_after_stamp(" h -- MARK --", "h", "", "", "-- MARK --");
    check_after_stamp(" h ERROR it broke: badly", "h", "", "", "ERROR it broke: badly");
    check_after_stamp(" h http://a/b is down", "h", "", "", "http://a/b is down");
    check_after_stamp(" h 10:22:33 tick", "h", "", "", "10:22:33 tick");
    // No host.
    check_after_stamp(" haproxy[376]: up", "", "haproxy", "376", "up");
    check_after_stamp(" filterlog: 5,,,100,em0", "", "filterlog", "", "5,,,100,em0");
    check_after_stamp(" sshd[12] Accepted", "", "sshd", "12", "Accepted");
    check_after_stamp(" CEF:0|V|P", "", "CEF", "", "CEF:0|V|P");
    check_after_stamp(" - app: m", "", "app", "", "m");
    // Neither.
    check_after_stamp(" {\"a\":1}", "", "", "", "{\"a\":1}");
    check_after_stamp(" @cee: {\"a\":1}", "", "", "", "@cee: {\"a\":1}");
    check_after_stamp(
        " last message repeated 3 times",
        "",
        "",
        "",
        "last message repeated 3 times",
    );
    check_after_stamp(" : a message", "", "", "", "a message");
}

#[test]
fn rfc3164_hosts() {
    check_after_stamp(" 2001:db8::1 app: m", "2001:db8::1", "app", "", "m");
    check_after_stamp(" fd00:abcd::1 app: m", "fd00:abcd::1", "app", "", "m");
    check_after_stamp(" fe80::1%eth0 app: m", "fe80::1%eth0", "app", "", "m");
    check_after_stamp(" [::1] app: m", "[::1]", "app", "", "m");
    check_after_stamp(" 10.0.0.1: hello world", "10.0.0.1", "", "", "hello world");
    check_after_stamp(" 10.0.0.1:514 app: m", "10.0.0.1:514", "app", "", "m");
    check_after_stamp(
        " s_net@relay/h.example.org app: m",
        "s_net@relay/h.example.org",
        "app",
        "",
        "m",
    );
    check_after_stamp(
        " Message forwarded from aix7: sshd[67]: Accepted",
        "aix7",
        "sshd",
        "67",
        "Accepted",
    );
    check_after_stamp(" <auth.info> bsd1 sshd[5]: m", "bsd1", "sshd", "5", "m");
    check_after_stamp(
        " esx1.example.com Hostd: info hostd[2099] [Originator@6876 sub=Vimsvc] m",
        "esx1.example.com",
        "Hostd",
        "",
        "info hostd[2099] [Originator@6876 sub=Vimsvc] m",
    );
}

#[test]
fn iso_stamps_before_host_and_tag() {
    let check =
        |stamp, ts, rest| check_stamped(stamp, rest, Dialect::Iso, ts, ["nas", "smbd", "12", "m"]);
    check("2023-08-17T16:55:35.689651+02:00", "2023-08-17T14:55:35.689651Z", " nas smbd[12]: m");
    check("2023-08-17T16:55:35Z", "2023-08-17T16:55:35Z", " nas smbd[12]: m");
    check("2023-08-17T16:55:35", "2023-08-17T16:55:35Z", " nas smbd[12]: m");
    check("2023-08-17 16:55:35,5", "2023-08-17T16:55:35.5Z", " nas smbd[12]: m");
    check_stamped(
        "2023-03-18T20:36:59+01:00",
        " 10.1.1.1 firewall,info drop input: in:ether1 out:(unknown 0)",
        Dialect::Mikrotik,
        "2023-03-18T19:36:59Z",
        ["10.1.1.1", "firewall,info", "", "drop input: in:ether1 out:(unknown 0)"],
    );
}

#[test]
fn dialects_of_vendors() {
    check_after_stamp(" h Some Program[12]: m", "h", "Some Program", "12", "m");
    check_after_stamp(" h Failed login [12]: m", "h", "", "", "Failed login [12]: m");
    check_after_stamp(
        " h Error from relay[10.0.0.1]: m",
        "h",
        "",
        "",
        "Error from relay[10.0.0.1]: m",
    );
    check(
        "<14>MiniSwitch 7483c04f9d75,USW_FLEX_MINI-1.8.6: NETDEV: Setup PVID",
        Dialect::PriOnly,
        Expected {
            pri: Some((1, 6)),
            host: Some("MiniSwitch"),
            app: Some("NETDEV"),
            message: "Setup PVID",
            reason: Some("no time stamp"),
            ..Expected::default()
        },
    );
    check(
        "<46>1 2022-03-10 08:04:08.449 clearpass-1 All Audits 30 1 0 Timestamp=Mar 28",
        Dialect::Iso,
        Expected {
            pri: Some((5, 6)),
            ts: Some("2022-03-10T08:04:08.449Z"),
            host: Some("clearpass-1"),
            message: "All Audits 30 1 0 Timestamp=Mar 28",
            ..Expected::default()
        },
    );
    check(
        "<34>Oct 11 22:14:15 10.1.1.9 00077 ports: port 1 is now off-line",
        Dialect::Rfc3164,
        Expected {
            pri: Some((4, 2)),
            ts: Some("2026-10-11T22:14:15Z"),
            host: Some("10.1.1.9"),
            app: Some("ports"),
            msgid: Some("00077"),
            message: "port 1 is now off-line",
            ..Expected::default()
        },
    );
    check_after_stamp(" box daemon.info dnsmasq[12]: started", "box", "dnsmasq", "12", "started");
    check_after_stamp(
        " U7PG2,788a20aabbcc,v4.3.20.11298: hostapd: ath0: STA",
        "U7PG2,788a20aabbcc,v4.3.20.11298",
        "hostapd",
        "",
        "ath0: STA",
    );
    check_after_stamp(
        " (\"U7PG2,788a20aabbcc,v4.3.20.11298\") hostapd: ath0: STA",
        "U7PG2,788a20aabbcc,v4.3.20.11298",
        "hostapd",
        "",
        "ath0: STA",
    );
    check_after_stamp(
        " ap-hall 788a20aabbcc,UAP-AC-Pro-Gen2-4.3.28: hostapd[7]: ath0: STA",
        "ap-hall",
        "hostapd",
        "7",
        "ath0: STA",
    );
    check_after_stamp(
        " ise1 CISE_Passed_Authentications 0000012345 1 0 2026-10-11",
        "ise1",
        "CISE_Passed_Authentications",
        "",
        "0000012345 1 0 2026-10-11",
    );
    check_after_stamp(
        " NAS WinFileService Event: read, Path: /a",
        "NAS",
        "WinFileService",
        "",
        "Event: read, Path: /a",
    );
    check_after_stamp(
        " sw1 %%01IFPDT/4/IF_STATE(l)[50]:Interface up",
        "sw1",
        "%%01IFPDT/4/IF_STATE(l)",
        "50",
        "Interface up",
    );
    check_after_stamp(
        " 10.0.0.1-1 TRAPMGR[123]: traputil.c(613) 12 %% Link Down",
        "10.0.0.1-1",
        "TRAPMGR",
        "123",
        "traputil.c(613) 12 %% Link Down",
    );
    let fields = ["ns1", "0-PPE-0", "", "default TCP CONN_TERMINATE 12 0 : Source"];
    check_stamped(
        "10/11/2026:22:14:15 GMT",
        " ns1 0-PPE-0 : default TCP CONN_TERMINATE 12 0 : Source",
        Dialect::Rfc3164,
        "2026-10-11T22:14:15Z",
        fields,
    );
    let fields = ["", "dnsmasq", "12", "started"];
    check_stamped(
        "Sun Oct 11 22:14:15 2026",
        " daemon.info dnsmasq[12]: started",
        Dialect::Rfc3164,
        "2026-10-11T22:14:15Z",
        fields,
    );
}
