//! `GET /v1/devices/{site}/{device}/history`: who changed what is known of a device, when and how.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_models::device::Device;

use super::devices::DevicePath;
use super::lists::Items;
use super::openapi::Problems;
use super::params::{self, Params};
use super::{Api, Problem, cursor};
use crate::registry::{differences, text_bytes};
use crate::store::{ChangesQuery, DeviceChange, StoreError};

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// A page ends behind so many bytes of records.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Changes that are read from the store at once: a record has 300 KiB at most.
const AT_ONCE: usize = 50;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// At most so many; default 100.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// Go on from here: `next` of the page before.
    cursor: Option<String>,
}

/// A change of a device.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Revision {
    /// When, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Name of the token or command that changed it; none when that is not known.
    pub by: Option<String>,
    /// What became other: `aliases`, `meta.NAME`, `units.METRIC`.
    pub fields: Vec<String>,
    /// The record from then on; none where it was deleted.
    pub record: Option<Device>,
}

/// Changes of a device, newest first; a page has 4 MiB of records at most, or one record.
#[utoipa::path(
    get, path = "/v1/devices/{site}/{device}/history", operation_id = "get_device_history", tag = "fleet",
    params(DevicePath, HistoryQuery),
    responses((status = 200, description = "The changes; none of a device that nobody spoke of", body = Items<Revision>), Problems)
)]
pub(super) async fn get(
    State(api): State<Api>,
    path: DevicePath,
    Params(query): Params<HistoryQuery>,
) -> Result<Json<Items<Revision>>, Problem> {
    let DevicePath { site, device } = path;
    let limit = params::limit(query.limit, LIMIT, LIMIT_MAX)?;
    let before = query.cursor.map(|cursor| place(&cursor)).transpose()?;
    let asked = ChangesQuery { site, device, before, limit: 0 };
    let (changes, limit) = read(&api, asked, limit).await?;
    let mut items = Vec::with_capacity(changes.len().min(limit));
    for (number, change) in changes.iter().take(limit).enumerate() {
        let earlier = changes.get(number + 1).and_then(|earlier| earlier.record.as_ref());
        items.push(Revision {
            ts_us: change.ts_us,
            by: change.by.as_deref().map(Into::into),
            fields: differences(earlier, change.record.as_ref()),
            record: change.record.clone(),
        });
    }
    let truncated = changes.len() > limit;
    let last = changes.get(limit - 1).filter(|_| truncated);
    let next = last.map(|last| {
        let place = [last.ts_us.to_string(), last.position.to_string()];
        cursor::write("history", place.iter().map(String::as_str))
    });
    Ok(Json(Items { items, truncated, next }))
}

/// The changes of a page and, if there is one, the one behind it: it tells that there is more, and what the last one
/// was before. And how many are on the page.
async fn read(
    api: &Api,
    mut asked: ChangesQuery,
    limit: usize,
) -> Result<(Vec<DeviceChange>, usize), StoreError> {
    let (mut changes, mut bytes) = (Vec::new(), 0);
    loop {
        asked.limit = AT_ONCE.min(limit + 1 - changes.len());
        let read = api.store.device_changes(&asked).await?;
        let is_last = read.len() < asked.limit;
        for change in read {
            bytes += change.record.as_ref().map_or(0, text_bytes);
            asked.before = Some((change.ts_us, change.position));
            changes.push(change);
            if changes.len() > 1 && bytes > BYTES_MAX {
                let on_page = changes.len() - 1;
                return Ok((changes, on_page));
            }
        }
        if is_last || changes.len() > limit {
            return Ok((changes, limit));
        }
    }
}

fn place(cursor: &str) -> Result<(i64, i64), Problem> {
    cursor::place("history", cursor, |place| match place {
        [ts_us, position] => Some((ts_us.parse().ok()?, position.parse().ok()?)),
        _ => None,
    })
}
