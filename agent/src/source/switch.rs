//! Switch: some sources leave and others come, while the rest goes on.
//!
//! In: the names of those that leave, the settings of those that come. Out: the newcomers, ready to
//! run. Promises: first everything new is opened, then those that leave are stopped: nothing is
//! touched when something cannot be had. A newcomer where another one leaves takes over its sockets,
//! so that nothing that comes in between is refused. Only an address that is in the way of a new one
//! (`0.0.0.0:514` of `127.0.0.1:514`, or other `sockets`) has to be left first; if the new one cannot
//! be had then, those that left come back. What leaves has passed on what it had read, and its peers
//! were acknowledged what the spool holds, no more.
//!
//! What can go wrong: the pipeline takes nothing for long. What is still left to pass on after
//! [`LEAVE_WAIT`] is passed on in the background.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::config::OneSource;
use super::sockets::Kept;
use super::start::{Ready, Running, StartError, open};
use super::{Inputs, Source};

/// How long to wait for the last inputs of sources that leave.
const LEAVE_WAIT: Duration = Duration::from_secs(20);

/// A switch that is prepared: nothing has changed yet.
pub(crate) struct Switch<'a> {
    leaving: Vec<&'a str>,
    ready: Vec<Ready>,
    /// What can be opened only when something has left.
    later: Vec<OneSource>,
    data_dir: &'a Path,
}

impl<'a> Switch<'a> {
    /// Opens what is to come. Needs a tokio runtime.
    ///
    /// # Errors
    /// When something cannot be had.
    pub(crate) fn prepare(
        running: &Running,
        leaving: Vec<&'a str>,
        coming: Vec<OneSource>,
        data_dir: &'a Path,
    ) -> Result<Self, StartError> {
        let at_work: Vec<_> =
            leaving.iter().filter_map(|name| running.sources.get(*name)).collect();
        let mut kept = Kept::default();
        at_work.iter().for_each(|source| source.keep(&mut kept));
        let (mut ready, mut later) = (Vec::new(), Vec::new());
        for config in coming {
            let is_in_the_way = |error: &StartError| {
                error.is_taken()
                    && at_work.iter().any(|source| source.config.shares_place_with(&config))
            };
            match open(config.clone(), data_dir, &kept) {
                Ok(opened) => ready.push(opened),
                Err(error) if is_in_the_way(&error) => later.push(config),
                Err(error) => return Err(error),
            }
        }
        Ok(Self { leaving, ready, later, data_dir })
    }

    /// Stops what leaves, and opens the rest of what comes.
    ///
    /// # Errors
    /// When something cannot be had; then those that left run again.
    pub(crate) async fn make(
        self,
        running: &mut Running,
        inputs: &Inputs,
    ) -> Result<Vec<Ready>, StartError> {
        let Self { leaving, mut ready, later, data_dir } = self;
        let left: Vec<_> = leaving.iter().filter_map(|name| running.leave(name)).collect();
        if tokio::time::timeout(LEAVE_WAIT, running.has_left()).await.is_err() {
            tracing::warn!(
                "sources that leave have something left that the spool does not take; it follows in the background"
            );
        }
        let open = |config| open(config, data_dir, &Kept::default());
        match later.into_iter().map(open).collect::<Result<Vec<_>, _>>() {
            Ok(opened) => {
                ready.extend(opened);
                Ok(ready)
            }
            Err(error) => {
                put_back(running, left, &ready, data_dir, inputs);
                Err(error)
            }
        }
    }
}

/// Runs again what has left; `ready` may have its sockets.
fn put_back(
    running: &mut Running,
    left: Vec<(OneSource, Arc<Source>)>,
    ready: &[Ready],
    data_dir: &Path,
    inputs: &Inputs,
) {
    let names: Vec<String> = ready.iter().map(Ready::name).collect();
    let mut kept = Kept::default();
    ready.iter().zip(&names).for_each(|(ready, name)| ready.keep(name, &mut kept));
    for (config, source) in left {
        match open(config, data_dir, &kept) {
            Ok(opened) => running.run_as(opened, source, inputs),
            Err(error) => {
                tracing::error!(source = %source.name, %error, "a source that was stopped for a reload cannot be started again: restart the agent once that is mended");
            }
        }
    }
}

#[cfg(test)]
mod tests;
