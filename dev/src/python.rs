//! The Python of the tests: a venv in the cache with what `tests/services/requirements.txt` pins, and another with
//! schemathesis and all that it brings. Each is made again when its file changes.

use std::fs;
use std::process::Command;

use crate::step::status;
use crate::{workspace, workspace::cache};

/// Makes sure that both are there.
pub(crate) fn ensure() -> Result<(), String> {
    venv("python", "tests/services/requirements.txt")?;
    venv("schemathesis", "tests/schemas/requirements.txt")
}

/// Makes a venv if it is not there as the requirements say.
fn venv(name: &str, requirements: &str) -> Result<(), String> {
    let venv = cache().join(name);
    let wanted = workspace::root().join(requirements);
    let text = fs::read(&wanted).map_err(|e| format!("{}: {e}", wanted.display()))?;
    // Written last: a venv that was interrupted half-way has none.
    let stamp = venv.join("weir-requirements.txt");
    if fs::read(&stamp).is_ok_and(|have| have == text) {
        return Ok(());
    }
    status(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    status(
        Command::new(venv.join("bin/python3"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(&wanted),
    )?;
    fs::write(&stamp, text).map_err(|e| format!("{}: {e}", stamp.display()))
}
