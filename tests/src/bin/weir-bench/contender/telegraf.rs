//! Telegraf: syslog or tail with grok, lookup, kafka.

use weir_tests::Launch;

use super::{Contender, Input, Place, finish, table};

const GROK: &str = "<%{NUMBER:pri:int}>1 %{TIMESTAMP_ISO8601:ts} %{NOTSPACE:hostname:tag} %{NOTSPACE:appname:tag} \
                    %{NOTSPACE:procid} %{NOTSPACE} %{NOTSPACE} %{GREEDYDATA:message}";

pub(super) fn telegraf(input: Input, place: &Place<'_>, port: u16) -> Contender {
    let topic = format!("{}telegraf", place.prefix);
    // Its syslog input never holds a sender back: what the buffer has no room for is lost. So it has
    // room for all, which costs memory; with 200,000 it loses a fifth of a million.
    let (source, room) = match input {
        Input::Tcp | Input::Udp => (
            format!(
                "[[inputs.syslog]]\nserver = \"tcp://127.0.0.1:{port}\"\nframing = \"non-transparent\"\n\
                 trailer = \"LF\"\nbest_effort = true\nread_timeout = \"0s\"\n"
            ),
            place.events + 100_000,
        ),
        Input::File => (
            format!(
                "[[inputs.tail]]\nfiles = [\"input.log\"]\ninitial_read_offset = \"beginning\"\n\
                 watch_method = \"inotify\"\nmax_undelivered_lines = 20000\ndata_format = \"grok\"\n\
                 name_override = \"syslog\"\ngrok_patterns = ['{GROK}']\n"
            ),
            200_000,
        ),
    };
    let config = format!(
        "[agent]\ninterval = \"10s\"\nmetric_batch_size = 5000\nmetric_buffer_limit = {room}\n\
         flush_interval = \"200ms\"\nflush_jitter = \"0s\"\nomit_hostname = true\n\
         skip_processors_after_aggregators = true\n{source}\
         [[processors.lookup]]\nfiles = [\"hosts.csv\"]\nformat = \"csv_key_values\"\nkey = '{{{{.Tag \"hostname\"}}}}'\n\
         [[outputs.kafka]]\nbrokers = [\"{}\"]\ntopic = \"{topic}\"\ncompression_codec = 3\nrequired_acks = -1\n\
         idempotent_writes = true\nmax_retry = 10\ndata_format = \"json\"\n",
        place.bootstrap
    );
    let launch = Launch::tool("telegraf")
        .file("telegraf.conf", config)
        .file("hosts.csv", table("host,class,critical", |host, row| format!("{host},{row}")))
        .args(["--config", "telegraf.conf"]);
    finish("telegraf", launch, port, topic)
}
