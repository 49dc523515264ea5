//! Alerts: one row from two records in any order.

use weir_models::alert::{Alert, AlertData, AlertKind, AlertState, Baseline, LastValue, Model};
use weir_models::feedback::{Feedback, Verdict};
use weir_models::ident::Stream;
use weir_models::time::{DAY_US, now_us};

use super::{EVER, NOON_US, fresh};
use crate::store::{AlertQuery, Batch, Store, TimeRange};

pub(super) async fn all(store: &dyn Store) {
    either_order_gives_one_alert(store).await;
    queries(store).await;
    the_last_word_on_an_alert_counts_in_any_order(store).await;
}

fn firing(site: &str, id: &str, fired_us: i64) -> Alert {
    let data = AlertData {
        alert_id: id.into(),
        state: AlertState::Firing,
        kind: AlertKind::Reading,
        agent: "gw-1".into(),
        stream: Stream(0xf000_0000_0000_0001),
        seq: 1,
        site: site.into(),
        device: "pump".into(),
        metric: "temp".into(),
        fired_us,
        resolved_us: None,
        score: 5.5,
        threshold: 4.,
        model: Model { name: "robust".into(), version: "1".into() },
        why: "level".into(),
        baseline: Some(Baseline { expected: 20., low: 19., high: 21. }),
        last_values: vec![LastValue { ts_us: fired_us, v: 30. }],
        message: None,
        cause_stream: Stream(3),
        cause_seq: 4,
        recent: None,
        rank: None,
    };
    Alert::new("/weir/agent/gw-1", fired_us, data)
}

fn resolved(firing: &Alert, resolved_us: i64) -> Alert {
    let mut data = firing.data.clone();
    data.state = AlertState::Resolved;
    data.resolved_us = Some(resolved_us);
    data.score = 9.25;
    data.seq += 1;
    data.last_values = Vec::new();
    Alert::new(&firing.source, resolved_us, data)
}

fn query(site: &str) -> AlertQuery {
    AlertQuery {
        site: site.into(),
        series: None,
        range: EVER,
        state: None,
        after: None,
        limit: 100,
    }
}

async fn write(store: &dyn Store, alerts: &[&Alert]) {
    let batch =
        Batch { alerts: alerts.iter().map(|&alert| alert.clone()).collect(), ..Batch::default() };
    store.write(&batch).await.unwrap();
}

async fn either_order_gives_one_alert(store: &dyn Store) {
    let orders: [&[usize]; 6] =
        [&[0, 1], &[1, 0], &[0, 0, 1, 1], &[1, 0, 0, 1], &[0, 1, 0], &[1, 1, 0, 0]];
    for order in orders {
        for together in [true, false] {
            let site = fresh("alert");
            let fired = firing(&site, "id-1", NOON_US);
            let records = [fired.clone(), resolved(&fired, NOON_US + 60)];
            let written: Vec<&Alert> = order.iter().map(|&at| &records[at]).collect();
            if together {
                write(store, &written).await;
            } else {
                for record in written {
                    write(store, &[record]).await;
                }
            }
            let mut expected = records[1].clone();
            expected.data.last_values.clone_from(&fired.data.last_values);
            let of_series =
                AlertQuery { series: Some(("pump".into(), "temp".into())), ..query(&site) };
            for query in [query(&site), of_series] {
                assert_eq!(store.alerts(&query).await.unwrap(), [expected.clone()], "{order:?}");
            }
        }
    }
    for record in [0, 1] {
        let site = fresh("alert");
        let fired = firing(&site, "id-1", NOON_US);
        let alone = [fired.clone(), resolved(&fired, NOON_US + 60)][record].clone();
        write(store, &[&alone]).await;
        assert_eq!(store.alerts(&query(&site)).await.unwrap(), [alone.clone()]);
        let records = [(Some(alone.clone()), None), (None, Some(alone))];
        let found = store.alert_records(&site, NOON_US).await.unwrap();
        assert_eq!(found, [records[record].clone()]);
        assert_eq!(store.alert_records(&site, NOON_US + 1).await.unwrap(), []);
        assert!(store.sites().await.unwrap().contains(&site));
    }
}

async fn ids(store: &dyn Store, query: AlertQuery) -> Vec<String> {
    let alerts = store.alerts(&query).await.unwrap();
    alerts.into_iter().map(|alert| alert.data.alert_id).collect()
}

