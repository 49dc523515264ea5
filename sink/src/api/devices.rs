//! `/v1/devices`: what is known of each device; a change goes to `weir.metadata` and from there to
//! the cache of every agent and to the store.
//!
//! A change is answered with 202: it is safe in Kafka, and shows in a GET once this or another sink
//! has consumed it.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_models::device::Device;
use weir_models::limit::{META_ENTRIES_MAX, METRICS_MAX, NAME_BYTES_MAX};
use weir_models::time::now_us;
use weir_models::topic::Topic;

use super::lists::{Items, Page};
use super::openapi::Problems;
use super::params::{self, Params};
use super::{Api, Problem};

/// Longest value of a metadata entry, in bytes: it is copied into every event of the device.
const META_VALUE_BYTES_MAX: usize = 1_024;
/// Most other names of a device.
const ALIASES_MAX: usize = 64;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Site.
    site: String,
    /// At most so many; default 50000.
    #[param(minimum = 1, maximum = 50_000)]
    limit: Option<usize>,
    /// Go on from here: `next` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct DevicePath {
    /// Site; without a slash.
    site: String,
    /// Device.
    device: String,
}

/// What a person says of a device; replaces what was said before.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceBody {
    /// Other names under which it shows up at the same site: host names, addresses, client ids.
    #[serde(default)]
    #[schema(max_items = 64)]
    aliases: Vec<String>,
    /// Joined to every event of the device: at most 64 entries of at most 1024 bytes.
    #[serde(default)]
    meta: BTreeMap<String, String>,
    /// Unit of each metric, where the sender does not tell it.
    #[serde(default)]
    units: BTreeMap<String, String>,
}

/// A deletion that is on its way.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Deleted {
    /// Site of the device.
    pub site: String,
    /// Name of the device.
    pub device: String,
    /// Always true.
    pub deleted: bool,
}

/// Known devices of a site.
#[utoipa::path(
    get, path = "/v1/devices", operation_id = "list_devices", tag = "fleet", params(ListQuery),
    responses((status = 200, description = "The devices, by name", body = Items<Device>), Problems)
)]
pub(super) async fn list(
    State(api): State<Api>,
    Params(query): Params<ListQuery>,
) -> Result<Json<Items<Device>>, Problem> {
    let site = params::name("site", query.site)?;
    let mut devices = api.store.devices(&site).await?;
    devices.sort_unstable_by(|a, b| a.device.cmp(&b.device));
    let page = Page { limit: query.limit, cursor: query.cursor };
    Ok(Json(Items::page("devices", page, devices, |device: &Device| [&*device.device])?))
}

/// One device.
#[utoipa::path(
    get, path = "/v1/devices/{site}/{device}", operation_id = "get_device", tag = "fleet", params(DevicePath),
    responses(
        (status = 200, description = "The device", body = Device),
        (status = 404, description = "The device is not known", body = Problem, content_type = "application/problem+json"),
        Problems,
    )
)]
pub(super) async fn get(State(api): State<Api>, path: DevicePath) -> Result<Json<Device>, Problem> {
    let DevicePath { site, device } = path;
    let devices = api.store.devices(&site).await?;
    let found = devices.into_iter().find(|known| known.device == device);
    found.map(Json).ok_or_else(|| {
        Problem::not_found(
            "this device has no metadata",
            "PUT the same path to say what is known of it; a change takes a moment to show",
        )
    })
}

/// Says what is known of a device.
#[utoipa::path(
    put, path = "/v1/devices/{site}/{device}", operation_id = "put_device", tag = "fleet", params(DevicePath),
    request_body = DeviceBody,
    responses(
        (status = 202, description = "The record, safe in Kafka and on its way to agents and store", body = Device),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be JSON", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Kafka refuses the record", body = Problem, content_type = "application/problem+json"),
        Problems,
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    path: DevicePath,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Device>), Problem> {
    let DevicePath { site, device } = path;
    let body: DeviceBody = read_json(
        &headers,
        body,
        "send an object with `aliases` (list), `meta` and `units` (objects of texts)",
    )?;
    let body = body.checked()?;
    let record = Device {
        site,
        device,
        aliases: body.aliases,
        meta: body.meta,
        units: body.units,
        updated_us: now_us(),
    };
    let key = record.key();
    let json = serde_json::to_vec(&record)
        .map_err(|error| Problem::parameter(error.to_string(), "send text that JSON can hold"))?;
    let sent = api.producer.send(Topic::Metadata, key.as_bytes(), Some(&json), &[]);
    sent.await?;
    tracing::info!(device = key, "device metadata was changed by the API");
    Ok((StatusCode::ACCEPTED, Json(record)))
}

