//! `cargo dev COMMAND`: everything a developer or the CI runs, by one name each.
//!
//! In: a command from the table below. Out: the output of the tools it runs, one line per step with
//! its time, and an exit status of 0 only when all of it went well.
//! Standard library only, so that a fresh clone compiles it in a second and nothing else has to be
//! there first. What the tests need beside Rust, [`tools`] looks for and, on Debian, gets.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "talking to a person is its work")]

mod container;
mod cross;
mod debian;
mod fuzz;
mod go;
mod instructions;
mod links;
mod package;
mod peers;
mod python;
mod services;
mod step;
mod tally;
mod tools;
mod workspace;

use std::process::ExitCode;

use step::Steps;

const USAGE: &str = "\
cargo dev COMMAND

  test [--long] [FILTER]     everything the CI checks: tools, format, lint, docs, build, all tests
                             (those with FILTER in their name); --long adds the long ones, the
                             variable CI `cross aarch64 --test`
  lint                       clippy over the workspace and all targets, warnings are errors
  fmt [--check]              rustfmt
  docs [--check]             builds the API docs, checks the links of the Markdown files, and writes
                             (--check: compares) the generated references
  rules                      the tests of the alert rules by the promtool of a Prometheus 3, which is built from its
                             module (Go 1.21; minutes, once); the whole check takes that of the machine or of Debian
  api                        schemathesis asks a running sink what its description allows, also at random and in
                             sequences; the whole check asks what is on the edges only
  tools                      makes sure that everything the tests need is there
  services start|stop|env    a Kafka and a Cassandra that stay between test runs
  fuzz [--seconds N]         seeds and mutations of all fuzz targets, N (10) seconds each
  fuzz --grow N              all fuzz targets by libFuzzer, N seconds each
  bench agent                the agent as a whole: CPU and memory for a million events
  bench udp                  the agent with 50,000 datagrams a second: what the kernel drops
  bench peers                the same beside six other agents, in turn; --only NAME,NAME
  bench outage [MINUTES]     the agent's memory while Kafka is away for so long (30 minutes)
  bench readings [READINGS]  a million readings over line protocol and over MQTT
  bench sink                 the sink as a whole, beside Kafka Connect with the engine of the DataStax connector;
                             --alone without it, --events N, --rounds N
  bench reads                how long the API takes: plots, a year of rollups, newest values, before and after sealing
  bench nab [FOLDER]         scores on a benchmark in the layout of NAB (./NAB); FOLDER --csv OUT writes them
  bench group [MORE]         scores of the group detector on faults that are put in; --kinds, --set N, --plot OUT
  plot FOLDER OUT            the same, and a picture (SVG) of each series in the folder OUT
  bench instructions         instructions of parts, compared with the stored ones; --keep stores
  bench [FILTER]             the benchmarks of parts, by the clock
  cross ARCH [--test]        the agent for gateways (aarch64, armv7, x86_64); --test: its tests and a
                             run against a real Kafka, emulated
  container [--test]         the image of the sink; --test: the whole line with the sink run from it
                             (as root)
  package deb|rpm [ARCH]     the packages of the agent, for all architectures or one
  package try                installs, upgrades and removes the .deb and the .rpm in a folder (as root)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut steps = Steps::default();
    let known = match words.as_slice() {
        ["test", rest @ ..] => test(&mut steps, rest),
        ["lint"] => run(|| steps.cargo("clippy", CLIPPY, &[])),
        ["fmt"] => run(|| steps.cargo("format", &["fmt", "--all"], &[])),
        ["fmt", "--check"] => run(|| steps.cargo("format", FORMAT_CHECK, &[])),
        ["docs"] => run(|| docs(&mut steps, Generated::Write)),
        ["docs", "--check"] => run(|| docs(&mut steps, Generated::Compare)),
        ["rules"] => run(|| rules(&mut steps)),
        ["api"] => run(|| api(&mut steps)),
        ["tools"] => run(|| steps.step("tools", tools::ensure)),
        ["services", "start"] => run(|| steps.step("services", services::start)),
        ["services", "stop"] => run(|| steps.step("services", services::stop)),
        // Its output is read by a shell: no line of ours in between.
        ["services", "env"] => return services::print_env(),
        ["bench", what @ ("agent" | "udp" | "peers" | "outage" | "readings"), more @ ..] => {
            run(|| bench_program(&mut steps, "weir-agent", what, more))
        }
        ["bench", what @ ("sink" | "reads"), more @ ..] => {
            run(|| bench_program(&mut steps, "weir-sink", what, more))
        }
        ["fuzz"] => run(|| fuzz::replay(&mut steps, "10")),
        ["fuzz", "--seconds", seconds] => run(|| fuzz::replay(&mut steps, seconds)),
        ["fuzz", "--grow", seconds] => run(|| fuzz::grow(&mut steps, seconds)),
        ["bench", "nab"] => run(|| bench_nab(&mut steps, "NAB", &[])),
        ["bench", "nab", folder, more @ ..] => run(|| bench_nab(&mut steps, folder, more)),
        ["bench", "group", more @ ..] => run(|| bench_group(&mut steps, more)),
        ["plot", folder, out] => run(|| bench_nab(&mut steps, folder, &["--plot", out])),
        ["bench", "instructions"] => run(|| instructions::run(&mut steps, false)),
        ["bench", "instructions", "--keep"] => run(|| instructions::run(&mut steps, true)),
        ["bench"] => run(|| bench_parts(&mut steps, None)),
        ["bench", filter] => run(|| bench_parts(&mut steps, Some(filter))),
        ["cross", arch] => cross(&mut steps, arch, false),
        ["cross", arch, "--test"] => cross(&mut steps, arch, true),
        ["container"] => run(|| container::make(&mut steps, false)),
        ["container", "--test"] => run(|| container::make(&mut steps, true)),
        ["package", "try"] => run(|| package::attempt(&mut steps)),
        ["package", kind] => package(&mut steps, kind, cross::GATEWAYS.iter()),
        ["package", kind, arch] => package(&mut steps, kind, cross::Gateway::named(arch)),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => false,
    };
    if !known {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    }
    steps.finish()
}

