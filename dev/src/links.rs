//! Checks that what the Markdown files of the project link to is there, and that the book has every page.
//!
//! Only relative links to files and to headings in Markdown files; addresses on the web are not asked for, since a
//! check must not fail because somebody else's server does. `docs/SUMMARY.md` is the book's list of pages: a page
//! that is not in it would be in no book.

use std::collections::BTreeMap;
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
        let text = read(file)?;
        let folder = file.parent().unwrap_or(&root);
        let shown = file.strip_prefix(&root).unwrap_or(file).display();
        for (line, target, section) in links(&text) {
            let meant = if target.is_empty() { file.clone() } else { folder.join(&target) };
            if !meant.exists() {
                broken.push(format!("{shown}:{line} links to `{target}`, which is not there"));
            } else if !section.is_empty()
                && meant.extension().is_some_and(|kind| kind == "md")
                && !anchors(&read(&meant)?).contains(&section)
            {
                let why =
                    format!("links to `{target}#{section}`, but no heading there is called so");
                broken.push(format!("{shown}:{line} {why}"));
            }
        }
    }
    broken.extend(missing_pages(&root.join("docs"), &files)?);
    if broken.is_empty() { Ok(None) } else { Err(broken.join("; ")) }
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}

/// The pages that the book's list does not have.
fn missing_pages(book: &Path, files: &[PathBuf]) -> Result<Vec<String>, String> {
    let summary = book.join("SUMMARY.md");
    let listed: Vec<PathBuf> =
        links(&read(&summary)?).into_iter().map(|(_, target, _)| book.join(target)).collect();
    let pages = files.iter().filter(|file| file.starts_with(book) && **file != summary);
    let missing = pages.filter(|file| !listed.contains(file));
    Ok(missing.map(|file| format!("docs/SUMMARY.md does not list {}", file.display())).collect())
}

/// The names of a text's headings as links have them: small letters, `-` for blanks, without other signs.
fn anchors(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        let Some(title) = title.strip_prefix(' ').filter(|_| line.starts_with('#')) else {
            continue;
        };
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let small: String =
            title.trim().chars().filter(kept).flat_map(char::to_lowercase).collect();
        let name = small.replace(' ', "-");
        let before = times.entry(name.clone()).or_default();
        found.push(if *before == 0 { name } else { format!("{name}-{before}") });
        *before += 1;
    }
    found
}

/// The lines with their numbers, but for blocks of code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code_block = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code_block ^= is_fence;
        let is_code = in_code_block || is_fence || line.starts_with("    ");
        (!is_code).then_some((i + 1, line))
    })
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

/// The relative link targets of a text with their line numbers, and the `#section` of each. Code is not looked at:
/// `` `array[i](x)` `` is no link.
fn links(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let prose: String = line.split('`').step_by(2).collect();
        for rest in prose.split("](").skip(1) {
            let whole = rest.split([')', ' ']).next().unwrap_or_default();
            let (target, section) = whole.split_once('#').unwrap_or((whole, ""));
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !whole.is_empty() && !elsewhere {
                found.push((number, target.to_string(), section.to_string()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let own = |(n, target, section): &(usize, &str, &str)| {
            (*n, (*target).to_owned(), (*section).to_owned())
        };
        let expected: Vec<_> = expected.iter().map(own).collect();
        assert_eq!(links(text), expected);
    }

    #[test]
    fn relative_targets_are_found() {
        let text = "see [a](docs/a.md) and\n![b](b.png \"title\")";
        check(text, &[(1, "docs/a.md", ""), (2, "b.png", "")]);
        check("[a](a.md#part) [c](#here)", &[(1, "a.md", "part"), (1, "", "here")]);
    }

    #[test]
    fn the_web_and_code_are_left_alone() {
        check("[a](https://a.example/b#c) [d](mailto:d@a.example)", &[]);
        check("`x[i](y)` and\n```\n[a](b)\n```\n    [c](d)", &[]);
    }

    #[test]
    fn headings_have_names() {
        let text =
            "# The API: `v1`, and more\n## Errors\n```\n# no heading\n```\n### Errors\n#none\n";
        assert_eq!(anchors(text), ["the-api-v1-and-more", "errors", "errors-1"]);
    }

    #[test]
    fn all_links_of_the_project_lead_somewhere_and_the_book_has_all_pages() {
        assert!(matches!(super::check(), Ok(None)), "{:?}", super::check().err());
    }
}
