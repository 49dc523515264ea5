//! Prove: the commands by which the sink's data is looked at, proved and made again.
//!
//! In: options and the configuration. Out: lines for a person, or JSON with `--json`; an error when what was
//! to be proved is not so. Only `merge` writes to the archive. All commands read it through its
//! catalogue and its manifests, object by object.

mod archive;
mod audit;
mod dlq;
mod merge;
mod progress;
mod replay;
mod verify;

pub(crate) use archive::{ArchiveCommand, run_archive};
pub(crate) use audit::{AuditOptions, run_audit};
pub(crate) use dlq::{DlqCommand, run_dlq};
pub(crate) use replay::{ReplayOptions, run_replay};

/// A way to talk to a program or a person.
pub(crate) type Say<'a> = &'a mut dyn FnMut(&str);

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A record for a program, on one line.
fn json(record: &impl serde::Serialize) -> String {
    serde_json::to_string(record).unwrap_or_default()
}
