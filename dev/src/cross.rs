//! `cargo dev cross`: the agent for gateways, built, checked, and tried under emulation.
//!
//! In: the name of an architecture. Out: `TARGET-DIR/TRIPLE/edge/weir-agent`, stripped, with what it
//! needs to run checked ([`elf`]) and its size held to a limit; with `--test` also the unit tests and
//! a run of the program against a real Kafka, both by qemu's user-mode emulation. What the build
//! needs beside Rust, `dev/cross/setup-arm` puts into the cache; on another system than Debian it
//! says what is missing.

use std::path::PathBuf;
use std::process::Command;

use crate::step::{Outcome, Steps, output, status};
use crate::{tally, workspace};

mod elf;

/// An architecture that gateways have.
pub(crate) struct Gateway {
    /// What a person calls it.
    pub(crate) name: &'static str,
    /// Rust's name.
    pub(crate) triple: &'static str,
    /// What Debian and what RPM call it.
    pub(crate) deb: &'static str,
    pub(crate) rpm: &'static str,
    /// What follows the triple for the linker: the oldest glibc to run on.
    oldest: &'static str,
    /// `e_machine` of its programs.
    machine: u16,
    /// Runs its programs here; none when this machine does.
    emulator: Option<&'static str>,
    /// Sizes of a page that its kernels may have, in bytes.
    pages: &'static [u64],
    /// What the compiler is told beside.
    flags: &'static str,
}

/// All of them. The ARM ones are static and run on any kernel; x86-64 has glibc, because musl's
/// allocator is slow with several threads.
pub(crate) const GATEWAYS: &[Gateway] = &[
    Gateway {
        name: "aarch64",
        triple: "aarch64-unknown-linux-musl",
        deb: "arm64",
        rpm: "aarch64",
        oldest: "",
        machine: 183,
        emulator: Some("qemu-aarch64"),
        pages: &[4 << 10, 16 << 10, 64 << 10],
        flags: "",
    },
    Gateway {
        name: "armv7",
        triple: "armv7-unknown-linux-musleabihf",
        deb: "armhf",
        rpm: "armv7hl",
        oldest: "",
        machine: 40,
        emulator: Some("qemu-arm"),
        pages: &[4 << 10],
        // Instructions of two bytes, which each ARMv7 has: a quarter less program.
        flags: "-Ctarget-feature=+thumb-mode",
    },
    Gateway {
        name: "x86_64",
        triple: "x86_64-unknown-linux-gnu",
        deb: "amd64",
        rpm: "x86_64",
        oldest: ".2.28",
        machine: 62,
        emulator: None,
        pages: &[4 << 10],
        flags: "",
    },
];

/// The agent as gateways get it: without what belongs to a workstation.
const FEATURES: &[&str] = &["--no-default-features"];
/// A stripped agent is at most this large, so that it and its next version fit small flash.
const BYTES_MAX: u64 = 5_000_000;
/// Leaves zstd's slowest strategies out, which only its high levels use; such a level then takes the
/// next faster one.
const C_FLAGS: &str = "-DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR \
    -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR";

