//! Binary form of MySQL's GTID sets: COM_BINLOG_DUMP_GTID, PREVIOUS_GTIDS, `gtid_executed` compression
//! (source of the rule: WL#15294 for the tagged form).
//!
//! The first 8 bytes hold the number of UUIDs; in the tagged form 1 stands in the first and the last of them and the
//! number of (UUID, tag) pairs between. Then per entry 16 bytes of UUID, in the tagged form the tag's length (serialization
//! library) and text, the number of intervals, and per interval its first number and the one after its last.

use super::MAX_INTERVALS;
use super::mysql::{Interval, MySqlGtidSet, is_tag};
use crate::error::{Error, Result};
use crate::read::Reader;

pub(super) fn too_many() -> Error {
    Error::TooLarge { what: "GTID set", size: MAX_INTERVALS as u64 + 1, limit: MAX_INTERVALS as u64 }
}

impl MySqlGtidSet {
    /// Reads the untagged or tagged form, which has to fill `bytes`.
    ///
    /// # Errors
    /// Truncated or malformed bytes, more than [`MAX_INTERVALS`] intervals.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new("GTID set", bytes);
        let head = r.u64()?;
        let tagged = match head >> 56 {
            0 => false,
            1 => true,
            other => return Err(Error::Unsupported { what: "GTID set format", code: other }),
        };
        let entries = if tagged { (head << 8) >> 16 } else { head };
        let (mut set, mut total) = (Self::default(), 0u64);
        for _ in 0..entries {
            let uuid = r.array()?;
            let tag = if tagged { read_tag(&mut r)? } else { "" };
            let count = r.u64()?;
            total = total.saturating_add(count);
            if total > MAX_INTERVALS as u64 {
                return Err(Error::TooLarge { what: "GTID set", size: total, limit: MAX_INTERVALS as u64 });
            }
            for _ in 0..count {
                let (first, end) = (r.u64()?, r.u64()?);
                if first == 0 || end <= first || end > i64::MAX as u64 {
                    return Err(r.malformed(format!("interval {first}..{end}")));
                }
                set.push_unordered(uuid, tag, Interval { first, last: end - 1 });
            }
        }
        if !r.is_empty() {
            return Err(r.malformed(format!("{} bytes after its end", r.len())));
        }
        set.settle();
        Ok(set)
    }

    /// The untagged form when no tag is used (every server reads it), else the tagged one (8.3 and later).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let tagged = self.iter().any(|(_, tag, _)| !tag.is_empty());
        let entries = self.iter().count() as u64;
        let head = if tagged { 1 << 56 | entries << 8 | 1 } else { entries };
        let mut out = Vec::with_capacity(8 + self.interval_count() * 16 + entries as usize * 32);
        out.extend_from_slice(&head.to_le_bytes());
        for (uuid, tag, list) in self.iter() {
            out.extend_from_slice(uuid);
            if tagged {
                // A tag has at most 32 bytes: its length takes one byte of 7 bits above a zero bit.
                out.push((tag.len() as u8) << 1);
                out.extend_from_slice(tag.as_bytes());
            }
            out.extend_from_slice(&(list.len() as u64).to_le_bytes());
            for Interval { first, last } in list {
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&last.saturating_add(1).to_le_bytes());
            }
        }
        out
    }
}

/// A tag as it stands in binary sets and in GTID_TAGGED events; empty for none.
pub(crate) fn read_tag<'a>(r: &mut Reader<'a>) -> Result<&'a str> {
    let len = r.varlen()?;
    let bytes = r.bytes(usize::try_from(len).unwrap_or(usize::MAX))?;
    match std::str::from_utf8(bytes) {
        Ok(tag) if tag.is_empty() || is_tag(tag) => Ok(tag),
        _ => Err(r.malformed("not a GTID tag")),
    }
}
