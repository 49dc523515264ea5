#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir_models::limit::LINE_BYTES_MAX;

use super::super::{Input, TimeUnit};
use super::*;

/// A running listener.
struct Rig {
    address: SocketAddr,
    outputs: mpsc::Receiver<Input>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Rig {
    fn new(more: &str) -> Self {
        let text = format!("listen = '127.0.0.1:0'\n{more}");
        let config: Config = weir_models::config::parse("agent.toml", &text).unwrap();
        let bound = bind(&config, &Kept::default()).unwrap();
        let address = bound.address().unwrap();
        let source = Arc::new(Source { name: "http".into(), index: 3, format: Format::Json });
        let (inputs, outputs) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(bound, source, inputs, stopped));
        Self { address, outputs, stop, task }
    }

    /// Sends a request; the answer is its status and body.
    fn request(&self, line: &str, headers: &str, body: &[u8]) -> JoinHandle<(u16, String)> {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let address = self.address;
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            // A refusal may come before all is written.
            let _ = stream.write_all(&request);
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            let status = answer.split(' ').nth(1).unwrap_or("0").parse().unwrap();
            (status, answer)
        })
    }

    #[track_caller]
    fn post(&self, path: &str, body: &str) -> JoinHandle<(u16, String)> {
        self.request(&format!("POST {path}"), "", body.as_bytes())
    }

    /// The next input, which the spool takes.
    async fn taken(&mut self) -> Input {
        let mut input = self.outputs.recv().await.unwrap();
        input.done.take().unwrap().send(()).unwrap();
        input
    }
}

fn texts(input: &Input) -> Vec<String> {
    let text = |raw: &super::super::Raw| String::from_utf8(raw.bytes.to_vec()).unwrap();
    input.items.iter().map(text).collect()
}

#[tokio::test]
async fn lines_are_acknowledged_once_the_spool_holds_them() {
    let mut rig = Rig::new("");
    let answer = rig.post("/v1/write?precision=ms&db=x", "a v=1 7\nnonsense\n");
    let mut input = rig.outputs.recv().await.unwrap();
    assert_eq!(texts(&input), ["a v=1 7", "nonsense"]);
    assert_eq!((input.source.format, input.source.index), (Format::Line, 3));
    assert_eq!(input.peer, Some(IpAddr::from([127, 0, 0, 1])));
    for (_, labels) in input.items() {
        assert_eq!(labels.unwrap().time_unit, Some(TimeUnit::Milliseconds));
    }
    assert!(!answer.is_finished());
    input.done.take().unwrap().send(()).unwrap();
    assert_eq!(answer.await.unwrap().0, 204);
}

#[tokio::test]
async fn what_the_spool_does_not_take_is_to_be_sent_again() {
    let mut rig = Rig::new("");
    let answer = rig.post("/v1/write", "a v=1\n");
    drop(rig.outputs.recv().await.unwrap());
    let (status, answer) = answer.await.unwrap();
    assert_eq!(status, 503);
    assert!(answer.to_lowercase().contains("retry-after: 5"), "{answer}");
}

#[tokio::test]
async fn gzip_is_taken_and_bounded() {
    let mut rig = Rig::new("body_bytes_max = 1000");
    let packed = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = "Content-Encoding: gzip\r\n";
    let answer = rig.request("POST /v1/write", gzip, &packed(b"a v=1\nb v=2"));
    assert_eq!(texts(&rig.taken().await), ["a v=1", "b v=2"]);
    assert_eq!(answer.await.unwrap().0, 204);
    let bomb = rig.request("POST /v1/write", gzip, &packed(&[b'x'; 100_000]));
    assert_eq!(bomb.await.unwrap().0, 413);
    let plain = rig.request("POST /v1/write", gzip, b"a v=1");
    assert_eq!(plain.await.unwrap().0, 400);
    let other = rig.request("POST /v1/write", "Content-Encoding: br\r\n", b"a v=1");
    assert_eq!(other.await.unwrap().0, 415);
}

