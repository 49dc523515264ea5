//! Sign: the signature of a webhook, by Standard Webhooks 1.0.0 (<https://www.standardwebhooks.com>).
//!
//! In: an id, a time, a body. Out: the value of `webhook-signature`: `v1,` and the base64 of the HMAC-SHA256
//! of `id.time.body`. Pure. Promises: the secret does not show itself. What can go wrong: a secret that
//! is not base64 of 24 to 64 bytes, which the specification asks for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use weir_models::config::Secret;

/// Marks a secret as one for symmetric signatures.
const PREFIX: &str = "whsec_";
const KEY_BYTES_MIN: usize = 24;
const KEY_BYTES_MAX: usize = 64;

/// Signs with one secret.
pub(super) struct Signer(hmac::Key);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<signer>")
    }
}

impl Signer {
    /// Takes a secret as the specification writes it: base64, with or without `whsec_` in front.
    ///
    /// # Errors
    /// What a secret has to be; never shows it.
    pub(super) fn new(secret: &Secret) -> Result<Self, String> {
        let text = secret.expose();
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        let wanted = "a secret is the base64 of 24 to 64 random bytes with `whsec_` in front; make one: \
                      echo whsec_$(openssl rand -base64 32)";
        let bytes = STANDARD.decode(text).map_err(|_| format!("not base64: {wanted}"))?;
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()) {
            return Err(format!("it has {} bytes: {wanted}", bytes.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The signature of a `body` sent at `time_s`, seconds since the Unix epoch.
    pub(super) fn sign(&self, id: &str, time_s: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{time_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// An id as a header may carry it. The specification allows no `.` in it, because that separates what is
/// signed; our own ids have none.
pub(super) fn header_id(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && c != '.' { c } else { '_' };
    id.chars().map(plain).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// The secret and the message with which the libraries of the specification test themselves.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_vector_of_the_specification_comes_out() {
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        for secret in [SECRET, SECRET.strip_prefix(PREFIX).unwrap()] {
            let signer = Signer::new(&Secret::new(secret)).unwrap();
            let body = br#"{"test": 2432232314}"#;
            let signed = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
            assert_eq!(signed, expected);
        }
    }

    #[test]
    fn a_secret_that_is_none_is_refused_without_being_shown() {
        for (secret, expected) in [
            ("whsec_hunter2-hunter2!", "not base64"),
            ("whsec_aHVudGVyMg==", "it has 7 bytes"),
            ("", "it has 0 bytes"),
        ] {
            let told = Signer::new(&Secret::new(secret)).unwrap_err();
            assert!(told.starts_with(expected), "{told}");
            assert!(!told.contains("unter2") && !told.contains("aHVud"), "{told}");
        }
        let signer = Signer::new(&Secret::new(SECRET)).unwrap();
        assert_eq!(format!("{signer:?}"), "<signer>");
    }

    #[test]
    fn an_id_has_no_full_stop() {
        assert_eq!(header_id("00ab/firing"), "00ab/firing");
        assert_eq!(header_id("a.1\nü b"), "a_1___b");
    }
}
