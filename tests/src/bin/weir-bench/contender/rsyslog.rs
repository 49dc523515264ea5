//! rsyslog: imptcp or imfile, a lookup table, omkafka.

use std::fmt::Write as _;

use weir_tests::Launch;

use super::{Contender, Input, Place, finish, table};

/// As its own documents advise for omkafka, with the figures of librdkafka that serve it best here.
pub(super) fn rsyslog(input: Input, place: &Place<'_>, port: u16) -> Contender {
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
