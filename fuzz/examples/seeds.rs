//! Writes what fuzzing begins with into `FOLDER/TARGET`, a file for each seed: `seeds FOLDER`.

use std::path::PathBuf;

use weir_fuzz::{TARGETS, seeds};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("which folder?")?);
    for (target, _) in TARGETS {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder)?;
        for (n, seed) in seeds(target)?.iter().enumerate() {
            std::fs::write(folder.join(format!("{n:04}")), seed)?;
        }
    }
    Ok(())
}
