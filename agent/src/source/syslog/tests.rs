#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::Input;
use super::*;

/// A running listener.
struct Rig {
    address: Option<SocketAddr>,
    outputs: mpsc::Receiver<Input>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Rig {
    fn new(text: &str, channel: usize) -> Self {
        let config: Config = weir_models::config::parse("agent.toml", text).unwrap();
        let bound = bind(&config, &Kept::default()).unwrap();
        let address = bound.address();
        let source =
            Arc::new(Source { name: config.name().into(), index: 0, format: Format::Syslog });
        let (inputs, outputs) = mpsc::channel(channel);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(config, bound, source, inputs, stopped));
        Self { address, outputs, stop, task }
    }

    fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address.unwrap()).unwrap()
    }

    async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let input = self.outputs.recv().await.unwrap();
            lines.extend(texts(&input));
        }
        assert_eq!(lines.len(), count);
        lines
    }

    /// Stops the source and returns what it still brings.
    async fn stop(mut self) -> Vec<String> {
        self.stop.send(true).unwrap();
        let mut lines = Vec::new();
        while let Some(input) = self.outputs.recv().await {
            lines.extend(texts(&input));
        }
        self.task.await.unwrap();
        lines
    }
}

fn texts(input: &Input) -> Vec<String> {
    let text = |raw: &super::super::Raw| String::from_utf8(raw.bytes.to_vec()).unwrap();
    input.items.iter().map(text).collect()
}

#[tokio::test]
async fn udp_datagrams_come_in_batches_with_their_sender() {
    let mut rig = Rig::new("listen = 'udp://127.0.0.1:0'", 8);
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // The source does not run before the first await: all are there when it looks.
    for text in ["<13>a", "<13>b\n", "", "\n", "<13>c\0"] {
        sender.send_to(text.as_bytes(), rig.address.unwrap()).unwrap();
    }
    let input = rig.outputs.recv().await.unwrap();
    assert_eq!(texts(&input), ["<13>a", "<13>b", "<13>c"]);
    assert_eq!(input.peer, Some(IpAddr::from([127, 0, 0, 1])));
    assert_eq!((input.lost, input.done.is_some()), (0, false));
    assert!(input.items.iter().all(|raw| !raw.cut && raw.received_us > 0));
    sender.send_to(b"<13>d", rig.address.unwrap()).unwrap();
    rig.stop.send(true).unwrap();
    assert_eq!(rig.stop().await, ["<13>d"]);
}

#[tokio::test]
async fn datagrams_are_taken_in_order_however_many_and_however_long() {
    let mut rig = Rig::new("listen = 'udp://127.0.0.1:0'", 512);
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // More than one system call takes, and than one go; the longest there are.
    let datagram =
        |n: usize| format!("<13>{n} {}", "x".repeat(if n % 60 == 7 { 65_000 } else { n }));
    let sent: Vec<String> = (0..600).map(datagram).collect();
    for some in sent.chunks(50) {
        for text in some {
            sender.send_to(text.as_bytes(), rig.address.unwrap()).unwrap();
        }
        assert_eq!(rig.lines(some.len()).await, some);
    }
    assert!(rig.stop().await.is_empty());
}

/// Sends more than fits while nobody reads; then one that does fit or none. Everything is there or
/// told as lost.
async fn check_drops(sends_one_more: bool) {
    let mut rig = Rig::new("listen = 'udp://127.0.0.1:0'\nreceive_buffer_bytes = 4096", 512);
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sent = 400;
    for _ in 0..sent {
        sender.send_to(&[b'x'; 512], rig.address.unwrap()).unwrap();
    }
    let (mut came, mut lost) = (0, 0);
    while came + lost < sent {
        let input = rig.outputs.recv().await.unwrap();
        came += input.items.len() as u64;
        lost += input.lost;
        if sent == 401 {
            // Not later, by the kernel's table.
            assert_eq!((texts(&input), lost + came), (vec!["<13>one more".to_owned()], sent));
        }
        if sends_one_more && sent == 400 {
            // The kernel tells with this one what it dropped before.
            sender.send_to(b"<13>one more", rig.address.unwrap()).unwrap();
            sent += 1;
        }
    }
    assert_eq!(came + lost, sent);
    assert!((1..50).contains(&came), "{came}");
    assert!(rig.stop().await.is_empty());
}

#[tokio::test]
async fn what_the_kernel_drops_is_told_with_the_next_datagram() {
    check_drops(true).await;
}

#[tokio::test]
async fn what_the_kernel_drops_is_told_when_no_datagram_follows() {
    check_drops(false).await;
}

