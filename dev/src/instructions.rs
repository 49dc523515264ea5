//! `cargo dev bench instructions`: instructions of parts of the agent, against those that are stored.
//!
//! In: what callgrind has counted in `agent/benches/instructions.rs`, a file for each function, and
//! `agent/benches/instructions.txt`. Out: a line for each function; an error where one has become
//! dearer than [`DEARER_MAX`] allows, or where the two do not name the same functions. `--keep` stores
//! the new counts. They do not depend on the machine's load, and little on the machine; they do depend on
//! the compiler and the architecture, which are stored with them: beside others they are shown, and not judged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::step::{Outcome, Steps, output, status};
use crate::{tools, workspace};

/// What runs callgrind: a crate, and the version that `agent/Cargo.toml` asks for.
const RUNNER: (&str, &str) = ("gungraun-runner", "0.20.0");
const STORED: &str = "agent/benches/instructions.txt";
/// Where the counts are, below the target folder.
const COUNTED: &str = "gungraun/weir-agent/instructions";
/// Hash maps begin with another seed each time, so that counts differ by some thousandths.
const DEARER_MAX: f64 = 0.02;

type Counts = BTreeMap<String, u64>;

/// Counts, and what they were counted with.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    /// Compiler and architecture.
    by: String,
    counts: Counts,
}

/// Counts, and compares or stores.
pub(crate) fn run(steps: &mut Steps, keep: bool) {
    steps.step("valgrind", tools::valgrind);
    steps.step("runner", || tools::cargo_tool(RUNNER.0, RUNNER.1).map(|_| None));
    if steps.failed("valgrind") || steps.failed("runner") {
        steps.skip("count", "it needs valgrind and its runner");
        return;
    }
    steps.step("count", count);
    if steps.failed("count") {
        return;
    }
    let stored = workspace::root().join(STORED);
    steps.step("compare", || {
        let counted = counted(&workspace::target().join(COUNTED))?;
        if counted.is_empty() {
            return Err(format!("no count is below {COUNTED}"));
        }
        let compiler = output(Command::new("rustc").arg("--version"))?;
        let by = format!("{}, {}", compiler.trim(), std::env::consts::ARCH);
        let counted = Stored { by, counts: counted };
        if keep {
            fs::write(&stored, written(&counted))
                .map_err(|e| format!("{}: {e}", stored.display()))?;
            return Ok(None);
        }
        let text = fs::read_to_string(&stored).map_err(|e| format!("{}: {e}", stored.display()))?;
        compare(&read(&text), &counted)
    });
}

fn count() -> Outcome {
    let runner = tools::cargo_tool(RUNNER.0, RUNNER.1)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = runner.parent().unwrap_or(Path::new("")).display();
    // What an earlier run has left would be counted too.
    let _ = fs::remove_dir_all(workspace::target().join(COUNTED));
    let mut cargo = workspace::cargo();
    cargo.args(["bench", "-p", "weir-agent", "--bench", "instructions"]);
    status(cargo.env("PATH", format!("{folder}:{path}")))
}

/// The counts in a folder and those below it, by the names of the folders they are in.
fn counted(folder: &Path) -> Result<Counts, String> {
    let mut counts = Counts::new();
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            counts.extend(counted(&path)?);
        } else if name.starts_with("callgrind.") && name.ends_with(".out") {
            let text = fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
            let function = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let count = total(&text).ok_or_else(|| format!("{name} says no total"))?;
            counts.insert(function, count);
        }
    }
    Ok(counts)
}

/// The instructions that a file of callgrind tells of: the first of its events.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("summary:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How the first line begins.
const HEAD: &str = "# Instructions of a thousand calls, by `cargo dev bench instructions --keep`: ";

fn written(stored: &Stored) -> String {
    let mut text = format!("{HEAD}{}\n", stored.by);
    for (name, count) in &stored.counts {
        text.push_str(&format!("{name} {count}\n"));
    }
    text
}

fn read(text: &str) -> Stored {
    let by = text.lines().find_map(|line| line.strip_prefix(HEAD)).unwrap_or_default().to_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Stored { by, counts: lines.filter_map(|line| line.split_once(' ')).filter_map(pair).collect() }
}

fn pair((name, count): (&str, &str)) -> Option<(String, u64)> {
    Some((name.to_owned(), count.trim().parse().ok()?))
}

/// Prints a line for each function.
fn compare(stored: &Stored, counted: &Stored) -> Outcome {
    let mut wrong = Vec::new();
    for (name, now) in &counted.counts {
        let Some(before) = stored.counts.get(name) else {
            wrong.push(format!("{name} is not stored"));
            continue;
        };
        let change = *now as f64 / *before as f64 - 1.0;
        println!("{:>8}  {name:<36} {now:>12}  {:>+7.2} %", "", change * 100.0);
        if change > DEARER_MAX {
            wrong.push(format!("{name} takes {:.1} % more", change * 100.0));
        }
    }
    let gone = stored.counts.keys().filter(|name| !counted.counts.contains_key(*name));
    wrong.extend(gone.map(|name| format!("{name} is stored, but was not counted")));
    if stored.by != counted.by {
        println!("{:>8}  counted by {}, stored by {}: not judged", "", counted.by, stored.by);
        return Ok(None);
    }
    if wrong.is_empty() {
        return Ok(None);
    }
    Err(format!("{}; where that is meant to be, run it with `--keep`", wrong.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(by: &str, counts: &[(&str, u64)]) -> Stored {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Stored { by: by.to_owned(), counts }
    }

    #[test]
    fn counts_are_read_as_they_were_written() {
        let counts = stored("rustc 1.0.0 (abc), x86_64", &[("a.b", 17), ("c", u64::MAX)]);
        assert_eq!(read(&written(&counts)), counts);
    }

    #[test]
    fn the_total_is_the_first_event_of_the_summary() {
        let text = "version: 1\nevents: Ir Dr\nfn=(1) main\n3 4 5\nsummary: 1234 56\n";
        assert_eq!(total(text), Some(1_234));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn what_is_dearer_new_or_gone_is_named() {
        let by = "rustc 1.0.0, x86_64";
        let counts = |n: u64| stored(by, &[("a", n)]);
        assert!(compare(&counts(1_000), &counts(1_019)).is_ok());
        assert!(compare(&counts(1_000), &counts(10)).is_ok());
        let dearer = compare(&counts(1_000), &counts(1_030));
        assert!(dearer.is_err_and(|why| why.contains("a takes 3.0 % more")));
        assert!(compare(&stored(by, &[]), &counts(1)).is_err());
        assert!(compare(&counts(1), &stored(by, &[])).is_err());
    }

    #[test]
    fn counts_of_another_compiler_are_not_judged() {
        let counts = |by: &str, n: u64| stored(by, &[("a", n)]);
        let (one, other) = ("rustc 1.0.0, x86_64", "rustc 1.1.0, x86_64");
        assert!(compare(&counts(one, 1), &counts(other, 2)).is_ok());
        assert!(compare(&counts(one, 1), &counts(one, 2)).is_err());
    }
}
