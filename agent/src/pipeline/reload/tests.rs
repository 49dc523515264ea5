#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::runtime::Handle;

use super::super::worker::tests::Away;
use super::super::{Task, start};
use super::*;
use crate::source::stopping;

/// An agent that takes over one configuration after the other.
struct Rig {
    folder: TempDir,
    agent: Agent,
}

impl Rig {
    async fn new(tables: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = parse(&folder, tables);
        let agent = start(config, Arc::new(Away), &Handle::current(), None).await.unwrap();
        Self { folder, agent }
    }

    async fn reload(&mut self, tables: &str) -> Result<Plan, ReloadError> {
        let config = parse(&self.folder, tables);
        self.agent.reload(config).await
    }
}

fn parse(folder: &TempDir, tables: &str) -> Config {
    let head = format!(
        "agent = {{ id = 'gw', site = 'a', data_dir = '{}' }}\nkafka = {{ brokers = ['x:1'] }}\n",
        folder.path().display()
    );
    Config::parse("agent.toml", &format!("{head}{tables}")).unwrap()
}

/// The status of an answer over HTTP.
async fn ask(address: SocketAddr, what: &str, head: &str) -> Option<u16> {
    let request = format!(
        "{what} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answer = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    answer.await.unwrap().ok()?.split(' ').nth(1)?.parse().ok()
}

const SOURCE: &str = "[[source.syslog]]\nname = 's'\nlisten = 'tcp://127.0.0.1:0'\n";

fn status(listen: impl std::fmt::Display) -> String {
    format!("{SOURCE}[status]\nlisten = '{listen}'\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_moves_and_comes_back_when_the_new_address_is_taken() {
    let mut rig = Rig::new(&status("0.0.0.0:0")).await;
    let port = rig.agent.status_address().unwrap().port();
    let at = |ip: [u8; 4]| SocketAddr::from((ip, port));
    // The old address is in the way of the new one.
    rig.reload(&status(format!("127.0.0.1:{port}"))).await.unwrap();
    assert_eq!(rig.agent.status_address(), Some(at([127, 0, 0, 1])));
    assert_eq!(ask(at([127, 0, 0, 1]), "GET /healthz", "").await, Some(200));
    assert_eq!(ask(at([127, 0, 0, 2]), "GET /healthz", "").await, None);
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = rig.reload(&status(busy.local_addr().unwrap())).await.unwrap_err().to_string();
    assert!(error.contains("set `status.listen` to a free address"), "{error}");
    assert_eq!(ask(at([127, 0, 0, 1]), "GET /healthz", "").await, Some(200));
    rig.reload(&status("")).await.unwrap();
    assert_eq!(rig.agent.status_address(), None);
    rig.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taps_come_and_go_and_nobody_who_reads_metrics_notices() {
    let mut rig = Rig::new(&format!("{}tap = false\n", status("127.0.0.1:0"))).await;
    let socket = rig.folder.path().join("tap.sock");
    let address = rig.agent.status_address();
    assert!(address.is_some() && !socket.exists());
    // What cannot be a socket now may be one later.
    std::fs::create_dir(&socket).unwrap();
    rig.reload(&status("127.0.0.1:0")).await.unwrap();
    assert!(socket.is_dir());
    std::fs::remove_dir(&socket).unwrap();
    let limits = "[limits]\nmemory_bytes = 1000000000\n";
    rig.reload(&format!("{}{limits}", status("127.0.0.1:0"))).await.unwrap();
    assert!(UnixStream::connect(&socket).is_ok());
    assert_eq!(rig.agent.status_address(), address, "it goes on where it was");
    rig.reload(&format!("{}tap = false\n", status("127.0.0.1:0"))).await.unwrap();
    assert!(!socket.exists());
    assert_eq!(rig.agent.status_address(), address);
    rig.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_the_agent_makes_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("a/b");
    let mut config = parse(&folder, &status(""));
    config.agent.data_dir = data_dir.display().to_string();
    let agent = start(config, Arc::new(Away), &Handle::current(), None).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    agent.stop().await;
    // One that is there is left as somebody made it.
    std::fs::set_permissions(&data_dir, Permissions::from_mode(0o750)).unwrap();
    let mut config = parse(&folder, &status(""));
    config.agent.data_dir = data_dir.display().to_string();
    start(config, Arc::new(Away), &Handle::current(), None).await.unwrap().stop().await;
    assert_eq!(mode(&data_dir), 0o750);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_in_the_same_file_counts_after_a_reload() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let token = |text: &str| std::fs::write(file.path(), text).unwrap();
    token("first");
    let tables = format!(
        "[[source.http]]\nname = 'h'\nlisten = '127.0.0.1:0'\ntoken = {{ file = '{}' }}\n{}",
        file.path().display(),
        status("")
    );
    let mut rig = Rig::new(&tables).await;
    let address = rig.agent.addresses()["h"];
    let post = async |token: &str| {
        ask(address, "POST /v1/write", &format!("Authorization: Bearer {token}\r\n")).await
    };
    assert_eq!((post("first").await, post("second").await), (Some(204), Some(401)));
    assert!(rig.reload(&tables).await.unwrap().is_empty());
    token("second");
    let plan = rig.reload(&tables).await.unwrap();
    assert_eq!((plan.changes.len(), plan.kept), (1, 1));
    assert_eq!(rig.agent.addresses()["h"], address, "on the same socket");
    assert_eq!((post("first").await, post("second").await), (Some(401), Some(204)));
    assert!(rig.reload(&tables).await.unwrap().is_empty(), "it is known now");
    // One that is gone is no reason to do without.
    std::fs::remove_file(file.path()).unwrap();
    assert!(rig.reload(&tables).await.unwrap().is_empty());
    rig.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_source_is_stopped_that_could_not_pass_on_what_it_has() {
    let mut rig = Rig::new(&status("")).await;
    let address = rig.agent.addresses()["s"];
    rig.agent.counters().tell_spool(Some("spool is full".into()));
    let other = status("").replace("'s'", "'t'");
    let error = rig.reload(&other).await.unwrap_err().to_string();
    assert!(error.contains("spool is full; reload again"), "{error}");
    assert_eq!(rig.agent.addresses()["s"], address);
    // What stops nothing may go on.
    rig.reload(&format!("{}[[filter]]\nname = 'x'\naction = 'drop'\n", status(""))).await.unwrap();
    rig.agent.counters().tell_spool(None);
    rig.reload(&other).await.unwrap();
    assert_eq!(rig.agent.addresses().into_keys().collect::<Vec<_>>(), ["t"]);
    rig.agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sources_there_is_nothing_to_run() {
    let mut rig = Rig::new(&status("")).await;
    let error = rig.reload("[status]\nlisten = ''\n").await.unwrap_err();
    assert!(matches!(error, ReloadError::NoSource), "{error}");
    rig.agent.stop().await;
}

#[tokio::test]
async fn a_task_begins_after_the_one_before_it_has_ended() {
    let has_ended = Arc::new(AtomicBool::new(false));
    let ended = has_ended.clone();
    let mut task = Task::spawn(&Handle::current(), |mut stop| async move {
        stopping(&mut stop).await;
        tokio::task::yield_now().await;
        ended.store(true, Ordering::SeqCst);
    });
    let next = || {
        assert!(has_ended.load(Ordering::SeqCst));
        Task::spawn(&Handle::current(), |_| async {})
    };
    task.replace(next).await;
    task.end().await;
}
