//! Table definitions, compiled once and used for every row (manual: `binlog_row_metadata`, "The INFORMATION_SCHEMA COLUMNS
//! Table").
//!
//! [`Table::compile`] puts a TABLE_MAP and, where the log has no names, a [`TableDefinition`] together. What the log
//! says wins; a definition that contradicts it is refused ([`crate::Error::DefinitionMismatch`]).

mod compile;
mod definition;
mod sql_type;

use std::sync::Arc;

use crate::charset::Charset;
use crate::rows::Plan;

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
    /// Precision 1..=65, scale 0..=38.
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// Width in bits, 1..=64.
    Bit {
        bits: u8,
    },
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
    Time {
        fsp: u8,
    },
    DateTime {
        fsp: u8,
    },
    Timestamp {
        fsp: u8,
    },
    /// CHAR(n)/BINARY(n); `max_bytes` is the maximum byte length, which selects 1 or 2 length bytes.
    Char {
        max_bytes: u16,
    },
    VarChar {
        max_bytes: u16,
    },
    /// TEXT and BLOB family; number of length bytes 1..=4.
    Blob {
        length_bytes: u8,
    },
    /// 1 or 2 bytes.
    Enum {
        bytes: u8,
    },
    /// 1..=8 bytes.
    Set {
        bytes: u8,
    },
    Json {
        length_bytes: u8,
    },
    Geometry {
        length_bytes: u8,
    },
    Vector {
        length_bytes: u8,
    },
    /// A type byte that is not known: rows of this table cannot be decoded.
    Unsupported {
        code: u8,
    },
    /// MariaDB COMPRESSED VARCHAR and BLOB columns (type bytes 141, 140).
    VarCharCompressed {
        max_bytes: u16,
    },
    BlobCompressed {
        length_bytes: u8,
    },
    /// MariaDB's types of fixed length, which the log does not tell from BINARY(16) and BINARY(4): only a
    /// [`TableDefinition`] makes a column one of these.
    Uuid,
    Inet6,
    Inet4,
}

impl ColumnType {
    /// Bytes of a value of MariaDB's types of fixed length.
    pub(crate) fn fixed_binary_len(self) -> Option<usize> {
        match self {
            Self::Uuid | Self::Inet6 => Some(16),
            Self::Inet4 => Some(4),
            _ => None,
        }
    }
}

/// One column of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// UTF-8; `@1`, `@2`, … when neither the log nor a definition gives a name.
    pub name: String,
    pub ty: ColumnType,
    pub unsigned: bool,
    pub nullable: bool,
    /// For CHAR, VARCHAR, TEXT, ENUM, SET; `Charset::Binary` marks the binary types.
    pub charset: Charset,
    /// The number by which the log tells the character set; 0 where it does not.
    pub collation: u16,
    /// ENUM or SET labels, converted to UTF-8; empty when unknown. None: this one is unknown, for the definition says `?`
    /// where there may be another character.
    pub labels: Arc<[Option<String>]>,
    /// 0-based position in the primary key.
    pub key_part: Option<u16>,
    pub visible: bool,
    /// Generated column, where known (only INFORMATION_SCHEMA says so).
    pub generated: bool,
    /// MariaDB's own column `DB_ROW_HASH_1`, …, by which it keeps a UNIQUE over values that are too long for an index: it
    /// stands in the log, but no SELECT shows it.
    pub hidden: bool,
    /// Geometry subtype (0 geometry, 1 point, …) where known.
    pub geometry_type: u8,
    /// The column type as SQL text (`varchar(20)`, `int unsigned`): from INFORMATION_SCHEMA when known, otherwise
    /// made from the log's metadata.
    pub sql_type: String,
}

impl Column {
    /// A signed, visible one that may be NULL, of which nothing else is known.
    pub fn new(name: impl Into<String>, ty: ColumnType, charset: Charset) -> Self {
        Self {
            name: name.into(),
            ty,
            unsigned: false,
            nullable: true,
            charset,
            collation: 0,
            labels: Arc::from([]),
            key_part: None,
            visible: true,
            generated: false,
            hidden: false,
            geometry_type: 0,
            sql_type: String::new(),
        }
    }

    /// Why its text or labels cannot be read, if so: the character set is unknown.
    #[must_use]
    pub fn unreadable_text(&self) -> Option<String> {
        (self.charset == Charset::Unknown).then(|| {
            let (name, collation) = (&self.name, self.collation);
            format!(
                "column `{name}` has collation {collation}, which is not known: give it another one, or leave it out by \
                 naming the columns that are wanted"
            )
        })
    }
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
    /// How to decode rows; follows from the columns.
    pub(crate) plan: Plan,
}

impl Table {
    /// A table of these columns; key, hash and decoding follow from them.
    #[must_use]
    pub fn new(database: String, name: String, columns: Vec<Column>, source: SchemaSource) -> Self {
        let mut parts: Vec<(u16, u16)> =
            (0u16..).zip(&columns).filter_map(|(index, column)| Some((column.key_part?, index))).collect();
        parts.sort_unstable();
        let primary_key = parts.into_iter().map(|(_, index)| index).collect();
        let mut hash = Fnv::new();
        hash.text(&database);
        hash.text(&name);
        for column in &columns {
            hash.column(column);
        }
        let plan = Plan::new(&columns);
        Self { database, name, columns, primary_key, source, hash: hash.0, plan }
    }

    /// Whether rows have to go through [`crate::rows::RowsEvent::expand`] before they are read: MariaDB's COMPRESSED columns.
    #[must_use]
    pub fn has_compressed_columns(&self) -> bool {
        self.plan.has_compressed()
    }
}

/// FNV-1a, 64 bits: simple enough to stay the same for ever.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// With its length before it, so that `ab`, `c` and `a`, `bc` differ.
    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    /// Only what both sources of a definition know, but for MariaDB's types of fixed length: their values differ, too.
    fn column(&mut self, column: &Column) {
        self.text(&column.name);
        self.text(&sql_type::describe(column));
        self.bytes(&[u8::from(column.nullable)]);
        self.text(if has_charset(column.ty) { column.charset.name() } else { "" });
        self.bytes(&column.key_part.map_or(u32::MAX, u32::from).to_le_bytes());
    }
}

/// Whether values of this type are text or labels, or bytes of the same form.
fn has_charset(ty: ColumnType) -> bool {
    use ColumnType as C;
    matches!(
        ty,
        C::Char { .. }
            | C::VarChar { .. }
            | C::Blob { .. }
            | C::Enum { .. }
            | C::Set { .. }
            | C::VarCharCompressed { .. }
            | C::BlobCompressed { .. }
    )
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
