//! One question to the status of an agent.
//!
//! In: an address and a path. Out: whether it was answered with 200, and the text. Promises: once the name is known, an
//! answer takes no longer than the caller waits, however it drips.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Asks for `path`, and waits for so long at each address that the name stands for.
///
/// # Errors
/// Says what is wrong with the address, or that nobody answers there.
pub(super) fn get(address: &str, path: &str, wait: Duration) -> Result<(bool, String), String> {
    let failed = |error: io::Error| {
        let error = match error.kind() {
            // What a wait that is over is called depends on where it was over.
            ErrorKind::TimedOut | ErrorKind::WouldBlock => "no answer in time".to_owned(),
            _ => error.to_string(),
        };
        format!(
            "no agent answers at `{address}`: {error}; it has to run, and serve there by `status.listen`"
        )
    };
    let mut last = ErrorKind::AddrNotAvailable.into();
    for at in address.to_socket_addrs().map_err(failed)? {
        match ask(&at, address, path, Instant::now() + wait) {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn ask(at: &SocketAddr, host: &str, path: &str, until: Instant) -> io::Result<(bool, String)> {
    let left = || match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(at, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    // Of version 1.0, so that the answer comes in one piece and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 8 << 10]);
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("its answer has no end"));
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !head.starts_with("HTTP/1") {
        return Err(io::Error::other("what is there does not speak HTTP"));
    }
    Ok((status == "200", body.to_owned()))
}
