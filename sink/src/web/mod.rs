//! Web: the page, plain ES modules that ship inside the program.
//!
//! In: the files of this folder at compile time. Out: `/` and `/app/…`. What is sent has neither indentation nor comments on lines of
//! their own, line for line; a view is loaded when it is shown first, and the plots' library with the first plot.
//! Promises: nothing is fetched from elsewhere (the content security policy forbids it), so the page works where there is no
//! internet; a browser asks again each time and gets 304 while nothing has changed, so a page that is opened is of the
//! program's version. What can go wrong: a page that stays open over an upgrade loads newer views beside what it has
//! already; where they do not fit, it says to load the page anew.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
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
    "table.js": JS,
    "fleet.js": JS,
    "gateways.js": JS,
    "losses.js": JS,
    "archive.js": JS,
    "series.js": JS,
    "plot.js": JS,
    "data.js": JS,
    "alerts.js": JS,
    "logs.js": JS,
    "summary.js": JS,
    "vendor/uPlot.iife.min.js": JS,
    "vendor/uPlot.min.css": CSS,
    "vendor/uPlot.LICENSE": TEXT,
};

/// Only what comes from here, no inline script or style, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is sent of each file, with its tag.
static SENT: LazyLock<Vec<(Bytes, String)>> = LazyLock::new(|| {
    let sent = |asset: &Asset| {
        let bytes = if asset.name.starts_with("vendor/") {
            Bytes::from_static(asset.bytes)
        } else {
            lean(&String::from_utf8_lossy(asset.bytes)).into()
        };
        (bytes.clone(), etag::tag_of(&bytes))
    };
    ASSETS.iter().map(sent).collect()
});

/// A text without indentation, empty lines, and comments that have lines of their own.
fn lean(text: &str) -> String {
    let mut is_comment = false;
    let mut lean = String::with_capacity(text.len());
    for line in text.lines().map(str::trim) {
        is_comment |= line.starts_with("/*");
        if !(is_comment || line.is_empty() || line.starts_with("//")) {
            lean.push_str(line);
            lean.push('\n');
        }
        is_comment &= !line.ends_with("*/");
    }
    lean
}

/// The routes of the page; they need no token, the data behind them does.
pub(crate) fn router() -> Router {
    Router::new().route("/", get(async |headers: HeaderMap| serve("index.html", &headers))).route(
        "/app/{*name}",
        get(async |Path(name): Path<String>, headers: HeaderMap| serve(&name, &headers)),
    )
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let found = ASSETS.iter().zip(&*SENT).find(|(asset, _)| asset.name == name);
    let Some((asset, (bytes, tag))) = found else {
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
    (common, [(header::CONTENT_TYPE, asset.kind)], bytes.clone()).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;
