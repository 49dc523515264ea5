#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{TcpListener, UdpSocket};

use super::*;

fn config(text: &str) -> Config {
    weir_models::config::parse("agent.toml", text).unwrap()
}

fn begin(text: &str) -> Result<Running, StartError> {
    let folder = tempfile::tempdir().unwrap();
    let (inputs, _) = tokio::sync::mpsc::channel(1);
    start(&config(text), folder.path(), &inputs)
}

#[tokio::test]
async fn a_busy_port_says_who_and_what_to_do() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap();
    let error = begin(&format!("[[syslog]]\nlisten = 'udp://{address}'")).unwrap_err();
    let port = address.port();
    assert_eq!(
        error.to_string(),
        format!(
            "source `syslog-udp-{port}` cannot listen on udp://127.0.0.1:{port}: another process listens there; find it with `ss -ulpn 'sport = :{port}'` and stop it, or choose another port"
        )
    );
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    for text in [
        format!("[[syslog]]\nlisten = 'tcp://{address}'"),
        format!("[[http]]\nlisten = '{address}'"),
    ] {
        let error = begin(&text).unwrap_err().to_string();
        assert!(error.contains("another process") && error.contains("ss -tlpn"), "{error}");
    }
}

#[tokio::test]
async fn one_that_cannot_start_starts_none() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "[[syslog]]\nlisten = 'udp://{free}'\n[[http]]\nlisten = '{}'",
        busy.local_addr().unwrap()
    );
    begin(&text).unwrap_err();
    UdpSocket::bind(free).unwrap();
}

#[tokio::test]
async fn missing_secrets_and_addresses_are_named() {
    let error =
        begin("[[http]]\nlisten = '127.0.0.1:0'\ntoken = { file = '/nowhere/token' }").unwrap_err();
    assert!(
        error.to_string().starts_with(
            "`token` of source `http-0`: cannot read the secret file `/nowhere/token`"
        ),
        "{error}"
    );
    let error = begin("[[syslog]]\nlisten = 'udp://192.0.2.1:0'").unwrap_err();
    assert!(
        error.to_string().contains("no interface of this machine has the address 192.0.2.1"),
        "{error}"
    );
    let error = begin("[[syslog]]\nlisten = 'unix:///nowhere/x.sock'").unwrap_err();
    assert!(error.to_string().contains("the folder /nowhere does not exist"), "{error}");
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (inputs, _) = tokio::sync::mpsc::channel(1);
    let config = config("[[file]]\npaths = ['/var/log/x']");
    let error = start(&config, file.path(), &inputs).unwrap_err();
    assert!(error.to_string().contains("set another data folder"), "{error}");
}

#[tokio::test]
async fn addresses_are_told_and_a_stop_stops_all() {
    let folder = tempfile::tempdir().unwrap();
    let (inputs, mut outputs) = tokio::sync::mpsc::channel(1);
    let config = config(
        "[[syslog]]\nname='u'\nlisten = 'udp://127.0.0.1:0'\n[[syslog]]\nname='t'\nlisten = 'tcp://127.0.0.1:0'\n[[file]]\npaths = ['/nowhere/x']\n[[http]]\nname='h'\nlisten = '127.0.0.1:0'\n[[mqtt]]\nurl = 'mqtt://127.0.0.1:1'\ntopics = ['#']\n",
    );
    let mut running = start(&config, folder.path(), &inputs).unwrap();
    drop(inputs);
    let names: Vec<_> = running.addresses().into_keys().collect();
    assert_eq!(names, ["h", "t", "u"]);
    assert!(running.addresses().values().all(|address| address.port() != 0));
    running.stop().await;
    assert!(outputs.recv().await.is_none());
}
