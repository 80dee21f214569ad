//! Cells as Maxwell writes them into JSON; the module [`super::maxwell_json`] lists the forms.

use std::borrow::Cow;

use binlog::json::{self, Opaque, Visitor};
use binlog::render;
use binlog::schema::{Column, ColumnType};
use binlog::{Cell, Error, Result};

use super::escape::{clean_prefix, push_document_string, push_escaped, push_string};
use super::java_number::{plain_to_big_decimal, write_double, write_float};
use super::wkt;
use binlog::charset::Charset;

/// What the value of a column needs besides its cell, prepared once per table.
#[derive(Clone, Debug)]
pub(super) struct ValuePlan {
    charset: Charset,
    /// Printable ASCII bytes are the same text in UTF-8.
    ascii: bool,
    /// Length of a BINARY(n), which the log stores without trailing zeros; 0 for other types.
    pad_to: usize,
    ty: ColumnType,
    fsp: u8,
    /// Labels of ENUM and SET as JSON strings, as far as they are known.
    labels: Vec<Option<Box<[u8]>>>,
}

impl ValuePlan {
    pub(super) fn new(column: &Column) -> Self {
        let labels = column.labels.iter().map(|label| {
            let mut json = Vec::new();
            push_string(label.as_ref()?, &mut json);
            Some(json.into_boxed_slice())
        });
        ValuePlan {
            charset: column.charset,
            ascii: !matches!(
                column.charset,
                Charset::Unknown | Charset::Ucs2 | Charset::Utf16 | Charset::Utf16le | Charset::Utf32 | Charset::Swe7
            ),
            pad_to: match column.ty {
                ColumnType::Char { max_bytes } => usize::from(max_bytes),
                _ => 0,
            },
            ty: column.ty,
            fsp: render::fractional_digits(column),
            labels: labels.collect(),
        }
    }

    /// Appends `cell` as JSON; an absent cell as `null`.
    ///
    /// # Errors
    /// Text of an unknown character set, broken JSON or geometry.
    #[inline]
    pub(super) fn write(&self, cell: &Cell<'_>, out: &mut Vec<u8>) -> Result<()> {
        match *cell {
            Cell::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            Cell::UInt(value) | Cell::Bit(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            Cell::Text(bytes) if self.ascii && clean_prefix(bytes) == bytes.len() => {
                out.reserve(bytes.len() + 2);
                out.push(b'"');
                out.extend_from_slice(bytes);
                out.push(b'"');
            }
            _ => return self.write_other(cell, out),
        }
        Ok(())
    }

    fn write_other(&self, cell: &Cell<'_>, out: &mut Vec<u8>) -> Result<()> {
        match *cell {
            Cell::Absent | Cell::Null => out.extend_from_slice(b"null"),
            Cell::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            Cell::UInt(value) | Cell::Bit(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            Cell::Float(value) => write_float(value, out),
            Cell::Double(value) => write_double(value, out),
            Cell::Decimal(value) => {
                let start = out.len();
                value.write(out);
                plain_to_big_decimal(out, start);
            }
            Cell::Year(year) => out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes()),
            Cell::Date(date) => quoted(out, |out| date.write(out)),
            Cell::Time(time) => quoted(out, |out| time.write(out, self.fsp)),
            Cell::DateTime(value) => quoted(out, |out| value.write(out, self.fsp)),
            Cell::Timestamp(value) => quoted(out, |out| value.write(out, self.fsp)),
            Cell::Text(bytes) => match self.charset.decode(bytes) {
                Ok(decoded) => push_string(&decoded.text, out),
                Err(_) if self.charset == Charset::Untold => quoted(out, |out| render::write_base64(bytes, out)),
                Err(error) => return Err(error),
            },
            Cell::Bytes(bytes) => self.write_bytes(bytes, out),
            Cell::FixedBinary(bytes) => quoted(out, |out| render::write_fixed_binary(bytes, self.ty, out))?,
            Cell::Enum(0) => out.extend_from_slice(b"\"\""),
            Cell::Enum(index) => match self.labels.get(usize::from(index) - 1).and_then(Option::as_deref) {
                Some(label) => out.extend_from_slice(label),
                None => out.extend_from_slice(itoa::Buffer::new().format(index).as_bytes()),
            },
            Cell::Set(bits) => self.write_set(bits, out),
            Cell::Json(bytes) => json::walk(bytes, &mut Document { out, comma: false })?,
            Cell::JsonDiff(_) => return Err(Error::Unsupported { what: "JSON diff without its document", code: 0 }),
            Cell::Geometry(bytes) => quoted(out, |out| wkt::write(bytes, out))?,
            Cell::Vector(bytes) => write_vector(bytes, out)?,
        }
        Ok(())
    }

    fn write_bytes(&self, bytes: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        let mut padded = [0u8; 256];
        match padded.get_mut(..self.pad_to) {
            Some(padded) if bytes.len() < padded.len() => {
                if let Some(front) = padded.get_mut(..bytes.len()) {
                    front.copy_from_slice(bytes);
                }
                render::write_base64(padded, out);
            }
            _ => render::write_base64(bytes, out),
        }
        out.push(b'"');
    }

    fn write_set(&self, bits: u64, out: &mut Vec<u8>) {
        let used = 64 - bits.leading_zeros() as usize;
        let labels = self.labels.get(..used).unwrap_or_default();
        let set = || labels.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, label)| label);
        if labels.len() < used || set().any(Option::is_none) {
            return out.extend_from_slice(itoa::Buffer::new().format(bits).as_bytes());
        }
        out.push(b'[');
        let mut comma = false;
        for label in set().flatten() {
            if comma {
                out.push(b',');
            }
            comma = true;
            out.extend_from_slice(label);
        }
        out.push(b']');
    }
}

