//! One question to the status of an agent.
//!
//! In: an address and a path. Out: whether it was answered with 200, and the text. Waits two seconds at most for each step.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// For the connection, and for each read.
const WAIT: Duration = Duration::from_secs(2);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Asks for `path`.
///
/// # Errors
/// Says what is wrong with the address, or that nobody answers there.
pub(super) fn get(address: &str, path: &str) -> Result<(bool, String), String> {
    let failed = |error: std::io::Error| {
        format!(
            "no agent answers at `{address}`: {error}; it has to run, and serve there by `status.listen`"
        )
    };
    let mut last = std::io::ErrorKind::AddrNotAvailable.into();
    for at in address.to_socket_addrs().map_err(failed)? {
        match ask(&at, address, path) {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn ask(at: &std::net::SocketAddr, host: &str, path: &str) -> std::io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(at, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    // Of version 1.0, so that the answer comes in one piece and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !head.starts_with("HTTP/1") {
        return Err(std::io::Error::other("what is there does not speak HTTP"));
    }
    Ok((status == "200", body.to_owned()))
}
