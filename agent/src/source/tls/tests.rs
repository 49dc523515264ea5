#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::*;

/// An authority of a test's own.
pub(in super::super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(in super::super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes the authority's own certificate.
    pub(in super::super) fn ca(&self, folder: &Path) -> PathBuf {
        let path = folder.join("ca.pem");
        fs::write(&path, &self.pem).unwrap();
        path
    }

    /// Writes a pair for 127.0.0.1 and `localhost`, signed by the authority.
    pub(in super::super) fn server(&self, folder: &Path) -> Config {
        let (cert_file, key_file) = self.pair(folder, "server", 2099);
        Config { cert_file, key_file, client_ca_file: None }
    }

    /// Settings of a client that shows a certificate of its own.
    pub(in super::super) fn client(&self, folder: &Path) -> ClientConfig {
        let (cert_file, key_file) = self.pair(folder, "pump-7", 2099);
        ClientConfig {
            ca_file: Some(self.ca(folder)),
            cert_file: Some(cert_file),
            key_file: Some(key_file),
        }
    }

    fn pair(&self, folder: &Path, name: &str, last_year: i32) -> (PathBuf, PathBuf) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(last_year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |end: &str| folder.join(format!("{name}.{end}"));
        fs::write(path("pem"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("pem"), path("key"))
    }
}

/// What came of a connection: the server's stream, and the client's or its error.
async fn meet(
    door: &Door,
    client: &ClientConfig,
) -> (Option<Stream>, io::Result<tokio_rustls::client::TlsStream<TcpStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connector = TlsConnector::from(Arc::new(super::client(client).unwrap()));
    let connecting = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream =
            connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
        // With TLS 1.3 the server's refusal of our certificate comes after our side is done.
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        Ok(stream)
    };
    let accepting = async {
        let (stream, peer) = listener.accept().await.unwrap();
        let (_sender, mut stop) = watch::channel(false);
        door.open(stream, peer, &mut stop).await
    };
    tokio::join!(accepting, connecting)
}

#[tokio::test]
async fn both_sides_read_and_write_and_the_peer_has_a_name() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let mut config = authority.server(folder.path());
    config.client_ca_file = Some(authority.ca(folder.path()));
    let door = Door::new("t", Some(&config)).unwrap();
    let (server, client) = meet(&door, &authority.client(folder.path())).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    assert_eq!(server.peer_name().as_deref(), Some("pump-7"));
    let mut read = [0; 5];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
    server.write_all(b"there").await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"there");

    // What is there is read without waiting for more.
    client.write_all(b"rest").await.unwrap();
    client.flush().await.unwrap();
    let mut rest = server.into_std().unwrap();
    let mut found = Vec::new();
    while found.len() < 4 {
        let mut chunk = [0; 16];
        match rest.read(&mut chunk) {
            Ok(length) => found.extend_from_slice(&chunk[..length]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert_eq!(found, b"rest");
    let error = rest.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn without_a_certificate_of_the_authority_nobody_gets_in() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let mut config = authority.server(folder.path());
    config.client_ca_file = Some(authority.ca(folder.path()));
    let door = Door::new("t", Some(&config)).unwrap();
    let nameless =
        ClientConfig { ca_file: Some(authority.ca(folder.path())), ..ClientConfig::default() };
    assert!(meet(&door, &nameless).await.0.is_none());

    let other = tempfile::tempdir().unwrap();
    let mut stranger = Authority::new().client(other.path());
    stranger.ca_file = nameless.ca_file;
    assert!(meet(&door, &stranger).await.0.is_none());
}

#[tokio::test]
async fn a_client_verifies_the_server() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let door = Door::new("t", Some(&authority.server(folder.path()))).unwrap();
    let other = tempfile::tempdir().unwrap();
    let trusting_others = Authority::new().client(other.path());
    let (server, client) = meet(&door, &trusting_others).await;
    assert!(server.is_none());
    let error = client.unwrap_err().to_string();
    assert!(error.starts_with("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_plain_door_asks_nothing_and_a_stop_ends_a_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let (stop, mut stopped) = watch::channel(true);
    let plain = Door::new("t", None).unwrap();
    let Some(Stream::Plain(stream)) = plain.open(stream, peer, &mut stopped).await else {
        unreachable!("a plain connection gets in");
    };
    let folder = tempfile::tempdir().unwrap();
    let door = Door::new("t", Some(&Authority::new().server(folder.path()))).unwrap();
    assert!(door.open(stream, peer, &mut stopped).await.is_none());
    drop(stop);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let door = Door::new("t", Some(&Authority::new().server(folder.path()))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let (_sender, mut stop) = watch::channel(false);
    assert!(door.open(stream, peer, &mut stop).await.is_none());
}

#[track_caller]
fn check(config: &Config, expected: &str) {
    let error = Door::new("t", Some(config)).unwrap_err().to_string();
    assert!(error.starts_with("`tls` of source `t`: ") && error.contains(expected), "{error}");
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let good = authority.server(folder.path());
    let with = |change: fn(&mut Config, PathBuf), path: &Path| {
        let mut config = good.clone();
        change(&mut config, path.into());
        config
    };
    let cert: fn(&mut Config, PathBuf) = |config, path| config.cert_file = path;
    let key: fn(&mut Config, PathBuf) = |config, path| config.key_file = path;
    let ca: fn(&mut Config, PathBuf) = |config, path| config.client_ca_file = Some(path);
    let nowhere = Path::new("/nowhere/x.pem");
    check(&with(cert, nowhere), "`cert_file` /nowhere/x.pem: there is no such file; put it there");
    check(&with(key, nowhere), "`key_file` /nowhere/x.pem: there is no such file");
    check(&with(ca, nowhere), "`client_ca_file` /nowhere/x.pem: there is no such file");
    check(&with(cert, &good.key_file), "has no certificate; it has to be PEM");
    check(&with(ca, &good.key_file), "`client_ca_file` ");
    check(&with(key, &good.cert_file), "has no private key that can be read");
    let other = tempfile::tempdir().unwrap();
    let foreign = authority.server(other.path()).key_file;
    check(&with(key, &foreign), "does not belong to the first certificate of `cert_file`");
    let torn = folder.path().join("torn.pem");
    let text = fs::read_to_string(&good.cert_file).unwrap();
    fs::write(&torn, &text[..text.len() / 2]).unwrap();
    check(&with(cert, &torn), "has no certificate");
    // One that has expired is warned about only: senders may not look at it.
    let (cert_file, key_file) = authority.pair(folder.path(), "old", 2001);
    Door::new("t", Some(&Config { cert_file, key_file, client_ca_file: None })).unwrap();
}

#[track_caller]
fn check_advice(error: rustls::Error, expected: &str) {
    let failure = Failure::Broken(io::Error::new(io::ErrorKind::InvalidData, error));
    let (_, advice) = failure.words();
    assert!(advice.contains(expected), "{advice}");
}

#[test]
fn failed_handshakes_say_what_to_do() {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
    check_advice(Error::NoCertificatesPresented, "`client_ca_file`");
    check_advice(Error::InvalidCertificate(CertificateError::Expired), "expired: renew it");
    check_advice(Error::InvalidCertificate(CertificateError::NotValidYet), "check the clocks");
    check_advice(Error::InvalidCertificate(CertificateError::UnknownIssuer), "`client_ca_file`");
    check_advice(Error::AlertReceived(AlertDescription::UnknownCA), "does not accept our");
    check_advice(Error::InvalidMessage(InvalidMessage::InvalidContentType), "switch it on there");
    check_advice(Error::DecryptError, "see the TLS settings");
}
