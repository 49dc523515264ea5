//! The forms a stamp is written in. In: text at whose begin a stamp may stand. Out: the stamp and
//! the count of bytes it takes. A stamp must end where a word ends (space, colon, end of text);
//! what only looks like one is no stamp.

use super::{DAY_S, Stamp, days_in_month, year_of_day};
use crate::parse::zone::read_offset;

/// Reads a stamp of any form at the begin of the text.
#[inline]
pub(crate) fn read(text: &str) -> Option<(Stamp, usize)> {
    let bytes = text.as_bytes();
    match *bytes.first()? {
        b'0'..=b'9' => {
            let (stamp, end) = read_iso(bytes)
                .or_else(|| read_day_or_year_first(bytes))
                .or_else(|| read_american(bytes))
                .or_else(|| read_colons(bytes))
                .or_else(|| read_epoch(bytes))?;
            ends_word(bytes, end).then_some((stamp, end))
        }
        b'A'..=b'Z' | b'a'..=b'z' => {
            let (stamp, end) = read_month_first(bytes)?;
            ends_word(bytes, end).then_some((stamp, end))
        }
        _ => None,
    }
}

fn ends_word(bytes: &[u8], end: usize) -> bool {
    matches!(bytes.get(end), None | Some(b' ' | b':' | b'\t'))
}

/// `Mmm d hh:mm:ss` and its kin.
fn read_month_first(bytes: &[u8]) -> Option<(Stamp, usize)> {
    let (month, at) = match read_month(bytes, 0) {
        Some(month) => (month, 3),
        // A weekday (`Sun Oct 11 …`), with or without comma.
        None => {
            weekday(bytes.get(..3)?)?;
            let at = skip_spaces(bytes, 3 + usize::from(bytes.get(3) == Some(&b',')));
            (read_month(bytes, at)?, at + 3)
        }
    };
    if bytes.get(at) != Some(&b' ') {
        return None;
    }
    let (day, at) = read_number(bytes, skip_spaces(bytes, at), 1, 2)?;
    if bytes.get(at) != Some(&b' ') {
        return None;
    }
    let mut at = skip_spaces(bytes, at);
    let mut year = None;
    if let Some((stated, end)) = read_year(bytes, at) {
        year = Some(stated);
        at = skip_spaces(bytes, end);
    }
    let (second_of_day, micros, at) = read_time(bytes, at)?;
    // H3C: `hh:mm:ss:mmm yyyy`.
    if bytes.get(at) == Some(&b':')
        && let Some((millis, end)) = read_number(bytes, at + 1, 3, 3)
        && bytes.get(end) == Some(&b' ')
        && read_year(bytes, end + 1).is_some()
    {
        return finish(year, month, day, second_of_day, millis * 1_000, bytes, end);
    }
    finish(year, month, day, second_of_day, micros, bytes, at)
}

/// `yyyy Mmm d hh:mm:ss` or `d Mmm yyyy hh:mm:ss`, with spaces or hyphens between.
fn read_day_or_year_first(bytes: &[u8]) -> Option<(Stamp, usize)> {
    let gap =
        |at: usize| matches!(bytes.get(at), Some(b' ' | b'-')).then(|| skip_spaces(bytes, at + 1));
    let (year, month, day, at) = if let Some((year, at)) = read_year(bytes, 0) {
        let at = gap(at)?;
        let month = read_month(bytes, at)?;
        let (day, at) = read_number(bytes, gap(at + 3)?, 1, 2)?;
        (Some(year), month, day, gap(at)?)
    } else {
        let (day, at) = read_number(bytes, 0, 1, 2)?;
        let at = gap(at)?;
        let month = read_month(bytes, at)?;
        let at = gap(at + 3)?;
        match read_year(bytes, at) {
            Some((year, at)) => (Some(year), month, day, gap(at)?),
            None => (None, month, day, at),
        }
    };
    let (second_of_day, micros, at) = read_time(bytes, at)?;
    finish(year, month, day, second_of_day, micros, bytes, at)
}

/// Zone and year that may stand after the time, and the check of the date.
#[inline]
fn finish(
    year: Option<i32>,
    month: u8,
    day: u32,
    second_of_day: u32,
    micros: u32,
    bytes: &[u8],
    at: usize,
) -> Option<(Stamp, usize)> {
    let mut stamp =
        Stamp { year, month, day: u8::try_from(day).ok()?, second_of_day, micros, offset_s: None };
    let mut end = at;
    if let Some((offset_s, zone_end)) = read_zone_after(bytes, end) {
        stamp.offset_s = Some(offset_s);
        end = zone_end;
    }
    if stamp.year.is_none()
        && bytes.get(end) == Some(&b' ')
        && let Some((year, year_end)) = read_year(bytes, end + 1)
    {
        stamp.year = Some(year);
        end = year_end;
        if stamp.offset_s.is_none()
            && let Some((offset_s, zone_end)) = read_zone_after(bytes, end)
        {
            stamp.offset_s = Some(offset_s);
            end = zone_end;
        }
    }
    (stamp.day >= 1 && stamp.day <= days_in_month(stamp.year, month)).then_some((stamp, end))
}

