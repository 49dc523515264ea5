//! The socket at which a tap is opened: `tap.sock` in the data folder.
//!
//! In: a connection, and one line of JSON that says what is wanted. Out: lines of JSON until one side ends it. Promises: only
//! the agent's user and root may connect, who may read the spool as well; who does not read for a minute is let go. An agent
//! that cannot have the socket does its work without: the log says why.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::{SOCKET, TAPS_MAX, Taps, Wants};

/// How long the line that says what is wanted may take, and how long.
const WANTS_WAIT: Duration = Duration::from_secs(5);
const WANTS_BYTES_MAX: u64 = 16 << 10;
/// Who takes nothing for so long is let go.
const STALLED: Duration = Duration::from_secs(60);
/// How long to wait after a connection that could not be accepted.
const ACCEPT_WAIT: Duration = Duration::from_millis(200);

/// Taps can be opened until this is ended or the runtime ends.
#[derive(Debug)]
pub(crate) struct Served {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Served {
    /// Ends all taps and takes the socket away.
    pub(crate) async fn end(self) {
        self.task.abort();
        // It was aborted: that is no news.
        let _ = self.task.await;
        // What is left of it is in nobody's way: the next start takes it away.
        let _ = fs::remove_file(self.path);
    }
}

/// Lets taps be opened at the socket in `data_dir`, which is ours alone; none where that cannot be.
pub(crate) fn serve(data_dir: &Path, taps: &Arc<Taps>) -> Option<Served> {
    let path = data_dir.join(SOCKET);
    match listen(&path) {
        Ok(listener) => {
            let task = tokio::spawn(accept(listener, Arc::clone(taps)));
            Some(Served { path, task })
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error,
                "cannot make the socket of `weir-agent tap`: events cannot be looked at as they pass");
            None
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    // Of a run before: whoever has the spool has the folder.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, taps: Arc<Taps>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(tap(stream, Arc::clone(&taps)))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of `weir-agent tap`; trying again");
                    tokio::time::sleep(ACCEPT_WAIT).await;
                }
            },
        }
    }
}

/// One tap from its beginning to its end.
async fn tap(mut stream: UnixStream, taps: Arc<Taps>) {
    let wants = match timeout(WANTS_WAIT, wants(&mut stream)).await {
        Ok(Ok(wants)) => wants,
        // Who says nothing that can be understood is nobody of ours.
        Ok(Err(_)) | Err(_) => return,
    };
    let Some(tap) = taps.tap(wants) else {
        let error = format!("{{\"error\":\"{TAPS_MAX} taps are open: end one of them first\"}}\n");
        // Whether that is read is not for us to see to.
        let _ = timeout(WANTS_WAIT, stream.write_all(error.as_bytes())).await;
        return;
    };
    // What it looks for may be a secret.
    tracing::info!("a tap is opened");
    let (mut from, mut to) = stream.split();
    loop {
        tokio::select! {
            lines = tap.next() => match timeout(STALLED, to.write_all(&lines)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => break,
            },
            // Nothing else is to be said: it is the end.
            _ = from.read_u8() => break,
        }
    }
    tracing::info!("a tap has ended");
}

async fn wants(stream: &mut UnixStream) -> io::Result<Wants> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        if line.len() as u64 >= WANTS_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        line.push(stream.read_u8().await?);
    }
    Ok(serde_json::from_slice(&line)?)
}
