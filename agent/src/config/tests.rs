#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use super::*;

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config/agent").join(kind);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn valid_files_are_taken() {
    let packaged = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging/agent.toml");
    for file in fixtures("valid").into_iter().chain([packaged]) {
        let text = std::fs::read_to_string(&file).unwrap();
        Config::parse("agent.toml", &text).unwrap();
    }
}

/// Each invalid file has its expected message beside it, as `NAME.txt`.
#[test]
fn invalid_files_are_refused_with_what_to_do() {
    for file in fixtures("invalid") {
        let text = std::fs::read_to_string(&file).unwrap();
        let told = Config::parse("agent.toml", &text).unwrap_err().to_string();
        expect_test::expect_file![file.with_extension("txt")].assert_eq(&format!("{told}\n"));
    }
}

#[test]
fn the_agent_is_named_by_the_host_unless_told() {
    let text = "agent = { site = 'a' }\nkafka = { brokers = ['x:1'] }\n";
    let config = Config::parse("agent.toml", text).unwrap();
    assert!(!config.id().is_empty());
}
