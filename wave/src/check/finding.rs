//! A finding: what was found, what was wanted, how to get there, and why it matters.

use serde::Serialize;

use crate::exit::Exit;

/// How bad a finding is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Reading cannot work, or would lose rows.
    Fatal,
    /// It works, with a loss of safety or meaning.
    Warning,
    Ok,
}

impl Severity {
    fn label(self) -> &'static str {
        match self {
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
            Severity::Ok => "ok",
        }
    }
}

/// One check's result. Never holds a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name, such as `binlog_format`.
    pub code: &'static str,
    pub severity: Severity,
    pub found: String,
    pub wanted: String,
    /// Statements for an administrator of the server, or what to write into its configuration. BinLake runs none.
    pub fix: Option<String>,
    pub why: String,
}

impl Finding {
    /// What a command that could not begin tells a program.
    pub(super) fn unreachable(exit: &Exit) -> Finding {
        Finding {
            code: "reach",
            severity: Severity::Fatal,
            found: exit.message.clone(),
            wanted: "a login".to_string(),
            fix: None,
            why: exit.hint.clone().unwrap_or_else(|| "without a connection nothing can be checked or read".to_string()),
        }
    }
}

/// Findings in the order of the checks.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        found: String,
        wanted: &str,
        why: String,
    ) -> &mut Finding {
        let at = self.0.len();
        self.0.push(Finding { code, severity, found, wanted: wanted.to_string(), fix: None, why });
        &mut self.0[at]
    }

    pub(super) fn ok(&mut self, code: &'static str, found: impl Into<String>) -> &mut Finding {
        self.add(Severity::Ok, code, found.into(), "", String::new())
    }

    pub(super) fn warning(
        &mut self,
        code: &'static str,
        found: impl Into<String>,
        wanted: &str,
        why: impl Into<String>,
    ) -> &mut Finding {
        self.add(Severity::Warning, code, found.into(), wanted, why.into())
    }

    pub(super) fn fatal(
        &mut self,
        code: &'static str,
        found: impl Into<String>,
        wanted: &str,
        why: impl Into<String>,
    ) -> &mut Finding {
        self.add(Severity::Fatal, code, found.into(), wanted, why.into())
    }

    /// Worst first, otherwise in the order of the checks.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|f| f.severity);
        self.0
    }
}

impl Finding {
    pub(super) fn fix(&mut self, fix: impl Into<String>) {
        self.fix = Some(fix.into());
    }

    pub(super) fn why(&mut self, why: impl Into<String>) {
        self.why = why.into();
    }
}

/// The findings as a list for people, one to three lines each, and a line that sums up.
pub(super) fn render(name: &str, findings: &[Finding]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for f in findings {
        let wanted = if f.wanted.is_empty() { String::new() } else { format!(" (wanted: {})", f.wanted) };
        let label = f.severity.label();
        let _ = writeln!(text, "{label:<8}{}: {}{wanted}", f.code, f.found);
        if !f.why.is_empty() {
            let _ = writeln!(text, "        {}", f.why);
        }
        if let Some(fix) = &f.fix {
            let _ = writeln!(text, "        fix: {fix}");
        }
    }
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (fatal, warnings, ok) = (count(Severity::Fatal), count(Severity::Warning), count(Severity::Ok));
    let verdict = match (fatal, warnings) {
        (0, 0) => "fit",
        (0, _) => "fit, with warnings",
        _ => "not fit",
    };
    let _ = writeln!(text, "{name}: {verdict} ({fatal} fatal, {warnings} warnings, {ok} ok)");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_worst_first_and_sums_up() {
        let mut findings = Findings::default();
        findings.ok("log_bin", "ON");
        findings.warning("binlog_checksum", "NONE", "CRC32", "damage goes unnoticed");
        findings.fatal("binlog_format", "MIXED", "ROW", "no rows").fix("SET GLOBAL binlog_format = 'ROW';");
        let expected = "\
FATAL   binlog_format: MIXED (wanted: ROW)
        no rows
        fix: SET GLOBAL binlog_format = 'ROW';
WARNING binlog_checksum: NONE (wanted: CRC32)
        damage goes unnoticed
ok      log_bin: ON
db1, MySQL 9.7: not fit (1 fatal, 1 warnings, 1 ok)
";
        assert_eq!(render("db1, MySQL 9.7", &findings.sorted()), expected);
    }
}