/// Forgets what is known of a device; its data stay.
#[utoipa::path(
    delete, path = "/v1/devices/{site}/{device}", operation_id = "delete_device", tag = "fleet", params(DevicePath),
    responses(
        (status = 202, description = "The deletion, safe in Kafka and on its way to agents and store", body = Deleted),
        (status = 502, description = "Kafka refuses the record", body = Problem, content_type = "application/problem+json"),
        Problems,
    )
)]
pub(super) async fn delete(
    State(api): State<Api>,
    path: DevicePath,
) -> Result<(StatusCode, Json<Deleted>), Problem> {
    let DevicePath { site, device } = path;
    let key = format!("{site}/{device}");
    let sent = api.producer.send(Topic::Metadata, key.as_bytes(), None, &[]);
    sent.await?;
    tracing::info!(device = key, "device metadata was deleted by the API");
    let deleted = true;
    Ok((StatusCode::ACCEPTED, Json(Deleted { site, device, deleted })))
}

impl<S: Send + Sync> FromRequestParts<S> for DevicePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((site, device)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| {
                let hint =
                    "write names in UTF-8, with % and two hexadecimal digits for each special byte";
                Problem::parameter(rejection.body_text(), hint)
            })?;
        if site.contains('/') {
            // The record's key is `site/device`: a slash in the site would name another device.
            return Err(Problem::parameter(
                "the site contains a slash",
                "a device may have a slash in its name (written %2F), a site may not",
            ));
        }
        Ok(Self { site: params::name("site", site)?, device: params::name("device", device)? })
    }
}

impl DeviceBody {
    fn checked(self) -> Result<Self, Problem> {
        let too_many = |what: &str, max: usize| {
            let hint = format!("at most {max}");
            Problem::body(StatusCode::BAD_REQUEST, format!("too many {what}"), hint)
        };
        if self.aliases.len() > ALIASES_MAX {
            return Err(too_many("aliases", ALIASES_MAX));
        }
        if self.meta.len() > META_ENTRIES_MAX {
            return Err(too_many("entries in `meta`", META_ENTRIES_MAX));
        }
        if self.units.len() > METRICS_MAX {
            return Err(too_many("entries in `units`", METRICS_MAX));
        }
        let names = self.aliases.iter().chain(self.meta.keys());
        for name in names.chain(self.units.keys()) {
            check_text(name, 1, NAME_BYTES_MAX)?;
        }
        for value in self.meta.values() {
            check_text(value, 0, META_VALUE_BYTES_MAX)?;
        }
        for unit in self.units.values() {
            check_text(unit, 0, NAME_BYTES_MAX)?;
        }
        if self.aliases.iter().collect::<BTreeSet<_>>().len() < self.aliases.len() {
            return Err(Problem::body(
                StatusCode::BAD_REQUEST,
                "an alias is there twice",
                "name each alias once",
            ));
        }
        Ok(self)
    }
}

fn check_text(text: &str, min: usize, max: usize) -> Result<(), Problem> {
    if (min..=max).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let shown: String = text.chars().take(40).collect();
    Err(Problem::body(
        StatusCode::BAD_REQUEST,
        format!("`{}` cannot be used", shown.escape_debug()),
        format!("this takes {min} to {max} bytes and no control characters"),
    ))
}

/// The body as a `T`; `hint` says what to send.
pub(super) fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    hint: &str,
) -> Result<T, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    // A form or text body could be sent by a foreign page without the browser asking first.
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::body(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is not said to be JSON",
            "send the header `Content-Type: application/json`",
        ));
    }
    let body = body.map_err(|rejection| {
        Problem::body(
            rejection.status(),
            rejection.body_text(),
            "a body is a few kilobytes at most",
        )
    })?;
    serde_json::from_slice(&body)
        .map_err(|error| Problem::body(StatusCode::BAD_REQUEST, error.to_string(), hint))
}
