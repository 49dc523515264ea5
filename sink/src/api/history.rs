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
use crate::registry::differences;
use crate::store::ChangesQuery;

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

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

/// Changes of a device, newest first.
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
    // One more tells whether there is more, and what the last one was before.
    let asked = ChangesQuery { site, device, before, limit: limit + 1 };
    let changes = api.store.device_changes(&asked).await?;
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

fn place(cursor: &str) -> Result<(i64, i64), Problem> {
    let place = cursor::read("history", cursor)?;
    let number = |at: usize| place.get(at).and_then(|text| text.parse().ok());
    number(0).zip(number(1)).ok_or_else(|| {
        Problem::parameter(
            "`cursor` is none of this API",
            "send `next` of the page before as it came",
        )
    })
}
