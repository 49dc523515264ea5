//! Keep: listens to the topic of models, and to the line.
//!
//! In: records of the topic, and what became of models. Out: orders. Promises: of each key only the newest record counts,
//! which is known once the topic was read to its end; what is read meanwhile is bounded. Runs beside the line, and where
//! it works with the disk beside the publishers as well. Without a network the models of before judge.

use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use weir_models::central::{Kind, MODEL_BYTES_MAX};
use weir_models::limit::NAME_BYTES_MAX;

use super::desk::Desk;
use super::shelf::Shelf;
use super::{ModelsConfig, Order, Outcome};
use crate::publish::Followed;
use crate::source::{received, stopping};

/// What the line may have to tell at a time: many trials end within a minute.
const OUTCOMES_MAX: usize = 1_024;
/// A key: kind, site, device, metric.
const KEY_BYTES_MAX: usize = 4 * (NAME_BYTES_MAX + 1);
/// Keys that are looked at together.
const KEYS_MAX: usize = 4_096;
/// Of these, alarm levels of series.
const LEVELS_MAX: usize = KEYS_MAX / 2;

/// What it takes to keep models.
pub(crate) struct Keeping {
    /// Whose models, and how.
    pub(crate) config: ModelsConfig,
    /// The folder of models that were good.
    pub(crate) folder: PathBuf,
    /// Where orders go.
    pub(crate) orders: mpsc::Sender<Order>,
    /// Records of the topic of models; none where no key is pinned.
    pub(crate) topic: Option<mpsc::Receiver<Followed>>,
}

/// Records since the topic was last in step, the newest of each key.
type Unread = Vec<(String, Option<Bytes>)>;

/// Runs until `stop`.
pub(crate) async fn keep(keeping: Keeping, mut stop: watch::Receiver<bool>) {
    let Keeping { config, folder, orders, mut topic } = keeping;
    let (told, mut outcomes) = mpsc::channel(OUTCOMES_MAX);
    let shadow_us = i64::from(config.shadow_s) * 1_000_000;
    let begin = vec![Order::Begin { told, shadow_us }];
    if !give(&orders, begin, &mut stop).await || topic.is_none() {
        return;
    }
    let bytes_max = usize::try_from(config.bytes_max).unwrap_or(usize::MAX);
    let mut desk = Desk::new(config, Shelf::new(folder));
    let mut unread = Unread::new();
    let mut work = Work::Load;
    'kept: loop {
        let Some((back, given)) = beside(desk, work).await else { return };
        desk = back;
        if !give(&orders, given, &mut stop).await {
            break;
        }
        work = loop {
            tokio::select! {
                () = stopping(&mut stop) => break 'kept,
                Some(outcome) = outcomes.recv() => break Work::Settle(outcome),
                record = received(&mut topic) => match record {
                    None => topic = None,
                    Some(Followed::Record { key, value }) => {
                        note(&desk, &mut unread, bytes_max, &key, value);
                    }
                    Some(Followed::InStep) if unread.is_empty() => {}
                    Some(Followed::InStep) => break Work::Take(std::mem::take(&mut unread)),
                },
            }
        };
    }
    // The next start has to know what the line told meanwhile.
    while let Ok(outcome) = outcomes.try_recv() {
        let Some((back, _)) = beside(desk, Work::Settle(outcome)).await else { return };
        desk = back;
    }
    desk.leave();
}

/// Hands orders to the line; answers whether it still takes some.
async fn give(
    orders: &mpsc::Sender<Order>,
    given: Vec<Order>,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    for order in given {
        tokio::select! {
            () = stopping(stop) => return false,
            sent = orders.send(order) => if sent.is_err() { return false },
        }
    }
    true
}

/// Something that may take the disk a while.
enum Work {
    Load,
    Take(Unread),
    Settle(Outcome),
}

/// Does it on a thread where waiting hurts nobody. Nothing comes back when that thread has panicked, which is logged.
async fn beside(mut desk: Desk, work: Work) -> Option<(Desk, Vec<Order>)> {
    let done = tokio::task::spawn_blocking(move || {
        let orders = match work {
            Work::Load => desk.load(),
            Work::Take(unread) => {
                let each = unread.iter();
                each.filter_map(|(key, value)| desk.take(key, value.as_ref())).collect()
            }
            Work::Settle(outcome) => {
                desk.settle(outcome);
                Vec::new()
            }
        };
        (desk, orders)
    });
    done.await.ok()
}

