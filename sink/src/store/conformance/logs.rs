//! Log lines: filters, order, hosts and ranges.

use std::sync::Arc;

use weir_models::ident::Stream;
use weir_models::time::{DAY_US, HOUR_US};

use super::log_blocks::{drop_sealed_lines, seal_lines};
use super::{EVER, NOON_US, fresh};
use crate::store::{Batch, LogQuery, LogRow, Store, TimeRange};

pub(super) async fn all(store: &dyn Store) {
    a_line_comes_back_whole(store).await;
    newest_first_over_buckets_and_hosts(store).await;
    filters(store).await;
    many_lines_of_many_hosts(store).await;
}

pub(super) fn line(site: &str, host: &str, ts_us: i64, seq: u64, message: &str) -> LogRow {
    LogRow {
        site: site.into(),
        host: host.into(),
        ts_us,
        stream: Stream(0x8000_0000_0000_0001),
        seq,
        device: host.into(),
        facility: None,
        severity: None,
        app: None,
        procid: None,
        msgid: None,
        message: message.into(),
        template: None,
        score: None,
    }
}

pub(super) fn query(site: &str, limit: usize) -> LogQuery {
    LogQuery::of_site(site, EVER, limit)
}

pub(super) async fn write(store: &dyn Store, logs: Vec<LogRow>) {
    let logs = logs.into_iter().map(|row| Arc::new(row.into()));
    let batch = Batch { logs: logs.collect(), ..Batch::default() };
    store.write(&batch).await.unwrap();
}

async fn seqs(store: &dyn Store, query: LogQuery) -> Vec<u64> {
    let rows = store.logs(&query).await.unwrap();
    rows.into_iter().map(|row| row.seq).collect()
}

async fn a_line_comes_back_whole(store: &dyn Store) {
    let site = fresh("line");
    let full = LogRow {
        facility: Some(23),
        severity: Some(0),
        app: Some("sshd".into()),
        procid: Some("-1".into()),
        msgid: Some("ID47".into()),
        template: Some("00000000000000ff".into()),
        score: Some(7.25),
        ..line(&site, "gw", NOON_US, u64::MAX, "naïve\n\"text\" 📈 \u{0}")
    };
    let bare = line(&site, "", NOON_US, 1, "");
    let ids = [(full.stream, full.seq), (bare.stream, bare.seq)];
    for _ in 0..2 {
        write(store, vec![full.clone(), bare.clone()]).await;
        for expected in [&full, &bare] {
            let mut of_host = query(&site, 9);
            of_host.host = Some(expected.host.clone());
            assert_eq!(store.logs(&of_host).await.unwrap(), [expected.clone()]);
        }
        assert_eq!(store.logs(&query(&site, 9)).await.unwrap().len(), 2);
    }
    let found = store.event_ids().await.unwrap();
    for (stream, seq) in ids {
        assert!(found.iter().any(|id| (id.stream, id.seq) == (stream, seq)));
    }
    assert!(store.sites().await.unwrap().contains(&site));
}

async fn newest_first_over_buckets_and_hosts(store: &dyn Store) {
    let site = fresh("order");
    // Of one stamp the larger number is the newer one.
    let places = [
        ("a", -2 * DAY_US),
        ("b", -HOUR_US),
        ("a", -1),
        ("a", 0),
        ("b", 0),
        ("b", HOUR_US - 1),
        ("a", HOUR_US),
        ("c", 5 * HOUR_US),
    ];
    let rows = places.iter().zip(1u64..);
    let rows = rows.map(|(&(host, us), seq)| line(&site, host, NOON_US + us, seq, "x"));
    write(store, rows.collect()).await;
    assert_eq!(seqs(store, query(&site, 100)).await, [8, 7, 6, 5, 4, 3, 2, 1]);
    for limit in 0..9 {
        let expected: Vec<u64> = (0..limit as u64).map(|n| 8 - n).collect();
        assert_eq!(seqs(store, query(&site, limit)).await, expected);
    }
    let within = |from_us: i64, to_us: i64| LogQuery {
        range: TimeRange { from_us: NOON_US + from_us, to_us: NOON_US + to_us },
        ..query(&site, 100)
    };
    assert_eq!(seqs(store, within(-1, HOUR_US)).await, [6, 5, 4, 3]);
    assert_eq!(seqs(store, within(0, HOUR_US + 1)).await, [7, 6, 5, 4]);
    assert_eq!(seqs(store, within(1, HOUR_US - 1)).await, [0; 0]);
    assert_eq!(seqs(store, within(7, 3)).await, [0; 0]);
    let of_a = LogQuery { host: Some("a".into()), ..query(&site, 3) };
    assert_eq!(seqs(store, of_a).await, [7, 4, 3]);
    let of_nobody = LogQuery { host: Some("nobody".into()), ..query(&site, 3) };
    assert_eq!(seqs(store, of_nobody).await, [0; 0]);
    write(
        store,
        vec![line(&site, "old", -1, 9, "before 1970"), line(&site, "old", -HOUR_US, 10, "x")],
    )
    .await;
    let of_old = LogQuery { host: Some("old".into()), ..query(&site, 3) };
    assert_eq!(seqs(store, of_old).await, [9, 10]);
}

