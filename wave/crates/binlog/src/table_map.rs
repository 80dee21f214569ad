//! TABLE_MAP: the columns of the rows events that follow (manual: `Table_map_event`; metadata: WL#4618; manual: `binlog_row_metadata`).
//!
//! The fixed part gives type bytes and per type some bytes of metadata; the optional part, as far as
//! `binlog_row_metadata` puts it there, names, signs, character sets, labels and the primary key. A type byte that is
//! not known does not fail here: its column and those after it become [`ColumnType::Unsupported`], because the lengths
//! of their metadata are not known. Early versions of MySQL 5.1 (5.1.17 is one) wrote the type bytes alone: columns of
//! such a table cannot be decoded from the log.

use crate::decimal::Decimal;
use crate::error::{Error, Result};
use crate::read::Reader;
use crate::schema::ColumnType;

/// Columns that a table can have: twice the servers' limit (4096; manual: "Limits on Table Column Count"), since columns of
/// their own come on top. One takes a byte in an event, and some two hundred once it is compiled.
const MAX_COLUMNS: usize = 8192;
/// Labels of all ENUM or all SET columns of a table: sixteen columns may have the most that one can (65,535; manual: "String
/// Data Type Syntax"). One takes a byte in an event, and some fifty once it is compiled.
const MAX_LABELS: usize = 16 << 16;

/// A TABLE_MAP event; parts are read on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableMap<'a> {
    /// Unique until the next FORMAT_DESCRIPTION; a changed table gets a new one.
    pub table_id: u64,
    pub flags: u16,
    /// UTF-8.
    pub database: &'a [u8],
    /// UTF-8.
    pub table: &'a [u8],
    types: &'a [u8],
    metadata: &'a [u8],
    null_bits: &'a [u8],
    optional: &'a [u8],
    mariadb: bool,
    definition: &'a [u8],
    /// There is more than type bytes.
    described: bool,
}

impl<'a> TableMap<'a> {
    /// `body` without header and checksum.
    ///
    /// # Errors
    /// Truncated or malformed bytes.
    pub fn parse(body: &'a [u8], table_id_len: usize, mariadb: bool) -> Result<Self> {
        let mut r = Reader::new("TABLE_MAP", body);
        let table_id = r.le(table_id_len)?;
        let flags = r.u16()?;
        let definition = r.rest();
        // Names are length, bytes, NUL.
        let n = r.u8()?.into();
        let database = r.bytes(n)?;
        r.skip(1)?;
        let n = r.u8()?.into();
        let table = r.bytes(n)?;
        r.skip(1)?;
        let columns = r.lenenc_len()?;
        let types = r.bytes(columns)?;
        let described = !r.is_empty();
        let (mut metadata, mut null_bits) = (&[][..], &[][..]);
        if described {
            metadata = r.lenenc_bytes()?;
            null_bits = r.bytes(columns.div_ceil(8))?;
        }
        let optional = r.take_rest();
        Ok(Self {
            table_id,
            flags,
            database,
            table,
            types,
            metadata,
            null_bits,
            optional,
            mariadb,
            definition,
            described,
        })
    }

    /// As many as type bytes; not bounded here.
    #[must_use]
    pub fn column_count(&self) -> usize {
        self.types.len()
    }

    /// All that describes the table, without its id: equal bytes compile to equal tables.
    #[must_use]
    pub fn definition_bytes(&self) -> &'a [u8] {
        self.definition
    }

    /// Whether a MariaDB server wrote it: its lists of collations go over other columns.
    #[must_use]
    pub fn is_mariadb(&self) -> bool {
        self.mariadb
    }

    /// Whether column `index` may be NULL.
    #[must_use]
    pub fn nullable(&self, index: usize) -> bool {
        self.null_bits.get(index / 8).is_some_and(|b| b >> (index % 8) & 1 == 1)
    }

    /// Type bytes and their metadata, put together.
    ///
    /// # Errors
    /// Metadata that ends early, is impossible for its type, or not there at all; more columns than a table can have.
    pub(crate) fn column_types(&self) -> Result<Vec<ColumnType>> {
        if !self.described {
            return Err(Error::Malformed {
                what: "TABLE_MAP",
                detail: "it says nothing of lengths and NULLs, as in early versions of MySQL 5.1: rows of this table \
                         cannot be decoded from the log"
                    .into(),
            });
        }
        if self.types.len() > MAX_COLUMNS {
            return Err(too_many("number of columns", self.types.len(), MAX_COLUMNS));
        }
        let mut metadata = Reader::new("TABLE_MAP metadata", self.metadata);
        let mut out = Vec::with_capacity(self.types.len());
        for code in self.types {
            let ty = match out.last() {
                Some(ColumnType::Unsupported { .. }) => ColumnType::Unsupported { code: *code },
                _ => column_type(*code, &mut metadata)?,
            };
            out.push(ty);
        }
        Ok(out)
    }

    /// The optional part. Fields that are not known are skipped.
    ///
    /// # Errors
    /// Malformed fields.
    pub fn optional(&self) -> Result<OptionalMetadata<'a>> {
        OptionalMetadata::parse(self.optional)
    }
}

