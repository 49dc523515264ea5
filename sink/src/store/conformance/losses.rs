//! Losses and results of audits.

use weir_models::event::Loss;
use weir_models::ident::Stream;
use weir_models::time::DAY_US;

use super::{EVER, NOON_US, fresh};
use crate::store::{Audit, Batch, LossQuery, LossRow, Store, TimeRange};

pub(super) async fn all(store: &dyn Store) {
    losses_come_newest_first(store).await;
    audits_come_newest_first(store).await;
}

fn loss(site: &str, agent: &str, ts_us: i64, stream: u64, seq: u64) -> LossRow {
    let range = seq.is_multiple_of(2).then_some((Stream(u64::MAX - stream), seq, u64::MAX >> 1));
    let lane = range.map(|_| "urgent".to_owned());
    let loss = Loss { count: u64::MAX >> 2, range, reason: "spool_full \u{fc}".into(), lane };
    LossRow {
        site: site.into(),
        agent: agent.into(),
        ts_us,
        stream: Stream(stream),
        seq,
        source: "syslog".into(),
        loss,
    }
}

fn query(site: &str) -> LossQuery {
    LossQuery { site: site.into(), agent: None, range: EVER, before: None, limit: 100 }
}

async fn losses_come_newest_first(store: &dyn Store) {
    let site = fresh("losses");
    // Newest first. Two of one stamp: a stream with its highest bit set is a negative number.
    let rows = [
        loss(&site, "gw-1", NOON_US + 40 * DAY_US, 7, 4),
        loss(&site, "gw-2", NOON_US + DAY_US, 7, 3),
        loss(&site, "gw-1", NOON_US, 7, 2),
        loss(&site, "gw-1", NOON_US, 7, 1),
        loss(&site, "gw-2", NOON_US, u64::MAX, 9),
        loss(&site, "gw-1", -1, 7, 5),
    ];
    let other = loss(&fresh("losses"), "gw-1", NOON_US, 7, 2);
    let mut losses = rows.to_vec();
    losses.reverse();
    losses.push(other.clone());
    // The same twice is the same once.
    for _ in 0..2 {
        let batch = Batch { losses: losses.clone(), ..Batch::default() };
        store.write(&batch).await.unwrap();
    }
    let read = async |query: LossQuery| store.losses(&query).await.unwrap();
    assert_eq!(read(query(&site)).await, rows);
    assert_eq!(read(query(&other.site)).await, [other]);
    assert_eq!(read(LossQuery { limit: 2, ..query(&site) }).await, rows[..2]);
    assert_eq!(read(LossQuery { limit: 0, ..query(&site) }).await, []);
    for at in 0..rows.len() {
        let behind = LossQuery { before: Some(rows[at].place()), ..query(&site) };
        assert_eq!(read(behind).await, rows[at + 1..], "behind {at}");
    }
    let of = |agent: &str| LossQuery { agent: Some(agent.into()), ..query(&site) };
    assert_eq!(read(of("gw-2")).await, [rows[1].clone(), rows[4].clone()]);
    assert_eq!(read(LossQuery { limit: 1, ..of("gw-2") }).await, rows[1..2]);
    let range = TimeRange { from_us: NOON_US, to_us: NOON_US + DAY_US };
    assert_eq!(read(LossQuery { range, ..query(&site) }).await, rows[2..5]);
    assert!(store.sites().await.unwrap().contains(&site));
}

async fn audits_come_newest_first(store: &dyn Store) {
    // Others may audit the same store meanwhile; nobody else does so in a far future, and no run ends at a moment of another.
    let ended_us = 4_000_000_000_000_000 + i64::from(getrandom::u32().unwrap());
    let audit =
        |n: i64| Audit { ended_us: ended_us + n, faults: n.unsigned_abs(), ..Audit::default() };
    for audits in [vec![audit(2)], vec![audit(1), audit(3)], vec![audit(2)]] {
        let batch = Batch { audits, ..Batch::default() };
        store.write(&batch).await.unwrap();
    }
    let mut found = store.audits(1_000_000).await.unwrap();
    assert!(found.is_sorted_by_key(|audit| std::cmp::Reverse(audit.ended_us)));
    found.retain(|found| (1..=3).contains(&(found.ended_us - ended_us)));
    assert_eq!(found, [audit(3), audit(2), audit(1)]);
    assert_eq!(store.audits(1).await.unwrap().len(), 1);
    assert_eq!(store.audits(0).await.unwrap(), []);
}