const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
const FORMAT_CHECK: &[&str] = &["fmt", "--all", "--check"];

/// Runs one arm of the table; the result is that the command was a known one.
fn run(command: impl FnOnce()) -> bool {
    command();
    true
}

/// The whole check. Every step runs, whatever the ones before said, so that one run shows
/// everything there is to repair; only the tests need what they stand on.
fn test(steps: &mut Steps, args: &[&str]) -> bool {
    let long = args.contains(&"--long");
    let filter: Vec<&str> = args.iter().copied().filter(|a| *a != "--long").collect();
    if filter.len() > 1 || filter.iter().any(|f| f.starts_with('-')) {
        return false;
    }
    steps.step("tools", tools::ensure);
    steps.cargo("format", FORMAT_CHECK, &[]);
    steps.cargo("clippy", CLIPPY, &[]);
    docs(steps, Generated::LeaveToTests);
    fuzz::replay(steps, "2");
    // The tests run the real programs, and `cargo test` builds none of them.
    steps.cargo("build", &["build", "--workspace", "--bins"], &[]);
    if steps.failed("tools") || steps.failed("build") {
        steps.skip("test", "it needs the tools and the programs");
        return true;
    }
    steps.step("test", || tally::cargo_test(filter.first().copied(), long));
    // Minutes for a fresh clone, and a developer says `cargo dev cross` where it matters.
    if filter.is_empty() && std::env::var_os("CI").is_some() {
        cross(steps, "aarch64", true);
    }
    true
}

/// Our alert rules, read and tried by the newest promtool.
fn rules(steps: &mut Steps) {
    steps.step("promtool", tools::promtool);
    if steps.failed("promtool") {
        return steps.skip("test", "it needs promtool");
    }
    steps.step("test", || tally::of_file("prometheus", &[]));
}

