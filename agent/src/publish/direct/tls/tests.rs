use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use weir_models::kafka::KafkaConfig;

use super::super::connection::Connection;
use super::super::peer::{Peer, Side};
use super::super::settings::{Settings, SettingsError};
use super::*;

/// An authority, and files for what it signs.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str, is_expired: bool) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if is_expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// A broker with the certificate for `name`; it wants one of the same authority if `is_mutual`.
    fn broker(&self, name: &str, is_mutual: bool) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let ca = roots(self.file("ca.pem").to_str()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if is_mutual {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = certificates("cert_file", self.file(&format!("{name}.pem")).to_str().unwrap());
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).unwrap();
        Arc::new(builder.with_single_cert(chain.unwrap(), key).unwrap()).into()
    }
}

fn settings(address: &str, ca: &Path, own: Option<&Path>) -> Result<Settings, SettingsError> {
    let mut kafka = KafkaConfig::plain(address, "t.");
    let text = |path: PathBuf| Some(path.display().to_string());
    kafka.tls = Some(TlsConfig {
        ca_file: text(ca.to_owned()),
        cert_file: own.and_then(|own| text(own.with_extension("pem"))),
        key_file: own.and_then(|own| text(own.with_extension("key"))),
    });
    let mut settings = Settings::new(&kafka)?;
    settings.handshake_timeout = Duration::from_secs(20);
    Ok(settings)
}

/// Connects to this broker; answers the error's text, or nothing.
async fn connect(peer: &Peer, broker: TlsAcceptor, settings: Settings) -> String {
    let settings = Arc::new(settings);
    let serve = async {
        let plain = peer.accept().await.stream;
        match broker.accept(plain).into_fallible().await {
            Ok(stream) => {
                let mut side = Side { stream };
                if let Some(asked) = side.asked().await {
                    side.greet_to(&asked).await;
                }
                side.closed().await;
            }
            // Closing with unread bytes might take the alert away that was sent.
            Err((_, plain)) => Side { stream: plain }.closed().await,
        }
    };
    let open = async {
        let opened = Connection::open(&peer.address, &settings).await;
        opened.err().map(|error| error.to_string()).unwrap_or_default()
    };
    tokio::join!(open, serve).0
}

#[track_caller]
fn check(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    assert_eq!(parts.is_empty(), error.is_empty(), "{error}");
}

#[tokio::test]
async fn a_broker_needs_a_certificate_for_its_address_from_our_authority() {
    let (ours, other) = (Authority::new(), Authority::new());
    let peer = Peer::new().await;
    for authority in [&ours, &other] {
        authority.sign("127.0.0.1", false);
    }
    ours.sign("kafka.example.org", false);
    let trusting = || settings(&peer.address, &ours.file("ca.pem"), None).unwrap();

    let error = connect(&peer, ours.broker("127.0.0.1", false), trusting()).await;
    check(&error, &[]);
    let error = connect(&peer, other.broker("127.0.0.1", false), trusting()).await;
    check(&error, &["not trusted", "check `kafka.tls`", "`ca_file`", &peer.address]);
    let error = connect(&peer, ours.broker("kafka.example.org", false), trusting()).await;
    check(&error, &["kafka.example.org", "not for `127.0.0.1`", "check `kafka.tls`"]);
    ours.sign("127.0.0.1", true);
    let error = connect(&peer, ours.broker("127.0.0.1", false), trusting()).await;
    check(&error, &["expired", "clock", "check `kafka.tls`"]);
}

#[tokio::test]
async fn a_broker_may_want_a_certificate_of_us() {
    let (ours, other) = (Authority::new(), Authority::new());
    let peer = Peer::new().await;
    ours.sign("127.0.0.1", false);
    for authority in [&ours, &other] {
        authority.sign("agent", false);
    }
    let ca = ours.file("ca.pem");
    let broker = || ours.broker("127.0.0.1", true);

    let good = settings(&peer.address, &ca, Some(&ours.file("agent"))).unwrap();
    check(&connect(&peer, broker(), good).await, &[]);
    let none = settings(&peer.address, &ca, None).unwrap();
    let error = connect(&peer, broker(), none).await;
    check(&error, &["wants a client certificate", "`cert_file`", "check `kafka.tls`"]);
    let rogue = settings(&peer.address, &ca, Some(&other.file("agent"))).unwrap();
    let error = connect(&peer, broker(), rogue).await;
    check(&error, &["does not accept our certificate", "check `kafka.tls`"]);
}

#[tokio::test]
async fn a_broker_without_tls_is_told_apart() {
    let ours = Authority::new();
    let peer = Peer::new().await;
    for (said, expected) in [
        // What Kafka does with a length of 0x16030100 bytes.
        (&b""[..], "does this port speak TLS?"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"),
    ] {
        let settings = Arc::new(settings(&peer.address, &ours.file("ca.pem"), None).unwrap());
        let serve = async {
            let mut side = peer.accept().await;
            side.stream.write_all(said).await.unwrap();
            side.stream.shutdown().await.unwrap();
            side.closed().await;
        };
        let (opened, ()) = tokio::join!(Connection::open(&peer.address, &settings), serve);
        check(&opened.err().unwrap().to_string(), &[expected, "check `kafka.tls`"]);
    }
}

#[tokio::test]
async fn certificates_that_were_replaced_are_used() {
    let (ours, other) = (Authority::new(), Authority::new());
    let peer = Peer::new().await;
    ours.sign("127.0.0.1", false);
    let ca = other.file("ca.pem");
    let settings = settings(&peer.address, &ca, None).unwrap();
    let tls = settings.tls.as_ref().unwrap();
    let before = tls.config();
    // Half a file, as one that is being written: the old one stays.
    let touch = |seconds: u64| {
        let file = fs::File::options().write(true).open(&ca).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\n").unwrap();
    touch(1_000_000_000);
    assert!(Arc::ptr_eq(&before, &tls.config()));
    fs::copy(ours.file("ca.pem"), &ca).unwrap();
    touch(1_000_000_001);
    check(&connect(&peer, ours.broker("127.0.0.1", false), settings).await, &[]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let ours = Authority::new();
    ours.sign("agent", false);
    ours.sign("other", false);
    let file = |name: &str| ours.file(name).display().to_string();
    let check = |ca: Option<&str>, cert: Option<&str>, key: Option<&str>, parts: &[&str]| {
        let files =
            TlsConfig { ca_file: ca.map(file), cert_file: cert.map(file), key_file: key.map(file) };
        check(&Tls::new(&files).err().unwrap().to_string(), parts);
    };
    let ca = Some("ca.pem");
    check(Some("none.pem"), None, None, &["`kafka.tls.ca_file`", "none.pem"]);
    check(Some("agent.key"), None, None, &["`kafka.tls.ca_file`", "no certificate"]);
    check(ca, Some("agent.pem"), None, &["both `cert_file` and `key_file`"]);
    check(ca, Some("agent.pem"), Some("ca.pem"), &["`kafka.tls.key_file`", "unencrypted"]);
    check(ca, Some("agent.pem"), Some("other.key"), &["cannot be used together"]);
}