impl Gateway {
    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        GATEWAYS.iter().find(|gateway| gateway.name == name)
    }

    /// Where its build of the agent is.
    pub(crate) fn agent(&self) -> PathBuf {
        workspace::target().join(self.triple).join("edge/weir-agent")
    }

    /// Whether its build needs no shared libraries.
    pub(crate) fn is_static(&self) -> bool {
        self.oldest.is_empty()
    }

    /// Builds the agent and checks what came out.
    pub(crate) fn build(&self, steps: &mut Steps) -> bool {
        let (kit, build) = (format!("kit {}", self.name), format!("build {}", self.name));
        steps.step(&kit, || Kit::make(self.triple).map(|_| None));
        if steps.failed(&kit) {
            steps.skip(&build, "it needs the kit");
            return false;
        }
        steps.step(&build, || {
            let target = format!("{}{}", self.triple, self.oldest);
            let mut command = Kit::find()?.cargo_zigbuild();
            // The agent ends when it panics: tables for unwinding would be half a megabyte for nothing.
            command.env("RUSTFLAGS", format!("-Cforce-unwind-tables=no {}", self.flags).trim_end());
            command.args(["rustc", "--profile", "edge", "-p", "weir-agent", "--bin", "weir-agent"]);
            command.args(["--target", &target]).args(FEATURES);
            // And those that flags of ours do not reach: for the program alone, which is what is linked.
            let script = workspace::root().join("dev/cross/edge.ld");
            status(command.args(["--", &format!("-Clink-arg=-Wl,-T,{}", script.display())]))
        });
        if steps.failed(&build) {
            return false;
        }
        let check = format!("size {}", self.name);
        steps.step(&check, || self.check());
        !steps.failed(&check)
    }

    /// Unit tests of the models and the agent, then the program as a whole, once for each size of a
    /// page.
    pub(crate) fn test(&self, steps: &mut Steps) {
        let Some(emulator) = self.emulator else {
            return;
        };
        steps.step(&format!("tests {}", self.name), || {
            let mut command = Kit::find()?.cargo_zigbuild();
            command.args(["test", "--target", self.triple, "--lib", "--no-fail-fast"]);
            command.args(["-p", "weir-models", "-p", "weir-agent"]).args(FEATURES);
            // The emulator does not know `SO_RXQ_OVFL`.
            command.args(["--", "--skip", "what_the_kernel_drops"]);
            tally::count(command, "there was no test")
        });
        let agent = self.agent().display().to_string();
        for page in self.pages {
            steps.step(&format!("run {} with pages of {} KiB", self.name, page >> 10), || {
                let emulator = Kit::find()?.emulator(emulator).display().to_string();
                let mut smoke = workspace::cargo();
                smoke.args(["run", "--quiet", "-p", "weir-tests", "--bin", "weir-smoke", "--"]);
                status(smoke.args([&agent, &emulator, "-p", &page.to_string()]))
            });
        }
    }

    /// The program runs on the machines it is for, and is small enough.
    fn check(&self) -> Outcome {
        let agent = self.agent();
        let bytes = std::fs::read(&agent).map_err(|e| format!("{}: {e}", agent.display()))?;
        let program = elf::read(&bytes).ok_or_else(|| format!("{} is no ELF", agent.display()))?;
        if program.machine != self.machine {
            let (is, expected) = (program.machine, self.machine);
            return Err(format!("it is for machine {is}, not {expected}"));
        }
        if program.dynamic == self.is_static() {
            return Err(format!(
                "it is {} linked",
                if program.dynamic { "dynamically" } else { "statically" }
            ));
        }
        // A kernel with larger pages than a segment is aligned to cannot load it.
        let page_max = self.pages.iter().copied().max().unwrap_or_default();
        if program.align_bytes < page_max {
            let align = program.align_bytes;
            return Err(format!(
                "its segments are aligned to {align} bytes, pages have {page_max}"
            ));
        }
        let size = bytes.len() as u64;
        println!("{:>8}  {}: {size} bytes, at most {BYTES_MAX}", "", agent.display());
        if size > BYTES_MAX {
            return Err(format!("{size} bytes are more than {BYTES_MAX}"));
        }
        Ok(None)
    }
}

/// What `setup-arm` has made: its programs, by their paths.
pub(crate) struct Kit {
    path: String,
    folder: PathBuf,
}

impl Kit {
    fn script() -> Command {
        let mut script = Command::new(workspace::root().join("dev/cross/setup-arm"));
        clean(&mut script);
        script
    }

    /// Makes what is missing for this target; nothing when all is there.
    pub(crate) fn make(triple: &str) -> Outcome {
        status(Self::script().arg(triple))
    }

    pub(crate) fn find() -> Result<Self, String> {
        let shown = output(Self::script().arg("--env"))?;
        // export PATH="/…/tc/bin:/…/venv/bin:$PATH"
        let path = shown.lines().find_map(|line| line.strip_prefix("export PATH=\""));
        let path = path.and_then(|rest| rest.strip_suffix(":$PATH\""));
        let path = path.ok_or("setup-arm --env names no PATH: remove its cache and try again")?;
        let bin = path.split(':').nth(1).unwrap_or_default();
        let folder = PathBuf::from(bin).join("../..");
        let all = std::env::var("PATH").unwrap_or_default();
        Ok(Self { path: format!("{path}:{all}"), folder })
    }

    fn program(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command.current_dir(workspace::root()).env("PATH", &self.path).env("CFLAGS", C_FLAGS);
        for gateway in GATEWAYS {
            if let Some(emulator) = gateway.emulator {
                let name = gateway.triple.to_uppercase().replace('-', "_");
                let emulator = self.emulator(emulator);
                command.env(format!("CARGO_TARGET_{name}_RUNNER"), emulator);
            }
        }
        clean(&mut command);
        command
    }

    pub(crate) fn cargo(&self) -> Command {
        let bin = self.path.split(':').next().unwrap_or_default();
        self.program(PathBuf::from(bin).join("cargo"))
    }

    /// By itself it is cargo with other words than `zigbuild`.
    fn cargo_zigbuild(&self) -> Command {
        self.program(self.folder.join("venv/bin/cargo-zigbuild"))
    }

    fn emulator(&self, name: &str) -> PathBuf {
        self.folder.join("qemu").join(name)
    }
}

/// Takes away what the cargo that runs us has set: the kit's Rust would find the libraries of ours,
/// and build scripts that look at the package (ring's) would run again after each build by hand.
fn clean(command: &mut Command) {
    for name in ["LD_LIBRARY_PATH", "CARGO", "RUSTC"] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}
