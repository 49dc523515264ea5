//! Syslog over UDP (RFC 5426).
//!
//! In: bound sockets. Out: inputs of as many datagrams as were there at once, one input a sender.
//! Nothing is acknowledged, because datagrams are not; while the channel is full they wait in the
//! kernel, and what does not fit there is told as lost. Several datagrams are taken by one system
//! call (`recvmmsg`), and while they come steadily the socket is read by the clock (see
//! [`pace`](super::super::pace)), as long as much less than its receive buffer comes in a period.

use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_models::metric;
use weir_models::time::now_us;

use super::super::listen::granted_bytes;
use super::super::outlet::{Closed, Outlet};
use super::super::pace::{Much, Pace};
use super::super::sockets::UdpEnd;
use super::super::{at, stopping};
use super::Config;
use super::datagram::{BATCH, DRAIN_ROUNDS, Packer, pass_on};
use super::drops::Drops;

/// Datagrams by one system call.
const SLOTS: usize = 16;
/// No datagram over UDP is longer, in bytes. Of the slots, only pages that datagrams reach take memory.
const SLOT_BYTES: usize = 64 * 1024;
/// After so long without a datagram the kernel is asked what it dropped behind the last one.
const QUIET: Duration = Duration::from_secs(1);
/// How long to wait after an error of the socket before it is tried again.
const ERROR_WAIT: Duration = Duration::from_millis(200);
/// What the kernel counts for a small datagram beside its bytes, about.
const OVERHEAD_BYTES: usize = 1_280;

/// Takes datagrams from all sockets until the source stops.
pub(super) async fn run(
    config: &Config,
    ends: Vec<UdpEnd<UdpSocket>>,
    outlet: &Outlet,
    stop: &watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    for (number, end) in ends.into_iter().enumerate() {
        let name = outlet.name().to_string();
        let buffer_bytes = granted_bytes(&name, &end.socket, config.receive_buffer_bytes);
        let metric = metrics::counter!(metric::AGENT_DROPPED.name, "source" => name, "socket" => number.to_string());
        let reader = Reader {
            outlet: outlet.clone(),
            stop: stop.clone(),
            receiver: Receiver::new(Drops::of(&end, metric)),
            pace: Pace::default(),
            buffer_bytes,
        };
        // `Closed` ends it like a stop: there is nobody to tell.
        tasks.spawn(async move { drop(reader.run(end.socket).await) });
    }
    while tasks.join_next().await.is_some() {}
}

/// Takes what is there without waiting.
struct Receiver {
    scratch: Vec<u8>,
    packer: Packer,
    drops: Drops,
}

impl Receiver {
    fn new(drops: Drops) -> Self {
        Self { scratch: vec![0; SLOTS * SLOT_BYTES], packer: Packer::default(), drops }
    }

