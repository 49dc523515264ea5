//! Sources that lose nothing or say nothing in the clear: RELP from rsyslog's omrelp; TLS from rsyslog,
//! syslog-ng, curl and mosquitto, with certificates that are renewed on the way.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use weir_tests::authority::{Authority, Pair};
use weir_tests::mosquitto::Mosquitto;
use weir_tests::program::Finished;
use weir_tests::{Launch, Program, free_port, http, senders, temp_dir, wait_until};

use crate::senders::{Gateway, auth_lines, check_lines, cut, feed};

const SOON: Duration = Duration::from_secs(30);

/// rsyslog with a plain TCP input and these actions.
fn rsyslog(input: u16, head: &str, actions: &str) -> Program {
    // A rule set of its own: what rsyslog has to say about itself goes elsewhere.
    senders::rsyslog(&format!(
        "{head}\nmodule(load=\"imptcp\")\nmodule(load=\"omrelp\")\n\
         ruleset(name=\"forward\") {{ {actions} }}\n\
         input(type=\"imptcp\" address=\"127.0.0.1\" port=\"{input}\" ruleset=\"forward\")\n"
    ))
}

/// An action that keeps what is not acknowledged, and tries again every second.
fn omrelp(port: u16, more: &str) -> String {
    format!(
        "action(type=\"omrelp\" target=\"localhost\" port=\"{port}\" windowSize=\"2000\" \
         template=\"RSYSLOG_TraditionalForwardFormat\" action.resumeRetryCount=\"-1\" \
         action.resumeInterval=\"1\" queue.type=\"LinkedList\" queue.size=\"100000\" {more})"
    )
}

/// Lines with the numbers of `range`.
fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("Mar 27 13:06:56 gw app[{n}]: number {n}")).collect()
}

/// How often each number is there.
fn by_number(events: &[Value]) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        assert_eq!(event["parse"], "ok", "{event}");
        let number = event["procid"].as_str().unwrap().parse().unwrap();
        assert_eq!(event["message"], format!("number {number}"), "{event}");
        *counts.entry(number).or_insert(0) += 1;
    }
    counts
}

#[test]
fn relp_loses_nothing_through_kill_and_absence() {
    let (port, input) = (free_port(), free_port());
    let source = format!("[[source.relp]]\nlisten = \"tcp://127.0.0.1:{port}\"\n");
    let mut gateway = Gateway::start("relp", &source);
    let mut daemon = rsyslog(input, "", &omrelp(port, ""));

    // Nothing goes wrong: each once.
    feed(input, &numbered(0..2_000), &mut daemon);
    gateway.wait_count(2_000);
    assert_eq!(gateway.count(), 2_000);

    // Killed with messages on their way.
    feed(input, &numbered(2_000..30_000), &mut daemon);
    gateway.wait_count(4_000);
    gateway.agent.kill9();
    gateway.agent.restart();
    gateway.wait_count(30_000);

    // Stopped for some time: more comes, and the sender tries in vain.
    assert!(gateway.agent.term(SOON).success());
    feed(input, &numbered(30_000..33_000), &mut daemon);
    let deaf = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for _ in 0..3 {
        drop(deaf.accept().unwrap());
    }
    drop(deaf);
    gateway.agent.restart();

    let prefix = gateway.prefix.clone();
    wait_until("every number", SOON, || {
        let found = by_number(&crate::senders::events(&prefix)).len();
        if found == 33_000 { Ok(()) } else { Err(format!("{found} of 33000")) }
    });
    let found = by_number(&gateway.finish(33_000));
    let doubled: Vec<usize> = found.iter().filter(|(_, n)| **n > 1).map(|(n, _)| *n).collect();
    // Only what was on its way at the two ends of the agent can come twice: a window each.
    assert!(doubled.len() <= 4_000, "{} numbers came twice", doubled.len());
    assert!(doubled.iter().all(|n| (2_000..33_000).contains(n)), "{doubled:?}");
    assert!(found.values().all(|n| *n <= 3), "sent again more often than anything went wrong");
}

