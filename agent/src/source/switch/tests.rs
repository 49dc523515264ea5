#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::super::{Config, Input, start};
use super::*;

/// Sources that run, and what they bring.
struct Rig {
    folder: TempDir,
    config: Config,
    running: Running,
    inputs: Inputs,
    outputs: mpsc::Receiver<Input>,
    indices: usize,
}

fn parse(text: &str) -> Config {
    weir_models::config::parse("agent.toml", text).unwrap()
}

impl Rig {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (inputs, outputs) = mpsc::channel(64);
        let config = parse(text);
        let running = start(&config, folder.path(), &inputs).unwrap();
        let indices = config.all().len();
        Self { folder, config, running, inputs, outputs, indices }
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.running.addresses()[name]
    }

    /// Everything that is not exactly the same leaves, or comes. `between` runs when all is prepared.
    async fn switch(&mut self, text: &str, between: impl FnOnce()) -> Result<(), StartError> {
        let (old, new) = (self.config.all(), parse(text).all());
        let leaving: Vec<String> =
            old.iter().filter(|one| !new.contains(one)).map(OneSource::name).collect();
        let coming = new.into_iter().filter(|one| !old.contains(one)).collect();
        let leaving = leaving.iter().map(String::as_str).collect();
        let switch = Switch::prepare(&self.running, leaving, coming, self.folder.path())?;
        between();
        for ready in switch.make(&mut self.running, &self.inputs).await? {
            self.running.run(ready, self.indices, &self.inputs);
            self.indices += 1;
        }
        self.config = parse(text);
        Ok(())
    }

    /// The next line, with the name and the index of its source.
    async fn line(&mut self) -> (String, String, usize) {
        let input = self.outputs.recv().await.unwrap();
        assert_eq!(input.items.len(), 1);
        let text = String::from_utf8(input.items[0].bytes.to_vec()).unwrap();
        (text, input.source.name.to_string(), input.source.index)
    }

    #[track_caller]
    fn check_names(&self, expected: &[&str]) {
        let names: Vec<&str> = self.running.sources.keys().map(String::as_str).collect();
        assert_eq!(names, expected);
    }
}

fn line(text: &str, name: &str, index: usize) -> (String, String, usize) {
    (text.to_owned(), name.to_owned(), index)
}

#[tokio::test]
async fn who_stays_keeps_its_connections_while_others_come_and_go() {
    let stays = "[[syslog]]\nname = 'stays'\nlisten = 'tcp://127.0.0.1:0'\n";
    let mut rig =
        Rig::new(&format!("{stays}[[syslog]]\nname = 'goes'\nlisten = 'udp://127.0.0.1:0'\n"));
    let gone = rig.address("goes");
    let mut connection = TcpStream::connect(rig.address("stays")).unwrap();
    connection.write_all(b"before\n").unwrap();
    assert_eq!(rig.line().await, line("before", "stays", 0));
    let new = format!("{stays}[[http]]\nname = 'comes'\nlisten = '127.0.0.1:0'\n");
    rig.switch(&new, || {}).await.unwrap();
    rig.check_names(&["comes", "stays"]);
    connection.write_all(b"after\n").unwrap();
    assert_eq!(rig.line().await, line("after", "stays", 0));
    // Its address is free, and the other one's is not.
    UdpSocket::bind(gone).unwrap();
    TcpStream::connect(rig.address("comes")).unwrap();
    rig.running.stop().await;
}

/// What the sockets got while nobody read them goes to the newcomer, also under another name.
/// Free for datagrams and connections, another one each time. Below those that the system gives to whoever connects: one
/// of them may be taken by another test at any time.
fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let is_free = |port: &u16| {
        UdpSocket::bind(("127.0.0.1", *port)).is_ok()
            && TcpListener::bind(("127.0.0.1", *port)).is_ok()
    };
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let mut next = || first + GIVEN.fetch_add(1, Ordering::Relaxed);
    std::iter::repeat_with(&mut next).find(is_free).unwrap()
}

