//! The peer of the sink: Kafka Connect (one worker) with the engine of the DataStax connector, from a JSON topic into
//! a table.
//!
//! In: a Kafka, a Cassandra, and our sink, which makes the table. Out: its figures. The connector itself is not on Maven Central, its engine is
//! (mapping, pooling, batching); `tests/bench-peers/connect` has the thin shell that Kafka Connect calls, which says
//! when each of its writes began and ended. Built once, by Maven and the network; the worker is a JVM with 512 MiB.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use weir_tests::cassandra::Cassandra;
use weir_tests::consumers::kafka_jars;
use weir_tests::kafka::Kafka;
use weir_tests::paths::root;
use weir_tests::services::unique;
use weir_tests::{Launch, free_port};

use crate::measure::mib;
use crate::sink::{Figures, LONGEST, Work, config, count, fill, migrated};

/// What it is called in the table.
pub(crate) const NAME: &str = "connect";

/// Fills a topic and measures how it is emptied.
pub(crate) fn run(sink: &Path, kafka: &Kafka, cassandra: &Cassandra, work: Work) -> Figures {
    let Work { events, partitions, .. } = work;
    let name = unique("bench_connect");
    kafka.create_topic(&name, partitions);
    migrated(sink, config(&name, kafka, cassandra, free_port(), work));
    fill(kafka, &name, work);
    let classes = format!("{}/*", kafka_jars().display());
    let launch = Launch::tool("java");
    let offsets = launch.dir().join("offsets");
    let mut worker = launch
        .file("worker.properties", worker_config(kafka, &offsets, &plug_ins()))
        .file("sink.properties", sink_config(&name, cassandra))
        .file("log4j2.properties", LOG)
        .args([
            "-Xms256m",
            "-Xmx512m",
            "-XX:+UseG1GC",
            "-Dlog4j2.configurationFile=log4j2.properties",
        ])
        .args(["-cp", &classes, "org.apache.kafka.connect.cli.ConnectStandalone"])
        .args(["worker.properties", "sink.properties"])
        .start();
    let (began, group) = (Instant::now(), format!("connect-{name}"));
    let topics = [name.clone()];
    worker.wait("all of it to be committed", LONGEST, |_| {
        match kafka.uncommitted(&group, &topics) {
            0 => Ok(()),
            left => Err(format!("{left} records are not")),
        }
    });
    let (seconds, cpu_s) = (began.elapsed().as_secs_f64(), worker.cpu_seconds());
    let peak_mib = mib(worker.rss_peak_bytes());
    let puts = worker.lines().iter().filter_map(|line| put(&line.text)).collect::<Vec<_>>();
    worker.kill9();
    let first = puts.iter().map(|put| put[0]).min().unwrap();
    let last = puts.iter().map(|put| put[1]).max().unwrap();
    let missing = events as i64 - count(cassandra, &name);
    Figures {
        name: NAME,
        // What was read again after a failure is not counted twice.
        rows_a_second: events as f64 * 1e3 / (last - first) as f64,
        seconds,
        cpu_s_per_million: cpu_s / (events as f64 / 1e6),
        peak_mib,
        missing,
    }
}

/// Begin and end of a write in milliseconds, and its rows.
fn put(line: &str) -> Option<[u64; 3]> {
    let mut numbers = line.strip_prefix("PUT ")?.split(' ').map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?])
}

/// The folder of plug-ins, built the first time.
fn plug_ins() -> PathBuf {
    let folder = root().join("tests/bench-peers/connect");
    let target = root().join("target/bench-connect");
    let plug_ins = target.join("plug-ins");
    if plug_ins.join("weir/ready").is_file() {
        return plug_ins;
    }
    println!("building the connector (once, by Maven)");
    let jars = format!("-DoutputDirectory={}", plug_ins.join("weir").display());
    let status = Command::new("mvn")
        .args(["-B", "-q", "-f"])
        .arg(folder.join("pom.xml"))
        .arg(format!("-Dbuilt={}", target.join("classes").display()))
        .args(["package", "dependency:copy-dependencies", "-DskipTests"])
        .arg(&jars)
        .status()
        .expect("install Maven (`apt install maven`)");
    assert!(status.success(), "Maven could not build the connector; what it says stands above");
    let jar = target.join("classes/cassandra-sink-1.jar");
    std::fs::copy(&jar, plug_ins.join("weir/cassandra-sink-1.jar")).unwrap();
    std::fs::write(plug_ins.join("weir/ready"), "").unwrap();
    plug_ins
}

fn worker_config(kafka: &Kafka, offsets: &std::path::Path, plug_ins: &std::path::Path) -> String {
    format!(
        "bootstrap.servers={}\n\
         key.converter=org.apache.kafka.connect.storage.StringConverter\n\
         value.converter=org.apache.kafka.connect.storage.StringConverter\n\
         offset.storage.file.filename={}\n\
         offset.flush.interval.ms=1000\n\
         plugin.path={}\n\
         plugin.discovery=hybrid_warn\n\
         listeners=http://127.0.0.1:0\n\
         consumer.max.poll.records=5000\n\
         consumer.auto.offset.reset=earliest\n",
        kafka.bootstrap,
        offsets.display(),
        plug_ins.display()
    )
}

fn sink_config(name: &str, cassandra: &Cassandra) -> String {
    let (address, port) = cassandra.contact_points[0].rsplit_once(':').unwrap();
    format!(
        "name={name}\n\
         connector.class=weir.bench.CassandraSinkConnector\n\
         tasks.max=2\n\
         topics={name}\n\
         contactPoints={address}\n\
         port={port}\n\
         loadBalancing.localDc=dc1\n\
         maxConcurrentRequests=500\n\
         maxNumberOfRecordsInBatch=32\n\
         connectionPoolLocalSize=2\n\
         jmx=false\n\
         topic.{name}.{name}.logs.mapping={MAPPING}\n\
         topic.{name}.{name}.logs.consistencyLevel=LOCAL_ONE\n"
    )
}

/// Column to field. What it cannot work out itself stands in for it: the facility for the bucket (a partition for each
/// host, as ours has here), the number of the event for its stream.
const MAPPING: &str = "site=value.site,host=value.host,bucket=value.facility,ts_us=value.ts_us,stream=value.seq,\
                       seq=value.seq,device=value.device,facility=value.facility,severity=value.severity,app=value.app,\
                       procid=value.procid,message=value.message,template=value.template,score=value.score";

const LOG: &str = "appender.out.type = Console\n\
                   appender.out.name = out\n\
                   appender.out.layout.type = PatternLayout\n\
                   appender.out.layout.pattern = %d{ISO8601} %p %c{1} %m%n\n\
                   rootLogger.level = INFO\n\
                   rootLogger.appenderRef.out.ref = out\n";
