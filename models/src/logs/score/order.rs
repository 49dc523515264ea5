//! How unusual it is that a template follows the one before it in the same process.
//!
//! In: process, template. Out: -ln of the share of the times in which this template followed the previous one, 0
//! where too little is known. One for all hosts of a gateway: a program goes its ways on every host, so orders are known
//! sooner, and the tables stay near the processor, which those of a thousand hosts do not. Pairs are counted in a hashed
//! table of two bytes each (16 KiB), the last template of a process in a table of 2,048 (16 KiB): what collides there
//! makes an order look more usual, or begins anew.

use crate::logs::identity::mix;

const COUNTS: usize = 8_192;
const PROCESSES: usize = 2_048;
/// How often a template has to have been followed by something before an order surprises.
const KNOWN: u16 = 24;
/// What follows more often than one time in so many does not surprise.
const USUAL: u16 = 8;

/// The orders of templates in all processes.
#[derive(Debug)]
pub struct Orders {
    counts: Box<[u16; COUNTS]>,
    /// Hash of the process and of its last template.
    last: Box<[(u32, u32); PROCESSES]>,
}

impl Default for Orders {
    fn default() -> Self {
        Self { counts: Box::new([0; COUNTS]), last: Box::new([(0, 0); PROCESSES]) }
    }
}

impl Orders {
    /// Takes a line of `process` (any number that tells it apart, such as [`process`](super::process)), after those
    /// before it. Gives the surprise in nats.
    #[inline]
    pub fn update(&mut self, process: u64, template: u64) -> f64 {
        let key = mix(process);
        let last = &mut self.last[key as usize % PROCESSES];
        let before = if last.0 == (key >> 32) as u32 { last.1 } else { 0 };
        *last = ((key >> 32) as u32, (mix(template) >> 32) as u32 | 1);
        // Before a process is known there is nothing that it could follow.
        if before == 0 {
            return 0.0;
        }
        let context = mix(u64::from(before));
        let pair = mix(context ^ template);
        let (context, pair) = (context as usize % COUNTS, pair as usize % COUNTS);
        let (all, this) = (self.counts[context], self.counts[pair]);
        if all == u16::MAX || this == u16::MAX {
            for count in self.counts.iter_mut() {
                *count /= 2;
            }
        }
        self.counts[context] += 1;
        if pair != context {
            self.counts[pair] += 1;
        }
        if all < KNOWN || this >= all / USUAL {
            return 0.0;
        }
        ((f64::from(all) + 1.0) / (f64::from(this) + 0.5)).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_followed_surprises_and_what_does_often_does_not() {
        let mut order = Orders::default();
        for i in 0..300_u64 {
            // Two processes between each other, each in its own order.
            assert_eq!(order.update(1, i % 3), 0.0, "{i}");
            assert_eq!(order.update(2, 10 + i % 2), 0.0, "{i}");
        }
        // 2 was the last of process 1: then comes 0, not 1.
        let surprise = order.update(1, 1);
        assert!((3.0..7.0).contains(&surprise), "{surprise}");
        // From there on it goes as always.
        assert_eq!(order.update(1, 2), 0.0);
        assert_eq!(order.update(1, 0), 0.0);
    }

    #[test]
    fn a_process_begins_without_surprise() {
        let mut order = Orders::default();
        for i in 0..300_u64 {
            order.update(1, i % 3);
        }
        assert_eq!(order.update(77, 2), 0.0);
        assert_eq!(order.update(77, 0), 0.0);
    }
}
