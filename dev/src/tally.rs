//! Runs `cargo test`, passes its output on and counts the tests in it.
//!
//! Each test binary ends with a `test result:` line. One that is killed or aborts writes none, so
//! the counts alone never say that all went well: cargo's exit status has to agree.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::step::Outcome;
use crate::workspace;

/// What the tests of all binaries came to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// The failed ones by name.
    pub(crate) failing: Vec<String>,
}

impl Tally {
    /// Adds what other binaries came to.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failing.extend(other.failing);
    }

    /// Takes one line of cargo's output.
    fn line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            // "ok. 5 passed; 0 failed; 0 ignored; ..."
            for part in result.split([';', '.']) {
                match part.trim().split_once(' ') {
                    Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                    Some((n, "failed")) => self.failed += n.parse().unwrap_or(0),
                    _ => {}
                }
            }
        } else if let Some(rest) = line.strip_prefix("test ")
            && let Some(name) = rest.strip_suffix(" ... FAILED")
        {
            self.failing.push(name.to_string());
        }
    }
}

/// Runs all tests of the workspace, or those with `filter` in their name.
pub(crate) fn cargo_test(filter: Option<&str>, long: bool) -> Outcome {
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).args(filter);
    if long {
        command.env("WEIR_TEST_LONG", "1");
    }
    count(
        command,
        &match filter {
            Some(filter) => format!("no test has `{filter}` in its name"),
            None => "there was no test".to_string(),
        },
    )
}

/// Runs the tests of one file in `tests/it`, as `more` says also or only those that the whole check leaves out.
pub(crate) fn of_file(file: &str, more: &[&str]) -> Outcome {
    let mut command = workspace::cargo();
    command.args(["test", "-p", "weir-tests", "--test", "it", &format!("{file}::"), "--"]);
    command.args(more);
    count(command, &format!("there is no such test in `{file}`"))
}

/// Runs a cargo that runs tests; `none` is what to say when it ran not a single one.
pub(crate) fn count(mut command: Command, none: &str) -> Outcome {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cargo could not be started: {e}"))?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        let mut ours = std::io::stdout();
        // By bytes: a test may print what is not UTF-8.
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|e| format!("cargo's output could not be read: {e}"))?;
            let text = String::from_utf8_lossy(&line);
            tally.line(&text);
            // A reader that is gone (`| head`) is no reason to stop the tests half-way.
            let _ = writeln!(ours, "{text}");
        }
    }
    let status = child.wait().map_err(|e| format!("cargo did not end: {e}"))?;
    if !status.success() && tally.failed == 0 {
        return Err(format!("cargo test ended with {status}, with no test failed: see above"));
    }
    if tally.passed + tally.failed == 0 {
        return Err(none.to_string());
    }
    Ok(Some(tally))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &str, passed: u64, failing: &[&str], failed: u64) {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        let failing = failing.iter().map(|s| s.to_string()).collect();
        assert_eq!(tally, Tally { passed, failed, failing });
    }

    #[test]
    fn result_lines_are_summed() {
        let ok = "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; \
                  finished in 0.00s";
        check(ok, 5, &[], 0);
        check(&format!("{ok}\nrunning 1 test\n{ok}"), 10, &[], 0);
        let bad = "test a::b ... FAILED\ntest c ... ok\n\
                   test result: FAILED. 1 passed; 1 failed; 0 ignored";
        check(bad, 1, &["a::b"], 1);
    }

    #[test]
    fn what_a_test_prints_is_not_counted() {
        check("the result: 7 passed; 1 failed", 0, &[], 0);
        check("", 0, &[], 0);
    }
}
