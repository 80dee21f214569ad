//! A database connection that stays open, by a command line client that stays.
//!
//! The client reads statements from a pipe and goes on after errors. Its rows and errors come through one pipe, in
//! the order written. After each call a marker is selected: all that comes before the marker belongs to the call.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};

const MARKER: &str = "-- end of binlake-kit call --";

/// One connection; statements run in order. See [`crate::Database::session`].
#[derive(Debug)]
pub struct Session {
    client: Child,
    input: ChildStdin,
    answers: BufReader<PipeReader>,
}

impl Session {
    pub(crate) fn open(mut command: Command) -> Result<Session> {
        let (answers, writer) = std::io::pipe()?;
        command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
        let mut client = command.spawn()?;
        drop(command); // it holds the writing ends; the pipe has to end with the client
        let input = client.stdin.take().context("no stdin")?;
        let mut session = Session { client, input, answers: BufReader::new(answers) };
        session.sql("SELECT 1")?;
        Ok(session)
    }

    /// Runs `statements` (separated by `;`): their rows as [`crate::Database::sql`] gives them, or the first error, in
    /// which case the statements after it ran all the same.
    pub fn sql(&mut self, statements: &str) -> Result<String> {
        let statements = statements.trim_end().trim_end_matches(';');
        writeln!(self.input, "{statements}\n;SELECT '{MARKER}';")?;
        self.input.flush()?;
        let (mut rows, mut error, mut line) = (String::new(), None, Vec::new());
        loop {
            line.clear();
            if self.answers.read_until(b'\n', &mut line)? == 0 {
                bail!("the client ended: {}", error.unwrap_or(rows));
            }
            let text = String::from_utf8_lossy(&line);
            if text.trim_end() == MARKER {
                break;
            } else if text.starts_with("ERROR ") && text.contains(" at line ") {
                error.get_or_insert(text.trim_end().to_owned());
                // 2xxx are the client library's own errors: the connection is gone, no marker will come.
                if text.starts_with("ERROR 2") && text.get(10..11) == Some(" ") {
                    self.client.kill()?;
                }
            } else {
                rows.push_str(&text);
            }
        }
        error.map_or(Ok(rows), |error| bail!("{error}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}
