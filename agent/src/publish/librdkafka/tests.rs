#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use rdkafka::client::ClientContext;

use super::*;

#[test]
fn the_cause_is_not_hidden_by_what_follows_from_it() {
    let facts = Arc::new(Facts::default());
    let context = Context(facts.clone());
    let told = || facts.problem().unwrap_or_default();
    let down = || RdError::Global(RDKafkaErrorCode::AllBrokersDown);
    context.error(down(), "1/1 brokers are down");
    assert!(told().contains("is the broker up"), "{}", told());
    context.error(RdError::Global(RDKafkaErrorCode::Authentication), "refused");
    context.error(down(), "1/1 brokers are down");
    assert!(told().contains("check `kafka.sasl`"), "{}", told());
    facts.tell(None);
    context.error(down(), "1/1 brokers are down");
    assert!(told().contains("is the broker up"), "{}", told());
}

fn record(value: &str) -> Sending {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Sending { topic: "t".into(), ts_ms: 0, key: Bytes::new(), value }
}

#[test]
fn records_of_a_group_go_in_the_order_of_their_numbers_whatever_their_batches() {
    let mut records = [
        "{\"a\":\"\\\"seq\\\":9\",\"seq\":1}",
        "{\"seq\":4}",
        "{\"data\":{\"seq\":2}}",
        "{\"seq\":3}",
    ]
    .map(record);
    in_order(&mut records);
    let order: Vec<_> = records.iter().map(|record| seq(&record.value).unwrap()).collect();
    assert_eq!(order, [1, 2, 3, 4]);
}
