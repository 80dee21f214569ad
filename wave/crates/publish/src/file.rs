//! Values into a stream: stdout, a file, or any [`Write`].
//!
//! Only values are written; keys and headers have no place there. All topics go into the one stream, in the order of
//! `send`. Each is reported once the stream has taken it.

use std::io::{self, Write};
use std::time::Duration;

use crate::{DeliveryError, PublishError, Publisher, Record, Report, SendOutcome, TopicId, TopicSpec};

/// Full buffers are written without waiting for `poll`.
const WRITE_BYTES: usize = 256 * 1024;

/// How a reader finds the end of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A newline after each value; for text formats, whose values hold none.
    Lines,
    /// The length as a protobuf varint before each value.
    Delimited,
}

/// See the module.
#[derive(Debug)]
pub struct FilePublisher<W> {
    out: W,
    framing: Framing,
    topics: Vec<String>,
    buffer: Vec<u8>,
    /// (token, size) of the records in `buffer`.
    buffered: Vec<(u64, usize)>,
    ready: Vec<Report>,
    written: i64,
    failed: Option<DeliveryError>,
}

impl FilePublisher<io::Stdout> {
    #[must_use]
    pub fn stdout(framing: Framing) -> Self {
        FilePublisher::new(io::stdout(), framing)
    }
}

impl<W: Write + Send> FilePublisher<W> {
    pub fn new(out: W, framing: Framing) -> Self {
        FilePublisher {
            out,
            framing,
            topics: Vec::new(),
            buffer: Vec::new(),
            buffered: Vec::new(),
            ready: Vec::new(),
            written: 0,
            failed: None,
        }
    }

    /// Gives the stream back; what is not written yet is dropped.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn write(&mut self) {
        if self.buffered.is_empty() {
            return;
        }
        let result = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.buffer.clear();
        if let Err(error) = result {
            self.failed = Some(match error.kind() {
                io::ErrorKind::BrokenPipe => DeliveryError::Closed,
                _ => DeliveryError::Backend(format!("cannot write the output: {error}")),
            });
        }
        for (token, _) in self.buffered.drain(..) {
            let result = self.failed.clone().map_or(Ok(self.written), Err);
            self.written += i64::from(result.is_ok());
            self.ready.push(Report { token, result });
        }
    }
}

impl<W: Write + Send> Publisher for FilePublisher<W> {
    fn init(&mut self, _epoch: u64) -> Result<(), PublishError> {
        match &self.failed {
            None => Ok(()),
            Some(error) => Err(PublishError::Lost(error.to_string())),
        }
    }

    /// Any topic exists, with the partitions that the spec asks for or one.
    fn open(&mut self, spec: &TopicSpec) -> Result<(TopicId, u32), PublishError> {
        let known = self.topics.iter().position(|name| *name == spec.name);
        let id = known.unwrap_or_else(|| {
            self.topics.push(spec.name.clone());
            self.topics.len() - 1
        });
        Ok((TopicId(id as u32), spec.create_partitions.unwrap_or(1)))
    }

    fn begin(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    /// A stream that has failed once stays failed: what it holds of the last record is not known.
    fn send(&mut self, record: Record<'_>) -> Result<SendOutcome, PublishError> {
        if let Some(error) = &self.failed {
            self.ready.push(Report { token: record.token, result: Err(error.clone()) });
            return Ok(SendOutcome::Accepted);
        }
        if self.framing == Framing::Delimited {
            push_varint(&mut self.buffer, record.value.len() as u64);
        }
        self.buffer.extend_from_slice(record.value);
        if self.framing == Framing::Lines {
            self.buffer.push(b'\n');
        }
        self.buffered.push((record.token, record.value.len()));
        if self.buffer.len() >= WRITE_BYTES {
            self.write();
        }
        Ok(SendOutcome::Accepted)
    }

    fn poll(&mut self, wait: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        self.write();
        if self.ready.is_empty() {
            std::thread::sleep(wait);
        }
        reports.append(&mut self.ready);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    fn abort(&mut self, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        self.buffer.clear();
        let purged = self.buffered.drain(..).map(|(token, _)| Report { token, result: Err(DeliveryError::Purged) });
        self.ready.extend(purged);
        reports.append(&mut self.ready);
        Ok(())
    }

    fn flush(&mut self, _deadline: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        self.poll(Duration::ZERO, reports)
    }

    fn in_flight_bytes(&self) -> usize {
        self.buffered.iter().map(|(_, size)| size).sum()
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send<W: Write + Send>(publisher: &mut FilePublisher<W>, token: u64, value: &[u8]) {
        let (topic, key, header) = (TopicId(0), Some(&b"k"[..]), &b"h"[..]);
        let record = Record { topic, partition: 0, key, value, header, timestamp_ms: 0, token };
        assert_eq!(publisher.send(record).unwrap(), SendOutcome::Accepted);
    }

    fn flush<W: Write + Send>(publisher: &mut FilePublisher<W>) -> Vec<Report> {
        let mut reports = Vec::new();
        publisher.flush(Duration::ZERO, &mut reports).unwrap();
        reports
    }

    #[test]
    fn frames_lines_and_lengths() {
        let long = vec![b'x'; 300];
        let mut lines = FilePublisher::new(Vec::new(), Framing::Lines);
        let mut delimited = FilePublisher::new(Vec::new(), Framing::Delimited);
        for (token, value) in [(1, &b"{}"[..]), (2, &long)] {
            send(&mut lines, token, value);
            send(&mut delimited, token, value);
        }
        assert_eq!(lines.in_flight_bytes(), 302);
        assert_eq!(flush(&mut lines).len(), 2);
        flush(&mut delimited);
        assert_eq!(lines.in_flight_bytes(), 0);
        assert_eq!(lines.into_inner(), [b"{}\n", &long[..], b"\n"].concat());
        assert_eq!(delimited.into_inner(), [b"\x02{}\xac\x02", &long[..]].concat());
    }

    #[test]
    fn a_closed_pipe_has_its_own_error_and_stays_closed() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut publisher = FilePublisher::new(writer, Framing::Lines);
        for token in 0..2 {
            send(&mut publisher, token, b"{}");
            let reports = flush(&mut publisher);
            assert_eq!(reports.len(), 1);
            assert!(matches!(reports[0].result, Err(DeliveryError::Closed)), "{reports:?}");
        }
    }

    #[test]
    fn a_full_disk_is_a_backend_error() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut publisher = FilePublisher::new(full, Framing::Lines);
        send(&mut publisher, 7, b"{}");
        let reports = flush(&mut publisher);
        assert!(
            matches!(&reports[0].result, Err(DeliveryError::Backend(text)) if text.contains("No space")),
            "{reports:?}"
        );
        let again = publisher.init(2);
        assert!(matches!(&again, Err(PublishError::Lost(text)) if text.contains("No space")), "{again:?}");
    }
}
