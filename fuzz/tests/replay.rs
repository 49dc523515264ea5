//! Every seed of every target, then mutations of them: the same ones in every run of the same length.
//! `WEIR_FUZZ_SECONDS` is how long each target is tried (default 1).

use std::time::{Duration, Instant};

use weir_fuzz::{TARGETS, seeds};

/// Pieces that parsers look for.
const TOKENS: [&str; 24] = [
    "<34>",
    "1 ",
    " - ",
    "[a b=\"c\"]",
    "\\\"",
    "]",
    ": ",
    "[1]:",
    "%",
    "Oct 11 22:14:15 ",
    "2026-10-11T22:14:15.1Z ",
    "+02:00",
    "\u{feff}",
    "é",
    "{",
    "}",
    "\"",
    ",",
    "=",
    "1e999",
    "null",
    "date=2026-01-01 time=1:02:03",
    "::",
    "\n",
];

/// Numbers that look drawn (Marsaglia's xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap_or(0) % bound.max(1)
    }
}

fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            2 => {
                let end = (at + random.below(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => bytes.truncate(at),
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            _ => {
                let token = TOKENS[random.below(TOKENS.len())];
                bytes.splice(at..at, token.bytes());
            }
        }
    }
    bytes
}

#[test]
fn seeds_and_their_mutations() {
    let seconds = std::env::var("WEIR_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(1));
    for (name, target) in TARGETS {
        let seeds = seeds(name).unwrap();
        seeds.iter().for_each(|seed| target(seed));
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (begin, mut runs) = (Instant::now(), 0_u64);
        while begin.elapsed() < span {
            let input = mutate(&seeds, &mut random);
            let outcome = std::panic::catch_unwind(|| target(&input));
            if outcome.is_err() {
                panic!(
                    "target {name}, input as text: {:?}\nas bytes: {input:?}",
                    String::from_utf8_lossy(&input)
                );
            }
            runs += 1;
        }
        println!("{name}: {} seeds, {runs} mutations", seeds.len());
    }
}
