//! Failure: what an error of the driver means for us, and trying again.
//!
//! In: errors of the driver. Out: whether the same call may work later, by itself or once a person has granted
//! something, with a text that says what to do. Promises: a write that timed out is never taken as done; whatever is not surely
//! permanent is tried again, with waits that grow and are drawn at random, for a bounded time. What
//! can go wrong: the time is over ([`StoreError::Retry`]; the caller decides how long to go on).

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use scylla::errors::{
    BadQuery, DbError, ExecutionError, NextPageError, NextRowError, PagerExecutionError,
    PrepareError, RequestAttemptError,
};
use tokio::time::Instant;

use crate::store::StoreError;

/// How long one write is tried before the caller is told.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How long one read is tried: somebody waits for the answer.
pub(super) const READ_PATIENCE: Duration = Duration::from_secs(3);
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Whether the same call may work later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Soon, by itself.
    Passing,
    /// Once a person has set something right at the store; told at once.
    Refused,
    /// Never.
    Lasting,
}

/// One failed try.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl Failure {
    /// Also a node that is going down or coming up: the reader is told where to look all the same.
    pub(super) fn passing(error: &impl Display) -> Self {
        let look = "check that the nodes of `[store.cassandra]` run and the network to them";
        Self { kind: Kind::Passing, message: format!("{error}; {look}") }
    }

    pub(super) fn lasting(error: &impl Display) -> Self {
        Self { kind: Kind::Lasting, message: error.to_string() }
    }

    fn refused(message: String) -> Self {
        Self { kind: Kind::Refused, message }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            Kind::Passing => Self::Retry(failure.message),
            Kind::Refused => Self::Refused(failure.message),
            Kind::Lasting => Self::Fatal(failure.message),
        }
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        match &error {
            ExecutionError::LastAttemptError(attempt) => attempt.into(),
            ExecutionError::PrepareError(prepare) => prepare.into(),
            ExecutionError::BadQuery(bad) => bad.into(),
            // No node can be asked just now, or none answered in time.
            _ => Self::passing(&format!("no node of Cassandra answers: {error}")),
        }
    }
}

impl From<&BadQuery> for Failure {
    fn from(error: &BadQuery) -> Self {
        Self::lasting(&format!("a row does not fit the schema: {error}"))
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        (&error).into()
    }
}

impl From<&PrepareError> for Failure {
    fn from(error: &PrepareError) -> Self {
        match error {
            PrepareError::AllAttemptsFailed { first_attempt } => first_attempt.into(),
            _ => Self::passing(error),
        }
    }
}

impl From<PagerExecutionError> for Failure {
    fn from(error: PagerExecutionError) -> Self {
        match &error {
            PagerExecutionError::PrepareError(prepare) => prepare.into(),
            PagerExecutionError::NextPageError(page) => page.into(),
            PagerExecutionError::SerializationError(_) => Self::lasting(&error),
            _ => Self::passing(&error),
        }
    }
}

impl From<NextRowError> for Failure {
    fn from(error: NextRowError) -> Self {
        match &error {
            NextRowError::NextPageError(page) => page.into(),
            _ => Self::lasting(&format!("a stored row is not what this version expects: {error}")),
        }
    }
}

impl From<&NextPageError> for Failure {
    fn from(error: &NextPageError) -> Self {
        match error {
            NextPageError::RequestFailure(request) => request.clone().into_execution_error().into(),
            _ => Self::lasting(&format!("a stored row is not what this version expects: {error}")),
        }
    }
}

impl From<&RequestAttemptError> for Failure {
    fn from(error: &RequestAttemptError) -> Self {
        let RequestAttemptError::DbError(kind, message) = error else {
            return Self::passing(error);
        };
        match kind {
            DbError::Invalid if unknown_schema(message) => Self::lasting(&format!(
                "the schema is not what this version needs ({message}): run `weir-sink migrate`"
            )),
            DbError::Unauthorized => Self::refused(format!(
                "Cassandra refuses this user: {message}; grant it SELECT and MODIFY on the \
                 keyspace (and CREATE and ALTER for `weir-sink migrate`)"
            )),
            DbError::AuthenticationError => {
                Self::refused(format!("Cassandra refuses user or password: {message}"))
            }
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::ConfigError
            | DbError::AlreadyExists { .. }
            | DbError::FunctionFailure { .. }
            | DbError::ProtocolError => Self::lasting(&format!(
                "Cassandra refuses the statement: {message}; look into the log of the node"
            )),
            // Overloaded, unavailable, starting, timed out: nothing is known to be done.
            _ => Self::passing(error),
        }
    }
}

fn unknown_schema(message: &str) -> bool {
    let message = message.to_lowercase();
    ["unconfigured table", "does not exist", "undefined column", "unknown identifier"]
        .iter()
        .any(|part| message.contains(part))
}

