//! A disk that fails on demand, for tests: each test thread has its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

#[derive(Default)]
struct Faults {
    /// How many bytes of the next write arrive before it fails, and how it fails.
    write: Option<(usize, io::ErrorKind)>,
    /// Logs that open until the process is killed right behind one.
    opens: Option<u32>,
    syncs: u64,
    /// By inode: how far a file was synced.
    synced: HashMap<u64, u64>,
}

thread_local! {
    static FAULTS: RefCell<Faults> = RefCell::default();
}

/// The next write brings `bytes` of its bytes to the file and then fails with `kind`.
pub(in crate::spool) fn fail_next_write(bytes: usize, kind: io::ErrorKind) {
    FAULTS.with_borrow_mut(|faults| faults.write = Some((bytes, kind)));
}

/// No write fails any more. Answers whether one was still to fail.
pub(in crate::spool) fn heal() -> bool {
    FAULTS.with_borrow_mut(|faults| faults.write.take().is_some())
}

/// The process is killed right after the fourth log from now, the last lane of a spool, is open.
pub(in crate::spool) fn kill_after_open() {
    FAULTS.with_borrow_mut(|faults| faults.opens = Some(4));
}

/// Whether the process is killed here.
pub(in crate::spool) fn killed() -> bool {
    FAULTS.with_borrow_mut(|faults| {
        faults.opens = faults.opens.map(|left| left - 1);
        faults.opens.take_if(|left| *left == 0).is_some()
    })
}

/// Syncs of files until now.
pub(in crate::spool) fn syncs() -> u64 {
    FAULTS.with_borrow(|faults| faults.syncs)
}

/// How many bytes of the file a power cut leaves for certain.
pub(in crate::spool) fn safe_bytes(path: &Path) -> u64 {
    let inode = std::fs::metadata(path).unwrap().ino();
    FAULTS.with_borrow(|faults| faults.synced.get(&inode).copied().unwrap_or(0))
}

pub(super) fn created(file: &File) {
    let inode = file.metadata().unwrap().ino();
    FAULTS.with_borrow_mut(|faults| faults.synced.remove(&inode));
}

pub(super) fn on_write(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let Some((arrive, kind)) = FAULTS.with_borrow_mut(|faults| faults.write.take()) else {
        return Ok(());
    };
    file.write_all_at(&bytes[..arrive.min(bytes.len())], offset)?;
    Err(kind.into())
}

pub(super) fn synced(file: &File) {
    let metadata = file.metadata().unwrap();
    FAULTS.with_borrow_mut(|faults| {
        faults.syncs += 1;
        faults.synced.insert(metadata.ino(), metadata.len());
    });
}
