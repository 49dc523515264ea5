//! What the agent and the sink agree on. Pure data and functions: nothing in this crate does IO.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`ident`] | streams, event ids, series keys |
//! | [`time`] | microseconds and RFC 3339 |
//! | [`event`] | the event and its JSON |
//! | [`alert`] | alerts as CloudEvents |
//! | [`feedback`] | what people say of alerts |
//! | [`device`] | records of the compacted topics: devices, heartbeats |
//! | [`topic`] | topic names and settings |
//! | [`kafka`] | how to reach Kafka |
//! | [`config`] | reading TOML with errors that help; secrets |
//! | [`limit`] | bounds on what comes from outside |
//! | [`pattern`] | names with `*` |
//! | [`metric`] | the names of all metrics |
//! | [`wire`] | Kafka record batches (format v2) and the partitioner |
//! | [`detect`] | streaming anomaly detectors for readings |
//! | [`logs`] | log templates and their scores |
//! | [`central`] | models that the centre trains: flat format, evaluators, signed envelope |

pub mod ident;
pub mod time;

pub mod alert;
pub mod device;
pub mod event;
pub mod feedback;

pub mod config;
pub mod kafka;
pub mod limit;
pub mod metric;
pub mod pattern;
pub mod topic;
pub mod wire;

pub mod central;
pub mod detect;
pub mod logs;
