//! Makes sure that no program outlives the test process, also when that is killed.
//!
//! `tests/services/reaper` reads from a pipe which processes we have started. The kernel closes the
//! pipe when this process ends, and the reaper kills what is then still open.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::paths::root;

static REAPER: OnceLock<Mutex<Child>> = OnceLock::new();

/// Says that the process `pid`, which leads a session of its own, was started.
pub(crate) fn watch(pid: u32) {
    tell(&format!("+{pid}\n"));
}

/// Says that it has ended.
pub(crate) fn forget(pid: u32) {
    tell(&format!("-{pid}\n"));
}

fn tell(line: &str) {
    let reaper = REAPER.get_or_init(|| {
        let child = Command::new("setsid")
            .arg(root().join("tests/services/reaper"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the reaper needs `setsid`: run `cargo dev tools`");
        Mutex::new(child)
    });
    let mut reaper = reaper.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = reaper.stdin.as_mut().unwrap();
    pipe.write_all(line.as_bytes())
        .expect("the reaper has ended");
}
