//! The report of the demo, for a person and for a program.

use std::path::Path;

use serde::Serialize;

/// What came through.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Events fed.
    pub events_in: u64,
    /// Events in the store, each counted once.
    pub events_stored: u64,
    /// Events in the archive, each counted once.
    pub events_archived: u64,
    /// Events fed that are not in both.
    pub lost: u64,
    /// Rows of the archive that repeat an event.
    pub double: u64,
    /// Alerts raised.
    pub alerts: u64,
    /// Labelled anomalies in the input.
    pub windows: u64,
    /// Labelled anomalies in which an alert fired.
    pub windows_hit: u64,
    /// Objects in the archive.
    pub objects: u64,
    /// Series in the store.
    pub series: u64,
    /// From the first event sent to the last one stored and archived.
    pub seconds: f64,
    /// From the start of the program.
    pub seconds_since_start: f64,
}

impl Report {
    /// The report as text.
    #[must_use]
    pub fn text(&self, page: &str, dir: &Path) -> String {
        let rate = self.events_in as f64 / self.seconds.max(0.001);
        format!(
            "\n\
             events fed       {:>8}  in {:.1} s ({rate:.0} a second, from socket to store and archive)\n\
             in the store     {:>8}  ({} series)\n\
             in the archive   {:>8}  ({} Parquet objects)\n\
             lost             {:>8}\n\
             double           {:>8}\n\
             alerts           {:>8}  they hit {} of {} labelled anomalies\n\
             \n\
             page and API: {page}\n\
             data:         {}\n",
            self.events_in,
            self.seconds,
            self.events_stored,
            self.series,
            self.events_archived,
            self.objects,
            self.lost,
            self.double,
            self.alerts,
            self.windows_hit,
            self.windows,
            dir.display(),
        )
    }
}
