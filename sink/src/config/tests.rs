#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use super::*;

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config/sink").join(kind);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn valid_files_are_taken() {
    for file in fixtures("valid") {
        let text = std::fs::read_to_string(&file).unwrap();
        Config::parse("sink.toml", &text).unwrap();
    }
}

/// Each invalid file has its expected message beside it, as `NAME.txt`.
#[test]
fn invalid_files_are_refused_with_what_to_do() {
    for file in fixtures("invalid") {
        let text = std::fs::read_to_string(&file).unwrap();
        let told = Config::parse("sink.toml", &text).unwrap_err().to_string();
        expect_test::expect_file![file.with_extension("txt")].assert_eq(&format!("{told}\n"));
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = "kafka = { brokers = ['k:1'] }\nstore = { sqlite = { path = 's' } }\n\
                archive = { path = 'a' }\n";
    let settings = Config::parse("sink.toml", text).unwrap().pipeline();
    assert_eq!(settings.close.age, Duration::from_secs(60));
    assert_eq!(settings.dedupe.keep_ms, Bounds::default().keep_ms);
}
