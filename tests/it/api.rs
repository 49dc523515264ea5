//! The API against its own description, by schemathesis: whatever the description allows is taken, what it does not
//! allow is refused, and every answer is one that it tells. The whole check asks what stands in the description as
//! examples and what is on its edges; `cargo dev api` also at random, and in sequences.

use std::fs;
use std::time::Duration;

use weir_tests::program::Finished;
use weir_tests::{http, python, root};

use crate::deploy::Composed;

/// For a run of the edges, 2,600 requests; with SQLite, beside other builds on two cores, one took 12 s.
const LIMIT: Duration = Duration::from_secs(300);
/// For a run at random, 6,000 requests; one took 254 s there.
const LONG_LIMIT: Duration = Duration::from_secs(900);
const EDGES: [&str; 2] = ["--phases", "examples,coverage"];

fn text(name: &str) -> String {
    fs::read_to_string(root().join("tests/schemas").join(name)).unwrap()
}

/// `schemathesis run` with more arguments.
fn schemathesis(args: &[&str], description: &str, limit: Duration) -> Finished {
    python::schemathesis()
        .env("WEIR_TOKEN", "secret")
        .file("schemathesis.toml", text("schemathesis.toml"))
        .file("hooks.py", text("hooks.py"))
        .file("openapi.json", description)
        .args(["--config-file", "schemathesis.toml", "run"])
        .args(args)
        .run(limit)
}

#[test]
fn the_api_is_as_it_says_up_to_the_edges() {
    let mut line = Composed::start();
    line.feed();
    let url = format!("{}/v1/openapi.json", line.api);
    let run = schemathesis(&[&[url.as_str()][..], &EDGES].concat(), "", LIMIT);
    assert!(run.status.success(), "{}\n{}", run.stdout, run.stderr);

    // With another description of an answer, or of a parameter, it finds that.
    let description = http::get(&url).text();
    for (path, part, by, found) in [
        ("/v1/sites", "\"truncated\"\n", "\"truncate\"\n", "truncate"),
        ("/v1/series", "\"maximum\": 50000", "\"maximum\": 60000", "limit"),
    ] {
        let spoilt = description.replace(part, by);
        assert_ne!(spoilt, description, "{part}");
        let of_path = ["openapi.json", "--url", &line.api, "--include-path", path];
        let run = schemathesis(&[&of_path[..], &EDGES].concat(), &spoilt, LIMIT);
        assert_eq!(run.status.code(), Some(1), "{path}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(found), "{path}: {}", run.stdout);
    }
}

#[test]
#[ignore = "minutes: `cargo dev api`"]
fn the_api_is_as_it_says_at_random_and_in_sequences() {
    let mut line = Composed::start();
    line.feed();
    let url = format!("{}/v1/openapi.json", line.api);
    let at_random = ["--phases", "fuzzing,stateful", "--max-examples", "200"];
    let run = schemathesis(&[&[url.as_str()][..], &at_random].concat(), "", LONG_LIMIT);
    assert!(run.status.success(), "{}\n{}", run.stdout, run.stderr);
}
