//! The direct publisher: our own small client for Kafka.

mod connection;
mod frame;
mod opening;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod peer;
mod sasl;
mod settings;
mod stream;
mod tls;
mod versions;
