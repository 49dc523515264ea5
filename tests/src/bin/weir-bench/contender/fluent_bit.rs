//! Fluent Bit: syslog or tail with a parser of its own, a table in Lua, kafka.
//!
//! Debian does not have it: the program is looked for in `PATH`.

use weir_tests::Launch;

use super::{Contender, Input, Place, finish, table};

const PARSERS: &str = r"[PARSER]
    name rfc5424
    format regex
    regex ^\<(?<pri>[0-9]{1,5})\>1 (?<time>[^ ]+) (?<host>[^ ]+) (?<app>[^ ]+) (?<pid>[-0-9]+) (?<msgid>[^ ]+) (?<extradata>(\[(.*?)\]|-)) (?<msg>.+)$
    time_key time
    time_format %Y-%m-%dT%H:%M:%S.%L%z
    time_keep on
";

const LOOKUP: &str = r#"local hosts = {}
for line in io.lines("hosts.csv") do
  local host, class, critical = line:match("^([^,]+),([^,]*),([^,]*)$")
  if host then hosts[host] = {class, critical} end
end
function enrich(tag, stamp, record)
  local known = hosts[record.host]
  if known then record.class, record.critical = known[1], known[2] end
  local pri = tonumber(record.pri)
  if pri then record.facility, record.severity = math.floor(pri / 8), pri % 8 end
  record.pri = nil
  return 2, stamp, record
end
"#;

pub(super) fn fluent_bit(input: Input, place: &Place<'_>, port: u16) -> Contender {
    let topic = format!("{}fluent-bit", place.prefix);
    let source = match input {
        Input::Tcp | Input::Udp => format!(
            "    name syslog\n    mode tcp\n    listen 127.0.0.1\n    port {port}\n    buffer_chunk_size 64k\n"
        ),
        Input::File => "    name tail\n    path input.log\n    read_from_head on\n    refresh_interval 1\n    buffer_chunk_size 512k\n"
            .into(),
    };
    // A retry limit loses what Kafka has not taken by then.
    let config = format!(
        "[SERVICE]\n    flush 0.2\n    daemon off\n    log_level warn\n    parsers_file parsers.conf\n\
         [INPUT]\n{source}    parser rfc5424\n    buffer_max_size 1m\n    mem_buf_limit 100M\n\
         [FILTER]\n    name lua\n    match *\n    script lookup.lua\n    call enrich\n\
         [OUTPUT]\n    name kafka\n    match *\n    brokers {}\n    topics {topic}\n    format json\n\
         \x20   timestamp_key ts\n    timestamp_format iso8601_ns\n    queue_full_retries 0\n    retry_limit no_limits\n\
         \x20   rdkafka.compression.codec lz4\n    rdkafka.acks all\n    rdkafka.enable.idempotence true\n\
         \x20   rdkafka.queue.buffering.max.ms 20\n    rdkafka.queue.buffering.max.messages 100000\n\
         \x20   rdkafka.log_level 3\n",
        place.bootstrap
    );
    let launch = Launch::tool("fluent-bit")
        .file("fluent-bit.conf", config)
        .file("parsers.conf", PARSERS)
        .file("lookup.lua", LOOKUP)
        .file("hosts.csv", table("", |host, row| format!("{host},{row}")))
        .args(["-c", "fluent-bit.conf"]);
    finish("fluent-bit", launch, port, topic)
}
