//! Splits the server's bytes into packets, in place, for every phase of a session.
//!
//! A packet is a 3-byte length, a sequence number and a payload; a payload of 0xFFFFFF bytes is continued by the next
//! packet (protocol manual, "MySQL Packets"). Continued payloads are joined by moving the later parts down over their
//! headers, so what comes out is always one contiguous range of the buffer.
//!
//! Memory grows only when the buffer is full of bytes that really arrived, to three times of them at most; a declared
//! length is checked against the limit but never allocated. Sequence numbers are checked: a gap means the two sides lost each other.

use std::ops::Range;

use crate::error::{PACKET, WireError};

/// The longest payload of one packet; one of this length is continued.
pub(crate) const MAX_PAYLOAD: usize = 0xFF_FFFF;
/// Room that a read is always offered; also the smallest buffer. Most idle sources never need more.
const MIN_SPACE: usize = 16 << 10;
/// Spare buffers kept for reuse: the batch being decoded, one waiting, and a little slack.
const MAX_SPARE: usize = 4;

/// Whole binlog events in one buffer: header up to and with the checksum, without packet header and status byte.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EventBatch {
    /// Bytes outside of `events` are packet headers or leftovers and mean nothing.
    pub buf: Vec<u8>,
    /// Where each event lies in `buf`, in the order of the log. Always within `buf`, never empty ranges.
    pub events: Vec<Range<usize>>,
}

impl EventBatch {
    /// The events in the order of the log.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.events.iter().map(|range| self.buf.get(range.clone()).unwrap_or_default())
    }

    /// Sum of the events' lengths in bytes.
    pub fn event_bytes(&self) -> usize {
        self.events.iter().map(ExactSizeIterator::len).sum()
    }
}

/// A payload whose later parts have not all arrived: it lies at `start..end`.
#[derive(Debug)]
struct Join {
    start: usize,
    end: usize,
    /// An event's length, with its status byte, as its header says.
    wanted: Option<usize>,
}

/// The size of an event by its own header, or `None` when there is no whole header; `payload` begins with the status byte.
pub(crate) fn event_size(payload: &[u8]) -> Option<usize> {
    const HEADER: usize = 19;
    const SIZE_AT: usize = 9;
    let header = payload.get(1..=HEADER)?;
    let size = header.get(SIZE_AT..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*size) as usize)
}

#[derive(Debug)]
pub(crate) struct Packets {
    /// Always initialised to its full length; `filled` says how much of it holds bytes.
    buf: Vec<u8>,
    filled: usize,
    /// Where the next packet header begins.
    next: usize,
    join: Option<Join>,
    /// The sequence number expected next, of either side.
    pub(crate) seq: u8,
    /// Largest joined payload.
    pub(crate) limit: usize,
    /// Payloads are events: one that its own header makes too long, or shorter than it comes, is refused
    /// as soon as that header is there.
    pub(crate) events: bool,
    /// True while ranges into `buf` are handed out that must stay valid.
    pub(crate) pinned: bool,
    /// Size of the next buffer; follows the load between `MIN_SPACE` and `max_target`.
    target: usize,
    max_target: usize,
    spare: Vec<Vec<u8>>,
}

impl Packets {
    pub(crate) fn new(limit: usize, max_read_buffer: usize) -> Self {
        Self {
            buf: vec![0; MIN_SPACE],
            filled: 0,
            next: 0,
            join: None,
            seq: 0,
            limit,
            events: false,
            pinned: false,
            target: MIN_SPACE,
            max_target: max_read_buffer.max(MIN_SPACE),
            spare: Vec::new(),
        }
    }

    /// Start of the bytes that are still needed.
    fn keep(&self) -> usize {
        self.join.as_ref().map_or(self.next, |join| join.start)
    }

    /// Bytes received that are in no finished packet yet.
    pub(crate) fn unread(&self) -> usize {
        self.filled - self.keep()
    }

