//! Census: who is in a batch. Pure.
//!
//! In: a [`Batch`]. Out: each series, log host and site once, with the places of its rows, its first
//! and last stamp and its newest value. From it follow `latest`, `series`, `hosts` and `sites`,
//! which are therefore written once per batch and not once per row.

use std::collections::{BTreeMap, HashMap};

use weir_models::device::AgentStatus;
use weir_models::ident::SeriesKey;
use weir_models::time::SECOND_US;

use super::{Batch, DeviceChange, Line, ReadingRow};

/// How far a stamp may be ahead of our clock and still be taken at its word, microseconds.
pub(crate) const AHEAD_MAX_US: i64 = 300 * SECOND_US;

/// By what the newest of several stamped things is found: the stamp, but for stamps from the future
/// the time at which they came.
///
/// A device whose clock is wrong by years must not pin its latest value for years: with this, the
/// next honest value takes over. Before that, a second delivery of the wrong one may show again.
/// `i64::MIN` is never returned, because Cassandra reserves it.
#[must_use]
pub(crate) fn order_us(ts_us: i64, now_us: i64) -> i64 {
    let believed = if ts_us > now_us.saturating_add(AHEAD_MAX_US) { now_us } else { ts_us };
    believed.max(i64::MIN + 1)
}

/// First and last stamp, microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The smallest.
    pub(crate) first_us: i64,
    /// The largest.
    pub(crate) last_us: i64,
}

impl Extent {
    fn at(ts_us: i64) -> Self {
        Self { first_us: ts_us, last_us: ts_us }
    }

    fn add(&mut self, ts_us: i64) {
        self.first_us = self.first_us.min(ts_us);
        self.last_us = self.last_us.max(ts_us);
    }
}

/// One series of a batch.
#[derive(Debug)]
pub(crate) struct SeriesSeen<'a> {
    pub(crate) key: &'a SeriesKey,
    pub(crate) rows: Vec<&'a ReadingRow>,
    pub(crate) extent: Extent,
    /// The newest by [`order_us`], then by event.
    pub(crate) newest: &'a ReadingRow,
    /// The unit that came last.
    pub(crate) unit: Option<&'a str>,
}

/// One log host of a batch.
#[derive(Debug)]
pub(crate) struct HostSeen<'a> {
    pub(crate) site: &'a str,
    pub(crate) host: &'a str,
    pub(crate) rows: Vec<Line<'a>>,
    pub(crate) extent: Extent,
}

/// Who is in a batch.
#[derive(Debug)]
pub(crate) struct Census<'a> {
    pub(crate) series: Vec<SeriesSeen<'a>>,
    pub(crate) hosts: Vec<HostSeen<'a>>,
    /// Each site with the extent of the alerts that are about it.
    pub(crate) sites: BTreeMap<&'a str, Option<Extent>>,
    /// The last change of each device.
    pub(crate) devices: Vec<&'a DeviceChange>,
    /// All changes of devices.
    pub(crate) changes: &'a [DeviceChange],
    /// The newest heartbeat of each agent.
    pub(crate) agents: Vec<&'a AgentStatus>,
}

impl<'a> Census<'a> {
    pub(crate) fn of(batch: &'a Batch, now_us: i64) -> Self {
        let series = series_of(&batch.readings, now_us);
        let hosts = hosts_of(batch.lines());
        let mut devices = BTreeMap::new();
        for change in &batch.devices {
            devices.insert((&change.site, &change.device), change);
        }
        let mut agents: BTreeMap<&str, &AgentStatus> = BTreeMap::new();
        for status in &batch.agents {
            let newest = agents.entry(&status.agent).or_insert(status);
            if order_us(status.ts_us, now_us) >= order_us(newest.ts_us, now_us) {
                *newest = status;
            }
        }
        let mut sites: BTreeMap<&str, Option<Extent>> = BTreeMap::new();
        let named = series.iter().map(|seen| seen.key.site.as_str());
        let named = named.chain(hosts.iter().map(|seen| seen.site));
        let named = named.chain(devices.keys().map(|(site, _)| site.as_str()));
        let named = named.chain(agents.values().map(|status| status.site.as_str()));
        let named = named.chain(batch.losses.iter().map(|row| row.site.as_str()));
        sites.extend(named.map(|site| (site, None)));
        for alert in &batch.alerts {
            let fired_us = alert.data.fired_us;
            sites
                .entry(&alert.data.site)
                .or_default()
                .get_or_insert(Extent::at(fired_us))
                .add(fired_us);
        }
        Self {
            series,
            hosts,
            sites,
            devices: devices.into_values().collect(),
            changes: &batch.devices,
            agents: agents.into_values().collect(),
        }
    }
}

