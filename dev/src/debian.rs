//! Gets the missing tools on Debian and its derivatives.
//!
//! Programs are installed with `apt-get`. Daemons (mosquitto, rsyslog, syslog-ng) are not: an
//! installed one would be started, now or at the next boot, and rsyslog and syslog-ng exclude each
//! other as packages (`system-log-daemon`), so that installing both is impossible and installing
//! one could remove the machine's own. Their packages, with those libraries that are missing, are
//! downloaded and unpacked into a folder of the cache instead, and a wrapper in the cache's `bin`
//! runs the program from there. That needs no root either.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{output, status};
use crate::tools::{Package, Tool};
use crate::workspace::{cache, find};

/// Whether this is Debian or a derivative.
pub(crate) fn is_here() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let debian = release.lines().any(|line| {
        let value = line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE="));
        value.is_some_and(|v| v.contains("debian") || v.contains("ubuntu"))
    });
    debian && find("apt-get").is_some()
}

/// Gets what is missing; the caller looks again whether it then is there.
pub(crate) fn get(tools: &[&Tool]) -> Result<(), String> {
    let root = Root::find();
    if let Some(root) = &root {
        status(&mut root.command(&["apt-get", "-qq", "update"]))?;
    }
    let mut install = Vec::new();
    for tool in tools {
        if let Package::Install(choice) = &tool.debian {
            install.push(first_available(choice)?);
        }
    }
    if !install.is_empty() {
        let root = root.ok_or_else(|| {
            format!("as root: apt-get install --no-install-recommends {}", install.join(" "))
        })?;
        let mut words = vec!["apt-get", "install", "-qq", "-y", "--no-install-recommends"];
        // Somebody else's apt may be at work: wait for it.
        words.extend(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]);
        words.extend(&install);
        status(&mut root.command(&words))?;
    }
    for tool in tools {
        if let Package::Unpack { package, modules, program } = &tool.debian {
            unpack(package, modules, program)?;
        }
    }
    Ok(())
}

/// The program that makes a Debian in a folder; unpacked into the cache where it is missing.
pub(crate) fn debootstrap() -> Result<Command, String> {
    if find("debootstrap").is_none() {
        unpack("debootstrap", &[], "debootstrap")?;
    }
    let program = find("debootstrap").ok_or("there is no debootstrap")?;
    let mut command = Command::new(program);
    let scripts = cache().join("debian/debootstrap/usr/share/debootstrap");
    if scripts.is_dir() {
        command.env("DEBOOTSTRAP_DIR", scripts);
    }
    Ok(command)
}

/// The mirror that this machine gets its packages from.
pub(crate) fn mirror() -> Result<String, String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--no-release-info", "--format", "$(SITE)"]);
    let sites = output(targets.arg("Identifier: Packages"))?;
    let mirror = sites.lines().find(|site| site.trim_end_matches('/').ends_with("/debian"));
    mirror.map(str::to_owned).ok_or_else(|| "apt has no mirror of Debian".to_string())
}

/// How to become root: we are it already, or sudo asks for no password.
struct Root {
    sudo: bool,
}

impl Root {
    fn find() -> Option<Self> {
        let id = output(Command::new("id").arg("-u")).unwrap_or_default();
        if id.trim() == "0" {
            return Some(Self { sudo: false });
        }
        output(Command::new("sudo").args(["-n", "true"])).ok().map(|_| Self { sudo: true })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(if self.sudo { "sudo" } else { "env" });
        if self.sudo {
            command.args(["-n", "env"]);
        }
        command.arg("DEBIAN_FRONTEND=noninteractive").args(words);
        command
    }
}

fn first_available(choice: &[&'static str]) -> Result<&'static str, String> {
    for package in choice {
        let policy = output(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package]));
        let policy = policy?;
        let candidate = policy.lines().find_map(|l| l.trim().strip_prefix("Candidate: "));
        if candidate.is_some_and(|version| version != "(none)") {
            return Ok(package);
        }
    }
    Err(format!("this release has no package {}", choice.join(" or ")))
}

