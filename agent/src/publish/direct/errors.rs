//! What to do about each error code of Kafka.
//!
//! In: an error code, as Produce, Metadata or InitProducerId answer it. Out: its [`Class`], and words
//! for the operator. Promises: no code makes us drop a record but those that say that the record
//! itself is bad; a code that is not known is tried again, slowly. Source: Kafka's
//! `org.apache.kafka.common.protocol.Errors`.

/// What an error code asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    /// No error: Kafka has it.
    Done,
    /// Wait, and send the same again.
    Retry,
    /// Somebody else leads the partition, or will soon: ask who, and send the same again.
    Refresh,
    /// We send too much: the answer says how long to wait.
    Throttled,
    /// Something before it is missing.
    Gap,
    /// The broker no longer knows our producer id: take another one.
    Renew,
    /// A record is bad: find it, and put it aside.
    Refused,
    /// Only a person can help; everything stays in the spool.
    Kept,
    /// Not known to us: wait, and send the same again.
    Unknown,
}

impl Class {
    /// As in the metric.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Refresh => "leader",
            Self::Throttled => "throttled",
            Self::Gap => "gap",
            Self::Renew => "producer_id",
            Self::Refused => "refused",
            Self::Kept => "denied",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is over by itself soon, most of the time: a problem only when it lasts.
    pub(super) fn is_passing(self) -> bool {
        !matches!(self, Self::Kept | Self::Unknown)
    }
}

struct Code {
    number: i16,
    name: &'static str,
    class: Class,
    advice: &'static str,
}

const fn code(number: i16, name: &'static str, class: Class, advice: &'static str) -> Code {
    Code { number, name, class, advice }
}

const LEADER: &str = "the cluster chooses a leader; it goes on by itself";
const GRANT: &str = "grant WRITE and DESCRIBE on the topic to the agent's user";
const REPLICAS: &str =
    "too few brokers hold the partition now (`min.insync.replicas`); bring the missing ones back";
const RECORD: &str = "the record is put aside in `dead-letters.ndjson`";
const USER: &str = "check `kafka.sasl` and what the user may do";

/// Every code that is known here, by number.
const CODES: &[Code] = &[
    code(2, "CORRUPT_MESSAGE", Class::Refused, RECORD),
    code(
        3,
        "UNKNOWN_TOPIC_OR_PARTITION",
        Class::Refresh,
        "create the topic (`weir-sink` does so when it starts), or let brokers do so (`auto.create.topics.enable`)",
    ),
    code(5, "LEADER_NOT_AVAILABLE", Class::Refresh, LEADER),
    code(6, "NOT_LEADER_OR_FOLLOWER", Class::Refresh, LEADER),
    code(7, "REQUEST_TIMED_OUT", Class::Retry, REPLICAS),
    code(8, "BROKER_NOT_AVAILABLE", Class::Refresh, LEADER),
    code(9, "REPLICA_NOT_AVAILABLE", Class::Refresh, LEADER),
    code(
        10,
        "MESSAGE_TOO_LARGE",
        Class::Refused,
        "raise `max.message.bytes` of the topic if such records are wanted",
    ),
    code(13, "NETWORK_EXCEPTION", Class::Retry, "the broker went away in the middle"),
    code(14, "COORDINATOR_LOAD_IN_PROGRESS", Class::Retry, "the broker has just started"),
    code(15, "COORDINATOR_NOT_AVAILABLE", Class::Retry, "the broker has just started"),
    code(16, "NOT_COORDINATOR", Class::Refresh, LEADER),
    code(17, "INVALID_TOPIC_EXCEPTION", Class::Kept, "check `kafka.topic_prefix`"),
    code(18, "RECORD_LIST_TOO_LARGE", Class::Refused, "raise `segment.bytes` of the topic"),
    code(19, "NOT_ENOUGH_REPLICAS", Class::Retry, REPLICAS),
    code(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Class::Retry, REPLICAS),
    code(29, "TOPIC_AUTHORIZATION_FAILED", Class::Kept, GRANT),
    code(
        31,
        "CLUSTER_AUTHORIZATION_FAILED",
        Class::Kept,
        "grant IDEMPOTENT_WRITE to the agent's user",
    ),
    code(
        32,
        "INVALID_TIMESTAMP",
        Class::Refused,
        "check the clock of the gateway, and `message.timestamp.*` of the topic",
    ),
    code(33, "UNSUPPORTED_SASL_MECHANISM", Class::Kept, USER),
    code(34, "ILLEGAL_SASL_STATE", Class::Kept, USER),
    code(35, "UNSUPPORTED_VERSION", Class::Kept, "let the brokers be Kafka 2.8 or newer"),
    code(
        44,
        "POLICY_VIOLATION",
        Class::Kept,
        "a policy of the cluster forbids it; ask who runs it",
    ),
    code(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Class::Gap, "it is sent again from the checkpoint"),
    code(46, "DUPLICATE_SEQUENCE_NUMBER", Class::Done, ""),
    code(47, "INVALID_PRODUCER_EPOCH", Class::Renew, "another producer id is taken"),
    code(54, "SECURITY_DISABLED", Class::Kept, USER),
    code(56, "KAFKA_STORAGE_ERROR", Class::Refresh, "a disk of the broker fails; see its log"),
    code(58, "SASL_AUTHENTICATION_FAILED", Class::Kept, USER),
    code(59, "UNKNOWN_PRODUCER_ID", Class::Renew, "another producer id is taken"),
    code(72, "LISTENER_NOT_FOUND", Class::Refresh, LEADER),
    code(74, "FENCED_LEADER_EPOCH", Class::Refresh, LEADER),
    code(75, "UNKNOWN_LEADER_EPOCH", Class::Refresh, LEADER),
    code(
        76,
        "UNSUPPORTED_COMPRESSION_TYPE",
        Class::Refused,
        "let the brokers be Kafka 2.8 or newer, and `compression.type` of the topic `producer`",
    ),
    code(87, "INVALID_RECORD", Class::Refused, RECORD),
    code(89, "THROTTLING_QUOTA_EXCEEDED", Class::Throttled, "raise the quota of the agent's user"),
    code(90, "PRODUCER_FENCED", Class::Renew, "another producer id is taken"),
    code(100, "UNKNOWN_TOPIC_ID", Class::Refresh, LEADER),
];

