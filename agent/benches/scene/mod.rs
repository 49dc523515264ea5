//! What the benches work on: real lines, a table of devices, and all stages in a row.
//!
//! Every bench takes what it needs of this, so not all of it is used in each.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each bench takes its part")]
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

pub mod devices;
pub mod lines;
pub mod stages;
