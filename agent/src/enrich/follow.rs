//! Keeps the table in step with its origins: the topic `weir.metadata` and the configured files.
//!
//! In: records of the compacted topic, and the files' modification times (looked at every few
//! seconds). Out: transactions on the table. Runs beside the pipeline, so that a slow disk delays
//! metadata and never the line. A file that cannot be read leaves its devices as they were.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use weir_models::device::Device;
use weir_models::time::now_us;

use super::{Table, Update, read_devices};
use crate::publish::Followed;
use crate::source::{received, stopping};

/// Most updates in one transaction; keeps the memory of the first load bounded.
const TRANSACTION_UPDATES_MAX: usize = 2_000;
/// How often the files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(5);

/// What keeps the table in step.
#[derive(Debug)]
pub struct Following {
    /// The table.
    pub table: Arc<Table>,
    /// Files with devices.
    pub files: Vec<String>,
    /// Site of devices that name none.
    pub site: String,
    /// Records of `weir.metadata`, when the topic is followed.
    pub topic: Option<mpsc::Receiver<Followed>>,
}

/// Runs until `stop`.
pub async fn follow(mut following: Following, mut stop: watch::Receiver<bool>) {
    let mut seen: Vec<Option<SystemTime>> = vec![None; following.files.len()];
    let mut tick = tokio::time::interval(FILES_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping(&mut stop) => return,
            _ = tick.tick(), if !following.files.is_empty() => {
                following.load_changed_files(&mut seen);
            }
            first = received(&mut following.topic) => match first {
                Some(first) => following.apply_topic(first).await,
                None => following.topic = None,
            },
        }
    }
}

impl Following {
    async fn apply_topic(&mut self, first: Followed) {
        let mut updates = Vec::new();
        let mut in_step = false;
        let mut next = Some(first);
        while let Some(record) = next.take() {
            match record {
                Followed::InStep => in_step = true,
                Followed::Record { key, value } => updates.extend(update(&key, value.as_deref())),
            }
            if updates.len() < TRANSACTION_UPDATES_MAX {
                next = self.topic.as_mut().and_then(|topic| topic.try_recv().ok());
            }
        }
        let table = self.table.clone();
        let applied = tokio::task::spawn_blocking(move || {
            let applied = if updates.is_empty() { Ok(0) } else { table.apply(&updates) };
            if in_step && applied.is_ok() {
                table.in_step(now_us());
            }
            applied
        });
        match applied.await {
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(error)) => tracing::error!(%error, "metadata was not updated"),
        }
    }

    fn load_changed_files(&self, seen: &mut [Option<SystemTime>]) {
        let mut all_read = true;
        for (file, seen) in self.files.iter().zip(seen) {
            let path = PathBuf::from(file);
            let modified = std::fs::metadata(&path).and_then(|meta| meta.modified()).ok();
            if modified.is_some() && modified == *seen {
                continue;
            }
            match read_devices(&path, &self.site) {
                Err(error) => {
                    all_read = false;
                    if modified != *seen || seen.is_none() {
                        tracing::error!(%error, "metadata file not taken, its devices stay as they were");
                    }
                }
                Ok(devices) => {
                    let updates: Vec<_> = devices.into_iter().map(Update::Put).collect();
                    match self.table.apply(&updates) {
                        Ok(changed) => tracing::info!(file, changed, "metadata file read"),
                        Err(error) => tracing::error!(%error, "metadata was not updated"),
                    }
                }
            }
            *seen = modified;
        }
        if all_read && self.topic.is_none() {
            self.table.in_step(now_us());
        }
    }
}

/// A record of the topic as an update; what is no device is logged and left out.
fn update(key: &[u8], value: Option<&[u8]>) -> Option<Update> {
    let key = String::from_utf8_lossy(key);
    match value.map(serde_json::from_slice::<Device>) {
        None => Some(Update::Delete(key.into_owned())),
        Some(Ok(device)) if device.key() == key => Some(Update::Put(device)),
        Some(Ok(_)) => {
            tracing::warn!(%key, "metadata record whose key is not its `site/device`, left out");
            None
        }
        Some(Err(error)) => {
            tracing::warn!(%key, %error, "metadata record that is no device, left out");
            None
        }
    }
}
