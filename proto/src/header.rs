//! The record header `bl`: who wrote a record, under which rule, and which rows it holds.
//!
//! Fixed layout, version 1, 86 bytes, integers little-endian:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | flags: bit 0 = end of transaction; other bits are ignored |
//! | 2 | 2 | `first.part` |
//! | 4 | 4 | rule version |
//! | 8 | 8 | source id: XXH3-64 (seed 0) of the source's name |
//! | 16 | 8 | incarnation |
//! | 24 | 8 | epoch |
//! | 32 | 8 | schema hash, 0 = several tables or none |
//! | 40 | 8 | n |
//! | 48 | 8 | `first.seq` |
//! | 56 | 4 | `first.event` |
//! | 60 | 4 | `first.row` |
//! | 64 | 8 | `end.seq` |
//! | 72 | 4 | `end.event` |
//! | 76 | 4 | `end.row` |
//! | 80 | 2 | `end.part` |
//! | 82 | 4 | rows |
//!
//! Later fields of the same version are appended: a longer header is fine, bytes past the known ones are ignored. A
//! change of meaning gets a new version, and a reader refuses versions that it does not know.

/// Name of the record header.
pub const HEADER_NAME: &str = "bl";
/// Version that [`RecordHeader::encode`] writes.
pub const VERSION: u8 = 1;
/// Bytes of an encoded header.
pub const LEN: usize = 86;

const END_OF_TRANSACTION: u8 = 1;

/// Place of one message in the history of a source's incarnation. The order of the fields is the order of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// Ordinal of the transaction; every transaction counts, wanted or not.
    pub seq: u64,
    /// Ordinal of the rows event (or statement) in its transaction, from 0, skipped ones counted.
    pub event: u32,
    /// Ordinal of the row in its event, from 0.
    pub row: u32,
    /// Ordinal among the messages made of this row, from 0.
    pub part: u16,
}

/// Contents of the header; see the module for the layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHeader {
    /// [`source_id`] of the source's name.
    pub source: u64,
    /// Grows whenever the history of the source starts anew (created again, other server, rewind).
    pub incarnation: u64,
    /// One ownership of the source by a wave.
    pub epoch: u64,
    /// Version of the feed's rule.
    pub rule: u32,
    /// Hash of the table definition, 0 when the record holds rows of several tables or none.
    pub schema: u64,
    /// Dense counter of records, from 0, per feed, partition and epoch: a gap means a lost record.
    pub n: u64,
    /// The first row in the record.
    pub first: RowId,
    /// The last row in the record; equal to `first` for a record of one row.
    pub end: RowId,
    /// The last row is also the last of its transaction in this partition.
    pub end_of_transaction: bool,
    /// Messages in the record.
    pub rows: u32,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer bytes than its version has.
    #[error("record header of {len} bytes is shorter than the {LEN} of version {VERSION}")]
    Truncated { len: usize },
    /// Written by a newer BinLake.
    #[error("record header version {version} is not known; this reader knows version {VERSION}")]
    UnknownVersion { version: u8 },
}

/// Stable id of a source: XXH3-64 with seed 0 of its name in UTF-8.
#[must_use]
pub fn source_id(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}

impl RecordHeader {
    /// The bytes to store under [`HEADER_NAME`].
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0] = VERSION;
        out[1] = if self.end_of_transaction { END_OF_TRANSACTION } else { 0 };
        out[2..4].copy_from_slice(&self.first.part.to_le_bytes());
        out[4..8].copy_from_slice(&self.rule.to_le_bytes());
        out[8..16].copy_from_slice(&self.source.to_le_bytes());
        out[16..24].copy_from_slice(&self.incarnation.to_le_bytes());
        out[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        out[32..40].copy_from_slice(&self.schema.to_le_bytes());
        out[40..48].copy_from_slice(&self.n.to_le_bytes());
        out[48..56].copy_from_slice(&self.first.seq.to_le_bytes());
        out[56..60].copy_from_slice(&self.first.event.to_le_bytes());
        out[60..64].copy_from_slice(&self.first.row.to_le_bytes());
        out[64..72].copy_from_slice(&self.end.seq.to_le_bytes());
        out[72..76].copy_from_slice(&self.end.event.to_le_bytes());
        out[76..80].copy_from_slice(&self.end.row.to_le_bytes());
        out[80..82].copy_from_slice(&self.end.part.to_le_bytes());
        out[82..86].copy_from_slice(&self.rows.to_le_bytes());
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`HeaderError`] for another version or too few bytes. More bytes than known are fine.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let truncated = HeaderError::Truncated { len: bytes.len() };
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&version) => return Err(HeaderError::UnknownVersion { version }),
            None => return Err(truncated),
        }
        let b: &[u8; LEN] = bytes.first_chunk().ok_or(truncated)?;
        Ok(RecordHeader {
            source: u64::from_le_bytes(at(b, 8)),
            incarnation: u64::from_le_bytes(at(b, 16)),
            epoch: u64::from_le_bytes(at(b, 24)),
            rule: u32::from_le_bytes(at(b, 4)),
            schema: u64::from_le_bytes(at(b, 32)),
            n: u64::from_le_bytes(at(b, 40)),
            first: RowId {
                seq: u64::from_le_bytes(at(b, 48)),
                event: u32::from_le_bytes(at(b, 56)),
                row: u32::from_le_bytes(at(b, 60)),
                part: u16::from_le_bytes(at(b, 2)),
            },
            end: RowId {
                seq: u64::from_le_bytes(at(b, 64)),
                event: u32::from_le_bytes(at(b, 72)),
                row: u32::from_le_bytes(at(b, 76)),
                part: u16::from_le_bytes(at(b, 80)),
            },
            end_of_transaction: b[1] & END_OF_TRANSACTION != 0,
            rows: u32::from_le_bytes(at(b, 82)),
        })
    }
}

