//! The text of a cell as the server's `SELECT` prints it (manual: "Data Types").
//!
//! Deviations, on purpose: BIT is a number instead of raw bytes, a FLOAT keeps all its digits, and what the log does not
//! say (ZEROFILL, the M,D of FLOAT(M,D)) is not applied. TIMESTAMP is in UTC. No memory is taken per cell except for text
//! that must be converted to UTF-8.

mod escape;
mod fixed_binary;
mod float;

pub use escape::{write_base64, write_json_string};
pub use fixed_binary::write_fixed_binary;
pub use float::{write_f32, write_f64};

use crate::cell::Cell;
use crate::error::Result;
use crate::json;
use crate::schema::{Column, ColumnType};

/// Appends the text of `cell`, which is UTF-8 except for `Bytes`, `Geometry` and `Vector`: these are the bytes
/// themselves, BINARY(n) with its trailing zeros. `Absent` and `Null` append nothing: the caller tells them apart.
/// ENUM and SET print their number when the log carries no labels. A JSON diff prints as in [`json::write_diff`].
///
/// # Errors
/// Text of an unknown character set, or broken JSON; `out` may have a part of it then.
pub fn render_text(cell: &Cell<'_>, column: &Column, out: &mut Vec<u8>) -> Result<()> {
    match *cell {
        Cell::Absent | Cell::Null => {}
        Cell::Int(value) => write_int(value, out),
        Cell::UInt(value) | Cell::Bit(value) => write_uint(value, out),
        Cell::Float(value) => write_f32(value, out),
        Cell::Double(value) => write_f64(value, out),
        Cell::Decimal(value) => value.write(out),
        Cell::Year(year) => write_year(year, out),
        Cell::Date(date) => date.write(out),
        Cell::Time(time) => time.write(out, fractional_digits(column)),
        Cell::DateTime(value) => value.write(out, fractional_digits(column)),
        Cell::Timestamp(value) => value.write(out, fractional_digits(column)),
        Cell::Text(bytes) => {
            column.charset.decode_into(bytes, out)?;
        }
        Cell::Bytes(bytes) => {
            out.extend_from_slice(bytes);
            out.extend(std::iter::repeat_n(0, stripped_zeros(bytes, column)));
        }
        Cell::FixedBinary(bytes) => write_fixed_binary(bytes, column.ty, out)?,
        Cell::Enum(index) => write_enum(index, column, out),
        Cell::Set(bits) => write_set(bits, column, out),
        Cell::Json(bytes) => json::write_text(bytes, out)?,
        Cell::JsonDiff(bytes) => json::write_diff(bytes, out)?,
        Cell::Geometry(bytes) | Cell::Vector(bytes) => out.extend_from_slice(bytes),
    }
    Ok(())
}

pub(crate) fn write_int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(crate) fn write_uint(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Four digits: `0000`, `1901`.
fn write_year(year: u16, out: &mut Vec<u8>) {
    if year < 1000 {
        let zeros = if year >= 100 {
            1
        } else if year >= 10 {
            2
        } else {
            3
        };
        out.extend(std::iter::repeat_n(b'0', zeros));
    }
    write_uint(u64::from(year), out);
}

/// The `fsp` of a temporal column, 0 for others.
#[must_use]
pub fn fractional_digits(column: &Column) -> u8 {
    match column.ty {
        ColumnType::Time { fsp } | ColumnType::DateTime { fsp } | ColumnType::Timestamp { fsp } => fsp,
        _ => 0,
    }
}

/// How many zero bytes the log leaves out at the end of a BINARY(n) value.
#[must_use]
pub fn stripped_zeros(bytes: &[u8], column: &Column) -> usize {
    match column.ty {
        ColumnType::Char { max_bytes } => usize::from(max_bytes).saturating_sub(bytes.len()),
        _ => 0,
    }
}

/// The label of an ENUM value: `Some("")` for the error value 0, None when no such label is known.
#[must_use]
pub fn enum_label(index: u16, column: &Column) -> Option<&str> {
    match index.checked_sub(1) {
        None => Some(""),
        Some(at) => column.labels.get(usize::from(at))?.as_deref(),
    }
}

/// The labels of a SET value in the order of definition; None when the label of a bit that is set is not known.
#[must_use]
pub fn set_labels(bits: u64, column: &Column) -> Option<impl Iterator<Item = &str>> {
    let used = 64 - bits.leading_zeros() as usize;
    let labels = column.labels.get(..used)?;
    let set = move || labels.iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 == 1).map(|(_, label)| label);
    set().all(Option::is_some).then(|| set().filter_map(Option::as_deref))
}

fn write_enum(index: u16, column: &Column, out: &mut Vec<u8>) {
    match enum_label(index, column) {
        Some(label) => out.extend_from_slice(label.as_bytes()),
        None => write_uint(u64::from(index), out),
    }
}

fn write_set(bits: u64, column: &Column, out: &mut Vec<u8>) {
    let Some(labels) = set_labels(bits, column) else {
        write_uint(bits, out);
        return;
    };
    for (index, label) in labels.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(label.as_bytes());
    }
}
