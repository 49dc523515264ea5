//! Makes sure that nothing outlives the test process, also when that is killed.
//!
//! `tests/services/reaper` reads from a pipe which processes we have started. The kernel closes the
//! pipe when this process ends; the reaper then kills what is still open and removes the folder in
//! which all temporary files are.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::paths::root;

struct Reaper {
    folder: PathBuf,
    process: Mutex<Child>,
}

fn reaper() -> &'static Reaper {
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    REAPER.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("weir-tests-").tempdir().unwrap().keep();
        let process = Command::new("setsid")
            .arg(root().join("tests/services/reaper"))
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the reaper needs `setsid`: run `cargo dev tools`");
        Reaper { folder, process: Mutex::new(process) }
    })
}

/// The folder for temporary files.
pub(crate) fn folder() -> &'static Path {
    &reaper().folder
}

/// Says that the process `pid`, which leads a session of its own, was started.
pub(crate) fn watch(pid: u32) {
    tell(&format!("+{pid}\n"));
}

/// Says that it has ended.
pub(crate) fn forget(pid: u32) {
    tell(&format!("-{pid}\n"));
}

fn tell(line: &str) {
    let mut process = reaper().process.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = process.stdin.as_mut().unwrap();
    pipe.write_all(line.as_bytes()).expect("the reaper has ended");
}
