//! S3: the archive in a bucket of an S3-compatible store.
//!
//! In: `[archive.s3]`. Out: an object store below the bucket's prefix. Promises: no key shows itself, in no log, no
//! error and no `Debug`; HTTP without TLS only where the configuration says so (`config` checks it); every wait has a limit.
//! What can go wrong: a secret or a `ca_file` that cannot be read; what the store answers is a [`Failure`].

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use self::client::Client;
use super::ArchiveError;
use super::config::S3Config;
use crate::config::fetch;
use crate::tls;

mod client;
mod failure;

pub(crate) use failure::Failure;

/// Larger objects are sent in parts of this size. S3 wants 5 MiB at least.
pub(super) const PART_BYTES: usize = 8 * 1024 * 1024;
/// For this long a command tries again; the sink has a back-off of its own.
const COMMANDS_TRY_FOR: Duration = Duration::from_secs(30);

/// How often a request is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tries {
    /// Once: whoever asks tries again, and says what is wrong meanwhile.
    Once,
    /// Some times, over half a minute.
    Some,
}

impl Tries {
    fn config(self) -> RetryConfig {
        let max_retries = match self {
            Self::Once => 0,
            Self::Some => 6,
        };
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            base: 3.0,
        };
        RetryConfig { backoff, max_retries, retry_timeout: COMMANDS_TRY_FOR }
    }
}

/// The store that the configuration names. Reaches nobody yet.
pub(super) fn open(config: &S3Config, tries: Tries) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
    let setup = |key| move |why| ArchiveError::Setup { key, why };
    let secret = |key, place| {
        let found = fetch(Some(place)).map_err(setup(key))?;
        found.ok_or_else(|| setup(key)("it is missing".into()))
    };
    let access_key = secret("archive.s3.access_key", &config.access_key)?;
    let secret_key = secret("archive.s3.secret_key", &config.secret_key)?;
    let is_tls = config.endpoint.as_ref().is_none_or(|endpoint| endpoint.is_tls);
    let tls = if is_tls { tls::trust(config.ca_file.as_deref()) } else { tls::nobody() };
    let tls = tls.map_err(setup("archive.s3.ca_file"))?;
    let client = Client::new(&tls, Duration::from_secs(config.timeout_s));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_access_key_id(access_key.expose())
        .with_secret_access_key(secret_key.expose())
        .with_virtual_hosted_style_request(!config.path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Not all stores can delete many at once.
        .with_disable_bulk_delete(true)
        .with_retry(tries.config())
        .with_http_connector(client);
    if let Some(endpoint) = config.endpoint() {
        builder = builder.with_endpoint(endpoint);
    }
    let store = builder.build().map_err(|error| setup("archive.s3")(error.to_string()))?;
    let prefix = Path::from(&*config.prefix);
    Ok(if prefix.as_ref().is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, prefix))
    })
}

#[cfg(test)]
mod tests;