fn quoted<R>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    out.push(b'"');
    let result = write(out);
    out.push(b'"');
    result
}

pub(super) fn write_vector(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let (floats, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Error::Malformed { what: "VECTOR", detail: format!("{} bytes are no floats", bytes.len()) });
    }
    out.push(b'[');
    for (i, float) in floats.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_float(f32::from_le_bytes(*float), out);
    }
    out.push(b']');
    Ok(())
}

/// Prints a JSON document as the binlog reader below Maxwell does: no spaces, members in stored order, numbers never
/// with an exponent, dates and times as strings, other SQL values in base64.
struct Document<'o> {
    out: &'o mut Vec<u8>,
    comma: bool,
}

impl Document<'_> {
    fn item(&mut self) -> &mut Vec<u8> {
        if self.comma {
            self.out.push(b',');
        }
        self.comma = true;
        self.out
    }

    fn open(&mut self, bracket: u8) -> Result<()> {
        self.item().push(bracket);
        self.comma = false;
        Ok(())
    }

    fn close(&mut self, bracket: u8) -> Result<()> {
        self.out.push(bracket);
        self.comma = true;
        Ok(())
    }
}

impl<'a> Visitor<'a> for Document<'_> {
    fn null(&mut self) -> Result<()> {
        self.item().extend_from_slice(b"null");
        Ok(())
    }

    fn boolean(&mut self, value: bool) -> Result<()> {
        self.item().extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn int(&mut self, value: i64) -> Result<()> {
        self.item().extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        Ok(())
    }

    fn uint(&mut self, value: u64) -> Result<()> {
        self.item().extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        Ok(())
    }

    fn double(&mut self, value: f64) -> Result<()> {
        let out = self.item();
        let start = out.len();
        write_double(value, out);
        if out.get(start..).is_some_and(|text| text.contains(&b'E')) {
            // `new BigDecimal(double).toPlainString()`: the exact binary value, of at most 1074 fractional digits.
            out.truncate(start);
            let exact = format!("{value:.1074}");
            out.extend_from_slice(exact.trim_end_matches('0').trim_end_matches('.').as_bytes());
        }
        Ok(())
    }

    fn string(&mut self, value: Cow<'a, str>) -> Result<()> {
        push_document_string(&value, self.item());
        Ok(())
    }

    fn opaque(&mut self, value: Opaque<'a>) -> Result<()> {
        let out = self.item();
        match value {
            Opaque::Decimal(decimal) => decimal.write(out),
            Opaque::Date(date) => quoted(out, |out| date.date().write(out)),
            Opaque::DateTime(value) => quoted(out, |out| value.write(out, needed_digits(value.micros))),
            Opaque::Time(time) => quoted(out, |out| time.write(out, needed_digits(time.micros))),
            Opaque::Other { bytes, .. } => quoted(out, |out| render::write_base64(bytes, out)),
        }
        Ok(())
    }

    fn begin_array(&mut self, _len: usize) -> Result<()> {
        self.open(b'[')
    }

    fn end_array(&mut self) -> Result<()> {
        self.close(b']')
    }

    fn begin_object(&mut self, _len: usize) -> Result<()> {
        self.open(b'{')
    }

    fn key(&mut self, key: Cow<'a, str>) -> Result<()> {
        push_document_string(&key, self.item());
        self.out.push(b':');
        self.comma = false;
        Ok(())
    }

    fn end_object(&mut self) -> Result<()> {
        self.close(b'}')
    }
}

/// Fractional digits without trailing zeros; 0 for none.
fn needed_digits(micros: u32) -> u8 {
    (0..=6u8).find(|digits| micros.is_multiple_of(10u32.pow(6 - u32::from(*digits)))).unwrap_or(6)
}

/// Appends the document that `diff` makes of the document `before`, as if it stood in the log itself.
///
/// # Errors
/// Broken input, or a diff that does not fit the document.
pub(super) fn write_patched_document(before: &[u8], diff: &[u8], out: &mut Vec<u8>) -> Result<()> {
    json::walk_patched(before, diff, &mut Document { out, comma: false })
}

/// Appends the operations of a partial update whose document is not known:
/// `[{"op":"replace","path":"$.a","value":1},{"op":"remove","path":"$.b"}]`.
///
/// # Errors
/// Broken input.
pub(super) fn write_operations(diff: &[u8], out: &mut Vec<u8>) -> Result<()> {
    json::walk_diff(diff, &mut Document { out, comma: false })
}

/// Appends `text` in bytes that should be UTF-8 (a logged statement) as a JSON string.
pub(super) fn write_statement(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        push_escaped(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            push_escaped("\u{fffd}", out);
        }
    }
    out.push(b'"');
}
