//! The whole line: a `weir-agent` and a `weir-sink`, as processes, on a Kafka and a Cassandra.
//!
//! Each line has topics, consumer group and keyspace of its own, so any number of them share the
//! services. Objects of the archive are closed after a second, so that a test sees commits soon.

use std::path::PathBuf;
use std::time::Duration;

use crate::cassandra::Cassandra;
use crate::kafka::Kafka;
use crate::{Launch, Program, free_port, http, unique};

/// The site of everything that names none.
pub const SITE: &str = "plant";

const START: Duration = Duration::from_secs(60);

/// Agent and sink, with what they stand on.
pub struct Line {
    /// The agent. Its sources are named `udp`, `tcp` and `http`.
    pub agent: Program,
    /// The sink.
    pub sink: Program,
    /// Between the two.
    pub kafka: Kafka,
    /// Behind the sink.
    pub cassandra: Cassandra,
    /// Keyspace and consumer group; with a dot behind, the prefix of the topics.
    pub name: String,
    ports: Ports,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    udp: u16,
    tcp: u16,
    http: u16,
    status: u16,
    sink: u16,
}

impl Line {
    /// Makes topics and schema, starts both programs and waits until both are ready.
    #[track_caller]
    pub fn start(name: &str, kafka: &Kafka, cassandra: &Cassandra) -> Self {
        Self::start_with(name, kafka, cassandra, "")
    }

    /// The same with more tables in the sink's configuration.
    #[track_caller]
    pub fn start_with(name: &str, kafka: &Kafka, cassandra: &Cassandra, more: &str) -> Self {
        Self::start_by(name, kafka, cassandra, |config| {
            Launch::ours("weir-sink").file("sink.toml", config.to_owned() + more)
        })
    }

    /// The same with another build of the sink: what makes it ready for a configuration, but for its
    /// command and `-c sink.toml`.
    #[track_caller]
    pub fn start_by(
        name: &str,
        kafka: &Kafka,
        cassandra: &Cassandra,
        sink: impl Fn(&str) -> Launch,
    ) -> Self {
        let name = unique(name);
        let ports = Ports {
            udp: free_port(),
            tcp: free_port(),
            http: free_port(),
            status: free_port(),
            sink: free_port(),
        };
        let config = sink_config(&name, kafka, cassandra, ports);
        sink(&config).args(["migrate", "-c", "sink.toml"]).run(START).ok();
        let mut line = Self {
            sink: sink(&config).args(["run", "-c", "sink.toml"]).start(),
            agent: Program::agent(&agent_config(&name, kafka, ports)),
            kafka: kafka.clone(),
            cassandra: cassandra.clone(),
            name,
            ports,
        };
        line.wait_ready(START);
        line
    }

    /// Waits until both programs say that they are ready.
    #[track_caller]
    pub fn wait_ready(&mut self, timeout: Duration) {
        let (agent, sink) = (self.agent_status("/readyz"), self.api("/readyz"));
        self.agent.wait_http(&agent, timeout);
        self.sink.wait_http(&sink, timeout);
    }

    /// Waits until Kafka has all that the agent has taken, and the sink has committed all of it.
    #[track_caller]
    pub fn settle(&mut self, timeout: Duration) {
        wait_empty_spool(&mut self.agent, self.ports.status, timeout);
        let topics = ["readings", "logs", "alerts"].map(|name| self.topic(name));
        let (kafka, group) = (&self.kafka, &self.name);
        self.sink.wait("all of it to be committed", timeout, |_| {
            match kafka.uncommitted(group, &topics) {
                0 => Ok(()),
                left => Err(format!("{left} records are not")),
            }
        });
    }

    /// The name of a topic, e.g. `readings`.
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// The folder of the archive.
    pub fn archive(&self) -> PathBuf {
        self.sink.dir().join("archive")
    }

    /// A URL of the sink, e.g. for `/v1/series`.
    pub fn api(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.sink)
    }

    /// A URL of the agent's input over HTTP, e.g. for `/v1/write`.
    pub fn input(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.http)
    }

    /// A URL of the agent's status, e.g. for `/readyz`.
    pub fn agent_status(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.status)
    }

    /// Where the agent takes syslog over UDP.
    pub fn udp(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.ports.udp)
    }

    /// Where the agent takes syslog over TCP.
    pub fn tcp(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.ports.tcp)
    }
}

/// Waits until Kafka has all that the agent has taken; `status` is the port of its metrics.
#[track_caller]
pub fn wait_empty_spool(agent: &mut Program, status: u16, timeout: Duration) {
    let metrics = format!("http://127.0.0.1:{status}/metrics");
    agent.wait("an empty spool", timeout, |_| {
        match metric(&metrics, "weir_agent_spool_waiting_events") {
            Ok(0.0) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    });
}

/// The sum of a metric over all its labels, or, as `name{label="value"`, over those with that first
/// label; 0 when it is not there (yet).
///
/// # Errors
/// When there is no answer.
pub fn metric(url: &str, name: &str) -> Result<f64, String> {
    let text = http::try_get(url).map_err(|e| e.to_string())?.text();
    let of_it = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{', ',', '}']))
    };
    let value = |line: &str| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
    // (not `sum`, which is -0 for nothing)
    Ok(text.lines().filter(of_it).filter_map(value).fold(0.0, |sum, value| sum + value))
}

fn agent_config(name: &str, kafka: &Kafka, ports: Ports) -> String {
    let Ports { udp, tcp, http, status, .. } = ports;
    format!(
        r#"
        [agent]
        id = "gateway"
        site = "{SITE}"
        data_dir = "data"
        heartbeat_s = 1
        [kafka]
        brokers = {brokers:?}
        topic_prefix = "{name}."
        [[source.syslog]]
        name = "udp"
        listen = "udp://127.0.0.1:{udp}"
        zone = "UTC"
        [[source.syslog]]
        name = "tcp"
        listen = "tcp://127.0.0.1:{tcp}"
        zone = "UTC"
        [[source.http]]
        name = "http"
        listen = "127.0.0.1:{http}"
        [source.http.fields]
        device = "device"
        time = "ts"
        values = "data"
        [status]
        listen = "127.0.0.1:{status}"
        "#,
        brokers = kafka.bootstrap.split(',').collect::<Vec<_>>(),
    )
}

fn sink_config(name: &str, kafka: &Kafka, cassandra: &Cassandra, ports: Ports) -> String {
    format!(
        r#"
        [kafka]
        brokers = {brokers:?}
        topic_prefix = "{name}."
        # a killed sink is missed soon
        librdkafka = {{ "session.timeout.ms" = "6000", "heartbeat.interval.ms" = "1000" }}
        [consume]
        group = "{name}"
        [topics]
        partitions = 3
        [store.cassandra]
        contact_points = {points:?}
        keyspace = "{name}"
        local_datacenter = "dc1"
        replication = {{ dc1 = 1 }}
        [archive]
        path = "archive"
        close_after_s = 1
        [http]
        listen = "127.0.0.1:{port}"
        "#,
        brokers = kafka.bootstrap.split(',').collect::<Vec<_>>(),
        points = cassandra.contact_points,
        port = ports.sink,
    )
}
