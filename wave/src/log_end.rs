//! How many bytes of each server's log are not read yet.
//!
//! Only the server knows where its log ends, so it is asked, on one thread for all sources. The connection lasts only for
//! the question: an idle source shall cost neither memory here nor a connection there.
//! For display only: an answer that fails leaves the figure unknown, and the dump itself says what is wrong. A source that
//! is not streaming is not asked, so that one that is away holds up no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use binlog::position::FilePos;
use pipeline::io::Failure;

use crate::source::Source;
use crate::sql::{LogFile, Sql};
use crate::status::StatusCell;

const EVERY: Duration = Duration::from_secs(10);

/// The running thread; dropping it ends it after the question under way.
#[derive(Debug)]
pub(crate) struct LogEnds {
    stop: Arc<AtomicBool>,
    thread: thread::Thread,
}

impl LogEnds {
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn watch(sources: Vec<(Source, StatusCell)>) -> std::io::Result<LogEnds> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let handle = thread::Builder::new().name("log ends".into()).spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                for (source, cell) in &sources {
                    let streaming = cell.get().state == "streaming";
                    cell.set_lag_bytes(if streaming { unread(source, cell) } else { None });
                }
                thread::park_timeout(EVERY);
            }
        })?;
        Ok(LogEnds { stop, thread: handle.thread().clone() })
    }
}

impl Drop for LogEnds {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

fn unread(source: &Source, cell: &StatusCell) -> Option<u64> {
    let answer = ask(source, cell);
    if let Err(failure) = &answer {
        tracing::debug!(source = %source.address(), "end of the log: {}", failure.message);
    }
    answer.ok().flatten()
}

fn ask(source: &Source, cell: &StatusCell) -> Result<Option<u64>, Failure> {
    let mut sql = Sql::connect(source)?;
    let end = sql.log_end()?.file_pos;
    // Looked at after the question: what was read meanwhile does not count as unread.
    let read = cell.get().read_pos;
    // Listing the files locks the server's log for a moment; most of the time one file is enough.
    let files = if end.file == read.file { Vec::new() } else { sql.log_files()? };
    sql.close();
    Ok(distance(&read, &end, &files))
}

/// Bytes from `read` to `end` over `files` (oldest first); None when the file being read is not among them any more.
fn distance(read: &FilePos, end: &FilePos, files: &[LogFile]) -> Option<u64> {
    if read.file == end.file {
        return Some(end.pos.saturating_sub(read.pos));
    }
    let mut from = files.iter().skip_while(|f| f.name != read.file);
    let first = from.next()?.size.saturating_sub(read.pos);
    let mut bytes = first;
    for file in from {
        if file.name == end.file {
            return Some(bytes + end.pos);
        }
        bytes += file.size;
    }
    // Reading has moved to a file that was begun after the question.
    Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_between_two_positions() {
        let at = |file: &str, pos| FilePos { file: file.into(), pos };
        let files: Vec<LogFile> =
            [("b.1", 1000), ("b.2", 500), ("b.3", 300)].map(|(n, size)| LogFile { name: n.into(), size }).into();
        assert_eq!(distance(&at("b.3", 100), &at("b.3", 260), &[]), Some(160));
        assert_eq!(distance(&at("b.3", 300), &at("b.3", 260), &[]), Some(0), "read on since the question");
        assert_eq!(distance(&at("b.1", 400), &at("b.3", 100), &files), Some(600 + 500 + 100));
        assert_eq!(distance(&at("b.3", 4), &at("b.2", 500), &files), Some(0));
        assert_eq!(distance(&at("b.0", 4), &at("b.3", 100), &files), None, "purged");
    }
}
