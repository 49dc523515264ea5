//! Health: asks a running sink how it is, for whoever has no other client at hand (a container without a
//! shell).
//!
//! In: the address that the configuration names. Out: what `/healthz` answers. A sink that listens on
//! all addresses is asked on the loopback one. What can go wrong: nobody answers in time, or the answer
//! is not 200; the error says which.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// How long to connect and to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// More than the answer of `/healthz` has.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Asks `/healthz` of the sink that is configured to listen on `listen`.
///
/// # Errors
/// It does not answer, or not with 200; the message has its own words.
pub fn ask(listen: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("no sink answers on {listen}: {error}");
    let mut address = listen
        .to_socket_addrs()
        .map_err(failed)?
        .next()
        .ok_or_else(|| format!("`{listen}` is no address"))?;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            [0, 0, 0, 0, 0, 0, 0, 1u16].into()
        };
        address.set_ip(loopback);
    }
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    judge(&String::from_utf8_lossy(&answer))
}

fn judge(answer: &str) -> Result<(), String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status =
        head.strip_prefix("HTTP/1.1 ").unwrap_or_default().split(' ').next().unwrap_or_default();
    match status {
        "200" => Ok(()),
        _ => Err(format!("the sink is not well ({status}): {}", body.trim())),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_200_is_well() {
        assert_eq!(judge("HTTP/1.1 200 OK\r\nx: y\r\n\r\nok"), Ok(()));
        let error =
            judge("HTTP/1.1 503 Service Unavailable\r\n\r\nthe pipeline stands\n").unwrap_err();
        assert_eq!(error, "the sink is not well (503): the pipeline stands");
        assert!(judge("").is_err());
        assert!(judge("SSH-2.0-x 200").is_err());
    }

    #[test]
    fn a_sink_on_all_addresses_is_asked_on_the_loopback_one() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        let served = std::thread::spawn(move || {
            let (mut stream, peer) = listener.accept().unwrap();
            let mut request = [0; 200];
            let n = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            (peer.ip().is_loopback(), String::from_utf8_lossy(&request[..n]).into_owned())
        });
        ask(&listen).unwrap();
        let (loopback, request) = served.join().unwrap();
        assert!(loopback && request.starts_with("GET /healthz HTTP/1.1\r\n"), "{request}");
        let error = ask(&listen).unwrap_err();
        assert!(error.contains("no sink answers"), "{error}");
    }
}
