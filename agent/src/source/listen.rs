//! Listening addresses, and what to do when one cannot be had.
//!
//! In: text like `udp://0.0.0.0:5514`. Out: bound sockets, or an `io::Error` that `advice` turns
//! into words for the one who configured it. Buffers are made as large as the kernel allows, and the
//! kernel is told to count the datagrams it drops.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use serde::Deserialize;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;
/// A peer that says nothing for so long is asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// How often it is asked, and how many times, before the connection counts as dead.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 4;

/// Where a source listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// `udp://ADDRESS:PORT`
    Udp(SocketAddr),
    /// `tcp://ADDRESS:PORT`
    Tcp(SocketAddr),
    /// `tls://ADDRESS:PORT`, TCP with TLS.
    Tls(SocketAddr),
    /// `unix:///PATH`, a datagram socket.
    Unix(PathBuf),
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = |text: &str| {
            text.parse().map_err(|_| {
                format!("`{text}` is no address and port; write for example `0.0.0.0:5514` or `[::]:5514`")
            })
        };
        match text.split_once("://") {
            Some(("udp", rest)) => Ok(Self::Udp(address(rest)?)),
            Some(("tcp", rest)) => Ok(Self::Tcp(address(rest)?)),
            Some(("tls", rest)) => Ok(Self::Tls(address(rest)?)),
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(format!(
                "`{text}` is no address to listen on; write `udp://0.0.0.0:5514`, `tcp://0.0.0.0:5514`, `tls://0.0.0.0:6514` or `unix:///run/weir/syslog.sock`"
            )),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Tls(address) => write!(f, "tls://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// `count` UDP sockets on `address`, each with a receive buffer of `buffer_bytes`, or of what the
/// kernel allows. Of several the kernel chooses one by the sender's address and port.
pub(super) fn udp(
    address: SocketAddr,
    count: usize,
    buffer_bytes: usize,
) -> io::Result<Vec<UdpSocket>> {
    let first = udp_socket(address, buffer_bytes, false)?;
    if count <= 1 {
        return Ok(vec![UdpSocket::from_std(first.into())?]);
    }
    // Sockets that share an address let strangers in as well: the first one, which does not share,
    // has shown that nobody else is there, and found a port where none was given.
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    drop(first);
    (0..count)
        .map(|_| UdpSocket::from_std(udp_socket(address, buffer_bytes, true)?.into()))
        .collect()
}

fn udp_socket(address: SocketAddr, buffer_bytes: usize, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    ask_for_buffer(&socket, buffer_bytes)?;
    if let Err(error) = setsockopt(&socket, sockopt::RxqOvfl, &1) {
        // A kernel without it, or an emulator: datagrams come all the same.
        tracing::warn!(%error, "the kernel does not tell how many datagrams it drops");
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(is_shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Asks for a receive buffer of `buffer_bytes`.
pub(super) fn ask_for_buffer(socket: &impl AsFd, buffer_bytes: usize) -> io::Result<()> {
    // Beyond the system's limit only with CAP_NET_ADMIN.
    if setsockopt(socket, sockopt::RcvBufForce, &buffer_bytes).is_err() {
        SockRef::from(socket).set_recv_buffer_size(buffer_bytes)?;
    }
    Ok(())
}

/// The receive buffer of a socket that asked for `wanted_bytes`, in bytes; says in the log what it
/// got.
pub(super) fn granted_bytes(source: &str, socket: &UdpSocket, wanted_bytes: usize) -> usize {
    // The kernel doubles what it grants, for its own accounts.
    let granted_bytes = SockRef::from(socket).recv_buffer_size().unwrap_or(0) / 2;
    if granted_bytes < wanted_bytes {
        tracing::warn!(
            source,
            granted_bytes,
            wanted_bytes,
            "the kernel limits the receive buffer; bursts may be lost: raise it with `sysctl net.core.rmem_max={wanted_bytes}`, or give this program CAP_NET_ADMIN"
        );
    } else {
        tracing::info!(source, granted_bytes, "receive buffer");
    }
    granted_bytes
}

/// A listening TCP socket on `address`.
pub(super) fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without this a restart fails for a minute while old connections linger.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Lets the kernel find out when the peer of `stream` has died without a word.
pub(super) fn watch_peer(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// What to do about `error`, met when binding `address` (`network` is `udp` or `tcp`).
pub(super) fn advice(network: &str, address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let flags = if network == "udp" { "-ulpn" } else { "-tlpn" };
            format!(
                "another process listens there; find it with `ss {flags} 'sport = :{}'` and stop it, or choose another port",
                address.port()
            )
        }
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: `AmbientCapabilities=CAP_NET_BIND_SERVICE`); grant it or choose a higher port".into()
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "no interface of this machine has the address {}; see `ip address`, or listen on all with `0.0.0.0`",
            address.ip()
        ),
        _ => error.to_string(),
    }
}

/// What to do about `error`, met when making the socket file `path`.
pub(super) fn unix_advice(path: &Path, error: &io::Error) -> String {
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there; find it with `ss -xlp` and stop it, or choose another path".into()
        }
        io::ErrorKind::AlreadyExists => {
            "a file that is no socket is in the way; move it, or choose another path".into()
        }
        io::ErrorKind::NotFound => format!("the folder {folder} does not exist; make it"),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not write to the folder {folder}; change its owner or mode")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Listen>) {
        let found = Listen::try_from(text.to_owned());
        if let (Ok(found), Some(_)) = (&found, &expected) {
            assert_eq!(found.to_string(), text);
        }
        assert_eq!(found.ok(), expected, "{text}");
    }

    #[test]
    fn addresses_are_read_and_written() {
        let v4: SocketAddr = "0.0.0.0:5514".parse().unwrap();
        check("udp://0.0.0.0:5514", Some(Listen::Udp(v4)));
        check("tcp://0.0.0.0:5514", Some(Listen::Tcp(v4)));
        check("tls://0.0.0.0:6514", Some(Listen::Tls("0.0.0.0:6514".parse().unwrap())));
        check("tcp://[::]:601", Some(Listen::Tcp("[::]:601".parse().unwrap())));
        check("unix:///run/weir.sock", Some(Listen::Unix("/run/weir.sock".into())));
        for bad in ["0.0.0.0:5514", "udp://5514", "udp://host", "unix://run", "http://[::]:1", ""] {
            check(bad, None);
        }
    }

    #[test]
    fn advice_says_what_to_do() {
        let address: SocketAddr = "192.0.2.1:514".parse().unwrap();
        let of = |kind: io::ErrorKind| advice("udp", address, &kind.into());
        assert!(of(io::ErrorKind::AddrInUse).contains("ss -ulpn 'sport = :514'"));
        assert!(of(io::ErrorKind::PermissionDenied).contains("CAP_NET_BIND_SERVICE"));
        assert!(of(io::ErrorKind::AddrNotAvailable).contains("192.0.2.1"));
        let unix = unix_advice(Path::new("/run/x/s"), &io::ErrorKind::NotFound.into());
        assert!(unix.contains("/run/x "), "{unix}");
    }
}
