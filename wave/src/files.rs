//! Binary log files as a source of events: `tail --file`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use binlog::event::FileSplitter;
use pipeline::io::{Batch, Cause, Failure, FailureKind, Server, Start};

use crate::exit::{CommandResult, Exit};
use crate::runner::{EventSource, SourceEvent};

/// Bytes read and batched at a time.
const CHUNK: usize = 1 << 20;
/// The largest event of any server: `max_allowed_packet` is at most 1 GiB.
const MAX_EVENT: usize = (1 << 30) + 4096;

/// Reads files one after the other, in the order given.
#[derive(Debug)]
pub struct Files {
    waiting: std::vec::IntoIter<PathBuf>,
    current: Option<Open>,
    connected: bool,
    spare: Vec<Batch>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    splitter: FileSplitter,
    chunk: Vec<u8>,
    done: bool,
}

impl Files {
    /// # Errors
    /// A file that cannot be opened (exit code 3): found before anything is printed.
    pub fn new(paths: &[PathBuf]) -> CommandResult<Files> {
        for path in paths {
            File::open(path).map_err(|e| {
                Exit::new(3, format!("binary log {} cannot be opened: {e}", path.display()))
                    .hint("name files of the server's data folder, such as /var/lib/mysql/binlog.000001")
            })?;
        }
        Ok(Files { waiting: paths.to_vec().into_iter(), current: None, connected: false, spare: Vec::new() })
    }

    fn open_next(&mut self) -> Result<bool, Failure> {
        let Some(path) = self.waiting.next() else { return Ok(false) };
        let file = File::open(&path).map_err(|e| broken(&path, 0, &e.to_string(), Cause::NotFound))?;
        self.current =
            Some(Open { path, file, splitter: FileSplitter::new(MAX_EVENT), chunk: vec![0; CHUNK], done: false });
        Ok(true)
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, Failure> {
        loop {
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(open) = self.current.as_mut() else { return Ok(None) };
            let mut batch = self.spare.pop().unwrap_or_default();
            batch.buf.clear();
            batch.events.clear();
            open.fill(&mut batch)?;
            let finished = open.done;
            if finished {
                self.current = None;
            }
            if !batch.events.is_empty() {
                return Ok(Some(batch));
            }
        }
    }
}

impl Open {
    fn fill(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        while batch.buf.len() < CHUNK && !self.done {
            let n = self
                .file
                .read(&mut self.chunk)
                .map_err(|e| broken(&self.path, self.splitter.offset(), &e.to_string(), Cause::Data))?;
            if n == 0 {
                self.done = true;
                if self.splitter.pending() > 0 {
                    let what = format!("the file ends within an event, {} bytes after its start", self.splitter.pending());
                    return Err(broken(&self.path, self.splitter.offset(), &what, Cause::Data));
                }
                break;
            }
            self.splitter.push(self.chunk.get(..n).unwrap_or_default());
            loop {
                let at = self.splitter.offset();
                match self.splitter.next_event() {
                    Ok(Some(event)) => {
                        let start = batch.buf.len();
                        batch.buf.extend_from_slice(event);
                        batch.events.push(start..batch.buf.len());
                    }
                    Ok(None) => break,
                    Err(e) => return Err(broken(&self.path, at, &e.to_string(), Cause::Data)),
                }
            }
        }
        Ok(())
    }
}

fn broken(path: &Path, offset: u64, what: &str, cause: Cause) -> Failure {
    let message = format!("{} at offset {offset}: {what}", path.display());
    Failure::new(FailureKind::Permanent, cause, message)
}

impl EventSource for Files {
    fn connect(&mut self, _from: &Start, _after: Duration) {}

    fn disconnect(&mut self) {
        self.current = None;
        self.waiting = Vec::new().into_iter();
    }

    fn receive(&mut self, _wait: Duration) -> Option<SourceEvent> {
        if !self.connected {
            self.connected = true;
            return Some(SourceEvent::Connected(Server { uuid: String::new(), version: "files".into() }));
        }
        Some(match self.next_batch() {
            Ok(Some(batch)) => SourceEvent::Batch(batch),
            Ok(None) => SourceEvent::End,
            Err(failure) => SourceEvent::Disconnected(failure),
        })
    }

    fn recycle(&mut self, batch: Batch) {
        if self.spare.len() < 2 {
            self.spare.push(batch);
        }
    }
}
