#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Serves each connection with `answers`, one a request, and closes it after the last.
async fn serve(answers: &'static [&'static str]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, opened) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&opened);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(speak(stream, answers));
        }
    });
    (port, opened)
}

async fn speak(mut stream: impl AsyncRead + AsyncWrite + Unpin, answers: &'static [&'static str]) {
    for answer in answers {
        let mut request = String::new();
        while !request.contains("\r\n\r\nBODY") {
            let mut part = [0; 1_024];
            let read = stream.read(&mut part).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            request += std::str::from_utf8(&part[..read]).unwrap();
        }
        assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-length: 4\r\n"), "{request}");
        if *answer == "hang" {
            std::future::pending::<()>().await;
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn client(scheme: &str, port: u16, more: &str) -> Client {
    let table = format!(
        "[[webhook]]\nsecret = {{ env = 'X' }}\nurl = '{scheme}://localhost:{port}/a?b=c'\n{more}"
    );
    let config: crate::hooks::config::HooksConfig = toml::from_str(&table).unwrap();
    let hook = &config.webhook[0].hook;
    Client::new(hook, hook.url.path.clone(), Some(Secret::new("s3cret"))).unwrap()
}

async fn post(client: &Client) -> Result<Answer, String> {
    client.post(HeaderMap::new(), Bytes::from_static(b"BODY")).await
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_used_again_and_opened_anew_when_it_was_closed() {
    let (port, opened) = serve(&[OK, OK]).await;
    let client = client("http", port, "");
    for n in 0..6 {
        assert_eq!(post(&client).await.unwrap().status, 200, "{n}");
    }
    assert_eq!(opened.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_answer_is_read_with_bounds_and_no_redirect_followed() {
    let (port, opened) = serve(&[
        "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 24\r\n\r\nBearer s3cret\nis no good",
    ])
    .await;
    let client = client("http", port, "");
    assert_eq!(post(&client).await.unwrap().status, 302);
    let answer = post(&client).await.unwrap();
    assert_eq!((answer.status, answer.retry_after_s), (503, Some(7)));
    assert_eq!(answer.text, "Bearer <secret> is no good");
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_endless_answer_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 No\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
    });
    let answer = post(&client("http", port, "")).await.unwrap();
    assert_eq!((answer.status, answer.text.len()), (400, 0));
}

#[tokio::test]
async fn whoever_hangs_refuses_or_is_away_is_given_up_in_time() {
    let (port, _) = serve(&["hang"]).await;
    let begun = std::time::Instant::now();
    let told = post(&client("http", port, "timeout_s = 1")).await.unwrap_err();
    assert_eq!(told, format!("no answer from localhost:{port} within 1s"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let (port, _) = serve(&[]).await;
    let told = post(&client("http", port, "")).await.unwrap_err();
    assert!(told.starts_with("no answer from localhost:"), "{told}");
    let told = post(&client("http", 1, "")).await.unwrap_err();
    assert!(told.starts_with("localhost:1 cannot be reached: "), "{told}");
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_authority_vouches_for() {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, signed.cert.pem()).unwrap();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(speak(stream, &[OK]));
            }
        }
    });
    let trusted = client("https", port, &format!("ca_file = '{}'", ca_file.display()));
    assert_eq!(post(&trusted).await.unwrap().status, 200);
    // An authority that did not sign it.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&ca_file, other.cert.pem()).unwrap();
    let untrusted = client("https", port, &format!("ca_file = '{}'", ca_file.display()));
    let told = post(&untrusted).await.unwrap_err();
    assert!(told.starts_with("TLS to localhost:") && told.contains("`ca_file`"), "{told}");
}