/// `yyyy-mm-ddThh:mm:ss` with fraction and zone, of RFC 3339 and the looser ones of ISO 8601.
#[inline]
pub(crate) fn read_iso(bytes: &[u8]) -> Option<(Stamp, usize)> {
    let separator = *bytes.get(4)?;
    if !matches!(separator, b'-' | b'/') || bytes.get(7) != Some(&separator) {
        return None;
    }
    let (year, _) = read_number(bytes, 0, 4, 4)?;
    let (month, _) = read_number(bytes, 5, 2, 2)?;
    let (day, _) = read_number(bytes, 8, 2, 2)?;
    if !matches!(bytes.get(10), Some(b'T' | b't' | b' ')) || !(1..=12).contains(&month) {
        return None;
    }
    let (second_of_day, micros, mut at) = read_time(bytes, 11)?;
    let month = u8::try_from(month).ok()?;
    let mut stamp = Stamp {
        year: i32::try_from(year).ok(),
        month,
        day: u8::try_from(day).ok()?,
        second_of_day,
        micros,
        offset_s: None,
    };
    match bytes.get(at) {
        Some(b'Z' | b'z') => {
            stamp.offset_s = Some(0);
            at += 1;
        }
        Some(b'+' | b'-') => {
            let (offset_s, length) = read_offset(&bytes[at..])?;
            stamp.offset_s = Some(offset_s);
            at += length;
        }
        _ => {
            if let Some((offset_s, end)) = read_zone_after(bytes, at) {
                stamp.offset_s = Some(offset_s);
                at = end;
            }
        }
    }
    (stamp.day >= 1 && stamp.day <= days_in_month(stamp.year, month)).then_some((stamp, at))
}

/// `mm/dd/yyyy:hh:mm:ss`, as NetScaler sends it.
fn read_american(bytes: &[u8]) -> Option<(Stamp, usize)> {
    let slashes = bytes.get(2) == Some(&b'/') && bytes.get(5) == Some(&b'/');
    if !slashes || !matches!(bytes.get(10), Some(b':' | b' ')) {
        return None;
    }
    let (month, _) = read_number(bytes, 0, 2, 2)?;
    let (day, _) = read_number(bytes, 3, 2, 2)?;
    let (year, _) = read_number(bytes, 6, 4, 4)?;
    let (second_of_day, micros, at) = read_time(bytes, 11)?;
    let month = u8::try_from(month).ok().filter(|month| (1..=12).contains(month))?;
    finish(i32::try_from(year).ok(), month, day, second_of_day, micros, bytes, at)
}

/// `yyyy:mm:dd-hh:mm:ss`, as Sophos UTM sends it.
fn read_colons(bytes: &[u8]) -> Option<(Stamp, usize)> {
    if bytes.get(4) != Some(&b':') || bytes.get(7) != Some(&b':') || bytes.get(10) != Some(&b'-') {
        return None;
    }
    let (year, _) = read_number(bytes, 0, 4, 4)?;
    let (month, _) = read_number(bytes, 5, 2, 2)?;
    let (day, _) = read_number(bytes, 8, 2, 2)?;
    let (second_of_day, micros, at) = read_time(bytes, 11)?;
    let month = u8::try_from(month).ok().filter(|month| (1..=12).contains(month))?;
    finish(i32::try_from(year).ok(), month, day, second_of_day, micros, bytes, at)
}

/// Ten digits of epoch seconds with a fraction or not, as Meraki devices send them.
fn read_epoch(bytes: &[u8]) -> Option<(Stamp, usize)> {
    let (seconds, at) = read_number(bytes, 0, 10, 10)?;
    let (micros, at) = read_fraction(bytes, at);
    let days = i64::from(seconds) / DAY_S;
    let year = i32::try_from(year_of_day(days)).ok()?;
    let mut day_of_year =
        u32::try_from(days - super::days_from_civil(i64::from(year), 1, 1)).ok()?;
    let mut month = 1;
    while day_of_year >= u32::from(days_in_month(Some(year), month)) {
        day_of_year -= u32::from(days_in_month(Some(year), month));
        month += 1;
    }
    let day = u8::try_from(day_of_year + 1).ok()?;
    let second_of_day = u32::try_from(i64::from(seconds) % DAY_S).ok()?;
    Some((Stamp { year: Some(year), month, day, second_of_day, micros, offset_s: Some(0) }, at))
}

/// `h:mm:ss` with a fraction after point or comma: second of the day, microseconds, end.
#[inline]
fn read_time(bytes: &[u8], at: usize) -> Option<(u32, u32, usize)> {
    let (hour, at) = read_number(bytes, at, 1, 2)?;
    let (minute, minute_end) = read_number(bytes, at + 1, 2, 2)?;
    let (second, end) = read_number(bytes, minute_end + 1, 2, 2)?;
    let colons = bytes.get(at) == Some(&b':') && bytes.get(minute_end) == Some(&b':');
    // 60 is a leap second.
    if !colons || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (micros, end) = read_fraction(bytes, end);
    Some((hour * 3600 + minute * 60 + second, micros, end))
}

