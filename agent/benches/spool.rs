//! What the spool costs an event: append, flush of 1,000, read back, acknowledge. The events are
//! JSON log lines of about 300 bytes. No sync, as between two deadlines.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_agent::spool::{Lane, Spool, SpoolConfig};

const EVENTS: u64 = 1_000;

/// One line of an SSH daemon's log as an event; numbers, users and addresses vary.
fn write_event(out: &mut Vec<u8>, stream: u64, seq: u64) {
    let mix = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (host, pid, port) = (mix >> 54, mix >> 40 & 0x7fff, 1_024 + (mix >> 20 & 0xefff));
    let user = ["root", "admin", "oracle", "test", "ubuntu"][(mix >> 33) as usize % 5];
    let ts_us = 1_760_000_000_000_000 + seq * 211;
    write!(
        out,
        r#"{{"agent":"gw-17","stream":"{stream:016x}","seq":{seq},"site":"plant-a","device":"host-{host:04}","ts_us":{ts_us},"clock":"synced","source":"udp","dialect":"rfc3164","severity":4,"app":"sshd","procid":"{pid}","message":"Failed password for invalid user {user} from 10.{}.{}.7 port {port} ssh2"}}"#,
        mix >> 11 & 0xff,
        mix & 0xff,
    )
    .unwrap();
}

fn spool(c: &mut Criterion) {
    let mut group = c.benchmark_group("spool");
    group.throughput(Throughput::Elements(EVENTS));
    for (name, zstd_level) in [("zstd_1", 1), ("uncompressed", 0)] {
        let dir = tempfile::tempdir().unwrap();
        let config = SpoolConfig { zstd_level, ..SpoolConfig::default() };
        let (mut spool, [_, _, _, mut reader]) = Spool::open(dir.path(), &config).unwrap();
        let topic: Arc<str> = "weir.logs".into();
        let mut events = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                for i in 0..EVENTS {
                    let key = format!("plant-a/host-{:04}", i * 7 % 1_000);
                    spool.append(
                        Lane::Rest,
                        &topic,
                        4,
                        key.as_bytes(),
                        1_760_000_000_000,
                        |id, out| {
                            write_event(out, id.stream.0, id.seq);
                        },
                    );
                }
                events += EVENTS;
                spool.flush().unwrap();
                while let Some(group) = reader.next_group().unwrap() {
                    black_box(&group);
                    reader.acknowledge(group.end).unwrap();
                }
            });
        });
        let written = spool.stats(Lane::Rest).written_bytes;
        #[expect(clippy::print_stderr, reason = "the figure belongs to the bench's output")]
        {
            eprintln!("spool/{name}: {} bytes written an event", written / events.max(1));
        }
    }
    group.finish();
}

criterion_group!(benches, spool);
criterion_main!(benches);
