//! Feeds the demo's input through real sockets, faster than real time.
//!
//! In: the fixtures and the agent's bound addresses. Out: how many events were sent over each. What
//! goes over HTTP is known to be in the spool when this returns; TCP is sent whole; UDP is paced, because
//! a datagram that finds the receive buffer full is gone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::fixture;

/// Lines in one HTTP request.
const LINES_PER_REQUEST: usize = 1_000;
/// Datagrams between two pauses.
const DATAGRAMS_PER_PAUSE: usize = 20;
const PAUSE: Duration = Duration::from_millis(2);

/// Where the agent listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// Syslog over UDP.
    pub(super) udp: SocketAddr,
    /// Syslog over TCP.
    pub(super) tcp: SocketAddr,
    /// Line protocol and JSON.
    pub(super) http: SocketAddr,
}

/// How many events there will be.
///
/// # Errors
/// When the fixtures cannot be read.
pub(super) fn total() -> anyhow::Result<u64> {
    let readings = fixture::labelled_lines()?.len() + fixture::iot_messages().count();
    let logs = fixture::auth_lines().count() + fixture::mixed_lines().count();
    Ok(u64::try_from(readings + logs)?)
}

/// Sends everything, all four ways at once.
///
/// # Errors
/// When a socket fails or the agent refuses a request.
pub(super) async fn feed(to: Addresses, bar: &ProgressBar) -> anyhow::Result<()> {
    let lines = fixture::labelled_lines()?;
    let messages: Vec<_> = fixture::iot_messages().collect();
    let logs = async { tokio::try_join!(tcp(to.tcp, bar), udp(to.udp, bar)) };
    let readings = async {
        tokio::try_join!(
            http(to.http, "/v1/write?precision=s", &lines, bar),
            http(to.http, "/v1/events", &messages, bar)
        )
    };
    tokio::try_join!(logs, readings)?;
    Ok(())
}

async fn udp(to: SocketAddr, bar: &ProgressBar) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    for (i, line) in fixture::mixed_lines().enumerate() {
        socket.send_to(line.as_bytes(), to).await.context("cannot send a datagram")?;
        if i % DATAGRAMS_PER_PAUSE == 0 {
            tokio::time::sleep(PAUSE).await;
        }
        bar.inc(1);
    }
    Ok(())
}

async fn tcp(to: SocketAddr, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to).await.context("cannot connect for syslog")?;
    for (i, line) in fixture::auth_lines().enumerate() {
        // Both framings of RFC 6587, as senders mix them. A counted message begins with its priority
        // (here authpriv.info), a line of a file has none.
        let framed = if i % 2 == 0 {
            format!("{} <86>{line}", line.len() + "<86>".len())
        } else {
            format!("{line}\n")
        };
        stream.write_all(framed.as_bytes()).await.context("cannot send syslog")?;
        bar.inc(1);
    }
    stream.shutdown().await?;
    Ok(())
}

async fn http(
    to: SocketAddr,
    path: &str,
    lines: &[impl AsRef<str>],
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to).await.context("cannot connect for readings")?;
    for chunk in lines.chunks(LINES_PER_REQUEST) {
        let mut body = String::new();
        for line in chunk {
            body.push_str(line.as_ref());
            body.push('\n');
        }
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: demo\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let status = status_line(&mut stream).await?;
        if !status.starts_with("HTTP/1.1 20") {
            bail!("the agent answered `{status}` to {path}");
        }
        bar.inc(u64::try_from(chunk.len())?);
    }
    Ok(())
}

/// Reads one answer with a short body or none, and gives its first line.
async fn status_line(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            bail!("the agent closed the connection");
        }
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Ok(head.lines().next().unwrap_or_default().to_owned());
            }
        }
    }
}
