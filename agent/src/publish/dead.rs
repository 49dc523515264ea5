//! Dead letters: records that Kafka refuses for good, kept on disk with the reason.
//!
//! In: refused records. Out: one JSON object a line in `dead-letters.ndjson`, synced before the
//! lane moves on; when that file is full it becomes `dead-letters.1.ndjson` in place of the last
//! one, so both together take [`FILE_BYTES_MAX`] twice at most. Promises: a refused record blocks
//! nothing. What can go wrong: no space; the record is then named in the log and counted, and its
//! loss marker tells the sink in any case.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use weir_models::metric;
use weir_models::time::{now_us, rfc3339};

use super::Refused;

/// Size at which a file of dead letters is full.
const FILE_BYTES_MAX: u64 = 16 << 20;
const NEWEST: &str = "dead-letters.ndjson";
const OLDER: &str = "dead-letters.1.ndjson";

/// The files of dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    dir: PathBuf,
    file_bytes_max: u64,
    // Two lanes may be refused at the same time.
    file: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl DeadLetters {
    /// Dead letters go to files in `dir`, made when the first one comes.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), file_bytes_max: FILE_BYTES_MAX, file: Mutex::new(None) }
    }

    /// The files with dead letters in `dir`, oldest first.
    #[must_use]
    pub fn files(dir: &Path) -> Vec<PathBuf> {
        [OLDER, NEWEST].map(|name| dir.join(name)).into_iter().filter(|p| p.is_file()).collect()
    }

    /// Appends and syncs, or tells the log that it could not.
    pub fn keep(&self, refused: &[Refused]) {
        let Some(first) = refused.first() else { return };
        let count = refused.len();
        metrics::counter!(metric::AGENT_DEAD_LETTERS.name).increment(count as u64);
        tracing::error!(count, topic = %first.topic, reason = first.reason, id = ?first.id,
            "Kafka refuses records for good, kept as dead letters: `weir-agent spool export --dead`");
        let text: String = refused.iter().map(line).collect();
        if let Err(error) = self.append(text.as_bytes()) {
            for Refused { topic, id, reason, .. } in refused {
                tracing::error!(%topic, ?id, reason, %error, dir = %self.dir.display(),
                    "dead letter lost, it cannot be written: free space there");
            }
        }
    }

    fn append(&self, text: &[u8]) -> io::Result<()> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.dir.join(NEWEST);
        let mut open = match slot.take() {
            Some(open) => open,
            None => Open::at(&newest)?,
        };
        if open.bytes > 0 && open.bytes + text.len() as u64 > self.file_bytes_max {
            std::fs::rename(&newest, self.dir.join(OLDER))?;
            open = Open::at(&newest)?;
        }
        // After an error the file is opened anew: somebody may have taken it away.
        if let Err(error) = open.file.write_all(text).and_then(|()| open.file.sync_data()) {
            // Half a line would spoil the next one.
            let _ = open.file.set_len(open.bytes);
            return Err(error);
        }
        open.bytes += text.len() as u64;
        *slot = Some(open);
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Open> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Open { file, bytes })
    }
}

/// A record as a line of JSON.
fn line(record: &Refused) -> String {
    let value = match std::str::from_utf8(&record.value) {
        Ok(value) => json!(value),
        Err(_) => json!({ "b64": BASE64.encode(&record.value) }),
    };
    let line = json!({
        "time": rfc3339(now_us()),
        "topic": &*record.topic,
        "key": String::from_utf8_lossy(&record.key),
        "stream": record.id.map(|id| id.stream),
        "seq": record.id.map(|id| id.seq),
        "reason": record.reason,
        "value": value,
    });
    format!("{line}\n")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn refused(value: &'static [u8]) -> Refused {
        Refused {
            topic: "weir.logs".into(),
            key: "a/h".into(),
            value: value.into(),
            id: None,
            reason: "too large".into(),
        }
    }

    fn values(dir: &Path) -> Vec<serde_json::Value> {
        let text: String =
            DeadLetters::files(dir).iter().map(|p| std::fs::read_to_string(p).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_dead_letter_is_a_line_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let dead = DeadLetters::new(dir.path());
        dead.keep(&[]);
        assert_eq!(DeadLetters::files(dir.path()), Vec::<PathBuf>::new());
        dead.keep(&[refused(b"{}"), refused(b"\xff")]);
        let lines = values(dir.path());
        assert_eq!(lines[0]["value"], "{}");
        assert_eq!(lines[1]["value"]["b64"], "/w==");
        assert_eq!(lines[1]["reason"], "too large");
    }

    #[test]
    fn two_files_are_kept_and_the_newest_letters_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let keep = |value| {
            let dead = DeadLetters { file_bytes_max: 400, ..DeadLetters::new(dir.path()) };
            dead.keep(&[refused(value)]);
        };
        for _ in 0..50 {
            keep(b"old");
        }
        keep(b"new");
        let bytes = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
        assert!(DeadLetters::files(dir.path()).iter().map(bytes).sum::<u64>() <= 800);
        let lines = values(dir.path());
        assert!((3..50).contains(&lines.len()), "{lines:?}");
        assert_eq!(lines.last().unwrap()["value"], "new");
    }

    /// The lane must go on: nothing would make room but that.
    #[test]
    fn a_disk_that_takes_nothing_blocks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join(NEWEST)).unwrap();
        let dead = DeadLetters::new(dir.path());
        dead.keep(&[refused(b"{}")]);
        std::fs::remove_file(dir.path().join(NEWEST)).unwrap();
        dead.keep(&[refused(b"{}")]);
        assert_eq!(values(dir.path()).len(), 1);
    }
}
