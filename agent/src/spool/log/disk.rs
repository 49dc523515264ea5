//! The writes and syncs that the log relies on, in one place, so that tests can make them fail.
//!
//! In production these are the calls of the standard library and nothing else.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

#[cfg(test)]
use super::faults;

/// A new, empty file.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    #[cfg(test)]
    faults::created(&file);
    Ok(file)
}

/// Writes all of `bytes` at `offset`, or some of them and an error.
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::on_write(file, bytes, offset)?;
    file.write_all_at(bytes, offset)
}

/// Brings the content of a file to the disk.
pub(super) fn sync(file: &File) -> io::Result<()> {
    file.sync_data()?;
    #[cfg(test)]
    faults::synced(file);
    Ok(())
}

/// Brings the names in a folder to the disk.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
