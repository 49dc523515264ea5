//! The central sink: Kafka to read-optimized time series and a Parquet archive.
//!
//! The modules are the stages, in the order in which a record passes them; only `pipeline` knows
//! several of them, `service` puts everything together, and `program` does it as configured.

pub mod consume;
pub mod decode;
pub mod store;
pub mod archive;
pub mod commit;

pub mod access;
pub mod api;
mod registry;
pub mod live;
pub mod web;

pub mod pipeline;
pub mod hooks;
mod backoff;
mod explain;
pub mod fault;
pub mod front;
pub mod health;
pub mod sealer;
pub mod service;
pub mod silence;
pub mod status;
pub mod survey;
mod tls;

pub mod train;
pub mod prove;

pub mod config;
pub mod program;
pub mod cli;
