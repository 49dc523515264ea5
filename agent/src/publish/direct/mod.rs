//! The direct publisher: our own small client for Kafka.

mod connection;
mod frame;
mod opening;
mod sasl;
mod settings;
mod stream;
mod tls;
mod versions;
