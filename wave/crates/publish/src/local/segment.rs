//! The stored form of a partition, version 1.
//!
//! A partition is a folder of segments `{base offset, 20 digits}.seg`, each with a sparse index `.idx`, and a file
//! `durable`. All integers are little-endian.
//!
//! Segment: 8 bytes magic `BLSEG\0\0\x01` (the last byte is the version), then frames:
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of the body |
//! | 4 | CRC32 (IEEE) of the body |
//! | 8 | offset |
//! | 8 | timestamp, milliseconds since the Unix epoch, signed |
//! | 4 | length of the key, `0xFFFF_FFFF` = no key |
//! | 4 | length of the header |
//! | … | key, header, value (the rest) |
//!
//! Index: entries of 24 bytes {offset u64, position of its frame u64, highest timestamp before it i64}. It is a hint: a
//! reader checks the frame it points to, and does without when that is not what the index says.
//!
//! `durable`: {next offset u64, CRC32 of these 8 bytes}: all below it is acknowledged or may be. Readers stop there;
//! recovery never cuts below it.

use crate::StoredRecord;

pub(super) const MAGIC: [u8; 8] = *b"BLSEG\0\0\x01";
/// Length and CRC.
pub(super) const PREFIX: usize = 8;
const FIXED: usize = 24;
/// Bytes of a frame with no key, header or value.
pub(super) const MIN_FRAME: usize = PREFIX + FIXED;
const NO_KEY: u32 = u32::MAX;
pub(super) const INDEX_ENTRY: usize = 24;
pub(super) const MARK_LEN: usize = 12;

pub(super) fn file_name(base: u64) -> String {
    format!("{base:020}.seg")
}

/// Base offset of a segment file's name.
pub(super) fn base_of(name: &str) -> Option<u64> {
    name.strip_suffix(".seg").filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok())
}

/// Appends a frame whose offset and CRC are still zero; [`seal`] fills them in. The caller has bounded the record, so
/// its lengths fit in 32 bits.
pub(super) fn push_frame(out: &mut Vec<u8>, record: &crate::Record<'_>) -> usize {
    let start = out.len();
    let key = record.key.unwrap_or_default();
    let body = FIXED + key.len() + record.header.len() + record.value.len();
    out.extend_from_slice(&(body as u32).to_le_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&record.timestamp_ms.to_le_bytes());
    let key_len = if record.key.is_some() { key.len() as u32 } else { NO_KEY };
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(&(record.header.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(record.header);
    out.extend_from_slice(record.value);
    out.len() - start
}

/// Fills in offset and CRC of a frame made by [`push_frame`]; gives its timestamp.
pub(super) fn seal(frame: &mut [u8], offset: u64) -> i64 {
    frame[8..16].copy_from_slice(&offset.to_le_bytes());
    let crc = crc32fast::hash(&frame[PREFIX..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame[16..24].first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// A whole frame with a matching CRC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) offset: u64,
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) header: &'a [u8],
    pub(super) value: &'a [u8],
    /// Bytes in the file.
    pub(super) len: usize,
}

/// What stands at the start of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parsed<'a> {
    Whole(Frame<'a>),
    /// More bytes are needed: this many in all.
    Short(usize),
    Damaged,
}

pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(body_len) = u32_at(bytes, 0) else { return Parsed::Short(MIN_FRAME) };
    let len = PREFIX + body_len as usize;
    if len < MIN_FRAME {
        return Parsed::Damaged;
    }
    let (Some(body), Some(crc)) = (bytes.get(PREFIX..len), u32_at(bytes, 4)) else { return Parsed::Short(len) };
    if crc32fast::hash(body) != crc {
        return Parsed::Damaged;
    }
    frame(body, len).map_or(Parsed::Damaged, Parsed::Whole)
}

fn frame(body: &[u8], len: usize) -> Option<Frame<'_>> {
    let (offset, body) = body.split_first_chunk()?;
    let (timestamp, body) = body.split_first_chunk()?;
    let (key_len, header_len) = (u32_at(body, 0)?, u32_at(body, 4)? as usize);
    let (key, rest) = match key_len {
        NO_KEY => (None, body.get(8..)?),
        n => body.get(8..)?.split_at_checked(n as usize).map(|(key, rest)| (Some(key), rest))?,
    };
    let (header, value) = rest.split_at_checked(header_len)?;
    let timestamp_ms = i64::from_le_bytes(*timestamp);
    Some(Frame { offset: u64::from_le_bytes(*offset), timestamp_ms, key, header, value, len })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Frame<'_> {
    pub(super) fn to_record(self, partition: u32) -> StoredRecord {
        StoredRecord {
            partition,
            offset: self.offset.cast_signed(),
            key: self.key.map(<[u8]>::to_vec),
            header: self.header.to_vec(),
            value: self.value.to_vec(),
            timestamp_ms: self.timestamp_ms,
        }
    }
}

/// One entry of the sparse index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) offset: u64,
    pub(super) position: u64,
    /// Highest timestamp of the records before this one in the segment.
    pub(super) max_before_ms: i64,
}

