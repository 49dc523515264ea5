//! A program whose wall clock shows something else, and can be set while it runs.
//!
//! libfaketime answers in the C library's place what the wall clock shows; the time since the boot,
//! which the agent asks the kernel for, stays the machine's, as when somebody sets a real clock.

use std::path::PathBuf;

use crate::{Launch, paths};

/// The wall clock of programs that were launched under it.
pub struct WrongClock {
    folder: tempfile::TempDir,
}

impl WrongClock {
    /// A clock that is so many seconds off.
    #[track_caller]
    pub fn off_by(seconds: i64) -> Self {
        let clock = Self { folder: crate::temp_dir("clock") };
        clock.set(seconds);
        clock
    }

    /// Sets it: from now on it is so many seconds off.
    #[track_caller]
    pub fn set(&self, seconds: i64) {
        // By renaming, so that nobody reads half of it.
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(draft, self.file()).unwrap();
    }

    /// The program under this clock.
    #[track_caller]
    pub fn over(&self, launch: Launch) -> Launch {
        launch
            .env("LD_PRELOAD", library().to_str().unwrap())
            .env("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

/// The library that the package `faketime` brings, unpacked in the cache or installed.
#[track_caller]
fn library() -> PathBuf {
    let roots = [paths::cache().join("debian/faketime/usr/lib"), "/usr/lib".into()];
    let folders = roots.iter().filter_map(|root| std::fs::read_dir(root).ok()).flatten().flatten();
    let mut files = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.is_file()).expect("`faketime` is not here: run `cargo dev tools`")
}
