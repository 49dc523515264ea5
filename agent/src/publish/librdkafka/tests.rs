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