async fn queries(store: &dyn Store) {
    let site = fresh("alerts");
    let places = [(-400 * DAY_US, "a"), (-DAY_US, "b"), (0, "c"), (0, "d"), (DAY_US, "e")];
    let all: Vec<Alert> = places.iter().map(|(us, id)| firing(&site, id, NOON_US + us)).collect();
    write(store, &all.iter().collect::<Vec<_>>()).await;
    write(store, &[&resolved(&all[2], NOON_US + 1), &resolved(&all[0], NOON_US)]).await;
    let mut log = firing(&site, "log", NOON_US + 2 * DAY_US);
    log.data.kind = AlertKind::Log;
    (log.data.device, log.data.metric) = ("gw".into(), String::new());
    write(store, &[&log]).await;

    assert_eq!(ids(store, query(&site)).await, ["log", "e", "d", "c", "b", "a"]);
    let limited = |limit| AlertQuery { limit, ..query(&site) };
    assert_eq!(ids(store, limited(2)).await, ["log", "e"]);
    assert_eq!(ids(store, limited(0)).await, [""; 0]);
    let after = |us: i64, id: &str| AlertQuery {
        after: Some((us, id.into())),
        range: TimeRange { to_us: us + 1, ..EVER },
        ..query(&site)
    };
    let (d, c) = (&all[3].data, &all[2].data);
    assert_eq!(ids(store, after(d.fired_us, "d")).await, ["c", "b", "a"]);
    assert_eq!(ids(store, after(c.fired_us, "c0")).await, ["c", "b", "a"]);
    let state = |state| AlertQuery { state: Some(state), ..query(&site) };
    assert_eq!(ids(store, state(AlertState::Firing)).await, ["log", "e", "d", "b"]);
    assert_eq!(ids(store, state(AlertState::Resolved)).await, ["c", "a"]);
    let series = |device: &str, metric: &str| AlertQuery {
        series: Some((device.into(), metric.into())),
        ..query(&site)
    };
    assert_eq!(ids(store, series("gw", "")).await, ["log"]);
    assert_eq!(ids(store, series("pump", "temp")).await, ["e", "d", "c", "b", "a"]);
    assert_eq!(ids(store, series("pump", "flow")).await, [""; 0]);
    for series in [None, Some(("pump".to_owned(), "temp".to_owned()))] {
        let within = AlertQuery {
            series,
            range: TimeRange { from_us: NOON_US - DAY_US, to_us: NOON_US + DAY_US },
            ..query(&site)
        };
        assert_eq!(ids(store, within).await, ["d", "c", "b"]);
    }
    assert_eq!(ids(store, query(&fresh("nowhere"))).await, [""; 0]);
}

async fn the_last_word_on_an_alert_counts_in_any_order(store: &dyn Store) {
    let said = |site: &str, verdict, note: &str, given_us| Feedback {
        alert_id: "id-1".into(),
        site: site.into(),
        device: "pump".into(),
        metric: "temp".into(),
        fired_us: NOON_US,
        verdict,
        note: Some(note.into()),
        by: None,
        given_us,
    };
    let orders: [&[usize]; 5] = [&[0, 1, 2, 3], &[3, 2, 1, 0], &[2, 0, 3, 1, 2], &[3], &[2, 3, 2]];
    for order in orders {
        for together in [true, false] {
            let site = fresh("feedback");
            write(store, &[&firing(&site, "id-1", NOON_US), &firing(&site, "id-2", NOON_US)]).await;
            let words = [
                said(&site, Verdict::True, "first", NOON_US + 1),
                said(&site, Verdict::False, "changed", NOON_US + 2),
                // Of one moment: any of them, and always the same.
                said(&site, Verdict::Expected, "a", NOON_US + 3),
                said(&site, Verdict::Expected, "b", NOON_US + 3),
            ];
            let written: Vec<Feedback> = order.iter().map(|&at| words[at].clone()).collect();
            let size = if together { written.len() } else { 1 };
            for feedback in written.chunks(size) {
                let feedback = feedback.to_vec();
                store.write(&Batch { feedback, ..Batch::default() }).await.unwrap();
            }
            let held = store.feedback(&site, EVER).await.unwrap();
            assert_eq!(held.into_iter().collect::<Vec<_>>(), [("id-1".into(), words[3].clone())]);
            let only = |from_us, to_us| TimeRange { from_us, to_us };
            let later = store.feedback(&site, only(NOON_US + 1, i64::MAX)).await.unwrap();
            let earlier = store.feedback(&site, only(0, NOON_US)).await.unwrap();
            assert!(later.is_empty() && earlier.is_empty());
            let exact = store.feedback(&site, only(NOON_US, NOON_US + 1)).await.unwrap();
            assert_eq!(exact.len(), 1);
            let alerts = |us| [(us, "id-1".into()), (us, "id-2".into()), (us + 1, "id-1".into())];
            let on = store.feedback_on(&site, &alerts(NOON_US)).await.unwrap();
            assert_eq!(on, exact);
            assert!(store.feedback_on(&site, &alerts(NOON_US + 1)).await.unwrap().is_empty());
            assert!(store.feedback_on(&site, &[]).await.unwrap().is_empty());
        }
    }
    // What was said comes again, as after a restart, also in one batch twice, and from a clock that is ahead.
    let site = fresh("feedback");
    write(store, &[&firing(&site, "id-1", NOON_US)]).await;
    let ahead = said(&site, Verdict::True, "ahead", now_us() + 100 * DAY_US);
    let feedback = vec![ahead.clone(), ahead];
    store.write(&Batch { feedback, ..Batch::default() }).await.unwrap();
    let honest = said(&site, Verdict::False, "honest", now_us() + 60_000_000);
    store.write(&Batch { feedback: vec![honest.clone()], ..Batch::default() }).await.unwrap();
    let held = store.feedback(&site, EVER).await.unwrap();
    assert_eq!(held["id-1"], honest);
    assert!(store.feedback(&fresh("nowhere"), EVER).await.unwrap().is_empty());
}
