//! Datagrams over a unix socket.
//!
//! In: a bound socket. Out: inputs of as many datagrams as were there at once. Nothing is acknowledged,
//! because datagrams are not; while the channel is full they wait in the kernel, and when that is full
//! their senders wait.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::sync::watch;
use weir_models::limit::LINE_BYTES_MAX;
use weir_models::time::now_us;

use super::super::outlet::Outlet;
use super::super::sockets::SocketFile;
use super::super::stopping;
use super::datagram::{BATCH, DRAIN_ROUNDS, Packer, pass_on};

/// How long to wait after an error of the socket before it is tried again.
const ERROR_WAIT: Duration = Duration::from_millis(200);

/// Reads what is there without waiting.
struct Gatherer {
    /// One byte more than the longest datagram taken, to see that one was longer.
    scratch: Vec<u8>,
    packer: Packer,
}

impl Gatherer {
    /// Up to [`BATCH`] datagrams.
    fn gather(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let received_us = now_us();
        while self.packer.count() < BATCH {
            match receive(&mut self.scratch) {
                Ok(length) => self.packer.add(&self.scratch[..length], None, received_us),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What came before the error must not be lost; it will show again.
                Err(_) if self.packer.count() > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Takes datagrams from `socket` until the source stops; then removes its file, unless another source
/// has taken it over.
pub(super) async fn run(
    socket: UnixDatagram,
    file: Arc<SocketFile>,
    mode: u32,
    outlet: Outlet,
    mut stop: watch::Receiver<bool>,
) {
    // A socket that was taken over has those of the source before.
    if let Err(error) = fs::set_permissions(&file.0, fs::Permissions::from_mode(mode)) {
        tracing::warn!(source = %outlet.name(), path = %file.0.display(), %error, "cannot set the permissions of the socket file");
    }
    let mut gatherer = Gatherer { scratch: vec![0; LINE_BYTES_MAX + 1], packer: Packer::default() };
    loop {
        let ready = tokio::select! {
            biased;
            () = stopping(&mut stop) => break,
            ready = socket.readable() => ready,
        };
        let gathered = ready.and_then(|()| gatherer.gather(|buffer| socket.try_recv(buffer)));
        if let Err(error) = gathered {
            tracing::warn!(source = %outlet.name(), %error, "cannot receive; trying again");
            tokio::time::sleep(ERROR_WAIT).await;
        }
        if pass_on(&outlet, gatherer.packer.take(), 0).await.is_err() {
            break;
        }
    }
    // First no new datagrams, then the last ones.
    drop(file);
    // From here on the kernel is asked itself: tokio answers from what it knew when it last looked.
    let Ok(socket) = socket.into_std() else {
        return;
    };
    for _ in 0..DRAIN_ROUNDS {
        let gathered = gatherer.gather(|buffer| socket.recv(buffer));
        let is_dry = gathered.is_err() || gatherer.packer.count() == 0;
        if pass_on(&outlet, gatherer.packer.take(), 0).await.is_err() || is_dry {
            return;
        }
    }
}

/// A unix datagram socket at `path` with the permissions `mode`. A socket file on which nobody
/// listens is what a crash left behind, and is removed.
pub(in super::super) fn bind(path: &Path, mode: u32) -> io::Result<UnixDatagram> {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let probe = std::os::unix::net::UnixDatagram::unbound()?;
        match probe.connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            Ok(()) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) => return Err(error),
        }
    }
    let socket = UnixDatagram::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(socket)
}
