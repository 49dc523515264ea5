//! What is said on a new connection before the first request: versions, and who we are.
//!
//! In: an address. Out: an open stream with what the broker speaks, or what is wrong, in words that
//! say what to do. Promises: ends within the time-outs of [`Settings`]; never shows a secret.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{
    ApiVersionsRequest, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connection::Opened;
use super::frame;
use super::sasl::{Exchange, Step, mechanism_name};
use super::settings::{Sasl, Settings};
use super::stream::{Stream, connect, host_and_port};
use super::versions::Versions;

/// First two bytes of a TLS alert, which a TLS port answers to plain text.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];
/// Answers to what is said here are small.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// More steps has no mechanism; a broker that goes on for ever is none.
const STEPS_MAX: usize = 8;
const UNSUPPORTED_VERSION: i16 = 35;
const UNSUPPORTED_MECHANISM: i16 = 33;
const ILLEGAL_SASL_STATE: i16 = 34;
const AUTHENTICATION_FAILED: i16 = 58;

/// A connection cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// No TCP connection.
    #[error(
        "cannot reach the broker {address}: {error}; is the broker up, and are `kafka.brokers` and the network right?"
    )]
    Unreachable {
        /// The broker.
        address: String,
        /// Why, for the last address of its name.
        error: io::Error,
    },
    /// Connected, and then silence.
    #[error(
        "the broker {address} does not answer while {step}; is the broker up, and are `kafka.brokers` and the network right?"
    )]
    TimedOut {
        /// The broker.
        address: String,
        /// What we waited for.
        step: &'static str,
    },
    /// It ended the connection.
    #[error("the broker {address} ended the connection while {step}: {reason}")]
    Lost {
        /// The broker.
        address: String,
        /// What we waited for.
        step: &'static str,
        /// Why, or what to check.
        reason: String,
    },
    /// TLS is not possible.
    #[error("no TLS with the broker {address}: {reason}")]
    Tls {
        /// The broker.
        address: String,
        /// Why, and what to check.
        reason: String,
    },
    /// The broker does not accept us.
    #[error("the broker {address} does not let us in: {reason}")]
    Refused {
        /// The broker.
        address: String,
        /// Why, and what to check.
        reason: String,
    },
    /// It speaks something else.
    #[error(
        "the broker {address} answers with what is not Kafka's protocol: {reason}; check `kafka.brokers`"
    )]
    Garbled {
        /// The broker.
        address: String,
        /// What is wrong.
        reason: String,
    },
}

impl OpenError {
    /// Whether somebody has to change something: waiting will not help.
    pub(super) fn is_configuration(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Refused { .. } | Self::Garbled { .. })
    }
}

/// Connects and does all that comes before the first request.
pub(super) async fn open(address: &str, settings: &Settings) -> Result<Opened, OpenError> {
    let stream = connect(address, settings).await?;
    let mut talk = Talk { stream, address, settings, step: "asking for its versions", next_id: 0 };
    let prepared = timeout(settings.handshake_timeout, talk.prepare()).await;
    let step = talk.step;
    let (versions, session) =
        prepared.unwrap_or_else(|_| Err(OpenError::TimedOut { address: address.into(), step }))?;
    Ok(Opened { stream: talk.stream, versions, session })
}

/// One question, one answer.
struct Talk<'a> {
    stream: Stream,
    address: &'a str,
    settings: &'a Settings,
    step: &'static str,
    next_id: i32,
}

