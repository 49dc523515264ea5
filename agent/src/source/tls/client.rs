//! The settings of a source that connects.
//!
//! In: the files of [`ClientConfig`]. Out: settings that verify the server's certificate and its name,
//! always. The caller makes them anew at each try to connect, so renewals count without a restart.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig as Settings, RootCertStore};

use super::{ClientConfig, FileError, material};

/// The algorithms.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes the settings of `config`.
///
/// # Errors
/// Names the file and what to do.
pub(in super::super) fn client(config: &ClientConfig) -> Result<Settings, FileError> {
    let roots = match &config.ca_file {
        Some(path) => material::authorities("ca_file", path)?,
        None => system_authorities()?,
    };
    let builder = Settings::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|_| FileError::NoAuthorities)?
        .with_root_certificates(roots);
    let (Some(cert_file), Some(key_file)) = (&config.cert_file, &config.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = material::certificates("cert_file", cert_file)?;
    let key = material::private_key("key_file", key_file)?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| material::pair_refused(cert_file, key_file, &error))
}

fn system_authorities() -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a certificate of the system cannot be read");
    }
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 { Err(FileError::NoAuthorities) } else { Ok(roots) }
}
