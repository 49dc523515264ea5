//! What the tests need beside Rust: looked for, and where we can, installed.
//!
//! On Debian and its derivatives what is missing is installed with `apt-get` (as root or by sudo
//! without a password); daemons are only unpacked into the cache, never installed (see
//! [`debian`]). Elsewhere the list of what is missing is the error.

use std::path::PathBuf;
use std::process::Command;

use crate::step::{Outcome, status};
use crate::workspace::find;
use crate::{debian, go, python, workspace};

/// One thing that the tests run.
pub(crate) struct Tool {
    /// What a person calls it.
    pub(crate) name: &'static str,
    /// Whether it is here.
    here: fn() -> bool,
    /// How Debian has it.
    pub(crate) debian: Package,
}

/// How Debian has a tool.
pub(crate) enum Package {
    /// Installed: the first of these packages that the release has.
    Install(&'static [&'static str]),
    /// A daemon: unpacked into the cache, to be run by this program's name from there.
    Unpack {
        /// The package.
        package: &'static str,
        /// Packages with modules of it that are wanted, too.
        modules: &'static [&'static str],
        /// The program in it.
        program: &'static str,
    },
}

use Package::{Install, Unpack};

/// All of them. A release's default JDK can be older than 17, so a 17 goes first.
const TOOLS: &[Tool] = &[
    Tool {
        name: "a JDK, 17 or newer (Kafka, Cassandra)",
        here: || java_major() >= 17 && has("javac") && has("keytool"),
        debian: Install(&["openjdk-17-jdk-headless", "default-jdk-headless"]),
    },
    Tool { name: "Maven (their jars)", here: || has("mvn"), debian: Install(&["maven"]) },
    Tool { name: "curl", here: || has("curl"), debian: Install(&["curl"]) },
    Tool { name: "openssl", here: || has("openssl"), debian: Install(&["openssl"]) },
    Tool {
        name: "flock and setsid (util-linux)",
        here: || has("flock") && has("setsid"),
        debian: Install(&["util-linux"]),
    },
    Tool { name: "a C++ compiler", here: || has("c++"), debian: Install(&["g++"]) },
    Tool { name: "make", here: || has("make"), debian: Install(&["make"]) },
    Tool { name: "perl", here: || has("perl"), debian: Install(&["perl"]) },
    Tool {
        name: "Chromium (the web page)",
        here: || has("chromium") || has("chromium-browser") || has("google-chrome"),
        debian: Install(&["chromium", "chromium-browser"]),
    },
    Tool {
        name: "chromedriver, of the same version",
        here: || has("chromedriver"),
        debian: Install(&["chromium-driver", "chromium-chromedriver"]),
    },
    Tool {
        name: "Python 3.10 or newer with venv (the alert consumer, schemathesis)",
        here: || {
            ok(
                "python3",
                &["-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"],
            )
        },
        debian: Install(&["python3-venv"]),
    },
    Tool {
        name: "Go, 1.19 or newer (the alert consumer)",
        here: || go_minor() >= 19,
        debian: Install(&["golang-go"]),
    },
    Tool {
        name: "faketime (agents with a wrong clock)",
        here: || has("faketime"),
        debian: Unpack { package: "faketime", modules: &[], program: "faketime" },
    },
    Tool { name: "sqlite3", here: || has("sqlite3"), debian: Install(&["sqlite3"]) },
    Tool { name: "logger", here: || has("logger"), debian: Install(&["bsdutils"]) },
    Tool {
        name: "mosquitto_pub and mosquitto_sub",
        here: || has("mosquitto_pub") && has("mosquitto_sub"),
        debian: Install(&["mosquitto-clients"]),
    },
    Tool {
        name: "mosquitto (the broker)",
        here: || has("mosquitto"),
        debian: Unpack { package: "mosquitto", modules: &[], program: "mosquitto" },
    },
    Tool {
        name: "promtool (the alert rules)",
        here: || has("promtool"),
        debian: Unpack { package: "prometheus", modules: &[], program: "promtool" },
    },
    Tool {
        name: "rsyslogd, with RELP, TLS and Kafka",
        // The packages come together; the driver for TLS cannot be tried by itself.
        here: || rsyslog_has("omrelp") && rsyslog_has("omkafka"),
        debian: Unpack {
            package: "rsyslog",
            modules: &["rsyslog-relp", "rsyslog-gnutls", "rsyslog-kafka"],
            program: "rsyslogd",
        },
    },
    Tool {
        name: "syslog-ng, with Kafka and tables",
        here: || syslog_ng_has("kafka_c") && syslog_ng_has("add_contextual_data"),
        debian: Unpack {
            package: "syslog-ng-core",
            modules: &["syslog-ng-mod-rdkafka", "syslog-ng-mod-add-contextual-data"],
            program: "syslog-ng",
        },
    },
];

fn missing() -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !(tool.here)()).collect()
}

/// Makes sure that all of them are here.
pub(crate) fn ensure() -> Outcome {
    let absent = missing();
    if !absent.is_empty() && debian::is_here() {
        println!("missing, to be had from Debian: {}", names(&absent));
        debian::get(&absent)?;
    }
    let absent = missing();
    if !absent.is_empty() {
        return Err(format!("install first: {}", names(&absent)));
    }
    python::ensure()?;
    go::ensure()?;
    Ok(None)
}

