//! Reads store and archive back and compares them with what was fed.
//!
//! In: a running site. Out: the [`Report`]. Only streams of this run are looked at, so that a
//! Cassandra with the rows of an earlier run does no harm.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use weir_models::alert::{Alert, AlertState};
use weir_models::ident::{EventId, Stream};
use weir_models::topic::Topic;
use weir_sink::store::{AlertQuery, TimeRange};

use super::fixture::{self, SITE, Window};
use super::report::Report;
use crate::site::Site;

/// How often the store is asked while waiting.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Alerts that the report looks at.
const ALERTS_MAX: usize = 10_000;

/// What store and archive hold of this run.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    stored: BTreeSet<EventId>,
    archived: Vec<EventId>,
    objects: u64,
}

impl Arrived {
    fn archived_once(&self) -> BTreeSet<EventId> {
        self.archived.iter().copied().collect()
    }
}

/// Waits until store and archive hold `total` events of this run.
///
/// # Errors
/// When that does not happen in time; says how far it came.
pub(super) async fn wait_until_arrived(
    site: &Site,
    total: u64,
    within: Duration,
) -> anyhow::Result<Arrived> {
    let deadline = tokio::time::Instant::now() + within;
    // Cheap to ask, unlike store and archive: until then nothing can be complete.
    while site.agent.report().await.is_none_or(|report| report.waiting() > 0)
        || events_in(site).await < total
    {
        if tokio::time::Instant::now() > deadline {
            bail!("the agent took {} of {total} events within {within:?}", events_in(site).await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    loop {
        let arrived = read(site).await?;
        let complete = |count: usize| u64::try_from(count).is_ok_and(|count| count >= total);
        if complete(arrived.stored.len()) && complete(arrived.archived.len()) {
            return Ok(arrived);
        }
        if tokio::time::Instant::now() > deadline {
            // The report will say what is missing.
            return Ok(arrived);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Log lines and readings that the agent has numbered; alerts are not among them.
async fn events_in(site: &Site) -> u64 {
    let lanes = site.agent.report().await.map(|report| report.lanes).unwrap_or_default();
    lanes.iter().filter(|lane| lane.lane != "alerts").map(|lane| lane.last_seq).sum()
}

async fn streams(site: &Site) -> BTreeSet<Stream> {
    let lanes = site.agent.report().await.map(|report| report.lanes).unwrap_or_default();
    lanes.iter().map(|lane| lane.stream).collect()
}

async fn read(site: &Site) -> anyhow::Result<Arrived> {
    let ours = streams(site).await;
    let stored = site.store.event_ids().await.context("cannot read the store back")?;
    let mut arrived = Arrived {
        stored: stored.into_iter().filter(|id| ours.contains(&id.stream)).collect(),
        ..Arrived::default()
    };
    for topic in [Topic::Readings, Topic::Logs] {
        let contents =
            site.archive.contents(topic).await.context("cannot read the archive back")?;
        arrived.objects += contents.objects;
        arrived.archived.extend(contents.ids.iter().filter(|id| ours.contains(&id.stream)));
    }
    Ok(arrived)
}

/// Puts the report together.
///
/// # Errors
/// When the store cannot be asked.
pub(super) async fn report(
    site: &Site,
    total: u64,
    arrived: Arrived,
    took: Duration,
    since_start: Duration,
) -> anyhow::Result<Report> {
    let alerts = alerts_of_run(site).await?;
    let windows = fixture::windows()?;
    let hit = windows.iter().filter(|window| alerts.iter().any(|alert| hits(alert, window)));
    let archived = arrived.archived_once();
    let there = arrived.stored.intersection(&archived).count();
    let double = arrived.archived.len() - archived.len();
    let series = site.store.series(SITE, None).await?.len();
    Ok(Report {
        events_in: total,
        events_stored: u64::try_from(arrived.stored.len())?,
        events_archived: u64::try_from(archived.len())?,
        lost: total.saturating_sub(u64::try_from(there)?),
        double: u64::try_from(double)?,
        alerts: u64::try_from(alerts.len())?,
        windows: u64::try_from(windows.len())?,
        windows_hit: u64::try_from(hit.count())?,
        objects: arrived.objects,
        series: u64::try_from(series)?,
        seconds: took.as_secs_f64(),
        seconds_since_start: since_start.as_secs_f64(),
    })
}

async fn alerts_of_run(site: &Site) -> anyhow::Result<Vec<Alert>> {
    let query = AlertQuery {
        site: SITE.into(),
        series: None,
        range: TimeRange { from_us: 0, to_us: weir_models::time::now_us() + 1 },
        state: None,
        after: None,
        limit: ALERTS_MAX,
    };
    let ours = streams(site).await;
    let mut alerts = site.store.alerts(&query).await.context("cannot read the alerts back")?;
    alerts.retain(|alert| ours.contains(&alert.data.stream));
    Ok(alerts)
}

fn hits(alert: &Alert, window: &Window) -> bool {
    let (from, to) = window.range_us;
    let fired = alert.data.fired_us;
    alert.data.device == window.device
        && alert.data.metric == window.metric
        && matches!(alert.data.state, AlertState::Firing | AlertState::Resolved)
        && (from..=to).contains(&fired)
}
