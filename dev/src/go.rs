//! The Go modules of the alert consumer in `examples/alerts/go`: fetched here, so that its test needs no
//! network. Go keeps them in its own cache, and checks them against `go.sum`.

use std::process::Command;

use crate::step::status;
use crate::workspace::{find, root};

/// Makes sure that they are there.
pub(crate) fn ensure() -> Result<(), String> {
    let go = find("go").ok_or("install Go first")?;
    let mut download = Command::new(go);
    download.current_dir(root().join("examples/alerts/go")).env("GOWORK", "off");
    status(download.args(["mod", "download"])).map(drop)
}