#[test]
fn what_the_filter_takes_away_is_acknowledged_too() {
    let (port, input) = (free_port(), free_port());
    let source = format!(
        "[[source.relp]]\nlisten = \"tcp://127.0.0.1:{port}\"\n\
         [[filter]]\nname = \"most\"\naction = \"drop\"\napp = \"app\"\n"
    );
    let gateway = Gateway::start("relpfilter", &source);
    let window = "windowSize=\"50\"";
    let mut daemon = rsyslog(input, "", &omrelp(port, "").replace("windowSize=\"2000\"", window));
    // More than a window of what nobody keeps, and one line that somebody does.
    let mut lines = numbered(0..500);
    lines.push("Mar 27 13:06:56 gw other[1]: last".to_owned());
    feed(input, &lines, &mut daemon);
    let events = gateway.finish(1);
    assert_eq!((events.len(), &events[0]["message"]), (1, &Value::from("last")));
}

/// `tls = { … }` of a listening source.
fn table(pair: &Pair, client_ca: Option<&Path>) -> String {
    let client_ca = client_ca.map(|path| format!(", client_ca_file = \"{}\"", path.display()));
    format!(
        "tls = {{ cert_file = \"{}\", key_file = \"{}\"{} }}\n",
        pair.cert_file.display(),
        pair.key_file.display(),
        client_ca.unwrap_or_default()
    )
}

/// Sends the lines to a forwarding daemon; each has to come once, in order.
#[track_caller]
fn check_forwarded(mut gateway: Gateway, source: &str, input: u16, daemon: &mut Program) {
    let lines = auth_lines(300);
    feed(input, &lines, daemon);
    gateway.wait_count(lines.len());
    let expected: Vec<[String; 4]> = lines.iter().map(|line| cut(line)).collect();
    check_lines(&gateway.finish(lines.len()), source, &expected);
}

#[test]
fn relp_over_tls_with_certificates_on_both_sides() {
    let folder = temp_dir("certificates");
    let authority = Authority::new(folder.path(), "authority");
    let (own, sender) = (authority.sign("gateway"), authority.sign("sender"));
    let (port, input) = (free_port(), free_port());
    let gateway = Gateway::start(
        "relptls",
        &format!(
            "[[source.relp]]\nname = \"relp\"\nlisten = \"tls://127.0.0.1:{port}\"\n{}",
            table(&own, Some(&authority.ca_file))
        ),
    );
    let tls = format!(
        "tls=\"on\" tls.caCert=\"{}\" tls.myCert=\"{}\" tls.myPrivKey=\"{}\" \
         tls.authMode=\"name\" tls.permittedPeer=[\"localhost\"]",
        authority.ca_file.display(),
        sender.cert_file.display(),
        sender.key_file.display()
    );
    let mut daemon = rsyslog(input, "", &omrelp(port, &tls));
    check_forwarded(gateway, "relp", input, &mut daemon);
}

#[test]
fn rsyslog_forwards_over_tls() {
    let folder = temp_dir("certificates");
    let authority = Authority::new(folder.path(), "authority");
    let (own, sender) = (authority.sign("gateway"), authority.sign("sender"));
    let (port, input) = (free_port(), free_port());
    let gateway = Gateway::start(
        "rsyslogtls",
        &format!(
            "[[source.syslog]]\nname = \"tls\"\nlisten = \"tls://127.0.0.1:{port}\"\n{}",
            table(&own, Some(&authority.ca_file))
        ),
    );
    let head = format!(
        "global(DefaultNetstreamDriver=\"gtls\" DefaultNetstreamDriverCAFile=\"{}\" \
         DefaultNetstreamDriverCertFile=\"{}\" DefaultNetstreamDriverKeyFile=\"{}\")",
        authority.ca_file.display(),
        sender.cert_file.display(),
        sender.key_file.display()
    );
    let action = format!(
        "action(type=\"omfwd\" target=\"localhost\" port=\"{port}\" protocol=\"tcp\" \
         StreamDriver=\"gtls\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" \
         StreamDriverPermittedPeers=\"localhost\" TCP_Framing=\"octet-counted\" \
         template=\"RSYSLOG_TraditionalForwardFormat\" action.resumeRetryCount=\"-1\")"
    );
    let mut daemon = rsyslog(input, &head, &action);
    check_forwarded(gateway, "tls", input, &mut daemon);
}

