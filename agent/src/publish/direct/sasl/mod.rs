//! Who we are: the client's side of SASL, as messages.
//!
//! In: mechanism, user, secret, and what the broker says. Out: what to say next. Pure. PLAIN is
//! RFC 4616, SCRAM RFC 5802 and 7677 (`scram`), OAUTHBEARER RFC 7628. Promises: a broker that does not
//! know the password itself cannot pass for ours with SCRAM; no secret is in any error.

mod scram;

use weir_models::config::Secret;
use weir_models::kafka::SaslMechanism;

use scram::{Hash, Scram};

/// What comes after a message of the broker.
pub(super) enum Step {
    /// Say this.
    Send(Vec<u8>),
    /// It is done: the broker believes us, and we the broker.
    Done,
}

/// A conversation in one mechanism.
pub(super) enum Exchange {
    /// User and password in one message.
    Plain { message: Vec<u8> },
    /// A token in one message.
    Bearer { message: Vec<u8> },
    /// Both sides prove that they know the password.
    Scram(Box<Scram>),
}

/// As it goes over the wire.
pub(super) fn mechanism_name(mechanism: SaslMechanism) -> &'static str {
    match mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        SaslMechanism::OauthBearer => "OAUTHBEARER",
    }
}

impl Exchange {
    /// Begins a conversation.
    ///
    /// # Errors
    /// When user or secret cannot be sent in this mechanism.
    pub(super) fn new(
        mechanism: SaslMechanism,
        username: &str,
        secret: &Secret,
    ) -> Result<Self, String> {
        let secret = secret.expose();
        if secret.is_empty() {
            return Err("the password or token is empty".into());
        }
        match mechanism {
            SaslMechanism::Plain => {
                if username.contains('\0') || secret.contains('\0') {
                    return Err("user and password must not contain a zero byte".into());
                }
                Ok(Self::Plain { message: format!("\0{username}\0{secret}").into_bytes() })
            }
            SaslMechanism::OauthBearer => {
                // RFC 6750, b64token: anything else would end the message early.
                let is_token =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
                if !secret.bytes().all(is_token) {
                    return Err(
                        "the token is not one of RFC 6750: letters, digits and `-._~+/=`".into()
                    );
                }
                let message = format!("n,,\x01auth=Bearer {secret}\x01\x01").into_bytes();
                Ok(Self::Bearer { message })
            }
            SaslMechanism::ScramSha256 => {
                Ok(Self::Scram(Box::new(Scram::new(Hash::Sha256, username, secret)?)))
            }
            SaslMechanism::ScramSha512 => {
                Ok(Self::Scram(Box::new(Scram::new(Hash::Sha512, username, secret)?)))
            }
        }
    }

    /// The first message.
    pub(super) fn first(&mut self) -> Vec<u8> {
        match self {
            Self::Plain { message } | Self::Bearer { message } => std::mem::take(message),
            Self::Scram(scram) => scram.first(),
        }
    }

    /// What to say to what the broker said.
    ///
    /// # Errors
    /// When the broker does not keep to the mechanism, or is not who it claims to be.
    pub(super) fn next(&mut self, said: &[u8]) -> Result<Step, String> {
        match self {
            Self::Plain { .. } => Ok(Step::Done),
            Self::Bearer { .. } if said.is_empty() => Ok(Step::Done),
            // An error as JSON; the broker closes the matter when it has our answer (RFC 7628, 3.2.3).
            Self::Bearer { .. } => Ok(Step::Send(vec![1])),
            Self::Scram(scram) => scram.next(said),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn exchange(mechanism: SaslMechanism, user: &str, secret: &str) -> Result<Exchange, String> {
        Exchange::new(mechanism, user, &Secret::new(secret))
    }

    #[test]
    fn plain_is_one_message() {
        let mut plain = exchange(SaslMechanism::Plain, "tim", "tanstaaftanstaaf").unwrap();
        assert_eq!(plain.first(), b"\0tim\0tanstaaftanstaaf");
        assert!(matches!(plain.next(b""), Ok(Step::Done)));
        assert!(exchange(SaslMechanism::Plain, "t\0im", "x").is_err());
    }

    #[test]
    fn bearer_is_one_message_and_an_empty_answer_to_an_error() {
        let mut bearer =
            exchange(SaslMechanism::OauthBearer, "", "vF9dft4qmTc2Nvb3RlckBh==").unwrap();
        assert_eq!(bearer.first(), b"n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBh==\x01\x01");
        assert!(matches!(bearer.next(b""), Ok(Step::Done)));
        let said = br#"{"status":"invalid_token"}"#;
        assert!(matches!(bearer.next(said), Ok(Step::Send(next)) if next == [1]));
        assert!(exchange(SaslMechanism::OauthBearer, "", "a\x01b").is_err());
    }

    #[test]
    fn an_empty_secret_is_refused_before_it_is_sent() {
        assert!(exchange(SaslMechanism::Plain, "tim", "").is_err());
        assert!(exchange(SaslMechanism::ScramSha256, "tim", "").is_err());
    }
}
