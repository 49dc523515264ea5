//! What a test gives, as a request that was taken.
//!
//! In: where a request went, and its body. Out: what the running source would pass on. Pure. What can go wrong: a request that
//! would be refused; the error says why.

use bytes::Bytes;

use super::super::{Format, Labels};
use super::body;
use super::routes::time_unit;

/// The payloads of a request for `target` (a path and perhaps a query), as a running source would pass them on: how to
/// read them, what the request says about them, and the bytes of each.
///
/// # Errors
/// Says why such a request would be refused.
pub(crate) fn payloads(target: &str, body: &Bytes) -> Result<(Format, Labels, Vec<Bytes>), String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/v1/write" => {
            let precision = query.split('&').find_map(|pair| pair.strip_prefix("precision="));
            let time_unit = Some(time_unit(precision)?);
            Ok((Format::Line, Labels { time_unit, ..Labels::default() }, body::lines(body)))
        }
        "/v1/events" => {
            let payloads = body::elements(body).map_err(|refusal| refusal.to_string())?;
            Ok((Format::Json, Labels::default(), payloads))
        }
        _ => Err(format!("`{path}` takes nothing; `/v1/events` and `/v1/write` do")),
    }
}
