//! Cursor: where the next page of a list begins.
//!
//! In: the last thing of a page. Out: text that only this API reads, and the place back from it. Promises: a page
//! begins after what the one before ended with, whatever has come since: things are named, not counted. What
//! can go wrong: a text that is no cursor, or one of another list.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Problem;

/// Longest cursor taken, in bytes.
const CURSOR_BYTES_MAX: usize = 16 * 1024;

/// What is said of a text that this API has not written.
const FOREIGN: &str = "is none of this API";

/// The cursor of a place in the list `list`.
pub(super) fn write<'a>(list: &'a str, place: impl IntoIterator<Item = &'a str>) -> String {
    let parts: Vec<&str> = std::iter::once(list).chain(place).collect();
    // Texts only, which are always JSON.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&parts).unwrap_or_default())
}

fn problem(detail: &str) -> Problem {
    Problem::parameter(
        format!("`cursor` {detail}"),
        "send `next` of the page before as it came, to the same path; without `cursor` the list begins anew",
    )
}

/// What `place` makes of the place of a cursor of the list `list`; none where it cannot be one.
pub(super) fn place<T>(
    list: &str,
    cursor: &str,
    place: impl FnOnce(&[String]) -> Option<T>,
) -> Result<T, Problem> {
    place(&read(list, cursor)?).ok_or_else(|| problem(FOREIGN))
}

/// The place of a cursor of the list `list`.
pub(super) fn read(list: &str, cursor: &str) -> Result<Vec<String>, Problem> {
    if cursor.len() > CURSOR_BYTES_MAX {
        return Err(problem("is too long"));
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| problem(FOREIGN))?;
    let parts: Vec<String> = serde_json::from_slice(&bytes).map_err(|_| problem(FOREIGN))?;
    match parts.split_first() {
        Some((own, place)) if own == list && !place.is_empty() => Ok(place.to_vec()),
        _ => Err(problem("is one of another list")),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_is_of_one_list() {
        let cursor = write("series", ["Straße 5/α", ""]);
        assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!(read("series", &cursor).unwrap(), ["Straße 5/α", ""]);
        for bad in
            ["", "x", "bm8", &write("latest", ["a"]), &write("series", []), &"a".repeat(20_000)]
        {
            assert!(read("series", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_is_refused() {
        let number = |parts: &[String]| parts.first()?.parse::<i64>().ok();
        assert_eq!(place("losses", &write("losses", ["-7"]), number).unwrap(), -7);
        let problem = place("losses", &write("losses", ["x"]), number).unwrap_err();
        assert!(problem.to_string().starts_with("`cursor` is none of this API"), "{problem}");
    }
}
