//! `/v1/devices`: what is known of each device; a change goes to `weir.metadata` and from there to
//! the cache of every agent and to the store.
//!
//! A change is answered with 202: it is safe in Kafka. It shows in a GET of the device at once, in lists and elsewhere
//! when this or another sink has consumed it. Each version has an `ETag`; `If-Match` changes that version or nothing.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_models::device::Device;

use super::body::read_json;
use super::lists::{Items, Page};
use super::openapi::Problems;
use super::params::{self, Params};
use super::{Api, Problem};
use crate::access::Caller;
use crate::registry::{Condition, DeviceBody, DevicePatch, HINT, tag};

/// What may be said to be a merge patch.
const PATCHES: [&str; 2] = ["application/merge-patch+json", "application/json"];

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

/// Headers of a change.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it says what there is; `condition` reads it")]
pub(super) struct Matches {
    /// Only while the record is one of these versions, as `ETag` told them; `*`: only while there is one.
    #[param(rename = "If-Match", example = "\"6c1f0e5a9d3b7c2e48f1a0b2\"")]
    if_match: Option<String>,
    /// `*`: only while there is none.
    #[param(rename = "If-None-Match", example = "*")]
    if_none_match: Option<String>,
}

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct DevicePath {
    /// Site; without a slash.
    pub(super) site: String,
    /// Device.
    pub(super) device: String,
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

/// The record with its version.
fn versioned(status: StatusCode, record: Device) -> Response {
    let tag = tag(&record);
    (status, [(header::ETAG, tag)], Json(record)).into_response()
}

/// The record, and whether it was sent.
fn answer((record, changed): (Device, bool)) -> Response {
    versioned(if changed { StatusCode::ACCEPTED } else { StatusCode::OK }, record)
}

/// One device.
#[utoipa::path(
    get, path = "/v1/devices/{site}/{device}", operation_id = "get_device", tag = "fleet", params(DevicePath),
    responses(
        (status = 200, description = "The device", body = Device, headers(("ETag" = String, description = "The version of the record"))),
        (status = 404, description = "The device is not known", body = Problem, content_type = "application/problem+json"),
        Problems,
    )
)]
pub(super) async fn get(State(api): State<Api>, path: DevicePath) -> Result<Response, Problem> {
    let DevicePath { site, device } = path;
    let found = api.registry.get(&site, &device).await?;
    found.map(|record| versioned(StatusCode::OK, record)).ok_or_else(Problem::unknown_device)
}

/// Says what is known of a device.
///
/// What is so already is not sent again. With `If-Match` only while the record is that version, with `If-None-Match: *` only while there is none.
#[utoipa::path(
    put, path = "/v1/devices/{site}/{device}", operation_id = "put_device", tag = "fleet", params(DevicePath, Matches),
    request_body = DeviceBody,
    responses(
        (status = 200, description = "The record, which is so already", body = Device, headers(("ETag" = String, description = "The version of the record"))),
        (status = 202, description = "The record, safe in Kafka and on its way to agents and store", body = Device, headers(("ETag" = String, description = "The version of the record"))),
        (status = 412, description = "The record is another version", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be JSON", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Kafka refuses the record", body = Problem, content_type = "application/problem+json"),
        Problems,
    )
)]
pub(super) async fn put(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: DevicePath,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let DevicePath { site, device } = path;
    let body: DeviceBody = read_json(&headers, body, &["application/json"], HINT)?;
    let (condition, by) = (condition(&headers)?, caller.name.as_deref());
    let changed = api.registry.put(&site, &device, body, &condition, by).await?;
    Ok(answer(changed))
}

/// Changes some of what is known of a device: a JSON merge patch (RFC 7396).
///
/// `{"meta": {"hall": "B", "line": null}}` sets one entry, takes another away and leaves the rest. With `If-Match`
/// only while the record is that version.
#[utoipa::path(
    patch, path = "/v1/devices/{site}/{device}", operation_id = "patch_device", tag = "fleet", params(DevicePath, Matches),
    request_body(
        content((DevicePatch = "application/merge-patch+json"), (DevicePatch = "application/json")),
        description = "Fields of the record; null takes away",
    ),
    responses(
        (status = 200, description = "The record, which is so already", body = Device, headers(("ETag" = String, description = "The version of the record"))),
        (status = 202, description = "The record, safe in Kafka and on its way to agents and store", body = Device, headers(("ETag" = String, description = "The version of the record"))),
        (status = 404, description = "The device is not known", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "The record is another version", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be a patch", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Kafka refuses the record", body = Problem, content_type = "application/problem+json"),
        Problems,
    )
)]
pub(super) async fn patch(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: DevicePath,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let DevicePath { site, device } = path;
    let patch: serde_json::Value = read_json(&headers, body, &PATCHES, HINT)?;
    let (condition, by) = (condition(&headers)?, caller.name.as_deref());
    let changed = api.registry.patch(&site, &device, patch, &condition, by).await?;
    Ok(answer(changed))
}

/// Forgets what is known of a device; its data and its history stay.
#[utoipa::path(
    delete, path = "/v1/devices/{site}/{device}", operation_id = "delete_device", tag = "fleet", params(DevicePath, Matches),
    responses(
        (status = 202, description = "The deletion, safe in Kafka and on its way to agents and store", body = Deleted),
        (status = 412, description = "The record is another version", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Kafka refuses the record", body = Problem, content_type = "application/problem+json"),
        Problems,
    )
)]
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    path: DevicePath,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Deleted>), Problem> {
    let DevicePath { site, device } = path;
    let (condition, by) = (condition(&headers)?, caller.name.as_deref());
    api.registry.delete(&site, &device, &condition, by).await?;
    let deleted = true;
    Ok((StatusCode::ACCEPTED, Json(Deleted { site, device, deleted })))
}

/// `If-Match` and `If-None-Match` of a change.
fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let named = |name: HeaderName| -> Result<Option<Vec<String>>, Problem> {
        let values = headers.get_all(&name).into_iter();
        let mut tags = Vec::new();
        for value in values {
            let text = value.to_str().map_err(|_| {
                Problem::parameter(format!("`{name}` cannot be read"), "send an `ETag` as it came")
            })?;
            // What a proxy compresses it calls a weak version; ours name the content in either form.
            let tag = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
            tags.extend(text.split(',').map(tag).filter(|tag| !tag.is_empty()));
        }
        // A script whose variable is empty must not overwrite whatever is there.
        if tags.is_empty() && headers.contains_key(&name) {
            let hint = "send an `ETag` as it came, or leave the header out";
            return Err(Problem::parameter(format!("`{name}` is empty"), hint));
        }
        Ok((!tags.is_empty()).then_some(tags))
    };
    let is_new = match named(header::IF_NONE_MATCH)? {
        None => false,
        Some(tags) if tags == ["*"] => true,
        Some(_) => {
            let hint = "a change takes `If-None-Match: *` (only when there is nothing yet) or `If-Match` with an `ETag`";
            return Err(Problem::parameter("`If-None-Match` is not `*`", hint));
        }
    };
    Ok(Condition { is_one_of: named(header::IF_MATCH)?, is_new })
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
