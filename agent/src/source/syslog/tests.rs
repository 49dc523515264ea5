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
        let bound = bind(&config).unwrap();
        let address = bound.address();
        let source = Arc::new(Source {
            name: config.name().into(),
            index: 0,
            format: Format::Syslog,
        });
        let (inputs, outputs) = mpsc::channel(channel);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(config, bound, source, inputs, stopped));
        Self {
            address,
            outputs,
            stop,
            task,
        }
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
        sender
            .send_to(text.as_bytes(), rig.address.unwrap())
            .unwrap();
    }
    let input = rig.outputs.recv().await.unwrap();
    assert_eq!(texts(&input), ["<13>a", "<13>b", "<13>c"]);
    assert_eq!(input.peer, Some(IpAddr::from([127, 0, 0, 1])));
    assert_eq!((input.lost, input.done.is_some()), (0, false));
    assert!(
        input
            .items
            .iter()
            .all(|raw| !raw.cut && raw.received_us > 0)
    );
    sender.send_to(b"<13>d", rig.address.unwrap()).unwrap();
    rig.stop.send(true).unwrap();
    assert_eq!(rig.stop().await, ["<13>d"]);
}

#[tokio::test]
async fn what_the_kernel_drops_is_told() {
    let mut rig = Rig::new(
        "listen = 'udp://127.0.0.1:0'\nreceive_buffer_bytes = 4096",
        512,
    );
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sent = 400;
    for _ in 0..sent {
        sender.send_to(&[b'x'; 512], rig.address.unwrap()).unwrap();
    }
    let (mut came, mut lost) = (0, 0);
    while came + lost < sent {
        let input = rig.outputs.recv().await.unwrap();
        came += input.items.len() as u64;
        lost += input.lost;
    }
    assert_eq!(came + lost, sent);
    assert!(lost > 0, "{came}");
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
    sender
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
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
async fn an_idle_connection_is_closed_where_that_is_wanted() {
    let rig = Rig::new("listen = 'tcp://127.0.0.1:0'\nidle_s = 0", 8);
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
    let error = bind(&config).unwrap_err().to_string();
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
    let error = bind(&config).unwrap_err().to_string();
    assert!(error.contains("no socket is in the way"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
