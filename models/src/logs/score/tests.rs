//! What alarms and what does not, on made-up lines and on a real log.

use super::*;
use crate::logs::Miner;
use proptest::prelude::*;

const S: i64 = 1_000_000;

/// A line of a process that says nothing else.
fn said(ts_us: i64, template: u64, is_new: bool, severity: Option<u8>) -> LogLine {
    LogLine { ts_us, template, is_new, severity, order: 0.0 }
}

const AUTH_LOG: &str = include_str!("../../../../fixtures/syslog/auth.rfc3164.log");

/// A host that writes three templates in turn, a line every ten seconds, for `hours`; then the scorer and the time.
fn ordinary_host(hours: i64) -> (LogScorer, i64) {
    let mut scorer = LogScorer::new(LogScorerConfig::default());
    let mut ts_us = 0;
    for i in 0..hours * 360 {
        ts_us = i * 10 * S;
        let verdict = scorer.update(said(ts_us, (i % 3) as u64, i < 3, Some(6)));
        assert!(!verdict.alarm, "line {i}: {verdict:?}");
    }
    (scorer, ts_us)
}

#[test]
fn a_template_never_seen_alarms_once() {
    let (mut scorer, ts_us) = ordinary_host(48);
    let verdict = scorer.update(said(ts_us + S, 77, true, Some(6)));
    assert!(verdict.alarm && verdict.why == "new template", "{verdict:?}");
    let verdict = scorer.update(said(ts_us + 30 * S, 77, false, Some(6)));
    assert!(!verdict.alarm, "{verdict:?}");
}

#[test]
fn a_burst_alarms_once() {
    let (mut scorer, ts_us) = ordinary_host(48);
    let verdicts: Vec<LogVerdict> =
        (1..200).map(|i| scorer.update(said(ts_us + i * S / 20, 1, false, Some(6)))).collect();
    let alarms: Vec<&LogVerdict> = verdicts.iter().filter(|v| v.alarm).collect();
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].why, "burst");
}

#[test]
fn an_emergency_alarms_though_its_template_is_familiar() {
    let (mut scorer, ts_us) = ordinary_host(48);
    let verdict = scorer.update(said(ts_us + 10 * S, 2, false, Some(0)));
    assert!(verdict.alarm && verdict.why == "severity", "{verdict:?}");
}

/// Minutes of a host: a heartbeat each, a poll in two lines of one process each half, and noise; with what `but` makes
/// of the lines.
fn rhythm(minutes: i64, but: impl Fn(i64, &mut Vec<LogLine>)) -> Vec<(i64, u64, LogVerdict)> {
    let mut scorer = LogScorer::new(LogScorerConfig::default());
    let mut orders = Orders::default();
    let mut verdicts = Vec::new();
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    for minute in 0..minutes {
        let of =
            |second: i64, template: u64| said((minute * 60 + second) * S, template, false, Some(6));
        let mut lines = vec![of(minute * 7 % 3, 1)];
        for half in [10, 40] {
            lines.extend([of(half, 2), of(half + 1, 3), of(half + 2, 4)]);
        }
        for second in [20, 50] {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            lines.push(of(second + (x % 9) as i64, 10 + x % 5));
        }
        but(minute, &mut lines);
        lines.sort_by_key(|line| line.ts_us);
        for mut line in lines {
            // Those of the poll are of one process.
            let process = if (2..=4).contains(&line.template) { 2 } else { line.template };
            line.order = orders.update(process, line.template);
            verdicts.push((minute, line.template, scorer.update(line)));
        }
    }
    verdicts
}

#[test]
fn nothing_is_missing_or_out_of_order_where_all_comes_as_always() {
    for (minute, template, verdict) in rhythm(3 * 24 * 60, |_, _| {}) {
        assert!(!verdict.alarm && verdict.missing.is_none(), "{minute} {template} {verdict:?}");
    }
}

#[test]
fn a_heartbeat_that_stops_is_missed_once() {
    let stopped = 2 * 24 * 60;
    let verdicts = rhythm(stopped + 600, |minute, lines| {
        if minute >= stopped {
            lines.retain(|line| line.template != 1);
        }
    });
    let missing: Vec<_> =
        verdicts.iter().filter_map(|(minute, _, v)| Some((minute - stopped, v.missing?))).collect();
    let [(minute, missing)] = missing[..] else { panic!("{missing:?}") };
    assert_eq!(missing.template, 1);
    assert!((1..=10).contains(&minute), "{minute} {missing:?}");
    assert!((59.0..61.0).contains(&missing.usual_s), "{missing:?}");
}

