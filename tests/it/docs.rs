//! The configurations in the documents: each is taken by the program it is for.
//!
//! A block that shows only a part is completed with what every file of its program needs.

use std::fs;
use std::path::Path;
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

/// Everything that looks like Rust below a folder.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_named_in_the_comparison_is_there() {
    let mut text = String::new();
    for folder in ["agent/src", "sink/src", "tests/it"] {
        sources(&root().join(folder), &mut text);
    }
    let page = fs::read_to_string(root().join("docs/compared.md")).unwrap();
    let last_column = |row: &str| row.trim_end_matches('|').rsplit('|').next().map(str::to_owned);
    let rows = page.lines().filter(|line| line.starts_with('|')).filter_map(last_column);
    let names: Vec<String> = rows
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(names.len() > 40, "{} names", names.len());
    for name in names {
        assert!(text.contains(&format!("fn {name}(")), "there is no test `{name}`");
    }
}

#[test]
fn no_allocator_is_built_for_a_page_size() {
    // What is in the agent on any gateway; the sink's image is for one architecture, whose pages are known.
    let tree = ["tree", "--locked", "--offline", "-p", "weir-agent", "--target", "all"];
    let tree = Launch::at("cargo", env!("CARGO").into()).args(tree);
    let tree = tree.arg("--manifest-path").arg(root().join("Cargo.toml")).run(SOON).ok();
    assert!(tree.contains("tokio v"), "{tree}");
    for allocator in ["jemalloc", "mimalloc", "snmalloc", "tcmalloc"] {
        assert!(!tree.contains(allocator), "{allocator} may die on pages of 16 or 64 KiB");
    }
}
