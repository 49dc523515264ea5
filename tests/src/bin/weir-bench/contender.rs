//! The contenders: our agent and the peers, each with the same work.
//!
//! In: where to read and where to write. Out: how to start the program. The work: take syslog over TCP or
//! from a file, parse it, look the host up in a table, make JSON, write it to one topic of Kafka with
//! `acks=all` and an idempotent producer. Our agent does more: it scores each line and keeps it on
//! disk until Kafka has it; the queues of the peers are in memory.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use weir_tests::{Launch, free_port};

use crate::load::KNOWN_HOSTS;

/// Where messages come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Four connections.
    Tcp,
    /// Datagrams of one sender; our agent only.
    Udp,
    /// A file that grows.
    File,
}

/// A program ready to be started.
pub(crate) struct Contender {
    /// What it is called.
    pub(crate) name: &'static str,
    /// How to start it.
    pub(crate) launch: Launch,
    /// Where it listens; of no use with a file.
    pub(crate) port: u16,
    /// The file that it follows: `input.log` in its folder.
    pub(crate) file: PathBuf,
    /// The topic that holds what it has read.
    pub(crate) topic: String,
    /// Where our agent tells its metrics.
    pub(crate) metrics: Option<String>,
}

/// Who is known here.
pub(crate) const NAMES: [&str; 3] = ["weir", "rsyslog", "syslog-ng"];

/// What a contender is told.
pub(crate) struct Place<'a> {
    /// A release build of `weir-agent`.
    pub(crate) agent: &'a Path,
    /// Kafka.
    pub(crate) bootstrap: &'a str,
    /// Before the names of topics.
    pub(crate) prefix: &'a str,
}

/// The contender of that name.
pub(crate) fn contender(name: &str, input: Input, place: &Place<'_>) -> Contender {
    let port = free_port();
    match name {
        "weir" => weir(input, place, port),
        "rsyslog" => rsyslog(input, place, port),
        "syslog-ng" => syslog_ng(input, place, port),
        other => panic!("no contender is called `{other}`: {}", NAMES.join(", ")),
    }
}

fn weir(input: Input, place: &Place<'_>, port: u16) -> Contender {
    let source = match input {
        Input::Tcp | Input::Udp => {
            let network = if input == Input::Tcp { "tcp" } else { "udp" };
            format!(
                "[[source.syslog]]\nlisten = \"{network}://127.0.0.1:{port}\"\nzone = \"UTC\"\n"
            )
        }
        Input::File => {
            "[[source.file]]\npaths = [\"input.log\"]\nformat = \"syslog\"\nzone = \"UTC\"\n".into()
        }
    };
    let status = free_port();
    let config = format!(
        "agent = {{ site = \"bench\", id = \"bench\", data_dir = \"data\" }}\n\
         kafka = {{ brokers = [\"{}\"], topic_prefix = \"{}\" }}\n\
         metadata = {{ files = [\"devices.csv\"] }}\n\
         status = {{ listen = \"127.0.0.1:{status}\" }}\n{source}",
        place.bootstrap, place.prefix
    );
    let launch = Launch::at("weir-agent", place.agent.into())
        .file("agent.toml", config)
        .file(
            "devices.csv",
            table("site,device,class,critical", |host, row| format!("bench,{host},{row}")),
        )
        .args(["run", "-c", "agent.toml"]);
    let metrics = Some(format!("http://127.0.0.1:{status}/metrics"));
    Contender { metrics, ..finish("weir", launch, port, format!("{}logs", place.prefix)) }
}

