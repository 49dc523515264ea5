//! The configurations in the documents: each is taken by the program it is for.
//!
//! A block that shows only a part is completed with what every file of its program needs.

use std::time::Duration;

use weir_tests::python::code_blocks;
use weir_tests::{Launch, free_port, root};

const SOON: Duration = Duration::from_secs(30);

fn blocks(page: &str) -> Vec<String> {
    code_blocks(&root().join("docs").join(page), "toml")
}

/// The block, with those of `needed` in front whose table it does not show itself.
fn completed(block: &str, needed: &[(&str, &str)]) -> String {
    let shows = |table: &str| {
        block.lines().any(|line| line.starts_with(table) || line.starts_with(&format!("[{table}")))
    };
    let missing = needed.iter().filter(|(table, _)| !shows(table)).map(|(_, text)| *text);
    missing.collect::<String>() + block
}

#[track_caller]
fn check(program: &str, config: &str) {
    let finished =
        Launch::ours(program).file("c.toml", config).args(["check", "-c", "c.toml"]).run(SOON);
    assert!(finished.status.success(), "{program} refuses\n{config}\n{}", finished.stderr);
}

#[test]
fn every_block_of_the_agent_pages_is_taken_by_the_agent() {
    let needed = [
        ("agent", "agent = { site = \"plant-a\" }\n"),
        ("kafka", "kafka = { brokers = [\"kafka:9092\"] }\n"),
    ];
    let (all, gateway) = (blocks("agent.md"), blocks("gateway.md"));
    assert!(all.len() >= 8 && gateway.len() >= 2, "{} and {} blocks", all.len(), gateway.len());
    for block in all.into_iter().chain(gateway) {
        check("weir-agent", &completed(&block, &needed));
    }
}

#[test]
fn every_block_of_the_sink_page_is_taken_by_sink_or_site() {
    let needed = [
        ("kafka", "kafka = { brokers = [\"kafka:9092\"] }\n"),
        ("store", "store = { sqlite = { path = \"store.sqlite\" } }\n"),
        ("archive", "archive = { path = \"archive\" }\n"),
    ];
    let (sites, sinks): (Vec<_>, Vec<_>) =
        blocks("sink.md").into_iter().partition(|block| block.contains("[site]"));
    assert!(sites.len() == 1 && sinks.len() >= 3, "{} and {}", sites.len(), sinks.len());
    for block in sinks {
        check("weir-sink", &completed(&block, &needed));
    }
    // `weir` has no `check`: it starts with the page's site, in a folder and on ports of our own.
    let (http, syslog) = (free_port(), free_port());
    let site = sites[0]
        .replace("/var/lib/weir", "data")
        .replace("0.0.0.0:514", &format!("127.0.0.1:{syslog}"))
        .replace("0.0.0.0:8080", &format!("127.0.0.1:{http}"));
    assert!(!site.contains("/var/lib") && !site.contains(":514\""), "{site}");
    let launch = Launch::ours("weir").file("site.toml", &site).env("WEIR_TOKEN", "secret");
    let mut up = launch.args(["up", "-c", "site.toml"]).start();
    up.wait_http(&format!("http://127.0.0.1:{http}/readyz"), SOON);
    assert!(up.term(SOON).success());
}
