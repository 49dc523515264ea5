//! Redpanda Connect, once Benthos: socket_server, parse_log, a table in the mapping, kafka_franz.

use weir_tests::Launch;

use super::{Contender, Input, Place, finish, table};

pub(super) fn benthos(input: Input, place: &Place<'_>, port: u16) -> Contender {
    assert!(input == Input::Tcp, "it cannot follow a file");
    let topic = format!("{}benthos", place.prefix);
    // In the mapping itself: a table read from a file is parsed anew for each message.
    let rows = table("", |host, row| {
        let (class, critical) = row.split_once(',').unwrap();
        format!("\"{host}\":{{\"class\":\"{class}\",\"critical\":\"{critical}\"}},")
    });
    let hosts = rows.replace('\n', "");
    let config = format!(
        "http: {{enabled: false}}\nlogger: {{level: WARN}}\n\
         input:\n  socket_server:\n    network: tcp\n    address: 127.0.0.1:{port}\n    scanner: {{lines: {{}}}}\n\
         pipeline:\n  threads: 2\n  processors:\n    - parse_log: {{format: syslog_rfc5424, best_effort: true}}\n\
         \x20   - mapping: |\n        let hosts = {{{}}}\n        let known = $hosts.get(this.hostname)\n\
         \x20       root.ts = this.timestamp\n        root.host = this.hostname\n        root.app = this.appname\n\
         \x20       root.pid = this.procid\n        root.facility = this.facility\n        root.severity = this.severity\n\
         \x20       root.class = $known.class\n        root.critical = $known.critical\n        root.msg = this.message\n\
         output:\n  kafka_franz:\n    seed_brokers: [\"{}\"]\n    topic: \"{topic}\"\n    compression: lz4\n\
         \x20   idempotent_write: true\n    max_in_flight: 64\n    batching: {{count: 2000, period: 20ms}}\n",
        hosts.trim_end_matches(','),
        place.bootstrap
    );
    let launch = Launch::tool("benthos").file("benthos.yaml", config);
    finish("benthos", launch.args(["run", "benthos.yaml"]), port, topic)
}
