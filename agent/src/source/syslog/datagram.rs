//! Datagrams: one message each, over UDP or a unix socket.
//!
//! In: a bound socket. Out: inputs of as many datagrams as were there at once, one input a sender.
//! Nothing here is acknowledged, because datagrams are not; while the channel is full they wait in
//! the kernel, and what does not fit there is counted as lost (UDP) or makes the sender wait (unix).

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::watch;
use tokio::time::Instant;
use weir_models::limit::LINE_BYTES_MAX;
use weir_models::time::now_us;

use super::super::outlet::{Closed, Outlet, bounded, trimmed};
use super::super::{Raw, stopping};
use super::drops::Drops;

/// Most datagrams in one go; with the drain at a stop at most [`DRAIN_ROUNDS`] times as many.
const BATCH: usize = 256;
/// So many batches are read at a stop at most: a sender that never pauses must not keep us.
const DRAIN_ROUNDS: usize = 64;
/// How often the kernel is asked what it dropped, at most.
const DROPS_EVERY: Duration = Duration::from_secs(1);
/// Datagrams are kept in shared buffers of this size, in bytes.
const BLOCK_BYTES: usize = 64 * 1024;
/// How long to wait after an error of the socket before it is tried again.
const ERROR_WAIT: Duration = Duration::from_millis(200);

/// Reads what is there without waiting.
struct Gatherer {
    /// One byte more than the longest datagram taken, to see that one was longer.
    scratch: Vec<u8>,
    block: BytesMut,
}

impl Gatherer {
    fn new() -> Self {
        Self { scratch: vec![0; LINE_BYTES_MAX + 1], block: BytesMut::new() }
    }

    /// Up to [`BATCH`] datagrams, by sender; their order within a sender is kept.
    fn gather(
        &mut self,
        mut receive: impl FnMut(&mut [u8]) -> io::Result<(usize, Option<IpAddr>)>,
    ) -> io::Result<Vec<(Option<IpAddr>, Vec<Raw>)>> {
        let mut senders: Vec<(Option<IpAddr>, Vec<Raw>)> = Vec::new();
        let received_us = now_us();
        for _ in 0..BATCH {
            let (length, peer) = match receive(&mut self.scratch) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What came before the error must not be lost; it will show again.
                Err(_) if !senders.is_empty() => break,
                Err(error) => return Err(error),
            };
            let datagram = trimmed(&self.scratch[..length]);
            if datagram.is_empty() {
                continue;
            }
            if self.block.capacity() < datagram.len() {
                self.block = BytesMut::with_capacity(BLOCK_BYTES.max(datagram.len()));
            }
            self.block.extend_from_slice(datagram);
            let raw = bounded(self.block.split().freeze(), LINE_BYTES_MAX, received_us);
            match senders.iter_mut().rev().find(|(known, _)| *known == peer) {
                Some((_, items)) => items.push(raw),
                None => senders.push((peer, vec![raw])),
            }
        }
        Ok(senders)
    }
}

/// Sends what one go brought; `lost` goes with the first input. Tells whether there was anything.
async fn pass_on(
    outlet: &Outlet,
    senders: Vec<(Option<IpAddr>, Vec<Raw>)>,
    mut lost: u64,
) -> Result<bool, Closed> {
    let any = !senders.is_empty();
    for (peer, items) in senders {
        let mut input = outlet.input(items);
        input.peer = peer;
        input.lost = std::mem::take(&mut lost);
        outlet.send(input).await?;
    }
    if lost > 0 {
        let mut input = outlet.input(Vec::new());
        input.lost = lost;
        outlet.send(input).await?;
    }
    Ok(any)
}

/// Passes on what is there without waiting for more.
async fn drain(
    gatherer: &mut Gatherer,
    outlet: &Outlet,
    receive: impl Fn(&mut [u8]) -> io::Result<(usize, Option<IpAddr>)>,
    mut lost: u64,
) {
    for _ in 0..DRAIN_ROUNDS {
        let senders = gatherer.gather(&receive).unwrap_or_default();
        match pass_on(outlet, senders, std::mem::take(&mut lost)).await {
            Ok(true) => {}
            Ok(false) | Err(Closed) => return,
        }
    }
}

/// Takes datagrams from `socket` until the agent stops.
pub(super) async fn udp(socket: UdpSocket, outlet: Outlet, mut stop: watch::Receiver<bool>) {
    let mut gatherer = Gatherer::new();
    let mut drops = Drops::of(&socket);
    let receive = |buffer: &mut [u8]| {
        socket.try_recv_from(buffer).map(|(length, peer)| (length, Some(peer.ip().to_canonical())))
    };
    // When to ask for drops; only after datagrams came, for without them none were dropped.
    let mut ask_at: Option<Instant> = None;
    loop {
        let asking = async move {
            match ask_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let mut lost = 0;
        let ready = tokio::select! {
            biased;
            () = stopping(&mut stop) => break,
            () = asking => {
                ask_at = None;
                lost = drops.since_last();
                Ok(())
            }
            ready = socket.readable() => ready,
        };
        let senders = match ready.and_then(|()| gatherer.gather(receive)) {
            Ok(senders) => senders,
            Err(error) => {
                tracing::warn!(source = %outlet.name(), %error, "cannot receive; trying again");
                tokio::time::sleep(ERROR_WAIT).await;
                Vec::new()
            }
        };
        if lost > 0 {
            tracing::warn!(source = %outlet.name(), lost, "the kernel dropped datagrams: raise `receive_buffer_bytes`, or send less");
        }
        match pass_on(&outlet, senders, lost).await {
            Ok(true) if ask_at.is_none() => ask_at = Some(Instant::now() + DROPS_EVERY),
            Ok(_) => {}
            Err(Closed) => return,
        }
    }
    let lost = drops.since_last();
    // From here on the kernel is asked itself: tokio answers from what it knew when it last looked.
    let Ok(socket) = socket.into_std() else {
        return;
    };
    let receive = |buffer: &mut [u8]| {
        let (length, peer) = socket.recv_from(buffer)?;
        Ok((length, Some(peer.ip().to_canonical())))
    };
    drain(&mut gatherer, &outlet, receive, lost).await;
}

/// Takes datagrams from the unix socket at `path` until the agent stops; then removes the file.
pub(super) async fn unix(
    socket: UnixDatagram,
    path: &Path,
    outlet: Outlet,
    mut stop: watch::Receiver<bool>,
) {
    let mut gatherer = Gatherer::new();
    let receive = |buffer: &mut [u8]| socket.try_recv(buffer).map(|length| (length, None));
    loop {
        let ready = tokio::select! {
            biased;
            () = stopping(&mut stop) => break,
            ready = socket.readable() => ready,
        };
        match ready.and_then(|()| gatherer.gather(receive)) {
            Ok(senders) => {
                if pass_on(&outlet, senders, 0).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                tracing::warn!(source = %outlet.name(), %error, "cannot receive; trying again");
                tokio::time::sleep(ERROR_WAIT).await;
            }
        }
    }
    // First no new datagrams, then the last ones.
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(source = %outlet.name(), path = %path.display(), %error, "cannot remove the socket file");
    }
    let Ok(socket) = socket.into_std() else {
        return;
    };
    let receive = |buffer: &mut [u8]| Ok((socket.recv(buffer)?, None));
    drain(&mut gatherer, &outlet, receive, 0).await;
}

/// A unix datagram socket at `path` with the permissions `mode`. A socket file on which nobody
/// listens is what a crash left behind, and is removed.
pub(super) fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixDatagram> {
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
