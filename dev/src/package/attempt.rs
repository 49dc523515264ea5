//! `cargo dev package try`: a life of the `.deb`, and one of the `.rpm`, in a Debian of its own.
//!
//! In: nothing but this machine's architecture. A minimal Debian is made in a folder (debootstrap,
//! unpacked into the cache), with Debian's RPM in it. There the package is installed, the agent runs
//! until its spool is filled, the package is upgraded, the new agent finds the spool, and the package is
//! removed, and purged where there is such a thing. Out: an error at the first thing that is not as the
//! documents say. Needs root, for the folder's owners and `chroot`; on another system than Debian it
//! says so.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Kind, expect, pack};
use crate::cross::Gateway;
use crate::step::{Outcome, Steps, output, status};
use crate::{debian, workspace};

/// The release that the packages are tried in.
const SUITE: &str = "bookworm";
const CONFIG: &str = "/etc/weir-agent/agent.toml";
/// What the spool is filled with.
const LINES: usize = 1_000;
/// For the spool to hold them.
const LIMIT: Duration = Duration::from_secs(60);

/// All of it.
pub(crate) fn attempt(steps: &mut Steps) {
    let Some(gateway) = Gateway::named(std::env::consts::ARCH) else {
        steps.skip("try", "there is no package for this machine's architecture");
        return;
    };
    if !gateway.build(steps) {
        steps.skip("try", "it needs the agent");
        return;
    }
    steps.step("try", || {
        let system = System::make()?;
        let outcome =
            life(&system, gateway, Kind::Deb).and_then(|_| life(&system, gateway, Kind::Rpm));
        system.remove()?;
        outcome
    });
}

impl Kind {
    /// Installs the package in this file, or upgrades to it.
    fn install(self, file: &str) -> Vec<&str> {
        match self {
            Self::Deb => vec!["dpkg", "-i", file],
            // RPM does not know what the folder's Debian has, and would rather not work there.
            Self::Rpm => vec!["rpm", "-U", "--nodeps", "--force-debian", file],
        }
    }

    fn remove(self) -> Vec<&'static str> {
        match self {
            Self::Deb => vec!["dpkg", "--remove", "weir-agent"],
            Self::Rpm => vec!["rpm", "-e", "--force-debian", "weir-agent"],
        }
    }

    /// Fails when the package is not known.
    fn ask(self) -> Vec<&'static str> {
        match self {
            Self::Deb => vec!["dpkg-query", "--list", "weir-agent"],
            Self::Rpm => vec!["rpm", "-q", "weir-agent"],
        }
    }

    /// Where an edited configuration is after the removal.
    fn kept(self) -> &'static str {
        match self {
            Self::Deb => CONFIG,
            Self::Rpm => "/etc/weir-agent/agent.toml.rpmsave",
        }
    }
}

fn life(system: &System, gateway: &Gateway, kind: Kind) -> Outcome {
    let first = system.take(&pack(kind, gateway, 1)?)?;
    let second = system.take(&pack(kind, gateway, 2)?)?;

    status(&mut system.run(&kind.install(&first)))?;
    status(&mut system.run(&["weir-agent", "check", "-c", CONFIG]))?;
    expect(
        system.mode("/etc/weir-agent/environment") == Some(0o600),
        "secrets only root can read",
    )?;

    // As an owner would: the configuration is edited, and the agent runs while Kafka is away.
    let status_at = free_address()?;
    let edited = format!(
        "agent = {{ site = \"tried\", id = \"tried\" }}\n\
         kafka = {{ brokers = [\"127.0.0.1:1\"] }}\n\
         status = {{ listen = \"{status_at}\" }}\n\
         source = {{ stdin = {{ format = \"syslog\" }} }}\n"
    );
    system.write(CONFIG, &edited)?;
    let lines: String = (0..LINES).map(|n| format!("<13>1 - - - - - - line {n}\n")).collect();
    system.fill_spool(CONFIG, &lines, status_at, LINES)?;
    let spool = system.spool();

    status(&mut system.run(&kind.install(&second)))?;
    expect(system.spool() == spool, "an upgrade that leaves the spool as it is")?;
    expect(system.read(CONFIG)? == edited, "an upgrade that leaves the configuration as it is")?;
    // The new agent takes the spool over, and adds what is new.
    system.fill_spool(CONFIG, "<13>1 - - - - - - new\n", status_at, LINES + 1)?;
    let grown = system.spool();

    status(&mut system.run(&kind.remove()))?;
    expect(!system.path("/usr/bin/weir-agent").exists(), "no program after the removal")?;
    expect(system.spool() == grown, "a removal that keeps the spool")?;
    expect(system.read(kind.kept())? == edited, "a removal that keeps the configuration")?;

    if matches!(kind, Kind::Deb) {
        status(&mut system.run(&["dpkg", "--purge", "weir-agent"]))?;
        expect(!system.path("/var/lib/weir-agent").exists(), "no state after purging")?;
        expect(!system.path("/var/lib/private/weir-agent").exists(), "no state after purging")?;
        expect(!system.path("/etc/weir-agent").exists(), "no configuration after purging")?;
    }
    let left = output(&mut system.run(&kind.ask()));
    expect(left.is_err(), "a system that no longer knows the package")
}