/// Makes sure that the promtool of a Prometheus 3 is here, which only `cargo dev rules` needs.
pub(crate) fn promtool() -> Outcome {
    if go_minor() < 21 {
        let older = "Debian 12 has an older one";
        return Err(format!("install Go 1.21 or newer first (https://go.dev/dl): {older}"));
    }
    go::promtool().map(|()| None)
}

/// Makes sure that valgrind is here, which only counting instructions needs.
pub(crate) fn valgrind() -> Outcome {
    one(&Tool { name: "valgrind", here: || has("valgrind"), debian: Install(&["valgrind"]) })
}

/// Makes sure that buildah is here, which only the image of the sink needs.
pub(crate) fn buildah() -> Outcome {
    one(&Tool { name: "buildah", here: || has("buildah"), debian: Install(&["buildah"]) })
}

fn one(tool: &Tool) -> Outcome {
    if !(tool.here)() && debian::is_here() {
        debian::get(&[tool])?;
    }
    if (tool.here)() { Ok(None) } else { Err(format!("install first: {}", tool.name)) }
}

/// A program of a crate in the cache, installed when it is not there.
pub(crate) fn cargo_tool(name: &str, version: &str) -> Result<PathBuf, String> {
    let root = workspace::cache().join("cargo").join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.is_file() {
        let mut install = workspace::cargo();
        install.args(["install", "--quiet", "--locked", "--version", version, name, "--root"]);
        // Its build is of no use to anything else.
        install.arg(&root).env_remove("CARGO_TARGET_DIR");
        status(&mut install)?;
    }
    Ok(program)
}

/// A list for a person, with the Debian package as a hint at what is meant.
fn names(tools: &[&Tool]) -> String {
    let one = |tool: &&Tool| {
        let package = match &tool.debian {
            Install(packages) => packages[0],
            Unpack { package, .. } => package,
        };
        format!("{} [Debian: {package}]", tool.name)
    };
    tools.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn has(program: &str) -> bool {
    find(program).is_some()
}

fn ok(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|o| o.status.success())
}

/// Whether rsyslog is here and can load this module.
fn rsyslog_has(module: &str) -> bool {
    let Some(program) = find("rsyslogd") else { return false };
    let config = std::env::temp_dir().join(format!("weir-{module}-{}.conf", std::process::id()));
    let text = format!("module(load=\"{module}\")\naction(type=\"omfile\" file=\"/dev/null\")\n");
    let checked = std::fs::write(&config, text).and_then(|()| {
        Command::new(program).arg("-N1").arg("-f").arg(&config).env("LC_ALL", "C").output()
    });
    // What stays behind is of no consequence.
    let _ = std::fs::remove_file(&config);
    checked.is_ok_and(|output| output.status.success())
}

/// Whether syslog-ng is here with this plugin.
fn syslog_ng_has(plugin: &str) -> bool {
    let Some(program) = find("syslog-ng") else { return false };
    let registry = Command::new(program).arg("--module-registry").output();
    registry.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(plugin))
}

/// The major version of the `java` in `PATH`, 0 without one.
fn java_major() -> u32 {
    let Ok(output) = Command::new("java").arg("-version").output() else {
        return 0;
    };
    java_version(&String::from_utf8_lossy(&output.stderr))
}

/// `openjdk version "17.0.15" 2025-04-15`; before Java 9 it was `"1.8.0_402"`.
fn java_version(said: &str) -> u32 {
    let number = said.split('"').nth(1).unwrap_or_default();
    let major = number.split(['.', '-', '+']).next().unwrap_or_default();
    major.parse().unwrap_or(0)
}

/// The `N` of the Go 1.N in `PATH`, 0 without one.
fn go_minor() -> u32 {
    let Some(program) = find("go") else { return 0 };
    let output = Command::new(program).arg("version").output();
    output.map_or(0, |output| go_version(&String::from_utf8_lossy(&output.stdout)))
}

/// `go version go1.24.4 linux/amd64`.
fn go_version(said: &str) -> u32 {
    let number = said.split_once("version go1.").map_or("", |(_, after)| after);
    let minor = number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    minor.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions() {
        assert_eq!(go_version("go version go1.24.4 linux/amd64"), 24);
        assert_eq!(go_version("go version go1.19 linux/arm64"), 19);
        assert_eq!(go_version("go version go1.27rc1 linux/amd64"), 27);
        assert_eq!(go_version("sh: go: not found"), 0);
    }

    #[test]
    fn java_versions() {
        assert_eq!(java_version("openjdk version \"17.0.15\" 2025-04-15"), 17);
        assert_eq!(java_version("openjdk version \"21\" 2023-09-19"), 21);
        assert_eq!(java_version("openjdk version \"22-ea\" 2024-03-19"), 22);
        assert_eq!(java_version("java version \"1.8.0_402\""), 1);
        assert_eq!(java_version("sh: java: not found"), 0);
    }
}
