//! The names of all metrics, with their meaning; nowhere else is a metric named.
//!
//! Counters end in `_total`, sizes in `_bytes`, times in `_seconds` (Prometheus naming).

/// A metric: name and help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name as Prometheus shows it.
    pub name: &'static str,
    /// What it counts, and its labels.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $id:ident = $name:literal;)*) => {
        $($(#[doc = $help])+ pub const $id: Metric = Metric { name: $name, help: concat!($($help),+) };)*
        /// Every metric, for registration and for the reference.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    /// Events taken from a source, by `source`.
    AGENT_RECEIVED = "weir_agent_received_events_total";
    /// Bytes taken from a source, by `source`.
    AGENT_RECEIVED_BYTES = "weir_agent_received_bytes_total";
    /// Events that were not fully understood, by `source` and `state` (`partial`, `raw`).
    AGENT_UNPARSED = "weir_agent_unparsed_events_total";
    /// Events left out by a filter rule, by `rule`.
    AGENT_FILTERED = "weir_agent_filtered_events_total";
    /// Look-ups of device metadata, by `state` (`hit`, `miss`, `stale`).
    AGENT_LOOKUPS = "weir_agent_metadata_lookups_total";
    /// Alerts raised, by `state` (`firing`, `resolved`).
    AGENT_ALERTS = "weir_agent_alerts_total";
    /// Alerts held back because `score.suppress_below` says so, by a model that people's feedback made.
    AGENT_ALERTS_HELD_BACK = "weir_agent_held_back_alerts_total";
    /// Events written to the spool.
    AGENT_SPOOLED = "weir_agent_spooled_events_total";
    /// Bytes written to the spool, by `lane`: flash wear. Divide by the events spooled.
    AGENT_SPOOL_WRITTEN = "weir_agent_spool_written_bytes_total";
    /// Bytes the spool holds on disk.
    AGENT_SPOOL_BYTES = "weir_agent_spool_bytes";
    /// Events in the spool that Kafka does not have yet.
    AGENT_SPOOL_WAITING = "weir_agent_spool_waiting_events";
    /// Bytes the spool may hold on disk: `spool.max_bytes`.
    AGENT_SPOOL_MAX = "weir_agent_spool_max_bytes";
    /// Events on disk that Kafka does not have yet, by `lane`.
    AGENT_LANE_WAITING = "weir_agent_lane_waiting_events";
    /// How long the oldest event in the spool that Kafka does not have yet waits, in seconds, by
    /// `lane`; 0 if none does.
    AGENT_SPOOL_OLDEST = "weir_agent_spool_oldest_seconds";
    /// Events that Kafka acknowledged.
    AGENT_PUBLISHED = "weir_agent_published_events_total";
    /// Events whose stamps were corrected on their way to Kafka, because the clock was set after they came.
    AGENT_CORRECTED = "weir_agent_corrected_events_total";
    /// Failed tries to publish; each lane then begins again at its checkpoint.
    AGENT_PUBLISH_ERRORS = "weir_agent_publish_errors_total";
    /// Errors of Kafka and on the way to it, by `class` (`connection`, `security`, `denied`, …).
    AGENT_KAFKA_ERRORS = "weir_agent_kafka_errors_total";
    /// Records that Kafka refuses for good; `weir-agent spool export --dead` shows them.
    AGENT_DEAD_LETTERS = "weir_agent_dead_letters_total";
    /// Events lost, by `reason` and, in the spool, by `lane`; 0 unless a loss marker tells of it.
    AGENT_LOST = "weir_agent_lost_events_total";
    /// Datagrams the kernel dropped because a receive buffer was full, by `source` and `socket`.
    AGENT_DROPPED = "weir_agent_dropped_datagrams_total";
    /// Connections refused or cut by a limit, by `source` and `limit`.
    AGENT_REFUSED = "weir_agent_refused_connections_total";
    /// Waits of a peer that sent more than `peer_events_per_s_max`, by `source`.
    AGENT_HELD = "weir_agent_held_reads_total";
    /// Connections that ended for want of a common language, by `source` and `reason` (`tls`, `protocol`).
    AGENT_MISUNDERSTOOD = "weir_agent_misunderstood_connections_total";
    /// When the certificate of a source with TLS expires, in seconds since the Unix epoch, by `source`.
    AGENT_CERTIFICATE_EXPIRES = "weir_agent_certificate_expires_seconds";
    /// Times that the configuration was to be taken over anew, by `result` (`applied`, `unchanged`, `refused`).
    AGENT_RELOADS = "weir_agent_reloads_total";
    /// Since when the configuration is in force, in seconds since the Unix epoch.
    AGENT_CONFIGURED = "weir_agent_configured_seconds";
    /// Version of a central model, which is when it was trained or gone back to, in seconds since the Unix epoch, by
    /// `model` and `state` (`in_force`, `shadow`); 0: none.
    AGENT_MODEL_VERSION = "weir_agent_model_version_seconds";
    /// Central models that were refused or taken back, by `reason` (`signature`, `older`, `trial`, `flood`, …).
    AGENT_MODELS_REFUSED = "weir_agent_models_refused_total";
    /// Memory that the agent may take: `limits.memory_bytes`, or what its parts add up to.
    AGENT_MEMORY_BUDGET = "weir_agent_memory_budget_bytes";
    /// Memory that a part may hold, by `part`.
    AGENT_MEMORY_MAX = "weir_agent_memory_max_bytes";
    /// Memory that a part holds, about, by `part`; only of parts that know.
    AGENT_MEMORY_HELD = "weir_agent_memory_held_bytes";
    /// Memory that the process takes, as the system counts it.
    AGENT_RESIDENT = "weir_agent_resident_memory_bytes";
    /// Processor time that the process has taken since its start, of all its threads.
    AGENT_CPU = "weir_agent_cpu_seconds";
    /// Records consumed from Kafka, by `topic`.
    SINK_CONSUMED = "weir_sink_consumed_records_total";
    /// Records recognised as duplicates and dropped, by `topic`.
    SINK_DUPLICATES = "weir_sink_duplicate_records_total";
    /// Records sent to the dead letter topic, by `reason`.
    SINK_DEAD_LETTERS = "weir_sink_dead_letters_total";
    /// Rows written to the store, by `table`.
    SINK_STORED = "weir_sink_stored_rows_total";
    /// Failed tries to write to the store.
    SINK_STORE_ERRORS = "weir_sink_store_errors_total";
    /// How many requests that write to Cassandra may be under way at once just now: as configured, fewer while it is slow
    /// or refuses.
    SINK_STORE_WRITES_MAX = "weir_sink_store_allowed_writes";
    /// How long a request that writes to Cassandra takes until it is confirmed, in seconds, smoothed.
    SINK_STORE_WRITE_TIME = "weir_sink_store_write_seconds";
    /// Requests that write to Cassandra that timed out or were not taken, and were done again.
    SINK_STORE_RETRIES = "weir_sink_store_retries_total";
    /// Series and hosts whose partitions in Cassandra got many rows and are narrower from then on, by `table` (`readings`, `logs`).
    SINK_STORE_NARROWED = "weir_sink_store_narrowed_total";
    /// Events written to the archive.
    SINK_ARCHIVED = "weir_sink_archived_events_total";
    /// Objects written to the archive.
    SINK_ARCHIVE_OBJECTS = "weir_sink_archive_objects_total";
    /// Bytes written to the archive.
    SINK_ARCHIVE_BYTES = "weir_sink_archive_bytes_total";
    /// Failed tries to write to the archive.
    SINK_ARCHIVE_ERRORS = "weir_sink_archive_errors_total";
    /// Small objects that the sink merged into larger ones.
    SINK_MERGED = "weir_sink_merged_objects_total";
    /// Runs of merging that ended before their time because the archive did not do as asked.
    SINK_MERGE_ERRORS = "weir_sink_merge_errors_total";
    /// Rows sealed into parts.
    SINK_SEALED = "weir_sink_sealed_rows_total";
    /// Parts that sealing wrote.
    SINK_SEAL_PARTS = "weir_sink_sealed_parts_total";
    /// Bytes of the parts that sealing wrote, rollups and heads of blocks included.
    SINK_SEAL_BYTES = "weir_sink_sealed_bytes_total";
    /// Days of devices and hours of log lines that wait to be sealed.
    SINK_SEAL_DUE = "weir_sink_seal_due_days";
    /// Failed tries to seal; rows stay hot meanwhile.
    SINK_SEAL_ERRORS = "weir_sink_seal_errors_total";
    /// Offsets committed, by `topic`.
    SINK_COMMITS = "weir_sink_commits_total";
    /// Partitions assigned to this instance.
    SINK_PARTITIONS = "weir_sink_assigned_partitions";
    /// Time from the receipt at the gateway to the store, in seconds, newest batch.
    SINK_DELAY = "weir_sink_delay_seconds";
    /// Alerts that a receiver was told, by `hook` and `state` (`firing`, `resolved`); repetitions are not counted.
    SINK_HOOK_TOLD = "weir_sink_hook_told_alerts_total";
    /// Failed tries to tell a receiver, by `hook` and `reason` (`away`, `configuration`, `refused`).
    SINK_HOOK_FAILED = "weir_sink_hook_failed_tries_total";
    /// Alerts that a receiver refused for good and that were left out, by `hook` and `state`.
    SINK_HOOK_REFUSED = "weir_sink_hook_refused_alerts_total";
    /// How long the oldest alert that a receiver was not told waits, in seconds, by `hook`; 0 if none does.
    SINK_HOOK_BEHIND = "weir_sink_hook_behind_seconds";
    /// HTTP requests answered, by `path` and `status`.
    SINK_HTTP_REQUESTS = "weir_sink_http_requests_total";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_have_a_unit() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        let units = ["_total", "_bytes", "_seconds", "_events", "_partitions", "_writes", "_days"];
        for metric in ALL {
            assert!(units.iter().any(|unit| metric.name.ends_with(unit)), "{}", metric.name);
            assert!(metric.help.len() > 10, "{}", metric.name);
        }
    }
}
