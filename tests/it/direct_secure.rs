//! The agent's own client against a Kafka with TLS, users and permissions: each way to say who we
//! are, and what is told when it does not work.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio::time::{Instant, timeout};
use weir_agent::publish::{Direct, Followed, Transport};
use weir_models::config::parse;
use weir_models::kafka::KafkaConfig;
use weir_tests::Launch;
use weir_tests::secured::SecureKafka;

const SOON: Duration = Duration::from_secs(30);
/// What is wrong has to be told within this.
const TOLD: Duration = Duration::from_secs(10);
/// A session of SCRAM-SHA-256 lasts so long in `tests/services/kafka`.
const SESSION: Duration = Duration::from_secs(3);

/// One broker for all tests here.
fn secure() -> &'static SecureKafka {
    static SHARED: OnceLock<SecureKafka> = OnceLock::new();
    SHARED.get_or_init(SecureKafka::start)
}

/// A token that nobody signed, which Kafka's own handler for tests believes.
fn token(user: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let part = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
    let head = part(r#"{"alg":"none"}"#.into());
    format!("{head}.{}.", part(format!(r#"{{"sub":"{user}","iat":{now},"exp":{}}}"#, now + 600)))
}

fn admin(secure: &SecureKafka) -> Direct {
    direct(&secure.user("admin", "SCRAM-SHA-512", "admin-secret"))
}

fn direct(kafka: &str) -> Direct {
    let table = kafka.trim_start_matches("[kafka]\n");
    Direct::new(&parse::<KafkaConfig>("test.toml", table).unwrap(), None).unwrap()
}

/// The values on a topic, up to the first time that all is told.
async fn values(transport: &Direct, topic: &str) -> Vec<String> {
    let mut followed = transport.follow(topic);
    let mut values = Vec::new();
    let gather = async {
        while let Some(Followed::Record { value, .. }) = followed.recv().await {
            values.push(String::from_utf8(value.unwrap_or_default().to_vec()).unwrap());
        }
    };
    timeout(SOON, gather).await.expect("not in step in time");
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_say_who_we_are_takes_events_to_kafka() {
    let secure = secure();
    let ways = [
        ("PLAIN", secure.user("agent", "PLAIN", "agent-secret")),
        ("SCRAM-SHA-256", secure.user("agent", "SCRAM-SHA-256", "agent-secret")),
        ("SCRAM-SHA-512", secure.user("agent", "SCRAM-SHA-512", "agent-secret")),
        ("OAUTHBEARER", secure.user("agent", "OAUTHBEARER", &token("agent"))),
        ("certificate", secure.certificate(Some("agent"))),
    ];
    for (way, kafka) in &ways {
        let config = format!(
            "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\" }}\n\
             [source.stdin]\nformat = \"text\"\n{kafka}"
        );
        let lines: String = (0..3).map(|n| format!("by {way} {n}\n")).collect();
        let agent = Launch::ours("weir-agent").file("a.toml", config).stdin(lines);
        agent.args(["run", "-c", "a.toml"]).run(SOON).ok();
    }
    let arrived = values(&admin(secure), "weir.logs").await;
    for (way, _) in &ways {
        let count = arrived.iter().filter(|value| value.contains(&format!("by {way} "))).count();
        assert_eq!(count, 3, "{way}: {arrived:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_is_replaced_before_anybody_notices() {
    let secure = secure();
    let topic = "weir.metadata";
    let agent = direct(&secure.user("agent", "SCRAM-SHA-256", "agent-secret"));
    let mut followed = agent.follow(topic);
    let (begun, mut sent, mut heard) = (Instant::now(), 0, Vec::new());
    // Over the end of two sessions; each record is heard before the next one is sent.
    while begun.elapsed() < SESSION * 2 + Duration::from_secs(1) {
        let value = format!("{{\"n\":{sent}}}");
        agent.send(topic, b"key", value.as_bytes()).await.unwrap();
        sent += 1;
        loop {
            let change = timeout(TOLD, followed.recv()).await.expect("the follower is cut off");
            if let Some(Followed::Record { value: Some(value), .. }) = change {
                heard.push(value);
                break;
            }
        }
        assert_eq!(agent.status().problem, None);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let expected: Vec<String> = (0..sent).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(heard, expected);
}

/// Waits until the client says all of `parts`.
async fn check_told(kafka: &str, follow: Option<&str>, parts: &[&str]) {
    let transport = direct(kafka);
    let _followed = follow.map(|topic| transport.follow(topic));
    let until = Instant::now() + TOLD;
    loop {
        let problem = transport.status().problem.unwrap_or_default();
        if parts.iter().all(|part| problem.contains(part)) {
            return;
        }
        assert!(Instant::now() < until, "{parts:?} is not told, but: {problem}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_what_to_do() {
    let secure = secure();
    let (sasl, tls) = ("check `kafka.sasl`", "check `kafka.tls`");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        check_told(&secure.user("agent", mechanism, "wrong"), None, &[sasl, "password"]).await;
    }
    let forged = token("agent").replace('.', "");
    check_told(&secure.user("agent", "OAUTHBEARER", &forged), None, &[sasl, "token"]).await;
    // The port for certificates knows no users.
    let users = secure.private.env("KAFKA_BOOTSTRAP");
    let certificates = secure.private.env("KAFKA_BOOTSTRAP_MTLS");
    let none = secure.certificate(None);
    check_told(&none, None, &[tls, "wants a client certificate"]).await;
    check_told(&secure.certificate(Some("rogue")), None, &[tls, "our certificate"]).await;
    // Nobody's authority, no TLS at all, no user.
    let with_ca = secure.user("agent", "PLAIN", "agent-secret");
    let rogue = format!("{}/rogue-ca.pem", secure.private.env("KAFKA_CERTS"));
    let untrusted = with_ca.replace(secure.private.env("KAFKA_CA"), &rogue);
    check_told(&untrusted, None, &[tls, "not trusted", "`ca_file`"]).await;
    let plain = format!("[kafka]\nbrokers = [\"{users}\"]\n");
    check_told(&plain, None, &["speaks TLS", "set `kafka.tls`"]).await;
    let no_user = none.replace(certificates, users);
    check_told(&no_user, None, &[sasl]).await;
    // Known, but without any permission.
    let nobody = secure.user("nobody", "SCRAM-SHA-512", "nobody-secret");
    check_told(&nobody, Some("weir.metadata"), &["weir.metadata", "grant READ"]).await;
}