/// As its own documents advise for omkafka, with the figures of librdkafka that serve it best here.
fn rsyslog(input: Input, place: &Place<'_>, port: u16) -> Contender {
    let topic = format!("{}rsyslog", place.prefix);
    let launch = Launch::tool("rsyslogd");
    let dir = launch.dir().display().to_string();
    // A file's line is not parsed by rsyslog: its fields are cut out at spaces, the cheapest way.
    let (module, source, fields, host) = match input {
        Input::Tcp | Input::Udp => (
            "module(load=\"imptcp\" threads=\"2\")",
            format!("input(type=\"imptcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"in\")"),
            "",
            "$hostname",
        ),
        Input::File => (
            "module(load=\"imfile\" mode=\"inotify\")",
            format!(
                "input(type=\"imfile\" file=\"{dir}/input.log\" tag=\"f\" ruleset=\"in\" persistStateInterval=\"10000\")"
            ),
            "set $.pri = field($msg, 32, 1); set $.ts = field($msg, 32, 2); set $.host = field($msg, 32, 3);\n\
             set $.app = field($msg, 32, 4); set $.pid = field($msg, 32, 5);\n",
            "$.host",
        ),
    };
    let names = match input {
        Input::Tcp | Input::Udp => [
            "timereported\" dateFormat=\"rfc3339",
            "hostname",
            "app-name",
            "procid",
            "syslogseverity-text",
        ],
        Input::File => ["$.ts", "$.host", "$.app", "$.pid", "$.pri"],
    };
    let mut properties = String::new();
    let outs = ["ts", "host", "app", "pid", "severity"];
    for (out, name) in outs.into_iter().zip(names).chain([
        ("class", "$!class"),
        ("critical", "$!critical"),
        ("msg", "msg"),
    ]) {
        writeln!(properties, "  property(outname=\"{out}\" name=\"{name}\" format=\"jsonf\")")
            .unwrap();
    }
    let config = format!(
        "global(workDirectory=\"{dir}\" maxMessageSize=\"8k\")\n{module}\nmodule(load=\"omkafka\")\n\
         lookup_table(name=\"hosts\" file=\"{dir}/hosts.json\")\n\
         template(name=\"json\" type=\"list\" option.jsonf=\"on\") {{\n{properties}}}\n\
         ruleset(name=\"in\" queue.type=\"FixedArray\" queue.size=\"50000\" queue.dequeueBatchSize=\"1024\" queue.workerThreads=\"1\") {{\n\
         {fields}set $.known = lookup(\"hosts\", {host});\n\
         set $!class = field($.known, 124, 1); set $!critical = field($.known, 124, 2);\n\
         action(type=\"omkafka\" broker=[\"{}\"] topic=\"{topic}\" template=\"json\" partitions.auto=\"on\"\n\
           resubmitOnFailure=\"on\" keepFailedMessages=\"on\" failedMsgFile=\"{dir}/failed.json\" action.resumeRetryCount=\"-1\"\n\
           confParam=[\"compression.codec=lz4\", \"acks=all\", \"enable.idempotence=true\", \"queue.buffering.max.ms=20\",\n\
             \"queue.buffering.max.messages=100000\", \"batch.num.messages=10000\"])\n}}\n{source}\n",
        place.bootstrap
    );
    let rows = table("", |host, row| {
        format!("{{\"index\":\"{host}\",\"value\":\"{}\"}},", row.replace(',', "|"))
    });
    let hosts = format!(
        "{{\"version\":1,\"nomatch\":\"-|-\",\"type\":\"string\",\"table\":[{}]}}",
        rows.trim().trim_end_matches(',')
    );
    let launch = launch.file("rsyslog.conf", config).file("hosts.json", hosts);
    finish("rsyslog", launch.args(["-n", "-i", "NONE", "-f", "rsyslog.conf"]), port, topic)
}

fn syslog_ng(input: Input, place: &Place<'_>, port: u16) -> Contender {
    let topic = format!("{}syslog-ng", place.prefix);
    let launch = Launch::tool("syslog-ng");
    let dir = launch.dir().display().to_string();
    let version = Launch::tool("syslog-ng").arg("-V").run(std::time::Duration::from_secs(20)).ok();
    let version = version.lines().find_map(|line| line.strip_prefix("Config version: ")).unwrap();
    let source = match input {
        Input::Tcp | Input::Udp => format!(
            "network(ip(\"127.0.0.1\") port({port}) transport(\"tcp\") flags(syslog-protocol) max-connections(64) log-iw-size(40000) log-fetch-limit(1000));"
        ),
        Input::File => format!(
            "file(\"{dir}/input.log\" flags(syslog-protocol) follow-freq(0.1) log-iw-size(40000) log-fetch-limit(1000));"
        ),
    };
    let config = format!(
        "@version: {version}\noptions {{ stats_freq(0); use_dns(no); keep_hostname(yes); chain_hostnames(no); threaded(yes); log_fifo_size(200000); mark_freq(0); }};\n\
         source s_in {{ {source} }};\n\
         parser p_hosts {{ add-contextual-data(selector(\"$HOST\") database(\"{dir}/hosts.csv\") default-selector(\"none\")); }};\n\
         destination d_kafka {{ kafka-c(bootstrap-servers(\"{}\") topic(\"{topic}\") workers(1) batch-lines(1000) sync-send(no)\n\
           config(\"compression.codec\"(\"lz4\") \"acks\"(\"all\") \"enable.idempotence\"(\"true\") \"queue.buffering.max.ms\"(\"20\") \"queue.buffering.max.messages\"(\"100000\"))\n\
           message(\"$(format-json ts=$ISODATE host=$HOST app=$PROGRAM pid=$PID facility=$FACILITY severity=$LEVEL class=$class critical=$critical msg=$MSG)\")); }};\n\
         log {{ source(s_in); parser(p_hosts); destination(d_kafka); flags(flow-control); }};\n",
        place.bootstrap
    );
    let hosts = table("", |host, row| {
        let (class, critical) = row.split_once(',').unwrap();
        format!("{host},class,{class}\n{host},critical,{critical}")
    });
    let launch = launch
        .file("syslog-ng.conf", config)
        .file("hosts.csv", hosts)
        .args(["--foreground", "--no-caps", "--cfgfile=syslog-ng.conf", "--pidfile=pid"])
        .args(["--persist-file=persist", "--control=control"]);
    finish("syslog-ng", launch, port, topic)
}

fn finish(name: &'static str, launch: Launch, port: u16, topic: String) -> Contender {
    let launch = launch.file("input.log", "");
    let file = launch.dir().join("input.log");
    Contender { name, launch, port, file, topic, metrics: None }
}

/// A line for each known host: its name and `class,critical`.
fn table(head: &str, line: impl Fn(&str, &str) -> String) -> String {
    let mut out = if head.is_empty() { String::new() } else { format!("{head}\n") };
    for host in 0..KNOWN_HOSTS {
        let row = format!("class-{},{}", host % 7, host % 2);
        writeln!(out, "{}", line(&format!("host-{host}"), &row)).unwrap();
    }
    out
}