/// The first six digits after a point or comma, in microseconds; further digits are cut.
#[inline]
fn read_fraction(bytes: &[u8], at: usize) -> (u32, usize) {
    if !matches!(bytes.get(at), Some(b'.' | b',')) {
        return (0, at);
    }
    let (mut micros, mut place, mut end) = (0, 100_000, at + 1);
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        micros += u32::from(digit - b'0') * place;
        place /= 10;
        end += 1;
    }
    if end == at + 1 { (0, at) } else { (micros, end) }
}

/// Offset or zone name after a stamp, with or without a space before it. An offset must be whole
/// (`+02:00`, `+0200`) where a space precedes it; a name must be known and end there.
#[inline]
fn read_zone_after(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let spaced = bytes.get(at) == Some(&b' ');
    let at = at + usize::from(spaced);
    match *bytes.get(at)? {
        b'+' | b'-' => {
            let (offset_s, length) = read_offset(&bytes[at..])?;
            ((length >= 5 || !spaced) && ends_word(bytes, at + length))
                .then_some((offset_s, at + length))
        }
        b'Z' if !spaced => ends_word(bytes, at + 1).then_some((0, at + 1)),
        b'A'..=b'Z' => {
            let length = bytes[at..].iter().take(6).take_while(|b| b.is_ascii_uppercase()).count();
            let end = at + length;
            // `TZ-6`, of RFC 3164's fourth example; POSIX would turn the sign round, the RFC's text does not say.
            if &bytes[at..end] == b"TZ" {
                let (offset_s, length) = read_offset(&bytes[end..])?;
                return ends_word(bytes, end + length).then_some((offset_s, end + length));
            }
            if !ends_word(bytes, end) {
                return None;
            }
            Some((zone_of_name(&bytes[at..end])?, end))
        }
        _ => None,
    }
}

/// Offsets of the zone names devices print. Where a name means several zones, the one that network
/// devices' manuals use: `CST` and the other American names, `BST` British, `IST` Indian.
fn zone_of_name(name: &[u8]) -> Option<i32> {
    let minutes: i32 = match name {
        b"UTC" | b"GMT" | b"WET" => 0,
        b"BST" | b"WEST" | b"CET" | b"MEZ" | b"MET" => 60,
        b"CEST" | b"MESZ" | b"MEST" | b"EET" | b"SAST" => 120,
        b"EEST" | b"MSK" | b"IDT" => 180,
        b"IST" => 330,
        b"WIB" | b"ICT" => 420,
        b"HKT" | b"SGT" | b"AWST" => 480,
        b"JST" | b"KST" => 540,
        b"ACST" => 570,
        b"AEST" => 600,
        b"ACDT" => 630,
        b"AEDT" => 660,
        b"NZST" => 720,
        b"NZDT" => 780,
        b"BRT" => -180,
        b"ADT" => -180,
        b"AST" | b"EDT" => -240,
        b"EST" | b"CDT" => -300,
        b"CST" | b"MDT" => -360,
        b"MST" | b"PDT" => -420,
        b"PST" | b"AKDT" => -480,
        b"AKST" => -540,
        b"HST" => -600,
        _ => return None,
    };
    Some(minutes * 60)
}

/// A number of at least `min` and at most `max` digits that is not followed by a further digit.
#[inline]
fn read_number(bytes: &[u8], at: usize, min: usize, max: usize) -> Option<(u32, usize)> {
    let mut number = 0_u32;
    let mut end = at;
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        if end - at == max {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
        end += 1;
    }
    (end - at >= min).then_some((number, end))
}

/// Four digits of a year that devices may print: 1970 to 2199, so that an app or host `1234` is none.
fn read_year(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    if !matches!(bytes.get(at), Some(b'1' | b'2')) {
        return None;
    }
    let (year, end) = read_number(bytes, at, 4, 4)?;
    // A colon within a word is that of an IPv6 address.
    let word_ends = match bytes.get(end) {
        None | Some(b' ' | b'-') => true,
        Some(b':') => matches!(bytes.get(end + 1), None | Some(b' ')),
        Some(_) => false,
    };
    ((1970..2200).contains(&year) && word_ends).then_some((i32::try_from(year).ok()?, end))
}

#[inline]
fn read_month(bytes: &[u8], at: usize) -> Option<u8> {
    let &[a, b, c] = bytes.get(at..at + 3)? else {
        return None;
    };
    Some(match [a | 32, b | 32, c | 32].as_ref() {
        b"jan" => 1,
        b"feb" => 2,
        b"mar" => 3,
        b"apr" => 4,
        b"may" => 5,
        b"jun" => 6,
        b"jul" => 7,
        b"aug" => 8,
        b"sep" => 9,
        b"oct" => 10,
        b"nov" => 11,
        b"dec" => 12,
        _ => return None,
    })
}

fn weekday(name: &[u8]) -> Option<()> {
    [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"]
        .iter()
        .any(|day| name.eq_ignore_ascii_case(*day))
        .then_some(())
}

fn skip_spaces(bytes: &[u8], at: usize) -> usize {
    at + bytes.get(at..).unwrap_or(&[]).iter().take_while(|&&b| b == b' ').count()
}
