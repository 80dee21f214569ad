//! Random rows and definitions on a server whose log does not describe its tables: `binlake tail` reads along, in both
//! exact forms. A definition changes only once all before it was read: what a table was like between two changes that
//! both happened unseen cannot be known.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kit::{Database, Process, wait_until};
use prost::Message;
use proto::v1;

use crate::change::{Change, batches, maxwell};
use crate::check::{Check, Form};
use crate::run::{Totals, Unit};
use crate::script::{head, snapshots};
use crate::spec::Server;

/// A row is there after milliseconds; a loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `binlake tail` that reads along.
struct Reader {
    form: Form,
    process: Process,
    database: String,
    /// Bytes of its output that were looked at, and the marks in them.
    seen: usize,
    marks: usize,
}

impl Reader {
    fn start(db: &Database, form: Form, from: &str, database: &str) -> Result<Reader> {
        let format = if form == Form::RowBatch { "binlake" } else { "maxwell-json" };
        let process = Process::binlake(&["tail", "--source", &db.url(), "--from", from, "--format", format])?;
        Ok(Reader { form, process, database: database.into(), seen: 0, marks: 0 })
    }

    /// Takes what is whole of the output that came meanwhile.
    fn look(&mut self) -> Result<()> {
        let output = self.process.stdout_bytes();
        loop {
            let rest = &output[self.seen..];
            let mut tail = rest;
            let whole = match self.form {
                Form::RowBatch => {
                    v1::RowBatch::decode_length_delimited(&mut tail).is_ok().then(|| rest.len() - tail.len())
                }
                _ => rest.iter().position(|b| *b == b'\n').map(|at| at + 1),
            };
            let Some(whole) = whole.filter(|n| *n > 0) else { return Ok(()) };
            let changes = self.changes(&rest[..whole])?;
            self.marks += changes.iter().filter(|c| c.table == "mark" && c.database == self.database).count();
            self.seen += whole;
        }
    }

    fn changes(&self, output: &[u8]) -> Result<Vec<Change>> {
        if self.form == Form::RowBatch { batches(output) } else { maxwell(output) }
    }

    /// Waits until so many steps were read.
    fn wait(&mut self, steps: usize) -> Result<()> {
        let mut looked = Ok(());
        let there = wait_until(PATIENCE, || {
            looked = self.look();
            looked.is_err() || self.marks >= steps
        });
        looked?;
        ensure!(there, "{:?}: {} of {steps} steps came: {}", self.form, self.marks, self.process.stderr());
        Ok(())
    }
}

impl Unit<'_> {
    /// Runs and checks it, read along; adds to `totals`.
    pub(crate) fn live(&self, db: &Database, server: &Server, totals: &mut Totals) -> Result<()> {
        db.sql(&self.settings.global(server))?;
        let from = db.log_end()?;
        let mut readers = [Form::RowBatch, Form::Maxwell]
            .map(|form| Reader::start(db, form, &from, &self.database))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let mut session = db.session()?;
        let mut printed = session.sql(&head(&self.database, &self.settings.session(server)))?;
        for (number, step) in self.steps.iter().enumerate() {
            if step.redefines() {
                readers.iter_mut().try_for_each(|reader| reader.wait(number))?;
            }
            let sql = step.text(number, &self.database, server);
            printed += &session
                .sql(&sql)
                .with_context(|| format!("{} ({}): {:.1000}", self.database, self.settings, step.sql))?;
        }
        let snapshots = snapshots(&printed, self.steps, server)?;
        for reader in &mut readers {
            reader.wait(self.steps.len())?;
            let changes = reader.changes(&reader.process.stdout_bytes()[..reader.seen])?;
            let verdict = if reader.form == Form::RowBatch { &mut totals.row_batch } else { &mut totals.maxwell };
            let before = verdict.wrong.len();
            let mut check = Check { form: reader.form, settings: self.settings, verdict };
            check.run(self.steps, &snapshots, &changes, &self.database);
            self.explain(verdict, before, reader.process.stderr().trim());
        }
        Ok(())
    }
}
