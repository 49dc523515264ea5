//! All integration tests in one binary: they share one Kafka and one Cassandra, and link once.
//! The table of contents:

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

/// The harness itself: every service, tool and program it hands out does real work.
mod harness;

/// The whole line on real services: fixtures in, everything out once; kills and outages.
mod line;
/// Days that are over are sealed; answers do not depend on it.
mod sealing;
/// Hours of log lines that are over are sealed; what is found does not depend on it.
mod log_blocks;
/// The agent killed again and again, with Kafka coming and going.
mod kills;
/// Two sinks killed at named points and at random.
mod faults;
/// A partition that goes and comes back.
mod rebalance;
/// Three nodes of each service, of which some fail.
mod clusters;
/// A clock that is wrong at first.
mod clock;
/// Three brokers, of which some are killed, frozen and stopped.
mod cluster;
/// Stream and `seq` of what the topics hold.
mod numbers;
/// Both transports keep one contract.
mod transport;
/// Both stores keep one contract; the CQL of the documents runs.
mod store;
/// Senders that nobody here wrote: logger, rsyslog, syslog-ng, mosquitto.
mod senders;
/// What does not fit is told as lost, and who is too much is held back: UDP, and limits of peers.
mod udp;
/// RELP and TLS: sources that lose nothing, or say nothing in the clear.
mod secure_sources;
/// A running agent takes over a changed configuration.
mod reload;
/// Our own client of Kafka with TLS and each way to say who we are.
mod direct_secure;
/// Tokens of the API, and devices: who may change what, and where it arrives.
mod registry;
/// Devices from somebody else's table and topic.
mod inventory;
/// The whole line with TLS, users and permissions on both sides; what is wrong there is said.
mod secured;
/// What is wrong is said, with what to do.
mod errors;
/// Tables of readings scored by command.
mod score;
/// Central models: trained, published, taken back.
mod models;
/// What people say of alerts, and what becomes of it.
mod feedback;
/// Archive, dead letters, audit, replay by command.
mod prove;
/// The archive in a bucket: one contract with the folder; refusals, kills, merges.
mod bucket;
/// Commands that look at a configuration or a running agent: `test`, `tap`, `top`.
mod hands;
/// How log lines are grouped.
mod templates;
/// Who reads alerts: the consumers of the documents.
mod alerts;
/// Who is told of alerts: Alertmanagers and webhooks that fail, hang, are away; the sink killed.
mod hooks;
/// An agent that is gone is told, and that it is back.
mod silence;
/// What is in `deploy/`: schemas, configurations, the line of Compose.
mod deploy;
/// Alert rules and configuration of Prometheus, read by its own tool.
mod prometheus;
/// The API against its own description, by schemathesis.
mod api;
/// The configurations in the documents are taken by the programs.
mod docs;
/// The commands in the documents are taken, requests are answered.
mod commands;
/// The all-in-one: demo and small site.
mod site;
/// Grafana's calls of the Prometheus API.
mod grafana;
/// The page in a real browser.
mod page;
/// Its views of gateways, losses, archive and counted lines.
mod views;
