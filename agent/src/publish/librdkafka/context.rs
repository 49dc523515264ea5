//! What librdkafka tells by its callbacks: errors of the connection, and its log.
//!
//! In: callbacks on librdkafka's threads. Out: the one problem to show, in words that say what to do. It
//! tells of a wrong password, an untrusted certificate or an unreachable broker nowhere else.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};

/// What the callbacks of librdkafka told last. It tells of a wrong password, an untrusted certificate
/// or an unreachable broker nowhere else.
#[derive(Debug, Default)]
pub(super) struct Facts {
    problem: Mutex<Option<String>>,
}

impl Facts {
    pub(super) fn tell(&self, problem: Option<String>) {
        let mut now = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != problem {
            match &problem {
                Some(problem) => tracing::error!(problem, "Kafka does not take our records"),
                None => tracing::info!("Kafka takes our records again"),
            }
            *now = problem;
        }
    }

    /// The problem now, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is known what to change; that brokers are down then only follows from it.
    fn knows_cause(&self) -> bool {
        let now = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        now.as_ref().is_some_and(|problem| problem.contains("check `kafka."))
    }
}

#[derive(Clone)]
pub(super) struct Context(pub(super) Arc<Facts>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: RdError, reason: &str) {
        let advice = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                "check `kafka.sasl`: user, password, mechanism"
            }
            Some(RDKafkaErrorCode::SSL) => {
                "check `kafka.tls`: the authority in `ca_file`, the names in the broker's certificate"
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ) => "the user may not write here: grant it, see docs/agent.md",
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure)
                if self.0.knows_cause() =>
            {
                return;
            }
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve,
            ) => "is the broker up, and are `kafka.brokers` and the network right?",
            // The follower's sign that it is in step.
            Some(RDKafkaErrorCode::PartitionEOF) => return,
            // Passing noise of a healthy client.
            _ => return tracing::warn!(%error, reason, "librdkafka"),
        };
        self.0.tell(Some(format!("{reason}; {advice}")));
    }
}

impl ConsumerContext for Context {}
