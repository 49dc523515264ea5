//! The configuration as a file: read, watched, and kept as it is in force.
//!
//! In: the path. Out: [`Written`], what was read from it; the word that it has changed, once it stands
//! still; and `running.toml` in the data folder, a copy of what the agent has taken over, for
//! `weir-agent plan` and for whoever wonders. Promises: only its owner can read the copy, for the
//! file may hold what others should not see.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Table;
use weir_models::time::{now_us, rfc3339};

use super::Config;

/// How often the file is looked at. A change counts when it looks the same twice, so that nobody reads a
/// file that is being written.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The copy of what is in force, in the data folder.
const RUNNING: &str = "running.toml";
/// What the copy begins with; then comes the time.
const SINCE: &str = "# In force since ";

/// A configuration, and what it was read from.
#[derive(Clone, Debug)]
pub struct Written {
    /// The configuration, checked.
    pub config: Config,
    /// The keys as they are written.
    pub table: Table,
    /// The text.
    pub text: String,
}

impl Written {
    /// Reads `text`, which came from `file`.
    ///
    /// # Errors
    /// Names file, line, key and what to do.
    pub fn parse(file: &str, text: String) -> Result<Self, String> {
        let config = Config::parse(file, &text).map_err(|error| error.to_string())?;
        let table = weir_models::config::parse(file, &text).map_err(|error| error.to_string())?;
        Ok(Self { config, table, text })
    }

    /// Reads `file`.
    ///
    /// # Errors
    /// Names file, line, key and what to do.
    pub fn read(file: &str) -> Result<Self, String> {
        Self::parse(file, text(file)?)
    }
}

/// The text of `file`.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn text(file: &str) -> Result<String, String> {
    fs::read_to_string(file)
        .map_err(|error| format!("cannot read the configuration `{file}`: {error}"))
}

/// Tells one content of a file from another: changed when, how long, which inode.
type Stamp = (i64, i64, u64, u64);

/// A file that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    seen: Option<Stamp>,
    is_moving: bool,
}

impl Watched {
    /// Watches `file` from now on.
    pub(crate) fn new(file: &str) -> Self {
        let path = PathBuf::from(file);
        Self { seen: stamp(&path), path, is_moving: false }
    }

    /// Returns when the file has changed, and stands still. May be dropped and called again.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.look() {
                return;
            }
        }
    }

    /// Whether the file has changed before the last look, and not since.
    fn look(&mut self) -> bool {
        let now = stamp(&self.path);
        let is_still = now == self.seen;
        self.seen = now;
        let has_changed = self.is_moving && is_still;
        self.is_moving = !is_still;
        // While it is not there, what is in force stays in force.
        has_changed && self.seen.is_some()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
}

/// Keeps a copy of what is in force now in `data_dir`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn keep_running(data_dir: &str, file: &str, text: &str) -> io::Result<()> {
    let path = Path::new(data_dir).join(RUNNING);
    let new = path.with_extension("toml.new");
    // Made anew, because of its permissions.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut copy = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let since = rfc3339(now_us());
    writeln!(copy, "{SINCE}{since}, from {file}. Written by weir-agent, which never reads it.")?;
    copy.write_all(text.as_bytes())?;
    copy.sync_data()?;
    fs::rename(&new, &path)
}

/// What is in force, by the copy in `data_dir`, and a sentence that says what that is.
///
/// # Errors
/// Says what to do.
pub(crate) fn running(data_dir: &str) -> Result<(Written, String), String> {
    let path = Path::new(data_dir).join(RUNNING);
    let name = path.display().to_string();
    let text = fs::read_to_string(&path).map_err(|error| {
        format!(
            "cannot read what is in force from `{name}`: {error}; run this as the user of the agent or as root, or name the file that is in force with `--against FILE`"
        )
    })?;
    let first = text.lines().next().unwrap_or_default();
    let since = first.strip_prefix(SINCE).and_then(|rest| rest.split(',').next());
    let what =
        format!("what the agent of {data_dir} took over at {}", since.unwrap_or("some time"));
    Ok((Written::parse(&name, text)?, what))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_change_counts_once_and_when_it_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        let write = |text: &str| fs::write(&path, text).unwrap();
        write("a");
        let mut watched = Watched::new(path.to_str().unwrap());
        assert_eq!([0; 2].map(|_| watched.look()), [false, false]);
        write("ab");
        assert!(!watched.look());
        write("abc");
        assert_eq!([0; 3].map(|_| watched.look()), [false, true, false]);
        // Editors take it away and put another one there.
        fs::remove_file(&path).unwrap();
        assert_eq!([0; 3].map(|_| watched.look()), [false, false, false]);
        write("abc");
        assert_eq!([0; 3].map(|_| watched.look()), [false, true, false]);
    }

    #[test]
    fn what_is_in_force_is_kept_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_str().unwrap();
        let error = running(dir).unwrap_err();
        assert!(error.contains("running.toml") && error.contains("--against"), "{error}");
        let text = "agent = { site = 'a' }\nkafka = { brokers = ['x:1'] }\n";
        for _ in 0..2 {
            keep_running(dir, "agent.toml", text).unwrap();
        }
        let mode = fs::metadata(folder.path().join(RUNNING)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (written, what) = running(dir).unwrap();
        assert_eq!(written.config, Config::parse("agent.toml", text).unwrap());
        assert!(what.contains(" took over at 2"), "{what}");
    }
}
