//! The differential test: what BinLake delivers, compared cell by cell with what the server itself says.
//!
//! A workload is a list of statements; after each, the same connection selects the tables it touched, as exact text. The
//! log of the workload is then read by `binlake tail` in both exact forms and by the server's own `mysqlbinlog -vv`, and
//! every cell of every row image is compared. The first wrong cells are printed; the exit code is 1 if there are any.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod change;
mod check;
mod compare;
mod json;
mod live;
mod matrix;
#[cfg(test)]
mod oracle;
mod random;
mod run;
mod scenarios;
mod script;
mod settings;
mod spec;
mod types;
mod values;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use run::{Running, Totals, Unit};
use settings::Settings;
use spec::{Random, Server};

/// What the program was asked for.
#[derive(Debug)]
struct Options {
    /// `mysql-9.7`, `mariadb-10.11`, …
    servers: Vec<String>,
    /// Cells of RowBatch to compare at least, per server.
    cells: u64,
    /// Few rows and few settings.
    short: bool,
    seed: u64,
    /// File to which one line of JSON per server is appended.
    report: Option<PathBuf>,
}

const USAGE: &str = "usage: binlake-fidelity [--short] [--cells N] [--seed N] [--report FILE] SERVER...";

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options { servers: Vec::new(), cells: 20_000, short: false, seed: 1, report: None };
        while let Some(arg) = args.next() {
            let mut value = || args.next().context(USAGE);
            match arg.as_str() {
                "--short" => options.short = true,
                "--cells" => options.cells = value()?.parse()?,
                "--seed" => options.seed = value()?.parse()?,
                "--report" => options.report = Some(value()?.into()),
                server if server.starts_with("mysql-") || server.starts_with("mariadb-") => options.servers.push(arg),
                _ => bail!(USAGE),
            }
        }
        if options.servers.is_empty() {
            bail!(USAGE);
        }
        Ok(options)
    }
}

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut failed = false;
    for label in &options.servers {
        failed |= !server(label, &options)?;
    }
    if failed {
        bail!("there are wrong cells");
    }
    Ok(())
}

/// Everything on one server; false if something was wrong.
fn server(label: &str, options: &Options) -> Result<bool> {
    let began = Instant::now();
    let running = Running::start(label)?;
    let db = running.database();
    let version = db.sql("SELECT VERSION()")?.trim().to_owned();
    let server = Server::new(label, &version);
    let charsets = charsets(db)?;
    let mut random = Random::new(options.seed);
    let mut totals = Totals::default();
    let mut units = 0;
    let all = Settings::all(&server);
    'rounds: loop {
        for settings in &all {
            let count = if options.short { 20 } else { 120 };
            let mut names = (0..3).map(|n| format!("f{units}{}", ["", "r", "s"][n]));
            let mut next = || names.next().unwrap_or_default();
            let (matrix, changes, special) = (next(), next(), next());
            let described = settings.full_metadata.then_some(8);
            let workloads = [
                (matrix::steps(&server, &charsets, &matrix, options.short, &mut random), matrix, true),
                (random::steps(&server, &charsets, &changes, count, described, &mut random), changes, true),
                (scenarios::steps(&server, &special, *settings), special, false),
            ];
            for (steps, database, tool) in workloads {
                Unit { database, settings: *settings, steps: &steps, tool }.run(db, &server, &mut totals)?;
            }
            if !settings.full_metadata {
                let (database, count) = (format!("f{units}l"), if options.short { 60 } else { 120 });
                let steps = random::steps(&server, &charsets, &database, count, Some(3), &mut random);
                Unit { database, settings: *settings, steps: &steps, tool: false }.live(db, &server, &mut totals)?;
            }
            units += 1;
            let enough = totals.row_batch.cells >= options.cells && (options.short || units >= all.len());
            if enough || totals.wrong().count() > 200 {
                break 'rounds;
            }
        }
    }
    let wrong = totals.wrong().count();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{label:14} {version:12.12} {units:4} settings {:8} cells of RowBatch {:8} of maxwell-json {:8} of mysqlbinlog -vv \
         {wrong:5} wrong {seconds:6.1} s",
        totals.row_batch.cells, totals.maxwell.cells, totals.tool.cells
    );
    for line in totals.wrong().take(40) {
        println!("  {line}");
    }
    if let Some(path) = &options.report {
        let line = serde_json::json!({
            "commit": commit(),
            "seed": options.seed,
            "server": label,
            "version": version,
            "settings": units,
            "cells": totals.row_batch.cells,
            "maxwell_cells": totals.maxwell.cells,
            "mysqlbinlog_cells": totals.tool.cells,
            "wrong": wrong,
            "seconds": (seconds * 10.0).round() / 10.0,
        });
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).context("report")?;
        writeln!(file, "{line}")?;
    }
    Ok(wrong == 0)
}

/// Every character set of the server but `binary`, with the bytes of its longest character.
fn charsets(db: &kit::Database) -> Result<Vec<(String, usize)>> {
    let rows = db.sql(
        "SELECT CHARACTER_SET_NAME, MAXLEN FROM INFORMATION_SCHEMA.CHARACTER_SETS \
         WHERE CHARACTER_SET_NAME NOT IN ('binary', 'filename') ORDER BY 1",
    )?;
    rows.lines()
        .map(|line| {
            let (name, bytes) = line.split_once('\t').context("a character set")?;
            Ok((name.to_owned(), bytes.parse()?))
        })
        .collect()
}

fn commit() -> String {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map_or_else(|_| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