impl Talk<'_> {
    async fn prepare(&mut self) -> Result<(Versions, Option<Duration>), OpenError> {
        let versions = self.versions().await?;
        let session = match &self.settings.sasl {
            Some(sasl) => self.authenticate(sasl).await?,
            None => None,
        };
        Ok((versions, session))
    }

    async fn versions(&mut self) -> Result<Versions, OpenError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("weir-agent"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut version = 3;
        let mut answer = self.ask(version, &request).await?;
        // A broker that does not know version 3 says so in version 0 (KIP-511).
        if code_in(&answer) == Some(UNSUPPORTED_VERSION) {
            version = 0;
            answer = self.ask(version, &ApiVersionsRequest::default()).await?;
            self.check_count(&answer, 6)?;
        }
        let response = self.read::<ApiVersionsRequest>(answer, version)?;
        if response.error_code != 0 {
            return Err(self.garbled(format!("error {} about versions", response.error_code)));
        }
        Ok(Versions::new(&response))
    }

    /// Says who we are; answers for how long the broker believes it.
    async fn authenticate(&mut self, sasl: &Sasl) -> Result<Option<Duration>, OpenError> {
        self.step = "saying who we are";
        let secret = sasl.secret().map_err(|reason| self.refused(&reason))?;
        let name = mechanism_name(sasl.mechanism);
        let hello = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(name));
        let answer = self.ask(1, &hello).await?;
        self.check_count(&answer, 2)?;
        let response = self.read::<SaslHandshakeRequest>(answer, 1)?;
        self.check_handshake(name, &response)?;

        let mut exchange = Exchange::new(sasl.mechanism, &sasl.username, &secret)
            .map_err(|reason| self.refused(&reason))?;
        let mut message = exchange.first();
        for _ in 0..STEPS_MAX {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
            let answer = self.ask(2, &request).await?;
            let response = self.read::<SaslAuthenticateRequest>(answer, 2)?;
            self.check_authenticated(name, &response)?;
            match exchange.next(&response.auth_bytes).map_err(|reason| self.refused(&reason))? {
                Step::Send(next) => message = next,
                Step::Done => {
                    let lifetime = u64::try_from(response.session_lifetime_ms).unwrap_or(0);
                    return Ok((lifetime > 0).then(|| Duration::from_millis(lifetime)));
                }
            }
        }
        Err(self.garbled("it never comes to an end with who we are".into()))
    }

    fn check_handshake(&self, name: &str, answer: &SaslHandshakeResponse) -> Result<(), OpenError> {
        match answer.error_code {
            0 => Ok(()),
            UNSUPPORTED_MECHANISM => {
                let offered: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
                Err(self.refused(&format!(
                    "it does not take `{name}`; check `kafka.sasl`: set `mechanism` to one of {}",
                    offered.join(", ")
                )))
            }
            ILLEGAL_SASL_STATE => Err(self.refused(
                "it wants no user on this port; check `kafka.sasl`: remove it, or name the port for users in `kafka.brokers`",
            )),
            code => Err(self.refused(&format!("error {code}; check `kafka.sasl`"))),
        }
    }

    fn check_authenticated(
        &self,
        name: &str,
        answer: &SaslAuthenticateResponse,
    ) -> Result<(), OpenError> {
        let said = answer.error_message.as_ref().map_or("", StrBytes::as_str);
        match answer.error_code {
            0 => Ok(()),
            AUTHENTICATION_FAILED => {
                let what =
                    if name == "OAUTHBEARER" { "token" } else { "user, password, mechanism" };
                Err(self.refused(&format!("{said}; check `kafka.sasl`: {what}")))
            }
            code => Err(self.refused(&format!("error {code} {said}; check `kafka.sasl`"))),
        }
    }

    async fn ask<R: Request>(&mut self, version: i16, request: &R) -> Result<Bytes, OpenError> {
        let mut bytes = frame::request(&self.settings.client_id, version, request)
            .map_err(|reason| self.garbled(reason))?;
        let id = self.next_id;
        self.next_id += 1;
        frame::number(&mut bytes, id);
        let answer = match self.exchange(&bytes).await {
            Ok(answer) => answer?,
            Err(error) => return Err(self.lost(&error)),
        };
        match frame::answered(&answer) {
            Some(found) if found == id => Ok(answer),
            _ => Err(self.garbled(format!("an answer to another question than {id}"))),
        }
    }

    /// Outside: the stream failed; inside: the answer is none.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<Result<Bytes, OpenError>> {
        let written = async {
            self.stream.write_all(request).await?;
            self.stream.flush().await
        };
        let written = written.await;
        let mut head = [0; frame::LENGTH_BYTES];
        // A broker that has closed may have said why before.
        match self.stream.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            Err(error) => return Err(written.err().unwrap_or(error)),
        }
        if head[..2] == TLS_ALERT {
            return Ok(Err(OpenError::Tls {
                address: self.address.into(),
                reason: "the broker speaks TLS on this port: set `kafka.tls` (an empty table will do), or check `kafka.brokers`".into(),
            }));
        }
        let length = u32::from_be_bytes(head) as usize;
        if length > ANSWER_BYTES_MAX {
            return Ok(Err(self.garbled(format!("an answer of {length} bytes"))));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        Ok(Ok(answer.into()))
    }

    fn read<R: Request>(&self, answer: Bytes, version: i16) -> Result<R::Response, OpenError> {
        frame::response::<R>(answer, version).map_err(|reason| self.garbled(reason))
    }

    /// The crate allocates as many elements as the answer says; only flexible versions are guarded
    /// in `frame`. Both of the others that are read here begin with an error code and a count.
    fn check_count(&self, answer: &Bytes, element_bytes: usize) -> Result<(), OpenError> {
        let body = answer.get(6..).unwrap_or_default();
        let count = body.first_chunk().map_or(-1, |bytes| i32::from_be_bytes(*bytes));
        let is_possible = usize::try_from(count)
            .is_ok_and(|count| count.saturating_mul(element_bytes) <= body.len());
        is_possible.then_some(()).ok_or_else(|| self.garbled(format!("a list of {count}")))
    }

    fn garbled(&self, reason: String) -> OpenError {
        OpenError::Garbled { address: self.address.into(), reason }
    }

    fn refused(&self, reason: &str) -> OpenError {
        let reason = if reason.contains("check `kafka.") {
            reason.into()
        } else {
            format!("{reason}; check `kafka.sasl`")
        };
        OpenError::Refused { address: self.address.into(), reason }
    }

    fn lost(&self, error: &io::Error) -> OpenError {
        let host = host_and_port(self.address).map_or(self.address, |(host, _)| host);
        let tls = self.settings.tls.as_ref();
        if let Some(reason) = tls.and_then(|tls| tls.explain(error, host)) {
            return OpenError::Tls { address: self.address.into(), reason };
        }
        let is_first = self.next_id <= 1;
        let error = match error.kind() {
            io::ErrorKind::UnexpectedEof => "closed".into(),
            _ => error.to_string(),
        };
        let reason = match tls {
            None if is_first => format!(
                "{error}; is it going down (`kafka.brokers`), or does it want TLS? check `kafka.tls`"
            ),
            Some(tls) if is_first && !tls.has_certificate() => {
                format!("{error}; does it want a client certificate? check `kafka.tls`")
            }
            _ => error,
        };
        OpenError::Lost { address: self.address.into(), step: self.step, reason }
    }
}

/// The error code that stands first in an answer with the old header.
fn code_in(answer: &Bytes) -> Option<i16> {
    let mut body = answer.get(4..)?;
    body.try_get_i16().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
