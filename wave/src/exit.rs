//! Why a command ends, for people and for scripts: one message, what to do next, one exit code.

use std::io::Write;
use std::path::Path;

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

    /// Code 2.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Exit::new(2, message)
    }

    /// With the place of what was wrong before its message.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Adds what to do next.
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
        Cause::Conflict | Cause::Gone => 5,
        Cause::Unavailable => 6,
        Cause::Data | Cause::NoGtids => 7,
    }
}

/// The end of a command that could not read a file which `what` names.
#[must_use]
pub fn unreadable(what: &str, path: &Path, error: &std::io::Error) -> Exit {
    let code = if error.kind() == std::io::ErrorKind::PermissionDenied { 4 } else { 3 };
    Exit::new(code, format!("{what} {} cannot be read: {error}", path.display()))
}

/// `text` fit for a terminal: servers' own words are in it, and control characters of them must not reach one.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Writes to standard output. A reader that has gone, as behind `| head`, is no error: what was asked for goes on.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error, fit for a terminal; when nobody reads it any more, nothing happens.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

/// Result of a command.
pub type CommandResult<T = ()> = Result<T, Exit>;
