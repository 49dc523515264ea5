//! One number for each excursion: its height, said once, when it has stopped rising.
//!
//! In: the continuous score of each reading. Out: 0 but for one reading of an excursion, some readings behind its
//! top, which says how high the top was; also 0 where the top does not stand out from what was said lately. Whatever
//! level is laid through this sequence afterwards, it finds an excursion once, and a large one behind a small one.
//! A quiet time behind one fixed level cannot do that: above it the large event that follows a small one is lost.

use super::snapshot::{Reader, RestoreError, Writer};

/// What does not reach this score is no excursion.
const FLOOR: f32 = 0.2;
/// An excursion is over its top when this many readings brought no higher score.
const BEHIND: u8 = 3;
/// What comes within this many readings of a top must stand out from it ...
const NEAR: u16 = 90;
/// ... by this factor to be said.
const STAND_OUT: f32 = 1.7;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Peaks {
    /// Highest score since the last top; 0: none.
    top: f32,
    behind: u8,
    /// The top that others are measured by.
    reference: f32,
    since_reference: u16,
}

impl Peaks {
    pub(super) fn new() -> Self {
        Self { top: 0.0, behind: 0, reference: 0.0, since_reference: 0 }
    }

    pub(super) fn update(&mut self, score: f32) -> f32 {
        self.since_reference = self.since_reference.saturating_add(1);
        if score >= FLOOR && score > self.top {
            (self.top, self.behind) = (score, 0);
            return 0.0;
        }
        if self.top <= 0.0 {
            return 0.0;
        }
        self.behind += 1;
        if self.behind < BEHIND {
            return 0.0;
        }
        self.behind = 0;
        let top = std::mem::replace(&mut self.top, 0.0);
        if self.since_reference >= NEAR {
            self.reference = 0.0;
        }
        let said = if top >= STAND_OUT * self.reference { top } else { 0.0 };
        // What comes near the reference is more of the same, and prolongs it; small change does not.
        if top * STAND_OUT >= self.reference {
            self.since_reference = 0;
        }
        self.reference = self.reference.max(top);
        said
    }

    pub(super) fn save(&self, out: &mut Writer<'_>) {
        out.f32(self.top);
        out.u8(self.behind);
        out.f32(self.reference);
        out.u16s(&[self.since_reference]);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>) -> Result<(), RestoreError> {
        self.top = from.f32()?;
        self.behind = from.u8_below(BEHIND)?;
        self.reference = from.f32()?;
        let mut since = [0];
        from.u16s(&mut since, u16::MAX)?;
        self.since_reference = since[0];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scores: &[(usize, f32)], expected: &[(usize, f32)]) {
        let mut peaks = Peaks::new();
        let said: Vec<(usize, f32)> = (0..1_000)
            .map(|i| (i, peaks.update(scores.iter().find(|s| s.0 == i).map_or(0.0, |s| s.1))))
            .filter(|said| said.1 > 0.0)
            .collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn an_excursion_is_said_once_at_its_height() {
        check(&[(10, 1.0), (11, 2.0), (12, 3.0), (13, 2.0)], &[(15, 3.0)]);
        check(&[(10, 0.1)], &[]);
    }

    #[test]
    fn only_what_stands_out_is_said_soon_after() {
        check(&[(10, 2.0), (40, 3.0)], &[(13, 2.0)]);
        check(&[(10, 2.0), (40, 4.0)], &[(13, 2.0), (43, 4.0)]);
        check(&[(10, 2.0), (110, 2.0)], &[(13, 2.0), (113, 2.0)]);
    }

    #[test]
    fn more_of_the_same_prolongs_and_small_change_does_not() {
        check(&[(10, 2.0), (80, 1.9), (150, 2.0)], &[(13, 2.0)]);
        check(&[(10, 2.0), (80, 0.5), (150, 2.0)], &[(13, 2.0), (153, 2.0)]);
    }
}
