//! What log lines look like from outside the process.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use binlake_telemetry as telemetry;

const CHILD: &str = "BINLAKE_TEST_LOG_FORMAT";

/// Not a test of its own: the process whose standard error is read below.
#[test]
fn child_logger() {
    let Ok(format) = std::env::var(CHILD) else { return };
    telemetry::init_logging(format.parse().unwrap(), None).unwrap();
    tracing::warn!(source = "shop", bytes = 5, "ring is full");
    tracing::info!("not at this level");
    assert!(telemetry::init_logging(telemetry::Format::Json, None).is_err(), "a second set-up is refused");
}

fn lines(format: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_logger", "--nocapture"])
        .env(CHILD, format)
        .env("BINLAKE_LOG", "warn")
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn json_lines_when_asked_or_when_standard_error_is_no_terminal() {
    for format in ["json", "auto"] {
        let text = lines(format);
        let line = text.lines().find(|l| l.starts_with('{')).unwrap();
        assert!(line.contains(r#""level":"WARN""#) && line.contains(r#""message":"ring is full""#), "{line}");
        assert!(line.contains(r#""source":"shop""#) && line.contains(r#""bytes":5"#), "{line}");
        assert!(!text.contains("not at this level"), "BINLAKE_LOG is the filter");
    }
}

#[test]
fn text_has_no_colour_codes_outside_a_terminal() {
    let text = lines("text");
    assert!(text.contains("WARN ring is full source=\"shop\" bytes=5"), "{text}");
    assert!(!text.contains('\u{1b}'));
}
