//! The peers of `cargo dev bench peers` that are written in Go.
//!
//! In: `tests/bench-peers/NAME`, a main package with the components that the bench needs, at versions
//! that its `go.mod` and `go.sum` pin. Out: the program `NAME` in the cache's `bin`, where the bench looks
//! for it. Built again when those files change. A peer that cannot be built, because there is no Go or no
//! network, is named and the bench goes on without it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::step::{Outcome, status};
use crate::workspace::{cache, find, root};

/// Names of folders, programs and contenders.
const PEERS: [&str; 3] = ["otelcol", "telegraf", "benthos"];
const SOURCES: [&str; 3] = ["main.go", "go.mod", "go.sum"];

/// Makes sure that the peers are here, those named in a list with commas or all.
pub(crate) fn ensure(only: Option<&str>) -> Outcome {
    let wanted = |peer: &str| only.is_none_or(|only| only.split(',').any(|name| name == peer));
    for peer in PEERS.into_iter().filter(|peer| wanted(peer)) {
        if let Err(why) = build(peer) {
            println!("the bench goes on without {peer}: {why}");
        }
    }
    Ok(None)
}

fn build(peer: &str) -> Result<(), String> {
    let folder = root().join("tests/bench-peers").join(peer);
    let sources = sources(&folder)?;
    let program = cache().join("bin").join(peer);
    let stamp = cache().join("go").join(format!("{peer}.sources"));
    if program.is_file() && fs::read(&stamp).is_ok_and(|have| have == sources) {
        return Ok(());
    }
    // An old one must not be measured as the new one.
    for old in [&stamp, &program] {
        if old.exists() {
            fs::remove_file(old).map_err(|e| format!("{}: {e}", old.display()))?;
        }
    }
    println!("building {peer} (minutes, once)");
    let go = find("go").ok_or("install Go first")?;
    let mut command = Command::new(go);
    command.current_dir(&folder).env("CGO_ENABLED", "0").env("GOWORK", "off");
    command.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"]);
    // With the part aside no other run takes a half-written program.
    let part = cache().join("go").join(format!(".part-{peer}-{}", std::process::id()));
    status(command.arg("-o").arg(&part).arg("."))?;
    let placed = fs::create_dir_all(cache().join("bin"))
        .and_then(|()| fs::rename(&part, &program))
        .and_then(|()| fs::write(&stamp, sources));
    placed.map_err(|e| format!("{}: {e}", program.display()))
}

fn sources(folder: &Path) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    for name in SOURCES {
        let file = folder.join(name);
        all.extend(fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?);
    }
    Ok(all)
}
