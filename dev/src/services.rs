//! A Kafka and a Cassandra that stay up between test runs, for somebody who runs one test again
//! and again. The tests start their own when they are not told of these.

use std::process::{Command, ExitCode};

use crate::step::{Outcome, output, status};
use crate::workspace;

/// The instances' name for the service scripts.
const NAME: &str = "dev";

fn script(service: &str, action: &str) -> Command {
    let mut command = Command::new(workspace::root().join("tests/services").join(service));
    command.args([action, "--name", NAME]);
    command
}

pub(crate) fn start() -> Outcome {
    for service in ["kafka", "cassandra"] {
        status(script(service, "start").args(["--port", "auto"]))?;
    }
    println!("tests use them after: eval \"$(cargo dev services env)\"");
    Ok(None)
}

pub(crate) fn stop() -> Outcome {
    status(&mut script("kafka", "stop"))?;
    status(&mut script("cassandra", "stop"))
}

/// Prints what the shell has to set for the tests to use the instances.
pub(crate) fn print_env() -> ExitCode {
    let variables = [
        ("kafka", "KAFKA_BOOTSTRAP=", "WEIR_TEST_KAFKA"),
        ("cassandra", "CASSANDRA_CONTACT_POINTS=", "WEIR_TEST_CASSANDRA"),
    ];
    for (service, key, variable) in variables {
        match output(&mut script(service, "env")) {
            Ok(env) => {
                let value = env.lines().find_map(|line| line.strip_prefix(key));
                println!("export {variable}={}", value.unwrap_or_default());
            }
            Err(why) => {
                eprintln!("{why}; start them first: cargo dev services start");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
