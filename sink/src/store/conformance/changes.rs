//! The history of devices.

use weir_models::device::Device;
use weir_models::time::DAY_US;

use super::{NOON_US, fresh};
use crate::store::{Batch, ChangesQuery, DeviceChange, Store};

pub(super) async fn all(store: &dyn Store) {
    every_change_stays_with_who_made_it(store).await;
    a_page_goes_on_where_the_one_before_ended(store).await;
    one_device_is_found(store).await;
}

fn device(site: &str, name: &str, hall: &str) -> Device {
    let meta = [("hall".to_owned(), hall.to_owned())].into();
    Device { site: site.into(), device: name.into(), meta, ..Device::default() }
}

/// The change number `position` of a device; without `hall` its deletion.
fn change(site: &str, ts_us: i64, position: i64, hall: Option<&str>) -> DeviceChange {
    DeviceChange {
        site: site.into(),
        device: "pump".into(),
        record: hall.map(|hall| device(site, "pump", hall)),
        by: (position % 2 == 0).then(|| "ann".into()),
        ts_us,
        position,
    }
}

fn asked(site: &str, limit: usize) -> ChangesQuery {
    ChangesQuery { site: site.into(), device: "pump".into(), before: None, limit }
}

async fn write(store: &dyn Store, devices: &[DeviceChange]) {
    let batch = Batch { devices: devices.to_vec(), ..Batch::default() };
    store.write(&batch).await.unwrap();
}

async fn every_change_stays_with_who_made_it(store: &dyn Store) {
    let site = fresh("history");
    assert_eq!(store.device_changes(&asked(&site, 10)).await.unwrap(), []);
    // Far apart, at one moment, and before the first year that has a place of its own.
    let mut changes = vec![
        change(&site, 5, 1, Some("A")),
        change(&site, NOON_US, 2, Some("B")),
        change(&site, NOON_US, 3, None),
        change(&site, NOON_US + 300 * DAY_US, 4, Some("C")),
    ];
    let fan = Some(device(&site, "fan", "X"));
    let other =
        DeviceChange { device: "fan".into(), record: fan, ..change(&site, NOON_US, 9, None) };
    // In one batch, in another order, and again: the rows are the same.
    write(store, &[changes[1].clone(), changes[2].clone(), other]).await;
    for _ in 0..2 {
        write(store, &changes).await;
    }
    changes.reverse();
    assert_eq!(store.device_changes(&asked(&site, 10)).await.unwrap(), changes);
    let now = store.devices(&site).await.unwrap();
    assert_eq!(now.iter().find(|known| known.device == "pump").unwrap().meta["hall"], "C");
}

async fn a_page_goes_on_where_the_one_before_ended(store: &dyn Store) {
    let site = fresh("pages");
    let at = |n: i64| change(&site, NOON_US + n / 3 * 200 * DAY_US, n, Some("A"));
    let mut changes: Vec<DeviceChange> = (0..8).map(at).collect();
    write(store, &changes).await;
    changes.reverse();
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let query = ChangesQuery { before, ..asked(&site, 3) };
        let page = store.device_changes(&query).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        before = Some((last.ts_us, last.position));
        found.extend(page);
    }
    assert_eq!(found, changes);
    assert_eq!(store.device_changes(&asked(&site, 0)).await.unwrap(), []);
}

async fn one_device_is_found(store: &dyn Store) {
    let site = fresh("one");
    assert_eq!(store.device(&site, "pump").await.unwrap(), None);
    write(store, &[change(&site, 1, 1, Some("A"))]).await;
    assert_eq!(store.device(&site, "pump").await.unwrap(), Some(device(&site, "pump", "A")));
    assert_eq!(store.device(&site, "fan").await.unwrap(), None);
    write(store, &[change(&site, 2, 2, None)]).await;
    assert_eq!(store.device(&site, "pump").await.unwrap(), None);
}
