//! What is in `deploy/`, and `docs/asyncapi.yaml`: objects of Kubernetes and Compose are held against the
//! schemas in `fixtures/schemas`, configurations are taken by the programs, and those of Compose carry events.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::kafka::Message;
use weir_tests::line::wait_empty_spool;
use weir_tests::program::Finished;
use weir_tests::python::python;
use weir_tests::{Launch, Program, free_port, http, root, services, unique};

const SOON: Duration = Duration::from_secs(60);

fn deploy(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

fn schema(name: &str) -> String {
    root().join("fixtures/schemas").join(name).display().to_string()
}

/// `tests/schemas/validate.py`.
#[track_caller]
fn validate(args: &[&str], stdin: &str) -> Finished {
    let script = fs::read_to_string(root().join("tests/schemas/validate.py")).unwrap();
    python(&script, args).stdin(stdin).run(SOON)
}

/// The documents of a YAML file.
#[track_caller]
fn documents(file: &Path) -> Vec<Value> {
    let printed = validate(&["json", &file.display().to_string()], "").ok();
    serde_json::from_str(&printed).unwrap()
}

/// Passes as it is, and is refused with `part` replaced.
#[track_caller]
fn check(how: [&str; 2], file: &Path, (part, by): (&str, &str)) {
    let whole = fs::read_to_string(file).unwrap();
    let of = |path: &Path| validate(&[how[0], how[1], &path.display().to_string()], "");
    let good = of(file);
    assert!(good.status.success(), "{}: {}{}", file.display(), good.stdout, good.stderr);
    let folder = weir_tests::temp_dir("schema");
    let spoilt = folder.path().join("spoilt.yaml");
    assert!(whole.contains(part), "{} has no `{part}`", file.display());
    fs::write(&spoilt, whole.replacen(part, by, 1)).unwrap();
    let bad = of(&spoilt);
    assert_eq!(bad.status.code(), Some(1), "{by}: {}{}", bad.stdout, bad.stderr);
    assert!(bad.stdout.contains(" wrong\n"), "{}{}", bad.stdout, bad.stderr);
}

#[test]
fn what_is_for_kubernetes_is_of_its_schema() {
    let schemas = schema("kubernetes.json");
    let how = ["kubernetes", schemas.as_str()];
    check(how, &deploy("kubernetes/namespace.yaml"), ("labels", "label"));
    check(how, &deploy("kubernetes/sink/sink.yaml"), ("livenessProbe", "livenesProbe"));
    check(how, &deploy("kubernetes/sink/secret.example.yaml"), ("stringData", "strings"));
    check(how, &deploy("kubernetes/agent/agent.yaml"), ("hostNetwork: true", "hostNetwork: 1"));
}

#[test]
fn what_is_for_compose_is_of_its_schema() {
    let schema = schema("compose.json");
    check(["whole", &schema], &deploy("compose.yaml"), ("cap_drop", "cap_drops"));
}

#[test]
fn the_description_of_the_topics_is_asyncapi() {
    let schema = schema("asyncapi.json");
    let document = root().join("docs/asyncapi.yaml");
    check(["whole", &schema], &document, ("action: send", "action: sends"));
}

#[test]
fn every_configuration_is_taken_by_its_program() {
    let mut checked = Vec::new();
    for folder in ["compose", "kubernetes/sink", "kubernetes/agent"] {
        for entry in fs::read_dir(deploy(folder)).unwrap() {
            let path = entry.unwrap().path();
            let program = match path.file_name().unwrap().to_str().unwrap() {
                "agent.toml" => "weir-agent",
                "sink.toml" => "weir-sink",
                _ => continue,
            };
            let run = Launch::ours(program).args(["check", "-c"]).arg(&path).run(SOON);
            assert!(run.status.success(), "{}: {}", path.display(), run.stderr);
            checked.push(program);
        }
    }
    assert_eq!(checked.len(), 4, "{checked:?}");
}

/// Containers of what a document of Kubernetes starts.
fn pod(document: &Value) -> &Value {
    &document["spec"]["template"]["spec"]
}

#[test]
fn containers_fit_the_programs() {
    let version = env!("CARGO_PKG_VERSION");
    let (sink, agent) = ("kubernetes/sink/sink.yaml", "kubernetes/agent/agent.yaml");
    let mut pods = 0;
    for (file, port) in [(sink, 8480), (agent, 9598)] {
        let folder = Path::new(file).parent().unwrap().display().to_string();
        let config = fs::read_to_string(deploy(file).with_extension("toml")).unwrap();
        assert!(config.contains(&format!("listen = \"0.0.0.0:{port}\"")), "{config}");
        let kustomization = text(&format!("{folder}/kustomization.yaml"));
        assert!(kustomization.contains(&format!("newTag: {version}\n")), "{kustomization}");
        for document in documents(&deploy(file)) {
            let pod = pod(&document);
            let Some(container) = pod["containers"].get(0) else { continue };
            pods += 1;
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{file}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{file}");
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{file}");
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
                "{file}"
            );
            assert!(file == agent || pod["securityContext"]["runAsNonRoot"] == true, "{file}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{file}");
            if document["kind"] == "Job" {
                continue;
            }
            assert_eq!(container["ports"][0]["containerPort"], port, "{file}");
            for (probe, path) in [
                ("livenessProbe", "/healthz"),
                ("startupProbe", "/healthz"),
                ("readinessProbe", "/readyz"),
            ] {
                assert_eq!(container[probe]["httpGet"]["path"], path, "{file}: {probe}");
                assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
            }
        }
    }
    assert_eq!(pods, 3);
    let compose = documents(&deploy("compose.yaml")).remove(0);
    for (service, image) in
        [("sink", "weir-sink"), ("migrate", "weir-sink"), ("agent", "weir-agent")]
    {
        let service = &compose["services"][service];
        assert_eq!(service["image"], format!("{image}:{version}"));
        assert_eq!((&service["read_only"], &service["cap_drop"]), (&json!(true), &json!(["ALL"])));
    }
}