/// Type codes: MySQL's `enum_field_types`, MariaDB's 140 and 141.
fn column_type(code: u8, metadata: &mut Reader<'_>) -> Result<ColumnType> {
    use ColumnType as C;
    Ok(match code {
        1 => C::Tiny,
        2 => C::Short,
        3 => C::Long,
        4 => {
            metadata.u8()?;
            C::Float
        }
        5 => {
            metadata.u8()?;
            C::Double
        }
        7 => C::TimestampOld,
        8 => C::LongLong,
        9 => C::Int24,
        10 | 14 => C::Date,
        11 => C::TimeOld,
        12 => C::DateTimeOld,
        13 => C::Year,
        15 => C::VarChar { max_bytes: metadata.u16()? },
        253 => var_string(metadata)?,
        16 => {
            let [rest, bytes] = metadata.array()?;
            match u16::from(bytes) * 8 + u16::from(rest) {
                bits @ 1..=64 if rest < 8 => C::Bit { bits: bits as u8 },
                bits => return Err(metadata.malformed(format!("BIT({bits})"))),
            }
        }
        17 => C::Timestamp { fsp: fsp(metadata)? },
        18 => C::DateTime { fsp: fsp(metadata)? },
        19 => C::Time { fsp: fsp(metadata)? },
        140 => C::BlobCompressed { length_bytes: length_bytes(metadata)? },
        141 => C::VarCharCompressed { max_bytes: metadata.u16()? },
        242 => C::Vector { length_bytes: length_bytes(metadata)? },
        245 => C::Json { length_bytes: length_bytes(metadata)? },
        246 => {
            let [precision, scale] = metadata.array()?;
            if !Decimal::is_column_type(precision, scale) {
                return Err(metadata.malformed(format!("DECIMAL({precision},{scale})")));
            }
            C::Decimal { precision, scale }
        }
        249..=252 => C::Blob { length_bytes: length_bytes(metadata)? },
        254 => string(metadata)?,
        255 => C::Geometry { length_bytes: length_bytes(metadata)? },
        other => C::Unsupported { code: other },
    })
}

/// Type 254 has the real type in its first byte; for CHAR above 255 bytes, two bits of the length are inverted into it.
fn string(metadata: &mut Reader<'_>) -> Result<ColumnType> {
    let [real, length] = metadata.array()?;
    if real & 0x30 != 0x30 {
        let high = u16::from((real & 0x30) ^ 0x30) << 4;
        return Ok(ColumnType::Char { max_bytes: high | u16::from(length) });
    }
    match (real, length) {
        (247, 1..=2) => Ok(ColumnType::Enum { bytes: length }),
        (248, 1..=8) => Ok(ColumnType::Set { bytes: length }),
        (254, _) => Ok(ColumnType::Char { max_bytes: length.into() }),
        _ => Err(metadata.malformed(format!("type {real} of length {length} in a STRING"))),
    }
}

/// VARCHAR of a table that a server before 5.0 made: described like a CHAR (seen on 5.5).
fn var_string(metadata: &mut Reader<'_>) -> Result<ColumnType> {
    match string(metadata)? {
        ColumnType::Char { max_bytes } => Ok(ColumnType::VarChar { max_bytes }),
        other => Err(metadata.malformed(format!("{other:?} in a VAR_STRING"))),
    }
}

fn fsp(metadata: &mut Reader<'_>) -> Result<u8> {
    match metadata.u8()? {
        digits @ 0..=6 => Ok(digits),
        other => Err(metadata.malformed(format!("{other} fractional digits"))),
    }
}

fn length_bytes(metadata: &mut Reader<'_>) -> Result<u8> {
    match metadata.u8()? {
        bytes @ 1..=4 => Ok(bytes),
        other => Err(metadata.malformed(format!("a length of {other} bytes"))),
    }
}

/// Character sets of a kind of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collations {
    /// All have `default`, but those listed as (ordinal among these columns, collation).
    Default {
        default: u16,
        others: Vec<(usize, u16)>,
    },
    Each(Vec<u16>),
}