#[tokio::test]
async fn several_sockets_share_an_address_and_let_no_stranger_in() {
    let mut rig = Rig::new("listen = 'udp://127.0.0.1:0'\nsockets = 4", 64);
    let address = rig.address.unwrap();
    let mut sent = Vec::new();
    for n in 0..64 {
        // The kernel chooses the socket by the sender's port.
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(format!("<13>{n:02}").as_bytes(), address).unwrap();
        sent.push(format!("<13>{n:02}"));
    }
    let mut found = rig.lines(64).await;
    found.sort();
    assert_eq!(found, sent);
    let inodes = std::fs::read_to_string("/proc/net/udp").unwrap();
    let port = format!(":{:04X} ", address.port());
    assert_eq!(inodes.lines().filter(|row| row.contains(&port)).count(), 4, "{inodes}");
    let text = format!("listen = 'udp://{address}'\nsockets = 2");
    let config: Config = weir_models::config::parse("agent.toml", &text).unwrap();
    let error = bind(&config, &Kept::default()).unwrap_err().to_string();
    assert!(error.contains("another process listens there"), "{error}");
}

#[tokio::test]
async fn an_address_of_ipv6_takes_ipv4_too() {
    for network in ["udp", "tcp"] {
        let mut rig = Rig::new(&format!("listen = '{network}://[::]:0'"), 8);
        let port = rig.address.unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            let host: IpAddr = host.parse().unwrap();
            let to = SocketAddr::new(host, port);
            if network == "udp" {
                let sender = std::net::UdpSocket::bind(SocketAddr::new(host, 0)).unwrap();
                sender.send_to(b"<13>a", to).unwrap();
            } else {
                TcpStream::connect(to).unwrap().write_all(b"<13>a\n").unwrap();
            }
            let input = rig.outputs.recv().await.unwrap();
            assert_eq!((texts(&input), input.peer), (vec!["<13>a".to_owned()], Some(host)));
        }
    }
}

/// Sends 200 messages a millisecond apart, each alone: how many inputs they came in.
async fn steady_flow(listen: &str) -> usize {
    let mut rig = Rig::new(&format!("listen = '{listen}://127.0.0.1:0'"), 512);
    let address = rig.address.unwrap();
    let is_tcp = listen == "tcp";
    let sender = std::thread::spawn(move || {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut tcp = is_tcp.then(|| TcpStream::connect(address).unwrap());
        for n in 0..200 {
            let text = format!("<13>{n:03}\n");
            match &mut tcp {
                Some(tcp) => tcp.write_all(text.as_bytes()).unwrap(),
                None => drop(udp.send_to(text.as_bytes(), address).unwrap()),
            }
            // The flow itself, not a wait for something.
            std::thread::sleep(Duration::from_millis(1));
        }
        tcp
    });
    let (mut inputs, mut lines) = (0, Vec::new());
    while lines.len() < 200 {
        lines.extend(texts(&rig.outputs.recv().await.unwrap()));
        inputs += 1;
    }
    let expected: Vec<String> = (0..200).map(|n| format!("<13>{n:03}")).collect();
    assert_eq!(lines, expected);
    // When the flow has ended, a single message is taken as always.
    let mut tcp = sender.join().unwrap();
    match &mut tcp {
        Some(tcp) => tcp.write_all(b"<13>last\n").unwrap(),
        None => {
            let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            udp.send_to(b"<13>last", address).unwrap();
        }
    }
    assert_eq!(rig.lines(1).await, ["<13>last"]);
    assert!(rig.stop().await.is_empty());
    inputs
}

#[tokio::test]
async fn a_steady_flow_is_taken_many_messages_at_a_time() {
    for listen in ["tcp", "udp"] {
        let inputs = steady_flow(listen).await;
        assert!(inputs < 150, "{listen}: {inputs} inputs for 200 messages");
    }
}

#[tokio::test]
async fn tcp_takes_both_framings_on_one_connection() {
    let mut rig = Rig::new("listen = 'tcp://[::1]:0'", 8);
    let mut sender = rig.tcp();
    sender.write_all(b"<13>a\n5 <13>b<13>c\0<13").unwrap();
    assert_eq!(rig.lines(3).await, ["<13>a", "<13>b", "<13>c"]);
    sender.write_all(b">d").unwrap();
    drop(sender);
    assert_eq!(rig.lines(1).await, ["<13>d"]);
    assert!(rig.stop().await.is_empty());
}

#[tokio::test]
async fn a_full_channel_slows_the_sender_down_and_nothing_is_lost() {
    let mut rig = Rig::new("listen = 'tcp://127.0.0.1:0'", 1);
    let mut sender = rig.tcp();
    sender.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let line = |number: usize| format!("<13>{number:0>1000}\n");
    let mut text = Vec::new();
    let mut sent = 0;
    // Until the buffers of both kernels are full, because nobody reads the channel.
    let (mut sender, sent) = tokio::task::spawn_blocking(move || {
        loop {
            text.extend_from_slice(line(sent).as_bytes());
            sent += 1;
            match sender.write(&text) {
                Ok(written) => drop(text.drain(..written)),
                Err(_) => break,
            }
            assert!(sent < 1_000_000, "the sender never had to wait");
        }
        sender.set_write_timeout(None).unwrap();
        let rest = std::thread::spawn(move || {
            sender.write_all(&text).unwrap();
            sender
        });
        (rest, sent)
    })
    .await
    .unwrap();
    let lines = rig.lines(sent).await;
    for (number, found) in lines.iter().enumerate() {
        assert_eq!(*found, line(number).trim_end());
    }
    sender = std::thread::spawn(move || sender.join().unwrap());
    drop(sender.join().unwrap());
    assert!(rig.stop().await.is_empty());
}

