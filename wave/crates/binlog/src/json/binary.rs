//! Reading a binary document in place (MySQL worklog 8132, `json_binary.h`).

use std::borrow::Cow;

use crate::decimal::Decimal;
use crate::error::{Error, Result};
use crate::temporal::{DateTime, Time};

/// The server's limit of nesting.
pub(super) const MAX_DEPTH: usize = 100;
const WHAT: &str = "JSON value";

/// A value of an SQL type that JSON does not have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Opaque<'a> {
    Decimal(Decimal<'a>),
    Date(DateTime),
    Time(Time),
    /// DATETIME and TIMESTAMP; the latter was converted to the zone of the session that stored it.
    DateTime(DateTime),
    /// Anything else: number of the SQL type (16 BIT, 15 VARBINARY, 252 BLOB, 255 GEOMETRY, …) and its bytes.
    Other {
        sql_type: u8,
        bytes: &'a [u8],
    },
}

/// Receives a document in its stored order, which is the order in which the server prints it. A method that fails ends
/// the walk with its error.
pub trait Visitor<'a> {
    /// # Errors
    /// The visitor's own.
    fn null(&mut self) -> Result<()>;
    /// # Errors
    /// The visitor's own.
    fn boolean(&mut self, value: bool) -> Result<()>;
    /// # Errors
    /// The visitor's own.
    fn int(&mut self, value: i64) -> Result<()>;
    /// # Errors
    /// The visitor's own.
    fn uint(&mut self, value: u64) -> Result<()>;
    /// # Errors
    /// The visitor's own.
    fn double(&mut self, value: f64) -> Result<()>;
    /// # Errors
    /// The visitor's own.
    fn string(&mut self, value: Cow<'a, str>) -> Result<()>;
    /// # Errors
    /// The visitor's own.
    fn opaque(&mut self, value: Opaque<'a>) -> Result<()>;
    /// An array of `len` values follows, then `end_array`.
    /// # Errors
    /// The visitor's own.
    fn begin_array(&mut self, len: usize) -> Result<()>;
    /// # Errors
    /// The visitor's own.
    fn end_array(&mut self) -> Result<()>;
    /// An object of `len` members follows, each a `key` and a value, then `end_object`.
    /// # Errors
    /// The visitor's own.
    fn begin_object(&mut self, len: usize) -> Result<()>;
    /// # Errors
    /// The visitor's own.
    fn key(&mut self, key: Cow<'a, str>) -> Result<()>;
    /// # Errors
    /// The visitor's own.
    fn end_object(&mut self) -> Result<()>;
}

/// Visits the document in `bytes`; no bytes at all are null, as on the server.
///
/// # Errors
/// Broken documents, and those of the visitor. The visitor may have seen a part.
pub fn walk<'a>(bytes: &'a [u8], visitor: &mut impl Visitor<'a>) -> Result<()> {
    let Some((&kind, data)) = bytes.split_first() else { return visitor.null() };
    Walk { budget: bytes.len(), visitor }.value(kind, data, 0)
}

fn malformed(detail: impl Into<String>) -> Error {
    Error::Malformed { what: WHAT, detail: detail.into() }
}

/// The first `N` bytes behind `at`.
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let tail = bytes.get(at..).unwrap_or_default();
    tail.first_chunk().copied().ok_or(Error::Truncated { what: WHAT, need: N, have: tail.len() })
}

/// Splits off `len` bytes.
fn split(bytes: &[u8], len: usize) -> Result<&[u8]> {
    bytes.get(..len).ok_or(Error::Truncated { what: WHAT, need: len, have: bytes.len() })
}

/// A length of 1 to 5 bytes, 7 bits each, the lowest first; and the bytes behind it.
fn variable_length(bytes: &[u8]) -> Result<(usize, &[u8])> {
    let mut length = 0u64;
    for (index, &byte) in bytes.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            return Ok((length, bytes.get(index + 1..).unwrap_or_default()));
        }
    }
    Err(malformed("a length does not end"))
}

