//! Devices and agents.

use std::collections::BTreeMap;

use weir_models::device::{AgentStatus, Device};
use weir_models::event::Clock;
use weir_models::time::{DAY_US, now_us};

use super::{NOON_US, fresh};
use crate::store::{Batch, DeviceChange, Store};

pub(super) async fn all(store: &dyn Store) {
    devices_are_put_and_deleted(store).await;
    the_newest_heartbeat_wins(store).await;
}

fn device(site: &str, name: &str, updated_us: i64) -> Device {
    Device {
        site: site.into(),
        device: name.into(),
        aliases: vec!["10.0.0.7".into(), "pump.local".into()],
        meta: BTreeMap::from([("hall".into(), "3 – süd".into()), ("".into(), "".into())]),
        units: BTreeMap::from([("temp".into(), "°C".into())]),
        updated_us,
    }
}

fn put(device: &Device) -> DeviceChange {
    DeviceChange {
        site: device.site.clone(),
        device: device.device.clone(),
        record: Some(device.clone()),
        ..DeviceChange::default()
    }
}

fn delete(device: &Device) -> DeviceChange {
    DeviceChange { record: None, ..put(device) }
}

async fn change(store: &dyn Store, devices: Vec<DeviceChange>) {
    let batch = Batch { devices, ..Batch::default() };
    store.write(&batch).await.unwrap();
}

async fn devices_are_put_and_deleted(store: &dyn Store) {
    let site = fresh("devices");
    let pump = device(&site, "pump", 1);
    let fan = Device { site: site.clone(), device: "fan".into(), ..Device::default() };
    assert_eq!(store.devices(&site).await.unwrap(), []);
    for _ in 0..2 {
        change(store, vec![put(&pump), put(&fan)]).await;
        assert_eq!(store.devices(&site).await.unwrap(), [fan.clone(), pump.clone()]);
    }
    assert!(store.sites().await.unwrap().contains(&site));
    let moved = Device { aliases: Vec::new(), ..device(&site, "pump", 2) };
    change(store, vec![put(&moved), delete(&fan)]).await;
    assert_eq!(store.devices(&site).await.unwrap(), [moved.clone()]);
    change(store, vec![delete(&moved), put(&pump), delete(&fan), put(&fan), delete(&fan)]).await;
    assert_eq!(
        store.devices(&site).await.unwrap(),
        [pump.clone()],
        "the last change of a batch wins"
    );
    change(store, vec![put(&fan), delete(&pump)]).await;
    assert_eq!(store.devices(&site).await.unwrap(), [fan]);
}

fn heartbeat(agent: &str, ts_us: i64, events_in: u64) -> AgentStatus {
    AgentStatus {
        agent: agent.into(),
        site: "plant".into(),
        version: "0.1.0".into(),
        ts_us,
        started_us: 0,
        interval_s: 30,
        clock: Clock::Synced,
        events_in,
        events_out: 0,
        filtered: BTreeMap::from([("noise".into(), 3)]),
        lost: BTreeMap::new(),
        spool_bytes: 7,
        lanes: Vec::new(),
        oldest_us: Some(NOON_US),
        devices: 1,
        metadata_us: Some(NOON_US + 1),
        series: 2,
    }
}

async fn the_newest_heartbeat_wins(store: &dyn Store) {
    let agent = fresh("agent");
    let ahead_us = now_us() + 100 * DAY_US;
    let soon_us = now_us() + 60_000_000;
    let steps = [
        (vec![(0, 1)], 1),
        (vec![(NOON_US, 2)], 2),
        (vec![(NOON_US - 1, 3)], 2),
        (vec![(NOON_US + 2, 4), (NOON_US + 1, 5)], 4),
        (vec![(ahead_us, 6)], 6),
        (vec![(soon_us, 7)], 7),
    ];
    for (beats, expected) in steps {
        let beats = beats.into_iter();
        let batch = Batch {
            agents: beats.map(|(us, events)| heartbeat(&agent, us, events)).collect(),
            ..Batch::default()
        };
        store.write(&batch).await.unwrap();
        let agents = store.agents().await.unwrap();
        assert_eq!(agents[agent.as_str()].events_in, expected);
    }
    let agents = store.agents().await.unwrap();
    assert_eq!(agents[agent.as_str()], heartbeat(&agent, soon_us, 7));
    let one = store.agent(&agent).await.unwrap();
    assert_eq!(one, Some(heartbeat(&agent, soon_us, 7)));
    assert_eq!(store.agent("nobody has this name").await.unwrap(), None);
    assert!(store.sites().await.unwrap().contains(&"plant".to_owned()));
}
