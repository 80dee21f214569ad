//! A workload: steps of statements, each followed by the server's own word about the tables it touched.
//!
//! Everything runs on one connection. A row of the table `mark` ends each step in the log, so that the changes which we
//! deliver can be put to the steps without guessing how many the server logged.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

use anyhow::{Context, Result, bail};

use crate::spec::{Server, Table, quote};

/// Statements and what is asked after them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) sql: String,
    /// Tables as they are after the step; only those that it may have changed.
    pub(crate) after: Vec<Rc<Table>>,
    /// Tables that are gone under this database and name.
    pub(crate) gone: Vec<(String, String)>,
}

impl Step {
    pub(crate) fn new(sql: impl Into<String>, after: &[&Rc<Table>]) -> Step {
        Step { sql: sql.into(), after: after.iter().map(|t| Rc::clone(t)).collect(), gone: Vec::new() }
    }

    /// The statements, what is asked after them, and the mark, for the step of that number.
    pub(crate) fn text(&self, number: usize, database: &str, server: &Server) -> String {
        let mut sql = self.sql.clone();
        for (index, table) in self.after.iter().enumerate() {
            let _ = writeln!(sql, "SELECT '{HEAD}', {number}, {index};");
            sql.push_str(&table.select(server));
        }
        let _ = writeln!(sql, "INSERT INTO {}.mark VALUES ({number});", quote(database));
        sql
    }

    /// Whether it changes a definition.
    pub(crate) fn redefines(&self) -> bool {
        ["ALTER TABLE ", "RENAME TABLE ", "TRUNCATE TABLE "].iter().any(|verb| self.sql.starts_with(verb))
    }
}

/// The fields of one row, in the order of the table's columns; None is NULL.
pub(crate) type Fields = Vec<Vec<Option<String>>>;

/// A table with its rows at one time.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) table: Rc<Table>,
    pub(crate) rows: HashMap<i64, Fields>,
}

const HEAD: &str = "@@snapshot@@";

/// The SQL of the whole workload. `database` gets the table of marks.
pub(crate) fn text(steps: &[Step], database: &str, session: &str, server: &Server) -> String {
    let mut sql = head(database, session);
    for (number, step) in steps.iter().enumerate() {
        sql.push_str(&step.text(number, database, server));
    }
    sql
}

/// What stands before the first step.
pub(crate) fn head(database: &str, session: &str) -> String {
    let name = quote(database);
    format!("{session}CREATE DATABASE {name};\nUSE {name};\nCREATE TABLE {name}.mark (id INT PRIMARY KEY);\n")
}

/// What the client printed: the snapshots of each step.
pub(crate) fn snapshots(printed: &str, steps: &[Step], server: &Server) -> Result<Vec<Vec<Snapshot>>> {
    let mut all: Vec<Vec<Snapshot>> = steps
        .iter()
        .map(|s| s.after.iter().map(|t| Snapshot { table: Rc::clone(t), rows: HashMap::new() }).collect())
        .collect();
    let mut current: Option<&mut Snapshot> = None;
    let mut heads = 0;
    for line in printed.lines() {
        let mut fields = line.split('\t');
        if line.starts_with(HEAD) {
            fields.next();
            let mut number = || fields.next().and_then(|f| f.parse::<usize>().ok()).context("a broken snapshot");
            let (step, table) = (number()?, number()?);
            current = all.get_mut(step).and_then(|s| s.get_mut(table));
            heads += 1;
            continue;
        }
        let Some(snapshot) = current.as_deref_mut() else { continue };
        let Some(id) = fields.next().and_then(|id| id.parse().ok()) else { bail!("no row of a snapshot: {line:.200}") };
        let mut field = || fields.next().map(|f| (f != "NULL").then(|| f.to_owned()));
        let row: Option<Fields> = snapshot
            .table
            .columns
            .iter()
            .map(|c| c.ty.kind.fields(&c.name, server).iter().map(|_| field()).collect())
            .collect();
        let row = row.with_context(|| format!("a snapshot has too few fields: {line:.200}"))?;
        snapshot.rows.insert(id, row);
    }
    let wanted: usize = steps.iter().map(|s| s.after.len()).sum();
    if heads != wanted {
        bail!("{heads} snapshots instead of {wanted}");
    }
    Ok(all)
}
