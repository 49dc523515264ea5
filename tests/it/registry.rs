//! Tokens and devices of a running sink: who may change what, where changes arrive, and that no token is written down.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::line::wait_empty_spool;
use weir_tests::{Launch, Program, free_port, http, services, unique};

const SOON: Duration = Duration::from_secs(60);

struct Site {
    sink: Program,
    launch: Launch,
    config: String,
    name: String,
    port: u16,
}

/// Makes a token by command; the token and the lines for the configuration.
fn token(name: &str, role: &str) -> (String, String) {
    let args = ["token", "new", "--name", name, "--role", role];
    let said = Launch::ours("weir-sink").args(args).run(SOON).ok();
    let (token, rest) = said.split_once('\n').unwrap();
    let lines = &rest[rest.find("[[http.tokens]]").unwrap()..];
    (token.to_owned(), lines.to_owned())
}

impl Site {
    #[track_caller]
    fn start(tokens: &[&str]) -> Self {
        let (name, port) = (unique("registry"), free_port());
        let config = format!(
            "[kafka]\nbrokers = [\"{}\"]\ntopic_prefix = \"{name}.\"\n[consume]\ngroup = \"{name}\"\n\
             [topics]\npartitions = 2\n[store.sqlite]\npath = \"store.sqlite\"\n\
             [archive]\npath = \"archive\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n{}",
            services::kafka().bootstrap,
            tokens.join("\n"),
        );
        let launch = Launch::ours("weir-sink").file("sink.toml", &config);
        launch.clone().args(["migrate", "-c", "sink.toml"]).run(SOON).ok();
        let run = launch.clone().env("WEIR_LOG", "trace").args(["run", "-c", "sink.toml"]);
        let mut sink = run.start();
        sink.wait_http(&format!("http://127.0.0.1:{port}/readyz"), SOON);
        Self { sink, launch, config, name, port }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn ask(&self, method: &str, path: &str, token: &str, kind: &str, body: &str) -> http::Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        http::request(method, &self.url(path), &headers, body.as_bytes())
    }

    /// A command of the sink in the folder of its configuration, with a file `list.csv`.
    fn command(&self, list: &str, args: &[&str]) -> weir_tests::program::Finished {
        self.launch.clone().file("list.csv", list).args(args).run(SOON)
    }
}

const PUMP: &str = "/v1/devices/plant/pump";
const JSON: &str = "application/json";

#[test]
fn roles_are_kept_and_no_token_is_written_down() {
    let made = [token("looker", "read"), token("inventory", "devices"), token("boss", "admin")];
    let [reads, writes, all] = made.each_ref().map(|(token, _)| token.as_str());
    let lines: Vec<&str> = made.iter().map(|(_, lines)| lines.as_str()).collect();
    let mut site = Site::start(&lines);
    let expected = [(reads, 200, 403), (writes, 200, 202), (all, 200, 202), ("x", 401, 401)];
    for (n, (token, get, put)) in expected.into_iter().enumerate() {
        assert_eq!(site.ask("GET", "/v1/sites", token, JSON, "").status, get);
        let body = json!({"meta": {"hall": format!("{n}")}}).to_string();
        let answer = site.ask("PUT", PUMP, token, JSON, &body);
        assert_eq!(answer.status, put, "{}", answer.text());
    }
    let forbidden = site.ask("DELETE", PUMP, reads, JSON, "").json();
    assert_eq!(forbidden["detail"], "the token `looker` has the role `read`, this needs `devices`");
    // Debug of everything, also of what the libraries say.
    for line in site.sink.lines() {
        for (token, _) in &made {
            assert!(!line.text.contains(token), "{}", line.text);
        }
    }
    assert!(!site.config.contains(reads));
    assert!(site.sink.term(SOON).success());
}

/// An agent that follows the devices; the port of its status and where it takes readings.
fn agent_beside(site: &Site) -> (Program, u16, String) {
    let (status, input) = (free_port(), free_port());
    let agent_config = format!(
        "agent = {{ id = \"gw\", site = \"plant\", data_dir = \"data\" }}\n\
         status = {{ listen = \"127.0.0.1:{status}\" }}\n\
         kafka = {{ brokers = [\"{}\"], topic_prefix = \"{}.\" }}\n\
         [[source.http]]\nlisten = \"127.0.0.1:{input}\"\n\
         [source.http.fields]\ndevice = \"device\"\nvalues = \"data\"\n",
        services::kafka().bootstrap,
        site.name,
    );
    let mut agent = Program::agent(&agent_config);
    agent.wait_http(&format!("http://127.0.0.1:{status}/readyz"), SOON);
    (agent, status, format!("http://127.0.0.1:{input}/v1/events"))
}

