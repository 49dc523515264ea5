//! The alert consumers in `examples/alerts`, built and ready to run: one in each language.
//!
//! In: the files as a user copies them. Out: the words of a command. They are built with warnings as
//! errors where the language has any. Java runs on the jars that the tests' Kafka has brought, Go on the
//! modules that `cargo dev tools` has fetched.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::paths::{cache, find_tool, root, tool};
use crate::{Launch, binary, temp_dir};

/// The first build of a Go program compiles its modules, too.
const BUILD: Duration = Duration::from_secs(300);

/// A command: the program and its first arguments.
pub type Words = Vec<OsString>;

fn folder(language: &str) -> PathBuf {
    root().join("examples/alerts").join(language)
}

/// The one in Python, in the venv that `cargo dev tools` makes.
#[track_caller]
pub fn python() -> Words {
    let python = cache().join("python/bin/python3");
    assert!(python.is_file(), "there is no {}: run `cargo dev tools`", python.display());
    vec![python.into(), folder("python").join("alerts.py").into()]
}

/// The one in Rust, which is a member of the workspace.
#[track_caller]
pub fn rust() -> Words {
    vec![binary::ours("weir-example-alerts").into()]
}

/// The one in Java.
#[track_caller]
pub fn java() -> Words {
    static BUILT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let jars = kafka_jars();
    let class_path = |classes: &Path| format!("{}:{}/*", classes.display(), jars.display());
    let classes = BUILT.get_or_init(|| {
        let classes = temp_dir("java");
        let compile = Launch::tool("javac").args(["-Xlint:all", "-Werror", "-proc:none", "-d"]);
        let compile = compile.arg(classes.path()).arg("-cp").arg(class_path(classes.path()));
        compile.arg(folder("java").join("Alerts.java")).run(BUILD).ok();
        classes
    });
    // A JVM that starts fast; what log4j, which comes with the broker's jars, says is not ours.
    let flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=OFF", "-cp"];
    let mut words: Words = vec![tool(&["java"]).into()];
    words.extend(flags.map(OsString::from));
    words.extend([class_path(classes.path()).into(), "Alerts".into()]);
    words
}

/// The folder of the jars that the tests' Kafka runs on, which has those of its clients.
#[track_caller]
pub fn kafka_jars() -> PathBuf {
    let fetch = Launch::at("kafka", root().join("tests/services/kafka")).arg("fetch");
    fetch.run(BUILD).ok().trim().into()
}

/// The one in Go.
#[track_caller]
pub fn go() -> Words {
    static BUILT: OnceLock<tempfile::TempDir> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let Some(go) = find_tool(&["go"]) else {
            panic!("Go is not here: run `cargo dev tools`, or install Go 1.19 or newer");
        };
        let built = temp_dir("go");
        let run = |args: &[&str]| {
            // (Go's own `-C` is of 1.20)
            let launch = Launch::tool("env").arg("-C").arg(folder("go")).arg(&go).args(args);
            launch.env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "").run(BUILD).ok()
        };
        run(&["vet", "-mod=readonly", "."]);
        let program = built.path().join("alerts").display().to_string();
        run(&["build", "-mod=readonly", "-buildvcs=false", "-o", &program, "."]);
        built
    });
    vec![built.path().join("alerts").into()]
}
