//! Reference: what the programs say of themselves, as pages.
//!
//! In: the command lines of the three programs and the table of metrics. Out: `docs/commands.md`,
//! `docs/metrics.md`, and what the agent's packages bring for the shell: manual pages and completions.
//! They are kept equal to the code by these tests; `cargo dev docs` writes them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::Shell;
use expect_test::expect_file;
use weir_models::metric::{ALL, Metric};

fn programs() -> [Command; 3] {
    [weir_agent::cli::Cli::command(), weir_sink::cli::Cli::command(), crate::cli::Cli::command()]
}

fn is_shown(command: &&Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

/// The text in one line, as a cell of a table.
fn cell(text: impl ToString) -> String {
    let text = text.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

/// How an argument is written.
fn form(arg: &Arg) -> String {
    let values: String = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values())
        .map(|names| names.iter().map(|name| format!(" <{name}>")).collect())
        .unwrap_or_default();
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}{values}"),
        (None, Some(long)) => format!("--{long}{values}"),
        (Some(short), None) => format!("-{short}{values}"),
        (None, None) => values.trim_start().to_owned(),
    }
}

/// What an argument means: its help, what it may be, what it is when it is not given.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(cell).unwrap_or_default();
    // clap takes the full stop away.
    let mut text = format!("{}.", help.trim_end_matches('.'));
    let possible: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if arg.get_action().takes_values() && !possible.is_empty() {
        write!(text, " One of {}.", possible.join(", ")).unwrap();
    }
    let default: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if arg.get_action().takes_values() && !default.is_empty() {
        write!(text, " Default: {}.", default.join(" ")).unwrap();
    }
    text
}

fn describe(out: &mut String, path: &str, command: &mut Command) {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(cell).unwrap_or_default();
    let level = if path.contains(' ') { "###" } else { "##" };
    writeln!(out, "{level} `{path}`\n\n{}.\n", about.trim_end_matches('.')).unwrap();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    writeln!(out, "    {usage}\n").unwrap();
    let is_inner = path.contains(' ');
    let own = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        // What all commands take is told once, with the program.
        let is_told = is_inner && arg.is_global_set();
        !(arg.is_hide_set() || is_told || ["help", "version"].contains(&id))
    };
    let args: Vec<&Arg> = command.get_arguments().filter(own).collect();
    if !args.is_empty() {
        out.push_str("| argument | meaning |\n| --- | --- |\n");
        for arg in args {
            writeln!(out, "| `{}` | {} |", cell(form(arg)), meaning(arg)).unwrap();
        }
        out.push('\n');
    }
    let names: Vec<String> =
        command.get_subcommands().filter(is_shown).map(|c| c.get_name().to_owned()).collect();
    for name in names {
        let inner = command.find_subcommand_mut(&name).unwrap();
        describe(out, &format!("{path} {name}"), inner);
    }
}

#[test]
fn generated_commands() {
    let mut out = String::from(
        "# The commands\n\n\
         Made from the programs by `cargo dev docs`. Each says the same with `--help`; `--version` says which it is.\n\n\
         Exit codes of all: 0 when all went well, 1 when the program could not do its job, 2 when the arguments or the \
         configuration are wrong. What is for a person and the log go to standard error, what is for a program to standard \
         output.\n\n",
    );
    for mut program in programs() {
        program.build();
        let name = program.get_name().to_owned();
        describe(&mut out, &name, &mut program);
    }
    expect_file!["../../docs/commands.md"].assert_eq(&out);
}

fn kind(metric: &Metric) -> &'static str {
    if metric.name.ends_with("_total") { "counter" } else { "gauge" }
}

#[test]
fn generated_metrics() {
    let mut out = String::from(
        "# The metrics\n\n\
         Made from the code by `cargo dev docs`. Both programs show theirs at `/metrics` in the form of Prometheus. What to watch \
         and what to do stands in [agent.md](agent.md) and [sink.md](sink.md).\n",
    );
    for (title, prefix) in [("Agent", "weir_agent_"), ("Sink", "weir_sink_")] {
        writeln!(out, "\n## {title}\n\n| metric | kind | meaning |\n| --- | --- | --- |").unwrap();
        for metric in ALL.iter().filter(|metric| metric.name.starts_with(prefix)) {
            writeln!(out, "| `{}` | {} | {} |", metric.name, kind(metric), cell(metric.help))
                .unwrap();
        }
    }
    let told = |metric: &&Metric| out.contains(&format!("`{}`", metric.name));
    assert_eq!(ALL.iter().filter(told).count(), ALL.len(), "a metric of neither program");
    expect_file!["../../docs/metrics.md"].assert_eq(&out);
}

#[test]
fn generated_completions_of_the_agent() {
    let complete = |shell: Shell| {
        let mut out = Vec::new();
        clap_complete::generate(
            shell,
            &mut weir_agent::cli::Cli::command(),
            "weir-agent",
            &mut out,
        );
        String::from_utf8(out).unwrap()
    };
    expect_file!["../../agent/packaging/completions/weir-agent.bash"]
        .assert_eq(&complete(Shell::Bash));
    expect_file!["../../agent/packaging/completions/_weir-agent"].assert_eq(&complete(Shell::Zsh));
    expect_file!["../../agent/packaging/completions/weir-agent.fish"]
        .assert_eq(&complete(Shell::Fish));
}

#[test]
fn generated_manual_of_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(weir_agent::cli::Cli::command(), folder.path()).unwrap();
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/packaging/man");
    let names = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for name in names(folder.path()) {
        let page = std::fs::read_to_string(folder.path().join(&name)).unwrap();
        expect_file![kept.join(&name)].assert_eq(&page);
    }
    assert_eq!(names(&kept), names(folder.path()), "pages of commands that are gone");
}
