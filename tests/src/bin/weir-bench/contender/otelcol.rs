//! The OpenTelemetry Collector: tcplog or filelog with syslog_parser, batch, kafka.
//!
//! It does less than the others: our build has no lookup processor, whose module was not to be had at this
//! version, so no host is looked up, and the record has no time stamp. Its producer is idempotent
//! because of `acks=all`.

use weir_tests::Launch;

use super::{Contender, Input, Place, finish};

pub(super) fn otelcol(input: Input, place: &Place<'_>, port: u16) -> Contender {
    let topic = format!("{}otelcol", place.prefix);
    let (receiver, source) = match input {
        Input::Tcp | Input::Udp => ("tcplog", format!("listen_address: \"127.0.0.1:{port}\"")),
        Input::File => (
            "filelog",
            "include: [input.log]\n    start_at: beginning\n    poll_interval: 200ms\n    include_file_name: false"
                .into(),
        ),
    };
    let config = format!(
        "receivers:\n  {receiver}:\n    {source}\n    operators:\n      - {{type: syslog_parser, protocol: rfc5424}}\n\
         processors:\n  batch: {{send_batch_size: 2000, timeout: 50ms}}\n  transform:\n    log_statements:\n\
         \x20     - context: log\n        statements: [\"set(log.body, log.attributes)\"]\n\
         exporters:\n  kafka:\n    brokers: [\"{}\"]\n    logs: {{topic: \"{topic}\", encoding: raw}}\n\
         \x20   producer: {{compression: lz4, required_acks: -1}}\n\
         \x20   sending_queue: {{enabled: true, queue_size: 200, block_on_overflow: true}}\n\
         \x20   retry_on_failure: {{enabled: true, max_elapsed_time: 0s}}\n\
         service:\n  telemetry: {{logs: {{level: warn}}, metrics: {{level: none}}}}\n\
         \x20 pipelines:\n    logs: {{receivers: [{receiver}], processors: [transform, batch], exporters: [kafka]}}\n",
        place.bootstrap
    );
    let launch = Launch::tool("otelcol").file("otelcol.yaml", config);
    let launch = launch.args(["--config", "otelcol.yaml"]);
    Contender { looks_up: false, ..finish("otelcol", launch, port, topic) }
}
