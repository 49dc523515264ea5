//! Limits: the bounds on everything that comes from outside, in one place.

/// Longest line, datagram or payload taken, in bytes; what is longer is cut and marked `partial`.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Largest HTTP body taken, in bytes, before and after decompression.
pub const HTTP_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most metrics in one reading.
pub const METRICS_MAX: usize = 512;
/// Longest name of a site, device or metric, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Most metadata entries of a device.
pub const META_ENTRIES_MAX: usize = 64;
/// Most simultaneous connections of one listening source.
pub const CONNECTIONS_MAX: usize = 1_000;
/// Most simultaneous connections of one peer address to one listening source.
pub const PEER_CONNECTIONS_MAX: usize = 250;
/// Most sockets of one UDP source.
pub const UDP_SOCKETS_MAX: usize = 64;
/// Most tokens with a role that the API knows: a request is compared with each.
pub const API_TOKENS_MAX: usize = 256;

/// Longest note of a feedback on an alert, in bytes.
pub const NOTE_BYTES_MAX: usize = 2_000;
/// Longest query in PromQL, in bytes.
pub const QUERY_BYTES_MAX: usize = 8 * 1024;
/// Most parts (operators, calls, selectors, matchers, labels, numbers, brackets) of a query in PromQL; a pattern
/// counts as eight.
pub const QUERY_NODES_MAX: usize = 250;
/// Most times at which one query is evaluated, as in Prometheus.
pub const QUERY_STEPS_MAX: i64 = 11_000;
/// Most series that one selector of a query may choose.
pub const QUERY_SERIES_MAX: usize = 5_000;
/// Most points (series times steps) of all selectors of a query together.
pub const QUERY_POINTS_MAX: u64 = 2_000_000;
/// Most values looked at for one query: one that is in many windows counts for each, and so does each number that an
/// operator, a function or an aggregation makes.
pub const QUERY_SAMPLES_MAX: u64 = 50_000_000;
