//! Python with confluent-kafka, in the venv that `cargo dev tools` makes: clients that nobody here
//! wrote.

use std::path::Path;

use crate::Launch;
use crate::paths::cache;

/// A Python program with its arguments; `run` or `start` it.
#[track_caller]
pub fn python(script: &str, args: &[&str]) -> Launch {
    let python = cache().join("python/bin/python3");
    assert!(python.is_file(), "there is no {}: run `cargo dev tools`", python.display());
    Launch::at("python", python)
        .env("PYTHONUNBUFFERED", "1")
        .file("script.py", script)
        .arg("script.py")
        .args(args)
}

/// schemathesis, which `cargo dev tools` installs.
#[track_caller]
pub fn schemathesis() -> Launch {
    let program = cache().join("schemathesis/bin/schemathesis");
    assert!(program.is_file(), "there is no {}: run `cargo dev tools`", program.display());
    Launch::at("schemathesis", program).env("PYTHONUNBUFFERED", "1")
}

/// The code blocks of one language in a Markdown file, so that a test runs what the page shows.
#[track_caller]
pub fn code_blocks(file: &Path, language: &str) -> Vec<String> {
    match std::fs::read_to_string(file) {
        Ok(text) => blocks(&text, language),
        Err(e) => panic!("{}: {e}", file.display()),
    }
}

fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Between fences, the first line of each block is its language.
    for block in text.split("\n```").skip(1).step_by(2) {
        if let Some((first, code)) = block.split_once('\n')
            && first.trim() == language
        {
            found.push(format!("{code}\n"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_language() {
        let text = "# A page\n```python\nprint(1)\nprint(2)\n```\ntext\n```sh\nls\n```\n\n\
                    ```python\nprint(3)\n```\n";
        assert_eq!(blocks(text, "python"), ["print(1)\nprint(2)\n", "print(3)\n"]);
        assert!(blocks(text, "rust").is_empty());
    }
}