/// `N` bytes of the fixed layout; `start` is one of the constants of the layout, so it is in range.
fn at<const N: usize>(bytes: &[u8; LEN], start: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[start..start + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> RecordHeader {
        RecordHeader {
            source: 0x1122_3344_5566_7788,
            incarnation: 1_764_096_069_000,
            epoch: 1_764_096_070,
            rule: 7,
            schema: 0xAABB_CCDD_EEFF_0011,
            n: 3,
            first: RowId { seq: 1000, event: 1, row: 2, part: 1 },
            end: RowId { seq: 1001, event: 4, row: 5, part: 6 },
            end_of_transaction: true,
            rows: 9,
        }
    }

    /// The stored form is fixed for ever: topics outlive this code.
    #[test]
    fn golden_bytes_of_version_1() {
        let hex: String = sample().encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "0101010007000000887766554433221188cd51bc9a01000046f82569000000001100ffeeddccbbaa0300000000000000\
             e8030000000000000100000002000000e9030000000000000400000005000000060009000000"
        );
    }

    #[test]
    fn longer_is_fine_shorter_and_unknown_are_not() {
        let mut bytes = sample().encode().to_vec();
        assert_eq!(RecordHeader::decode(&bytes[..85]), Err(HeaderError::Truncated { len: 85 }));
        assert_eq!(RecordHeader::decode(&[]), Err(HeaderError::Truncated { len: 0 }));
        bytes.extend([1, 2, 3]);
        assert_eq!(RecordHeader::decode(&bytes), Ok(sample()));
        bytes[1] |= 0xF0;
        assert_eq!(RecordHeader::decode(&bytes), Ok(sample()), "unknown flags are ignored");
        bytes[0] = 2;
        assert_eq!(RecordHeader::decode(&bytes), Err(HeaderError::UnknownVersion { version: 2 }));
    }

    #[test]
    fn source_id_is_the_published_hash() {
        assert_eq!(source_id(""), 0x2d06_8005_38d3_94c2, "XXH3-64 of the empty string, from the xxHash documentation");
        assert_ne!(source_id("orders"), source_id("Orders"));
    }

    #[test]
    fn row_ids_order_as_the_log() {
        let id = |seq, event, row, part| RowId { seq, event, row, part };
        let sorted = [id(1, 0, 0, 0), id(1, 0, 0, 1), id(1, 0, 1, 0), id(1, 1, 0, 0), id(2, 0, 0, 0)];
        assert!(sorted.is_sorted());
    }

    prop_compose! {
        fn row_id()(seq: u64, event: u32, row: u32, part: u16) -> RowId { RowId { seq, event, row, part } }
    }

    proptest! {
        #[test]
        fn round_trip(
            (source, incarnation, epoch, schema, n) in any::<(u64, u64, u64, u64, u64)>(),
            (rule, rows, end_of_transaction) in any::<(u32, u32, bool)>(),
            first in row_id(), end in row_id(),
        ) {
            let header =
                RecordHeader { source, incarnation, epoch, rule, schema, n, first, end, end_of_transaction, rows };
            prop_assert_eq!(RecordHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if RecordHeader::decode(&bytes).is_ok() {
                prop_assert!(bytes.len() >= LEN && bytes[0] == VERSION);
            }
        }
    }
}
