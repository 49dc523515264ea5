//! What the topics hold, held against the numbers that the agent gives: stream and `seq`.

use std::collections::BTreeMap;

use weir_tests::cassandra::Row;
use weir_tests::kafka::Message;

/// What the sink keeps, and how many records it drops: per partition and stream it takes only numbers
/// above the highest one seen.
pub(crate) fn after_the_rule(messages: &[Message]) -> (Vec<Row>, usize) {
    let mut highest: BTreeMap<(&str, i32, String), u64> = BTreeMap::new();
    let (mut kept, mut dropped) = (Vec::new(), 0);
    for message in messages.iter().filter(|message| !message.topic.ends_with(".agents")) {
        let row = message.json().as_object().unwrap().clone();
        // Alerts carry their identity in `data`.
        let id =
            row.get("data").and_then(|data| data.as_object()).filter(|d| d.contains_key("seq"));
        let id = id.unwrap_or(&row);
        let stream = id["stream"].as_str().unwrap().to_string();
        let seq = id["seq"].as_u64().unwrap();
        let seen = highest.entry((&message.topic, message.partition, stream)).or_default();
        if seq > *seen {
            *seen = seq;
            kept.push(row.into_iter().collect());
        } else {
            dropped += 1;
        }
    }
    (kept, dropped)
}

/// Each stream is numbered from 1 on, each number once.
#[track_caller]
pub(crate) fn check_numbers(kept: &[Row]) {
    let mut streams: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for row in kept {
        let id = row.get("data").filter(|data| data.get("seq").is_some());
        let (stream, seq) = match id {
            Some(data) => (&data["stream"], &data["seq"]),
            None => (&row["stream"], &row["seq"]),
        };
        streams.entry(stream.as_str().unwrap()).or_default().push(seq.as_u64().unwrap());
    }
    for (stream, mut numbers) in streams {
        numbers.sort_unstable();
        for (expected, number) in (1..).zip(&numbers) {
            assert_eq!(*number, expected, "stream {stream} has a gap or a number twice");
        }
    }
}
