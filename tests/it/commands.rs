//! The commands in the documents. Those of our programs are taken by them as they stand; those that ask the API
//! are answered by a running site. What is not run is in [`NOT_RUN`], with the reason.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::CommandFactory as _;
use serde_json::json;
use weir_tests::{Launch, Program, free_port, http, root, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// First words of commands that no test here runs, and why.
const NOT_RUN: [(&str, &str); 10] = [
    ("cargo", "it builds: `cargo dev` is held against its own list, the CI runs it"),
    ("kubectl", "there is no cluster; the manifests are held against the schemas"),
    ("docker", "there is no engine; `cargo dev container` runs the image without one"),
    ("podman", "as docker"),
    ("systemctl", "it changes the machine; `cargo dev package try` does it in a folder"),
    ("apt", "as systemctl"),
    ("editor", "it waits for a person"),
    ("openssl", "it makes a secret for Compose"),
    ("logger", "it sends to the line of Compose, which another test runs"),
    ("eval", "it is for the shell of a developer"),
];
const OURS: [&str; 3] = ["weir-agent", "weir-sink", "weir"];

/// A command, and the page that shows it.
struct Shown {
    page: String,
    line: String,
}

/// The Markdown files for users and developers; the generated list of commands has no commands.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    pages.retain(|path| !path.ends_with("commands.md"));
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    pages.sort();
    pages
}

/// The commands of a page: lines of its code that begin with a program, with those that follow a backslash. Without
/// what stands behind ` #`.
fn commands(page: &Path) -> Vec<Shown> {
    let text = fs::read_to_string(page).unwrap();
    let name = page.strip_prefix(root()).unwrap().display().to_string();
    let (mut found, mut fence, mut lines) = (Vec::new(), None::<String>, text.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language.to_owned()) };
            continue;
        }
        let code = match fence.as_deref() {
            Some("sh") => Some(line),
            Some(_) => None,
            None => line.strip_prefix("    "),
        };
        let Some(mut command) = code.map(|code| code.trim().to_owned()) else { continue };
        while let Some(begun) = command.strip_suffix('\\') {
            command = format!("{begun}{}", lines.next().unwrap_or_default().trim());
        }
        let command = command.strip_prefix("$ ").unwrap_or(&command);
        // Where another command feeds ours, ours is meant.
        let command = command.split(" | ").find(|part| is_ours(part)).unwrap_or(command);
        let command = command.split(" #").next().unwrap_or_default().trim();
        let first = command.split(' ').next().unwrap_or_default();
        if is_ours(command) || first == "curl" || NOT_RUN.iter().any(|(word, _)| *word == first) {
            found.push(Shown { page: name.clone(), line: command.to_owned() });
        }
    }
    found
}

fn is_ours(command: &str) -> bool {
    OURS.iter().any(|program| command.starts_with(&format!("{program} ")))
}

fn all() -> Vec<Shown> {
    pages().iter().flat_map(|page| commands(page)).collect()
}

/// The words of a command up to what is for the shell, without quotes.
fn words(line: &str) -> Vec<String> {
    let end = [" < ", " > ", " | ", " && ", "; "].iter().filter_map(|sign| line.find(sign)).min();
    let line = &line[..end.unwrap_or(line.len())];
    line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
}

/// Reads a command as its program does, and says what is wrong in it. Nothing is done.
fn parsed(words: &[String]) -> Result<(), String> {
    let command = match words.first().map(String::as_str) {
        Some("weir-agent") => weir_agent::cli::Cli::command(),
        Some("weir-sink") => weir_sink::cli::Cli::command(),
        Some("weir") => weir::cli::Cli::command(),
        other => panic!("{other:?} is no program of ours"),
    };
    command.try_get_matches_from(words).map(drop).map_err(|error| error.to_string())
}

#[test]
fn every_command_of_ours_is_taken_as_it_stands() {
    let mut taken = 0;
    for Shown { page, line } in all().into_iter().filter(|shown| is_ours(&shown.line)) {
        let mut words = words(&line);
        // A list of several commands, for an overview.
        if words.iter().any(|word| word.ends_with(',')) {
            continue;
        }
        // Options in brackets may be left out.
        words.retain(|word| !word.starts_with('[') && !word.ends_with(']'));
        // A placeholder where a word is chosen from a list.
        let words = words.into_iter().map(|word| if word == "R" { "read".into() } else { word });
        let words: Vec<String> = words.collect();
        if let Err(why) = parsed(&words) {
            panic!("{page}: {line}\n{why}");
        }
        taken += 1;
    }
    assert!(taken >= 45, "{taken} commands");
    for wrong in [
        "weir-sink audit -c sink.toml --frm x",
        "weir-sink audit",
        "weir-sink devices -c sink.toml import --from-table erp.machines",
        "weir-sink devices -c sink.toml import devices.csv --from-topic erp.machines",
    ] {
        assert!(parsed(&words(wrong)).is_err(), "it would be taken: {wrong}");
    }
}

