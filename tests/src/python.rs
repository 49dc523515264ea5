//! Python with confluent-kafka, in the venv that `cargo dev tools` makes: clients that nobody here
//! wrote.

use crate::Launch;
use crate::paths::cache;

/// A Python program with its arguments; `run` or `start` it.
#[track_caller]
pub fn python(script: &str, args: &[&str]) -> Launch {
    let python = cache().join("python/bin/python3");
    assert!(
        python.is_file(),
        "there is no {}: run `cargo dev tools`",
        python.display()
    );
    Launch::at("python", python)
        .env("PYTHONUNBUFFERED", "1")
        .file("script.py", script)
        .arg("script.py")
        .args(args)
}