    /// Packs up to [`BATCH`] datagrams or some more; tells whether there were no further ones.
    fn receive(&mut self, socket: &impl AsFd) -> io::Result<bool> {
        let received_us = now_us();
        while self.packer.count() < BATCH {
            match self.receive_some(socket, received_us) {
                Ok(SLOTS) => {}
                Ok(_) => return Ok(true),
                // What came before the error must not be lost; it will show again.
                Err(_) if self.packer.count() > 0 => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// One system call; tells how many datagrams it brought.
    fn receive_some(&mut self, socket: &impl AsFd, received_us: i64) -> io::Result<usize> {
        let mut slots: Vec<_> =
            self.scratch.chunks_exact_mut(SLOT_BYTES).map(|slot| [IoSliceMut::new(slot)]).collect();
        // Made anew each time: the kernel shortens the room for control messages to what it used,
        // and nothing in there makes it longer again.
        let mut headers =
            MultiHeaders::<SockaddrStorage>::preallocate(SLOTS, Some(cmsg_space!(u32)));
        let received = recvmmsg(
            socket.as_fd().as_raw_fd(),
            &mut headers,
            slots.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        );
        let received = match received {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let mut count = 0;
        for message in received {
            count += 1;
            if let Some(total) = drop_count(&message) {
                self.drops.saw(total);
            }
            let datagram = message.iovs().next().unwrap_or_default();
            self.packer.add(datagram, sender(&message), received_us);
        }
        Ok(count)
    }
}

fn drop_count(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<u32> {
    message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::RxqOvfl(total) => Some(total),
        _ => None,
    })
}

fn sender(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<IpAddr> {
    let address = message.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    let v6 = || address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()));
    v4.or_else(v6).map(|address| address.to_canonical())
}

/// Why a way of reading ends.
#[derive(PartialEq, Eq)]
enum Until {
    Stop,
    Other,
}

/// Reads one socket.
struct Reader {
    outlet: Outlet,
    stop: watch::Receiver<bool>,
    receiver: Receiver,
    pace: Pace,
    buffer_bytes: usize,
}

impl Reader {
    async fn run(mut self, mut socket: UdpSocket) -> Result<(), Closed> {
        loop {
            let until = self.at_once(&socket).await?;
            // Out of the runtime's sight, so that no datagram wakes it.
            let hidden = match socket.into_std() {
                Ok(hidden) => hidden,
                Err(error) => return self.give_up(&error),
            };
            if until == Until::Stop || self.by_clock(&hidden).await? == Until::Stop {
                return self.drain(&hidden).await;
            }
            socket = match UdpSocket::from_std(hidden) {
                Ok(socket) => socket,
                Err(error) => return self.give_up(&error),
            };
        }
    }

    fn give_up(&self, error: &io::Error) -> Result<(), Closed> {
        tracing::error!(source = %self.outlet.name(), %error, "the socket cannot be used any more; restart the agent");
        Ok(())
    }

    /// Reads whenever something is there, until it comes steadily.
    async fn at_once(&mut self, socket: &UdpSocket) -> Result<Until, Closed> {
        // Only after datagrams: without them none were dropped. Reading by the clock may have left
        // drops behind the last one.
        let mut look_at = Some(Instant::now() + QUIET);
        loop {
            let quiet = at(look_at);
            let ready = tokio::select! {
                biased;
                () = stopping(&mut self.stop) => return Ok(Until::Stop),
                ready = socket.readable() => ready,
                () = quiet => {
                    look_at = None;
                    self.receiver.drops.look();
                    self.pass_on(Instant::now()).await?;
                    continue;
                }
            };
            let receiver = &mut self.receiver;
            let received = ready.and_then(|()| {
                socket.try_io(Interest::READABLE, || match receiver.receive(socket)? {
                    // That is how tokio learns that nothing is left.
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                })
            });
            let is_dry = received.is_err();
            if let Err(error) = received
                && error.kind() != io::ErrorKind::WouldBlock
            {
                tracing::warn!(source = %self.outlet.name(), %error, "cannot receive; trying again");
                tokio::time::sleep(ERROR_WAIT).await;
            }
            let (count, bytes) = (self.receiver.packer.count(), self.receiver.packer.bytes());
            let now = Instant::now();
            self.pass_on(now).await?;
            if count > 0 {
                look_at = Some(now + QUIET);
                let found = if is_dry { held(count, bytes) } else { usize::MAX };
                if self.pace.read(now, found, self.much()) {
                    return Ok(Until::Other);
                }
            }
        }
    }

    /// Reads by the clock, until nothing or too much comes.
    async fn by_clock(&mut self, socket: &std::net::UdpSocket) -> Result<Until, Closed> {
        loop {
            tokio::select! {
                biased;
                () = stopping(&mut self.stop) => return Ok(Until::Stop),
                () = self.pace.next_look() => {}
            }
            let (mut count, mut bytes) = (0, 0);
            loop {
                // An error will show again when the socket is read at once.
                let is_dry = self.receiver.receive(socket).unwrap_or(true);
                count += self.receiver.packer.count();
                bytes += self.receiver.packer.bytes();
                self.pass_on(Instant::now()).await?;
                if is_dry || held(count, bytes) >= self.much().short {
                    break;
                }
            }
            if !self.pace.look(held(count, bytes), self.much()) {
                return Ok(Until::Other);
            }
        }
    }

    /// The last datagrams.
    async fn drain(&mut self, socket: &std::net::UdpSocket) -> Result<(), Closed> {
        for _ in 0..DRAIN_ROUNDS {
            let is_dry = self.receiver.receive(socket).unwrap_or(true);
            pass_on(&self.outlet, self.receiver.packer.take(), self.receiver.drops.all()).await?;
            if is_dry {
                break;
            }
        }
        self.receiver.drops.look();
        pass_on(&self.outlet, Vec::new(), self.receiver.drops.all()).await
    }

    fn much(&self) -> Much {
        much(self.buffer_bytes)
    }

    async fn pass_on(&mut self, now: Instant) -> Result<(), Closed> {
        let lost = self.receiver.drops.due(now);
        pass_on(&self.outlet, self.receiver.packer.take(), lost).await
    }
}

/// Most of the receive buffer shall stay free.
fn much(buffer_bytes: usize) -> Much {
    Much { short: buffer_bytes / 4, long: buffer_bytes / 4 }
}

/// How much of the receive buffer so many datagrams take, in bytes.
fn held(count: usize, bytes: usize) -> usize {
    count * OVERHEAD_BYTES + 2 * bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_buffer_is_not_left_for_long() {
        // 50,000 a second for a short look.
        assert!(held(625, 625 * 300) < much(8 << 20).short);
        assert!(held(625, 625 * 300) >= much(1 << 20).short);
        // 5,000 a second for a period, and with what kernels give without being asked for a short look.
        assert!(held(1_000, 1_000 * 150) < much(8 << 20).long);
        assert!(held(63, 63 * 150) >= much(200 << 10).short);
    }
}