    /// Where the next bytes of the stream go; never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.buf.len() - self.filled < MIN_SPACE {
            if !self.pinned {
                self.move_down();
            }
            let wanted = if self.buf.len() < self.target { self.target } else { self.buf.len() * 2 };
            // exactly what a large packet needs as soon as that is near: the last steps are the expensive ones
            let wanted = match self.unfinished_end().map(|end| end + MIN_SPACE) {
                Some(end) if end > self.buf.len() && end <= self.buf.len() * 3 => end,
                _ => wanted,
            };
            if self.buf.len() - self.filled < MIN_SPACE {
                self.buf.reserve_exact(wanted.saturating_sub(self.buf.len()));
                self.buf.resize(wanted, 0);
            }
        }
        self.buf.get_mut(self.filled..).unwrap_or_default()
    }

    /// Where the packet ends that is not there yet, by its header.
    fn unfinished_end(&self) -> Option<usize> {
        let [a, b, c, _] = self.buf.get(self.next..self.filled)?.first_chunk::<4>()?;
        Some(self.next + 4 + u32::from_le_bytes([*a, *b, *c, 0]) as usize)
    }

    fn move_down(&mut self) {
        let keep = self.keep();
        self.buf.copy_within(keep..self.filled, 0);
        self.rebase(keep);
    }

    fn rebase(&mut self, by: usize) {
        self.filled -= by;
        self.next -= by;
        if let Some(join) = &mut self.join {
            join.start -= by;
            join.end -= by;
        }
    }

    /// `n` bytes were put at the start of the last [`Self::space`].
    pub(crate) fn filled(&mut self, n: usize) {
        let room = self.buf.len() - self.filled;
        if n >= room {
            self.target = (self.target * 2).min(self.max_target);
        }
        self.filled += n.min(room);
    }

    pub(crate) fn payload(&self, range: Range<usize>) -> &[u8] {
        self.buf.get(range).unwrap_or_default()
    }

    /// The next whole payload, or `None` until more bytes came.
    #[inline]
    pub(crate) fn next_packet(&mut self, at: &'static str) -> Result<Option<Range<usize>>, WireError> {
        loop {
            let Some(&[a, b, c, seq]) = self.buf.get(self.next..self.filled).and_then(|rest| rest.first_chunk::<4>())
            else {
                return Ok(None);
            };
            let len = u32::from_le_bytes([a, b, c, 0]) as usize;
            let body = self.next + 4;
            let before = self.join.as_ref().map_or(0, |join| join.end - join.start);
            if before + len > self.limit {
                return Err(self.too_large());
            }
            let wanted = match &self.join {
                Some(join) => join.wanted,
                None if len > self.filled - body || len == MAX_PAYLOAD => self.wanted(body)?,
                None => None,
            };
            if let Some(wanted) = wanted
                && before + len > wanted
            {
                let so_far = before + len - 1;
                let what = format!("an event of {so_far} bytes or more whose header says {}", wanted - 1);
                return Err(WireError::protocol(at, what));
            }
            if self.filled - body < len {
                return Ok(None);
            }
            // an ERR packet is worth reading even from a server that lost count
            if seq != self.seq && self.buf.get(body) != Some(&0xFF) {
                return Err(WireError::protocol(at, format!("packet number {seq} where {} is due", self.seq)));
            }
            self.seq = seq.wrapping_add(1);
            self.next = body + len;
            let (start, end) = match self.join.take() {
                None if len < MAX_PAYLOAD => return Ok(Some(body..self.next)),
                None => (body, self.next),
                Some(join) => {
                    self.buf.copy_within(body..self.next, join.end);
                    (join.start, join.end + len)
                }
            };
            if len < MAX_PAYLOAD {
                return Ok(Some(start..end));
            }
            self.join = Some(Join { start, end, wanted });
        }
    }

    /// How long the event becomes that begins at `body`, as soon as its header is there.
    fn wanted(&self, body: usize) -> Result<Option<usize>, WireError> {
        // anything else than an event is told by its first byte, when it is whole
        let payload = self.buf.get(body..self.filled).filter(|payload| self.events && payload.first() == Some(&0));
        let Some(wanted) = payload.and_then(event_size).map(|size| size.saturating_add(1)) else { return Ok(None) };
        if wanted > self.limit { Err(self.too_large()) } else { Ok(Some(wanted)) }
    }

    fn too_large(&self) -> WireError {
        WireError::TooLarge { what: PACKET, limit: self.limit }
    }

    /// Hands over everything before the first unfinished packet, and goes on with what is left. `events` must lie there.
    ///
    /// A well filled buffer is given away whole; a few bytes are copied out instead, so that a slow reader's queue holds
    /// memory for what it holds, not for buffers that are mostly empty.
    pub(crate) fn take_batch(&mut self, events: Vec<Range<usize>>) -> EventBatch {
        let used = self.keep();
        let tail = self.filled - used;
        self.pinned = false;
        if used <= self.target / 4 && tail <= self.target / 4 {
            let buf = self.buf.get(..used).unwrap_or_default().to_vec();
            self.move_down();
            self.target = (self.target / 2).max(MIN_SPACE);
            if self.buf.len() > self.target * 2 {
                self.buf.truncate((self.target * 2).max(self.filled + MIN_SPACE));
                self.buf.shrink_to_fit();
            }
            return EventBatch { buf, events };
        }
        let wanted = self.target.max(tail + MIN_SPACE);
        let mut fresh = match self.spare.pop() {
            Some(spare) if spare.len() >= wanted => spare,
            _ => vec![0; wanted],
        };
        if let (Some(to), Some(from)) = (fresh.get_mut(..tail), self.buf.get(used..self.filled)) {
            to.copy_from_slice(from);
        }
        self.rebase(used);
        EventBatch { buf: std::mem::replace(&mut self.buf, fresh), events }
    }

    /// Takes a used batch buffer back, if it is worth keeping.
    pub(crate) fn recycle(&mut self, buf: Vec<u8>) {
        if self.spare.len() < MAX_SPARE && buf.len() >= self.target && buf.len() <= self.max_target * 2 {
            self.spare.push(buf);
        }
    }
}

