//! How to decode the columns of a table: one small operation each, made once per table (manual: "Data Type Storage
//! Requirements"; lengths by the metadata of `Table_map_event`).

use crate::decimal::Decimal;
use crate::schema::{Column, ColumnType};
use crate::temporal;

/// How one column is read from a row image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Int8,
    UInt8,
    Int16,
    UInt16,
    Int24,
    UInt24,
    Int32,
    UInt32,
    Int64,
    UInt64,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
        bytes: u8,
    },
    Bit {
        bytes: u8,
    },
    Year,
    Date,
    TimeOld,
    DateTimeOld,
    TimestampOld,
    Time {
        fsp: u8,
        bytes: u8,
    },
    DateTime {
        fsp: u8,
        bytes: u8,
    },
    Timestamp {
        fsp: u8,
        bytes: u8,
    },
    /// Text or bytes with that many length bytes.
    Text1,
    Text2,
    Text {
        prefix: u8,
    },
    Bytes1,
    Bytes2,
    Bytes {
        prefix: u8,
    },
    Enum1,
    Enum2,
    Set {
        bytes: u8,
    },
    Json {
        prefix: u8,
    },
    /// Instead of `Json` in the after-image of a partial update, never in a plan.
    JsonDiff {
        prefix: u8,
    },
    Geometry {
        prefix: u8,
    },
    Vector {
        prefix: u8,
    },
    FixedBinary,
    /// MariaDB's COMPRESSED columns.
    Compressed {
        prefix: u8,
        binary: bool,
    },
    Unsupported {
        code: u8,
    },
}

/// Operations of all columns in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(super) ops: Box<[Op]>,
    /// Number of JSON columns: each has a bit in the image of a partial update.
    pub(super) json_columns: usize,
    /// Which columns may be NULL: images of before 5.1.18 have a bit for these only.
    pub(super) nullable: Box<[bool]>,
    /// A row has no fixed length.
    pub(super) variable: bool,
}

impl Plan {
    pub(crate) fn new(columns: &[Column]) -> Self {
        let ops: Box<[Op]> = columns.iter().map(op).collect();
        let json_columns = ops.iter().filter(|op| matches!(op, Op::Json { .. })).count();
        let variable = |column: &Column| matches!(column.ty, ColumnType::VarChar { .. } | ColumnType::Blob { .. });
        let nullable = columns.iter().map(|column| column.nullable).collect();
        Self { ops, json_columns, nullable, variable: columns.iter().any(variable) }
    }

    pub(crate) fn has_compressed(&self) -> bool {
        self.ops.iter().any(|op| matches!(op, Op::Compressed { .. }))
    }

    /// Type code of the first column that cannot be read.
    pub(super) fn unsupported(&self) -> Option<u8> {
        self.ops.iter().find_map(|op| match op {
            Op::Unsupported { code } => Some(*code),
            _ => None,
        })
    }
}

fn op(column: &Column) -> Op {
    use ColumnType as C;
    let unsigned = column.unsigned;
    let pick = |signed: Op, other: Op| if unsigned { other } else { signed };
    let binary = column.charset.is_binary();
    // Up to 255 bytes one length byte is enough.
    let prefix = |max_bytes: u16| if max_bytes > 255 { 2 } else { 1 };
    let text = |prefix: u8| match (binary, prefix) {
        (false, 1) => Op::Text1,
        (false, 2) => Op::Text2,
        (false, prefix) => Op::Text { prefix },
        (true, 1) => Op::Bytes1,
        (true, 2) => Op::Bytes2,
        (true, prefix) => Op::Bytes { prefix },
    };
    match column.ty {
        C::Tiny => pick(Op::Int8, Op::UInt8),
        C::Short => pick(Op::Int16, Op::UInt16),
        C::Int24 => pick(Op::Int24, Op::UInt24),
        C::Long => pick(Op::Int32, Op::UInt32),
        C::LongLong => pick(Op::Int64, Op::UInt64),
        C::Float => Op::Float,
        C::Double => Op::Double,
        C::Decimal { precision, scale } => {
            Op::Decimal { precision, scale, bytes: Decimal::encoded_len(precision, scale) as u8 }
        }
        C::Bit { bits } => Op::Bit { bytes: bits.div_ceil(8) },
        C::Year => Op::Year,
        C::Date => Op::Date,
        C::TimeOld => Op::TimeOld,
        C::DateTimeOld => Op::DateTimeOld,
        C::TimestampOld => Op::TimestampOld,
        C::Time { fsp } => Op::Time { fsp, bytes: temporal::time2_len(fsp) as u8 },
        C::DateTime { fsp } => Op::DateTime { fsp, bytes: temporal::datetime2_len(fsp) as u8 },
        C::Timestamp { fsp } => Op::Timestamp { fsp, bytes: temporal::timestamp2_len(fsp) as u8 },
        C::Char { max_bytes } | C::VarChar { max_bytes } => text(prefix(max_bytes)),
        C::Blob { length_bytes } => text(length_bytes),
        C::Enum { bytes: 1 } => Op::Enum1,
        C::Enum { .. } => Op::Enum2,
        C::Set { bytes } => Op::Set { bytes },
        C::Json { length_bytes } => Op::Json { prefix: length_bytes },
        C::Geometry { length_bytes } => Op::Geometry { prefix: length_bytes },
        C::Vector { length_bytes } => Op::Vector { prefix: length_bytes },
        C::VarCharCompressed { max_bytes } => Op::Compressed { prefix: prefix(max_bytes), binary },
        C::BlobCompressed { length_bytes } => Op::Compressed { prefix: length_bytes, binary },
        C::Uuid | C::Inet6 | C::Inet4 => Op::FixedBinary,
        C::Unsupported { code } => Op::Unsupported { code },
    }
}
