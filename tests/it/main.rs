//! All integration tests in one binary: they share one Kafka and one Cassandra, and link once.
//! The table of contents:

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

/// The harness itself: every service, tool and program it hands out does real work.
mod harness;
