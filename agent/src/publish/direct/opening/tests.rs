use std::sync::Arc;

use kafka_protocol::messages::{MetadataRequest, ProduceRequest};
use tokio::net::TcpStream;
use weir_models::config::parse;
use weir_models::kafka::KafkaConfig;

use super::super::connection::Connection;
use super::super::peer::{Peer, Side, settings};
use super::*;

fn with_user(peer: &Peer, sasl: &str) -> Arc<Settings> {
    let text = format!("brokers = ['{}']\nsasl = {{ {sasl} }}\n", peer.address);
    let mut settings = Settings::new(&parse::<KafkaConfig>("c.toml", &text).unwrap()).unwrap();
    settings.handshake_timeout = Duration::from_secs(20);
    Arc::new(settings)
}

/// A password file, and the table that names it.
fn password(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let table = format!("username = 'u', password = {{ file = '{}' }}", file.path().display());
    (file, table)
}

/// Opens against a script; answers the error's text, or what was opened.
async fn open_with<F>(
    peer: &Peer,
    settings: &Arc<Settings>,
    script: impl FnOnce(Side<TcpStream>) -> F,
) -> Result<Connection, String>
where
    F: Future<Output = ()>,
{
    let serve = async { script(peer.greeted().await).await };
    let (opened, ()) = tokio::join!(Connection::open(&peer.address, settings), serve);
    opened.map_err(|error| error.to_string())
}

