//! Dead letters: records that Kafka refuses for good, kept on disk with the reason.
//!
//! In: refused records. Out: one JSON object a line in `dead-letters.ndjson`, synced before the
//! lane moves on. Promises: a refused record blocks nothing and is not forgotten. A disk that is
//! full is an error, and then the lane waits.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use weir_models::time::{now_us, rfc3339};

use super::Refused;

/// The file of dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    // Two lanes may be refused at the same time.
    file: Mutex<Option<File>>,
}

/// The dead letter file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{path}`: {source}; free space there, the lane waits until then")]
pub struct DeadLetterError {
    path: PathBuf,
    source: std::io::Error,
}

impl DeadLetters {
    /// Dead letters go to a file in `dir`, made when the first one comes.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join("dead-letters.ndjson"), file: Mutex::new(None) }
    }

    /// Appends and syncs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, refused: &[Refused]) -> Result<(), DeadLetterError> {
        if refused.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for record in refused {
            tracing::error!(topic = %record.topic, reason = %record.reason, file = %self.path.display(),
                "Kafka refuses a record for good, kept as a dead letter");
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
            text.extend_from_slice(line.to_string().as_bytes());
            text.push(b'\n');
        }
        self.append(&text).map_err(|source| DeadLetterError { path: self.path.clone(), source })
    }

    fn append(&self, text: &[u8]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if file.is_none() {
            *file = Some(OpenOptions::new().create(true).append(true).open(&self.path)?);
        }
        if let Some(file) = file.as_mut() {
            file.write_all(text)?;
            file.sync_data()?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_a_line_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let dead = DeadLetters::new(dir.path());
        let refused = |value: &'static [u8]| Refused {
            topic: "weir.logs".into(),
            key: "a/h".into(),
            value: value.into(),
            id: None,
            reason: "too large".into(),
        };
        dead.keep(&[]).unwrap();
        assert!(!dir.path().join("dead-letters.ndjson").exists());
        dead.keep(&[refused(b"{}"), refused(b"\xff")]).unwrap();
        let text = std::fs::read_to_string(dir.path().join("dead-letters.ndjson")).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["value"], "{}");
        assert_eq!(lines[1]["value"]["b64"], "/w==");
        assert_eq!(lines[1]["reason"], "too large");
    }
}