/// Unpacks a package, packages of its modules and their missing libraries, and writes the wrapper for
/// its program.
fn unpack(package: &str, modules: &[&str], program: &str) -> Result<(), String> {
    let target = cache().join("debian").join(package);
    let part = cache().join("debian").join(format!(".part-{package}-{}", std::process::id()));
    let downloads = part.join("downloads");
    make_dir(&downloads)?;

    let mut simulate = Command::new("apt-get");
    simulate.env("LC_ALL", "C").args(["install", "--simulate", "--no-install-recommends", package]);
    let plan = output(simulate.args(modules))?;
    let mut packages = to_be_installed(&plan);
    // What is installed is unpacked all the same: a program finds its modules in its own folder.
    for wanted in std::iter::once(&package).chain(modules) {
        if !packages.contains(wanted) {
            packages.push(wanted);
        }
    }
    let mut download = Command::new("apt-get");
    // As root apt would download as the user `_apt`, who may not write into the cache.
    download.args(["-qq", "-o", "APT::Sandbox::User=root", "download"]).args(packages);
    status(download.current_dir(&downloads))?;
    for deb in list(&downloads)? {
        status(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&part))?;
    }
    remove(&downloads)?;
    // Whole or not at all: a later run takes a folder of this name as complete.
    remove(&target)?;
    fs::rename(&part, &target).map_err(|e| format!("{}: {e}", target.display()))?;
    write_wrapper(&target, program)
}

/// The packages that a simulated installation would install (`Inst NAME (...)`), but for what only web pages need, which
/// can be hundreds of megabytes.
fn to_be_installed(plan: &str) -> Vec<&str> {
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst "));
    let names = names.filter_map(|rest| rest.split(' ').next());
    names.filter(|name| !["libjs-", "fonts-"].iter().any(|of| name.starts_with(of))).collect()
}

/// Writes `bin/PROGRAM` in the cache: a shell script that runs the unpacked one with its libraries
/// and, where the program takes it, its folder of modules.
fn write_wrapper(root: &Path, program: &str) -> Result<(), String> {
    let binary = ["usr/sbin", "usr/bin", "sbin"]
        .map(|dir| root.join(dir).join(program))
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| format!("there is no {program} in {}", root.display()))?;
    let mut folders = Vec::new();
    library_folders(root, &mut folders)?;
    let joined = |suffix: &str| {
        let some = folders.iter().filter(|f| f.to_string_lossy().contains(suffix));
        some.map(|f| f.to_string_lossy().into_owned()).collect::<Vec<_>>().join(":")
    };
    let modules = match program {
        "rsyslogd" => format!(" -M '{}'", joined("/rsyslog")),
        "syslog-ng" => format!(" --module-path='{}'", joined("/syslog-ng/")),
        _ => String::new(),
    };
    let script = format!(
        "#!/bin/sh\n# Written by `cargo dev`: runs the {program} that is unpacked beside.\n\
         LD_LIBRARY_PATH='{}' exec '{}'{modules} \"$@\"\n",
        joined(""),
        binary.display(),
    );
    let bin = cache().join("bin");
    make_dir(&bin)?;
    let wrapper = bin.join(program);
    fs::write(&wrapper, script)
        .and_then(|()| fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)))
        .map_err(|e| format!("{}: {e}", wrapper.display()))
}

/// Every folder below `folder` that holds a shared library.
fn library_folders(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = list(folder)?;
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".so") || name.contains(".so.")
    };
    if entries.iter().any(is_library) {
        found.push(folder.to_path_buf());
    }
    for path in entries.iter().filter(|p| p.is_dir() && !p.is_symlink()) {
        library_folders(path, found)?;
    }
    Ok(())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn make_dir(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

fn remove(folder: &Path) -> Result<(), String> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_packages_without_what_is_removed_or_configured() {
        let plan = "Reading package lists...\nRemv rsyslog [8.2302]\n\
                    Inst libnet1 (1.1.6 Debian:12 [amd64])\nInst syslog-ng-core (3.38 [amd64])\n\
                    Inst libjs-d3 (3.5 [all])\n\
                    Conf libnet1 (1.1.6 Debian:12 [amd64])\n";
        assert_eq!(to_be_installed(plan), ["libnet1", "syslog-ng-core"]);
        assert!(to_be_installed("rsyslog is already the newest version\n").is_empty());
    }
}