#[test]
fn a_heartbeat_is_missed_again_after_it_came_back() {
    let verdicts = rhythm(4 * 24 * 60, |minute, lines| {
        if minute >= 2 * 24 * 60 && minute % (12 * 60) < 60 {
            lines.retain(|line| line.template != 1);
        }
    });
    let missed: Vec<i64> =
        verdicts.iter().filter_map(|(minute, _, v)| v.missing.map(|_| minute / 720)).collect();
    assert_eq!(missed, [4, 5, 6, 7]);
}

#[test]
fn a_host_that_was_silent_misses_nothing() {
    let verdicts = rhythm(3 * 24 * 60, |minute, lines| {
        if (2_900..3_100).contains(&minute) {
            lines.clear();
        }
    });
    assert!(verdicts.iter().all(|(_, _, v)| v.missing.is_none()));
}

#[test]
fn a_step_left_out_by_a_process_alarms() {
    let at = 5 * 24 * 60;
    let verdicts = rhythm(at + 60, |minute, lines| {
        if minute == at {
            // The third step twice in place of the second.
            for line in lines.iter_mut().filter(|line| line.template == 3) {
                line.template = 4;
            }
        }
    });
    let alarms: Vec<_> = verdicts.iter().filter(|(_, _, v)| v.alarm && v.why == "order").collect();
    let [(minute, template, verdict)] = alarms[..] else { panic!("{alarms:?}") };
    assert_eq!((*minute, *template), (at, 4), "{verdict:?}");
}

#[test]
fn what_is_usual_at_this_hour_of_the_week_is_no_burst() {
    const WEEK: i64 = 7 * 24 * 60;
    // A job once a week, at three in the morning, for an hour; at last, or a day later.
    let highest = |last_hour: i64| {
        let is_job = |hour: i64| hour % (7 * 24) == 3 && hour < 5 * 7 * 24 || hour == last_hour;
        let verdicts = rhythm(6 * WEEK, |minute, lines| {
            if is_job(minute / 60) {
                let first = lines[0];
                let more =
                    (0..40).map(|i| LogLine { ts_us: first.ts_us + i * S, template: 9, ..first });
                lines.extend(more);
            }
        });
        let of_last =
            verdicts.iter().filter(|(minute, id, _)| minute / 60 == last_hour && *id == 9);
        of_last.map(|(_, _, v)| v.score).fold(0.0, f32::max)
    };
    let (usual, other) = (highest(5 * 7 * 24 + 3), highest(5 * 7 * 24 + 27));
    assert!(usual < 0.8 * other && other > 2.0, "{usual} {other}");
}

#[test]
fn counts_of_templates_that_became_one_are_its_counts() {
    let (mut scorer, ts_us) = ordinary_host(48);
    let seen = |scorer: &LogScorer, id: u64| scorer.templates.get(&id).map(|state| state.seen);
    let of = [0, 1, 2].map(|id| seen(&scorer, id).unwrap());
    scorer.join(1, &[0, 2, 99]);
    assert_eq!(scorer.len(), 1);
    assert_eq!(seen(&scorer, 1), Some(of.iter().sum()));
    // Its lines come three times as often now: no burst.
    for i in 1..100 {
        let verdict = scorer.update(said(ts_us + i * 10 * S, 1, false, Some(6)));
        assert!(!verdict.alarm, "{verdict:?}");
    }
}

#[test]
fn nothing_alarms_while_it_learns() {
    let mut scorer =
        LogScorer::new(LogScorerConfig { learning_s: 100_000, ..LogScorerConfig::default() });
    for i in 0..2000 {
        let verdict = scorer.update(said(i * S, i as u64, true, Some(0)));
        assert_eq!((verdict.alarm, verdict.score, verdict.why), (false, 0.0, "learning"));
    }
}

#[test]
fn a_clock_that_is_set_does_not_end_learning() {
    let mut scorer = LogScorer::new(LogScorerConfig::default());
    for i in 0..200 {
        // From 1970 to 2024 at the tenth line.
        let ts_us = if i < 10 { i } else { 1_704_067_200 + i } * S;
        assert_eq!(scorer.update(said(ts_us, i as u64, true, None)).why, "learning");
    }
}

