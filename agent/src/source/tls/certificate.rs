//! What a certificate says of itself: whose it is, and until when.
//!
//! In: DER (RFC 5280, section 4.1). Out: name and end, or nothing where it is no certificate. Pure.
//! Only for logs and metrics: nobody is let in by what is read here. That is the library's.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
/// `[0]`: the version, in front of the serial number.
const VERSION: u8 = 0xa0;
/// `[3]`: the extensions.
const EXTENSIONS: u8 = 0xa3;
/// `[2]` of a general name: a DNS name.
const DNS_NAME: u8 = 0x82;
/// 2.5.4.3, the common name.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// 2.5.29.17, other names of the subject.
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];

/// What is told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The common name, or else the first DNS name, or else nothing.
    pub(super) name: String,
    /// The last second it is valid, since the Unix epoch.
    pub(super) expires_s: i64,
}

/// Reads a certificate.
pub(super) fn read(der: &[u8]) -> Option<Certificate> {
    let mut signed = Der(Der(der).expect(SEQUENCE)?);
    let mut body = Der(signed.expect(SEQUENCE)?);
    let (mut tag, _) = body.next()?;
    if tag == VERSION {
        (tag, _) = body.next()?;
    }
    let is_serial_number = tag == 0x02;
    let _algorithm = body.expect(SEQUENCE).filter(|_| is_serial_number)?;
    let _issuer = body.expect(SEQUENCE)?;
    let mut validity = Der(body.expect(SEQUENCE)?);
    let _begins = validity.next()?;
    let (tag, end) = validity.next()?;
    let expires_s = seconds(tag, end)?;
    let subject = body.expect(SEQUENCE)?;
    let _public_key = body.expect(SEQUENCE)?;
    let name = common_name(subject).or_else(|| dns_name(body)).unwrap_or_default();
    Some(Certificate { name: String::from_utf8_lossy(name).into_owned(), expires_s })
}

/// The last common name of a distinguished name, which is the most specific.
fn common_name(subject: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let mut parts = Der(subject);
    while let Some(part) = parts.expect(SET) {
        let mut pair = Der(Der(part).expect(SEQUENCE)?);
        if pair.expect(OBJECT_IDENTIFIER)? == COMMON_NAME {
            found = Some(pair.next()?.1);
        }
    }
    found
}

/// The first DNS name among the extensions, which are somewhere in what is left.
fn dns_name(mut rest: Der<'_>) -> Option<&[u8]> {
    let extensions = std::iter::from_fn(|| rest.next()).find(|(tag, _)| *tag == EXTENSIONS)?.1;
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    while let Some(extension) = extensions.expect(SEQUENCE) {
        let mut extension = Der(extension);
        if extension.expect(OBJECT_IDENTIFIER)? == ALTERNATIVE_NAMES {
            let mut value = std::iter::from_fn(|| extension.next());
            let names = value.find(|(tag, _)| *tag == OCTET_STRING)?.1;
            let mut names = Der(Der(names).expect(SEQUENCE)?);
            return std::iter::from_fn(|| names.next())
                .find(|(tag, _)| *tag == DNS_NAME)
                .map(|(_, name)| name);
        }
    }
    None
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` as seconds since the Unix epoch.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year_digits, length) = match tag {
        UTC_TIME => (2, 12),
        GENERALIZED_TIME => (4, 14),
        _ => return None,
    };
    if digits.len() != length || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: i16 = digits[..year_digits].parse().ok()?;
    let year = match (tag, year) {
        (UTC_TIME, 50..) => year + 1900,
        (UTC_TIME, _) => year + 2000,
        _ => year,
    };
    let part = |n: usize| digits[year_digits + 2 * n..year_digits + 2 * n + 2].parse::<i8>().ok();
    let time = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// A run of DER elements.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let digits = usize::from(first & 0x7f);
            // No certificate has more than 16 MiB.
            if digits == 0 || digits > 3 {
                return None;
            }
            let (digits, rest) = rest.split_at_checked(digits)?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element if it has this tag; else nothing is taken.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = Der(self.0);
        let (_, content) = ahead.next().filter(|(found, _)| *found == tag)?;
        self.0 = ahead.0;
        Some(content)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["gw.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[track_caller]
    fn check(der: &[u8], name: &str, expires: &str) {
        let expires_s = expires.parse::<jiff::Timestamp>().unwrap().as_second();
        assert_eq!(read(der), Some(Certificate { name: name.into(), expires_s }));
    }

    #[test]
    fn name_and_end_are_read() {
        let der = made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Plant");
            params.distinguished_name.push(DnType::CommonName, "Pumpe Süd");
            params.not_after = date_time_ymd(2049, 12, 31);
        });
        check(&der, "Pumpe Süd", "2049-12-31T00:00:00Z");
        // From 2050 on the time is written in another way.
        let der = made(|params| params.not_after = date_time_ymd(2050, 1, 1));
        check(&der, "gw.example", "2050-01-01T00:00:00Z");
        let der = made(|params| {
            params.subject_alt_names.clear();
            params.not_after = date_time_ymd(2001, 2, 3);
        });
        check(&der, "", "2001-02-03T00:00:00Z");
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(cut in 0..400usize, at in 0..400usize, flip in 1..=255u8) {
            let mut der = made(|_| {});
            prop_assert_eq!(read(&der[..cut.min(der.len() - 1)]), None);
            let at = at % der.len();
            der[at] ^= flip;
            let _ = read(&der);
        }

        #[test]
        fn nor_does_noise(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&noise);
        }
    }
}
