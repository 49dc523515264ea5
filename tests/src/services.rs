//! A real Kafka and a real Cassandra for the tests.
//!
//! [`kafka`] and [`cassandra`] are shared by all tests of the process and start with the first one
//! that asks; tests keep apart by the names from [`unique`]. A test that breaks a service takes a
//! [`Private`] one. `tests/services/hold` starts and stops them, and stops them too when this
//! process is killed. Those of `cargo dev services start` are used instead when the environment
//! names them (`WEIR_TEST_KAFKA`, `WEIR_TEST_CASSANDRA`).

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cassandra::Cassandra;
use crate::kafka::Kafka;
use crate::paths::root;

/// The shared Kafka: one node, no security.
#[track_caller]
pub fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<(Kafka, Option<Private>)> = OnceLock::new();
    let (kafka, _) = SHARED.get_or_init(|| match env::var("WEIR_TEST_KAFKA") {
        Ok(bootstrap) => (Kafka::at(&bootstrap), None),
        Err(_) => {
            let held = Private::kafka(&[]);
            (held.as_kafka(), Some(held))
        }
    });
    kafka
}

/// The shared Cassandra: one node, no security.
#[track_caller]
pub fn cassandra() -> &'static Cassandra {
    static SHARED: OnceLock<(Cassandra, Option<Private>)> = OnceLock::new();
    let (cassandra, _) = SHARED.get_or_init(|| match env::var("WEIR_TEST_CASSANDRA") {
        Ok(contact_points) => (Cassandra::at(&contact_points), None),
        Err(_) => {
            let held = Private::cassandra(&[]);
            (held.as_cassandra(), Some(held))
        }
    });
    cassandra
}

/// A name that nothing else has, on this or an earlier run: lower case, digits and `_`, at most 40
/// characters, so that it is good for a keyspace, a consumer group and the prefix of topics.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let clean = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(16);
    let clean: String = clean.collect::<String>().to_ascii_lowercase();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (seconds, n) = (since.as_secs() as u32, NEXT.fetch_add(1, Ordering::Relaxed));
    format!("t_{clean}_{seconds:x}_{}_{n}", std::process::id())
}

/// A service that a test has for itself, to stop, kill or pause it. Ends when dropped.
pub struct Private {
    service: &'static str,
    name: String,
    env: HashMap<String, String>,
    child: Child,
    /// Closing it is what ends the service.
    hold: Option<ChildStdin>,
}

impl Private {
    /// A Kafka, with arguments of `tests/services/kafka start`, e.g. `["--secure"]`.
    #[track_caller]
    pub fn kafka(args: &[&str]) -> Self {
        Self::start("kafka", args)
    }

    /// A Cassandra, with arguments of `tests/services/cassandra start`, e.g. `["--nodes", "3"]`.
    #[track_caller]
    pub fn cassandra(args: &[&str]) -> Self {
        Self::start("cassandra", args)
    }

    #[track_caller]
    fn start(service: &'static str, args: &[&str]) -> Self {
        let name = unique("it");
        let mut child = Command::new("setsid")
            .arg(root().join("tests/services/hold"))
            .args([service, &name])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the services need `setsid`: run `cargo dev tools`");
        let hold = child.stdin.take();
        let mut env = HashMap::new();
        let mut ready = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if line == "READY" {
                ready = true;
                break;
            }
            if let Some((key, value)) = line.split_once('=') {
                env.insert(key.to_string(), value.to_string());
            }
        }
        assert!(ready, "{service} did not start: its reason stands above in the output");
        Self { service, name, env, child, hold }
    }

    /// A value that the script's `env` prints, e.g. `KAFKA_CA`.
    #[track_caller]
    pub fn env(&self, key: &str) -> &str {
        self.env.get(key).unwrap_or_else(|| panic!("{} has no {key}", self.service))
    }

    /// The clients for it (without security).
    #[track_caller]
    pub fn as_kafka(&self) -> Kafka {
        Kafka::at(self.env("KAFKA_BOOTSTRAP"))
    }

    /// The clients for it (without security).
    #[track_caller]
    pub fn as_cassandra(&self) -> Cassandra {
        Cassandra::at(self.env("CASSANDRA_CONTACT_POINTS"))
    }

    /// Does something to node `i`, counted from 1: start (and wait until it is ready), stop, kill,
    /// pause or resume.
    #[track_caller]
    pub fn node(&self, i: u32, what: &str) {
        self.script("node", &[&i.to_string(), what]);
    }

    /// Any command of the service script, with its standard output: e.g. `("topic", ["--list"])`.
    #[track_caller]
    pub fn script(&self, action: &str, args: &[&str]) -> String {
        let mut command = Command::new(root().join("tests/services").join(self.service));
        command.args([action, "--name", &self.name]).args(args);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {action} {args:?}: {said}", self.service);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        drop(self.hold.take());
        // It is stopped then; its end is not worth failing for.
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_names_differ_and_are_good_everywhere() {
        let name = unique("Kill -9: half-way through the archive");
        assert_ne!(name, unique("Kill -9: half-way through the archive"));
        assert!(name.len() <= 40, "{name} is long");
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(good), "{name}");
    }
}
