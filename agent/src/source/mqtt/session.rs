//! A connection to the broker with its session, from CONNECT to DISCONNECT.
//!
//! In: the settings; acknowledgements. Out: what the broker says, packet by packet. Promises: what is to
//! be written is gathered and goes out in one piece; reading may be given up at any point and nothing is
//! lost. What can go wrong: every way in which a connection ends, in words with what to check.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::Settings;
use super::codec::{Codec, Heard};

/// How long connecting may take, from the name to the broker's answer.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long the broker may take nothing.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// Room for reading.
const CHUNK_BYTES: usize = 32 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection.
pub(super) struct Session {
    stream: Box<dyn Stream>,
    codec: Codec,
    read: BytesMut,
    write: BytesMut,
    keep_alive: Duration,
    /// When the next sign of life is asked for, unless that is switched off.
    pub(super) ping_at: Option<Instant>,
    /// Whether one was asked for and nothing came since.
    is_silent: bool,
}

impl Session {
    /// Connects; also says whether the broker still knows the session.
    ///
    /// # Errors
    /// What went wrong, as the broker or the system says it.
    pub(super) async fn open(settings: &Settings) -> Result<(Self, bool), String> {
        let opening = timeout(CONNECT_WAIT, Self::try_open(settings)).await;
        opening.unwrap_or_else(|_| Err(format!("no answer in {CONNECT_WAIT:?}")))
    }

    async fn try_open(settings: &Settings) -> Result<(Self, bool), String> {
        let config = &settings.config;
        let codec = Codec { protocol: config.protocol, bytes_max: config.packet_bytes_max };
        let mut session = Self {
            stream: connect(settings).await.map_err(|error| error.to_string())?,
            codec,
            read: BytesMut::new(),
            write: BytesMut::new(),
            keep_alive: Duration::from_secs(u64::from(config.keep_alive_s)),
            ping_at: None,
            is_silent: false,
        };
        let login = settings.login.as_ref().map(|(name, password)| (&**name, password.expose()));
        codec.connect(config, &settings.client_id, login, &mut session.write)?;
        session.flush().await?;
        loop {
            match session.next()? {
                Some(Heard::Connected { session_present, keep_alive_s }) => {
                    if let Some(keep_alive_s) = keep_alive_s {
                        session.keep_alive = Duration::from_secs(u64::from(keep_alive_s));
                    }
                    session.plan_ping();
                    return Ok((session, session_present));
                }
                Some(Heard::Refused(why)) => return Err(format!("connection refused: {why}")),
                Some(other) => return Err(format!("an answer that is none: {other:?}")),
                None => session.fill().await?,
            }
        }
    }

    /// Waits for more of the broker's bytes.
    pub(super) async fn fill(&mut self) -> Result<(), String> {
        if self.read.capacity() - self.read.len() < CHUNK_BYTES / 4 {
            self.read.reserve(CHUNK_BYTES);
        }
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) => Err("the broker closed the connection".into()),
            Ok(_) => {
                self.is_silent = false;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The next packet of what was read.
    pub(super) fn next(&mut self) -> Result<Option<Heard>, String> {
        self.codec.read(&mut self.read)
    }

    /// Subscribes, with the next flush.
    pub(super) fn subscribe(&mut self, filters: &[String]) -> Result<(), String> {
        self.codec.subscribe(filters, &mut self.write)
    }

    /// Acknowledges a packet, with the next flush.
    pub(super) fn acknowledge(&mut self, packet: u16) {
        Codec::acknowledge(packet, &mut self.write);
    }

    /// Asks for a sign of life, with the next flush.
    ///
    /// # Errors
    /// The broker gave none since it was last asked.
    pub(super) fn ping(&mut self) -> Result<(), String> {
        if self.is_silent {
            return Err(format!("nothing heard of the broker for {:?}", self.keep_alive));
        }
        self.is_silent = true;
        self.plan_ping();
        Codec::ping(&mut self.write);
        Ok(())
    }

    fn plan_ping(&mut self) {
        self.ping_at = (!self.keep_alive.is_zero()).then(|| Instant::now() + self.keep_alive);
    }

    /// Nobody reads just now, so nothing can be heard.
    pub(super) fn excuse_silence(&mut self) {
        self.is_silent = false;
    }

    /// Writes what was gathered.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        if self.write.is_empty() {
            return Ok(());
        }
        let writing = async {
            self.stream.write_all_buf(&mut self.write).await?;
            self.stream.flush().await
        };
        match timeout(WRITE_WAIT, writing).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the broker took nothing for {WRITE_WAIT:?}")),
        }
    }

    /// Says goodbye. The session stays.
    pub(super) async fn close(mut self) {
        Codec::disconnect(&mut self.write);
        // An error says that there is nothing left to end.
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }
}

async fn connect(settings: &Settings) -> io::Result<Box<dyn Stream>> {
    let host = settings.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, settings.port)).await?;
    stream.set_nodelay(true)?;
    let Some(trust) = &settings.trust else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::clone(trust)).connect(name, stream).await?))
}

/// What to do about an error, by its text.
pub(super) fn advice(error: &str) -> &'static str {
    let has = |word: &str| error.contains(word);
    if has("BadUserNamePassword") || has("NotAuthorized") {
        "check `username` and `password`, and what the broker allows them"
    } else if has("BadClientId") || has("ClientIdentifierNotValid") {
        "the broker does not take this `client_id`; set another one"
    } else if has("SessionTakenOver") {
        "another client came with the same `client_id`; give each its own"
    } else if has("ProtocolVersion") {
        "the broker speaks another version; set `protocol` to \"3.1.1\" or \"5\""
    } else if has("invalid peer certificate") {
        "check `tls.ca_file`, and whether the broker's certificate is current and has the name in `url`"
    } else if has("received fatal alert") {
        "the broker wants a certificate that it trusts: check `tls.cert_file` and `tls.key_file`"
    } else if has("InvalidContentType") {
        "the broker does not speak TLS on this port; check `url`"
    } else if has("size") {
        "a message is larger than `packet_bytes_max`; raise it, or the broker will send that message for ever"
    } else {
        "check `url`, and whether the broker runs; trying again"
    }
}
