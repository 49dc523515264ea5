//! Etag: what a client has already is not sent again.
//!
//! In: an answer and the tags that the client names. Out: the answer with its tag, or 304 without a body. Promises:
//! equal tags mean equal bytes before compression (so tags are weak, but for those that a handler gave); nothing is kept here. What is asked again
//! still costs the query, only not its transfer; clients that keep answers are told `no-store` as before, so it is
//! theirs to remember, not their cache's.

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

/// Answers up to this have a tag, in bytes: it takes a millisecond or two to make.
const TAGGED_BYTES_MAX: u64 = 1024 * 1024;

/// The tag of these bytes.
pub(crate) fn tag_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hex}\"")
}

/// Whether the client has what this tag names.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = tag.trim_start_matches("W/");
    let known = headers.get_all(header::IF_NONE_MATCH).into_iter();
    let mut known =
        known.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    known
        .any(|known| matches!(known.trim(), "*") || known.trim().trim_start_matches("W/") == opaque)
}

/// Gives the JSON answer of a GET its tag.
pub(super) async fn tagged(request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let asked = request.headers().clone();
    let response = next.run(request).await;
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let size = response.body().size_hint().exact();
    let small = size.is_some_and(|size| size <= TAGGED_BYTES_MAX);
    if !is_get || response.status() != StatusCode::OK || !is_json || !small {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, TAGGED_BYTES_MAX as usize).await else {
        return Response::from_parts(parts, Body::empty());
    };
    // A handler may know a better one: that of the thing, whatever its form.
    let own = parts.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let tag = own.map_or_else(|| tag_of(&bytes), ToOwned::to_owned);
    let body = if is_known(&asked, &tag) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        Body::empty()
    } else {
        Body::from(bytes)
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    Response::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_among_others_whether_weak_or_not() {
        let tag = tag_of(b"a");
        assert_ne!(tag, tag_of(b"b"));
        let strong = tag.trim_start_matches("W/").to_owned();
        for (known, expected) in [
            (tag.clone(), true),
            (strong.clone(), true),
            (format!("\"x\", {tag}"), true),
            ("*".into(), true),
            (String::new(), false),
            (strong.trim_matches('"').to_owned(), false),
            (tag_of(b"b"), false),
        ] {
            let headers = HeaderValue::try_from(&known);
            let headers =
                headers.map(|value| HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]));
            assert_eq!(headers.is_ok_and(|headers| is_known(&headers, &tag)), expected, "{known}");
        }
        assert!(!is_known(&HeaderMap::new(), &tag));
    }
}
