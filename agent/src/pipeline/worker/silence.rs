//! The seconds that pass: alerts that begin because nothing comes.
//!
//! In: a second in which inputs could be taken. Out: alerts in the spool. While the spool takes nothing no second passes,
//! so that nobody is called silent who was not listened to; nor does one that the program slept through.

use weir_models::ident::{EventId, Stream};
use weir_models::time::now_us;

use super::Worker;

impl Worker {
    /// Another second has passed.
    pub(super) fn pass(&mut self) {
        self.open_s = self.open_s.saturating_add(1);
        self.scorer.pass(self.open_s, &mut self.drafts);
        if !self.drafts.is_empty() {
            self.is_tapped = self.shared.taps.is_open();
            // Nothing came: no event is the cause.
            self.append_alerts(EventId { stream: Stream(0), seq: 0 }, now_us());
        }
    }
}