/// Appends one payload, split where it must be, and counts `seq` on.
pub(crate) fn write_packet(out: &mut Vec<u8>, seq: &mut u8, payload: &[u8]) {
    let mut chunks = payload.chunks(MAX_PAYLOAD);
    loop {
        let chunk = chunks.next().unwrap_or_default();
        out.extend_from_slice(&u32::try_from(chunk.len()).unwrap_or(0).to_le_bytes()[..3]);
        out.push(*seq);
        out.extend_from_slice(chunk);
        *seq = seq.wrapping_add(1);
        if chunk.len() < MAX_PAYLOAD {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(packets: &mut Packets, bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for chunk in bytes.chunks(step) {
            let mut chunk = chunk;
            while !chunk.is_empty() {
                let space = packets.space();
                let n = space.len().min(chunk.len());
                space[..n].copy_from_slice(&chunk[..n]);
                packets.filled(n);
                chunk = &chunk[n..];
                while let Some(range) = packets.next_packet("testing").unwrap() {
                    found.push(packets.payload(range).to_vec());
                }
            }
        }
        found
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
    }

    #[test]
    fn joins_continued_packets_at_every_boundary() {
        for len in [0, 1, MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 2 * MAX_PAYLOAD, 2 * MAX_PAYLOAD + 77] {
            let payloads = [vec![1, 2, 3], pattern(len), vec![9]];
            let (mut bytes, mut seq) = (Vec::new(), 0);
            for payload in &payloads {
                write_packet(&mut bytes, &mut seq, payload);
            }
            let mut packets = Packets::new(64 << 20, 1 << 20);
            assert!(feed(&mut packets, &bytes, 1_000_003) == payloads, "{len}");
        }
    }

    #[test]
    fn one_byte_at_a_time() {
        let payloads: Vec<_> = (0..300).map(pattern).collect();
        let (mut bytes, mut seq) = (Vec::new(), 0);
        for payload in &payloads {
            write_packet(&mut bytes, &mut seq, payload);
        }
        assert_eq!(feed(&mut Packets::new(1 << 20, 1 << 20), &bytes, 1), payloads);
    }

    #[test]
    fn a_declared_length_takes_no_memory() {
        let mut packets = Packets::new(1 << 30, 1 << 20);
        assert!(feed(&mut packets, &[0xFE, 0xFF, 0xFF, 0, 0, 1, 2], 7).is_empty());
        packets.space();
        assert_eq!(packets.buf.len(), 2 * MIN_SPACE);
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_at_once() {
        let mut packets = Packets::new(1000, 1 << 20);
        packets.space()[..4].copy_from_slice(&[0xE9, 3, 0, 0]);
        packets.filled(4);
        assert_eq!(
            packets.next_packet("testing"),
            Err(WireError::TooLarge { what: "a packet of the server", limit: 1000 })
        );
    }

    #[test]
    fn an_event_in_parts_ends_where_its_header_says() {
        let parts = |size: usize, parts: usize| {
            let mut packets = Packets::new(64 << 20, 1 << 20);
            packets.events = true;
            let mut payload = vec![0; MAX_PAYLOAD];
            payload[10..14].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
            for seq in 0..parts {
                let head = [0xFF, 0xFF, 0xFF, u8::try_from(seq).unwrap()];
                for mut bytes in [&head[..], &payload] {
                    while !bytes.is_empty() {
                        let space = packets.space();
                        let n = space.len().min(bytes.len());
                        space[..n].copy_from_slice(&bytes[..n]);
                        packets.filled(n);
                        bytes = &bytes[n..];
                    }
                }
                packets.next_packet("testing")?;
            }
            packets.next_packet("testing").map(drop)
        };
        assert_eq!(parts(3 * MAX_PAYLOAD, 3), Ok(()));
        let longer = parts(MAX_PAYLOAD + 5, 2).unwrap_err().to_string();
        assert!(longer.contains("whose header says 16777220"), "{longer}");
        assert_eq!(
            parts(64 << 20, 1),
            Err(WireError::TooLarge { what: "a packet of the server", limit: 64 << 20 }),
            "known at its first part"
        );
    }

    #[test]
    fn an_event_longer_than_its_header_says_takes_no_memory() {
        let mut packets = Packets::new(64 << 20, 1 << 20);
        packets.events = true;
        let mut head = [0; 24];
        head[..3].fill(0xFF);
        head[14] = 27;
        for (filled, &byte) in head.iter().enumerate() {
            assert_eq!(packets.next_packet("testing"), Ok(None), "{filled}");
            packets.space()[0] = byte;
            packets.filled(1);
        }
        let longer = packets.next_packet("testing").unwrap_err().to_string();
        assert!(longer.contains("16777214 bytes or more whose header says 27"), "{longer}");
        assert!(packets.buf.len() <= 2 * MIN_SPACE, "{}", packets.buf.len());
    }

    #[test]
    fn a_gap_in_the_numbers_is_an_error_but_not_for_an_error_packet() {
        let mut packets = Packets::new(1000, 1 << 20);
        packets.space()[..10].copy_from_slice(&[1, 0, 0, 7, 0xFF, 1, 0, 0, 3, 0]);
        packets.filled(10);
        assert_eq!(packets.next_packet("testing"), Ok(Some(4..5)));
        assert!(matches!(packets.next_packet("testing"), Err(WireError::Protocol { .. })));
    }

    #[test]
    fn small_batches_are_copied_and_large_ones_handed_over() {
        let mut packets = Packets::new(1 << 20, 64 << 10);
        let (mut bytes, mut seq) = (Vec::new(), 0);
        write_packet(&mut bytes, &mut seq, &[0; 100]);
        bytes.extend_from_slice(&[50, 0, 0, 1, 7]); // a tail
        packets.space()[..bytes.len()].copy_from_slice(&bytes);
        packets.filled(bytes.len());
        let range = packets.next_packet("testing").unwrap().unwrap();
        packets.pinned = true;
        let batch = packets.take_batch(vec![range]);
        assert_eq!((batch.buf.len(), batch.event_bytes()), (104, 100));
        assert_eq!(packets.unread(), 5);
    }
}
