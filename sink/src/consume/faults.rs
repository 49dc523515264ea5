//! Faults: what librdkafka tells of its connections, in words that say what to do.
//!
//! In: its error callbacks and its log. Out: a part of the shared status, and log lines.
//! Promises: a refused password is not hidden by "no broker answers", which follows from it.

use std::collections::BTreeMap;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::status::{Part, Status};

/// Tells the status what an error of the connection means.
pub(super) fn tell(status: &Status, part: Part, error: &KafkaError, reason: &str) {
    let Some(code) = error.rdkafka_error_code() else {
        tracing::warn!(%error, reason, "Kafka client");
        return;
    };
    // What follows are times and counts, which would make the same problem a new one each time.
    let reason = reason.split(" (after ").next().unwrap_or(reason);
    let message = match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            format!("Kafka refuses the user or the password, check `[kafka.sasl]`: {reason}")
        }
        RDKafkaErrorCode::SSL => {
            format!("TLS to Kafka fails, check `[kafka.tls]`: {reason}")
        }
        RDKafkaErrorCode::AllBrokersDown
        | RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::Resolve => {
            // The first word on it is enough, and a more telling one stays.
            let known = status.problems();
            let mut known = known.iter().filter(|problem| problem.part == part);
            if known.any(|problem| problem.message.contains("check `[kafka")) {
                return;
            }
            format!("no broker answers, check `[kafka] brokers` and the network: {reason}")
        }
        RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
            format!("a topic is missing, run `weir-sink migrate -c FILE`: {reason}")
        }
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            format!("the Kafka user may not read topics, grant it READ on them (ACL): {reason}")
        }
        RDKafkaErrorCode::GroupAuthorizationFailed => format!(
            "the Kafka user may not use the consumer group, grant it READ on the group (ACL): {reason}"
        ),
        RDKafkaErrorCode::ClusterAuthorizationFailed => {
            format!("the Kafka user may not do this, give it the rights (ACL): {reason}")
        }
        _ => {
            tracing::warn!(%code, reason, "Kafka client");
            return;
        }
    };
    status.problem(part, message);
}

/// Whether a right is missing.
pub(super) fn is_denied(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed};
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| matches!(code, GroupAuthorizationFailed | TopicAuthorizationFailed))
}

/// How much librdkafka tells: all of it when `[kafka.librdkafka] debug` asks for something.
pub(super) fn log_level(connection: &BTreeMap<String, String>) -> RDKafkaLogLevel {
    if connection.contains_key("debug") { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Warning }
}

/// Passes librdkafka's own log on. Its repeated connection errors are in the status already.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, message, "librdkafka");
        }
        _ => tracing::debug!(facility, message, "librdkafka"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_not_hidden_by_what_follows_from_it() {
        let status = Status::new();
        let down = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
        tell(&status, Part::Kafka, &down, "1/1 brokers are down");
        assert!(status.problems()[0].message.contains("`[kafka] brokers`"));
        let refused = KafkaError::Global(RDKafkaErrorCode::Authentication);
        tell(&status, Part::Kafka, &refused, "invalid credentials");
        tell(&status, Part::Kafka, &down, "1/1 brokers are down");
        assert!(status.problems()[0].message.contains("`[kafka.sasl]`"));
    }
}
