//! `cargo dev package`: the agent's `.deb` and `.rpm`, made from the builds of `cargo dev cross`.
//!
//! In: a kind and an architecture. Out: a file in `TARGET-DIR/package`. What is in it, and what runs
//! when it is installed and removed, stands in `agent/Cargo.toml` and `agent/packaging`. The tools
//! are cargo's, at fixed versions, in the cache; nothing is installed system-wide.

use std::path::PathBuf;
use std::process::Command;

use crate::cross::Gateway;
use crate::step::{Outcome, Steps, status};
use crate::{tools, workspace};

mod attempt;

pub(crate) use attempt::attempt;

/// A kind of package.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Deb,
    Rpm,
}

impl Kind {
    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "deb" => Some(Self::Deb),
            "rpm" => Some(Self::Rpm),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
        }
    }

    /// The tool, a crate, and its version.
    fn tool(self) -> (&'static str, &'static str) {
        match self {
            Self::Deb => ("cargo-deb", "3.8.0"),
            Self::Rpm => ("cargo-generate-rpm", "0.21.1"),
        }
    }
}

/// Builds the agent for that gateway and packs it. Answers whether all went well.
pub(crate) fn make(steps: &mut Steps, kind: Kind, gateway: &Gateway) -> bool {
    let step = format!("{} {}", kind.name(), gateway.name);
    if !gateway.build(steps) {
        steps.skip(&step, "it needs the agent");
        return false;
    }
    steps.step(&step, || {
        let file = pack(kind, gateway, 1)?;
        println!("{:>8}  {}", "", file.display());
        Ok(None)
    });
    !steps.failed(&step)
}

/// Packs the build that is there. `revision` goes behind the version, so that there can be two of it.
fn pack(kind: Kind, gateway: &Gateway, revision: u32) -> Result<PathBuf, String> {
    let (name, tool_version) = kind.tool();
    let tool = tools::cargo_tool(name, tool_version)?;
    let folder = workspace::target().join("package");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // All crates of the workspace have one version.
    let version = format!("{}-{}", env!("CARGO_PKG_VERSION"), revision);
    let file = folder.join(match kind {
        Kind::Deb => format!("weir-agent_{version}_{}.deb", gateway.deb),
        Kind::Rpm => format!("weir-agent-{version}.{}.rpm", gateway.rpm),
    });
    let mut command = Command::new(tool);
    command.current_dir(workspace::root());
    match kind {
        Kind::Deb => {
            command.args(["deb", "-p", "weir-agent", "--no-build", "--no-strip"]);
            command.args(["--deb-version", &version]);
        }
        Kind::Rpm => {
            command.args(["generate-rpm", "-p", "agent", "--target-dir"]);
            command.arg(workspace::target());
            // A static program needs nothing; of the other one, the reader built into the tool tells.
            let needs = if gateway.is_static() { "disabled" } else { "builtin" };
            command.args(["--auto-req", needs]);
            command.args(["--arch", gateway.rpm]);
            command.args(["--set-metadata", &format!("release = \"{revision}\"")]);
        }
    }
    command.args(["--target", gateway.triple, "--profile", "edge", "--output"]).arg(&file);
    status(&mut command)?;
    Ok(file)
}

/// A step that fails with what was expected.
fn expect(holds: bool, what: &str) -> Outcome {
    if holds { Ok(None) } else { Err(format!("expected: {what}")) }
}
