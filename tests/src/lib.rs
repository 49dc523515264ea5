//! The harness of the integration tests (`tests/it`): real services, real programs, real browsers.
//!
//! Promises: a test gets what it needs by calling for it; whatever was started for it ends with the
//! test, or with the test process, also when that is killed; what a test waits for is polled with a
//! limit and a message that says what was seen last. The tools have to be there (`cargo dev tools`).
//!
//! Everything blocks and panics on failure with a message for the reader of the test's output. In
//! an asynchronous test, call it all the same: it needs no runtime of the caller's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]
#![allow(clippy::print_stderr, reason = "what a failed test's programs said is for its reader")]

pub mod archive;
pub mod authority;
pub mod browser;
pub mod cassandra;
pub mod consumers;
pub mod http;
pub mod kafka;
pub mod line;
pub mod mosquitto;
pub mod paths;
pub mod program;
pub mod python;
pub mod receiver;
pub mod secured;
pub mod s3;
pub mod senders;
pub mod services;
pub mod wait;
pub mod wrong_clock;

mod binary;
mod reaper;
mod runtime;

pub use archive::parquet_rows;
pub use paths::{fixtures, root};
pub use program::{Launch, Program};
pub use services::unique;
pub use wait::{free_port, wait_for, wait_until};

/// Whether the long tests are to run too (`cargo dev test --long`). A test that takes more than a
/// minute asks this and does a smaller amount of the same work otherwise.
pub fn long() -> bool {
    std::env::var_os("WEIR_TEST_LONG").is_some_and(|v| v == "1")
}

/// A temporary folder that is removed when dropped, and at the latest with the test process.
pub fn temp_dir(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(reaper::folder()).unwrap()
}
