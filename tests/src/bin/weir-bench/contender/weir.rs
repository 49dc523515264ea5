//! Our agent: `weir-agent` with its spool on disk and the scores of log lines on.

use weir_tests::{Launch, free_port};

use super::{Contender, Input, Place, finish, table};

pub(super) fn weir(input: Input, place: &Place<'_>, port: u16) -> Contender {
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
