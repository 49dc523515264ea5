//! The peers of `cargo dev bench peers` that are written in Go.
//!
//! In: `tests/bench-peers/NAME`, a main package with the components that the bench needs, at versions
//! that its `go.mod` and `go.sum` pin. Out: the program `NAME` in the cache's `bin`, where the bench looks
//! for it. Built again when those files change. A peer that cannot be built, because there is no Go or no
//! network, is named and the bench goes on without it.

use crate::go;
use crate::step::Outcome;
use crate::workspace::root;

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
    go::build(peer, &root().join("tests/bench-peers").join(peer), &SOURCES, &["."])
}
