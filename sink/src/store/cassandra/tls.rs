//! TLS to the nodes, by rustls.
//!
//! In: `[store.cassandra.tls]`, and the names among the contact points. Out: what the driver speaks TLS with, or
//! what is wrong in words that say what to do. Promises: a node is trusted only with a certificate that the
//! authorities of `ca_file` (default: the system's) signed, and that is for the node's address or for one of the
//! names in `contact_points`. (The driver finds nodes by their addresses and knows no names of theirs; who
//! gives nodes certificates for names lists these as contact points.) Files are read for each new session.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};
use weir_models::kafka::TlsConfig;

use crate::tls;

/// What the driver speaks TLS with.
pub(super) fn client(files: &TlsConfig, points: &[String]) -> Result<Arc<ClientConfig>, String> {
    let wrong = |why: String| format!("store.cassandra.tls: {why}");
    let roots = Arc::new(tls::roots(files.ca_file.as_deref()).map_err(wrong)?);
    let chain = WebPkiServerVerifier::builder_with_provider(roots, tls::provider()).build();
    let chain = chain.map_err(|error| wrong(error.to_string()))?;
    let verifier = Arc::new(NodeVerifier { chain, names: names(points) });
    let client = tls::client().map_err(wrong)?;
    let client = client.dangerous().with_custom_certificate_verifier(verifier);
    let (certificate, key) = (files.cert_file.as_deref(), files.key_file.as_deref());
    Ok(Arc::new(tls::identified(client, certificate, key).map_err(wrong)?))
}

/// The names, but not the addresses, of `HOST:PORT`.
fn names(points: &[String]) -> Vec<ServerName<'static>> {
    let host = |point: &String| point.rsplit_once(':').map(|(host, _)| host.to_owned());
    let named = points.iter().filter_map(host).filter_map(|host| ServerName::try_from(host).ok());
    named.filter(|name| matches!(name, ServerName::DnsName(_))).collect()
}

/// Verifies as rustls does; where the certificate is not for the node's address, it may be for a name we know.
#[derive(Debug)]
struct NodeVerifier {
    chain: Arc<WebPkiServerVerifier>,
    names: Vec<ServerName<'static>>,
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        address: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_for = |name: &ServerName<'_>| {
            self.chain.verify_server_cert(end_entity, intermediates, name, ocsp, now)
        };
        match is_for(address) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.names.iter().any(|name| is_for(name).is_ok()) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// What is wrong with TLS, if that is what ended a connection.
pub(super) fn explain(error: &io::Error, files: &TlsConfig) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(reason) => certificate(reason),
        Error::AlertReceived(alert) => refused(*alert, files),
        Error::InvalidMessage(_) => {
            "this port does not speak TLS: check the port, or remove `[store.cassandra.tls]`".into()
        }
        other => format!("TLS fails ({other}): check `[store.cassandra.tls]`"),
    })
}

fn certificate(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is from an authority that is not trusted here: check `ca_file` of `[store.cassandra.tls]`".into()
        }
        CertificateError::NotValidForName => {
            "its certificate is for another name: give it one for the node's address, or for a name that stands in `store.cassandra.contact_points`".into()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate is for {}: give it one for the node's address, or for a name that stands in `store.cassandra.contact_points`",
            if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") },
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired: renew it, or set the clock of this machine right".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: set the clock of this machine right".into()
        }
        other => format!("its certificate cannot be used ({other}): check `[store.cassandra.tls]`"),
    }
}

/// What the node says of us.
fn refused(alert: AlertDescription, files: &TlsConfig) -> String {
    match alert {
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => format!(
            "it has no TLS version or cipher in common with us ({alert:?}): let it offer TLS 1.2 or 1.3"
        ),
        _ => own_certificate(&format!("{alert:?}"), files),
    }
}

/// What to do when a node ends TLS: with TLS 1.3 it judges our certificate after the handshake, and the driver
/// hands on no more than the text of that.
pub(super) fn explain_text(text: &str, files: &TlsConfig) -> Option<String> {
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let alert = alert.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    Some(own_certificate(alert, files))
}

