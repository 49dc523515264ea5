//! What the agent and the sink agree on. Pure data and functions: nothing in this crate does IO.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`wire`] | Kafka record batches (format v2) and the partitioner |
//! | [`detect`] | streaming anomaly detectors for readings |
//! | [`logs`] | log templates and their scores |

pub mod detect;
pub mod logs;
pub mod wire;
