//! Web: the page, plain ES modules that ship inside the program.
//!
//! In: the files of this folder at compile time. Out: `/` and `/app/…`. Promises: nothing is fetched
//! from elsewhere (the content security policy forbids it), so the page works where there is no
//! internet; a browser asks again each time and gets 304 while nothing has changed, so page and
//! program are always of the same version.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::api::etag;

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! assets {
    ($($file:literal: $kind:ident,)*) => {
        &[$(Asset { name: $file, kind: $kind, bytes: include_bytes!($file) }),*]
    };
}

const ASSETS: &[Asset] = assets! {
    "index.html": HTML,
    "style.css": CSS,
    "icon.svg": SVG,
    "main.js": JS,
    "api.js": JS,
    "dom.js": JS,
    "format.js": JS,
    "fleet.js": JS,
    "series.js": JS,
    "plot.js": JS,
    "data.js": JS,
    "alerts.js": JS,
    "logs.js": JS,
    "vendor/uPlot.iife.min.js": JS,
    "vendor/uPlot.min.css": CSS,
    "vendor/uPlot.LICENSE": TEXT,
};

/// Only what comes from here, no inline script or style, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static TAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| ASSETS.iter().map(|asset| etag::tag_of(asset.bytes)).collect());

/// The routes of the page; they need no token, the data behind them does.
pub(crate) fn router() -> Router {
    Router::new().route("/", get(async |headers: HeaderMap| serve("index.html", &headers))).route(
        "/app/{*name}",
        get(async |Path(name): Path<String>, headers: HeaderMap| serve(&name, &headers)),
    )
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some((asset, tag)) = ASSETS.iter().zip(&*TAGS).find(|(asset, _)| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "there is no such file; the page is at /\n")
            .into_response();
    };
    let common = [
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, tag.as_str()),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if etag::is_known(headers, tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, asset.kind)], asset.bytes).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
