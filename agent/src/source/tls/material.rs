//! Certificates and keys from files.
//!
//! In: paths. Out: what rustls takes, or a [`FileError`] that says what to do about the file.

use std::fs;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// No file of certificates that is meant as one is larger, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file that cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("`{key}` {}: {}", path.display(), read_advice(error))]
    Read {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// No certificate is in it.
    #[error("`{key}` {} has no certificate; it has to be PEM, with `-----BEGIN CERTIFICATE-----`", path.display())]
    NoCertificate {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// No key is in it.
    #[error("`{key}` {} has no private key that can be read; it has to be PEM and without a password (`openssl pkey -in OLD -out NEW` takes a password away)", path.display())]
    NoKey {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Key and certificate are not of one pair.
    #[error("`key_file` {} does not belong to the first certificate of `cert_file` {}; `openssl pkey -pubout -in` the one and `openssl x509 -noout -pubkey -in` the other have to say the same", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The library takes something else amiss.
    #[error("`{key}` {}: {error}", path.display())]
    Refused {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the library said.
        error: String,
    },
    /// The system has no authorities.
    #[error(
        "this system has no certificates of authorities; install `ca-certificates`, or set `tls.ca_file`"
    )]
    NoAuthorities,
}

fn read_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such file; put it there, or correct the path".into()
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not read it; change its owner, group or mode".into()
        }
        _ => error.to_string(),
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let file =
        fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    file.map_err(|error| FileError::Read { key, path: path.into(), error })?;
    Ok(bytes)
}

/// All certificates of a file, in their order; at least one.
pub(super) fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(FileError::NoCertificate { key, path: path.into() }),
    }
}

/// The first key of a file.
pub(super) fn private_key(
    key: &'static str,
    path: &Path,
) -> Result<PrivateKeyDer<'static>, FileError> {
    let bytes = read(key, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| FileError::NoKey { key, path: path.into() })
}

/// The authorities of a file; at least one.
pub(super) fn authorities(key: &'static str, path: &Path) -> Result<RootCertStore, FileError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        store.add(certificate).map_err(|error| refused(key, path, error))?;
    }
    Ok(store)
}

/// What the library said about a file.
pub(super) fn refused(key: &'static str, path: &Path, error: impl std::fmt::Display) -> FileError {
    FileError::Refused { key, path: path.into(), error: error.to_string() }
}

/// What the library said about a pair of certificate and key.
pub(super) fn pair_refused(cert: &Path, key: &Path, error: &rustls::Error) -> FileError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            FileError::Mismatch { cert: cert.into(), key: key.into() }
        }
        _ => refused("cert_file", cert, error),
    }
}
