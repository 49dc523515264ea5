//! The edge agent: takes syslog and sensor readings, enriches and scores them, keeps them on disk
//! until Kafka has them.
//!
//! The modules are the stages, in the order in which an event passes them; only `pipeline` knows
//! several of them.

pub mod source;
pub mod parse;

mod recent;
pub mod enrich;
pub mod filter;
pub mod score;
pub mod central;
pub mod spool;
pub mod publish;

#[cfg(feature = "workstation")]
pub mod cases;
pub mod clock;
pub mod config;
pub mod memory;
pub mod notify;
pub mod explain;
pub mod pipeline;
pub mod plan;
pub mod status;
mod tap;
mod top;
pub mod templates;

pub mod cli;
mod run;