/// Tries `operation` until it works, fails for good, or `patience` is over.
pub(super) async fn persist<T, F, R>(
    what: &'static str,
    patience: Duration,
    operation: F,
) -> Result<T, StoreError>
where
    F: Fn() -> R,
    R: Future<Output = Result<T, Failure>>,
{
    let mut tries = Tries::new(what, patience);
    loop {
        match operation().await {
            Ok(value) => return Ok(value),
            Err(failure) => tries.failed(failure).await?,
        }
    }
}

/// The tries of one request, from now on.
#[derive(Debug)]
pub(super) struct Tries {
    what: &'static str,
    started: Instant,
    waits: Waits,
}

impl Tries {
    pub(super) fn new(what: &'static str, patience: Duration) -> Self {
        Self { what, started: Instant::now(), waits: Waits::within(patience) }
    }

    /// A try has failed: waits until the next one is due.
    ///
    /// # Errors
    /// There is none: it failed for good, or the time is over.
    pub(super) async fn failed(&mut self, failure: Failure) -> Result<(), StoreError> {
        let wait = self.waits.next(self.started.elapsed());
        let Some(wait) = wait.filter(|_| failure.kind == Kind::Passing) else {
            return Err(failure.into());
        };
        let (what, wait_ms, error) = (self.what, wait.as_millis(), &failure.message);
        tracing::warn!(what, wait_ms, error, "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// The waits between tries: growing, drawn, and none that would end after the time is over.
#[derive(Debug)]
struct Waits {
    patience: Duration,
    wait: Duration,
}

impl Waits {
    fn within(patience: Duration) -> Self {
        Self { patience, wait: WAIT_FIRST }
    }

    fn next(&mut self, elapsed: Duration) -> Option<Duration> {
        let wait = jittered(self.wait);
        self.wait = (self.wait * 2).min(WAIT_MAX);
        (elapsed + wait < self.patience).then_some(wait)
    }
}

/// Between half of `wait` and all of it, so that many writers do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let draw = getrandom::u32().unwrap_or(u32::MAX);
    wait / 2 + (wait / 2).mul_f64(f64::from(draw) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use scylla::errors::WriteType;
    use scylla::statement::Consistency;

    use super::*;

    fn answer(kind: DbError, message: &str) -> Failure {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(kind, message.into())).into()
    }

    #[test]
    fn a_timed_out_write_is_passing_and_a_missing_table_is_not() {
        let timeout = DbError::WriteTimeout {
            consistency: Consistency::LocalQuorum,
            received: 1,
            required: 2,
            write_type: WriteType::UnloggedBatch,
        };
        assert_eq!(answer(timeout, "").kind, Kind::Passing);
        assert_eq!(answer(DbError::Overloaded, "").kind, Kind::Passing);
        assert_eq!(Failure::from(ExecutionError::RequestTimeout(WAIT_MAX)).kind, Kind::Passing);
        assert_eq!(Failure::from(ExecutionError::EmptyPlan).kind, Kind::Passing);
        let closing = Failure::from(ExecutionError::LastAttemptError(
            RequestAttemptError::UnableToAllocStreamId,
        ));
        assert!(closing.message.contains("store.cassandra"), "{}", closing.message);
        let missing = answer(DbError::Invalid, "unconfigured table readings");
        assert_eq!(missing.kind, Kind::Lasting);
        assert!(missing.message.contains("weir-sink migrate"), "{}", missing.message);
        let refused = answer(DbError::Unauthorized, "User x has no MODIFY permission");
        assert_eq!(refused.kind, Kind::Refused);
        assert!(refused.message.contains("grant"), "{}", refused.message);
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_what_lasts_is_not() {
        let tries = AtomicU32::new(0);
        let result =
            persist("test", WRITE_PATIENCE, async || match tries.fetch_add(1, Ordering::Relaxed) {
                0..2 => Err(Failure::passing(&"busy")),
                _ => Ok(7),
            });
        assert!(matches!(result.await, Ok(7)));
        assert_eq!(tries.into_inner(), 3);
        let tries = AtomicU32::new(0);
        let wrong = persist("test", WRITE_PATIENCE, async || {
            tries.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(Failure::lasting(&"wrong"))
        });
        assert!(matches!(wrong.await, Err(StoreError::Fatal(_))));
        assert_eq!(tries.into_inner(), 1);
        let busy =
            persist("test", Duration::ZERO, async || Err::<(), _>(Failure::passing(&"busy")));
        assert!(matches!(busy.await, Err(StoreError::Retry(_))));
    }

    #[test]
    fn waits_grow_and_end_with_the_patience() {
        let mut waits = Waits::within(WRITE_PATIENCE);
        let mut elapsed = Duration::ZERO;
        let mut count = 0;
        while let Some(wait) = waits.next(elapsed) {
            elapsed += wait;
            count += 1;
        }
        assert!(elapsed < WRITE_PATIENCE && elapsed > WRITE_PATIENCE / 2);
        assert!((8..25).contains(&count), "{count}");
    }

    #[test]
    fn waits_are_drawn_between_half_and_all() {
        for _ in 0..100 {
            let wait = jittered(WAIT_MAX);
            assert!(wait >= WAIT_MAX / 2 && wait <= WAIT_MAX);
        }
    }
}