#[tokio::test]
async fn at_a_stop_what_was_acknowledged_is_read_out() {
    let mut rig = Rig::new("listen = 'tcp://127.0.0.1:0'", 8);
    let mut sender = rig.tcp();
    sender.write_all(b"<13>a\n").unwrap();
    assert_eq!(rig.lines(1).await, ["<13>a"]);
    // Nothing awaits between these two: the source sees them together.
    sender.write_all(b"<13>b\n<13>c").unwrap();
    assert_eq!(rig.stop().await, ["<13>b", "<13>c"]);
    assert_eq!(sender.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let mut rig = Rig::new("listen = 'tcp://127.0.0.1:0'\nconnections_max = 1", 8);
    let mut first = rig.tcp();
    first.write_all(b"<13>a\n").unwrap();
    assert_eq!(rig.lines(1).await, ["<13>a"]);
    let mut second = rig.tcp();
    let closed = tokio::task::spawn_blocking(move || second.read(&mut [0; 8]));
    assert_eq!(closed.await.unwrap().unwrap_or(0), 0);
    first.write_all(b"<13>b\n").unwrap();
    assert_eq!(rig.lines(1).await, ["<13>b"]);
}

#[tokio::test]
async fn a_peer_that_is_too_fast_waits_and_loses_nothing() {
    let text = "listen = 'tcp://127.0.0.1:0'\npeer_events_per_s_max = 1000";
    let mut rig = Rig::new(text, 512);
    let mut sender = rig.tcp();
    let line = |n: usize| format!("<13>{n:0>1000}");
    let lines: Vec<String> = (0..2_500).map(line).collect();
    let sent = lines.join("\n") + "\n";
    let started = std::time::Instant::now();
    let sender = std::thread::spawn(move || {
        sender.write_all(sent.as_bytes()).unwrap();
        sender
    });
    assert_eq!(rig.lines(2_500).await, lines);
    // A second's worth at once, the last read's before it was paid for: at least these had to wait.
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    sender.join().unwrap();
    assert!(rig.stop().await.is_empty());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_peer_that_waits() {
    let text = "listen = 'tcp://127.0.0.1:0'\npeer_events_per_s_max = 1";
    let mut rig = Rig::new(text, 512);
    let mut sender = rig.tcp();
    sender.write_all("<13>a\n".repeat(1_000).as_bytes()).unwrap();
    let first = rig.lines(1_000).await.len();
    sender.write_all(b"<13>b\n").unwrap();
    assert_eq!((first, rig.stop().await), (1_000, vec!["<13>b".to_owned()]));
}

#[tokio::test]
async fn an_idle_connection_is_closed_where_that_is_wanted() {
    let rig = Rig::new("listen = 'tcp://127.0.0.1:0'\nidle_s = 1", 8);
    let mut sender = rig.tcp();
    let closed = tokio::task::spawn_blocking(move || sender.read(&mut [0; 8]));
    assert_eq!(closed.await.unwrap().unwrap_or(0), 0);
}

#[tokio::test]
async fn a_unix_socket_replaces_a_stale_file_only_and_goes_with_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sock");
    let text = format!("listen = 'unix://{}'\nmode = 0o622", path.display());
    // What a crash leaves behind.
    drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
    let mut rig = Rig::new(&text, 8);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o622);

    let config: Config = weir_models::config::parse("agent.toml", &text).unwrap();
    let error = bind(&config, &Kept::default()).unwrap_err().to_string();
    assert!(error.contains("another process listens there"), "{error}");

    let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
    sender.send_to(b"<13>a", &path).unwrap();
    assert_eq!(rig.lines(1).await, ["<13>a"]);
    let too_long = vec![b'x'; limit::LINE_BYTES_MAX + 10];
    sender.send_to(&too_long, &path).unwrap();
    let input = rig.outputs.recv().await.unwrap();
    assert_eq!(input.items[0].bytes.len(), limit::LINE_BYTES_MAX);
    assert!(input.items[0].cut);
    rig.stop().await;
    assert!(!Path::new(&path).exists());

    std::fs::write(&path, "precious").unwrap();
    let error = bind(&config, &Kept::default()).unwrap_err().to_string();
    assert!(error.contains("no socket is in the way"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
