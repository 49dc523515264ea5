//! The central sink: Kafka to read-optimized time series and a Parquet archive.
//!
//! The modules are the stages, in the order in which a record passes them; only `pipeline` knows
//! several of them.

pub mod api;
pub mod consume;
pub mod live;
pub mod store;
pub mod web;