#[test]
fn syslog_ng_forwards_over_tls() {
    let folder = temp_dir("certificates");
    let authority = Authority::new(folder.path(), "authority");
    let (own, sender) = (authority.sign("gateway"), authority.sign("sender"));
    let (port, input) = (free_port(), free_port());
    let gateway = Gateway::start(
        "ngtls",
        &format!(
            "[[source.syslog]]\nname = \"tls\"\nlisten = \"tls://127.0.0.1:{port}\"\n{}",
            table(&own, Some(&authority.ca_file))
        ),
    );
    let mut daemon = senders::syslog_ng(&format!(
        "options {{ keep-hostname(yes); }};\n\
         source s {{ network(ip(\"127.0.0.1\") port({input}) transport(\"tcp\")); }};\n\
         destination d {{ syslog(\"localhost\" port({port}) transport(\"tls\") time-reopen(1) tls(\
         ca-file(\"{}\") cert-file(\"{}\") key-file(\"{}\") peer-verify(required-trusted))); }};\n\
         log {{ source(s); destination(d); flags(flow-control); }};",
        authority.ca_file.display(),
        sender.cert_file.display(),
        sender.key_file.display()
    ));
    check_forwarded(gateway, "tls", input, &mut daemon);
}

/// curl with these arguments; its output is the status of the answer.
fn curl(args: &[&str]) -> Finished {
    let launch =
        Launch::tool("curl").args(["-sS", "--noproxy", "*", "-m", "20", "-w", "%{http_code}"]);
    launch.args(args).run(SOON)
}

#[test]
fn https_with_client_certificates_and_a_renewal_on_the_way() {
    let folder = temp_dir("certificates");
    let authority = Authority::new(folder.path(), "authority");
    let (own, sender) = (authority.sign("gateway"), authority.sign("sender"));
    let port = free_port();
    let mut gateway = Gateway::start(
        "https",
        &format!(
            "[[source.http]]\nname = \"h\"\nlisten = \"127.0.0.1:{port}\"\n{}",
            table(&own, Some(&authority.ca_file))
        ),
    );
    let url = format!("https://localhost:{port}/v1/write");
    let (ca, cert, key) = (
        authority.ca_file.display().to_string(),
        sender.cert_file.display().to_string(),
        sender.key_file.display().to_string(),
    );
    let body = ["--data-binary", "boiler,device=b1 temp=71.5"];
    let shown = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    let post = |args: &[&str]| curl(&[&[url.as_str()], &body[..], args].concat());
    assert_eq!(post(&shown).ok().trim(), "204");
    assert!(!post(&["--cacert", &ca]).status.success(), "without a certificate");
    gateway.agent.wait_line("give the peer a certificate", SOON);
    let plain = format!("http://localhost:{port}/v1/write");
    assert!(!curl(&[&[plain.as_str()], &body[..]].concat()).status.success(), "without TLS");

    let status = gateway.status();
    let metrics = || http::get(&format!("http://{status}/metrics")).text();
    let text = metrics();
    let expires = "weir_agent_certificate_expires_seconds{source=\"h\"} ";
    assert!(text.contains(expires), "{text}");
    let failed = "weir_agent_misunderstood_connections_total{source=\"h\",reason=\"tls\"} 2";
    assert!(text.contains(failed), "{text}");

    // Another authority signs both: the old sender is not let in any more, without a restart.
    let next = Authority::new(folder.path(), "next");
    next.sign("gateway");
    fs::copy(&next.ca_file, &authority.ca_file).unwrap();
    let renewed = next.sign("renewed");
    let (cert, key) =
        (renewed.cert_file.display().to_string(), renewed.key_file.display().to_string());
    let shown = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    wait_until("the renewed certificate", SOON, || {
        let finished = post(&shown);
        if finished.stdout.trim() == "204" { Ok(()) } else { Err(finished.stderr) }
    });
    let (cert, key) =
        (sender.cert_file.display().to_string(), sender.key_file.display().to_string());
    let old = post(&["--cacert", &ca, "--cert", &cert, "--key", &key]);
    assert!(!old.status.success(), "{}", old.stdout);
    let events = gateway.finish(2);
    assert!(events.iter().all(|event| event["values"]["boiler.temp"]["v"] == 71.5), "{events:?}");
}

