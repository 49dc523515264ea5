//! The settings of the spool.

use serde::Deserialize;

/// What becomes of the events of a source when the spool is full: its key `when_full`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// They stay, and the source waits until there is room.
    #[default]
    Block,
    /// They give way to events of the same or a higher priority: the oldest of the lowest priority
    /// first. What is lost is counted and marked in its stream. Where nothing may give way, the
    /// source waits.
    DropLowest,
}

/// The table `[spool]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// Most bytes the spool may take on disk, over all lanes. When they are used up, events
    /// of sources with `when_full = "drop_lowest"` give way; else the agent stops taking input until
    /// Kafka has acknowledged some. At least 4 MiB and four segments.
    pub max_bytes: u64,
    /// Size at which a new segment file begins; disk is given back segment by segment. At least
    /// 64 KiB.
    pub segment_bytes: u64,
    /// Longest time an event waits in memory before it is written, in milliseconds; at most 25 where a
    /// peer waits for the answer. A longer time makes larger, better compressed batches.
    pub flush_ms: u64,
    /// Longest time until what is written and not yet in Kafka is synced to the disk, in
    /// milliseconds: this much may be lost in a power cut. A longer time saves flash.
    pub sync_ms: u64,
    /// When a lane is further behind than so many seconds and Kafka takes its events again, what comes
    /// from then on is published beside the backlog instead of after it. Never so in the lane of
    /// alerts. 0 turns it off: everything comes in the order in which it was received.
    pub overtake_s: u64,
    /// Compression level of zstd; higher is smaller and slower. 0 turns compression off.
    pub zstd_level: i32,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        SpoolConfig {
            max_bytes: 512 << 20,
            segment_bytes: 8 << 20,
            flush_ms: 200,
            sync_ms: 1_000,
            overtake_s: 30,
            zstd_level: 1,
        }
    }
}

impl SpoolConfig {
    /// So much pending makes a flush due before its time, in bytes, so that memory stays small; in a
    /// small spool less. Groups under way never give way, four of a strand, two strands of a lane: all
    /// of them together must leave room for what comes.
    pub(crate) fn flush_bytes(&self) -> u64 {
        (self.max_bytes / 64).clamp(64 << 10, 1 << 20)
    }

    /// What only the sum of the keys shows.
    ///
    /// # Errors
    /// The message names the key and the value that would do.
    pub fn check(&self) -> Result<(), String> {
        const MAX_BYTES_MIN: u64 = 4 << 20;
        const SEGMENT_BYTES_MIN: u64 = 64 << 10;
        let SpoolConfig { max_bytes, segment_bytes, flush_ms, sync_ms, zstd_level, .. } = *self;
        let max_bytes_min = segment_bytes.saturating_mul(4).max(MAX_BYTES_MIN);
        if segment_bytes < SEGMENT_BYTES_MIN {
            return Err(format!(
                "spool.segment_bytes is {segment_bytes}, set at least {SEGMENT_BYTES_MIN}"
            ));
        }
        if max_bytes < max_bytes_min {
            return Err(format!(
                "spool.max_bytes is {max_bytes}, set at least {max_bytes_min} (four segments)"
            ));
        }
        if !(1..=60_000).contains(&flush_ms) {
            return Err(format!("spool.flush_ms is {flush_ms}, set 1 to 60000"));
        }
        if !(1..=3_600_000).contains(&sync_ms) {
            return Err(format!("spool.sync_ms is {sync_ms}, set 1 to 3600000"));
        }
        if !(-7..=19).contains(&zstd_level) {
            return Err(format!("spool.zstd_level is {zstd_level}, set -7 to 19"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), &str>) {
        let config: SpoolConfig = toml::from_str(text).unwrap();
        assert_eq!(config.check(), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_ones_that_do() {
        check("", Ok(()));
        check("max_bytes = 4194304\nsegment_bytes = 65536", Ok(()));
        check(
            "max_bytes = 1000",
            Err("spool.max_bytes is 1000, set at least 33554432 (four segments)"),
        );
        check("segment_bytes = 1", Err("spool.segment_bytes is 1, set at least 65536"));
        check("flush_ms = 0", Err("spool.flush_ms is 0, set 1 to 60000"));
        check("sync_ms = 0", Err("spool.sync_ms is 0, set 1 to 3600000"));
        check("zstd_level = 23", Err("spool.zstd_level is 23, set -7 to 19"));
        assert!(toml::from_str::<SpoolConfig>("flush = 1").is_err());
    }
}
