#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use weir_models::topic::Topic;

use super::*;

fn partition(topic: Topic, number: i32) -> Partition {
    Partition { topic, number }
}

const DATA: Topic = Topic::Logs;

fn ledger(topic: Topic) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.assign(partition(topic, 0), 0);
    ledger
}

#[track_caller]
fn check(ledger: &Ledger, expected: &[(i64, &str)]) {
    let ready = ledger.ready();
    let ready: Vec<_> =
        ready.iter().map(|(_, committed)| (committed.offset, &*committed.note)).collect();
    assert_eq!(ready, expected);
}

#[test]
fn an_offset_needs_both_store_and_archive() {
    let p = partition(DATA, 0);
    let mut ledger = ledger(DATA);
    ledger.took(1, p, 0, 10);
    ledger.took(2, p, 10, 20);
    ledger.closed(p, 15, "a".into(), false);
    ledger.archived(p, 15);
    check(&ledger, &[]);
    ledger.stored(2);
    check(&ledger, &[]);
    ledger.stored(1);
    check(&ledger, &[(15, "a")]);
    assert!(!ledger.is_done());
}

#[test]
fn the_next_object_waits_for_the_commit_of_this_one() {
    let p = partition(DATA, 0);
    let mut ledger = ledger(DATA);
    ledger.took(1, p, 0, 20);
    ledger.closed(p, 10, "a".into(), false);
    ledger.closed(p, 20, "b".into(), false);
    assert_eq!(ledger.turn(p), Some(10));
    ledger.archived(p, 10);
    assert_eq!(ledger.turn(p), None);
    ledger.stored(1);
    let ready = ledger.ready();
    ledger.committed(&ready);
    assert_eq!(ledger.turn(p), Some(20));
}

#[test]
fn a_topic_that_is_not_archived_follows_the_store() {
    let p = partition(Topic::Agents, 0);
    let mut ledger = ledger(Topic::Agents);
    ledger.took(1, p, 0, 7);
    check(&ledger, &[]);
    ledger.stored(1);
    check(&ledger, &[(7, "")]);
    let ready = ledger.ready();
    ledger.committed(&ready);
    check(&ledger, &[]);
    assert!(ledger.is_done());
}

#[test]
fn what_was_confirmed_for_an_earlier_owner_does_not_count() {
    let p = partition(DATA, 0);
    let mut ledger = ledger(DATA);
    ledger.took(1, p, 0, 10);
    ledger.revoke(p);
    ledger.assign(p, 0);
    ledger.took(2, p, 0, 5);
    ledger.closed(p, 5, "a".into(), false);
    ledger.archived(p, 5);
    ledger.stored(1);
    check(&ledger, &[]);
    ledger.stored(2);
    check(&ledger, &[(5, "a")]);
}

/// One thing that happens; the numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Act {
    Take(usize, i64),
    Close(usize, bool),
    Stored(usize),
    Archived(usize),
    Commit,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0usize..3, 1i64..5).prop_map(|(p, n)| Act::Take(p, n)),
        2 => (0usize..3, any::<bool>()).prop_map(|(p, empty)| Act::Close(p, empty)),
        3 => any::<usize>().prop_map(Act::Stored),
        3 => (0usize..3).prop_map(Act::Archived),
        1 => Just(Act::Commit),
    ]
}

/// What is known of one partition, offset by offset.
#[derive(Default)]
struct Model {
    taken: i64,
    closed: i64,
    unstored: Vec<(Ticket, i64)>,
    unarchived: Vec<(i64, i64)>,
    ends: Vec<i64>,
}

impl Model {
    fn lowest_unconfirmed(&self) -> i64 {
        let stored = self.unstored.iter().map(|&(_, offset)| offset).min();
        let archived = self.unarchived.iter().map(|&(first, _)| first).min();
        let open = if self.closed < self.taken { self.closed } else { self.taken };
        stored.unwrap_or(self.taken).min(archived.unwrap_or(open)).min(open)
    }
}

proptest! {
    #[test]
    fn never_beyond_the_lowest_unconfirmed(acts in proptest::collection::vec(act(), 0..120)) {
        let all = [0, 1, 2].map(|number| partition(DATA, number));
        let mut ledger = Ledger::default();
        let mut models: [Model; 3] = Default::default();
        for p in all {
            ledger.assign(p, 0);
        }
        let mut tickets: Vec<Ticket> = Vec::new();
        let mut committed = [0i64; 3];
        let mut last_ticket = 0;
        for act in acts {
            match act {
                Act::Take(p, count) => {
                    last_ticket += 1;
                    let model = &mut models[p];
                    let first = model.taken;
                    ledger.took(last_ticket, all[p], first, first + count);
                    model.unstored.extend((first..first + count).map(|o| (last_ticket, o)));
                    model.taken += count;
                    tickets.push(last_ticket);
                }
                Act::Close(p, empty) => {
                    let model = &mut models[p];
                    if model.taken > model.closed {
                        ledger.closed(all[p], model.taken, model.taken.to_string(), empty);
                        if !empty {
                            model.unarchived.push((model.closed, model.taken));
                        }
                        model.closed = model.taken;
                        model.ends.push(model.taken);
                    }
                }
                Act::Stored(pick) if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(pick % tickets.len());
                    ledger.stored(ticket);
                    for model in &mut models {
                        model.unstored.retain(|&(of, _)| of != ticket);
                    }
                }
                Act::Stored(_) => {}
                Act::Archived(p) => {
                    if let Some(next) = ledger.turn(all[p]) {
                        let model = &mut models[p];
                        prop_assert_eq!(model.unarchived.first().map(|&(_, end)| end), Some(next));
                        // Nothing else of the partition was written and not committed.
                        prop_assert!(model.ends.iter().all(|&end| end >= next || end <= committed[p]));
                        ledger.archived(all[p], next);
                        model.unarchived.remove(0);
                    }
                }
                Act::Commit => {
                    let ready = ledger.ready();
                    ledger.committed(&ready);
                    for (p, at) in ready {
                        let number = usize::try_from(p.number).unwrap();
                        prop_assert!(at.offset > committed[number]);
                        committed[number] = at.offset;
                    }
                }
            }
            for (p, at) in ledger.ready() {
                let model = &models[usize::try_from(p.number).unwrap()];
                prop_assert!(at.offset <= model.lowest_unconfirmed());
                prop_assert!(model.ends.contains(&at.offset));
                prop_assert_eq!(at.note, at.offset.to_string());
            }
        }
        // And once all is confirmed, all can be committed.
        for ticket in tickets {
            ledger.stored(ticket);
        }
        for (p, model) in all.into_iter().zip(&models) {
            if model.taken > model.closed {
                ledger.closed(p, model.taken, model.taken.to_string(), true);
            }
            loop {
                let ready = ledger.ready();
                ledger.committed(&ready);
                let Some(next) = ledger.turn(p) else { break };
                ledger.archived(p, next);
            }
        }
        prop_assert!(ledger.is_done());
    }
}