/// Keeps a record until all of the topic was told, if it is for us and there is room.
fn note(desk: &Desk, unread: &mut Unread, bytes_max: usize, key: &[u8], value: Option<Bytes>) {
    if key.len() > KEY_BYTES_MAX || !desk.wants(key) {
        return;
    }
    let key = String::from_utf8_lossy(key).into_owned();
    unread.retain(|(known, _)| *known != key);
    // What is too large is refused by its first bytes as well.
    let value = value.map(|value| match value.get(..=MODEL_BYTES_MAX) {
        Some(head) => Bytes::copy_from_slice(head),
        None => value,
    });
    let of = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
    let held: usize = unread.iter().map(|(key, value)| key.len() + of(value)).sum();
    // There is one for each series: they must not take the room of those that judge.
    let is_level = |key: &str| Kind::Level.is_of(key);
    let levels = unread.iter().filter(|(known, _)| is_level(known)).count();
    let is_crowded = unread.len() >= KEYS_MAX || is_level(&key) && levels >= LEVELS_MAX;
    // A tombstone takes the room of its key.
    if held + of(&value) > bytes_max.saturating_add(MODEL_BYTES_MAX) || is_crowded {
        tracing::error!(
            key,
            "the topic holds more models of our sites than `models.bytes_max`, this one is left out: raise it, or narrow `models.sites`"
        );
        return;
    }
    unread.push((key, value));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::central::Became;
    use crate::central::scene::{sealed, signing};

    const KEY: &str = "expected/plant/pump/temp";

    struct Rig {
        told: mpsc::Sender<Followed>,
        orders: mpsc::Receiver<Order>,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
        folder: tempfile::TempDir,
    }

    fn start(is_followed: bool) -> Rig {
        start_in(tempfile::tempdir().unwrap(), is_followed)
    }

    fn start_in(folder: tempfile::TempDir, is_followed: bool) -> Rig {
        let (told, topic) = mpsc::channel(8);
        let (orders, ordered) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let keeping = Keeping {
            config: config(),
            folder: folder.path().into(),
            orders,
            topic: is_followed.then_some(topic),
        };
        let task = tokio::spawn(keep(keeping, stopped));
        Rig { told, orders: ordered, stop, task, folder }
    }

    fn config() -> ModelsConfig {
        let (sites, keys) = (vec!["plant".to_owned()], vec![signing(1).public()]);
        ModelsConfig { sites, keys, ..ModelsConfig::default() }
    }

    /// A folder with the model of version 5.
    fn with_five() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().into());
        shelf.put(&Shelf::stem(KEY), &sealed("temp", 5, 1), false).unwrap();
        folder
    }

    #[test]
    fn levels_leave_room_for_models_that_judge() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::new(config(), Shelf::new(folder.path().into()));
        let mut unread = Unread::new();
        for n in 0..=LEVELS_MAX {
            let key = format!("level/plant/pump/{n}");
            note(&desk, &mut unread, 1 << 20, key.as_bytes(), None);
        }
        assert_eq!(unread.len(), LEVELS_MAX);
        note(&desk, &mut unread, 1 << 20, KEY.as_bytes(), None);
        assert_eq!(unread.len(), LEVELS_MAX + 1);
    }

    #[tokio::test]
    async fn without_a_key_the_line_forgets_all_models_and_nothing_is_read() {
        let mut rig = start(false);
        assert!(matches!(rig.orders.recv().await, Some(Order::Begin { .. })));
        assert!(rig.orders.recv().await.is_none());
        assert!(rig.told.is_closed());
    }

    #[tokio::test]
    async fn it_stops_also_while_the_line_takes_no_orders() {
        let rig = start(true);
        rig.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(10), rig.task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_the_line_told_before_the_end_is_noted() {
        // By chance an end is seen before what else there is.
        for _ in 0..10 {
            let mut rig = start_in(with_five(), true);
            let Some(Order::Begin { told, .. }) = rig.orders.recv().await else { panic!() };
            assert!(matches!(rig.orders.recv().await, Some(Order::Force { .. })));
            let outcome = Outcome { key: KEY.into(), version: 5, became: Became::Flood };
            told.try_send(outcome).unwrap();
            rig.stop.send(true).unwrap();
            rig.task.await.unwrap();
            assert!(Desk::new(config(), Shelf::new(rig.folder.path().into())).load().is_empty());
        }
    }

    #[tokio::test]
    async fn one_that_ends_leaves_no_version_in_the_metrics() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _on_this_thread = metrics::set_default_local_recorder(&recorder);
        let mut rig = start_in(with_five(), true);
        for _ in 0..2 {
            rig.orders.recv().await.unwrap();
        }
        metrics::gauge!(
            weir_models::metric::AGENT_MODEL_VERSION.name, "model" => KEY, "state" => "in_force"
        )
        .set(5.0);
        rig.stop.send(true).unwrap();
        rig.task.await.unwrap();
        let text = recorder.handle().render();
        for state in ["in_force", "shadow"] {
            let line = format!("{{model=\"{KEY}\",state=\"{state}\"}} 0");
            assert!(text.contains(&line), "{text}");
        }
    }

    #[test]
    fn of_each_key_the_newest_record_is_kept_as_long_as_there_is_room() {
        let sites = vec!["plant".to_owned()];
        let config = ModelsConfig { sites, ..ModelsConfig::default() };
        let desk = Desk::new(config, Shelf::new("unused".into()));
        let mut unread = Unread::new();
        let mut tell = |key: &str, length: Option<usize>| {
            let value = length.map(|length| Bytes::from(vec![0; length]));
            note(&desk, &mut unread, 1_000, key.as_bytes(), value);
            let of = |value: &Option<Bytes>| value.as_ref().map(Bytes::len);
            unread.iter().map(|(_, value)| of(value)).collect::<Vec<_>>()
        };
        assert_eq!(tell("expected/plant/a/t", Some(7)), [Some(7)]);
        assert_eq!(tell("expected/plant/a/t", Some(8)), [Some(8)]);
        assert_eq!(tell("expected/other/a/t", Some(8)), [Some(8)]);
        assert_eq!(tell("expected/plant/b/t", None), [Some(8), None]);
        // What is too large is cut to what shows that it is.
        let cut = Some(MODEL_BYTES_MAX + 1);
        assert_eq!(tell("expected/plant/b/t", Some(2 << 20)), [Some(8), cut]);
        assert_eq!(tell("expected/plant/c/t", Some(2 << 20)), [Some(8), cut]);
        assert_eq!(tell("expected/plant/a/t", None), [cut, None]);
    }
}