#[tokio::test]
async fn json_comes_as_the_bytes_that_were_sent() {
    let mut rig = Rig::new("");
    for (body, expected) in [
        ("{\"v\": 1.50}", &["{\"v\": 1.50}"][..]),
        ("[{\"v\":1}, {\"v\" :2}]", &["{\"v\":1}", "{\"v\" :2}"]),
        ("{\"v\":1}\n{\"v\":2}\n", &["{\"v\":1}", "{\"v\":2}"]),
    ] {
        let answer = rig.post("/v1/events", body);
        let input = rig.taken().await;
        assert_eq!(texts(&input), expected);
        assert_eq!((input.source.format, input.labels), (Format::Json, vec![]));
        assert_eq!(answer.await.unwrap().0, 204);
    }
    assert_eq!(rig.post("/v1/events", "[]").await.unwrap().0, 204);
    let (status, answer) = rig.post("/v1/events", "{\"v\":1}\n{\"v\":}").await.unwrap();
    assert_eq!(status, 400);
    assert!(answer.contains("\"line\":2") && answer.contains("\"column\":6"), "{answer}");
}

#[tokio::test]
async fn a_large_body_comes_in_many_inputs_and_one_answer() {
    let mut rig = Rig::new("");
    let body: String = (0..2_000).map(|number| format!("m v={number}\n")).collect();
    let answer = rig.post("/v1/write", &body);
    let mut found = String::new();
    while found.len() < body.len() {
        for line in texts(&rig.taken().await) {
            found.push_str(&line);
            found.push('\n');
        }
    }
    assert_eq!(found, body);
    assert_eq!(answer.await.unwrap().0, 204);
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let rig = Rig::new("body_bytes_max = 100000");
    let answer = rig.post("/v1/write", &"x".repeat(100_001));
    assert_eq!(answer.await.unwrap().0, 413);
    let chunked = "x".repeat(100_001);
    let chunked = format!("{:x}\r\n{chunked}\r\n0\r\n\r\n", chunked.len());
    let address = rig.address;
    let status = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = "POST /v1/write HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(&[head.as_bytes(), chunked.as_bytes()].concat());
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    });
    assert_eq!(status.await.unwrap(), "HTTP/1.1 413");
    let long = format!("a v=1\nb s=\"{}\"\n", "x".repeat(LINE_BYTES_MAX));
    let (status, answer) = rig.post("/v1/write", &long).await.unwrap();
    assert_eq!(status, 413);
    assert!(answer.contains("element 2 of the body"), "{answer}");
}

#[tokio::test]
async fn only_the_token_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "s3cret\n").unwrap();
    let mut rig = Rig::new(&format!("token = {{ file = '{}' }}", path.display()));
    for headers in [
        "",
        "Authorization: Bearer s3cre\r\n",
        "Authorization: Bearer s3creT\r\n",
        "Authorization: s3cret\r\n",
        "Authorization: Basic s3cret\r\n",
    ] {
        let answer = rig.request("POST /v1/write", headers, b"a v=1");
        assert_eq!(answer.await.unwrap().0, 401, "{headers}");
    }
    for headers in ["Authorization: Bearer s3cret\r\n", "authorization: Token s3cret\r\n"] {
        let answer = rig.request("POST /v1/write", headers, b"a v=1");
        rig.taken().await;
        assert_eq!(answer.await.unwrap().0, 204);
    }
}

#[tokio::test]
async fn other_requests_get_the_answer_they_should() {
    let rig = Rig::new("");
    let get = |path: &str| rig.request(&format!("GET {path}"), "", b"");
    assert_eq!(get("/v1/ping").await.unwrap().0, 204);
    assert_eq!(get("/v1/write").await.unwrap().0, 405);
    assert_eq!(get("/").await.unwrap().0, 404);
    let (status, answer) = rig.post("/v1/write?precision=h", "a v=1").await.unwrap();
    assert_eq!(status, 400);
    assert!(answer.contains("known are ns, us, ms and s"), "{answer}");
}

#[tokio::test]
async fn a_stop_waits_for_requests_that_are_being_answered() {
    let mut rig = Rig::new("");
    let answer = rig.post("/v1/events", "{\"v\":1}");
    let mut input = rig.outputs.recv().await.unwrap();
    rig.stop.send(true).unwrap();
    input.done.take().unwrap().send(()).unwrap();
    assert_eq!(answer.await.unwrap().0, 204);
    assert!(rig.outputs.recv().await.is_none());
    rig.task.await.unwrap();
}