/// Small containers count and point with two bytes, large ones with four.
#[derive(Clone, Copy)]
struct Container<'a> {
    bytes: &'a [u8],
    large: bool,
    is_object: bool,
    len: usize,
}

impl<'a> Container<'a> {
    fn read(data: &'a [u8], large: bool, is_object: bool) -> Result<Self> {
        let number = |index: usize| read_offset(data, index * offset_len(large), large);
        let (len, size) = (number(0)?, number(1)?);
        let container = Self { bytes: split(data, size)?, large, is_object, len };
        if len.checked_mul(container.entry_len()).is_none_or(|entries| entries + 2 * offset_len(large) > size) {
            return Err(malformed(format!("{len} values do not fit into {size} bytes")));
        }
        Ok(container)
    }

    /// Bytes of the entries of one member in the header.
    fn entry_len(self) -> usize {
        let value = 1 + offset_len(self.large);
        if self.is_object { value + offset_len(self.large) + 2 } else { value }
    }

    fn header_len(self) -> usize {
        2 * offset_len(self.large) + self.len * self.entry_len()
    }

    fn key(self, index: usize) -> Result<&'a [u8]> {
        let at = (2 + index) * offset_len(self.large) + 2 * index;
        let offset = read_offset(self.bytes, at, self.large)?;
        let length = usize::from(u16::from_le_bytes(chunk(self.bytes, at + offset_len(self.large))?));
        split(self.behind_header(offset)?, length)
    }

    /// Type byte and data of a value; the data of an inlined one is its entry.
    fn value(self, index: usize) -> Result<(u8, &'a [u8])> {
        let offset_len = offset_len(self.large);
        let keys = if self.is_object { self.len * (offset_len + 2) } else { 0 };
        let at = 2 * offset_len + keys + index * (1 + offset_len);
        let [kind] = chunk(self.bytes, at)?;
        let inlined = match kind {
            0x04..=0x06 => true,
            0x07 | 0x08 => self.large,
            _ => false,
        };
        if inlined {
            let data = self.bytes.get(at + 1..at + 1 + offset_len).unwrap_or_default();
            return Ok((kind, data));
        }
        Ok((kind, self.behind_header(read_offset(self.bytes, at + 1, self.large)?)?))
    }

    fn behind_header(self, offset: usize) -> Result<&'a [u8]> {
        if offset < self.header_len() {
            return Err(malformed(format!("offset {offset} points into its container's header")));
        }
        self.bytes.get(offset..).ok_or_else(|| malformed(format!("offset {offset} is outside of its container")))
    }
}

fn offset_len(large: bool) -> usize {
    if large { 4 } else { 2 }
}

fn read_offset(bytes: &[u8], at: usize, large: bool) -> Result<usize> {
    Ok(if large {
        usize::try_from(u32::from_le_bytes(chunk(bytes, at)?)).unwrap_or(usize::MAX)
    } else {
        usize::from(u16::from_le_bytes(chunk(bytes, at)?))
    })
}

struct Walk<'v, V> {
    /// Values and bytes of text that may still be visited: a sound document has fewer than its size.
    budget: usize,
    visitor: &'v mut V,
}