impl Collations {
    /// Collation of the `ordinal`th of these columns.
    #[must_use]
    pub fn get(&self, ordinal: usize) -> Option<u16> {
        match self {
            Self::Default { default, others } => {
                Some(others.iter().find(|(at, _)| *at == ordinal).map_or(*default, |(_, collation)| *collation))
            }
            Self::Each(each) => each.get(ordinal).copied(),
        }
    }
}

/// Optional metadata of a TABLE_MAP as it stands there: lists go over the columns of a kind, not over all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalMetadata<'a> {
    /// Bits over the numeric columns, most significant first: UNSIGNED.
    pub unsigned: Option<&'a [u8]>,
    /// Over the character columns.
    pub collations: Option<Collations>,
    /// Over all columns, UTF-8.
    pub names: Option<Vec<&'a [u8]>>,
    /// Over the SET columns, in the column's character set.
    pub set_labels: Option<Vec<Vec<&'a [u8]>>>,
    /// Over the ENUM columns.
    pub enum_labels: Option<Vec<Vec<&'a [u8]>>>,
    /// Over the GEOMETRY columns.
    pub geometry_types: Option<Vec<u8>>,
    /// Column indices in key order.
    pub primary_key: Option<Vec<usize>>,
    /// Over the ENUM and SET columns.
    pub label_collations: Option<Collations>,
    /// Bits over all columns, most significant first.
    pub visible: Option<&'a [u8]>,
    /// Over the VECTOR columns.
    pub vector_dimensions: Option<Vec<u64>>,
}

impl<'a> OptionalMetadata<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut out = Self::default();
        let (mut set_labels, mut enum_labels) = (0, 0);
        let mut r = Reader::new("TABLE_MAP optional metadata", bytes);
        while !r.is_empty() {
            let kind = r.u8()?;
            let mut f = Reader::new("TABLE_MAP optional metadata", r.lenenc_bytes()?);
            match kind {
                1 => out.unsigned = Some(f.take_rest()),
                2 => out.collations = Some(default_collations(&mut f)?),
                3 => out.collations = Some(Collations::Each(all(&mut f, collation)?)),
                4 => out.names = Some(all(&mut f, Reader::lenenc_bytes)?),
                5 => out.set_labels = Some(all(&mut f, |f| labels(f, &mut set_labels))?),
                6 => out.enum_labels = Some(all(&mut f, |f| labels(f, &mut enum_labels))?),
                7 => out.geometry_types = Some(all(&mut f, |f| Ok(f.lenenc()?.min(255) as u8))?),
                8 => out.primary_key = Some(all(&mut f, Reader::lenenc_len)?),
                9 => {
                    let part = |f: &mut Reader<'a>| {
                        let column = f.lenenc_len()?;
                        f.lenenc()?; // prefix length; 0 for the whole column
                        Ok(column)
                    };
                    out.primary_key = Some(all(&mut f, part)?);
                }
                10 => out.label_collations = Some(default_collations(&mut f)?),
                11 => out.label_collations = Some(Collations::Each(all(&mut f, collation)?)),
                12 => out.visible = Some(f.take_rest()),
                13 => out.vector_dimensions = Some(all(&mut f, Reader::lenenc)?),
                _ => {}
            }
        }
        Ok(out)
    }
}

/// Bit `index` of a bitmap that begins with the most significant bit.
pub(crate) fn msb_bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|b| b >> (7 - index % 8) & 1 == 1)
}

fn too_many(what: &'static str, size: usize, limit: usize) -> Error {
    Error::TooLarge { what, size: size as u64, limit: limit as u64 }
}

/// A list over columns.
fn all<'a, T>(f: &mut Reader<'a>, mut one: impl FnMut(&mut Reader<'a>) -> Result<T>) -> Result<Vec<T>> {
    let mut out = Vec::new();
    while !f.is_empty() {
        if out.len() == MAX_COLUMNS {
            return Err(too_many("list over columns", out.len() + 1, MAX_COLUMNS));
        }
        out.push(one(f)?);
    }
    Ok(out)
}

fn collation(f: &mut Reader<'_>) -> Result<u16> {
    let id = f.lenenc()?;
    u16::try_from(id).map_err(|_| f.malformed(format!("collation {id}")))
}

fn default_collations(f: &mut Reader<'_>) -> Result<Collations> {
    let default = collation(f)?;
    let others = all(f, |f| Ok((f.lenenc_len()?, collation(f)?)))?;
    Ok(Collations::Default { default, others })
}

