//! Live: what the pipeline has just stored, for everybody who watches.
//!
//! In: what the pipeline sends into a `tokio::sync::broadcast` channel after store and archive have
//! confirmed it. Out: the same to every watcher. Promises: sending never waits; a watcher that is too
//! slow loses the oldest and learns how many.

use std::sync::Arc;

use weir_models::alert::Alert;
use weir_models::event::Event;

/// One thing that has just happened.
#[derive(Clone, Debug)]
pub enum Live {
    /// A reading, a log line or a loss marker.
    Event(Arc<Event>),
    /// An alert fired or was resolved.
    Alert(Arc<Alert>),
}