impl IndexEntry {
    pub(super) fn encode(self) -> [u8; INDEX_ENTRY] {
        let mut out = [0; INDEX_ENTRY];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..16].copy_from_slice(&self.position.to_le_bytes());
        out[16..].copy_from_slice(&self.max_before_ms.to_le_bytes());
        out
    }

    /// All whole entries.
    pub(super) fn decode_all(bytes: &[u8]) -> Vec<IndexEntry> {
        let word = |entry: &[u8], at: usize| entry.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or_default();
        let decode = |entry: &[u8]| IndexEntry {
            offset: u64::from_le_bytes(word(entry, 0)),
            position: u64::from_le_bytes(word(entry, 8)),
            max_before_ms: i64::from_le_bytes(word(entry, 16)),
        };
        bytes.chunks_exact(INDEX_ENTRY).map(decode).collect()
    }
}

/// Contents of the file `durable`.
pub(super) fn encode_mark(next_offset: u64) -> [u8; MARK_LEN] {
    let mut out = [0; MARK_LEN];
    out[..8].copy_from_slice(&next_offset.to_le_bytes());
    let crc = crc32fast::hash(&out[..8]);
    out[8..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// None when the bytes are not a whole mark.
pub(super) fn decode_mark(bytes: &[u8]) -> Option<u64> {
    let (offset, crc) = bytes.split_first_chunk::<8>()?;
    (u32_at(crc, 0)? == crc32fast::hash(offset)).then(|| u64::from_le_bytes(*offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, TopicId};

    fn framed(key: Option<&[u8]>) -> Vec<u8> {
        let record = Record {
            topic: TopicId(0),
            partition: 3,
            key,
            value: b"value",
            header: b"hd",
            timestamp_ms: 1_764_096_069_123,
            token: 0,
        };
        let mut out = Vec::new();
        let len = push_frame(&mut out, &record);
        assert_eq!(len, out.len());
        seal(&mut out, 77);
        out
    }

    /// The stored form may not change without a new version in the magic.
    #[test]
    fn golden_bytes_of_version_1() {
        let hex: String = framed(Some(b"k")).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "200000008e44662d4d0000000000000003ce51bc9a01000001000000020000006b686476616c7565");
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_seen() {
        for key in [None, Some(&b""[..]), Some(b"key")] {
            let whole = framed(key);
            let Parsed::Whole(frame) = parse(&whole) else { panic!("{key:?}") };
            assert_eq!((frame.offset, frame.key, frame.header, frame.value), (77, key, &b"hd"[..], &b"value"[..]));
            for i in 0..whole.len() {
                assert!(!matches!(parse(&whole[..i]), Parsed::Whole(_)), "cut at {i}");
                let mut bad = whole.clone();
                bad[i] ^= 0x10;
                assert!(!matches!(parse(&bad), Parsed::Whole(_)), "flipped at {i}");
            }
        }
    }

    #[test]
    fn index_and_mark_round_trip() {
        let entries = [1, 2].map(|n| IndexEntry { offset: n, position: n * 9, max_before_ms: -1 });
        let bytes: Vec<u8> = entries.iter().flat_map(|e| e.encode()).chain([1, 2, 3]).collect();
        assert_eq!(IndexEntry::decode_all(&bytes), entries);
        let mut mark = encode_mark(99);
        assert_eq!(decode_mark(&mark), Some(99));
        mark[0] = 98;
        assert_eq!(decode_mark(&mark), None);
        assert_eq!(decode_mark(&mark[..5]), None);
    }
}
