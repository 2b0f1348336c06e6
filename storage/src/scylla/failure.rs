//! What the driver's errors mean: whether the server answered, and whether what was asked may have happened.

use std::fmt::Display;

use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError, WriteType};

use super::query::Kind;
use crate::StoreError;

/// An error in the port's terms. A read has no effect, so its outcome is never unknown.
pub(super) fn store_error(error: &ExecutionError, kind: Kind) -> StoreError {
    let text = error.to_string();
    match kind {
        Kind::Read | Kind::SerialRead => StoreError::Unavailable(text),
        Kind::Write | Kind::Cas if had_no_effect(error, kind) => StoreError::Unavailable(text),
        Kind::Write | Kind::Cas => StoreError::Unknown(text),
    }
}

/// An error of a statement about the schema, which is carried out beside the breaker.
pub(super) fn refused(error: impl Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// Whether asking once more may help: the request may have reached a server that is going away.
pub(super) fn is_passing(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::BrokenConnectionError(_)) => true,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => matches!(
            error,
            DbError::Unavailable { .. }
                | DbError::Overloaded
                | DbError::IsBootstrapping
                | DbError::WriteTimeout { .. }
                | DbError::ReadTimeout { .. }
                | DbError::ServerError
        ),
        _ => false,
    }
}

/// What an error tells of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// They work.
    Answer,
    /// One of them went away; what the others do is not told.
    LostConnection,
    /// They don't answer, or can't do what they should.
    Silence,
}

/// What an error tells of the servers.
pub(super) fn sign(error: &ExecutionError) -> Sign {
    match error {
        ExecutionError::BadQuery(_) => Sign::Answer,
        ExecutionError::LastAttemptError(RequestAttemptError::BrokenConnectionError(_)) => {
            Sign::LostConnection
        }
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _))
        | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed {
            first_attempt: RequestAttemptError::DbError(error, _),
        }) => match error {
            // Many that write one partition make each other wait, which says nothing of the servers.
            DbError::WriteTimeout { write_type: WriteType::Cas, .. } => Sign::Answer,
            DbError::ReadTimeout { consistency, .. } if consistency.is_serial() => Sign::Answer,
            DbError::WriteTimeout { .. }
            | DbError::ReadTimeout { .. }
            | DbError::Unavailable { .. }
            | DbError::IsBootstrapping
            | DbError::Overloaded => Sign::Silence,
            _ => Sign::Answer,
        },
        _ => Sign::Silence,
    }
}

/// Whether the request was certainly not carried out, not even in part. In doubt it was.
fn had_no_effect(error: &ExecutionError, kind: Kind) -> bool {
    match error {
        ExecutionError::BadQuery(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(_)
        // Writes are not retried by the driver, so nothing was sent before either.
        | ExecutionError::ConnectionPoolError(_) => true,
        ExecutionError::LastAttemptError(error) => match error {
            RequestAttemptError::SerializationError(_)
            | RequestAttemptError::CqlRequestSerialization(_)
            | RequestAttemptError::UnableToAllocStreamId => true,
            RequestAttemptError::DbError(error, _) => was_refused(error, kind),
            _ => false,
        },
        _ => false,
    }
}

fn was_refused(error: &DbError, kind: Kind) -> bool {
    match error {
        DbError::SyntaxError
        | DbError::Invalid
        | DbError::AlreadyExists { .. }
        | DbError::FunctionFailure { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ConfigError
        | DbError::IsBootstrapping
        | DbError::Unprepared { .. }
        | DbError::ProtocolError => true,
        // A compare-and-set has several rounds: servers that were there in the first may be gone in the last.
        DbError::Unavailable { .. } | DbError::Overloaded => kind == Kind::Write,
        DbError::RateLimitReached { rejected_by_coordinator, .. } => *rejected_by_coordinator,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scylla::errors::BrokenConnectionErrorKind;
    use scylla::statement::Consistency;

    use super::*;

    fn answered(error: DbError) -> ExecutionError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, String::new()))
    }

    fn write_timeout(write_type: WriteType) -> ExecutionError {
        let consistency = Consistency::LocalQuorum;
        answered(DbError::WriteTimeout { consistency, received: 1, required: 2, write_type })
    }

    fn few_alive() -> ExecutionError {
        answered(DbError::Unavailable { consistency: Consistency::LocalQuorum, required: 2, alive: 1 })
    }

    #[test]
    fn in_doubt_a_write_may_have_happened() {
        let timeout = || ExecutionError::RequestTimeout(Duration::from_secs(5));
        for error in [timeout(), write_timeout(WriteType::Simple), write_timeout(WriteType::Cas)] {
            for kind in [Kind::Write, Kind::Cas] {
                assert!(matches!(store_error(&error, kind), StoreError::Unknown(_)), "{error}");
            }
            assert!(matches!(store_error(&error, Kind::Read), StoreError::Unavailable(_)));
        }
        let overloaded = answered(DbError::Overloaded);
        assert!(matches!(store_error(&overloaded, Kind::Write), StoreError::Unavailable(_)));
        assert!(
            matches!(store_error(&overloaded, Kind::Cas), StoreError::Unknown(_)),
            "also behind an accepted proposal"
        );
        assert!(matches!(store_error(&few_alive(), Kind::Write), StoreError::Unavailable(_)));
        assert!(matches!(store_error(&few_alive(), Kind::Cas), StoreError::Unknown(_)));
    }

    #[test]
    fn contention_is_an_answer_and_silence_is_none() {
        let lost = RequestAttemptError::BrokenConnectionError(
            BrokenConnectionErrorKind::TooManyOrphanedStreamIds(0).into(),
        );
        let signs = [
            (write_timeout(WriteType::Cas), Sign::Answer),
            (answered(DbError::Invalid), Sign::Answer),
            (write_timeout(WriteType::Simple), Sign::Silence),
            (few_alive(), Sign::Silence),
            (ExecutionError::RequestTimeout(Duration::from_secs(5)), Sign::Silence),
            (ExecutionError::LastAttemptError(lost), Sign::LostConnection),
        ];
        for (error, expected) in signs {
            assert_eq!(sign(&error), expected, "{error}");
        }
    }
}
