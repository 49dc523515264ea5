//! Failure: what an S3 store answers when it does not do as asked, and what to do.
//!
//! In: a status and the XML of an answer, or why there was none. Out: [`Failure`], whose text says what to do.
//! Only code and message of an answer are shown: the rest may hold parts of a signature.

use std::time::Duration;

/// How much of a message is shown.
const SHOWN_CHARS: usize = 200;

/// Why a request to an S3 store came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// It answers, and refuses.
    #[error("{place} answers {status}{}{}", told(code, message), hint(*status, code))]
    Refused {
        /// Host and port.
        place: String,
        /// Status of HTTP.
        status: u16,
        /// S3's code; empty where the answer has none.
        code: String,
        /// What it says to people.
        message: String,
    },
    /// No connection.
    #[error(
        "{place} cannot be reached: {why}; check `archive.s3.endpoint`, its `ca_file`, the network"
    )]
    Unreached {
        /// Host and port.
        place: String,
        /// Why.
        why: String,
    },
    /// No answer in time.
    #[error("no answer from {place} within {within:?}; it is tried again (`archive.s3.timeout_s`)")]
    Late {
        /// Host and port.
        place: String,
        /// How long was waited.
        within: Duration,
    },
    /// The connection broke.
    #[error("the connection to {place} broke: {why}; it is tried again")]
    Broken {
        /// Host and port.
        place: String,
        /// Why.
        why: String,
    },
}

impl Failure {
    /// What a refusing answer says.
    pub(super) fn refused(place: &str, status: u16, body: &str) -> Self {
        let of = |tag: &str| {
            let (_, rest) = body.split_once(&format!("<{tag}>"))?;
            rest.split_once(&format!("</{tag}>")).map(|(text, _)| shown(text))
        };
        let (code, message) = (of("Code").unwrap_or_default(), of("Message").unwrap_or_default());
        Self::Refused { place: place.into(), status, code, message }
    }

    /// Whether waiting may help.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { status: 501, .. } => false,
            Self::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 409 | 429),
            Self::Unreached { .. } | Self::Late { .. } | Self::Broken { .. } => true,
        }
    }

    /// Whether the store does not know such a request.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Refused { status: 501, .. })
    }
}

fn shown(text: &str) -> String {
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    text.take(SHOWN_CHARS).collect::<String>().trim().to_owned()
}

fn told(code: &str, message: &str) -> String {
    match (code, message) {
        ("", _) => String::new(),
        (code, "") => format!(" {code}"),
        (code, message) => format!(" {code} ({})", message.trim_end_matches('.')),
    }
}

fn hint(status: u16, code: &str) -> &'static str {
    match code {
        "InvalidAccessKeyId" => "; check `archive.s3.access_key`",
        "SignatureDoesNotMatch" => "; check `archive.s3.secret_key` and `region`",
        "RequestTimeTooSkewed" => "; set the clock of this machine right",
        "NoSuchBucket" => "; make the bucket, or check `archive.s3.bucket` and `endpoint`",
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "InvalidRegion" => "; check `archive.s3.region` and `endpoint`",
        "SlowDown" | "TooManyRequests" => "; it is busy, the sink goes on by itself",
        _ if status == 507 || code.contains("Full") || code.contains("Quota") => {
            "; make room or raise the quota of the bucket, the sink goes on by itself"
        }
        _ => match status {
            401 | 403 => {
                "; let this key list, read, write and delete in the bucket, below `archive.s3.prefix`"
            }
            404 => "; check `archive.s3.endpoint`, `bucket` and `path_style`",
            300..=399 => "; check `archive.s3.region` and `endpoint`",
            501 => "; this store cannot do it, check `[archive.s3]`",
            409 | 429 => "; it is busy, the sink goes on by itself",
            500.. => "; the sink goes on by itself when the store works again",
            _ => "; check `[archive.s3]`",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> String {
        Failure::refused("s3:9000", status, body).to_string()
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>No\nmatch.</Message>\
                   <StringToSign>AWS4</StringToSign></Error>";
        assert_eq!(
            said(403, xml),
            "s3:9000 answers 403 SignatureDoesNotMatch (No match); check `archive.s3.secret_key` and `region`"
        );
        for (status, code, hint) in [
            (403, "InvalidAccessKeyId", "`archive.s3.access_key`"),
            (403, "AccessDenied", "let this key list"),
            (404, "NoSuchBucket", "make the bucket"),
            (301, "PermanentRedirect", "`archive.s3.region`"),
            (503, "SlowDown", "it is busy"),
            (503, "ServiceUnavailable", "goes on by itself when"),
            (507, "XMinioStorageFull", "make room"),
            (409, "OperationAborted", "it is busy"),
            (501, "NotImplemented", "cannot do it"),
            (400, "QuotaExceeded", "raise the quota"),
            (400, "InvalidArgument", "check `[archive.s3]`"),
        ] {
            let told = said(status, &format!("<Error><Code>{code}</Code></Error>"));
            assert!(told.starts_with(&format!("s3:9000 answers {status} {code}; ")), "{told}");
            assert!(told.contains(hint), "{told}");
        }
        assert_eq!(
            said(404, "<html>lost</html>"),
            "s3:9000 answers 404; check `archive.s3.endpoint`, `bucket` and `path_style`"
        );
    }

    #[test]
    fn only_what_may_pass_is_waited_for() {
        let is = |status| Failure::refused("s3", status, "").is_temporary();
        assert!([500, 503, 507, 429, 408, 409].into_iter().all(is));
        assert!(![301, 400, 401, 403, 404, 501].into_iter().any(is));
    }
}
