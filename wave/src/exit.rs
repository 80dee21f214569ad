//! Why a command ends, for people and for scripts: one message, what to do next, one exit code.

use pipeline::io::{Cause, Failure};

/// A command's end that is not success. Codes: 1 internal, 2 usage, 3 not found, 4 denied, 5 conflict, 6 unavailable,
/// 7 checks or data failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Exit {
    pub code: u8,
    /// What was wrong, and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Exit {
    #[must_use]
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Exit { code, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Exit::new(2, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Failure> for Exit {
    fn from(failure: Failure) -> Self {
        Exit::new(code_of(failure.cause), failure.message)
    }
}

/// The exit code of a cause.
#[must_use]
pub fn code_of(cause: Cause) -> u8 {
    match cause {
        Cause::Internal => 1,
        Cause::Usage => 2,
        Cause::NotFound => 3,
        Cause::Denied => 4,
        Cause::Conflict => 5,
        Cause::Unavailable => 6,
        Cause::Data => 7,
    }
}

/// Result of a command.
pub type CommandResult<T = ()> = Result<T, Exit>;
