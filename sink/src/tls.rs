//! TLS: whom the sink trusts when it reaches out over HTTP.
//!
//! In: a PEM file of authorities, or none for those of the system. Out: rustls' configuration of a client, by
//! ring. What can go wrong: the file cannot be read or holds no certificate, the system has no authorities.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Trusts the authorities of `ca_file`, or those of the system.
///
/// # Errors
/// What is wrong with the file, or what the system is missing.
pub(crate) fn trust(ca_file: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = ca_file {
        let failed = |why: String| format!("cannot use `ca_file` `{file}`: {why}");
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
        let certificates: Vec<_> = read.map_err(|error| failed(error.to_string()))?;
        for certificate in certificates {
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(failed("there is no certificate in it, it has to be PEM".into()));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("the system has no authorities to trust: give `ca_file`, or install the package `ca-certificates`".into());
        }
    }
    client(roots)
}

/// Trusts nobody: for who speaks without TLS.
///
/// # Errors
/// Only where rustls was built without any version of TLS.
pub(crate) fn nobody() -> Result<Arc<ClientConfig>, String> {
    client(RootCertStore::empty())
}

fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
