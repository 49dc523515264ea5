//! The edge agent: takes syslog and sensor readings, enriches and scores them, keeps them on disk
//! until Kafka has them.
//!
//! The modules are the stages, in the order in which an event passes them; only `pipeline` knows
//! several of them.

pub mod source;
pub mod spool;
