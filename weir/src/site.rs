//! Site: an agent and a sink in one process.
//!
//! In: a checked agent configuration and the sink's settings. Out: both running on one transport.
//! The stages are those of `weir-agent` and `weir-sink`; only what lies under [`Transport`],
//! [`Consumer`] and [`Store`] differs. Promises: everything is started or
//! nothing; stopping stops the agent first, so that the sink can take what it still sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use weir_agent::config::Config;
use weir_agent::pipeline::Agent;
use weir_agent::publish::{Direct, Transport};
use weir_models::kafka::KafkaConfig;
use weir_models::topic::TopicNames;
use weir_sink::access::Access;
use weir_sink::archive::{Archive, CloseAt};
use weir_sink::consume::{Consumer, Producer};
use weir_sink::front::Front;
use weir_sink::pipeline::Settings;
use weir_sink::service::{Parts, Service};
use weir_sink::silence::SilenceConfig;
use weir_sink::status::Status;
use weir_sink::store::{self, Store, StoreConfig};
use weir_sink::survey::{KafkaOffsets, Offsets};

use crate::broker::{Broker, Embedded, Member};

/// Records of one take, and how long rows are gathered.
const BATCH_RECORDS: usize = 5_000;
const GATHER: Duration = Duration::from_millis(500);
const GATHER_BYTES: usize = 8 << 20;
/// Memory for archive objects that are not closed yet.
const ARCHIVE_MEMORY_BYTES: usize = 64 << 20;
/// How long the sink may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What carries records between agent and sink.
pub struct Line {
    /// The agent's side.
    pub transport: Arc<dyn Transport>,
    /// The sink's reading side.
    pub consumer: Box<dyn Consumer>,
    /// The sink's writing side.
    pub producer: Arc<dyn Producer>,
    /// How far the line is.
    pub offsets: Arc<dyn Offsets>,
}

/// Where things are and how they are closed.
pub struct Settled {
    /// The agent's configuration.
    pub agent: Config,
    /// Where rows go.
    pub store: StoreConfig,
    /// Folder of the archive.
    pub archive: PathBuf,
    /// Age at which an archive object is closed.
    pub close_after: Duration,
    /// Address of API and page.
    pub listen: String,
    /// Who may use the API.
    pub access: Access,
}

/// A running site.
pub struct Site {
    /// The agent.
    pub agent: Agent,
    /// The sink.
    pub sink: Service,
    /// The store, for whoever asks it directly.
    pub store: Arc<dyn Store>,
    /// The archive.
    pub archive: Archive,
}

/// The embedded line in `dir`.
///
/// # Errors
/// When its files cannot be opened.
pub fn embedded(dir: &Path, names: &TopicNames) -> anyhow::Result<Line> {
    let broker = Broker::open(&dir.join("broker"), names.clone())?;
    let embedded = Embedded(broker.clone());
    Ok(Line {
        transport: Arc::new(embedded.clone()),
        consumer: Box::new(Member::new(broker)),
        producer: Arc::new(embedded.clone()),
        offsets: Arc::new(embedded),
    })
}

/// A line over a real Kafka; missing topics are made.
///
/// # Errors
/// When Kafka does not answer or refuses.
pub async fn kafka(
    config: &KafkaConfig,
    group: &str,
    partitions: i32,
    status: &Arc<Status>,
) -> anyhow::Result<Line> {
    let names = TopicNames::new(&config.topic_prefix);
    let connection = config.librdkafka_settings(None);
    let new = weir_sink::consume::topics::NewTopics { partitions, replication: 1 };
    weir_sink::consume::topics::create_missing(&connection, &names, new).await?;
    let consumer = weir_sink::consume::kafka::KafkaConsumer::start(
        &connection,
        group,
        &names,
        status.clone(),
        weir_sink::consume::kafka::Reading::ALL,
    )?;
    let producer = weir_sink::consume::producer::KafkaProducer::start(&connection, &names)?;
    Ok(Line {
        transport: Arc::new(Direct::new(config, None)?),
        consumer: Box::new(consumer),
        producer: Arc::new(producer),
        offsets: Arc::new(KafkaOffsets { connection, group: group.into(), names }),
    })
}

/// Starts both programs.
///
/// # Errors
/// The first thing that is in the way, and what to do about it.
pub async fn start(settled: Settled, line: Line, status: Arc<Status>) -> anyhow::Result<Site> {
    let store = store::open(&settled.store).await?;
    store.migrate().await?;
    let archive = Archive::local(&settled.archive)?;
    archive.check().await?;
    let settings = Settings {
        topics: TopicNames::new(&settled.agent.kafka.topic_prefix),
        batch_records: BATCH_RECORDS,
        gather: GATHER,
        gather_bytes: GATHER_BYTES,
        close: CloseAt { age: settled.close_after, rows: 1_000_000, bytes: 64 << 20 },
        archive_memory_bytes: ARCHIVE_MEMORY_BYTES,
        dedupe: weir_sink::decode::dedupe::Bounds::default(),
        stop_within: STOP_WITHIN,
    };
    let parts = Parts {
        consumer: line.consumer,
        producer: line.producer,
        offsets: line.offsets,
        store: store.clone(),
        seal: settled.store.seal.clone(),
        silence: SilenceConfig::default(),
        archive: archive.clone(),
        status,
    };
    let front = Front::bind(&settled.listen, parts.status.clone(), None).await?;
    let sink = Service::start(settings, settled.access, parts, &front);
    let agent =
        weir_agent::pipeline::start(settled.agent, line.transport, &Handle::current(), None)
            .await
            .context("the agent cannot start")?;
    Ok(Site { agent, sink, store, archive })
}

impl Site {
    /// Stops the agent, then the sink.
    ///
    /// # Errors
    /// Why the sink could not go on, if it had ended before.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.agent.stop().await;
        Ok(self.sink.stop().await?)
    }
}
