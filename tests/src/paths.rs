//! Where things are: the project's files, the programs we built, the tools of others.

use std::env;
use std::path::{Path, PathBuf};

/// The project's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The folder of real inputs and their expected outputs.
pub fn fixtures() -> PathBuf {
    root().join("fixtures")
}

/// The cache of the tests' tools; the same folder as in `tests/services/lib.sh`.
pub(crate) fn cache() -> PathBuf {
    if let Some(dir) = env::var_os("WEIR_SERVICES_CACHE") {
        return dir.into();
    }
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    base.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache"))
        .join("weir-services")
}

/// A program of somebody else, as [`find_tool`] finds it; it has to be there.
#[track_caller]
pub fn tool(names: &[&str]) -> PathBuf {
    match find_tool(names) {
        Some(file) => file,
        None => panic!("`{}` is not here: run `cargo dev tools`", names[0]),
    }
}

/// A program of somebody else: unpacked in the cache by `cargo dev tools`, in `PATH`, or in the
/// folders of system programs. Several names for one program: the first that is there.
pub fn find_tool(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::iter::once(cache().join("bin"))
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .collect();
    let mut places = names.iter().flat_map(|name| folders.iter().map(move |dir| dir.join(name)));
    places.find(|file| file.is_file())
}
