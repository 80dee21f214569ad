//! What log lines look like from outside the process.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use binlake_telemetry as telemetry;

const CHILD: &str = "BINLAKE_TEST_LOG";

/// Not a test of its own: the process whose standard error is read below.
#[test]
fn child_logger() {
    let Ok(filter) = std::env::var(CHILD) else { return };
    telemetry::init_logging(&filter).unwrap();
    tracing::warn!(source = "shop", bytes = 5, "ring is full");
    tracing::info!("not at this level");
    assert!(telemetry::init_logging(&filter).is_err(), "a second set-up is refused");
}

#[test]
fn json_lines_when_standard_error_is_no_terminal() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_logger", "--nocapture"])
        .env(CHILD, "warn")
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().find(|l| l.starts_with('{')).unwrap();
    assert!(line.contains(r#""level":"WARN""#) && line.contains(r#""message":"ring is full""#), "{line}");
    assert!(line.contains(r#""source":"shop""#) && line.contains(r#""bytes":5"#), "{line}");
    assert!(!text.contains("not at this level"), "{text}");
}
