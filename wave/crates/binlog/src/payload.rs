//! TRANSACTION_PAYLOAD: a transaction whose events are compressed as one (WL#3549).
//!
//! Events come out one by one from a streaming decoder: memory is bounded by the largest inner event and the window,
//! never by the size that the event claims, and a bomb fails at the first event above the bound.

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::error::{Error, Result};
use crate::event::{EventHeader, HEADER_LEN};
use crate::read::Reader;

/// log2 of the largest window accepted: 128 MiB, the default limit of zstd itself.
const WINDOW_LOG_MAX: u32 = 27;
/// Bytes uncompressed at a time.
const STEP: usize = 64 * 1024;

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Zstd,
    None,
}

/// A TRANSACTION_PAYLOAD event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionPayload<'a> {
    pub compression: Compression,
    /// As the event claims; not to be trusted.
    pub uncompressed_size: u64,
    pub data: &'a [u8],
}

impl<'a> TransactionPayload<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new("TRANSACTION_PAYLOAD", body);
        let (mut size, mut compression, mut uncompressed_size) = (None, Compression::None, None);
        loop {
            let field = r.lenenc()?;
            if field == 0 {
                break;
            }
            let mut value = Reader::new("TRANSACTION_PAYLOAD", r.lenenc_bytes()?);
            match field {
                1 => size = Some(value.lenenc()?),
                2 => {
                    compression = match value.lenenc()? {
                        0 => Compression::Zstd,
                        255 => Compression::None,
                        code => return Err(Error::Unsupported { what: "payload compression", code }),
                    }
                }
                3 => uncompressed_size = Some(value.lenenc()?),
                _ => {}
            }
        }
        let size = size.unwrap_or(r.len() as u64);
        let data = r.bytes(usize::try_from(size).unwrap_or(usize::MAX))?;
        Ok(Self { compression, uncompressed_size: uncompressed_size.unwrap_or(size), data })
    }

    /// A reader of the events inside, each of at most `max_event` bytes.
    ///
    /// # Errors
    /// Memory for the decoder cannot be had.
    pub fn events(&self, max_event: usize) -> Result<PayloadReader<'a>> {
        let source = match self.compression {
            Compression::None => Source::Plain(self.data),
            Compression::Zstd => {
                let mut decoder = Decoder::new().map_err(|e| failed(&e))?;
                decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(|e| failed(&e))?;
                Source::Zstd { decoder, data: self.data, done: false }
            }
        };
        Ok(PayloadReader { source, buffer: Vec::new(), at: 0, max_event })
    }
}

fn failed(error: &std::io::Error) -> Error {
    Error::Malformed { what: "TRANSACTION_PAYLOAD", detail: error.to_string() }
}

enum Source<'a> {
    Plain(&'a [u8]),
    Zstd {
        decoder: Decoder<'static>,
        data: &'a [u8],
        /// A frame is complete, none begun.
        done: bool,
    },
}

impl Source<'_> {
    /// Appends some bytes to `buffer`; false at the end.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<bool> {
        match self {
            Self::Plain(data) => {
                let (head, tail) = data.split_at(data.len().min(STEP));
                buffer.extend_from_slice(head);
                *data = tail;
                Ok(!head.is_empty())
            }
            Self::Zstd { decoder, data, done } => {
                if *done && data.is_empty() {
                    return Ok(false);
                }
                let old = buffer.len();
                buffer.resize(old + STEP, 0);
                let (result, read, written) = {
                    let mut input = InBuffer::around(data);
                    let mut output = OutBuffer::around(buffer.get_mut(old..).unwrap_or_default());
                    let mut result = Ok(());
                    while output.pos() < STEP {
                        let before = (input.pos(), output.pos());
                        match decoder.run(&mut input, &mut output) {
                            Ok(hint) => *done = hint == 0,
                            Err(error) => {
                                result = Err(failed(&error));
                                break;
                            }
                        }
                        if (*done && input.pos() == data.len()) || before == (input.pos(), output.pos()) {
                            break;
                        }
                    }
                    (result, input.pos(), output.pos())
                };
                buffer.truncate(old + written);
                *data = data.get(read..).unwrap_or_default();
                result?;
                if written == 0 && !*done {
                    return Err(Error::Malformed {
                        what: "TRANSACTION_PAYLOAD",
                        detail: "ends inside its data".into(),
                    });
                }
                Ok(written > 0)
            }
        }
    }
}

