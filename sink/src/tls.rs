//! TLS as a client: whom to trust, and who we are.
//!
//! In: PEM files. Out: what rustls needs of them. Promises: one cryptography (ring) for all that the sink does with
//! rustls, whatever else is compiled in. What can go wrong: a file is not there or is no PEM; the message names it
//! and says what it has to be.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

/// The cryptography of the sink.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A client of TLS 1.2 and 1.3.
pub(crate) fn client() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))
}

/// A client that trusts the authorities of `ca_file`, or those of the system, and shows no certificate.
pub(crate) fn trust(ca_file: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    Ok(Arc::new(client()?.with_root_certificates(roots(ca_file)?).with_no_client_auth()))
}

/// A client that trusts nobody: for who speaks without TLS.
pub(crate) fn nobody() -> Result<Arc<ClientConfig>, String> {
    Ok(Arc::new(client()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()))
}

/// The authorities of `ca_file`, or those of the system.
pub(crate) fn roots(ca_file: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() {
            Err("the system has no authorities to trust: give `ca_file`, or install the package `ca-certificates`".into())
        } else {
            Ok(roots)
        };
    };
    for certificate in certificates("ca_file", file)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("cannot use `ca_file` `{file}`: {error}"))?;
    }
    Ok(roots)
}

/// The client, with the certificate that it shows when both files are given.
#[cfg(feature = "cassandra-tls")]
pub(crate) fn identified(
    client: ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
    cert_file: Option<&str>,
    key_file: Option<&str>,
) -> Result<ClientConfig, String> {
    let (certificate, key) = match (cert_file, key_file) {
        (None, None) => return Ok(client.with_no_client_auth()),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => return Err("`cert_file` and `key_file` belong together: give both or none".into()),
    };
    let chain = certificates("cert_file", certificate)?;
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(key).map_err(|error| {
        format!("cannot use `key_file` `{key}`: {error}; it has to be PEM with an unencrypted private key")
    })?;
    let shown = client.with_client_auth_cert(chain, key);
    shown.map_err(|error| format!("`cert_file` and `key_file` do not fit together: {error}"))
}

fn certificates(key: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |why: String| format!("cannot use `{key}` `{file}`: {why}");
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("there is no certificate in it, it has to be PEM".into()));
    }
    Ok(certificates)
}
