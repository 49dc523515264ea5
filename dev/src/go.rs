//! What the tests have of Go: the modules of the alert consumer in `examples/alerts/go`, fetched here so that its
//! test needs no network, and for `cargo dev rules` the promtool of a Prometheus 3, which reads our alert rules. Go keeps
//! modules in its own cache, and checks them against `go.sum`.
//!
//! [`build`] makes a program of a folder whose `go.mod` and `go.sum` pin it. Out: the program in the cache's `bin`,
//! where the tests look for it. Built again when those files, its flags or Go change.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::step::{output, status};
use crate::workspace::{cache, find, root};

/// The program, and the service discoveries that it knows (none: our configuration has static ones only, and they
/// are most of it).
const PROMTOOL: [&str; 3] =
    ["-tags", "remove_all_sd", "github.com/prometheus/prometheus/cmd/promtool"];
/// How every program is built.
const FLAGS: [&str; 4] = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"];

/// Makes sure that the modules are there.
pub(crate) fn ensure() -> Result<(), String> {
    let go = find("go").ok_or("install Go first")?;
    let mut download = Command::new(go);
    download.current_dir(root().join("examples/alerts/go")).env("GOWORK", "off");
    status(download.args(["mod", "download"])).map(drop)
}

/// Makes sure that the promtool of a Prometheus 3 is there, beside the one of Debian. It wants a newer Go than Debian 12
/// has, and minutes.
pub(crate) fn promtool() -> Result<(), String> {
    build("promtool-3", &root().join("tests/promtool"), &["go.mod", "go.sum"], &PROMTOOL)
}

/// Builds the package that the last of `args` names; `sources` are the files in `folder` that say how.
pub(crate) fn build(
    name: &str,
    folder: &Path,
    sources: &[&str],
    args: &[&str],
) -> Result<(), String> {
    let program = cache().join("bin").join(name);
    let stamp = cache().join("go").join(format!("{name}.sources"));
    let made_of = made_of(folder, sources, args)?;
    if program.is_file() && fs::read(&stamp).is_ok_and(|have| have == made_of) {
        return Ok(());
    }
    // An old one must not be taken for the new one.
    for old in [&stamp, &program] {
        if old.exists() {
            fs::remove_file(old).map_err(|e| format!("{}: {e}", old.display()))?;
        }
    }
    println!("building {name} (minutes, once)");
    let mut command = go_in(folder)?;
    command.arg("build").args(FLAGS);
    // With the part aside no other run takes a half-written program.
    let part = cache().join("go").join(format!(".part-{name}-{}", std::process::id()));
    status(command.arg("-o").arg(&part).args(args))?;
    let placed = fs::create_dir_all(cache().join("bin"))
        .and_then(|()| fs::rename(&part, &program))
        .and_then(|()| fs::write(&stamp, made_of));
    placed.map_err(|e| format!("{}: {e}", program.display()))
}

/// Go, as it works on the modules of this folder.
fn go_in(folder: &Path) -> Result<Command, String> {
    let mut command = Command::new(find("go").ok_or("install Go first")?);
    command.current_dir(folder).env("CGO_ENABLED", "0").env("GOWORK", "off");
    // From 1.21 on Go gets the version that `go.mod` asks for, where it may.
    command.env("GOTOOLCHAIN", "auto");
    Ok(command)
}

/// All that a program is made of: the files, the flags, and which Go.
fn made_of(folder: &Path, sources: &[&str], args: &[&str]) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    for name in sources {
        let file = folder.join(name);
        all.extend(fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?);
    }
    let words = FLAGS.iter().chain(args).flat_map(|word| [word.as_bytes(), b"\n"].concat());
    all.extend(words);
    all.extend(output(go_in(folder)?.arg("version"))?.into_bytes());
    Ok(all)
}
