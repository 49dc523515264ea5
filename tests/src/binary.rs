//! Finds the programs we built, and refuses those that are not of this source.
//!
//! `cargo test` builds no programs of other packages, so a test could run yesterday's agent and
//! pass. Cargo writes beside each program a `.d` file with all the sources that went into it: if
//! one of them is newer, or from another checkout, the program has to be built again.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::paths::root;

const BUILD: &str = "run `cargo build --workspace --bins` (`cargo dev test` does)";

/// The program of that name in the target folder that this test was built into.
#[track_caller]
pub(crate) fn ours(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    // target/<profile>/deps/it-<hash>, or target/<profile>/weir-container
    let folder = test.parent().unwrap();
    let folder = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
    let program = folder.join(name);
    let Ok(built) = modified(&program) else {
        panic!("{} is not there: {BUILD}", program.display());
    };
    let list = fs::read_to_string(folder.join(format!("{name}.d"))).unwrap_or_default();
    let sources = sources(&list);
    assert!(!sources.is_empty(), "{name}.d does not say what {name} was built from: {BUILD}");
    if let Some(foreign) = sources.iter().find(|s| !s.starts_with(root())) {
        panic!("{name} was built from another checkout ({}): {BUILD}", foreign.display());
    }
    // (a source that is gone counts as changed)
    let newer = |source: &&PathBuf| modified(source).map_or(true, |time| time > built);
    if let Some(changed) = sources.iter().find(newer) {
        panic!("{name} is older than {}: {BUILD}", changed.display());
    }
    program
}

fn modified(file: &Path) -> std::io::Result<SystemTime> {
    fs::metadata(file)?.modified()
}

/// The right side of `program: source source ...`, where a blank in a name is written `\ `. What
/// build scripts made, below the target folder, is left out.
fn sources(list: &str) -> Vec<PathBuf> {
    let (_, right) = list.split_once(": ").unwrap_or_default();
    let right = right.trim().replace("\\ ", "\0");
    let names = right.split_whitespace().map(|name| name.replace('\0', " "));
    names.filter(|name| !name.contains("/build/")).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_a_dep_info_file() {
        let list = "/t/debug/weir: /p/a.rs /p/my\\ b.rs /t/debug/build/x-1/out/c.rs\n";
        assert_eq!(sources(list), [PathBuf::from("/p/a.rs"), PathBuf::from("/p/my b.rs")]);
        assert!(sources("").is_empty());
    }
}
