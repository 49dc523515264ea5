//! Sockets that go from one source to the next.
//!
//! In: the bound sockets of running sources. Out: the same sockets for a source that takes the place
//! of another one. Promises: nobody else can take the address in between, and the kernel keeps what
//! comes meanwhile: connections wait to be accepted, datagrams in the receive buffer, and the count of
//! dropped ones goes on. What can go wrong: no file descriptor is left.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net as unix_net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use socket2::SockRef;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};

use super::listen::{self, Listen};
use super::syslog;

/// Where a source listens, whatever is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Datagrams of the network.
    Udp(SocketAddr),
    /// Connections.
    Tcp(SocketAddr),
    /// Datagrams of this machine.
    Unix(PathBuf),
}

impl From<&Listen> for Place {
    fn from(listen: &Listen) -> Self {
        match listen {
            Listen::Udp(address) => Self::Udp(*address),
            Listen::Tcp(address) | Listen::Tls(address) => Self::Tcp(*address),
            Listen::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl Place {
    /// Whether sockets at both places may be in each other's way.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Udp(a), Self::Udp(b)) | (Self::Tcp(a), Self::Tcp(b)) => a.port() == b.port(),
            (Self::Unix(a), Self::Unix(b)) => a == b,
            _ => false,
        }
    }

    /// Whether the kernel chooses the port, so that the place alone does not say which socket it is.
    fn is_any_port(&self) -> bool {
        matches!(self, Self::Udp(address) | Self::Tcp(address) if address.port() == 0)
    }
}

/// One UDP socket, and what its kernel counter of dropped datagrams was when it was last told.
#[derive(Debug)]
pub(super) struct UdpEnd<Socket> {
    pub(super) socket: Socket,
    pub(super) drops_seen: Arc<AtomicU32>,
}

/// The file of a unix socket; removed when the last source that has it is done with it.
#[derive(Debug)]
pub(super) struct SocketFile(pub(super) PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the socket file");
        }
    }
}

/// A second hold on the sockets of a source.
#[derive(Debug)]
pub(super) enum Sockets {
    /// At least one, all on the same address.
    Udp(Vec<UdpEnd<std::net::UdpSocket>>),
    /// A listening one.
    Tcp(std::net::TcpListener),
    /// With its file.
    Unix(unix_net::UnixDatagram, Arc<SocketFile>),
}

impl Sockets {
    /// Holds a listening TCP socket.
    pub(super) fn of_tcp(listener: &TcpListener) -> io::Result<Self> {
        Ok(Self::Tcp(SockRef::from(listener).try_clone()?.into()))
    }

    /// Holds UDP sockets.
    pub(super) fn of_udp(ends: &[UdpEnd<UdpSocket>]) -> io::Result<Self> {
        let hold = |end: &UdpEnd<UdpSocket>| {
            let socket = SockRef::from(&end.socket).try_clone()?.into();
            Ok(UdpEnd { socket, drops_seen: Arc::clone(&end.drops_seen) })
        };
        Ok(Self::Udp(ends.iter().map(hold).collect::<io::Result<_>>()?))
    }

    /// Holds a unix socket.
    pub(super) fn of_unix(socket: &UnixDatagram, file: &Arc<SocketFile>) -> io::Result<Self> {
        Ok(Self::Unix(SockRef::from(socket).try_clone()?.into(), Arc::clone(file)))
    }
}

/// Sockets of sources that leave, for those that come.
#[derive(Default)]
pub(crate) struct Kept<'a>(Vec<(&'a str, Place, &'a Sockets)>);

impl<'a> Kept<'a> {
    /// Adds those of the source `name`.
    pub(super) fn add(&mut self, name: &'a str, place: Place, sockets: &'a Sockets) {
        self.0.push((name, place, sockets));
    }

    fn find(&self, name: &str, place: &Place) -> Option<&'a Sockets> {
        let is_it =
            |(of, at, _): &&(&str, Place, _)| at == place && (*of == name || !place.is_any_port());
        self.0.iter().find(is_it).map(|(.., sockets)| *sockets)
    }

    /// The listening TCP socket on `address` for the source `name`: one that is kept, or a new one.
    pub(super) fn tcp(&self, name: &str, address: SocketAddr) -> io::Result<TcpListener> {
        match self.find(name, &Place::Tcp(address)) {
            Some(Sockets::Tcp(listener)) => TcpListener::from_std(listener.try_clone()?),
            _ => listen::tcp(address),
        }
    }

    /// `count` UDP sockets on `address` with receive buffers of `buffer_bytes`.
    pub(super) fn udp(
        &self,
        name: &str,
        address: SocketAddr,
        count: usize,
        buffer_bytes: usize,
    ) -> io::Result<Vec<UdpEnd<UdpSocket>>> {
        match self.find(name, &Place::Udp(address)) {
            Some(Sockets::Udp(ends)) if ends.len() == count => {
                let take = |end: &UdpEnd<std::net::UdpSocket>| {
                    let socket = UdpSocket::from_std(end.socket.try_clone()?)?;
                    listen::ask_for_buffer(&socket, buffer_bytes)?;
                    Ok(UdpEnd { socket, drops_seen: Arc::clone(&end.drops_seen) })
                };
                ends.iter().map(take).collect()
            }
            _ => {
                let new = |socket| UdpEnd { socket, drops_seen: Arc::default() };
                Ok(listen::udp(address, count, buffer_bytes)?.into_iter().map(new).collect())
            }
        }
    }

    /// The unix datagram socket at `path`; a new one has the permissions `mode`.
    pub(super) fn unix(
        &self,
        name: &str,
        path: &Path,
        mode: u32,
    ) -> io::Result<(UnixDatagram, Arc<SocketFile>)> {
        match self.find(name, &Place::Unix(path.into())) {
            Some(Sockets::Unix(socket, file)) => {
                Ok((UnixDatagram::from_std(socket.try_clone()?)?, Arc::clone(file)))
            }
            _ => {
                let socket = syslog::bind_unix(path, mode)?;
                Ok((socket, Arc::new(SocketFile(path.into()))))
            }
        }
    }
}