#[test]
fn memory_is_bounded() {
    let mut scorer =
        LogScorer::new(LogScorerConfig { templates: 100, ..LogScorerConfig::default() });
    for i in 0..10_000u64 {
        scorer.update(said(i as i64 * S, i, true, None));
    }
    // An eighth leaves at a time.
    assert!((88..=100).contains(&scorer.len()), "{}", scorer.len());
    scorer.configure(&LogScorerConfig { templates: 10, ..LogScorerConfig::default() });
    assert_eq!(scorer.len(), 8);
    // The youngest stayed: they are still known.
    let lines_new = scorer.recent_new;
    scorer.update(said(10_000 * S, 9_999, false, None));
    scorer.update(said(10_000 * S, 9_992, false, None));
    assert!(scorer.recent_new < lines_new);
    scorer.update(said(10_000 * S, 9_991, false, None));
    assert!(scorer.recent_new > lines_new);
}

#[test]
fn templates_of_one_moment_do_not_leave_all_at_once() {
    let mut scorer =
        LogScorer::new(LogScorerConfig { templates: 100, ..LogScorerConfig::default() });
    for i in 0..101u64 {
        scorer.update(said(S, i, true, None));
    }
    assert_eq!(scorer.len(), 88);
}

#[test]
fn the_bound_of_the_tail_is_a_bound() {
    // Poisson limit: P(K >= 10 | mean 2) is 4.65e-5, -ln of it 9.98; the bound lies below, not far.
    let surprise = negative_binomial_surprise(10.0, 2.0, 1e9);
    assert!((7.0..9.98).contains(&surprise), "{surprise}");
    // What was learnt from little surprises less.
    assert!(negative_binomial_surprise(10.0, 2.0, 2.0) < surprise);
    assert_eq!(negative_binomial_surprise(2.0, 2.0, 5.0), 0.0);
}

/// Seconds since the first of March of a stamp like `Mar 27 13:06:56`.
fn stamp_us(line: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| line[range].trim().parse::<i64>().unwrap();
    let month_days = if line.starts_with("Apr") { 31 } else { 0 };
    (((month_days + number(4..6)) * 24 + number(7..9)) * 3600
        + number(10..12) * 60
        + number(13..15))
        * S
}

#[test]
fn a_real_log_gives_a_handful_of_alarms() {
    let mut miner = Miner::new(2048);
    let mut scorer = LogScorer::new(LogScorerConfig::default());
    let mut got = String::new();
    for (i, line) in AUTH_LOG.lines().enumerate() {
        let message = line[16..].split_once(": ").map_or("", |(_, message)| message);
        let found = miner.learn(message);
        let verdict = scorer.update(said(stamp_us(line), found.id, found.is_new, None));
        if verdict.alarm {
            got.push_str(&format!(
                "{:4} {:4.1} {} | {}\n",
                i + 1,
                verdict.score,
                verdict.why,
                found.text()
            ));
        }
    }
    expect_test::expect![[r#"
         489  3.3 burst | Connection closed by <ip> port <num> [preauth]
         490  5.0 burst | Invalid user <*> from <ip>
         491  3.1 burst | input_userauth_request: invalid user <*> [preauth]
        1141  2.3 burst | pam_unix(chpasswd:chauthtok): user "<*>" does not exist in <path>
    "#]]
    .assert_eq(&got);
}

proptest! {
    #[test]
    fn every_score_is_finite_whatever_comes(
        lines in proptest::collection::vec((any::<i64>(), 0..20u64, any::<bool>(), any::<Option<u8>>()), 0..600),
        config in (0..5usize, 0..10u32, any::<f32>(), any::<u32>()),
    ) {
        let (templates, learning_s, false_alarms_per_month, quiet_s) = config;
        let mut scorer =
            LogScorer::new(LogScorerConfig { templates, learning_s, false_alarms_per_month, quiet_s });
        for (ts_us, id, is_new, severity) in lines {
            let v = scorer.update(said(ts_us, id, is_new, severity));
            prop_assert!(v.score.is_finite() && (0.0..=100.0).contains(&v.score), "{v:?}");
            prop_assert!(v.threshold.is_finite() && v.threshold >= 1.0, "{v:?}");
        }
    }
}