#[track_caller]
fn check_mqtts(protocol: &str) {
    let folder = temp_dir("certificates");
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let (broker, own) = (authority.sign("broker"), authority.sign("gateway"));
    let port = free_port();
    let mosquitto = Mosquitto::start_with(&format!(
        "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        authority.ca_file.display(),
        broker.cert_file.display(),
        broker.key_file.display()
    ));
    // At first an authority that did not sign the broker's certificate.
    let ca_file = folder.path().join("trusted.pem");
    fs::copy(&other.ca_file, &ca_file).unwrap();
    let mut gateway = Gateway::start(
        "mqtts",
        &format!(
            "[[source.mqtt]]\nurl = \"mqtts://localhost:{port}\"\nprotocol = \"{protocol}\"\n\
             topics = [\"sensors/{{device}}\"]\n\
             tls = {{ ca_file = \"{}\", cert_file = \"{}\", key_file = \"{}\" }}\n",
            ca_file.display(),
            own.cert_file.display(),
            own.key_file.display()
        ),
    );
    gateway.agent.wait_line("check `tls.ca_file`", SOON);
    fs::copy(&authority.ca_file, &ca_file).unwrap();
    gateway.agent.wait_line("connected to the MQTT broker", SOON);
    // Nobody tells when the broker has taken the subscription but the first message that comes.
    wait_until("the subscription", SOON, || {
        mosquitto.publish("sensors/probe", b"{\"temp\":1}", 1);
        if gateway.count() > 0 { Ok(()) } else { Err("nothing came") }
    });
    mosquitto.publish("sensors/s1", b"{\"temp\":2.5}", 1);
    let sent = |events: &[Value]| {
        let ours = events.iter().find(|event| event["device"] == "s1")?;
        Some(ours["values"]["temp"]["v"].clone())
    };
    let prefix = gateway.prefix.clone();
    wait_until("the message", SOON, || sent(&crate::senders::events(&prefix)).ok_or("not there"));
    assert_eq!(sent(&gateway.finish(2)), Some(Value::from(2.5)));
}

#[test]
fn mqtts_3_1_1_trusts_whom_it_should() {
    check_mqtts("3.1.1");
}

#[test]
fn mqtts_5_trusts_whom_it_should() {
    check_mqtts("5");
}

/// An agent with this source does not start, and says why.
#[track_caller]
fn check_refused(source: &str, parts: &[&str]) {
    let config = format!(
        "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\" }}\n\
         kafka = {{ brokers = [\"127.0.0.1:1\"] }}\nstatus = {{ listen = \"\" }}\n{source}"
    );
    let launch = Launch::ours("weir-agent").file("agent.toml", config);
    let finished = launch.args(["run", "-c", "agent.toml"]).run(SOON);
    assert!(!finished.status.success());
    for part in parts {
        assert!(finished.stderr.contains(part), "`{part}` is not in:\n{}", finished.stderr);
    }
}

#[test]
fn files_that_do_not_fit_are_named_at_the_start() {
    let folder = temp_dir("certificates");
    let authority = Authority::new(folder.path(), "authority");
    let mut pair = authority.sign("gateway");
    let source = |pair: &Pair| {
        let table = table(pair, None);
        format!("[[source.syslog]]\nname = \"t\"\nlisten = \"tls://127.0.0.1:0\"\n{table}")
    };
    pair.key_file = authority.sign("other").key_file;
    check_refused(&source(&pair), &["`tls` of source `t`", "other.key does not belong to"]);
    pair.key_file = folder.path().join("nowhere.key");
    check_refused(&source(&pair), &["nowhere.key: there is no such file; put it there"]);
}

#[test]
fn who_does_not_speak_relp_is_told_and_counted() {
    let port = free_port();
    let mut gateway = Gateway::start(
        "norelp",
        &format!("[[source.relp]]\nname = \"r\"\nlisten = \"tcp://127.0.0.1:{port}\"\n"),
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"<13>Mar 27 13:06:56 host app: plain syslog\n").unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    assert_eq!(answer, "0 serverclose 0\n");
    gateway.agent.wait_line("a frame has to begin with its number", SOON);
    let text = http::get(&format!("http://{}/metrics", gateway.status())).text();
    let counted = "weir_agent_misunderstood_connections_total{source=\"r\",reason=\"protocol\"} 1";
    assert!(text.contains(counted), "{text}");
}