#[track_caller]
fn check(opened: Result<Connection, String>, parts: &[&str]) {
    let error = opened.err().unwrap();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

async fn shake_hands(side: &mut Side<TcpStream>, answer: SaslHandshakeResponse) -> String {
    let asked = side.asked().await.unwrap();
    let request: SaslHandshakeRequest = asked.read();
    side.answer(&asked, &answer).await;
    request.mechanism.to_string()
}

async fn authenticate(side: &mut Side<TcpStream>, answer: SaslAuthenticateResponse) -> Bytes {
    let asked = side.asked().await.unwrap();
    let request: SaslAuthenticateRequest = asked.read();
    side.answer(&asked, &answer).await;
    request.auth_bytes
}

#[tokio::test]
async fn a_user_is_told_and_the_session_has_its_time() {
    let peer = Peer::new().await;
    for (lifetime_ms, expires) in [(0, false), (1, true), (3_600_000, false)] {
        let (_file, user) = password("secret\n");
        let settings = with_user(&peer, &format!("mechanism = 'PLAIN', {user}"));
        let opened = open_with(&peer, &settings, async |mut side| {
            assert_eq!(shake_hands(&mut side, Default::default()).await, "PLAIN");
            let answer = SaslAuthenticateResponse::default().with_session_lifetime_ms(lifetime_ms);
            assert_eq!(authenticate(&mut side, answer).await, &b"\0u\0secret"[..]);
        });
        let connection = opened.await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(connection.is_expiring(), expires, "{lifetime_ms} ms");
    }
}

#[tokio::test]
async fn the_password_is_read_again_for_each_connection() {
    let peer = Peer::new().await;
    let (file, user) = password("old");
    let settings = with_user(&peer, &format!("mechanism = 'PLAIN', {user}"));
    std::fs::write(file.path(), "new").unwrap();
    let opened = open_with(&peer, &settings, async |mut side| {
        shake_hands(&mut side, Default::default()).await;
        assert_eq!(authenticate(&mut side, Default::default()).await, &b"\0u\0new"[..]);
    });
    opened.await.unwrap();
    drop(file);
    let opened = open_with(&peer, &settings, async |mut side| side.closed().await).await;
    check(opened, &["cannot read the secret file", "check `kafka.sasl`"]);
}

#[tokio::test]
async fn a_broker_that_does_not_let_us_in_is_quoted_with_what_to_check() {
    let peer = Peer::new().await;
    let (_file, user) = password("wrong");
    let settings = with_user(&peer, &format!("mechanism = 'SCRAM-SHA-256', {user}"));

    let opened = open_with(&peer, &settings, async |mut side| {
        shake_hands(&mut side, Default::default()).await;
        let no = SaslAuthenticateResponse::default().with_error_code(AUTHENTICATION_FAILED);
        authenticate(&mut side, no.with_error_message(Some("invalid credentials".into()))).await;
    });
    let expected = ["invalid credentials", "check `kafka.sasl`: user, password", &peer.address];
    check(opened.await, &expected);

    let opened = open_with(&peer, &settings, async |mut side| {
        let no = SaslHandshakeResponse::default().with_error_code(UNSUPPORTED_MECHANISM);
        let offered = ["PLAIN", "GSSAPI"].map(StrBytes::from_static_str).to_vec();
        shake_hands(&mut side, no.with_mechanisms(offered)).await;
    });
    check(opened.await, &["SCRAM-SHA-256", "set `mechanism` to one of PLAIN, GSSAPI"]);

    let opened = open_with(&peer, &settings, async |mut side| {
        let no = SaslHandshakeResponse::default().with_error_code(ILLEGAL_SASL_STATE);
        shake_hands(&mut side, no).await;
    });
    check(opened.await, &["wants no user on this port", "check `kafka.sasl`"]);
}

#[tokio::test]
async fn an_impostor_is_not_let_in() {
    let peer = Peer::new().await;
    let (_file, user) = password("secret");
    let settings = with_user(&peer, &format!("mechanism = 'SCRAM-SHA-512', {user}"));
    let opened = open_with(&peer, &settings, async |mut side| {
        shake_hands(&mut side, Default::default()).await;
        let asked = side.asked().await.unwrap();
        let first: SaslAuthenticateRequest = asked.read();
        let first = String::from_utf8(first.auth_bytes.to_vec()).unwrap();
        let nonce = first.rsplit_once("r=").unwrap().1;
        let challenge = format!("r={nonce}more,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let answer = SaslAuthenticateResponse::default().with_auth_bytes(challenge.into());
        side.answer(&asked, &answer).await;
        // Whoever does not know the password can only guess.
        let guess = format!("v={}", "A".repeat(86) + "==");
        let answer = SaslAuthenticateResponse::default().with_auth_bytes(guess.into());
        authenticate(&mut side, answer).await;
    });
    check(opened.await, &["does not know our password"]);
}

#[tokio::test]
async fn a_token_that_is_refused_is_answered_and_the_broker_quoted() {
    let peer = Peer::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a.b.c\n").unwrap();
    let token =
        format!("mechanism = 'OAUTHBEARER', token = {{ file = '{}' }}", file.path().display());
    let settings = with_user(&peer, &token);
    let opened = open_with(&peer, &settings, async |mut side| {
        assert_eq!(shake_hands(&mut side, Default::default()).await, "OAUTHBEARER");
        let status = Bytes::from_static(br#"{"status":"invalid_token"}"#);
        let no = SaslAuthenticateResponse::default().with_auth_bytes(status);
        assert_eq!(authenticate(&mut side, no).await, &b"n,,\x01auth=Bearer a.b.c\x01\x01"[..]);
        let no = SaslAuthenticateResponse::default().with_error_code(AUTHENTICATION_FAILED);
        let no = no.with_error_message(Some("invalid_token".into()));
        assert_eq!(authenticate(&mut side, no).await, &b"\x01"[..]);
    });
    check(opened.await, &["invalid_token", "check `kafka.sasl`: token"]);
}

#[tokio::test]
async fn an_old_broker_is_asked_for_its_versions_again() {
    let peer = Peer::new().await;
    let settings = peer.settings();
    let serve = async {
        let mut side = peer.accept().await;
        let asked = side.asked().await.unwrap();
        assert_eq!(asked.version, 3);
        // Correlation id, code 35, and the versions of version 0: one, of ApiVersions.
        let mut answer = vec![0, 0, 0, 0, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2];
        answer.splice(0..0, 16u32.to_be_bytes());
        side.stream.write_all(&answer).await.unwrap();
        let asked = side.asked().await.unwrap();
        assert_eq!((asked.id, asked.version), (1, 0));
        let answer = [0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 9];
        side.stream.write_all(&16u32.to_be_bytes()).await.unwrap();
        side.stream.write_all(&answer).await.unwrap();
    };
    let (opened, ()) = tokio::join!(Connection::open(&peer.address, &settings), serve);
    let connection = opened.unwrap();
    assert_eq!(connection.versions().newest::<MetadataRequest>(12), Ok(9));
    let error = connection.versions().newest::<ProduceRequest>(9).err().unwrap().to_string();
    assert!(error.contains("Kafka 2.8 or newer"), "{error}");
}

#[tokio::test]
async fn what_is_no_broker_is_told_apart() {
    async fn answered(peer: &Peer, answer: &[u8]) -> Result<Connection, String> {
        let settings = peer.settings();
        let serve = async {
            let mut side = peer.accept().await;
            side.asked().await.unwrap();
            side.stream.write_all(answer).await.unwrap();
            side.stream.shutdown().await.unwrap();
        };
        let (opened, ()) = tokio::join!(Connection::open(&peer.address, &settings), serve);
        opened.map_err(|error| error.to_string())
    }
    let peer = Peer::new().await;
    // A TLS alert: handshake failure.
    check(answered(&peer, &[0x15, 3, 3, 0, 2, 2, 40]).await, &["speaks TLS", "set `kafka.tls`"]);
    check(answered(&peer, b"").await, &["does it want TLS?", "check `kafka.tls`"]);
    check(
        answered(&peer, b"HTTP/1.1 400 No\r\n").await,
        &["not Kafka's protocol", "`kafka.brokers`"],
    );
    check(answered(&peer, &[0, 0, 0, 4, 0, 0, 0, 9]).await, &["another question"]);
    // Versions in version 0, two billion of them.
    let many = [0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    check(answered(&peer, &many).await, &["not Kafka's protocol"]);
}

#[tokio::test]
async fn a_list_that_cannot_be_is_refused() {
    let peer = Peer::new().await;
    let (_file, user) = password("x");
    let settings = with_user(&peer, &format!("mechanism = 'PLAIN', {user}"));
    let opened = open_with(&peer, &settings, async |mut side| {
        side.asked().await.unwrap();
        // Mechanisms, two billion of them.
        let many = [0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0x7f, 0xff, 0xff, 0xff];
        side.stream.write_all(&many).await.unwrap();
    });
    check(opened.await, &["a list of 2147483647"]);
}

#[tokio::test]
async fn silence_and_absence_end_in_time() {
    let peer = Peer::new().await;
    let mut short = settings(&peer.address);
    short.handshake_timeout = Duration::from_millis(30);
    let short = Arc::new(short);
    let (opened, _side) = tokio::join!(Connection::open(&peer.address, &short), peer.accept());
    let opened = opened.map_err(|error| error.to_string());
    check(opened, &["does not answer while asking for its versions", "is the broker up"]);

    let address = peer.address.clone();
    drop(peer);
    let opened = Connection::open(&address, &short).await.map_err(|error| error.to_string());
    check(opened, &["cannot reach", &address, "is the broker up", "`kafka.brokers`"]);
}