#[test]
fn every_command_of_developers_is_known_and_none_is_forgotten() {
    let usage = fs::read_to_string(root().join("dev/src/main.rs")).unwrap();
    let usage = usage.split("const USAGE").nth(1).unwrap().split("\n\";").next().unwrap();
    let known: BTreeSet<&str> = usage
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split(' ').next())
        .filter(|word| !word.is_empty())
        .collect();
    let all = all();
    let mut of_developers = 0;
    for Shown { page, line } in &all {
        let Some(rest) = line.strip_prefix("cargo dev ") else { continue };
        let word = rest.split(' ').next().unwrap();
        assert!(known.contains(word), "{page}: there is no `cargo dev {word}`: {known:?}");
        of_developers += 1;
    }
    assert!(of_developers >= 20, "{of_developers} commands");
    for (word, why) in NOT_RUN {
        let is_shown = all.iter().any(|shown| shown.line.split(' ').next() == Some(word));
        assert!(is_shown, "no page shows `{word}` any more, which is not run because {why}");
    }
}

/// A site called `plant` with what the page about the API asks for.
fn plant() -> (Program, String) {
    let (page, input) = (free_port(), free_port());
    let config = format!(
        "[site]\nname = \"plant\"\ndata_dir = \"data\"\n\
         [[source.http]]\nlisten = \"127.0.0.1:{input}\"\n\
         [http]\nlisten = \"127.0.0.1:{page}\"\n\
         [[score.rules]]\nmetric = \"temperature\"\n\
         rule = {{ kind = \"range\", name = \"too hot\", max = 90.0 }}\n"
    );
    let launch = Launch::ours("weir").file("site.toml", config);
    let mut site = launch.args(["up", "-c", "site.toml"]).start();
    let page = format!("http://127.0.0.1:{page}");
    site.wait_http(&format!("{page}/readyz"), SOON);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let body: String = (0..20)
        .map(|n| format!("temperature,device=press-4 value={} {}\n", 40 + n * 3, now_s - 20 + n))
        .collect();
    // The site opens its page first.
    wait_until("the source", SOON, || {
        TcpStream::connect(("127.0.0.1", input)).map(drop).map_err(|error| error.to_string())
    });
    let write = format!("http://127.0.0.1:{input}/v1/write?precision=s");
    assert_eq!(http::post(&write, "text/plain", body.as_bytes()).status, 204);
    wait_until("an alert in the store", SOON, || {
        let alerts = http::get_json(&format!("{page}/v1/alerts?site=plant"));
        if alerts["items"].as_array().is_some_and(|all| !all.is_empty()) {
            Ok(())
        } else {
            Err(alerts)
        }
    });
    (site, page)
}

/// A device whose version is asked for before, an alert that there is: what the page cannot know.
fn with_what_there_is(line: &str, page: &str) -> String {
    let alert = &http::get_json(&format!("{page}/v1/alerts?site=plant"))["items"][0]["data"];
    let fired = alert["fired_us"].as_i64().unwrap().to_string();
    let line = line
        .replace("http://localhost:8080", page)
        .replace("4b1d0c4f7a90e2d3", alert["alert_id"].as_str().unwrap())
        .replace("1763721946000000", &fired);
    let device = format!("{page}/v1/devices/plant/press-4");
    let asked = http::agent().get(&device).call().ok();
    let tag = asked.and_then(|answer| {
        answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned())
    });
    match tag {
        Some(tag) => line.replace("\"6c1f0e5a9d3b7c2e48f1a0b2\"", &tag),
        None => line,
    }
}

#[test]
fn every_request_of_the_api_page_is_answered() {
    let (mut site, page) = plant();
    let shown = commands(&root().join("docs/api.md"));
    let requests: Vec<_> = shown.iter().filter(|shown| shown.line.starts_with("curl ")).collect();
    assert!(requests.len() >= 11, "{} requests", requests.len());
    let list = "site,device,meta.hall\nplant,fan,A\n";
    let mut statuses = BTreeSet::new();
    for Shown { line, .. } in requests {
        let here = with_what_there_is(line, &page);
        assert_ne!(&here, line);
        // A live stream has no end: its head says that it has begun.
        let live = line.contains("/v1/live");
        let within = if live { 5 } else { SOON.as_secs() / 2 };
        let asked = format!("curl -sS --max-time {within} -o answer -w '%{{http_code}}' ");
        let asked = here.replacen("curl ", &asked, 1);
        let shell = Launch::at("sh", "/bin/sh".into()).file("devices.csv", list);
        let run = shell.args(["-c", &asked]).run(SOON);
        let code = run.status.code();
        assert!(code == Some(0) || live && code == Some(28), "{line}: {code:?} {}", run.stderr);
        let answered = ["200", "202"].contains(&run.stdout.trim());
        assert!(answered, "{line}: {} {}", run.stdout, run.stderr);
        statuses.insert(run.stdout.trim().to_owned());
    }
    assert_eq!(json!(statuses), json!(["200", "202"]));
    assert!(site.term(SOON).success());
}
