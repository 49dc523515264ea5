//! What comes now and a backlog, on their way to brokers that take their time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use weir_models::ident::Stream;
use weir_models::time::now_us;

use super::broker::Brokers;
use super::{Agent, LANE, SOON, TOPIC};
use crate::publish::Transport as _;
use crate::publish::order::seq;

const OUTAGE_MS: i64 = 60_000;
const BACKLOG_GROUPS: u64 = 300;
const GROUP: usize = 20;

/// An agent that has spooled for a minute, and begins to publish; the newest strand is behind.
async fn after_an_outage() -> (Brokers, Agent) {
    let brokers = Brokers::start(1, TOPIC, 4).await;
    brokers.world().pace = Duration::from_millis(5);
    let mut agent = Agent::new(&brokers, 4);
    for _ in 0..BACKLOG_GROUPS {
        agent.spool_at(now_us() / 1_000 - OUTAGE_MS, GROUP, "");
    }
    agent.start();
    until("the first acknowledgement", || agent.waiting() < BACKLOG_GROUPS * GROUP as u64).await;
    (brokers, agent)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, so).await.unwrap_or_else(|_| panic!("{what} did not come"));
}

fn stream_of(value: &str) -> Stream {
    let json: serde_json::Value = serde_json::from_str(value).unwrap();
    serde_json::from_value(json["stream"].clone()).unwrap()
}

/// By stream, what the sink takes of all partitions: a number that does not rise is dropped.
fn taken(brokers: &Brokers) -> BTreeMap<Stream, Vec<u64>> {
    let mut taken: BTreeMap<Stream, Vec<u64>> = BTreeMap::new();
    for log in brokers.logs(TOPIC) {
        let mut highest: BTreeMap<Stream, u64> = BTreeMap::new();
        for value in log {
            let (stream, number) = (stream_of(&value), seq(value.as_bytes()).unwrap());
            let highest = highest.entry(stream).or_default();
            if number > *highest {
                *highest = number;
                taken.entry(stream).or_default().push(number);
            }
        }
    }
    taken.values_mut().for_each(|numbers| numbers.sort_unstable());
    taken
}

/// All events of all streams came, none twice after the sink's rule, and nothing is left.
#[track_caller]
fn check(agent: &Agent, brokers: &Brokers, events: u64, streams: usize) {
    let taken = taken(brokers);
    assert_eq!(taken.len(), streams);
    for (stream, numbers) in &taken {
        let expected = (1..=numbers.len() as u64).collect::<Vec<_>>();
        assert_eq!(*numbers, expected, "stream {stream} has a gap");
    }
    assert_eq!(taken.values().map(Vec::len).sum::<usize>() as u64, events);
    assert_eq!(agent.direct.status().problem, None);
}

#[tokio::test]
async fn live_data_passes_a_backlog_that_goes_on() {
    let (brokers, mut agent) = after_an_outage().await;
    let backlog = agent.spool.as_ref().unwrap().stream(LANE);
    let mut live = 0;
    let backlog_waits = |agent: &Agent| {
        let mut streams = agent.spool.as_ref().unwrap().streams(LANE);
        streams.any(|stream| stream.stream == backlog && stream.waiting > 0)
    };
    // One group of live data for some twenty that the line takes.
    while backlog_waits(&agent) {
        let requests = brokers.world().requests;
        agent.spool_with(GROUP, "live");
        live += 1;
        let stream = agent.spool.as_ref().unwrap().stream(LANE);
        assert_ne!(stream, backlog);
        until("the live group", || {
            taken(&brokers).get(&stream).is_some_and(|numbers| numbers.len() == live * GROUP)
        })
        .await;
        let behind = brokers.world().requests - requests;
        assert!(behind <= 12, "{behind} requests were in front of it");
        until("some backlog", || {
            brokers.world().requests >= requests + 20 || !backlog_waits(&agent)
        })
        .await;
    }
    assert!(live > 5, "the backlog was gone before live data came");
    assert!(live as u64 <= BACKLOG_GROUPS / 5, "{live} live groups were faster than the backlog");
    agent.drained().await;
    check(&agent, &brokers, (BACKLOG_GROUPS as usize * GROUP + live * GROUP) as u64, 2);
    // The strand is forgotten everywhere, and the next group still goes.
    agent.spool(1);
    agent.drained().await;
    until("an end of the backlog", || agent.direct.senders().len() == 1).await;
    assert_eq!(brokers.world().ids, 2, "a producer id for each strand");
}

#[tokio::test]
async fn two_strands_go_on_after_a_kill() {
    let (brokers, mut agent) = after_an_outage().await;
    let mut events = BACKLOG_GROUPS as usize * GROUP;
    for _ in 0..4 {
        for _ in 0..3 {
            agent.spool(GROUP);
            events += GROUP;
        }
        let before = agent.waiting();
        until("some progress", || agent.waiting() + 200 < before).await;
        agent.killed(&brokers).await;
        agent.start();
    }
    brokers.world().pace = Duration::ZERO;
    agent.drained().await;
    check(&agent, &brokers, events as u64, 2);
    let sent = brokers.logs(TOPIC).iter().map(Vec::len).sum::<usize>();
    assert_eq!(sent, events, "what was sent again was recognised");
    assert_eq!(brokers.world().ids, 2, "each goes on with its producer id");
}

/// A second outage while the first backlog is on its way.
#[tokio::test]
async fn three_strands_are_published_oldest_and_newest_first() {
    let (brokers, mut agent) = after_an_outage().await;
    let later_ms = |minutes: i64| now_us() / 1_000 + minutes * 60_000;
    agent.spool_at(later_ms(1), GROUP, "");
    let second = agent.spool.as_ref().unwrap().stream(LANE);
    for _ in 0..60 {
        agent.spool_at(later_ms(1), GROUP, "");
    }
    let newest = |agent: &Agent| agent.spool.as_ref().unwrap().streams(LANE).next().unwrap();
    until("the second strand's first", || newest(&agent).waiting <= 60 * GROUP as u64).await;
    agent.spool_at(later_ms(10), GROUP, "live");
    let third = agent.spool.as_ref().unwrap().stream(LANE);
    assert_ne!(third, second);
    until("the live group", || taken(&brokers).contains_key(&third)).await;
    agent.drained().await;
    check(&agent, &brokers, (BACKLOG_GROUPS + 60 + 2) * GROUP as u64, 3);
}
