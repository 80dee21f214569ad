//! `binlake read`: consumes a topic, local or Kafka, in any of our formats, drops what the header's rule says was
//! delivered before, and prints rows.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pipeline::format::{row_batch_read, text};
use proto::dedup::{Deduplicator, Gaps};
use proto::header::{RecordHeader, RowId};
use publish::kafka::KafkaReader;
use publish::local::LocalTopicReader;
use publish::{ReadError, Reader, Start, StoredRecord};

use crate::exit::{CommandResult, Exit};
use crate::target::Target;

/// Options of `read`, as the command line gives them.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// `local` or `kafka://…`.
    pub from: String,
    pub data_dir: PathBuf,
    pub topic: String,
    /// `earliest`, `latest`, or an offset.
    pub offset: String,
    pub limit: Option<u64>,
    /// End when nothing came for a while instead of waiting for more.
    pub until_end: bool,
    /// Print every message, also those delivered before.
    pub raw: bool,
    /// `json` or `text`; JSON forms are printed as they are stored.
    pub output: Option<String>,
}

/// Quiet time after which `--until-end` ends.
const QUIET: Duration = Duration::from_secs(2);

/// Quiet time after which a partition whose end is not known has no answer to give.
const NO_ANSWER: Duration = Duration::from_secs(20);

/// Runs the command.
///
/// # Errors
/// With the exit code of the cause.
pub fn run(options: &ReadOptions, stop: &AtomicBool) -> CommandResult {
    let start = match options.offset.as_str() {
        "earliest" => Start::Earliest,
        "latest" => Start::Latest,
        other => Start::Offset(
            other.parse().map_err(|_| Exit::usage(format!("--offset {other}: write earliest, latest or a number")))?,
        ),
    };
    let terminal = io::stdout().is_terminal();
    let text_form = match options.output.as_deref() {
        None => terminal,
        Some("text") => true,
        Some("json") => false,
        Some(other) => return Err(Exit::usage(format!("--output {other}: write json or text"))),
    };
    let mut reader = open(options, start)?;
    let mut printer = Printer {
        out: io::BufWriter::new(io::stdout()),
        dedup: Deduplicator::new(if options.offset == "earliest" { Gaps::Loss } else { Gaps::Expected }),
        raw: options.raw,
        text: text_form.then(|| text::Style { color: terminal, ..text::Style::default() }),
        buffer: Vec::new(),
        rows: 0,
        limit: options.limit.unwrap_or(u64::MAX),
    };
    match follow(options, stop, reader.as_mut(), &mut printer) {
        Ok(()) | Err(PrintError::Closed) => Ok(()),
        Err(PrintError::Exit(exit)) => Err(exit),
    }
}

fn follow(
    options: &ReadOptions,
    stop: &AtomicBool,
    reader: &mut dyn Reader,
    printer: &mut Printer,
) -> Result<(), PrintError> {
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) && printer.rows < printer.limit {
        match reader.next(Duration::from_millis(100)).map_err(|e| PrintError::Exit(read_exit(e)))? {
            Some(record) => {
                last = Instant::now();
                printer.print(&record)?;
            }
            None => {
                printer.out.flush().map_err(not_written)?;
                if options.until_end && last.elapsed() >= QUIET {
                    let Some(partition) = reader.behind() else { break };
                    if last.elapsed() >= NO_ANSWER {
                        return Err(PrintError::Exit(no_answer(options, partition)));
                    }
                }
            }
        }
    }
    printer.out.flush().map_err(not_written)
}

fn no_answer(options: &ReadOptions, partition: u32) -> Exit {
    let (topic, seconds) = (&options.topic, NO_ANSWER.as_secs());
    let message =
        format!("topic {topic} partition {partition}: no answer for {seconds} s, and its end was not reached");
    Exit::new(6, message).hint("what was printed is not all there is; is the partition's broker there?")
}

fn open(options: &ReadOptions, start: Start) -> CommandResult<Box<dyn Reader>> {
    Ok(match Target::parse("--from", &options.from)? {
        Target::Local => {
            let root = options.data_dir.join("topics");
            let mut reader = LocalTopicReader::open(&root, &options.topic).map_err(read_exit)?;
            reader.seek(start).map_err(read_exit)?;
            Box::new(reader)
        }
        Target::Kafka(config) => Box::new(KafkaReader::open(&config, &options.topic, start).map_err(read_exit)?),
    })
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn read_exit(error: ReadError) -> Exit {
    let code = match error {
        ReadError::Config(_) => 2,
        ReadError::NotFound(_) => 3,
        ReadError::Denied(_) => 4,
        ReadError::Unavailable(_) => 6,
        ReadError::Damaged(_) => 7,
        ReadError::Gone { .. } => 5,
    };
    Exit::new(code, error.to_string())
}

struct Printer {
    out: io::BufWriter<io::Stdout>,
    dedup: Deduplicator,
    raw: bool,
    text: Option<text::Style>,
    buffer: Vec<u8>,
    rows: u64,
    limit: u64,
}

enum PrintError {
    Closed,
    Exit(Exit),
}

impl Printer {
    fn print(&mut self, record: &StoredRecord) -> Result<(), PrintError> {
        let wrong = |what: String| {
            let message = format!("partition {} offset {}: {what}", record.partition, record.offset);
            PrintError::Exit(
                Exit::new(7, message).hint("is this a topic that BinLake wrote? --raw prints values as they are"),
            )
        };
        let header = match RecordHeader::decode(&record.header) {
            Ok(header) => header,
            Err(_) if self.raw => return self.line(&record.value),
            Err(e) => return Err(wrong(format!("the record header cannot be read: {e}"))),
        };
        // JSON forms hold one message per record and begin with a brace; a RowBatch never does.
        if record.value.first() == Some(&b'{') {
            let first = header.first;
            let accept = self.raw || self.dedup.record(record.partition, &header).accept(first);
            return if accept { self.line(&record.value) } else { Ok(()) };
        }
        let batch = row_batch_read::decode(&record.value).map_err(|e| wrong(e.to_string()))?;
        let changes = row_batch_read::changes(&batch).map_err(|e| wrong(e.to_string()))?;
        let accepted: Vec<bool> = {
            let mut rows = self.dedup.record(record.partition, &header);
            changes.iter().map(|c| rows.accept(row_id(c))).collect()
        };
        for (change, accepted) in changes.iter().zip(accepted) {
            if (accepted || self.raw) && self.rows < self.limit {
                self.buffer.clear();
                let mut buffer = std::mem::take(&mut self.buffer);
                match &self.text {
                    Some(style) => change.print_text(style, &mut buffer),
                    None => change.print_json(&mut buffer),
                }
                let trimmed = buffer.strip_suffix(b"\n").unwrap_or(&buffer).to_vec();
                self.buffer = buffer;
                self.line(&trimmed)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, value: &[u8]) -> Result<(), PrintError> {
        self.rows += 1;
        self.out.write_all(value).and_then(|()| self.out.write_all(b"\n")).map_err(not_written)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn not_written(error: io::Error) -> PrintError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => PrintError::Closed,
        _ => PrintError::Exit(Exit::new(1, format!("standard output cannot be written: {error}"))),
    }
}

fn row_id(change: &row_batch_read::Change<'_>) -> RowId {
    let seq = change.transaction().seq;
    match change {
        row_batch_read::Change::Row { row, .. } => {
            RowId { seq, event: row.event, row: row.row, part: u16::try_from(row.part).unwrap_or(u16::MAX) }
        }
        row_batch_read::Change::Ddl { ddl, .. } => RowId { seq, event: ddl.event, row: 0, part: 0 },
    }
}
