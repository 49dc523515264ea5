//! Steps: each runs something, lets its output through, and prints one line with its time.
//!
//! The last lines of a run say which steps failed, and how many tests passed and failed, if tests
//! ran to their end.

use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::{tally::Tally, workspace};

/// What a step can end with: `Ok` with the tests it counted, if it ran tests.
pub(crate) type Outcome = Result<Option<Tally>, String>;

/// The steps of one run, in order.
#[derive(Default)]
pub(crate) struct Steps {
    failed: Vec<(String, String)>,
    tally: Option<Tally>,
}

impl Steps {
    /// Runs `work` as a step called `name`.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Outcome) {
        let start = Instant::now();
        let outcome = work();
        let seconds = start.elapsed().as_secs_f64();
        let good = outcome.as_ref().is_ok_and(|t| t.as_ref().is_none_or(|t| t.failed == 0));
        let word = if good { "ok" } else { "FAILED" };
        println!("{word:>8}  {name:<10} {seconds:7.1} s");
        match outcome {
            Ok(None) => {}
            Ok(Some(tally)) => self.tally.get_or_insert_default().add(tally),
            Err(why) => self.failed.push((name.to_string(), why)),
        }
    }

    /// A step that is one cargo command.
    pub(crate) fn cargo(&mut self, name: &str, args: &[&str], env: &[(&str, &str)]) {
        self.step(name, || {
            let mut command = workspace::cargo();
            command.args(args).envs(env.iter().copied());
            status(&mut command)
        });
    }

    /// Says that a step did not run; the run then has not passed either.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        println!("{:>8}  {name}", "skipped");
        self.failed.push((name.to_string(), format!("did not run: {why}")));
    }

    /// Whether the step of that name failed.
    pub(crate) fn failed(&self, name: &str) -> bool {
        self.failed.iter().any(|(step, _)| step == name)
    }

    /// Prints the summary.
    pub(crate) fn finish(self) -> ExitCode {
        for (step, why) in &self.failed {
            println!("{step} failed: {why}");
        }
        if let Some(tally) = &self.tally {
            for test in &tally.failing {
                println!("failed test: {test}");
            }
        }
        let tests_failed = self.tally.as_ref().is_some_and(|t| t.failed > 0);
        if let Some(tally) = &self.tally {
            println!("{} passed, {} failed", tally.passed, tally.failed);
        }
        if self.failed.is_empty() && !tests_failed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs a command with its output going through.
pub(crate) fn status(command: &mut Command) -> Outcome {
    let shown = shown(command);
    match command.status() {
        Ok(status) if status.success() => Ok(None),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(e) => Err(format!("`{shown}` could not be started: {e}")),
    }
}

/// Runs a command and gives back its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let shown = shown(command);
    let output = command.output().map_err(|e| format!("`{shown}` could not be started: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{shown}` ended with {}: {}", output.status, said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command as a person would type it.
fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default().to_string();
    let words = command.get_args().map(|a| a.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}