/// A Debian in a folder.
struct System {
    root: PathBuf,
}

impl System {
    fn make() -> Result<Self, String> {
        if !debian::is_here() {
            return Err("this needs Debian or a derivative".to_string());
        }
        if output(Command::new("id").arg("-u"))?.trim() != "0" {
            return Err("this needs root, for `chroot`".to_string());
        }
        let folder = workspace::target().join("package");
        let root = folder.join(format!("debian-{}", std::process::id()));
        fs::create_dir_all(&root).map_err(|e| format!("{}: {e}", root.display()))?;
        let system = Self { root };
        let mut debootstrap = debian::debootstrap()?;
        debootstrap.args(["--variant=minbase", "--include=rpm", SUITE]).arg(&system.root);
        status(debootstrap.arg(debian::mirror()?).stdout(Stdio::null()))?;
        Ok(system)
    }

    fn remove(&self) -> Outcome {
        status(Command::new("rm").args(["-rf", "--one-file-system"]).arg(&self.root))
    }

    fn run(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(&self.root)
            .args(words)
            .env("LC_ALL", "C")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    fn write(&self, inside: &str, text: &str) -> Result<(), String> {
        fs::write(self.path(inside), text).map_err(|e| format!("{inside}: {e}"))
    }

    fn read(&self, inside: &str) -> Result<String, String> {
        fs::read_to_string(self.path(inside)).map_err(|e| format!("{inside}: {e}"))
    }

    fn mode(&self, inside: &str) -> Option<u32> {
        fs::metadata(self.path(inside)).ok().map(|file| file.permissions().mode() & 0o777)
    }

    /// Copies a file in; answers its name inside.
    fn take(&self, file: &Path) -> Result<String, String> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fs::copy(file, self.root.join(&name)).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(format!("/{name}"))
    }

    /// Runs the agent, which reads `lines`, until its spool holds `events`; then it is told to end.
    fn fill_spool(
        &self,
        config: &str,
        lines: &str,
        status_at: SocketAddr,
        events: usize,
    ) -> Outcome {
        self.link_state()?;
        let mut agent = self
            .run(&["weir-agent", "run", "-c", config])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|e| format!("the agent could not be started: {e}"))?;
        if let Some(mut stdin) = agent.stdin.take() {
            stdin.write_all(lines.as_bytes()).map_err(|e| format!("its input: {e}"))?;
        }
        // It does not end by itself, since Kafka is away.
        let begun = Instant::now();
        let mut held = held(status_at);
        while held.as_ref() != Some(&events) && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(100));
            if let Ok(Some(ended)) = agent.try_wait() {
                return Err(format!("the agent has ended with {ended}"));
            }
            held = self::held(status_at);
        }
        status(Command::new("kill").arg(agent.id().to_string()))?;
        let ended = agent.wait().map_err(|e| format!("the agent did not end: {e}"))?;
        expect(ended.success(), "an agent that ends well when told to")?;
        expect(held == Some(events), &format!("{events} events in the spool, not {held:?}"))
    }

    /// What systemd does before it starts a unit with a state folder and a dynamic user.
    fn link_state(&self) -> Result<(), String> {
        let state = self.path("/var/lib/private/weir-agent");
        if state.exists() {
            return Ok(());
        }
        fs::create_dir_all(&state)
            .and_then(|()| symlink("private/weir-agent", self.path("/var/lib/weir-agent")))
            .map_err(|e| format!("{}: {e}", state.display()))
    }

    /// Each file of the spool with its size, in the order of their names.
    fn spool(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        files(&self.path("/var/lib/private/weir-agent/spool"), &mut found);
        found.sort();
        found
    }
}

/// How many events wait in the agent's spool, by its metrics; none while it does not answer.
fn held(status_at: SocketAddr) -> Option<usize> {
    let mut stream = TcpStream::connect(status_at).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let value = answer.lines().find_map(|l| l.strip_prefix("weir_agent_spool_waiting_events "));
    value?.parse().ok()
}

/// Of this machine; the folder is no network of its own.
fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener.local_addr().map_err(|e| e.to_string())
}

fn files(folder: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(file) = entry.metadata() {
            found.push((path, file.len()));
        }
    }
}
