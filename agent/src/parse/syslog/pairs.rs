//! Firewalls that send nothing but `name=value` pairs (FortiGate, Sophos, SonicWall): the header is
//! among the pairs.
//!
//! In: what follows the PRI and begins with a pair. Out: `true` with time and host, or `false` where
//! the first pairs do not tell date and time. The pairs stay the message as they are.

use super::{Context, Dialect, Syslog};
use crate::parse::stamp;

/// Date, time, zone and name are among the first of them.
const MOST_PAIRS: usize = 24;
const LONGEST_NAME: usize = 32;

/// What of the pairs belongs to a header.
#[derive(Default)]
struct Found<'a> {
    date: Option<&'a str>,
    time: Option<&'a str>,
    zone: Option<&'a str>,
    host: Option<&'a str>,
}

/// Reads the pairs, if date and time are among them.
pub(super) fn read<'a>(out: &mut Syslog<'a>, text: &'a str, context: &Context<'_>) -> bool {
    let found = find(text);
    let Some(written) = found.stamp() else {
        return false;
    };
    let Some((stamp, _)) = stamp::read(&written) else {
        return false;
    };
    out.set_stamp(&stamp, context);
    out.host = found.host.and_then(|host| out.field(host, context.limits));
    out.message = text;
    out.dialect = Dialect::Pairs;
    true
}

fn find(text: &str) -> Found<'_> {
    let mut found = Found::default();
    let mut rest = text;
    for _ in 0..MOST_PAIRS {
        let Some((name, value, after)) = pair(rest) else {
            break;
        };
        let field = match name {
            "date" => &mut found.date,
            "time" => &mut found.time,
            "tz" | "timezone" => &mut found.zone,
            "devname" | "device_name" | "fw" => &mut found.host,
            _ => {
                rest = after;
                continue;
            }
        };
        field.get_or_insert(value);
        rest = after;
    }
    found
}

/// The first pair, and what follows it and the separator. Values stand in quotes or end at a space
/// or comma.
fn pair(text: &str) -> Option<(&str, &str, &str)> {
    let equals = super::super::prefix(text, LONGEST_NAME + 1).find('=')?;
    let (name, rest) = (&text[..equals], &text[equals + 1..]);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) {
        return None;
    }
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => rest.split_at(rest.find([' ', ',']).unwrap_or(rest.len())),
    };
    Some((name, value, rest.trim_start_matches([' ', ','])))
}

impl Found<'_> {
    /// Date, time and zone, as the reader of stamps knows them.
    fn stamp(&self) -> Option<String> {
        let time = self.time?;
        let Some(date) = self.date else {
            // SonicWall: both in one.
            return time.contains('-').then(|| time.to_owned());
        };
        let zone = self.zone.unwrap_or_default();
        let zone = zone.strip_prefix("UTC").filter(|zone| !zone.is_empty()).unwrap_or(zone);
        let between = if zone.starts_with(['+', '-']) { "" } else { " " };
        Some(format!("{date} {time}{between}{zone}"))
    }
}
