#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::archive::Archive;

/// A server that gives the same answer to each request; how many it had.
struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
}

async fn speak(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: String,
    requests: Arc<AtomicUsize>,
) {
    let mut text = Vec::new();
    let mut part = [0; 4_096];
    while let Ok(read @ 1..) = stream.read(&mut part).await {
        text.extend_from_slice(&part[..read]);
        if text.windows(4).any(|end| end == b"\r\n\r\n") {
            text.clear();
            requests.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn serve(answer: String, tls: Option<TlsAcceptor>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, requests) = (listener.local_addr().unwrap().port(), Arc::default());
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, counted) = (answer.clone(), Arc::clone(&counted));
            match &tls {
                None => drop(tokio::spawn(speak(stream, answer, counted))),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        tokio::spawn(speak(stream, answer, counted));
                    }
                }
            }
        }
    });
    Server { port, requests }
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\netag: \"e\"\r\n\
             last-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n{body}",
        body.len()
    )
}

fn error(status: &str, code: &str) -> String {
    answer(status, &format!("<Error><Code>{code}</Code></Error>"))
}

/// An archive whose keys are in files of `folder`.
fn archive(folder: &std::path::Path, endpoint: &str, more: &str, tries: Tries) -> Archive {
    for name in ["access", "secret"] {
        std::fs::write(folder.join(name), format!("the-{name}-key\n")).unwrap();
    }
    let shown = folder.display();
    let table = format!(
        "endpoint = '{endpoint}'\nallow_http = true\nbucket = 'b'\nprefix = 'a/b'\ntimeout_s = 1\n\
         access_key = {{ file = '{shown}/access' }}\nsecret_key = {{ file = '{shown}/secret' }}\n{more}"
    );
    Archive::bucket(&toml::from_str(&table).unwrap(), tries).unwrap()
}

#[tokio::test]
async fn only_a_missing_object_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    for (answer, part) in [
        (error("404 Not Found", "NoSuchKey"), None),
        (error("404 Not Found", "NoSuchBucket"), Some("404 NoSuchBucket; make the bucket")),
        (answer("404 Not Found", "<h1>nginx</h1>"), Some("404; check `archive.s3.endpoint`")),
        (error("301 Moved", "PermanentRedirect"), Some("`archive.s3.region`")),
        (answer("200 OK", ""), None),
    ] {
        let server = serve(answer, None).await;
        let endpoint = format!("http://127.0.0.1:{}", server.port);
        let archive = archive(folder.path(), &endpoint, "", Tries::Once);
        let found = archive.manifest("logs/x.parquet").await;
        match (found, part) {
            (Ok(None), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, part) => unreachable!("{found:?}, expected {part:?}"),
        }
        assert_eq!(server.requests.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn commands_try_again_and_the_sink_says_so_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(error("503 Busy", "SlowDown"), None).await;
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let of = |tries| archive(folder.path(), &endpoint, "", tries);
    let (first, second) =
        (of(Tries::Once).check().await.unwrap_err(), of(Tries::Once).check().await.unwrap_err());
    // The same text each time, so that it is logged once.
    assert_eq!(first.to_string(), second.to_string());
    assert!(first.is_temporary() && first.to_string().contains("503 SlowDown; it is busy"));
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
    let trying = of(Tries::Some);
    let _ = tokio::time::timeout(Duration::from_secs(3), trying.check()).await;
    assert!(server.requests.load(Ordering::SeqCst) > 3);
}

#[tokio::test]
async fn what_a_store_cannot_do_is_told_apart_from_what_it_does_later() {
    let folder = tempfile::tempdir().unwrap();
    for (status, code, unsupported) in [
        ("501 Not Implemented", "NotImplemented", true),
        ("409 Conflict", "OperationAborted", false),
    ] {
        let server = serve(error(status, code), None).await;
        let endpoint = format!("http://127.0.0.1:{}", server.port);
        let archive = archive(folder.path(), &endpoint, "", Tries::Once);
        let refused = archive.check().await.unwrap_err();
        assert_eq!((refused.is_unsupported(), refused.is_temporary()), (unsupported, !unsupported));
        let told = refused.to_string();
        assert!(told.contains(&format!("answers {} {code}; ", &status[..3])), "{told}");
    }
}

#[tokio::test]
async fn a_store_that_stops_in_the_middle_is_given_up_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let half = answer("200 OK", "{}").replace("content-length: 2", "content-length: 99");
    for (answer, part) in [(half, "no answer from 127.0.0.1"), (String::new(), "within 1s")] {
        let server = serve(answer, None).await;
        let endpoint = format!("http://127.0.0.1:{}", server.port);
        let archive = archive(folder.path(), &endpoint, "", Tries::Once);
        let begun = Instant::now();
        let error = archive.bytes("logs/x.parquet").await.unwrap_err();
        assert!(error.to_string().contains(part) && error.is_temporary(), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    let away = archive(folder.path(), "http://127.0.0.1:1", "", Tries::Once);
    let error = away.check().await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1 cannot be reached: "), "{error}");
}

#[tokio::test]
async fn keys_do_not_show_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(error("403 Forbidden", "SignatureDoesNotMatch"), None).await;
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let archive = archive(folder.path(), &endpoint, "", Tries::Once);
    let error = archive.check().await.unwrap_err();
    let text = format!("{archive:?} {error} {error:?}");
    assert!(!text.contains("the-secret-key") && !text.contains("the-access-key"), "{text}");
    assert!(!error.is_temporary() && !error.is_gone());
    assert_eq!(format!("{archive:?}"), "Archive(PrefixObjectStore(a/b))");
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_authority_vouches_for() {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let server = serve(answer("200 OK", "{}"), Some(TlsAcceptor::from(Arc::new(config)))).await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, signed.cert.pem()).unwrap();
    let more = format!("ca_file = '{}'", ca_file.display());
    let endpoint = format!("https://localhost:{}", server.port);
    let trusted = archive(folder.path(), &endpoint, &more, Tries::Once);
    assert_eq!(trusted.bytes("logs/x").await.unwrap(), "{}");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&ca_file, other.cert.pem()).unwrap();
    let untrusted = archive(folder.path(), &endpoint, &more, Tries::Once);
    let error = untrusted.bytes("logs/x").await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("`ca_file`"), "{error}");
}