fn series_of(rows: &[ReadingRow], now_us: i64) -> Vec<SeriesSeen<'_>> {
    let mut places: HashMap<&SeriesKey, usize> = HashMap::new();
    let mut series: Vec<SeriesSeen<'_>> = Vec::new();
    for row in rows {
        let place = *places.entry(&row.key).or_insert_with(|| {
            series.push(SeriesSeen {
                key: &row.key,
                rows: Vec::new(),
                extent: Extent::at(row.ts_us),
                newest: row,
                unit: None,
            });
            series.len() - 1
        });
        let seen = &mut series[place];
        seen.rows.push(row);
        seen.extent.add(row.ts_us);
        seen.unit = row.unit.as_deref().or(seen.unit);
        if (order_us(row.ts_us, now_us), row.id)
            >= (order_us(seen.newest.ts_us, now_us), seen.newest.id)
        {
            seen.newest = row;
        }
    }
    series
}

fn hosts_of<'a>(lines: impl Iterator<Item = Line<'a>>) -> Vec<HostSeen<'a>> {
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    let mut hosts: Vec<HostSeen<'a>> = Vec::new();
    for line in lines {
        let (site, host, ts_us) = (&*line.event.site, line.host(), line.event.ts_us);
        let place = *places.entry((site, host)).or_insert_with(|| {
            hosts.push(HostSeen { site, host, rows: Vec::new(), extent: Extent::at(ts_us) });
            hosts.len() - 1
        });
        hosts[place].rows.push(line);
        hosts[place].extent.add(ts_us);
    }
    hosts
}

#[cfg(test)]
mod tests {
    use weir_models::ident::{EventId, Stream};

    use super::*;

    fn row(metric: &str, ts_us: i64, seq: u64, unit: Option<&str>) -> ReadingRow {
        ReadingRow {
            key: SeriesKey { site: "s".into(), device: "d".into(), metric: metric.into() },
            ts_us,
            id: EventId { stream: Stream(9), seq },
            value: 1.0,
            score: None,
            unit: unit.map(Into::into),
        }
    }

    #[test]
    fn each_series_is_seen_once_with_its_newest_row() {
        let batch = Batch {
            readings: vec![
                row("a", 5, 1, Some("C")),
                row("b", 1, 2, None),
                row("a", 3, 3, None),
                row("a", 5, 4, None),
            ],
            ..Batch::default()
        };
        let census = Census::of(&batch, 1_000);
        assert_eq!(census.series.len(), 2);
        let seen = &census.series[0];
        assert_eq!((seen.extent.first_us, seen.extent.last_us), (3, 5));
        assert_eq!((seen.newest.id.seq, seen.rows.len(), seen.unit), (4, 3, Some("C")));
    }

    #[test]
    fn a_stamp_from_the_future_counts_from_when_it_came() {
        assert_eq!(order_us(500, 1_000), 500);
        assert_eq!(order_us(1_000 + AHEAD_MAX_US, 1_000), 1_000 + AHEAD_MAX_US);
        assert_eq!(order_us(1_001 + AHEAD_MAX_US, 1_000), 1_000);
        assert_eq!(order_us(i64::MAX, i64::MAX), i64::MAX);
        assert_eq!(order_us(i64::MIN, 0), i64::MIN + 1);
    }
}
