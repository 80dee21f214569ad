//! The partition of a row: a stable hash of its key, computed here and nowhere else.
//!
//! xxh3-64 over the primary key cells of the row, each written as a tag and its exact bytes; tables without a key hash
//! all cells of the row. The hash is the same over restarts, versions and formats, so a key never changes its partition
//! while the partition count of its feed stands (and that count is pinned).

use binlog::Cell;
use binlog::schema::Table;
use xxhash_rust::xxh3::xxh3_64;

/// Writes the key of a row image into `scratch` and gives its hash.
#[must_use]
pub(crate) fn key_hash(table: &Table, cells: &[Cell<'_>], scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    if table.primary_key.is_empty() {
        for cell in cells {
            write_cell(cell, scratch);
        }
    } else {
        for index in &table.primary_key {
            write_cell(cells.get(usize::from(*index)).unwrap_or(&Cell::Absent), scratch);
        }
    }
    xxh3_64(scratch)
}

/// The partition of a hash: high bits times count, so that every bit of the hash counts.
#[must_use]
pub(crate) fn partition_of(hash: u64, partitions: u32) -> u32 {
    ((u128::from(hash) * u128::from(partitions.max(1))) >> 64) as u32
}

fn write_cell(cell: &Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Absent => out.push(0),
        Cell::Null => out.push(1),
        Cell::Int(v) => fixed(2, &v.to_le_bytes(), out),
        Cell::UInt(v) | Cell::Set(v) | Cell::Bit(v) => fixed(3, &v.to_le_bytes(), out),
        Cell::Float(v) => fixed(4, &v.to_bits().to_le_bytes(), out),
        Cell::Double(v) => fixed(5, &v.to_bits().to_le_bytes(), out),
        Cell::Decimal(d) => variable(6, d.bytes, out),
        Cell::Year(v) | Cell::Enum(v) => fixed(7, &v.to_le_bytes(), out),
        Cell::Date(d) => {
            fixed(8, &d.year.to_le_bytes(), out);
            out.extend_from_slice(&[d.month, d.day]);
        }
        Cell::Time(t) => {
            fixed(9, &t.hour.to_le_bytes(), out);
            out.extend_from_slice(&[u8::from(t.negative), t.minute, t.second]);
            out.extend_from_slice(&t.micros.to_le_bytes());
        }
        Cell::DateTime(d) => {
            fixed(10, &d.year.to_le_bytes(), out);
            out.extend_from_slice(&[d.month, d.day, d.hour, d.minute, d.second]);
            out.extend_from_slice(&d.micros.to_le_bytes());
        }
        Cell::Timestamp(t) => {
            fixed(11, &i64::from(t.seconds).to_le_bytes(), out);
            out.extend_from_slice(&t.micros.to_le_bytes());
        }
        Cell::Text(b)
        | Cell::Bytes(b)
        | Cell::FixedBinary(b)
        | Cell::Json(b)
        | Cell::JsonDiff(b)
        | Cell::Geometry(b)
        | Cell::Vector(b) => {
            variable(12, b, out);
        }
    }
}

fn fixed(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn variable(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}
