//! Hooks: Alertmanagers and webhooks are told of alerts.
//!
//! In: the topic of alerts. Out: POSTs. Each receiver has a consumer group of its own (`<group>-hooks-<name>`), so it is
//! told at its own pace: one that is away holds up neither the pipeline nor another receiver, and what it has not heard waits in
//! Kafka. Several sinks share the partitions of a receiver. There is no state but the group's offsets:
//!
//! ```text
//!  weir.alerts ─▶ group of a receiver ─▶ lanes ─▶ one try at a time ─▶ receiver
//!                        ▲                                │
//!                        └── commit, once it was told ◀───┘
//! ```
//!
//! Promises: at least once, in order for each alert; what the receiver answered is judged by `verdict`. What can go wrong
//! shows in `/readyz` as a warning, in the log and in metrics, never as a sink that is not ready.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::consume::{ConsumeError, Consumer};
use crate::status::{Part, Status};

mod client;
pub mod config;
mod lanes;
mod memory;
mod message;
mod receiver;
mod sign;
mod teller;
mod verdict;

pub use receiver::{HookError, Receiver, receivers};

/// The consumer group of a hook.
#[must_use]
pub fn group(group: &str, name: &str) -> String {
    format!("{group}-hooks-{name}")
}

/// Running hooks.
pub struct Hooks {
    stop: watch::Sender<bool>,
    tellers: JoinSet<()>,
}

impl Hooks {
    /// Begins to tell `receivers`. `connect` makes the consumer of the one with the given name.
    pub fn start<C>(receivers: Vec<Receiver>, connect: C, status: &Arc<Status>) -> Self
    where
        C: Fn(&str) -> Result<Box<dyn Consumer>, ConsumeError> + Clone + Send + Sync + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let mut tellers = JoinSet::new();
        for (number, receiver) in (0..).zip(receivers) {
            let (connect, status) = (connect.clone(), Arc::clone(status));
            let part = Part::Hook(number);
            tellers.spawn(teller::keep(receiver, part, connect, status, stopped.clone()));
        }
        Self { stop, tellers }
    }

    /// Stops: the tries that run are finished if they end soon, and what was told is committed.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        self.tellers.join_all().await;
    }
}

#[cfg(test)]
mod tests;
