//! The figures of a run, the best of several, and the ratios of ours to theirs.
//!
//! In: what runs have measured. Out: rows of a table and lines of ratios. Of several runs the least counts
//! (of rates the greatest), because other work on the machine only ever adds; of what went wrong, the most.

use std::fmt;

/// The name of our agent.
const OURS: &str = "weir";

/// What one run gave.
#[derive(Clone)]
pub(crate) struct Figures {
    /// Who ran.
    pub(crate) name: &'static str,
    /// Seconds of CPU for a million of the messages that arrived.
    pub(crate) cpu_s_per_million: f64,
    /// Those that arrived, by the clock.
    pub(crate) events_a_second: f64,
    /// Memory before the first message.
    pub(crate) idle_mib: f64,
    /// The most memory at any time.
    pub(crate) peak_mib: f64,
    /// How often its threads have waited for something while the messages came.
    pub(crate) wake_ups_per_1000: f64,
    /// Messages that are not in Kafka.
    pub(crate) missing: usize,
    /// Messages that are in Kafka once too often.
    pub(crate) double: usize,
    /// Of the missing ones, those that the kernel dropped.
    pub(crate) dropped: f64,
    /// Of the machine, at the end.
    pub(crate) load_average: f64,
}

impl Figures {
    /// The head of the table of rows.
    pub(crate) const HEAD: &str = "              CPU s per M   events/s   idle MiB   peak MiB   wakes/1000   missing   double   dropped   load";
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            cpu_s_per_million,
            events_a_second,
            idle_mib,
            peak_mib,
            wake_ups_per_1000,
            missing,
            double,
            dropped,
            load_average,
        } = self;
        write!(
            f,
            "{name:<14}{cpu_s_per_million:>11.2}{events_a_second:>11.0}{idle_mib:>11.1}{peak_mib:>11.1}\
             {wake_ups_per_1000:>13.0}{missing:>10}{double:>9}{dropped:>10.0}{load_average:>7.1}"
        )
    }
}

impl Figures {
    /// The best of the runs of that name; none without a run.
    fn best(runs: &[Self], name: &str) -> Option<Self> {
        let of_name = runs.iter().filter(|figures| figures.name == name).cloned();
        of_name.reduce(|a, b| Self {
            name: a.name,
            cpu_s_per_million: a.cpu_s_per_million.min(b.cpu_s_per_million),
            events_a_second: a.events_a_second.max(b.events_a_second),
            idle_mib: a.idle_mib.min(b.idle_mib),
            peak_mib: a.peak_mib.min(b.peak_mib),
            wake_ups_per_1000: a.wake_ups_per_1000.min(b.wake_ups_per_1000),
            missing: a.missing.max(b.missing),
            double: a.double.max(b.double),
            dropped: a.dropped.max(b.dropped),
            load_average: a.load_average.max(b.load_average),
        })
    }
}

/// The best of the runs of each, and ours as a part of theirs. `rates`: whether events came as fast as
/// they were taken, so that the rate says something.
pub(crate) fn summary(runs: &[Figures], names: &[&str], rates: bool) -> String {
    let best: Vec<Figures> = names.iter().filter_map(|name| Figures::best(runs, name)).collect();
    let mut lines = vec!["the best of each (missing, double, dropped, load: the most)".to_owned()];
    lines.push(Figures::HEAD.to_owned());
    lines.extend(best.iter().map(Figures::to_string));
    if let Some(ours) = best.iter().find(|figures| figures.name == OURS) {
        lines.extend(ratios(ours, &best, rates));
    }
    lines.join("\n")
}

fn ratios(ours: &Figures, best: &[Figures], rates: bool) -> Vec<String> {
    let peers: Vec<&Figures> = best.iter().filter(|figures| figures.name != OURS).collect();
    let cpu = |peer: &Figures| {
        let (ours, theirs) = (ours.cpu_s_per_million, peer.cpu_s_per_million);
        format!("CPU of weir / {}: {:.2} ({ours:.2} / {theirs:.2})", peer.name, ours / theirs)
    };
    let rate = |peer: &Figures| {
        let (ours, theirs) = (ours.events_a_second, peer.events_a_second);
        format!("events/s of weir / {}: {:.2} ({ours:.0} / {theirs:.0})", peer.name, ours / theirs)
    };
    let mut lines: Vec<String> = peers.iter().map(|peer| cpu(peer)).collect();
    // A peer that has lost something has not done the work.
    let whole = || peers.iter().filter(|peer| peer.missing == 0);
    if let Some(peer) = whole().min_by(|a, b| a.cpu_s_per_million.total_cmp(&b.cpu_s_per_million)) {
        lines.push(format!("the best peer: {}", cpu(peer)));
    }
    let fastest = whole().max_by(|a, b| a.events_a_second.total_cmp(&b.events_a_second));
    if let Some(peer) = fastest.filter(|_| rates) {
        lines.push(format!("the fastest peer: {}", rate(peer)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &'static str, cpu_s_per_million: f64, rate: f64, missing: usize) -> Figures {
        Figures {
            name,
            cpu_s_per_million,
            events_a_second: rate,
            idle_mib: 1.0,
            peak_mib: 2.0,
            wake_ups_per_1000: 3.0,
            missing,
            double: 0,
            dropped: 0.0,
            load_average: 0.5,
        }
    }

    #[test]
    fn the_best_of_each_and_of_the_peers_that_lost_nothing() {
        let runs = [
            run("weir", 3.0, 100.0, 0),
            run("rsyslog", 6.0, 50.0, 0),
            run("telegraf", 4.0, 90.0, 7),
            run("weir", 2.0, 80.0, 0),
            run("rsyslog", 5.0, 40.0, 0),
            run("telegraf", 9.0, 95.0, 0),
        ];
        let names = ["weir", "rsyslog", "telegraf", "benthos"];
        let told = summary(&runs, &names, true);
        let last: Vec<&str> = told.lines().skip(5).collect();
        assert_eq!(
            last,
            [
                "CPU of weir / rsyslog: 0.40 (2.00 / 5.00)",
                "CPU of weir / telegraf: 0.50 (2.00 / 4.00)",
                "the best peer: CPU of weir / rsyslog: 0.40 (2.00 / 5.00)",
                "the fastest peer: events/s of weir / rsyslog: 2.00 (100 / 50)",
            ]
        );
        assert!(!summary(&runs, &names, false).contains("events/s of"));
        assert!(!summary(&runs[1..2], &names, true).contains("weir /"));
    }
}
