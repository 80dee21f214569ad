//! Cuts the bytes of a log file into events (manual: "Binary Log File Header"; `FE 62 69 6E`, then event after event).

use super::header::{EventHeader, EventType, HEADER_LEN};
use crate::error::{Error, Result};

/// First bytes of a log file, and of one that `binlog_encryption` wrote.
const MAGIC: [u8; 4] = *b"\xfebin";
const MAGIC_ENCRYPTED: [u8; 4] = *b"\xfdbin";

/// Takes the bytes of a file in pieces of any size and gives whole events. Memory: the largest event seen, and the
/// pieces pushed but not taken.
#[derive(Debug)]
pub struct FileSplitter {
    buffer: Vec<u8>,
    at: usize,
    /// Offset in the file of `buffer[at]`.
    offset: u64,
    max_event: usize,
    magic_seen: bool,
}

impl FileSplitter {
    /// `max_event` bounds the bytes of one event; the server's own limit is 1 GiB.
    #[must_use]
    pub fn new(max_event: usize) -> Self {
        Self { buffer: Vec::new(), at: 0, offset: 0, max_event, magic_seen: false }
    }

    /// Adds bytes of the file. Take all events before pushing more: that is what bounds memory.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Offset in the file of the next event.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of an event that is not complete. At the end of a file this is the tail that a crash left.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// Type of the event at [`FileSplitter::offset`], as far as its header is there.
    #[must_use]
    pub fn pending_type(&self) -> Option<EventType> {
        if self.magic_seen { self.buffer.get(self.at + 4).copied().map(EventType) } else { None }
    }

    /// The next whole event; `None` when more bytes are needed.
    ///
    /// # Errors
    /// Not a log file, an encrypted one, or an event of impossible size. It repeats: nothing can follow.
    pub fn next_event(&mut self) -> Result<Option<&[u8]>> {
        if !self.magic_seen {
            let Some(magic) = self.buffer.first_chunk::<4>() else { return Ok(None) };
            match *magic {
                MAGIC => {}
                MAGIC_ENCRYPTED => return Err(Error::Encrypted),
                _ => return Err(Error::Malformed { what: "file", detail: "not a binary log".into() }),
            }
            self.magic_seen = true;
            self.advance(4);
        }
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        if rest.len() < HEADER_LEN {
            return Ok(None);
        }
        let size = EventHeader::parse(rest)?.event_size as usize;
        if size > self.max_event {
            let limit = self.max_event as u64;
            return Err(Error::TooLarge { what: "event", size: size as u64, limit });
        }
        if rest.len() < size {
            return Ok(None);
        }
        let start = self.at;
        self.advance(size);
        Ok(self.buffer.get(start..start + size))
    }

    fn advance(&mut self, n: usize) {
        self.at += n;
        self.offset += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        for (kind, size) in [(3u8, 19u32), (4, 25)] {
            let mut event = vec![0; size as usize];
            event[4] = kind;
            event[9..13].copy_from_slice(&size.to_le_bytes());
            file.extend(event);
        }
        file
    }

    #[test]
    fn pieces_of_any_size() {
        let file = file();
        for piece in 1..=file.len() {
            let mut splitter = FileSplitter::new(1000);
            let mut sizes = Vec::new();
            for bytes in file.chunks(piece) {
                splitter.push(bytes);
                while let Some(event) = splitter.next_event().unwrap() {
                    sizes.push(event.len());
                }
            }
            assert_eq!(sizes, [19, 25]);
            assert_eq!((splitter.offset(), splitter.pending()), (48, 0));
        }
    }

    #[test]
    fn files_that_cannot_be_read() {
        let result = |bytes: &[u8]| {
            let mut splitter = FileSplitter::new(24);
            splitter.push(bytes);
            splitter.next_event().map(|e| e.map(<[u8]>::len))
        };
        assert_eq!(result(b"\xfdbin...."), Err(Error::Encrypted));
        assert!(matches!(result(b"PK\x03\x04"), Err(Error::Malformed { what: "file", .. })));
        assert_eq!(result(b"\xfeb"), Ok(None));
        let mut large = file();
        large[13] = 200;
        assert!(matches!(result(&large), Err(Error::TooLarge { size: 200, .. })));
        let mut small = file();
        small[13] = 18;
        assert!(matches!(result(&small), Err(Error::Malformed { .. })));
    }
}
