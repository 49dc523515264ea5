//! `weir-sink` and `weir-agent` against a Kafka and a Cassandra with TLS, users and permissions: the whole line, and
//! what is told, in the log and in `/readyz`, when one of these is not as it should be.

use std::sync::OnceLock;
use std::time::Duration;

use weir_tests::secured::{Login, SecureCassandra, SecureKafka};
use weir_tests::{Launch, Program, free_port, http, unique};

use crate::errors::wait_not_ready;

const SOON: Duration = Duration::from_secs(60);
/// What is wrong has to be told within this.
const TOLD: Duration = Duration::from_secs(10);

fn kafka() -> &'static SecureKafka {
    static SHARED: OnceLock<SecureKafka> = OnceLock::new();
    SHARED.get_or_init(SecureKafka::start)
}

fn cassandra() -> &'static SecureCassandra {
    static SHARED: OnceLock<SecureCassandra> = OnceLock::new();
    SHARED.get_or_init(SecureCassandra::start)
}

/// The configuration of a sink, whose group the user `sink` may use when it begins with `weir.`.
fn sink_config(kafka: &str, store: &str, group: &str, port: u16) -> String {
    format!(
        "{kafka}[consume]\ngroup = \"{group}\"\n[topics]\npartitions = 2\n{store}\
         [archive]\npath = \"archive\"\nclose_after_s = 1\n\
         [http]\nlisten = \"127.0.0.1:{port}\"\n"
    )
}

/// A keyspace with our tables, and the topics, made by those who may; nobody else has a right on it.
#[track_caller]
fn migrated(name: &str) -> String {
    let keyspace = unique(name);
    let admin = kafka().user("admin", "SCRAM-SHA-512", "admin-secret");
    let store = cassandra().store(Login::sound(&keyspace, "cassandra", "cassandra"));
    let config = sink_config(&admin, &store, "weir.admin", 0);
    let migrate = Launch::ours("weir-sink").file("sink.toml", config);
    migrate.args(["migrate", "-c", "sink.toml"]).run(SOON).ok();
    keyspace
}

#[track_caller]
fn grant(right: &str, keyspace: &str, role: &str) {
    cassandra().cql(&format!("GRANT {right} ON KEYSPACE {keyspace} TO {role}"));
}

/// A keyspace that the user `sink` may use.
#[track_caller]
fn granted(name: &str) -> String {
    let keyspace = migrated(name);
    grant("SELECT", &keyspace, "sink");
    grant("MODIFY", &keyspace, "sink");
    keyspace
}

#[track_caller]
fn start(config: &str) -> Program {
    Launch::ours("weir-sink").file("sink.toml", config).args(["run", "-c", "sink.toml"]).start()
}

/// Sends one line by an agent of its own, and waits until the sink answers with it.
#[track_caller]
fn line_arrives(agents_kafka: &str, sink: &mut Program, port: u16) {
    let word = unique("word");
    let config = format!(
        "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\" }}\n\
         status = {{ listen = \"\" }}\n[source.stdin]\nformat = \"text\"\n{agents_kafka}"
    );
    let agent = Launch::ours("weir-agent").file("a.toml", config).stdin(format!("says {word}\n"));
    agent.args(["run", "-c", "a.toml"]).run(SOON).ok();
    let url = format!("http://127.0.0.1:{port}/v1/logs?site=plant&words={word}");
    sink.wait(&format!("{word} from {url}"), SOON, |_| {
        let answer = http::try_get(&url).map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(answer.text());
        }
        let found = answer.json()["items"].as_array().map_or(0, Vec::len);
        if found == 1 { Ok(()) } else { Err(format!("{found} lines")) }
    });
}

#[test]
fn the_whole_line_is_encrypted_and_known_by_name() {
    let keyspace = granted("line");
    let store = cassandra().store(Login::sound(&keyspace, "sink", "sink-secret"));
    let of = |mechanism: &str, user: &str| match mechanism {
        "certificate" => kafka().certificate(Some(user)),
        _ => kafka().user(user, mechanism, &format!("{user}-secret")),
    };
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "certificate"] {
        let port = free_port();
        let mut sink = start(&sink_config(&of(mechanism, "sink"), &store, "weir.line", port));
        sink.wait_http(&format!("http://127.0.0.1:{port}/readyz"), SOON);
        line_arrives(&of(mechanism, "agent"), &mut sink, port);
        // Nobody wrote a secret down.
        for line in sink.lines() {
            assert!(!line.text.contains("-secret"), "{}", line.text);
        }
        assert!(sink.term(SOON).success());
    }
}

/// The sink says all of `parts` in `/readyz` and in its log, and goes on running.
#[track_caller]
fn check_told(sink: &mut Program, port: u16, parts: &[&str]) {
    wait_not_ready(sink, port, parts, TOLD);
    let told = |line: &weir_tests::program::Line| parts.iter().all(|part| line.text.contains(part));
    sink.wait("the same in the log", TOLD, |sink| {
        sink.lines().iter().any(told).then_some(()).ok_or(format!("{parts:?} is not there"))
    });
    assert!(sink.try_status().is_none());
}

