//! Checks that what the Markdown files of the project link to is there.
//!
//! Only relative links to files; addresses on the web are not asked for, since a check must not
//! fail because somebody else's server does.

use std::fs;
use std::path::{Path, PathBuf};

use crate::step::Outcome;
use crate::workspace;

/// Looks at every Markdown file that is not in a build or hidden folder.
pub(crate) fn check() -> Outcome {
    let root = workspace::root();
    let mut files = Vec::new();
    markdown_files(&root, &mut files);
    let mut broken = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let folder = file.parent().unwrap_or(&root);
        for (line, target) in links(&text) {
            if !folder.join(&target).exists() {
                let shown = file.strip_prefix(&root).unwrap_or(file).display();
                broken.push(format!("{shown}:{line} links to `{target}`, which is not there"));
            }
        }
    }
    if broken.is_empty() { Ok(None) } else { Err(broken.join("; ")) }
}

fn markdown_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|e| e.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            markdown_files(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The relative link targets of a text with their line numbers, without the `#section`. Code is
/// not looked at: `` `array[i](x)` `` is no link.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code_block = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code_block = !in_code_block;
        }
        if in_code_block || line.starts_with("    ") {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect();
        for rest in prose.split("](").skip(1) {
            let target = rest.split([')', ' ', '#']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !elsewhere {
                found.push((i + 1, target.to_string()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(n, s)| (*n, s.to_string())).collect();
        assert_eq!(links(text), expected);
    }

    #[test]
    fn relative_targets_are_found() {
        check("see [a](docs/a.md) and\n![b](b.png \"title\")", &[(1, "docs/a.md"), (2, "b.png")]);
        check("[a](a.md#part)", &[(1, "a.md")]);
    }

    #[test]
    fn web_sections_and_code_are_left_alone() {
        check("[a](https://a.example/b) [c](#here) [d](mailto:d@a.example)", &[]);
        check("`x[i](y)` and\n```\n[a](b)\n```\n    [c](d)", &[]);
    }
}