async fn filters(store: &dyn Store) {
    let site = fresh("filters");
    let mut rows = vec![
        line(&site, "a", NOON_US + 1, 1, "Disk FULL on /dev/sda1"),
        line(&site, "a", NOON_US + 2, 2, "link up"),
        line(&site, "b", NOON_US + 3, 3, "ÜBERSPANNUNG an Pumpe"),
        line(&site, "b", NOON_US + 4, 4, "link down 100%_"),
    ];
    for (row, (severity, app)) in rows.iter_mut().zip([
        (Some(2), Some("kernel")),
        (Some(6), Some("kernel")),
        (Some(3), Some("plc")),
        (None, None),
    ]) {
        row.severity = severity;
        row.app = app.map(Into::into);
    }
    write(store, rows).await;
    let mut cases: Vec<(LogQuery, &[u64])> = Vec::new();
    let text = |text: &str| LogQuery { text: Some(text.into()), ..query(&site, 9) };
    let words = |words: &str| LogQuery { words: Some(words.into()), ..query(&site, 9) };
    cases.push((words("full"), &[1]));
    cases.push((words("DEV disk"), &[1]));
    cases.push((words("ful"), &[]));
    cases.push((words("link"), &[4, 2]));
    cases.push((words("überspannung"), &[3]));
    cases.push((words("100"), &[4]));
    cases.push((text("full"), &[1]));
    cases.push((text("LINK"), &[4, 2]));
    cases.push((text("überspannung"), &[3]));
    cases.push((text("100%_"), &[4]));
    cases.push((text("%"), &[4]));
    cases.push((text(""), &[4, 3, 2, 1]));
    cases.push((text("absent"), &[]));
    let severe = |max| LogQuery { severity_max: Some(max), ..query(&site, 9) };
    cases.push((severe(7), &[3, 2, 1]));
    cases.push((severe(3), &[3, 1]));
    cases.push((severe(0), &[]));
    let mut of_app = query(&site, 9);
    of_app.app = Some("kernel".into());
    cases.push((of_app.clone(), &[2, 1]));
    of_app.severity_max = Some(3);
    cases.push((of_app.clone(), &[1]));
    of_app.text = Some("link".into());
    cases.push((of_app, &[]));
    let mut first = text("LINK");
    first.limit = 1;
    cases.push((first.clone(), &[4]));
    first.host = Some("a".into());
    cases.push((first, &[2]));
    // Hot, sealed as well, and sealed only.
    let sealing = store.sealing().unwrap();
    for step in 0..3 {
        for (query, expected) in &cases {
            assert_eq!(seqs(store, query.clone()).await, *expected, "step {step}: {query:?}");
        }
        match step {
            0 => assert_eq!(seal_lines(sealing, &site, 1_000).await, 4),
            _ => drop_sealed_lines(sealing, &site).await,
        }
    }
}

async fn many_lines_of_many_hosts(store: &dyn Store) {
    let site = fresh("many");
    let row = |n: u64| {
        let host = format!("h{:02}", n % 40);
        line(&site, &host, NOON_US + n as i64 * 20_000_000, n, &format!("line {n}"))
    };
    write(store, (0..6_000).map(row).collect()).await;
    let sealing = store.sealing().unwrap();
    many_are_found(store, &site).await;
    assert_eq!(seal_lines(sealing, &site, 1_000_000).await, 6_000);
    drop_sealed_lines(sealing, &site).await;
    many_are_found(store, &site).await;
}

async fn many_are_found(store: &dyn Store, site: &str) {
    let query = |limit| query(site, limit);
    let expected: Vec<u64> = (5_700..6_000).rev().collect();
    assert_eq!(seqs(store, query(300)).await, expected);
    let rare = LogQuery { text: Some("LINE 17".into()), ..query(2_000) };
    let expected: Vec<u64> = (0..6_000).rev().filter(|n| n.to_string().starts_with("17")).collect();
    assert_eq!(seqs(store, rare).await, expected);
    assert_eq!(seqs(store, query(100_000)).await.len(), 6_000);
}
