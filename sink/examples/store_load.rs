//! Writes a million readings of 200 series into a store, as the pipeline would after gathering, and
//! reports rows per second and the CPU time of this process.
//!
//! `cargo run --release -p weir-sink --example store_load -- 127.0.0.1:9042 [batches at once]`
//! (keyspace `weir_load`, made when missing), or a path for the embedded store.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use weir_models::ident::{EventId, SeriesKey, Stream};
use weir_models::time::now_us;
use weir_sink::store::config::{CassandraConfig, SqliteConfig};
use weir_sink::store::{Batch, ReadingRow, StoreConfig, open};

const SERIES: u64 = 200;
const ROWS: u64 = 1_000_000;
/// One gathered batch: 100 readings of each series.
const BATCH: u64 = 100 * SERIES;

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let target = args.next().context("name a Cassandra node or a file")?;
    let at_once: usize = args.next().map_or(Ok(2), |text| text.parse())?;
    let config = match target.rsplit_once(':') {
        Some(_) => StoreConfig {
            cassandra: Some(CassandraConfig {
                keyspace: "weir_load".into(),
                ..CassandraConfig::at(vec![target])
            }),
            ..StoreConfig::default()
        },
        None => StoreConfig {
            sqlite: Some(SqliteConfig { path: target.into() }),
            ..StoreConfig::default()
        },
    };
    let store = open(&config).await?;
    store.migrate().await?;
    // Several rounds: the first minutes of a fresh Cassandra are slower than what follows.
    for round in 0..5 {
        let stream = Stream(getrandom::u64()?);
        let start_us = now_us();
        let batches = (0..ROWS / BATCH).map(|number| batch(stream, start_us, number));
        let batches: Vec<Batch> = batches.collect();
        let (started, cpu_s) = (Instant::now(), cpu_seconds()?);
        let writes = batches.iter().map(|batch| store.write(batch));
        stream::iter(writes).buffer_unordered(at_once).try_collect::<()>().await?;
        let seconds = started.elapsed().as_secs_f64();
        let rate = ROWS as f64 / seconds;
        let cpu_s = cpu_seconds()? - cpu_s;
        println!(
            "round {round}: {ROWS} rows in {seconds:.2} s, {rate:.0} rows/s, {cpu_s:.2} CPU s"
        );
    }
    Ok(())
}

fn batch(stream: Stream, start_us: i64, number: u64) -> Batch {
    let row = |n: u64| {
        let seq = number * BATCH + n;
        ReadingRow {
            key: SeriesKey {
                site: "load".into(),
                device: format!("device-{:03}", n % SERIES / 5),
                metric: format!("metric-{}", n % 5),
            },
            ts_us: start_us + (seq / SERIES) as i64 * 1_000,
            id: EventId { stream, seq },
            value: 20.0 + ((seq * 7_919) % 100) as f64 / 10.0,
            score: seq.is_multiple_of(4).then_some((seq % 16) as f32 / 16.0),
            unit: Some("°C".into()),
        }
    };
    Batch { readings: (0..BATCH).map(row).collect(), ..Batch::default() }
}

/// CPU time of this process so far, user and system, from `/proc` (ticks of 10 ms).
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("no process name")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks =
        |field: usize| -> Result<f64> { Ok(fields.get(field).context("no field")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
