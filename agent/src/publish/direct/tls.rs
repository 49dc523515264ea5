//! TLS to the brokers, by rustls.
//!
//! In: the `[kafka.tls]` table and its PEM files. Out: TLS streams, or what is wrong in words that
//! say what to do. Promises: a broker is trusted only with a certificate for the name in its address, signed
//! by the authorities of `ca_file` (default: the system's). Files that change are read again for the
//! next connection; while they cannot be read the ones before stay in use.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore,
};
use weir_models::kafka::TlsConfig;

/// Sessions to remember for a quicker second connection; one a broker is enough.
const SESSIONS_MAX: usize = 8;

/// The `[kafka.tls]` table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds something else.
    #[error("`kafka.tls.{key}`: cannot use `{file}`: {reason}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A certificate without its key, or the other way round.
    #[error("`kafka.tls` needs both `cert_file` and `key_file` for mutual TLS, or none of them")]
    Half,
    /// Certificate and key do not fit.
    #[error("`kafka.tls.cert_file` and `key_file` cannot be used together: {0}")]
    Client(Error),
    /// The system has no authorities.
    #[error(
        "the system has no authorities to trust ({0}): name the broker's in `kafka.tls.ca_file`, or install the package `ca-certificates`"
    )]
    NoRoots(String),
    /// The provider refuses the protocol versions; never seen.
    #[error("TLS cannot be set up: {0}")]
    Provider(Error),
}

/// Makes TLS streams.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsConfig,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ClientConfig>,
    stamps: Stamps,
}

/// When the files were changed last.
type Stamps = [Option<SystemTime>; 3];

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Says which key is wrong.
    pub(super) fn new(files: &TlsConfig) -> Result<Self, TlsError> {
        let stamps = stamps(files);
        let current = Current { config: Arc::new(load(files)?), stamps };
        Ok(Self { files: files.clone(), current: Mutex::new(current) })
    }

    /// Speaks TLS over a fresh connection to `host`, a name or an IP address.
    ///
    /// # Errors
    /// In words that say what to check.
    pub(super) async fn connect(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            format!("`{host}` is no name that a certificate can have; check `kafka.brokers`")
        })?;
        let connector = TlsConnector::from(self.config());
        let shake = connector.connect(name, socket).await;
        shake.map_err(|error| explain(&error, host, self.has_certificate()))
    }

    /// The configuration, made anew when a file has changed.
    fn config(&self) -> Arc<ClientConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps != current.stamps {
            match load(&self.files) {
                Ok(config) => current.config = Arc::new(config),
                Err(error) => tracing::warn!(%error, "keeping the certificates of before"),
            }
            current.stamps = stamps;
        }
        current.config.clone()
    }

    /// Whether we have a certificate to show.
    pub(super) fn has_certificate(&self) -> bool {
        self.files.cert_file.is_some()
    }

    /// What went wrong after the handshake: with TLS 1.3 the broker judges our certificate then.
    pub(super) fn explain(&self, error: &io::Error, host: &str) -> Option<String> {
        tls_error(error)?;
        Some(explain(error, host, self.has_certificate()))
    }
}

fn stamps(files: &TlsConfig) -> Stamps {
    [&files.ca_file, &files.cert_file, &files.key_file].map(|file| {
        let metadata = std::fs::metadata(file.as_deref()?).ok()?;
        metadata.modified().ok()
    })
}

fn load(files: &TlsConfig) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_root_certificates(roots(files.ca_file.as_deref())?);
    let mut config = match (&files.cert_file, &files.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("cert_file", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File {
                key: "key_file",
                file: key.clone(),
                reason: format!("{error}; it has to be a PEM file with an unencrypted private key"),
            })?;
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Client)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsError::Half),
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Ok(config)
}

fn roots(ca_file: Option<&str>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::NoRoots(reasons.join(", ")));
        }
        return Ok(roots);
    };
    for certificate in certificates("ca_file", file)? {
        roots.add(certificate).map_err(|error| TlsError::File {
            key: "ca_file",
            file: file.into(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn certificates(key: &'static str, file: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::File { key, file: file.into(), reason };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("there is no certificate in it, it has to be PEM".into()));
    }
    Ok(certificates)
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn explain(error: &io::Error, host: &str, has_certificate: bool) -> String {
    let Some(error) = tls_error(error) else {
        return format!(
            "the broker ended the TLS handshake ({error}): does this port speak TLS? check `kafka.tls` and `kafka.brokers`"
        );
    };
    match error {
        Error::InvalidCertificate(reason) => explain_certificate(reason, host),
        Error::AlertReceived(alert) => explain_alert(*alert, has_certificate),
        Error::InvalidMessage(_) => {
            "the broker does not speak TLS on this port: check `kafka.tls` and `kafka.brokers`"
                .into()
        }
        other => format!("{other}; check `kafka.tls`"),
    }
}

fn explain_certificate(reason: &CertificateError, host: &str) -> String {
    match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the broker's certificate is from an authority that is not trusted here: check `kafka.tls`: the authority in `ca_file`".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = match reason {
                CertificateError::NotValidForNameContext { presented, .. }
                    if !presented.is_empty() =>
                {
                    format!("for {}", presented.join(", "))
                }
                _ => "without alternative names".into(),
            };
            format!(
                "the broker's certificate is {names} and not for `{host}`: check `kafka.tls`: name the broker as in its certificate, or give it one with this name"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the broker's certificate has expired: renew it, or set the clock of this machine right; check `kafka.tls`".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the broker's certificate is not valid yet: set the clock of this machine right; check `kafka.tls`".into()
        }
        other => format!("the broker's certificate cannot be used ({other}); check `kafka.tls`"),
    }
}

fn explain_alert(alert: AlertDescription, has_certificate: bool) -> String {
    match alert {
        // Java says `bad_certificate` for none at all.
        AlertDescription::CertificateRequired | AlertDescription::BadCertificate
            if !has_certificate =>
        {
            "the broker wants a client certificate: check `kafka.tls`: set `cert_file` and `key_file`".into()
        }
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => format!(
            "the broker does not accept our certificate ({alert:?}): check `kafka.tls`: `cert_file` has to be valid and from an authority that the broker trusts"
        ),
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => format!(
            "the broker and we have no TLS version or cipher in common ({alert:?}): let it offer TLS 1.2 or 1.3; check `kafka.tls`"
        ),
        other => format!("the broker refuses TLS ({other:?}); check `kafka.tls`"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