fn known(number: i16) -> Option<&'static Code> {
    let at = CODES.binary_search_by_key(&number, |code| code.number).ok()?;
    CODES.get(at)
}

/// What to do.
pub(super) fn class(number: i16) -> Class {
    match number {
        0 => Class::Done,
        _ => known(number).map_or(Class::Unknown, |code| code.class),
    }
}

/// What happened to `what`, and what to do about it; `told` is the broker's own message.
pub(super) fn words(number: i16, what: &str, told: Option<&str>) -> String {
    let told = told.filter(|told| !told.is_empty()).map(|told| format!(" ({told})"));
    let told = told.unwrap_or_default();
    match known(number) {
        Some(code) => format!("Kafka answers {} for {what}{told}; {}", code.name, code.advice),
        None => format!(
            "Kafka answers the error {number} for {what}{told}, which this version does not know; it is tried again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_by_their_number() {
        assert!(CODES.is_sorted_by_key(|code| code.number));
        for code in CODES {
            assert_eq!(class(code.number), code.class, "{}", code.name);
            assert!(words(code.number, "it", None).contains(code.name));
        }
    }

    #[test]
    fn no_code_but_those_of_bad_records_gives_records_up() {
        for number in i16::MIN..=i16::MAX {
            let expected = matches!(number, 2 | 10 | 18 | 32 | 76 | 87);
            assert_eq!(class(number) == Class::Refused, expected, "{number}");
            assert_eq!(class(number) == Class::Done, matches!(number, 0 | 46), "{number}");
        }
    }

    #[test]
    fn an_unknown_code_is_tried_again_and_told() {
        assert_eq!(class(-1), Class::Unknown);
        assert_eq!(class(12_345), Class::Unknown);
        let told = words(12_345, "weir.logs", Some("brand new"));
        assert!(told.contains("12345") && told.contains("brand new"), "{told}");
    }

    #[test]
    fn who_lacks_a_grant_is_told_which() {
        let told = words(29, "the topic weir.logs", None);
        assert!(told.contains("weir.logs") && told.contains("WRITE"), "{told}");
    }
}
