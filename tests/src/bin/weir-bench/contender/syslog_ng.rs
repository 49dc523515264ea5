//! syslog-ng: network or file, add-contextual-data, kafka-c.

use std::time::Duration;

use weir_tests::Launch;

use super::{Contender, Input, Place, finish, table};

pub(super) fn syslog_ng(input: Input, place: &Place<'_>, port: u16) -> Contender {
    let topic = format!("{}syslog-ng", place.prefix);
    let launch = Launch::tool("syslog-ng");
    let dir = launch.dir().display().to_string();
    let version = Launch::tool("syslog-ng").arg("-V").run(Duration::from_secs(20)).ok();
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