/// Those of the next column; `before` counts all of this kind.
fn labels<'a>(f: &mut Reader<'a>, before: &mut usize) -> Result<Vec<&'a [u8]>> {
    let count = f.lenenc_len()?;
    if count > f.len() {
        return Err(f.malformed(format!("{count} labels in {} bytes", f.len())));
    }
    *before += count;
    if *before > MAX_LABELS {
        return Err(too_many("number of labels", *before, MAX_LABELS));
    }
    (0..count).map(|_| f.lenenc_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(code: u8, metadata: &[u8]) -> Result<ColumnType> {
        column_type(code, &mut Reader::new("test", metadata))
    }

    #[test]
    fn char_above_255_bytes() {
        // CHAR(255) utf8mb4 is 1020 bytes = 0x3fc: bits 8 and 9 are inverted into bits 4 and 5 of 0xfe.
        assert_eq!(one(254, &[0xce, 0xfc]), Ok(ColumnType::Char { max_bytes: 1020 }));
        assert_eq!(one(254, &[0xfe, 0xff]), Ok(ColumnType::Char { max_bytes: 255 }));
        assert_eq!(one(254, &[0xee, 0x2c]), Ok(ColumnType::Char { max_bytes: 300 }));
        assert_eq!(one(254, &[247, 2]), Ok(ColumnType::Enum { bytes: 2 }));
        assert_eq!(one(254, &[248, 8]), Ok(ColumnType::Set { bytes: 8 }));
        assert!(one(254, &[248, 9]).is_err());
    }

    #[test]
    fn impossible_metadata() {
        assert_eq!(one(16, &[1, 1]), Ok(ColumnType::Bit { bits: 9 }));
        assert_eq!(one(16, &[0, 8]), Ok(ColumnType::Bit { bits: 64 }));
        // Only MariaDB's go so far.
        assert_eq!(one(246, &[65, 38]), Ok(ColumnType::Decimal { precision: 65, scale: 38 }));
        for (code, metadata) in [
            (16, [1, 8]),
            (16, [0, 0]),
            (246, [66, 0]),
            (246, [5, 6]),
            (246, [65, 39]),
            (18, [7, 0]),
            (252, [5, 0]),
            (252, [0, 0]),
        ] {
            assert!(one(code, &metadata).is_err(), "{code} {metadata:?}");
        }
    }

    #[test]
    fn a_type_that_is_not_known_hides_those_after_it() {
        let body = [
            1, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 3, // id, flags, names, 3 columns
            3, 20, 15, // INT, TYPED_ARRAY, VARCHAR
            3, 9, 9, 9, 0b101,
        ];
        let map = TableMap::parse(&body, 6, false).unwrap();
        let want = [ColumnType::Long, ColumnType::Unsupported { code: 20 }, ColumnType::Unsupported { code: 15 }];
        assert_eq!(map.column_types().unwrap(), want);
        assert!(map.nullable(0) && !map.nullable(1) && map.nullable(2) && !map.nullable(3));
        // Behind the type bytes it may end.
        for cut in (0..body.len()).filter(|cut| *cut != 18) {
            assert!(TableMap::parse(&body[..cut], 6, false).is_err());
        }
    }

    /// Captured from 5.5.34, whose table was made by 4.1: VARCHAR(30), CHAR(3), ENUM, TEXT.
    #[test]
    fn varchar_of_old_tables() {
        let body = b"\x21\0\0\0\0\0\x01\0\x03old\0\x05vchar\0\x04\xfd\xfe\xfe\xfc\x07\xfe\x1e\xfe\x03\xf7\x01\x02\x0f";
        let map = TableMap::parse(body, 6, false).unwrap();
        let want = [
            ColumnType::VarChar { max_bytes: 30 },
            ColumnType::Char { max_bytes: 3 },
            ColumnType::Enum { bytes: 1 },
            ColumnType::Blob { length_bytes: 2 },
        ];
        assert_eq!(map.column_types().unwrap(), want);
        assert!(one(253, &[247, 1]).is_err());
    }

    /// As 5.1.17 wrote it: INT and CHAR, and nothing of them.
    #[test]
    fn type_bytes_alone_decode_nothing() {
        let map = TableMap::parse(b"\x10\0\0\0\0\0\0\0\x04test\0\x02t1\0\x02\x03\xfe", 6, false).unwrap();
        assert_eq!((map.database, map.table, map.column_count()), (&b"test"[..], &b"t1"[..], 2));
        assert!(map.column_types().unwrap_err().to_string().contains("early versions of MySQL 5.1"));
    }
}