#[test]
fn changes_arrive_in_an_agent_and_in_the_history() {
    let (inventory, lines) = token("inventory", "devices");
    let mut site = Site::start(&[&lines]);
    let (mut agent, status, events) = agent_beside(&site);
    let list = "site,device,meta.hall\nplant,pump,A\nplant,fan,A\n";
    let import = "/v1/devices/import";
    let dry = site.ask("POST", &format!("{import}?dry_run=true"), &inventory, "text/csv", list);
    assert_eq!((dry.status, &dry.json()["created"]), (200, &json!(2)), "{}", dry.text());
    let send = |agent: &mut Program, readings: usize| {
        for n in 0..readings {
            let body = json!({"device": "pump", "data": {"n": n}}).to_string();
            assert_eq!(http::post(&events, "application/json", body.as_bytes()).status, 204);
        }
        wait_empty_spool(agent, status, SOON);
    };
    let has_come = |hall: &Value| {
        let readings = services::kafka().read(&format!("{}.readings", site.name));
        readings.iter().any(|reading| reading.json()["meta"]["hall"] == *hall)
    };
    send(&mut agent, 3);
    let done = site.ask("POST", import, &inventory, "text/csv", list);
    assert_eq!(done.status, 202, "{}", done.text());
    // How long it takes depends on how busy the machine is.
    let begin = Instant::now();
    while !has_come(&json!("A")) {
        assert!(begin.elapsed() < SOON, "no reading has the metadata");
        send(&mut agent, 1);
    }
    assert!(has_come(&Value::Null), "nothing came before the change");
    // Another version of it by somebody who looked, and one by somebody who did not.
    let patch = r#"{"meta":{"hall":"B"}}"#;
    let kind = "application/merge-patch+json";
    assert_eq!(site.ask("PATCH", PUMP, &inventory, kind, patch).status, 202);
    let stale = http::request(
        "PATCH",
        &site.url(PUMP),
        &[
            ("authorization", &format!("Bearer {inventory}")),
            ("content-type", kind),
            ("if-match", "\"stale\""),
        ],
        patch.as_bytes(),
    );
    assert_eq!(stale.status, 412, "{}", stale.text());
    lists_go_by_command(&mut site, &inventory);
    drop(agent);
    assert!(site.sink.term(SOON).success());
}

/// The same by command: a line that cannot be, an export, an import; all of it is in the history.
#[track_caller]
fn lists_go_by_command(site: &mut Site, inventory: &str) {
    // By command, with a line that cannot be.
    let bad = site
        .command("site,device\nplant,\n", &["devices", "-c", "sink.toml", "import", "list.csv"]);
    assert_eq!(bad.status.code(), Some(1), "{}", bad.stderr);
    assert!(bad.stdout.contains("line 2: refused: device:"), "{}", bad.stdout);
    let history = |site: &mut Site, expected: usize| {
        let (url, bearer) = (site.url(&format!("{PUMP}/history")), format!("Bearer {inventory}"));
        site.sink.wait("the history", SOON, |_| {
            let answer = http::request("GET", &url, &[("authorization", &bearer)], b"").json();
            let items = answer["items"].as_array().cloned().unwrap_or_default();
            if items.len() == expected { Ok(items) } else { Err(answer.to_string()) }
        })
    };
    history(site, 2);
    let export = ["devices", "-c", "sink.toml", "export"];
    let listed = site.command("", &export).ok();
    assert_eq!(listed, "site,device,aliases,meta.hall\nplant,fan,,A\nplant,pump,,B\n");
    let moved = listed.replace(",,B", ",10.0.0.7,C");
    let import = ["devices", "-c", "sink.toml", "import", "list.csv"];
    let said = site.command(&moved, &import).ok();
    assert!(said.ends_with("0 created, 1 changed, 1 unchanged, 0 refused\n"), "{said}");
    let items = history(site, 3);
    let told: Vec<_> =
        items.iter().map(|item| (item["by"].clone(), item["fields"].clone())).collect();
    let expected: [(Value, Value); 3] = [
        (json!("weir-sink devices import"), json!(["aliases", "meta.hall"])),
        (json!("inventory"), json!(["meta.hall"])),
        (json!("inventory"), json!(["meta.hall"])),
    ];
    assert_eq!(told, expected);
}
