//! One decoded value, borrowed from the event it came in; the kinds are those of the manual's "Data Types" (MariaDB's of
//! its knowledge base, "Data Types").

use crate::decimal::Decimal;
use crate::temporal::{Date, DateTime, Time, Timestamp};

/// A value of one column in one row image. At most 32 bytes and `Copy`: a row is a slice of cells, no allocation.
///
/// What the bytes alone do not say (signedness is applied already, but charset, fractional digits, labels, declared
/// length) stands in the [`crate::schema::Column`] of the same index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Not in this row image (`binlog_row_image` MINIMAL or NOBLOB). This is not NULL.
    Absent,
    Null,
    /// TINYINT, SMALLINT, MEDIUMINT, INT, BIGINT, signed.
    Int(i64),
    /// The same, UNSIGNED.
    UInt(u64),
    Float(f32),
    Double(f64),
    Decimal(Decimal<'a>),
    /// BIT(n), n up to 64; the width is in the column.
    Bit(u64),
    /// 0 is the year 0000, otherwise 1901..=2155.
    Year(u16),
    Date(Date),
    Time(Time),
    DateTime(DateTime),
    Timestamp(Timestamp),
    /// CHAR, VARCHAR, TEXT: bytes in the column's character set.
    Text(&'a [u8]),
    /// BINARY, VARBINARY, BLOB. BINARY(n) comes with its trailing zeros stripped: pad to the column's length.
    Bytes(&'a [u8]),
    /// MariaDB's UUID, INET6 and INET4, where the definition is known: their bytes in the order of their text, with
    /// trailing zeros stripped.
    FixedBinary(&'a [u8]),
    /// 1-based index of the label; 0 is the empty error value ''.
    Enum(u16),
    /// Bit i set: label i (0-based) is a member.
    Set(u64),
    /// MySQL's binary JSON; empty slice is the JSON null that MySQL stores as zero bytes.
    Json(&'a [u8]),
    /// Partial update of a JSON value (PARTIAL_UPDATE_ROWS): the serialized diff sequence, to be applied to the
    /// before-image value.
    JsonDiff(&'a [u8]),
    /// 4 bytes SRID (little-endian) and WKB.
    Geometry(&'a [u8]),
    /// Little-endian f32 values.
    Vector(&'a [u8]),
}

/// The vector, emptied, for cells that borrow something else: keeps its memory from one event to the next.
#[must_use]
pub fn recycle<'b>(mut cells: Vec<Cell<'_>>) -> Vec<Cell<'b>> {
    cells.clear();
    // The standard library collects this in place; there is nothing to map.
    cells.into_iter().map(|_| Cell::Absent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recycling_keeps_the_memory() {
        let text = vec![1];
        let mut cells = Vec::with_capacity(100);
        cells.push(Cell::Text(&text));
        let memory = cells.as_ptr().addr();
        let recycled: Vec<Cell<'static>> = recycle(cells);
        assert_eq!((recycled.len(), recycled.capacity(), recycled.as_ptr().addr()), (0, 100, memory));
    }
}
