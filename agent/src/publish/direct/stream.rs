//! Bytes to and from a broker: TCP, with or without TLS.
//!
//! In: an address. Out: a [`Stream`]. Promises: all addresses of a name are tried, each for a bounded
//! time; small requests leave at once; a peer that is gone is noticed while nothing is under way.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::opening::OpenError;
use super::settings::Settings;

const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// A byte stream to a broker.
#[derive(Debug)]
pub(super) enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Splits `HOST:PORT` or `[IPV6]:PORT`.
pub(super) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let is_good = !host.is_empty() && (bare.is_some() || !host.contains([':', '/']));
    is_good.then_some((host, port))
}

/// Connects, and speaks TLS if the settings say so.
pub(super) async fn connect(address: &str, settings: &Settings) -> Result<Stream, OpenError> {
    let socket = reach(address, settings.connect_timeout).await?;
    let Some(tls) = &settings.tls else { return Ok(Stream::Plain(socket)) };
    let host = host_and_port(address).map_or(address, |(host, _)| host);
    let shake = tls.connect(host, socket);
    match timeout(settings.handshake_timeout, shake).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(reason)) => Err(OpenError::Tls { address: address.into(), reason }),
        Err(_) => Err(OpenError::TimedOut { address: address.into(), step: "speaking TLS" }),
    }
}

async fn reach(address: &str, limit: Duration) -> Result<TcpStream, OpenError> {
    let failed = |error: io::Error| OpenError::Unreachable { address: address.into(), error };
    let (host, port) = host_and_port(address)
        .ok_or_else(|| failed(io::Error::other("the address is not `HOST:PORT`")))?;
    let lookup = timeout(limit, tokio::net::lookup_host((host, port))).await;
    let found = lookup.map_err(|_| failed(io::Error::other("the name look-up takes too long")))?;
    let candidates: Vec<SocketAddr> = found.map_err(failed)?.collect();
    let mut last = io::Error::other("the name has no address");
    for candidate in candidates {
        match timeout(limit, TcpStream::connect(candidate)).await {
            Ok(Ok(socket)) => return prepare(socket).map_err(failed),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed(last))
}

fn prepare(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    Ok(socket)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        #[track_caller]
        fn check(address: &str, expected: Option<(&str, u16)>) {
            assert_eq!(host_and_port(address), expected);
        }
        check("kafka:9092", Some(("kafka", 9092)));
        check("10.0.0.1:1", Some(("10.0.0.1", 1)));
        check("[2001:db8::1]:9092", Some(("2001:db8::1", 9092)));
        check("2001:db8::1:9092", None);
        check("kafka", None);
        check("kafka:", None);
        check("kafka:0", None);
        check(":9092", None);
        check("kafka:99999", None);
        check("tcp://kafka:9092", None);
    }
}
