//! Runs a workload on a server, reads it back in all forms, and checks them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kit::{Database, MariaDb, MySql, binlake_bin};

use crate::change::{batches, maxwell, printed};
use crate::check::{Check, Form, Verdict};
use crate::script::{Step, snapshots, text};
use crate::settings::Settings;
use crate::spec::Server;

pub(crate) enum Running {
    MySql(MySql),
    MariaDb(MariaDb),
}

impl Running {
    /// Starts the server called `mysql-VERSION` or `mariadb-VERSION`.
    pub(crate) fn start(label: &str) -> Result<Running> {
        let (flavour, version) = label.split_once('-').context("a server is called FLAVOUR-VERSION")?;
        let options = ["--max-allowed-packet=64M"];
        Ok(match flavour {
            "mysql" => Running::MySql(MySql::with(version, &options)?),
            _ => Running::MariaDb(MariaDb::with(version, &options)?),
        })
    }

    pub(crate) fn database(&self) -> &Database {
        match self {
            Running::MySql(server) => server,
            Running::MariaDb(server) => server,
        }
    }
}

/// Cells compared and what was wrong, of all units of a server.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) row_batch: Verdict,
    pub(crate) maxwell: Verdict,
    pub(crate) tool: Verdict,
}

impl Totals {
    pub(crate) fn wrong(&self) -> impl Iterator<Item = &String> {
        [&self.row_batch, &self.maxwell, &self.tool].into_iter().flat_map(|v| &v.wrong)
    }
}

/// One workload in a database of its own.
pub(crate) struct Unit<'a> {
    pub(crate) database: String,
    pub(crate) settings: Settings,
    pub(crate) steps: &'a [Step],
    /// The log tool prints the rows in the order in which we deliver them.
    pub(crate) tool: bool,
}

/// Output of `binlake tail` from a position to the end.
fn tail(db: &Database, from: &str, format: &str) -> Result<(Vec<u8>, String)> {
    let output = Command::new(binlake_bin()?)
        .args(["tail", "--source", &db.url(), "--until", "now", "--format", format])
        .args(["--from", from])
        .stdin(Stdio::null())
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let left_out = output.status.code() == Some(7) && stderr.contains("rows that were asked for are missing");
    ensure!(output.status.success() || left_out, "tail: {stderr}");
    Ok((output.stdout, stderr))
}

/// Files of the log from the one named `from` on.
pub(crate) fn log_files(db: &Database, from: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(db.dir().join("data"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.strip_prefix("binlog.").filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
        if number.is_some() && name.as_str() >= from {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Unit<'_> {
    /// Runs and checks it; adds to `totals`.
    pub(crate) fn run(&self, db: &Database, server: &Server, totals: &mut Totals) -> Result<()> {
        db.sql(&self.settings.global(server))?;
        let from = db.log_end()?;
        let sql = text(self.steps, &self.database, &self.settings.session(server), server);
        let printed_rows = db.sql(&sql).map_err(|error| {
            // The client names the line.
            let message = error.to_string();
            let line = message.split(" at line ").nth(1).and_then(|m| m.split(':').next()?.parse::<usize>().ok());
            let line = line.and_then(|n| sql.lines().nth(n - 1)).unwrap_or_default();
            error.context(format!("workload {} ({}): {line:.1000}", self.database, self.settings))
        })?;
        let snapshots = snapshots(&printed_rows, self.steps, server)?;
        for (form, format) in [(Form::RowBatch, "binlake"), (Form::Maxwell, "maxwell-json")] {
            let (output, stderr) = tail(db, &from, format)?;
            let (verdict, changes) = match form {
                Form::RowBatch => (&mut totals.row_batch, batches(&output)?),
                _ => (&mut totals.maxwell, maxwell(&output)?),
            };
            let before = verdict.wrong.len();
            Check { form, settings: self.settings, verdict }.run(self.steps, &snapshots, &changes, &self.database);
            self.explain(verdict, before, stderr.trim());
        }
        if self.tool {
            let (file, pos) = from.rsplit_once(':').context("a place in the log is FILE:POS")?;
            let mut args = vec![format!("--start-position={pos}")];
            args.extend(["-vv", "--base64-output=decode-rows"].map(str::to_owned));
            args.extend(log_files(db, file)?.iter().map(|f| f.display().to_string()));
            let changes = printed(&db.mysqlbinlog(&args)?)?;
            let verdict = &mut totals.tool;
            let before = verdict.wrong.len();
            Check { form: Form::Tool, settings: self.settings, verdict }.run(
                self.steps,
                &snapshots,
                &changes,
                &self.database,
            );
            self.explain(verdict, before, "");
        }
        Ok(())
    }

    pub(crate) fn explain(&self, verdict: &mut Verdict, before: usize, stderr: &str) {
        for wrong in verdict.wrong.iter_mut().skip(before) {
            *wrong = format!("{wrong} ({}; {})", self.database, self.settings);
        }
        if verdict.wrong.len() > before && !stderr.is_empty() {
            eprintln!("{}: {stderr}", self.database);
        }
    }
}
