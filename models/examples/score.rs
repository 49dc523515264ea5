//! Scores a file: `cargo run -p weir-models --example score -- FILE.csv > scores.csv`
//!
//! In: a file with a head line and the columns `timestamp,value` (UTC, `2014-04-01 00:05:00`). Out, on standard
//! output: `timestamp,value,score,alarm`, one row per row. The code that scores is the one agents run.

use std::error::Error;
use std::io::Write as _;
use weir_models::detect::{Suite, SuiteConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name the file to score: score FILE.csv")?;
    let text = std::fs::read_to_string(&path)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    writeln!(out, "timestamp,value,score,alarm")?;
    let mut suite = Suite::new(&SuiteConfig::default());
    for (i, line) in text.lines().enumerate().skip(1) {
        let (stamp, value) =
            line.split_once(',').ok_or_else(|| format!("line {}: no comma", i + 1))?;
        let at = stamp.parse::<jiff::civil::DateTime>()?.to_zoned(jiff::tz::TimeZone::UTC)?;
        let verdict = suite.update(at.timestamp().as_microsecond(), value.trim().parse()?);
        writeln!(out, "{stamp},{value},{},{}", verdict.score, u8::from(verdict.alarm))?;
    }
    out.flush()?;
    Ok(())
}