#[test]
fn what_kafka_refuses_is_told_with_what_to_do() {
    let keyspace = granted("kafka");
    let store = cassandra().store(Login::sound(&keyspace, "sink", "sink-secret"));
    let sound = kafka().user("sink", "SCRAM-SHA-512", "sink-secret");
    let rogue = format!("{}/rogue-ca.pem", kafka().private.env("KAFKA_CERTS"));
    let untrusted = sound.replace(kafka().private.env("KAFKA_CA"), &rogue);
    let wrong = kafka().user("sink", "SCRAM-SHA-512", "wrong");
    let plain = kafka().user("sink", "PLAIN", "wrong");
    let foreign = kafka().certificate(Some("rogue"));
    let user = "refuses the user or the password, check `[kafka.sasl]`";
    let tls = "TLS to Kafka fails, check `[kafka.tls]`";
    for (kafka, group, parts) in [
        (&wrong, "weir.a", &[user][..]),
        (&plain, "weir.a", &[user]),
        (&untrusted, "weir.a", &[tls]),
        (&foreign, "weir.a", &["check `[kafka"]),
        (&sound, "foreign.a", &["grant it READ on the group", "foreign.a"]),
    ] {
        let port = free_port();
        let mut sink = start(&sink_config(kafka, &store, group, port));
        check_told(&mut sink, port, parts);
    }
}

#[test]
fn rights_that_come_later_are_taken_up() {
    let keyspace = granted("rights");
    let store = cassandra().store(Login::sound(&keyspace, "sink", "sink-secret"));
    let port = free_port();
    let nobody = kafka().user("nobody", "SCRAM-SHA-512", "nobody-secret");
    let mut sink = start(&sink_config(&nobody, &store, "weir.rights", port));
    let topics = ["may not read topics, grant it READ on them", "weir.readings", "weir.agents"];
    check_told(&mut sink, port, &topics);
    let grant = |what: &[&str]| {
        let admin = format!("{}/client-admin.properties", kafka().private.env("KAFKA_DIR"));
        let mut args = vec!["org.apache.kafka.tools.AclCommand", "--bootstrap-server", "{}"];
        args.extend(["--command-config", &admin, "--add", "--allow-principal", "User:nobody"]);
        args.extend(["--resource-pattern-type", "prefixed"]);
        args.extend(what);
        kafka().private.script("tool", &args);
    };
    // Topics may be seen now, and not read: the sink is not ready for that.
    grant(&["--operation", "DESCRIBE", "--topic", "weir."]);
    check_told(&mut sink, port, &["grant it READ on the group", "weir.rights"]);
    grant(&["--operation", "READ", "--group", "weir."]);
    check_told(&mut sink, port, &["may not read topics, grant it READ on them"]);
    std::thread::sleep(TOLD + Duration::from_secs(5));
    check_told(&mut sink, port, &["may not read topics, grant it READ on them", "weir.readings"]);
    grant(&["--operation", "READ", "--topic", "weir."]);
    sink.wait_http(&format!("http://127.0.0.1:{port}/readyz"), SOON);
    line_arrives(&kafka().user("agent", "SCRAM-SHA-512", "agent-secret"), &mut sink, port);
}

#[test]
fn what_cassandra_refuses_is_told_with_what_to_do() {
    let keyspace = granted("cassandra");
    let sound = Login::sound(&keyspace, "sink", "sink-secret");
    let kafka = kafka().user("sink", "SCRAM-SHA-512", "sink-secret");
    for (login, parts) in [
        (
            Login { password: "wrong", ..sound },
            &["refuses user or password", "check store.cassandra.username"][..],
        ),
        (Login { authority: "rogue-ca", ..sound }, &["not trusted", "`ca_file`"]),
        (Login { certificate: None, ..sound }, &["wants a client certificate", "`cert_file`"]),
        (Login { certificate: Some("rogue"), ..sound }, &["does not accept our certificate"]),
    ] {
        let port = free_port();
        let mut sink = start(&sink_config(&kafka, &cassandra().store(login), "weir.b", port));
        check_told(&mut sink, port, parts);
    }
    let port = free_port();
    let store = cassandra().store(sound);
    let plain = &store[..store.find("[store.cassandra.tls]").unwrap()];
    let mut sink = start(&sink_config(&kafka, plain, "weir.b", port));
    check_told(&mut sink, port, &["without TLS?", "[store.cassandra.tls]"]);
}

#[test]
fn permissions_in_cassandra_that_come_later_are_taken_up_and_nothing_is_lost() {
    let keyspace = migrated("permits");
    let store = cassandra().store(Login::sound(&keyspace, "nobody", "nobody-secret"));
    let sinks = kafka().user("sink", "SCRAM-SHA-512", "sink-secret");
    let agents = kafka().user("agent", "SCRAM-SHA-512", "agent-secret");
    let port = free_port();
    let mut sink = start(&sink_config(&sinks, &store, "weir.permits", port));
    check_told(&mut sink, port, &["refuses this user", "grant it SELECT and MODIFY"]);
    // What may be read is enough to begin; the first row is then refused, and waits.
    grant("SELECT", &keyspace, "nobody");
    let url = format!("http://127.0.0.1:{port}/v1/sites");
    sink.wait_http(&url, SOON);
    let late = std::thread::spawn({
        let keyspace = keyspace.clone();
        move || {
            std::thread::sleep(TOLD);
            grant("MODIFY", &keyspace, "nobody");
        }
    });
    line_arrives(&agents, &mut sink, port);
    late.join().unwrap();
    let told = |line: &weir_tests::program::Line| {
        line.text.contains("MODIFY permission") && line.text.contains("grant it SELECT and MODIFY")
    };
    assert!(sink.lines().iter().any(told), "the missing MODIFY was not told");
    sink.wait_http(&format!("http://127.0.0.1:{port}/readyz"), SOON);
}