/// Gives the events of one payload in order.
pub struct PayloadReader<'a> {
    source: Source<'a>,
    buffer: Vec<u8>,
    at: usize,
    max_event: usize,
}

impl std::fmt::Debug for PayloadReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PayloadReader").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl PayloadReader<'_> {
    /// The next event, for [`crate::event::StreamState::parse_inner`]; `None` at the end.
    ///
    /// # Errors
    /// Data that is broken or ends inside an event, an event above the bound.
    pub fn next_event(&mut self) -> Result<Option<&[u8]>> {
        let mut need = HEADER_LEN;
        loop {
            let have = self.buffer.len() - self.at;
            if have >= need {
                let size = EventHeader::parse(self.buffer.get(self.at..).unwrap_or_default())?.event_size as usize;
                if size > self.max_event {
                    let limit = self.max_event as u64;
                    return Err(Error::TooLarge { what: "event in a payload", size: size as u64, limit });
                }
                if have >= size {
                    let start = self.at;
                    self.at += size;
                    return Ok(self.buffer.get(start..self.at));
                }
                need = size;
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            // Exactly what a large event needs as soon as that is near: the last steps are the expensive ones.
            if need > self.buffer.capacity() && need / 3 <= have {
                self.buffer.reserve_exact(need - have + STEP);
            }
            if !self.source.fill(&mut self.buffer)? {
                return match have {
                    0 => Ok(None),
                    have => Err(Error::Truncated { what: "event in a payload", need, have }),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(size: usize) -> Vec<u8> {
        let mut event = vec![3; size];
        event[9..13].copy_from_slice(&(size as u32).to_le_bytes());
        event
    }

    fn sizes(payload: &TransactionPayload<'_>, max_event: usize) -> Result<Vec<usize>> {
        let mut reader = payload.events(max_event)?;
        let mut sizes = Vec::new();
        while let Some(event) = reader.next_event()? {
            sizes.push(event.len());
        }
        Ok(sizes)
    }

    #[test]
    fn events_of_any_size_plain_and_compressed() {
        let wanted = [19, 100, STEP - 1, STEP, STEP + 1, 3 * STEP, 20];
        let plain: Vec<u8> = wanted.iter().flat_map(|n| event(*n)).collect();
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        // Two frames in a row, cut inside an event.
        let (a, b) = plain.split_at(1000);
        let frames = [zstd::encode_all(a, 3).unwrap(), zstd::encode_all(b, 3).unwrap()].concat();
        for (compression, data) in
            [(Compression::None, &plain), (Compression::Zstd, &packed), (Compression::Zstd, &frames)]
        {
            let payload = TransactionPayload { compression, uncompressed_size: 0, data };
            assert_eq!(sizes(&payload, 1 << 20), Ok(wanted.to_vec()));
            let cut = TransactionPayload { data: &data[..data.len() - 5], ..payload };
            assert!(sizes(&cut, 1 << 20).is_err());
        }
    }

    #[test]
    fn a_bomb_fails_at_the_bound() {
        // 256 MiB of one event in 8 KiB.
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let mut head = vec![0; HEADER_LEN];
        head[9..13].copy_from_slice(&(256_u32 << 20).to_le_bytes());
        std::io::Write::write_all(&mut encoder, &head).unwrap();
        for _ in 0..256 {
            std::io::Write::write_all(&mut encoder, &vec![0; 1 << 20]).unwrap();
        }
        let data = encoder.finish().unwrap();
        let payload = TransactionPayload { compression: Compression::Zstd, uncompressed_size: 1, data: &data };
        assert!(matches!(sizes(&payload, 64 << 20), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn fields() {
        let body = [2, 3, 252, 255, 0, 3, 1, 9, 77, 1, 0, 1, 1, 2, 0, 5, 6];
        let payload = TransactionPayload::parse(&body).unwrap();
        assert_eq!((payload.compression, payload.uncompressed_size, payload.data), (Compression::None, 9, &[5, 6][..]));
        for cut in 0..body.len() {
            assert!(TransactionPayload::parse(&body[..cut]).is_err());
        }
        assert!(matches!(TransactionPayload::parse(&[2, 1, 7, 0]), Err(Error::Unsupported { code: 7, .. })));
    }
}