#[tokio::test]
async fn who_comes_in_anothers_place_takes_over_its_sockets() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sock");
    let text = |more: &str| {
        format!(
            "[[syslog]]\nname = 'udp{more}'\nlisten = 'udp://127.0.0.1:{port}'\n\
             [[syslog]]\nname = 'unix{more}'\nlisten = 'unix://{}'\n\
             [[syslog]]\nname = 'tcp{more}'\nlisten = 'tcp://127.0.0.1:{port}'\n",
            path.display()
        )
    };
    let mut rig = Rig::new(&text(""));
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = UnixDatagram::unbound().unwrap();
    local.connect(&path).unwrap();
    let mut connection = None;
    let send = || {
        // Nothing is awaited between here and the stop: the old ones do not see this before.
        sender.send_to(b"datagram", ("127.0.0.1", port)).unwrap();
        local.send(b"local").unwrap();
        connection = Some(TcpStream::connect(("127.0.0.1", port)).unwrap());
    };
    rig.switch(&text("2"), send).await.unwrap();
    rig.check_names(&["tcp2", "udp2", "unix2"]);
    connection.unwrap().write_all(b"line\n").unwrap();
    let mut found = [rig.line().await, rig.line().await, rig.line().await].map(|(text, ..)| text);
    found.sort();
    assert_eq!(found, ["datagram", "line", "local"]);
    // Who sends over the socket file need not connect again.
    local.send(b"again").unwrap();
    assert_eq!(rig.line().await.1, "unix2");
    rig.running.stop().await;
    assert!(!path.exists(), "the last one removes the file");
}

#[tokio::test]
async fn nothing_is_touched_when_something_cannot_be_had() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = TcpListener::bind(busy).unwrap();
    let old = "[[syslog]]\nname = 'goes'\nlisten = 'tcp://127.0.0.1:0'\n";
    let mut rig = Rig::new(old);
    let mut connection = TcpStream::connect(rig.address("goes")).unwrap();
    let new = format!("[[syslog]]\nname = 'comes'\nlisten = 'tcp://{busy}'\n");
    let error = rig.switch(&new, || {}).await.unwrap_err().to_string();
    assert!(error.contains("`comes`") && error.contains("another process listens"), "{error}");
    connection.write_all(b"still\n").unwrap();
    assert_eq!(rig.line().await, line("still", "goes", 0));
    drop(listener);
    rig.switch(&new, || {}).await.unwrap();
    rig.check_names(&["comes"]);
}

/// The new address is in the old one: it can be had only when that is left.
#[tokio::test]
async fn a_narrower_address_is_bound_when_the_wider_one_is_left() {
    let port = free_port();
    let text =
        |address: &str| format!("[[syslog]]\nname = 's'\nlisten = 'tcp://{address}:{port}'\n");
    let mut rig = Rig::new(&text("0.0.0.0"));
    rig.switch(&text("127.0.0.1"), || {}).await.unwrap();
    assert_eq!(rig.address("s").ip().to_string(), "127.0.0.1");
    TcpStream::connect(("127.0.0.1", port)).unwrap().write_all(b"a\n").unwrap();
    assert_eq!(rig.line().await, line("a", "s", 1));
}

#[tokio::test]
async fn what_left_comes_back_when_the_rest_cannot_be_had() {
    let port = free_port();
    let other = free_port();
    let old = format!(
        "[[syslog]]\nname = 'wide'\nlisten = 'tcp://0.0.0.0:{port}'\n\
         [[syslog]]\nname = 'other'\nlisten = 'tcp://127.0.0.1:{other}'\n"
    );
    let mut rig = Rig::new(&old);
    // `renamed` takes over the sockets of `other`, `narrow` has to wait for `wide` to leave.
    let new = format!(
        "[[syslog]]\nname = 'narrow'\nlisten = 'tcp://127.0.0.1:{port}'\ntls = {{ cert_file = 'c', key_file = 'k' }}\n\
         [[syslog]]\nname = 'renamed'\nlisten = 'tcp://127.0.0.1:{other}'\n"
    );
    let (old_all, mut new_all) = (rig.config.all(), parse(&new).all());
    let leaving = vec!["other", "wide"];
    // Its certificate is gone by the time it is its turn.
    let OneSource::Syslog(narrow) = &mut new_all[0] else { unreachable!() };
    let tls = narrow.tls.take();
    let folder = rig.folder.path().to_owned();
    let mut switch = Switch::prepare(&rig.running, leaving, new_all, &folder).unwrap();
    let OneSource::Syslog(narrow) = &mut switch.later[0] else { unreachable!() };
    narrow.tls = tls;
    let error = switch.make(&mut rig.running, &rig.inputs).await.err().unwrap().to_string();
    assert!(error.contains("`tls` of source `narrow`"), "{error}");
    rig.check_names(&["other", "wide"]);
    assert_eq!(rig.config.all(), old_all);
    for (port, name, index) in [(port, "wide", 0), (other, "other", 1)] {
        TcpStream::connect(("127.0.0.1", port)).unwrap().write_all(b"back\n").unwrap();
        assert_eq!(rig.line().await, line("back", name, index));
    }
}
