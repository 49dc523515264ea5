#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use expect_test::{Expect, expect};

use super::*;
use crate::config::Written;

const HEAD: &str = "agent = { id = 'gw', site = 'a' }\nkafka = { brokers = ['x:1'] }\n";

fn parse(text: &str) -> Written {
    Written::parse("agent.toml", text.into()).unwrap()
}

/// The plan from `old` to `new`, in words.
fn words(old: &str, new: &str) -> String {
    let (old, new) = (parse(old), parse(new));
    let plan = Plan::of(&old.config, &new.config);
    let mut lines = plan.lines(&old, &new);
    lines.push(plan.summary());
    lines.join("\n") + "\n"
}

#[track_caller]
fn check(old: &str, new: &str, expected: Expect) {
    expected.assert_eq(&words(&format!("{HEAD}{old}"), &format!("{HEAD}{new}")));
}

const UDP: &str = "[[source.syslog]]\nlisten = 'udp://0.0.0.0:514'\n";
const TCP: &str = "[[source.syslog]]\nlisten = 'tcp://0.0.0.0:601'\n";

#[test]
fn what_means_the_same_is_nothing_to_do() {
    check(
        UDP,
        &format!("# a comment\n{UDP}format = 'syslog'\nname = \"syslog-udp-514\"\n"),
        expect![[r#"
            nothing to do: the file says what is in force
        "#]],
    );
}

#[test]
fn sources_come_and_go() {
    check(
        &format!("{UDP}{TCP}[[source.mqtt]]\nurl = 'mqtt://b'\ntopics = ['#']\n"),
        &format!("{TCP}[[source.file]]\npaths = ['/var/log/a', '/var/log/b']\n"),
        expect![[r#"
            - source `syslog-udp-514` is removed ("udp://0.0.0.0:514"): what it has read goes on, its connections are closed
            - source `mqtt-b` is removed ("mqtt://b"): what it has read goes on, its connections are closed
            + source `file-a` is added (["/var/log/a", "/var/log/b"])
            1 source stays as it is, with its connections.
            A reload does all of this without a restart.
        "#]],
    );
}

#[test]
fn a_source_changes_as_little_as_it_can() {
    check(
        &format!("{UDP}{TCP}[[source.http]]\nname = 'h'\nlisten = '0.0.0.0:80'\n"),
        &format!(
            "{UDP}zone = 'UTC'\n{TCP}idle_s = 60\n[[source.http]]\nname = 'h'\nlisten = '0.0.0.0:81'\n"
        ),
        expect![[r#"
            ~ source `syslog-udp-514` stays as it is, its events are read differently: `zone` default -> "UTC"
            * source `syslog-tcp-601` starts anew on the same socket, its connections are closed: `idle_s` default -> 60
            * source `h` starts anew: `listen` "0.0.0.0:80" -> "0.0.0.0:81"
            No source stays as it is.
            A reload does all of this without a restart.
        "#]],
    );
}

#[test]
fn rules_are_told_by_name() {
    let rule =
        |name: &str, more: &str| format!("[[filter]]\nname = '{name}'\naction = 'drop'\n{more}");
    check(
        &format!("{UDP}{}{}", rule("a", ""), rule("b", "app = 'x'\n")),
        &format!("{UDP}{}{}", rule("b", "app = 'y'\n"), rule("c", "")),
        expect![[r#"
            ~ `[[filter]]` changes between two events: rule `b`: `app` "x" -> "y", rule `c` is new, rule `a` is gone
            1 source stays as it is, with its connections.
            A reload does all of this without a restart.
        "#]],
    );
    check(
        &format!("{UDP}{}{}", rule("a", ""), rule("b", "")),
        &format!("{UDP}{}{}", rule("b", ""), rule("a", "")),
        expect![[r#"
            ~ `[[filter]]` changes between two events: the rules come in another order
            1 source stays as it is, with its connections.
            A reload does all of this without a restart.
        "#]],
    );
}

#[test]
fn what_takes_a_restart_is_told_with_the_reason_and_without_secrets() {
    let kafka = "publisher = 'librdkafka'\n[kafka.librdkafka]\n'sasl.password' = ";
    let text = |id: &str, secret: &str, more: &str| {
        format!(
            "[agent]\nid = '{id}'\nsite = 'a'\n[kafka]\nbrokers = ['x:1']\n{kafka}'{secret}'\n{UDP}{more}"
        )
    };
    if cfg!(feature = "rdkafka") {
        let said = words(&text("gw", "hidden", ""), &text("gw", "shown", ""));
        assert!(said.contains("`librdkafka.sasl.password`") && !said.contains("hidden"), "{said}");
    }
    check(
        &format!("{UDP}[spool]\nmax_bytes = 40000000\n"),
        &format!("{UDP}[source.stdin]\n[spool]\nmax_bytes = 50000000\n[status]\nlisten = ''\n"),
        expect![[r#"
            ! `[spool]` takes a restart, the spool is open with these settings: `max_bytes` 40000000 -> 50000000
            ~ `[status]` changes between two events: `listen` default -> ""
            ! source `stdin` takes a restart, a read of standard input cannot be taken back
            1 source stays as it is, with its connections.
            A reload is refused and changes nothing: what is marked with `!` takes a restart (what was taken is in the spool, senders have to connect again). Restart the agent, or take that back.
        "#]],
    );
}

#[test]
fn every_table_is_compared() {
    #[track_caller]
    fn check(change: &str, table: &'static str, may: bool) {
        let of = |text: &str| Config::parse("agent.toml", text).unwrap();
        let base = "[agent]\nid = 'gw'\nsite = 'a'\n[kafka]\nbrokers = ['x:1']\n[source.stdin]\n";
        let new = match change.split_once('=') {
            Some((key, _)) if base.contains(&format!("\n{key}=")) => {
                let line = base.lines().find(|line| line.starts_with(key)).unwrap();
                base.replace(line, change)
            }
            _ => base.replace(&format!("[{table}]\n"), &format!("[{table}]\n{change}\n")),
        };
        let new = if new == base { format!("{base}[{table}]\n{change}\n") } else { new };
        let plan = Plan::of(&of(base), &of(&new));
        let tables: Vec<_> = plan.changes.iter().map(|change| change.part.clone()).collect();
        assert_eq!(tables, [Part::Table(table)], "{new}");
        assert_eq!(plan.refusal().is_none(), may, "{new}");
    }
    check("id = 'other'", "agent", false);
    check("data_dir = '/x'", "agent", false);
    check("site = 'b'", "agent", true);
    check("heartbeat_s = 5", "agent", true);
    check("reload = 'signal'", "agent", true);
    check("topic_prefix = 'x.'", "kafka", false);
    check("stale_after_s = 1", "metadata", true);
    check("logs = false", "score", true);
    check("flush_ms = 10", "spool", true);
    check("zstd_level = 3", "spool", false);
    check("overtake_s = 5", "spool", false);
    check("listen = ''", "status", true);
}
