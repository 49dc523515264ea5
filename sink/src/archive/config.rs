//! The archive in the configuration: `[archive]`, `[archive.s3]`, `[archive.merge]`.
//!
//! In: the tables. Out: [`ArchiveConfig`], checked. What can go wrong: no place or two, a bucket or an endpoint that is
//! none, HTTP without TLS that nobody asked for; [`ArchiveConfig::check`] says what to do.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use weir_models::config::SecretRef;

use super::CloseAt;
use crate::hooks::config::Url;

/// Longest wait for an answer of an S3 store, in seconds.
const TIMEOUT_S_MAX: u64 = 600;
/// Most bytes of a merged object: it is in memory while it is made.
const TARGET_BYTES_MAX: u64 = 1 << 30;

/// Where the raw data goes, `[archive]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// Folder; it is made when it is not there.
    pub path: Option<PathBuf>,
    /// A bucket in place of the folder.
    pub s3: Option<S3Config>,
    /// How small objects become larger ones.
    #[serde(default)]
    pub merge: MergeConfig,
    /// An object is closed so many seconds after its first row. Offsets are committed when objects
    /// are closed, so this is also how much comes again after a crash.
    #[serde(default = "default_close_after_s")]
    pub close_after_s: u64,
    /// An object is closed at so many rows.
    #[serde(default = "default_close_rows")]
    pub close_rows: u64,
    /// An object is closed at about so many bytes.
    #[serde(default = "default_close_bytes")]
    pub close_bytes: usize,
    /// Memory for all objects that are open or on their way; the largest are closed early when it is
    /// used up.
    #[serde(default = "default_memory_bytes")]
    pub memory_bytes: usize,
}

/// A bucket of an S3-compatible store, `[archive.s3]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// Where the store is, `https://HOST:PORT`; default: Amazon's address of the region.
    pub endpoint: Option<Url>,
    /// The bucket; it has to be there.
    pub bucket: String,
    /// Folder in the bucket; default: the bucket as a whole.
    #[serde(default)]
    pub prefix: String,
    /// Region.
    #[serde(default = "default_region")]
    pub region: String,
    /// Where the id of the access key is.
    pub access_key: SecretRef,
    /// Where the secret of the access key is.
    pub secret_key: SecretRef,
    /// Whether the bucket stands in the path of an address, not in its host name.
    #[serde(default = "default_path_style")]
    pub path_style: bool,
    /// Whether an endpoint without TLS is taken. Events then travel in the clear.
    #[serde(default)]
    pub allow_http: bool,
    /// PEM file of the authorities to trust; default: the system's.
    pub ca_file: Option<String>,
    /// Seconds for which an answer is waited for; a body has a second more for each 256 KiB.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
}

/// How small objects become larger ones, `[archive.merge]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MergeConfig {
    /// Whether the running sink merges by itself. `weir-sink archive merge` does so in any case.
    pub enabled: bool,
    /// Hours after which an hour is merged that is over.
    pub after_hours: u32,
    /// A merged object has about so many bytes at most; objects of half as many stay as they are.
    pub target_bytes: u64,
}

impl Default for MergeConfig {
    fn default() -> Self {
        Self { enabled: false, after_hours: 2, target_bytes: 64 * 1024 * 1024 }
    }
}

fn default_close_after_s() -> u64 {
    60
}

fn default_close_rows() -> u64 {
    1_000_000
}

fn default_close_bytes() -> usize {
    64 * 1024 * 1024
}

fn default_memory_bytes() -> usize {
    128 * 1024 * 1024
}

fn default_region() -> String {
    "us-east-1".into()
}

fn default_path_style() -> bool {
    true
}

fn default_timeout_s() -> u64 {
    30
}

impl ArchiveConfig {
    /// An archive in a folder, all else by default.
    #[must_use]
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self {
            path: Some(path.into()),
            s3: None,
            merge: MergeConfig::default(),
            close_after_s: default_close_after_s(),
            close_rows: default_close_rows(),
            close_bytes: default_close_bytes(),
            memory_bytes: default_memory_bytes(),
        }
    }

    /// When an object is closed.
    #[must_use]
    pub fn close_at(&self) -> CloseAt {
        CloseAt {
            age: Duration::from_secs(self.close_after_s),
            rows: self.close_rows,
            bytes: self.close_bytes,
        }
    }

    /// Checks what no type can say.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), (String, &'static str)> {
        let wrong = |message: &str, hint| Err((message.to_owned(), hint));
        if self.path.is_some() == self.s3.is_some() {
            return wrong(
                "there has to be one archive",
                "give either `archive.path` or `[archive.s3]` with `bucket`, `access_key` and `secret_key`",
            );
        }
        let target = self.merge.target_bytes;
        if !(1 << 20..=TARGET_BYTES_MAX).contains(&target) {
            return wrong(
                &format!("`archive.merge.target_bytes` is {target}"),
                "take 1048576 to 1073741824; leave it out for the default",
            );
        }
        if self.merge.after_hours == 0 {
            return wrong(
                "`archive.merge.after_hours` is 0: objects of the hour would still be written",
                "take 1 or more",
            );
        }
        self.s3.as_ref().map_or(Ok(()), S3Config::check)
    }
}

impl S3Config {
    fn check(&self) -> Result<(), (String, &'static str)> {
        let wrong = |message: String, hint| Err((message, hint));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if self.bucket.is_empty() || !self.bucket.chars().all(is_name) {
            return wrong(
                format!("`archive.s3.bucket` is `{}`", self.bucket),
                "give the name of the bucket alone: letters, digits, `-`, `.`, `_`",
            );
        }
        if let Some(endpoint) = &self.endpoint {
            if !endpoint.is_tls && !self.allow_http {
                return wrong(
                    format!("`archive.s3.endpoint` ({}) has no TLS", endpoint.authority),
                    "take https, or set `archive.s3.allow_http = true`: events then travel in the clear",
                );
            }
            if !matches!(&*endpoint.path, "" | "/") {
                return wrong(
                    "`archive.s3.endpoint` has a path".into(),
                    "give `https://HOST:PORT` alone; a folder in the bucket is `prefix`",
                );
            }
        }
        if !(1..=TIMEOUT_S_MAX).contains(&self.timeout_s) {
            let message = format!("`archive.s3.timeout_s` is {}", self.timeout_s);
            return wrong(message, "take 1 to 600; leave it out for the default");
        }
        Ok(())
    }

    /// The address of the store, with the bucket in the name of its host where that is asked for.
    pub(super) fn endpoint(&self) -> Option<String> {
        let endpoint = self.endpoint.as_ref()?;
        let scheme = if endpoint.is_tls { "https" } else { "http" };
        let authority = &endpoint.authority;
        Some(if self.path_style {
            format!("{scheme}://{authority}")
        } else {
            format!("{scheme}://{}.{authority}", self.bucket)
        })
    }
}