/// The secret that the example shows has each file that the configuration reads.
#[test]
fn secrets_have_what_the_sink_reads() {
    let example = documents(&deploy("kubernetes/sink/secret.example.yaml")).remove(0);
    let config = text("kubernetes/sink/sink.toml");
    let files = config.split("\"/etc/weir-secrets/").skip(1).map(|rest| rest.split('"').next());
    let mut files: Vec<&str> = files.map(Option::unwrap).collect();
    let mut keys: Vec<&String> = example["stringData"].as_object().unwrap().keys().collect();
    files.sort_unstable();
    keys.sort_unstable();
    assert_eq!(files, keys);
}

/// A configuration with other addresses and folders; each part has to be there.
#[track_caller]
fn elsewhere(mut config: String, parts: &[(&str, &str)]) -> String {
    for (part, by) in parts {
        assert!(config.contains(part), "no `{part}` in\n{config}");
        config = config.replace(part, by);
    }
    config
}

/// No field is missing from the description: what it does not know would pass.
#[track_caller]
fn check_names(document: &str, records: &[(String, Value)]) {
    let document = documents(Path::new(document)).remove(0);
    for (channel, record) in records {
        let schema = match channel.as_str() {
            "readings" => "Reading",
            "logs" if record["lost"].is_object() => "LossMarker",
            "logs" => "LogLine",
            "alerts" => "Alert",
            "metadata" => "Device",
            "agents" => "AgentStatus",
            other => panic!("a record of {other}"),
        };
        let known = &document["components"]["schemas"][schema]["properties"];
        for name in record.as_object().unwrap().keys() {
            assert!(known[name].is_object(), "{schema} has no `{name}`");
        }
    }
}

/// The line of `compose.yaml`, on the services of the tests.
pub(crate) struct Composed {
    /// Consumer group and keyspace; with a dot behind, the prefix of the topics.
    name: String,
    sink: Program,
    agent: Program,
    pub(crate) api: String,
    status: u16,
    syslog: u16,
    intake: u16,
}

