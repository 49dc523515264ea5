//! Read devices: what is known of them, and how it came to be.

use std::collections::BTreeMap;

use weir_models::device::Device;
use weir_models::time::now_us;

use super::CassandraStore;
use crate::store::bucket::{FIRST_CHANGES_BUCKET, changes_bucket, shard};
use crate::store::{ChangesQuery, DeviceChange, StoreError, stored_record};

type Text = BTreeMap<String, String>;
type Row = (String, Option<Vec<String>>, Option<Text>, Option<Text>, Option<i64>);

fn device_of(site: &str, (device, aliases, meta, units, updated_us): Row) -> Device {
    Device {
        site: site.into(),
        device,
        aliases: aliases.unwrap_or_default(),
        meta: meta.unwrap_or_default(),
        units: units.unwrap_or_default(),
        updated_us: updated_us.unwrap_or_default(),
    }
}

impl CassandraStore {
    pub(super) async fn read_devices(&self, site: &str) -> Result<Vec<Device>, StoreError> {
        let rows: Vec<Row> = self.by_shard(&self.statements().await?.devices, site).await?;
        let mut devices: Vec<Device> = rows.into_iter().map(|row| device_of(site, row)).collect();
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        Ok(devices)
    }

    pub(super) async fn read_device(
        &self,
        site: &str,
        device: &str,
    ) -> Result<Option<Device>, StoreError> {
        let one = &self.statements().await?.one_device;
        let rows = self.rows::<Row>(one, (site, shard(device), device)).await?;
        Ok(rows.into_iter().next().map(|row| device_of(site, row)))
    }

    /// Bucket by bucket from the newest: there is one a year, and a device that changes seldom has few rows in all.
    pub(super) async fn read_device_changes(
        &self,
        query: &ChangesQuery,
    ) -> Result<Vec<DeviceChange>, StoreError> {
        let statement = &self.statements().await?.device_changes;
        let (site, device) = (&query.site, &query.device);
        let (before_us, before) = query.before.unwrap_or((i64::MAX, i64::MAX));
        // A clock that is a little ahead must not hide a change at the turn of a bucket.
        let newest = changes_bucket(before_us).min(changes_bucket(now_us()) + 1);
        let mut changes = Vec::new();
        for bucket in (FIRST_CHANGES_BUCKET..=newest).rev() {
            let left = query.limit - changes.len();
            if left == 0 {
                break;
            }
            let most = i32::try_from(left).unwrap_or(i32::MAX);
            let values = (site, device, bucket, before_us, before, most);
            let rows =
                self.rows::<(i64, i64, Option<String>, Option<String>)>(statement, values).await?;
            changes.extend(rows.into_iter().map(|(ts_us, position, by, record)| DeviceChange {
                site: site.clone(),
                device: device.clone(),
                record: stored_record(record.as_deref()),
                by: by.map(Into::into),
                ts_us,
                position,
            }));
        }
        Ok(changes)
    }
}
