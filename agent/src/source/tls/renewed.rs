//! The settings of a listening source, made anew when their files change.
//!
//! In: the files. Out: settings for the next connection. Promises: files that cannot be used leave the
//! old settings in force, with a warning a change. Renewals replace several files one after the other,
//! so that certificate and key do not fit for a moment: the next look finds them complete.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::Gauge;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use weir_models::metric;
use weir_models::time::now_us;

use super::{Config, FileError, certificate, client, material};

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So long before its end a certificate is warned about, in seconds.
const WARN_BEFORE_S: i64 = 14 * 24 * 3_600;

/// Tells one content of the files from another: changed when, how long, which inode.
type Stamps = Vec<Option<(i64, i64, u64, u64)>>;

/// Settings that follow their files.
#[derive(Debug)]
pub(super) struct Renewed {
    name: Arc<str>,
    config: Config,
    expires: Gauge,
    last: Mutex<Last>,
}

struct Last {
    settings: Arc<ServerConfig>,
    stamps: Stamps,
    looked: Instant,
}

impl std::fmt::Debug for Last {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Last").field("stamps", &self.stamps).finish_non_exhaustive()
    }
}

impl Renewed {
    /// Reads the files of the source `name`.
    ///
    /// # Errors
    /// Names the file and what to do.
    pub(super) fn new(name: &str, config: &Config) -> Result<Self, FileError> {
        let expires =
            metrics::gauge!(metric::AGENT_CERTIFICATE_EXPIRES.name, "source" => name.to_owned());
        let stamps = stamps(config);
        let settings = load(name, config, &expires)?;
        let last = Mutex::new(Last { settings, stamps, looked: Instant::now() });
        Ok(Self { name: name.into(), config: config.clone(), expires, last })
    }

    /// The settings for a connection now.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current_at(Instant::now())
    }

    fn current_at(&self, now: Instant) -> Arc<ServerConfig> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(last.looked) >= LOOK_EVERY {
            last.looked = now;
            let stamps = stamps(&self.config);
            if stamps != last.stamps {
                last.stamps = stamps;
                match load(&self.name, &self.config, &self.expires) {
                    Ok(settings) => {
                        last.settings = settings;
                        tracing::info!(source = %self.name, "took the changed certificate");
                    }
                    Err(error) => {
                        tracing::warn!(source = %self.name, %error, "the changed certificate cannot be used; the one before stays in force");
                    }
                }
            }
        }
        Arc::clone(&last.settings)
    }
}

fn stamps(config: &Config) -> Stamps {
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
    };
    let files = [Some(&config.cert_file), Some(&config.key_file), config.client_ca_file.as_ref()];
    files.into_iter().flatten().map(|path| stamp(path)).collect()
}

fn load(name: &str, config: &Config, expires: &Gauge) -> Result<Arc<ServerConfig>, FileError> {
    let chain = material::certificates("cert_file", &config.cert_file)?;
    let key = material::private_key("key_file", &config.key_file)?;
    let own = chain.first().and_then(|der| certificate::read(der));
    let provider = client::provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| material::refused("cert_file", &config.cert_file, error))?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(material::authorities("client_ca_file", path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| material::refused("client_ca_file", path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let settings = builder
        .with_single_cert(chain, key)
        .map_err(|error| material::pair_refused(&config.cert_file, &config.key_file, &error))?;
    if let Some(own) = own {
        tell_end(name, config, &own, expires);
    }
    Ok(Arc::new(settings))
}

/// Says until when the certificate is valid.
fn tell_end(name: &str, config: &Config, own: &certificate::Certificate, expires: &Gauge) {
    #[expect(clippy::cast_precision_loss, reason = "seconds are exact in a double")]
    expires.set(own.expires_s as f64);
    let left_s = own.expires_s - now_us() / 1_000_000;
    let file = config.cert_file.display();
    if left_s <= 0 {
        tracing::error!(source = name, %file, certificate = own.name, expired_s_ago = -left_s, "the certificate has expired and senders will refuse it: renew it, or set this machine's clock; no restart is needed");
    } else if left_s < WARN_BEFORE_S {
        tracing::warn!(source = name, %file, certificate = own.name, days_left = left_s / 86_400, "the certificate expires soon: renew it; no restart is needed");
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::tests::Authority;
    use super::*;

    #[test]
    fn changed_files_count_and_broken_ones_do_not() {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let config = authority.server(folder.path());
        let renewed = Renewed::new("t", &config).unwrap();
        let begin = Instant::now();
        let first = renewed.current_at(begin);
        let later = |n: u32| renewed.current_at(begin + n * (LOOK_EVERY + Duration::from_secs(1)));
        assert!(Arc::ptr_eq(&later(1), &first));

        // A renewal in the middle: the certificate is new, the key is not.
        let next = tempfile::tempdir().unwrap();
        let renewal = authority.server(next.path());
        fs::rename(&renewal.cert_file, &config.cert_file).unwrap();
        assert!(Arc::ptr_eq(&later(2), &first));
        fs::rename(&renewal.key_file, &config.key_file).unwrap();
        let second = later(3);
        assert!(!Arc::ptr_eq(&second, &first));
        assert!(Arc::ptr_eq(&later(4), &second));

        fs::remove_file(&config.key_file).unwrap();
        assert!(Arc::ptr_eq(&later(5), &second));
    }
}
