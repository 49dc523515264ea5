//! `cargo dev fuzz`: any bytes into parsers, framers, record batches and the spool.
//!
//! In: the targets of `fuzz/src/lib.rs` and their corpora. Out: an error with the input that broke a
//! promise. [`replay`] is bounded and does the same in every run, for the CI. [`grow`] is libFuzzer, led by
//! what of the code an input reaches; what it finds new is kept in the target folder, and what is worth
//! keeping goes into `fuzz/corpus`. Neither needs a nightly toolchain: without the address sanitizer,
//! which safe code has no use for, all flags are stable ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Outcome, Steps, output, status};
use crate::workspace;

/// What libFuzzer needs to see where the code goes, as cargo-fuzz gives it.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Longer inputs are slower to try, and rarely reach more.
const INPUT_BYTES_MAX: u32 = 2_048;

/// Every seed and mutations of them, so many seconds each.
pub(crate) fn replay(steps: &mut Steps, seconds: &str) {
    let test = ["test", "--manifest-path", "fuzz/Cargo.toml", "--", "--nocapture"];
    steps.cargo("fuzz", &test, &[("WEIR_FUZZ_SECONDS", seconds)]);
}

/// libFuzzer, so many seconds for each target.
pub(crate) fn grow(steps: &mut Steps, seconds: &str) {
    let work = workspace::target().join("fuzz");
    let seeds = work.join("seeds");
    steps.step("seeds", || {
        let mut seed = workspace::cargo();
        seed.args(["run", "--quiet", "--manifest-path", "fuzz/Cargo.toml", "--example", "seeds"]);
        status(seed.arg("--").arg(&seeds))
    });
    let mut programs = PathBuf::new();
    steps.step("build", || {
        let host = host()?;
        programs = work.join("programs").join(&host).join("release");
        let mut build = workspace::cargo();
        build.args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--bins"]);
        // With a target named, programs that run while building are not instrumented.
        build.args(["--features", "libfuzzer", "--target", &host, "--target-dir"]);
        status(build.arg(work.join("programs")).env("RUSTFLAGS", COVERAGE))
    });
    if steps.failed("seeds") || steps.failed("build") {
        steps.skip("grow", "it needs the seeds and the programs");
        return;
    }
    for target in targets() {
        steps.step(&target, || fuzz(&programs.join(&target), &work, &seeds.join(&target), seconds));
    }
}

/// One target: runs until it breaks or the time is over.
fn fuzz(program: &Path, work: &Path, seeds: &Path, seconds: &str) -> Outcome {
    let name = program.file_name().unwrap_or_default();
    let (grown, broken) = (work.join("grown").join(name), work.join("broken"));
    for folder in [&grown, &broken] {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let mut fuzzer = Command::new(program);
    fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={INPUT_BYTES_MAX}"));
    fuzzer.args(["-timeout=10", "-print_final_stats=1", "-verbosity=0"]);
    fuzzer.arg(format!("-artifact_prefix={}/{}-", broken.display(), name.display()));
    // What is new goes into the first folder.
    status(fuzzer.arg(&grown).arg(seeds))
}

/// The names of the targets, in order.
fn targets() -> Vec<String> {
    let folder = fs::read_dir(workspace::root().join("fuzz/fuzz_targets"));
    let names = folder
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn host() -> Result<String, String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say what it runs on".to_string())
}
