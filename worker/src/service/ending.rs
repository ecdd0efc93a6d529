//! What a failed attempt means for its chunk. Pure.

use std::time::Duration;

use fleet::failure::{Disposition, FailureCode};
use fleet::store::work::{Ending, Work};

/// First and last wait before another try of the same chunk.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Code.
    pub code: FailureCode,
    /// For the log.
    pub message: String,
    /// The plan copies packets of the source.
    pub copies: bool,
}

/// How the attempt ends. `chance` is between 0 and 1, so that what failed together is not tried again together.
#[must_use]
pub fn ending(work: &Work, attempt: i32, failure: Failure, chance: f64) -> Ending {
    let Failure { code, message, copies } = failure;
    // The index promised packets that can be copied, and they were otherwise.
    if copies && code == FailureCode::Internal && matches!(work, Work::Video { .. }) {
        return Ending::GaveUp { code: FailureCode::CopyImpossible, message };
    }
    match code.disposition() {
        Disposition::Fail => Ending::GaveUp { code, message },
        Disposition::Retry => {
            let growing = TRY_AGAIN.0 * 2_u32.pow(u32::try_from(attempt.clamp(0, 5)).unwrap_or(0));
            let after = growing.min(TRY_AGAIN.1).mul_f64(0.5 + chance);
            Ending::TryAgain { code, message, after }
        }
        Disposition::Interrupted => Ending::HandedBack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(work: &Work, attempt: i32, code: FailureCode, copies: bool) -> Ending {
        ending(work, attempt, Failure { code, message: String::new(), copies }, 0.5)
    }

    #[test]
    fn packets_that_cannot_be_copied_ask_for_another_plan() {
        let film = Work::Video { first: 0, end: None };
        let code = |ending| match ending {
            Ending::GaveUp { code, .. } => Some(code),
            _ => None,
        };
        assert_eq!(code(end(&film, 1, FailureCode::Internal, true)), Some(FailureCode::CopyImpossible));
        assert_eq!(code(end(&film, 1, FailureCode::Internal, false)), Some(FailureCode::Internal));
        assert_eq!(code(end(&Work::Plan, 1, FailureCode::Internal, true)), Some(FailureCode::Internal));
    }

    #[test]
    fn waits_grow_to_a_minute() {
        let wait = |attempt| match end(&Work::Plan, attempt, FailureCode::OutputFailed, false) {
            Ending::TryAgain { after, .. } => after.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!([1, 2, 3, 4, 5, 90].map(wait), [4, 8, 16, 32, 60, 60]);
    }
}
