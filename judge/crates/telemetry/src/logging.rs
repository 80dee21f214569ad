//! Log lines on standard error: text for a person at a terminal, JSON for everything else.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "log filter {filter:?} cannot be read ({reason}): use error, warn, info, debug, trace or off, or target=level pairs"
    )]
    Filter { filter: String, reason: String },
    #[error("logging is already set up")]
    Twice,
}

/// Sets up logging for the whole process: text when standard error is a terminal, else JSON. `filter` is a level, or
/// levels per module: `warn,binlake_watch=trace`.
///
/// # Errors
/// An unreadable filter, or a second call.
pub fn init_logging(filter: &str) -> Result<(), LogError> {
    let filter = parse_filter(filter)?;
    // A program whose standard error is gone goes on; complaining there of a line that could not be written would panic.
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let done = if std::io::stderr().is_terminal() {
        builder.with_ansi(true).with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    };
    done.map_err(|_| LogError::Twice)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    // A misspelt level would be taken for a target, and switch off everything else.
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let is_pair = |word: &str| word.contains(['=', '[']);
    if let Some(word) = filter.split(',').map(str::trim).find(|w| !w.is_empty() && !is_level(w) && !is_pair(w)) {
        return Err(LogError::Filter { filter: filter.to_owned(), reason: format!("{word:?} is no level") });
    }
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(filter)
        .map_err(|e| LogError::Filter { filter: filter.to_owned(), reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_named() {
        let error = parse_filter("watch=loudly").unwrap_err().to_string();
        assert!(error.contains("watch=loudly") && error.contains("target=level"), "{error}");
        for wrong in ["nonsense", "vrebose,binlake_watch=trace", "info, wran"] {
            let error = parse_filter(wrong).unwrap_err().to_string();
            assert!(error.contains("is no level") && error.contains("warn"), "{error}");
        }
        assert!(parse_filter("WARN").is_ok() && parse_filter("off").is_ok() && parse_filter("").is_ok());
        assert_eq!(parse_filter("warn,binlake_watch=trace").unwrap().to_string(), "binlake_watch=trace,warn");
    }
}
