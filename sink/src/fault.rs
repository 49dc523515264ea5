//! Fault: places where a test ends the sink as a power cut would.
//!
//! In: [`VARIABLE`] in the environment: the name of a point, and after an `@` the passing that is the last one, counted
//! from 1, as `store:after@3`. Out: SIGKILL to the process itself. Promises: a build without debug assertions, as every
//! build for use is, has none of it. What can go wrong: a name that is no point is told, and nothing happens.

/// The variable that is looked at.
pub const VARIABLE: &str = "WEIR_SINK_FAULT";

/// A place between two things of which one may be safe and the other not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Records were polled, nothing was done with them.
    Taken,
    /// Rows are about to be written to the store.
    StoreBefore,
    /// The store has confirmed all rows, nobody knows it yet.
    StoreAfter,
    /// An object is about to be written.
    ObjectBefore,
    /// The object is in the archive, its manifest is not.
    ObjectAfter,
    /// The manifest is there too, no offset is committed.
    ManifestAfter,
    /// Store and archive have everything below the offsets, which are about to be committed.
    CommitBefore,
    /// Kafka has the offsets.
    CommitAfter,
    /// The duplicate memory of a partition was read back.
    Restored,
    /// Partitions are to be let go.
    HandoverBefore,
    /// They were let go, others may have them.
    HandoverAfter,
    /// A mark is forgotten; what it stands for is not sealed.
    SealBefore,
    /// A part is in the store, no seal lists it.
    PartAfter,
    /// The seal lists it, its owner still lists the mark.
    SealAfter,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Taken,
        Self::StoreBefore,
        Self::StoreAfter,
        Self::ObjectBefore,
        Self::ObjectAfter,
        Self::ManifestAfter,
        Self::CommitBefore,
        Self::CommitAfter,
        Self::Restored,
        Self::HandoverBefore,
        Self::HandoverAfter,
        Self::SealBefore,
        Self::PartAfter,
        Self::SealAfter,
    ];

    /// As it is written in the variable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::StoreBefore => "store:before",
            Self::StoreAfter => "store:after",
            Self::ObjectBefore => "object:before",
            Self::ObjectAfter => "object:after",
            Self::ManifestAfter => "manifest:after",
            Self::CommitBefore => "commit:before",
            Self::CommitAfter => "commit:after",
            Self::Restored => "restored",
            Self::HandoverBefore => "handover:before",
            Self::HandoverAfter => "handover:after",
            Self::SealBefore => "seal:before",
            Self::PartAfter => "part:after",
            Self::SealAfter => "seal:after",
        }
    }
}

/// A point is passed: the last thing that happens, if it is the one that is asked for.
#[cfg(debug_assertions)]
pub(crate) fn passed(point: Point) {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{LazyLock, OnceLock};

    static ASKED: LazyLock<Option<(Point, u64)>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let asked = parse(&text);
        if asked.is_none() {
            tracing::error!("{VARIABLE}: `{text}` is no point and number: nothing will happen");
        }
        asked
    });
    static LEFT: OnceLock<AtomicU64> = OnceLock::new();

    if let Some((_, times)) = ASKED.filter(|(asked, _)| *asked == point) {
        let left = LEFT.get_or_init(|| AtomicU64::new(times)).fetch_sub(1, Ordering::Relaxed);
        if left == 1 {
            // It has no answer: this is the end.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    }
}

/// In builds for use nothing happens here.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) const fn passed(_: Point) {}

#[cfg(debug_assertions)]
fn parse(text: &str) -> Option<(Point, u64)> {
    let (name, times) = text.split_once('@')?;
    let point = Point::ALL.into_iter().find(|point| point.name() == name)?;
    Some((point, times.parse().ok().filter(|times| *times > 0)?))
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_its_number() {
        for point in Point::ALL {
            assert_eq!(parse(&format!("{}@7", point.name())), Some((point, 7)));
        }
        for text in ["", "store:after", "store:after@0", "store:after@x", "store@1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
