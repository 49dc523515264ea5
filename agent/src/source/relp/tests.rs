#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::Input;
use super::super::tls::{client, tests::Authority};
use super::*;

const OPEN: &str = "1 open 30 relp_version=0\ncommands=syslog\n";

/// A running listener and a peer.
struct Rig {
    address: SocketAddr,
    outputs: mpsc::Receiver<Input>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

type Peer = BufStream<TcpStream>;

impl Rig {
    fn new(more: &str) -> Self {
        Self::listening("tcp://127.0.0.1:0", more)
    }

    fn listening(listen: &str, more: &str) -> Self {
        let text = format!("listen = '{listen}'\n{more}");
        let config: Config = weir_models::config::parse("agent.toml", &text).unwrap();
        let bound = bind(&config, &Kept::default()).unwrap();
        let address = bound.address().unwrap();
        let source = Arc::new(Source { name: "relp".into(), index: 0, format: Format::Syslog });
        let (inputs, outputs) = mpsc::channel(4);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(bound, source, inputs, stopped));
        Self { address, outputs, stop, task }
    }

    async fn connect(&self) -> Peer {
        BufStream::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// A peer whose session is open.
    async fn open(&self) -> Peer {
        let mut peer = self.connect().await;
        say(&mut peer, OPEN).await;
        let first = answer(&mut peer).await;
        assert!(first.starts_with("1 rsp ") && first.ends_with(" 200 OK"), "{first}");
        for part in ["relp_version=0", "relp_software=weir-agent,", "commands=syslog"] {
            assert!(answer(&mut peer).await.starts_with(part), "{part}");
        }
        peer
    }
}

async fn say(peer: &mut Peer, text: &str) {
    peer.write_all(text.as_bytes()).await.unwrap();
    peer.flush().await.unwrap();
}

/// The next line; empty at the end.
async fn answer(peer: &mut Peer) -> String {
    let mut line = String::new();
    peer.read_line(&mut line).await.unwrap();
    line.trim_end_matches('\n').to_owned()
}

fn texts(input: &Input) -> Vec<String> {
    let text = |raw: &super::super::Raw| String::from_utf8(raw.bytes.to_vec()).unwrap();
    input.items.iter().map(text).collect()
}

fn is_safe(input: &mut Input) {
    input.done.take().unwrap().send(()).unwrap();
}

#[tokio::test]
async fn messages_are_answered_in_order_once_the_spool_holds_them() {
    let mut rig = Rig::new("");
    let mut peer = rig.open().await;
    say(&mut peer, "2 syslog 5 <13>a\n3 syslog 6 <13>b\n\n4 syslog 0\n").await;
    let mut first = rig.outputs.recv().await.unwrap();
    assert_eq!(texts(&first), ["<13>a", "<13>b"]);
    assert_eq!(first.peer, Some(IpAddr::from([127, 0, 0, 1])));
    say(&mut peer, "5 syslog 5 <13>c\n").await;
    let mut second = rig.outputs.recv().await.unwrap();
    // What is safe first is not answered first.
    is_safe(&mut second);
    say(&mut peer, "6 noise 0\n").await;
    assert_eq!(answer(&mut peer).await, "6 rsp 34 500 this command is not known here");
    is_safe(&mut first);
    for txnr in 2..=5 {
        assert_eq!(answer(&mut peer).await, format!("{txnr} rsp 6 200 OK"));
    }
    // The numbers begin again after the largest, and go on.
    say(&mut peer, "999999999 syslog 1 x\n1 syslog 1 y\n7 close 0\n").await;
    is_safe(&mut rig.outputs.recv().await.unwrap());
    for expected in ["999999999 rsp 6 200 OK", "1 rsp 6 200 OK", "7 rsp 0", "0 serverclose 0", ""] {
        assert_eq!(answer(&mut peer).await, expected);
    }
}

#[tokio::test]
async fn a_message_in_pieces_is_answered_once_and_as_a_whole() {
    let mut rig = Rig::new("");
    let mut peer = rig.open().await;
    let text = "x".repeat(2 * limit::LINE_BYTES_MAX + 5);
    say(&mut peer, &format!("2 syslog {} {text}\n", text.len())).await;
    let mut whole = String::new();
    let mut last = None;
    while whole.len() < text.len() {
        let mut input = rig.outputs.recv().await.unwrap();
        assert!(input.items.iter().all(|raw| raw.cut));
        whole += &texts(&input).concat();
        last = input.done.take();
        // All but the last are safe, and nothing is answered.
        if whole.len() < text.len() {
            last.take().unwrap().send(()).unwrap();
        }
    }
    assert_eq!(whole, text);
    say(&mut peer, "3 noise 0\n").await;
    assert!(answer(&mut peer).await.starts_with("3 rsp"));
    last.unwrap().send(()).unwrap();
    assert_eq!(answer(&mut peer).await, "2 rsp 6 200 OK");
}

async fn check_refused(sent: &str, expected: &[&str]) {
    let rig = Rig::new("");
    let mut peer = rig.connect().await;
    say(&mut peer, sent).await;
    for expected in expected {
        assert_eq!(answer(&mut peer).await, *expected, "{sent}");
    }
    assert_eq!(answer(&mut peer).await, "0 serverclose 0", "{sent}");
    assert_eq!(answer(&mut peer).await, "", "{sent}");
}

#[tokio::test]
async fn who_does_not_speak_relp_is_told_so() {
    check_refused("<13>Oct 11 22:14:15 host app: x\n", &[]).await;
    check_refused("GET / HTTP/1.1\r\n", &[]).await;
    check_refused("1 syslog 1 x\n", &["1 rsp 38 500 the session has to be opened first"]).await;
    check_refused("1 open 0\n", &["1 rsp 40 500 `open` has to offer `relp_version=0`"]).await;
}

#[tokio::test]
async fn a_session_opens_once() {
    let rig = Rig::new("");
    let mut peer = rig.open().await;
    say(&mut peer, "2 open 30 relp_version=0\ncommands=syslog\n").await;
    assert_eq!(answer(&mut peer).await, "2 rsp 31 500 the session is open already");
    assert_eq!(answer(&mut peer).await, "0 serverclose 0");
}

#[tokio::test]
async fn what_was_sent_before_a_bad_frame_is_taken() {
    let mut rig = Rig::new("");
    let mut peer = rig.open().await;
    say(&mut peer, "2 syslog 1 x\nnoise").await;
    let mut input = rig.outputs.recv().await.unwrap();
    assert_eq!(texts(&input), ["x"]);
    is_safe(&mut input);
    assert_eq!(answer(&mut peer).await, "2 rsp 6 200 OK");
    assert_eq!(answer(&mut peer).await, "0 serverclose 0");
}

#[tokio::test]
async fn what_the_spool_does_not_take_is_not_answered() {
    let mut rig = Rig::new("");
    let mut peer = rig.open().await;
    say(&mut peer, "2 syslog 1 x\n").await;
    drop(rig.outputs.recv().await.unwrap());
    assert_eq!(answer(&mut peer).await, "0 serverclose 0");
}

#[tokio::test]
async fn a_stop_answers_what_is_safe_in_time_and_says_goodbye() {
    let mut rig = Rig::new("");
    let mut peer = rig.open().await;
    say(&mut peer, "2 syslog 1 x\n").await;
    let mut input = rig.outputs.recv().await.unwrap();
    rig.stop.send(true).unwrap();
    is_safe(&mut input);
    assert_eq!(answer(&mut peer).await, "2 rsp 6 200 OK");
    assert_eq!(answer(&mut peer).await, "0 serverclose 0");
    assert!(rig.outputs.recv().await.is_none());
    rig.task.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_wait_for_answers_is_slowed_down() {
    let mut rig = Rig::new("");
    let mut peer = rig.open().await;
    let sending = tokio::spawn(async move {
        let text = "x".repeat(1_000);
        for txnr in 2..20_002 {
            say(&mut peer, &format!("{txnr} syslog 1000 {text}\n")).await;
        }
        peer
    });
    // Nothing is safe: the source takes so much and no more.
    let (mut held, mut came) = (Vec::new(), 0);
    while held.len() < 64 {
        let mut input = rig.outputs.recv().await.unwrap();
        came += input.items.len();
        // As the pipeline does, which keeps nothing but `done`.
        input.room = None;
        held.push(input);
    }
    assert!(came < 20_000, "{came}");
    assert!(rig.outputs.try_recv().is_err() && !sending.is_finished());
    held.iter_mut().for_each(is_safe);
    while came < 20_000 {
        let mut input = rig.outputs.recv().await.unwrap();
        came += input.items.len();
        is_safe(&mut input);
    }
    let mut peer = sending.await.unwrap();
    for txnr in 2..20_002 {
        assert_eq!(answer(&mut peer).await, format!("{txnr} rsp 6 200 OK"));
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_open_is_not_waited_for() {
    let rig = Rig::new("");
    let mut peer = rig.connect().await;
    assert_eq!(answer(&mut peer).await, "0 serverclose 0");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let rig = Rig::new("connections_max = 1");
    let _first = rig.open().await;
    let mut second = rig.connect().await;
    assert_eq!(second.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn tls_carries_the_same() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let pair = authority.server(folder.path());
    let mut rig = Rig::listening(
        "tls://127.0.0.1:0",
        &format!(
            "tls = {{ cert_file = '{}', key_file = '{}', client_ca_file = '{}' }}",
            pair.cert_file.display(),
            pair.key_file.display(),
            authority.ca(folder.path()).display()
        ),
    );
    let settings = client(&authority.client(folder.path())).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(settings));
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let mut peer = connector.connect(name, stream).await.unwrap();
    peer.write_all(format!("{OPEN}2 syslog 1 x\n3 close 0\n").as_bytes()).await.unwrap();
    peer.flush().await.unwrap();
    let mut input = rig.outputs.recv().await.unwrap();
    assert_eq!(texts(&input), ["x"]);
    is_safe(&mut input);
    let mut answers = String::new();
    peer.read_to_string(&mut answers).await.unwrap();
    assert!(answers.ends_with("\n2 rsp 6 200 OK\n3 rsp 0\n0 serverclose 0\n"), "{answers}");
}