fn own_certificate(alert: &str, files: &TlsConfig) -> String {
    if files.cert_file.is_none() {
        return format!(
            "it wants a client certificate ({alert}): set `cert_file` and `key_file` in `[store.cassandra.tls]`"
        );
    }
    format!(
        "it does not accept our certificate ({alert}): `cert_file` of `[store.cassandra.tls]` has to be valid and from an authority that the nodes trust"
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tempfile::TempDir;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    /// An authority, and its certificate in a file.
    struct Authority(TempDir, CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer =
                CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
            Self(folder, issuer)
        }

        fn files(&self) -> TlsConfig {
            let file = self.0.path().join("ca.pem").display().to_string();
            TlsConfig { ca_file: Some(file), ..TlsConfig::default() }
        }

        /// A node with a certificate for these names; its address.
        async fn node(&self, names: &[&str]) -> std::net::SocketAddr {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let certificate =
                CertificateParams::new(names).unwrap().signed_by(&key, &self.1).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let config = ServerConfig::builder_with_provider(tls::provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let acceptor = TlsAcceptor::from(Arc::new(config));
                while let Ok((socket, _)) = listener.accept().await {
                    if let Ok(mut stream) = acceptor.accept(socket).await {
                        let _ = stream.read(&mut [0]).await;
                    }
                }
            });
            address
        }
    }

    /// As the driver connects: by the address of the node.
    async fn shake(
        files: &TlsConfig,
        points: &[&str],
        node: std::net::SocketAddr,
    ) -> Result<(), String> {
        let points: Vec<String> = points.iter().map(|point| (*point).to_owned()).collect();
        let connector = TlsConnector::from(client(files, &points)?);
        let socket = TcpStream::connect(node).await.unwrap();
        let address = ServerName::IpAddress(node.ip().into());
        let shaken = connector.connect(address, socket).await;
        shaken.map(drop).map_err(|error| explain(&error, files).unwrap())
    }

    #[tokio::test]
    async fn a_certificate_is_for_the_address_or_for_a_name_among_the_contact_points() {
        let authority = Authority::new();
        let files = authority.files();
        let by_address = authority.node(&["127.0.0.1"]).await;
        assert_eq!(shake(&files, &["10.0.0.1:9042"], by_address).await, Ok(()));
        let by_name = authority.node(&["db1.example.org"]).await;
        let points = ["10.0.0.1:9042", "db1.example.org:9042"];
        assert_eq!(shake(&files, &points, by_name).await, Ok(()));
        for points in [&["db2.example.org:9042", "10.0.0.1:9042"][..], &["example.org:9042"], &[]] {
            let told = shake(&files, points, by_name).await.unwrap_err();
            assert!(told.contains("db1.example.org") && told.contains("contact_points"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_certificate_of_a_foreign_authority_is_refused_whatever_its_name() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let node = theirs.node(&["127.0.0.1", "db1.example.org"]).await;
        let told = shake(&ours.files(), &["db1.example.org:9042"], node).await.unwrap_err();
        assert!(told.contains("not trusted") && told.contains("`ca_file`"), "{told}");
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let told = |files: TlsConfig| client(&files, &[]).unwrap_err();
        let file = |name: &str| Some(name.to_owned());
        let none = TlsConfig { ca_file: file("/none.pem"), ..TlsConfig::default() };
        assert!(told(none).contains("cannot use `ca_file` `/none.pem`"));
        let authority = Authority::new();
        let half = TlsConfig { cert_file: file("a.pem"), ..authority.files() };
        assert!(told(half).contains("give both or none"));
    }

    #[test]
    fn what_a_node_says_of_our_certificate_is_told_with_what_to_do() {
        let text =
            "Failed to deserialize frame: IO error: received fatal alert: CertificateRequired";
        let none = TlsConfig::default();
        let told = explain_text(text, &none).unwrap();
        assert!(
            told.contains("(CertificateRequired)") && told.contains("set `cert_file`"),
            "{told}"
        );
        let some = TlsConfig { cert_file: Some("c.pem".into()), ..none };
        let told = explain_text(text, &some).unwrap();
        assert!(told.contains("does not accept our certificate"), "{told}");
        assert_eq!(explain_text("connection reset", &some), None);
    }
}