impl Composed {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let name = unique("compose");
        let [api, status, syslog, intake] = [(); 4].map(|()| free_port());
        let brokers = services::kafka().bootstrap.clone();
        let brokers = format!("brokers = [\"{brokers}\"]\ntopic_prefix = \"{name}.\"");
        let contacts = services::cassandra().contact_points.join("\", \"");
        let keyspace = format!("replication = \"SimpleStrategy 1\"\nkeyspace = \"{name}\"");
        let group = format!("[consume]\ngroup = \"{name}\"\n[archive]\nclose_after_s = 1");
        let sink = elsewhere(
            text("compose/sink.toml"),
            &[
                ("brokers = [\"kafka:9092\"]", &brokers),
                ("cassandra:9042", &contacts),
                ("\"datacenter1\"", "\"dc1\""),
                ("[archive]", &group),
                ("replication = \"SimpleStrategy 1\"", &keyspace),
                ("/var/lib/weir-sink/archive", "archive"),
                ("0.0.0.0:8480", &format!("127.0.0.1:{api}")),
                ("/run/secrets/weir-token", "token"),
            ],
        );
        let agent = elsewhere(
            text("compose/agent.toml"),
            &[
                ("brokers = [\"kafka:9092\"]", &brokers),
                ("/var/lib/weir-agent", "data"),
                ("0.0.0.0:5514", &format!("127.0.0.1:{syslog}")),
                ("0.0.0.0:6601", &format!("127.0.0.1:{syslog}")),
                ("0.0.0.0:8086", &format!("127.0.0.1:{intake}")),
                ("0.0.0.0:9598", &format!("127.0.0.1:{status}")),
            ],
        );
        let rule = "[[score.rules]]\nmetric = \"temperature\"\n\
                    rule = { kind = \"range\", name = \"too hot\", max = 90.0 }\n";
        let launch =
            || Launch::ours("weir-sink").file("sink.toml", &sink).file("token", "secret\n");
        launch().args(["migrate", "-c", "sink.toml"]).run(SOON).ok();
        let sink = launch().args(["run", "-c", "sink.toml"]).start();
        let agent = Program::agent(&(agent + rule));
        let api = format!("http://127.0.0.1:{api}");
        let mut line = Self { name, sink, agent, api, status, syslog, intake };
        line.sink.wait_http(&format!("{}/readyz", line.api), SOON);
        line.sink.wait_http(&format!("{}/healthz", line.api), SOON);
        line.agent.wait_http(&format!("http://127.0.0.1:{status}/readyz"), SOON);
        line.agent.wait_http(&format!("http://127.0.0.1:{status}/healthz"), SOON);
        line
    }

    /// Readings of which one fires an alert, lines of which one is no syslog, a device; until the store
    /// has the readings.
    #[track_caller]
    pub(crate) fn feed(&mut self) {
        let url = format!("http://127.0.0.1:{}/v1/write?precision=s", self.intake);
        let body = "temperature,host=oven-1 value=70.0 1700000000\n\
                    temperature,host=oven-1 value=95.5 1700000010\n";
        assert_eq!(http::post(&url, "text/plain", body.as_bytes()).status, 204);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let lines: [&[u8]; 3] = [
            b"<165>1 2026-03-01T12:00:00.5Z web app 77 ID47 [who@32473 user=\"x\"] hello",
            b"<34>Oct 11 22:14:15 web su: 'su root' failed",
            b"\xff\xfe no syslog",
        ];
        for line in lines {
            socket.send_to(line, ("127.0.0.1", self.syslog)).unwrap();
        }
        let device = format!("{}/v1/devices/plant-a/oven-1", self.api);
        let units = json!({ "temperature": "Cel" });
        let told = json!({ "meta": { "hall": "3" }, "units": units, "aliases": ["oven"] });
        let put = http::agent().put(&device).header("Authorization", "Bearer secret");
        assert!(put.send_json(&told).unwrap().status().is_success());
        wait_empty_spool(&mut self.agent, self.status, SOON);
        let stored = format!("{}/v1/latest?site=plant-a", self.api);
        self.sink.wait("the readings in the store", SOON, |_| {
            let answer = http::get(&stored).text();
            if answer.contains("95.5") { Ok(()) } else { Err(answer) }
        });
    }

    /// What the topics hold: their names without prefix, and the value of each record.
    #[track_caller]
    fn records(&self) -> Vec<(String, Value)> {
        let prefix = format!("{}.", self.name);
        let one = |record: &Message| {
            let channel = record.topic.trim_start_matches(&prefix).to_owned();
            (channel, record.payload.as_ref().map_or(Value::Null, |_| record.json()))
        };
        services::kafka().read(&prefix).iter().map(one).collect()
    }
}

#[test]
fn the_composed_line_carries_what_asyncapi_says() {
    let mut line = Composed::start();
    line.feed();
    let records = line.records();
    let least = [("readings", 2), ("logs", 3), ("alerts", 1), ("metadata", 1), ("agents", 1)];
    for (channel, least) in least {
        let count = records.iter().filter(|(name, _)| name == channel).count();
        assert!(count >= least, "{count} records of {channel}");
    }
    let lines = |records: &[(String, Value)]| {
        let line = |(channel, value): &(String, Value)| {
            format!("{}\n", json!({ "channel": channel, "value": value }))
        };
        records.iter().map(line).collect::<String>()
    };
    let document = root().join("docs/asyncapi.yaml").display().to_string();
    let good = validate(&["records", &document], &lines(&records));
    assert!(good.status.success(), "{}{}", good.stdout, good.stderr);
    let all = format!("{} checked, 0 wrong\n", records.len());
    assert!(good.stdout.ends_with(&all), "{}", good.stdout);
    check_names(&document, &records);
    // Each of them without its identity is refused.
    let mut spoilt = records;
    for (_, value) in &mut spoilt {
        for name in ["stream", "id", "site"] {
            value.as_object_mut().unwrap().remove(name);
        }
    }
    let bad = validate(&["records", &document], &lines(&spoilt));
    assert!(bad.stdout.lines().count() > spoilt.len(), "{}{}", bad.stdout, bad.stderr);
}
