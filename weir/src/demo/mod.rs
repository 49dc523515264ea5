//! `weir demo`: the main job on real input, from sockets to store, archive, API and page.
//!
//! In: options. Out: a report of what arrived, from reading store and archive back: nothing in it is
//! taken from what the pipeline believes of itself. Fails when an event was lost or is there twice.

mod check;
mod feed;
mod fixture;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use weir_models::device::Device;
use weir_models::kafka::KafkaConfig;
use weir_models::topic::{Topic, TopicNames};
use weir_sink::access::Access;
use weir_sink::consume::Producer;
use weir_sink::status::Status;
use weir_sink::store::StoreConfig;
use weir_sink::store::config::{CassandraConfig, SqliteConfig};

use crate::site::{self, Settled, Site};
use feed::Addresses;
pub use report::Report;

/// How long everything may take to arrive.
const ARRIVE_WITHIN: Duration = Duration::from_secs(300);
/// Partitions of topics that the demo makes on a real Kafka.
const PARTITIONS: i32 = 4;
/// Keyspace of the demo on a real Cassandra.
const KEYSPACE: &str = "weir_demo";

/// Options of the demo.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// End after the report, without waiting for Ctrl-C.
    #[arg(long)]
    pub exit: bool,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Use this Kafka in place of the embedded broker.
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// Use this Cassandra in place of the embedded store.
    #[arg(long, value_name = "HOST:PORT")]
    pub cassandra: Option<String>,
    /// Address of the web page and the API.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Keep the data in this folder; default: a temporary one.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// What could not be started, or what was lost.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let dir = options.data.clone().unwrap_or_else(|| temporary.path().into());
    let started = Instant::now();
    let (site, producer) = start(&options, &dir).await?;
    let page = format!("http://{}/", site.sink.address());
    let report = measure(&options, &site, &*producer, started).await?;
    if options.json {
        say(&serde_json::to_string(&report)?);
    } else {
        say(&report.text(&page, &dir));
    }
    let good = report.lost == 0 && report.double == 0;
    if good && !options.exit {
        tokio::signal::ctrl_c().await?;
    }
    site.stop().await?;
    if !good {
        bail!(
            "{} events were lost and {} are there twice: please report this",
            report.lost,
            report.double
        );
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is the output of this command")]
fn say(text: &str) {
    println!("{text}");
}

async fn start(options: &Options, dir: &Path) -> anyhow::Result<(Site, Arc<dyn Producer>)> {
    let prefix = if options.kafka.is_some() { "weir.demo." } else { "weir." };
    let names = TopicNames::new(prefix);
    let status = Status::new();
    let line = match &options.kafka {
        None => site::embedded(dir, &names)?,
        Some(brokers) => {
            let config = KafkaConfig::plain(brokers, prefix);
            // A group of its own: the committed offsets of an earlier run belong to an archive that
            // may be gone.
            let group = format!("weir-demo-{}", weir_models::time::now_us());
            site::kafka(&config, &group, PARTITIONS, &status).await?
        }
    };
    let store = match &options.cassandra {
        None => StoreConfig {
            sqlite: Some(SqliteConfig { path: dir.join("store.sqlite") }),
            ..StoreConfig::default()
        },
        Some(points) => {
            let points = points.split(',').map(Into::into).collect();
            let cassandra =
                CassandraConfig { keyspace: KEYSPACE.into(), ..CassandraConfig::at(points) };
            StoreConfig { cassandra: Some(cassandra), ..StoreConfig::default() }
        }
    };
    let settled = Settled {
        agent: agent_config(dir, prefix)?,
        store,
        archive: dir.join("archive"),
        close_after: Duration::from_secs(1),
        listen: options.listen.clone(),
        access: Access::default(),
    };
    let producer = line.producer.clone();
    Ok((site::start(settled, line, status).await?, producer))
}

fn agent_config(dir: &Path, prefix: &str) -> anyhow::Result<weir_agent::config::Config> {
    let text = format!(
        r#"
        [agent]
        id = "demo-gateway"
        site = "{site}"
        data_dir = {data_dir:?}
        heartbeat_s = 2
        [kafka]
        brokers = ["embedded"]
        topic_prefix = "{prefix}"
        [[source.syslog]]
        name = "udp"
        listen = "udp://127.0.0.1:0"
        zone = "UTC"
        [[source.syslog]]
        name = "tcp"
        listen = "tcp://127.0.0.1:0"
        zone = "UTC"
        [[source.http]]
        name = "http"
        listen = "127.0.0.1:0"
        [source.http.fields]
        device = "device"
        time = "ts"
        values = "data"
        [status]
        listen = ""
        "#,
        site = fixture::SITE,
        data_dir = dir.join("agent").display().to_string(),
    );
    Ok(weir_agent::config::Config::parse("the demo's own configuration", &text)?)
}

/// Feeds the input, waits until it has arrived, and reads store and archive back.
async fn measure(
    options: &Options,
    site: &Site,
    producer: &dyn Producer,
    started: Instant,
) -> anyhow::Result<Report> {
    let total = feed::total()?;
    let bar = progress(options, total);
    describe_devices(site, producer).await?;
    let address = |name: &str| {
        let found = site.agent.addresses().get(name).copied();
        found.with_context(|| format!("the source `{name}` has no address"))
    };
    let to = Addresses { udp: address("udp")?, tcp: address("tcp")?, http: address("http")? };
    let fed_from = Instant::now();
    feed::feed(to, &bar).await?;
    bar.set_message("waiting until all of it is stored and archived");
    let arrived = check::wait_until_arrived(site, total, ARRIVE_WITHIN).await?;
    let took = fed_from.elapsed();
    bar.finish_and_clear();
    check::report(site, total, arrived, took, started.elapsed()).await
}

fn progress(options: &Options, total: u64) -> ProgressBar {
    if options.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} events {per_sec} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Tells who the devices are, as a person would by the API, and waits until the agent knows.
async fn describe_devices(site: &Site, producer: &dyn Producer) -> anyhow::Result<()> {
    let device = |name: &str, meta: [(&str, &str); 2], unit: (&str, &str)| Device {
        site: fixture::SITE.into(),
        device: name.into(),
        aliases: Vec::new(),
        meta: meta.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        units: [(unit.0.to_owned(), unit.1.to_owned())].into(),
        updated_us: weir_models::time::now_us(),
    };
    let devices = [
        device("press-7", [("hall", "2"), ("maker", "unknown")], ("temperature", "F")),
        device("server-5f5533", [("rack", "b-4"), ("role", "web")], ("cpu", "%")),
        device("iot-device-01", [("room", "kitchen"), ("board", "raspberry-pi")], ("temp", "C")),
        device("iot-device-02", [("room", "cellar"), ("board", "raspberry-pi")], ("temp", "C")),
        device("iot-device-03", [("room", "attic"), ("board", "raspberry-pi")], ("temp", "C")),
    ];
    for device in &devices {
        let json = serde_json::to_vec(device)?;
        producer.send(Topic::Metadata, device.key().as_bytes(), Some(&json), &[]).await?;
    }
    let known = async {
        while site.agent.report().await.is_some_and(|report| report.devices < devices.len() as u64)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), known)
        .await
        .context("the agent was not told of the devices within 60 s")
}
