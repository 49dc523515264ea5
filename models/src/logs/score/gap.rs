//! Lines that come regularly, and the surprise when one does not.
//!
//! In: the gaps between the lines of a template. Out: for a gap so far, -ln of the chance that it is as long. Gaps
//! are taken as gamma distributed with the mean and the variation of those before; the chance is bounded by Chernoff:
//! `k (g/m - 1 - ln(g/m))` for a gap `g` of mean `m` and shape `k = 1 / CV^2`. Only templates whose gaps vary little
//! (CV < 0.5) are waited for.

/// Gaps that make a template known.
const KNOWN: u8 = 12;
/// Slowest rate at which mean and variation follow.
const RATE: f32 = 0.05;
/// A gap counts at most this many means.
const CLIP: f32 = 4.0;
/// Gaps that vary more, in means, are not regular.
const REGULAR: f32 = 0.5;
/// The least variation that is believed: lines wait in queues, and stamps are of whole seconds.
const LEAST: f32 = 0.1;
/// Gaps shorter than this are no rhythm, in seconds.
const SHORTEST_S: f32 = 5.0;

/// The gaps of one template.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Gaps {
    mean_s: f32,
    /// Mean of the squared difference from the mean.
    variance: f32,
    seen: u8,
    /// It was said that a line is missing, and none came since.
    pub(super) is_told: bool,
}

impl Gaps {
    /// Takes the gap that ends now; gives its surprise, if the template is regular.
    #[inline]
    pub(super) fn end(&mut self, gap_s: f32) -> Option<f64> {
        let surprise = self.surprise(gap_s);
        if std::mem::take(&mut self.is_told) {
            // It was an outage, not a gap of these.
            return None;
        }
        // Lines of one moment are one.
        if gap_s < 1.0 && self.mean_s >= SHORTEST_S {
            return None;
        }
        let gap_s = if self.seen < KNOWN { gap_s } else { gap_s.min(CLIP * self.mean_s) };
        self.seen = self.seen.saturating_add(1);
        let rate = (1.0 / f32::from(self.seen)).max(RATE);
        let off = gap_s - self.mean_s;
        self.mean_s += rate * off;
        self.variance += rate * (off * (gap_s - self.mean_s) - self.variance);
        surprise
    }

    /// What it means that the gap is as long as this; none where the template is not regular.
    #[inline]
    pub(super) fn surprise(&self, gap_s: f32) -> Option<f64> {
        let mean_s = self.mean_s;
        if self.seen < KNOWN || mean_s < SHORTEST_S {
            return None;
        }
        if self.variance > (REGULAR * mean_s) * (REGULAR * mean_s) {
            return None;
        }
        if gap_s <= mean_s {
            return Some(0.0);
        }
        let least = (LEAST * mean_s).max(1.0);
        let shape = f64::from(mean_s * mean_s / self.variance.max(least * least));
        let ratio = f64::from(gap_s / mean_s);
        Some(shape * (ratio - 1.0 - ratio.ln()))
    }

    /// The mean gap of a template that is regular, in seconds.
    pub(super) fn regular_s(&self) -> Option<f32> {
        self.surprise(0.0).map(|_| self.mean_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(of: impl Iterator<Item = f32>) -> Gaps {
        let mut gaps = Gaps::default();
        for gap_s in of {
            gaps.end(gap_s);
        }
        gaps
    }

    #[test]
    fn a_regular_line_is_waited_for_and_another_one_is_not() {
        let regular = gaps((0..50).map(|i| 58.0 + (i % 5) as f32));
        let mean_s = regular.regular_s();
        assert!(mean_s.is_some_and(|mean_s| (59.0..61.0).contains(&mean_s)), "{regular:?}");
        assert!(regular.surprise(62.0).is_some_and(|nats| nats < 0.1), "{regular:?}");
        assert!(regular.surprise(120.0).is_some_and(|nats| nats > 20.0), "{regular:?}");
        assert_eq!(gaps((0..50).map(|i| if i % 4 == 0 { 200.0 } else { 5.0 })).regular_s(), None);
        assert_eq!(gaps((0..50).map(|_| 0.5)).regular_s(), None);
        assert_eq!(gaps((0..5).map(|_| 60.0)).regular_s(), None);
    }

    #[test]
    fn an_outage_that_was_told_teaches_nothing() {
        let mut regular = gaps((0..50).map(|_| 60.0));
        let before = regular;
        regular.is_told = true;
        assert_eq!(regular.end(4_000.0), None);
        assert_eq!(regular, before);
    }
}