impl<'a, V: Visitor<'a>> Walk<'_, V> {
    fn value(&mut self, kind: u8, data: &'a [u8], depth: usize) -> Result<()> {
        self.spend(1)?;
        match kind {
            0x00..=0x03 => self.container(Container::read(data, kind & 1 == 1, kind < 2)?, depth),
            0x04 => match chunk(data, 0)? {
                [0] => self.visitor.null(),
                [1] => self.visitor.boolean(true),
                [2] => self.visitor.boolean(false),
                [other] => Err(malformed(format!("literal {other}"))),
            },
            0x05 => self.visitor.int(i64::from(i16::from_le_bytes(chunk(data, 0)?))),
            0x06 => self.visitor.uint(u64::from(u16::from_le_bytes(chunk(data, 0)?))),
            0x07 => self.visitor.int(i64::from(i32::from_le_bytes(chunk(data, 0)?))),
            0x08 => self.visitor.uint(u64::from(u32::from_le_bytes(chunk(data, 0)?))),
            0x09 => self.visitor.int(i64::from_le_bytes(chunk(data, 0)?)),
            0x0a => self.visitor.uint(u64::from_le_bytes(chunk(data, 0)?)),
            0x0b => self.visitor.double(f64::from_le_bytes(chunk(data, 0)?)),
            0x0c => {
                let (length, data) = variable_length(data)?;
                let text = self.text(split(data, length)?)?;
                self.visitor.string(text)
            }
            0x0f => {
                let [sql_type] = chunk(data, 0)?;
                let (length, data) = variable_length(data.get(1..).unwrap_or_default())?;
                let data = split(data, length)?;
                self.spend(data.len())?;
                self.visitor.opaque(opaque(sql_type, data)?)
            }
            other => Err(malformed(format!("type {other}"))),
        }
    }

    fn container(&mut self, container: Container<'a>, depth: usize) -> Result<()> {
        if depth >= MAX_DEPTH {
            return Err(Error::TooLarge { what: "JSON nesting", size: depth as u64 + 1, limit: MAX_DEPTH as u64 });
        }
        if container.is_object {
            self.visitor.begin_object(container.len)?;
        } else {
            self.visitor.begin_array(container.len)?;
        }
        for index in 0..container.len {
            if container.is_object {
                let key = self.text(container.key(index)?)?;
                self.visitor.key(key)?;
            }
            let (kind, data) = container.value(index)?;
            self.value(kind, data, depth + 1)?;
        }
        if container.is_object { self.visitor.end_object() } else { self.visitor.end_array() }
    }

    /// The server stores valid UTF-8 only; should it not be that, U+FFFD keeps the row alive.
    fn text(&mut self, bytes: &'a [u8]) -> Result<Cow<'a, str>> {
        self.spend(bytes.len())?;
        Ok(String::from_utf8_lossy(bytes))
    }

    fn spend(&mut self, amount: usize) -> Result<()> {
        self.budget = self.budget.checked_sub(amount).ok_or_else(|| malformed("its values overlap"))?;
        Ok(())
    }
}

fn opaque(sql_type: u8, bytes: &[u8]) -> Result<Opaque<'_>> {
    let packed = || Ok::<_, Error>(i64::from_le_bytes(chunk(bytes, 0)?));
    Ok(match sql_type {
        246 => match *bytes {
            [precision, scale, ref digits @ ..] => Opaque::Decimal(Decimal::read(digits, precision, scale)?),
            _ => return Err(Error::Truncated { what: "JSON decimal", need: 2, have: bytes.len() }),
        },
        10 => Opaque::Date(datetime(packed()?)?),
        11 => Opaque::Time(time(packed()?)?),
        7 | 12 => Opaque::DateTime(datetime(packed()?)?),
        _ => Opaque::Other { sql_type, bytes },
    })
}

/// The low 24 bits of a packed temporal value are microseconds.
fn micros(packed: u64) -> Result<u32> {
    let micros = (packed & 0xff_ffff) as u32;
    if micros > 999_999 {
        return Err(malformed(format!("{micros} microseconds")));
    }
    Ok(micros)
}

fn datetime(packed: i64) -> Result<DateTime> {
    let packed = u64::try_from(packed).map_err(|_| malformed("a date before the zero date"))?;
    Ok(DateTime { micros: micros(packed)?, ..DateTime::from_packed_seconds(packed >> 24) })
}

fn time(packed: i64) -> Result<Time> {
    let magnitude = packed.unsigned_abs();
    let seconds = magnitude >> 24;
    Ok(Time {
        negative: packed < 0,
        hour: (seconds >> 12 & 0x3ff) as u16,
        minute: (seconds >> 6 & 63) as u8,
        second: (seconds & 63) as u8,
        micros: micros(magnitude)?,
    })
}
