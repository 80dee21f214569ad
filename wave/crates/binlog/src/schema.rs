//! Table definitions, compiled once and used for every row.

use std::sync::Arc;

use crate::charset::Charset;

/// What a column is, with all that decoding needs. Built from the TABLE_MAP's type byte and metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    Tiny,
    Short,
    Int24,
    Long,
    LongLong,
    Float,
    Double,
    /// Precision 1..=65, scale 0..=30.
    Decimal { precision: u8, scale: u8 },
    /// Width in bits, 1..=64.
    Bit { bits: u8 },
    Year,
    /// DATE and NEWDATE, 3 bytes.
    Date,
    /// Before 5.6: 3 bytes decimal.
    TimeOld,
    /// Before 5.6: 8 bytes decimal.
    DateTimeOld,
    /// Before 5.6: 4 bytes little-endian.
    TimestampOld,
    /// `fsp` 0..=6 fractional digits, also below.
    Time { fsp: u8 },
    DateTime { fsp: u8 },
    Timestamp { fsp: u8 },
    /// CHAR(n)/BINARY(n); `max_bytes` is the maximum byte length, which selects 1 or 2 length bytes.
    Char { max_bytes: u16 },
    VarChar { max_bytes: u16 },
    /// TEXT and BLOB family; number of length bytes 1..=4.
    Blob { length_bytes: u8 },
    /// 1 or 2 bytes.
    Enum { bytes: u8 },
    /// 1..=8 bytes.
    Set { bytes: u8 },
    Json { length_bytes: u8 },
    Geometry { length_bytes: u8 },
    Vector { length_bytes: u8 },
    /// A type byte that is not known: rows of this table cannot be decoded.
    Unsupported { code: u8 },
    /// MariaDB COMPRESSED VARCHAR and BLOB columns (type bytes 141, 140).
    VarCharCompressed { max_bytes: u16 },
    BlobCompressed { length_bytes: u8 },
}

/// One column of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// UTF-8; `@1`, `@2`, … when neither the log nor a definition gives a name.
    pub name: String,
    pub ty: ColumnType,
    pub unsigned: bool,
    pub nullable: bool,
    /// For CHAR, VARCHAR, TEXT, ENUM, SET; `Charset::BINARY` marks the binary types.
    pub charset: Charset,
    /// ENUM or SET labels, converted to UTF-8; empty when unknown.
    pub labels: Arc<[String]>,
    /// 0-based position in the primary key.
    pub key_part: Option<u16>,
    pub visible: bool,
    /// Generated column, where known (only INFORMATION_SCHEMA says so).
    pub generated: bool,
    /// Geometry subtype (0 geometry, 1 point, …) where known.
    pub geometry_type: u8,
    /// The column type as SQL text (`varchar(20)`, `int unsigned`): from INFORMATION_SCHEMA when known, otherwise
    /// made from the log's metadata.
    pub sql_type: String,
}

/// Where the names and attributes of a table came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaSource {
    /// Full TABLE_MAP metadata: exact at this position.
    Log,
    /// A [`TableDefinition`] that matched the TABLE_MAP.
    Definition,
    /// Neither: columns are `@1`…; signedness and charsets are unknown.
    Unnamed,
}

/// A table as rows at some position have it. Immutable; shared by `Arc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub database: String,
    pub name: String,
    pub columns: Vec<Column>,
    /// Indices of the primary key columns in key order; empty without one.
    pub primary_key: Vec<u16>,
    pub source: SchemaSource,
    /// Stable hash of names, types, key: equal tables have equal hashes over restarts and versions.
    pub hash: u64,
}

/// A table definition read from INFORMATION_SCHEMA at a known position, or kept in the schema history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDefinition {
    pub database: String,
    pub name: String,
    pub columns: Vec<ColumnDefinition>,
}

/// One row of INFORMATION_SCHEMA.COLUMNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDefinition {
    pub name: String,
    /// COLUMN_TYPE, e.g. `int(11) unsigned`, `enum('a','b')`, `decimal(10,2)`.
    pub column_type: String,
    pub nullable: bool,
    /// CHARACTER_SET_NAME, None for types without one.
    pub charset: Option<String>,
    /// 0-based position in the primary key.
    pub key_part: Option<u16>,
    /// EXTRA, e.g. `STORED GENERATED`, `INVISIBLE`.
    pub extra: String,
}