/// The API against its own description, for longer.
fn api(steps: &mut Steps) {
    steps.step("tools", tools::ensure);
    steps.cargo("build", &["build", "--workspace", "--bins"], &[]);
    if steps.failed("tools") || steps.failed("build") {
        return steps.skip("test", "it needs the tools and the programs");
    }
    steps.step("test", || tally::of_file("api", &["--include-ignored"]));
}

/// The agent for one kind of gateway.
fn cross(steps: &mut Steps, arch: &str, test: bool) -> bool {
    let Some(gateway) = cross::Gateway::named(arch) else {
        return false;
    };
    if gateway.build(steps) && test {
        gateway.test(steps);
    }
    true
}

/// Packages for some gateways.
fn package(
    steps: &mut Steps,
    kind: &str,
    gateways: impl IntoIterator<Item = &'static cross::Gateway>,
) -> bool {
    let Some(kind) = package::Kind::named(kind) else {
        return false;
    };
    let mut any = false;
    for gateway in gateways {
        any = true;
        package::make(steps, kind, gateway);
    }
    any
}

/// The benchmarks that look at the clock; `instructions` looks at callgrind.
fn bench_parts(steps: &mut Steps, filter: Option<&str>) {
    const BENCHES: [&str; 7] = ["parse", "enrich", "spool", "pipeline", "wire", "detect", "logs"];
    let mut bench = vec!["bench", "-p", "weir-agent", "-p", "weir-models"];
    bench.extend(BENCHES.iter().flat_map(|name| ["--bench", name]));
    bench.extend(filter.iter().flat_map(|filter| ["--", filter]));
    steps.cargo("bench", &bench, &[]);
}

/// The default detector on a benchmark with labels.
fn bench_nab(steps: &mut Steps, folder: &str, more: &[&str]) {
    let mut nab = vec!["run", "--release", "-p", "weir-models", "--example", "nab", "--", folder];
    nab.extend(more);
    steps.cargo("nab", &nab, &[]);
}

/// The detector of several metrics on faults that are put in.
fn bench_group(steps: &mut Steps, more: &[&str]) {
    let mut group = vec!["run", "--release", "-p", "weir-models", "--example", "group", "--"];
    group.extend(more);
    steps.cargo("group", &group, &[]);
}

/// The release build of a program against real services.
fn bench_program(steps: &mut Steps, program: &str, what: &str, more: &[&str]) {
    steps.step("tools", tools::ensure);
    if what == "peers" {
        let only = more.iter().position(|word| *word == "--only").and_then(|at| more.get(at + 1));
        steps.step("peers", || peers::ensure(only.copied()));
    }
    steps.cargo("build", &["build", "--release", "-p", program], &[]);
    if steps.failed("build") {
        steps.skip("bench", "it needs the program");
        return;
    }
    let program = workspace::target().join("release").join(program).display().to_string();
    let mut bench = vec!["run", "--quiet", "-p", "weir-tests", "--bin", "weir-bench", "--"];
    bench.extend([what, &program]);
    bench.extend(more);
    steps.cargo("bench", &bench, &[]);
}

/// What to do with the files that are generated from the code.
enum Generated {
    Write,
    Compare,
    /// The same comparison is among the tests that run next.
    LeaveToTests,
}

fn docs(steps: &mut Steps, generated: Generated) {
    let rustdoc = ["doc", "--workspace", "--no-deps"];
    steps.cargo("docs", &rustdoc, &[("RUSTDOCFLAGS", "-D warnings")]);
    steps.step("links", links::check);
    // Tests whose name has `generated_` compare a file in `docs/` with what the code says
    // (`expect_test::expect_file!`), and write it when this variable is set.
    let tests = ["test", "--workspace", "--lib", "--bins", "--quiet", "generated_"];
    match generated {
        Generated::Write => steps.cargo("references", &tests, &[("UPDATE_EXPECT", "1")]),
        Generated::Compare => steps.cargo("references", &tests, &[]),
        Generated::LeaveToTests => {}
    }
}
