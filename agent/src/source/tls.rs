//! TLS for sources: certificates that are renewed while the agent runs, handshakes with limits.
//!
//! In: the tables `tls`, and connections. Out: `Stream`s, which read and write like plain ones.
//! Promises: what is wrong with a file is said at the start, with what to do; later a renewed
//! certificate counts from the next connection on (the files are looked at every few seconds), and
//! files that do not fit together leave what was there in force. A handshake has a time limit, and
//! only some run at a time. With `client_ca_file` nobody gets in without a certificate of it.
//!
//! Only the algorithms of `ring`: it builds for every target with a C compiler and nothing else.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::Counter;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use weir_models::metric;

use super::peers::Seldom;
use super::start::StartError;
use super::stopping;
use renewed::Renewed;
pub(super) use stream::Stream;

mod certificate;
mod client;
mod material;
mod renewed;
mod stream;
#[cfg(test)]
pub(super) mod tests;

pub(super) use client::client;
pub(super) use material::FileError;

/// How long a peer may take for a handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// Most handshakes at a time; further connections wait for their turn.
const HANDSHAKES_MAX: usize = 64;
/// How long a connection waits for its turn at most.
const TURN_WAIT: Duration = Duration::from_secs(60);

/// What a listening source shows its peers, and asks of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The certificate, PEM, with those of intermediate authorities behind it. Renewals are noticed.
    pub cert_file: PathBuf,
    /// Its private key, PEM, without a password.
    pub key_file: PathBuf,
    /// Authorities, PEM: with them every peer has to show a certificate that one of them signed.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

/// What a source that connects trusts, and shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// Authorities, PEM, that may have signed the server's certificate; default: the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate to show to the server, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM, without a password.
    pub key_file: Option<PathBuf>,
}

/// Where connections of one source come in: makes TLS of them where that is configured.
#[derive(Debug)]
pub struct Door {
    name: Arc<str>,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    renewed: Renewed,
    turns: Semaphore,
    failed: Counter,
    told: Mutex<Seldom>,
}

/// Why a connection did not become a TLS one.
#[derive(Debug)]
enum Failure {
    Busy,
    Slow,
    Broken(io::Error),
}

impl Door {
    /// The door of the source `name`; a plain one without `config`.
    ///
    /// # Errors
    /// When a file is missing or does not fit.
    pub(super) fn new(name: &str, config: Option<&Config>) -> Result<Self, StartError> {
        let tls = config.map(|config| Renewed::new(name, config)).transpose();
        let tls = tls.map_err(|error| StartError::Tls { name: name.into(), error })?;
        let tls = tls.map(|renewed| Tls {
            renewed,
            turns: Semaphore::new(HANDSHAKES_MAX),
            failed: metrics::counter!(metric::AGENT_MISUNDERSTOOD.name, "source" => name.to_owned(), "reason" => "tls"),
            told: Mutex::default(),
        });
        Ok(Self { name: name.into(), tls })
    }

    /// Opens to `peer`. `None` when it did not get in, which is counted and logged, or when the agent
    /// stops before.
    pub(super) async fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<Stream> {
        let Some(tls) = &self.tls else {
            return Some(Stream::Plain(stream));
        };
        let shaken = tokio::select! {
            biased;
            shaken = tls.shake_hands(stream) => shaken,
            () = stopping(stop) => return None,
        };
        match shaken {
            Ok(stream) => {
                let certificate = stream.peer_name();
                tracing::debug!(source = %self.name, %peer, certificate, "a TLS connection");
                Some(stream)
            }
            Err(failure) => {
                tls.tell(&self.name, peer, &failure);
                None
            }
        }
    }
}

impl Tls {
    async fn shake_hands(&self, stream: TcpStream) -> Result<Stream, Failure> {
        let turn = tokio::time::timeout(TURN_WAIT, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Failure::Busy);
        };
        let acceptor = TlsAcceptor::from(self.renewed.current());
        match tokio::time::timeout(HANDSHAKE_WAIT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(Failure::Broken(error)),
            Err(_) => Err(Failure::Slow),
        }
    }

    fn tell(&self, name: &str, peer: SocketAddr, failure: &Failure) {
        self.failed.increment(1);
        let (reason, advice) = failure.words();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.due(Instant::now()) {
            Some(more) => {
                tracing::warn!(source = name, %peer, reason, more, "a TLS handshake failed: {advice}");
            }
            None => {
                tracing::debug!(source = name, %peer, reason, "a TLS handshake failed: {advice}");
            }
        }
    }
}

impl Failure {
    /// What happened, and what to do about it.
    fn words(&self) -> (String, &'static str) {
        use rustls::{AlertDescription, CertificateError, Error};
        let error = match self {
            Self::Busy => {
                return ("too many handshakes at once".into(), "the peer will have to try again");
            }
            Self::Slow => {
                return (
                    format!("it took more than {} s", HANDSHAKE_WAIT.as_secs()),
                    "see whether the peer speaks TLS, and how good the line is",
                );
            }
            Self::Broken(error) => error,
        };
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let advice = match inner {
            Some(Error::NoCertificatesPresented) => {
                "give the peer a certificate that an authority in `client_ca_file` signed"
            }
            Some(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => "the peer's certificate has expired: renew it",
            Some(Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            )) => "the peer's certificate is not valid yet: check the clocks of both",
            Some(Error::InvalidCertificate(_)) => {
                "no authority in `client_ca_file` signed the peer's certificate: add the one that did, or give the peer another"
            }
            Some(Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired,
            )) => {
                "the peer does not accept our certificate: see whether it is current, names this machine as the peer does, and whether the peer knows the authority that signed it"
            }
            Some(Error::InvalidMessage(_)) => "the peer does not speak TLS: switch it on there",
            Some(Error::PeerIncompatible(_)) => {
                "the peer offers nothing that we speak: it needs TLS 1.2 or 1.3"
            }
            Some(_) => "see the TLS settings of the peer",
            None => "the peer went away: see its log, it may not accept our certificate",
        };
        (error.to_string(), advice)
    }
}
