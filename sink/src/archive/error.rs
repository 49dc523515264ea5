//! Error: the archive does not do as asked, and what to do about it.
//!
//! In: what the object store's library says. Out: a text that names the path, the cause and the remedy; and
//! whether waiting may help.

use super::s3::Failure;

/// The archive target does not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A folder or an object store refuses, or does not answer.
    #[error("cannot {what} `{path}` in the archive: {}", why(source))]
    Target {
        /// What was to be done.
        what: &'static str,
        /// The object, or the folder.
        path: String,
        /// Why not.
        source: object_store::Error,
    },
    /// What the configuration says of it cannot be used.
    #[error("`{key}`: {why}")]
    Setup {
        /// Which key of the configuration.
        key: &'static str,
        /// Why, and what to do.
        why: String,
    },
}

impl ArchiveError {
    pub(super) fn of(what: &'static str, path: &str) -> impl Fn(object_store::Error) -> Self {
        move |source| Self::Target { what, path: path.into(), source }
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Target { source: object_store::Error::NotFound { .. }, .. })
    }

    /// Whether the target cannot do such a thing.
    pub(super) fn is_unsupported(&self) -> bool {
        let Self::Target { source, .. } = self else {
            return false;
        };
        let by_library = matches!(
            source,
            object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }
        );
        by_library || cause::<Failure>(source).is_some_and(Failure::is_unsupported)
    }

    /// Whether it may go away by itself: an object store that is away, busy or full. What is wrong with a
    /// folder, a key or a bucket wants a person.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        let Self::Target { source, .. } = self else {
            return false;
        };
        cause::<Failure>(source).is_some_and(Failure::is_temporary)
    }
}

/// The first cause of this type.
fn cause<T: std::error::Error + 'static>(error: &object_store::Error) -> Option<&T> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The cause and what to do. Without what the library adds of tries and times: the same cause has to give the same
/// text, which is logged once.
fn why(error: &object_store::Error) -> String {
    if let Some(failure) = cause::<Failure>(error) {
        return failure.to_string();
    }
    let hint = cause::<std::io::Error>(error).map_or("", |io| match io.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "; make room on its disk, the sink goes on by itself"
        }
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "; let the sink's user write to the folder `[archive] path`"
        }
        std::io::ErrorKind::NotADirectory => "; `[archive] path` has to be a folder",
        std::io::ErrorKind::NotFound => "; check `[archive] path`",
        _ => "",
    });
    format!("{error}{hint}")
}
