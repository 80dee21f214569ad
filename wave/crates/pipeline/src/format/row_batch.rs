//! Format `binlake`: protobuf `RowBatch`, defined in `row_batch.proto` of the crate `binlake-proto`.
//!
//! A row is encoded once per table and projection ([`Plan::encode_row`]) and its bytes are shared by all feeds; each feed
//! and partition collects rows in a [`BatchBuilder`] and takes a record out of it. The encoder is written by hand because
//! it copies each cell straight from the event into the row; a property test holds it equal to the generated types.
//!
//! Values are exact: text in UTF-8, or the bytes themselves where they are no text in their character set or nothing says
//! it; JSON as the
//! server prints it; temporal values as text with their declared digits.

use binlog::charset::Charset;
use binlog::schema::{Column, ColumnType, Table};
use binlog::{Cell, json, render};
use prost::Message;
use proto::v1;

use super::row_batch_wire::{bytes_field, delimited, number_field, patched, varint, varint_len};
use super::{DdlView, FormatError, Op, RowView, Transaction};

/// A table and projection prepared for encoding.
#[derive(Debug)]
pub struct Plan {
    schema: Schema,
    /// In the order of the schema, each with its index in the table.
    columns: Vec<(usize, Column)>,
}

/// An encoded `Schema` message and what identifies it in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Hash of `bytes`.
    id: u64,
    hash: u64,
    bytes: Vec<u8>,
}

impl Schema {
    /// `Schema.hash` of the message: the table's own, or of table and projection when not all columns are written.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The encoded `Schema` message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Plan {
    /// Prepares `table`; `columns` are the indices to write, ascending, None for all.
    #[must_use]
    pub fn new(table: &Table, columns: Option<&[u16]>) -> Self {
        let columns: Vec<(usize, Column)> = match columns {
            Some(indices) => indices
                .iter()
                .filter_map(|i| Some((usize::from(*i), table.columns.get(usize::from(*i))?.clone())))
                .collect(),
            None => table.columns.iter().cloned().enumerate().collect(),
        };
        let hash = if columns.len() == table.columns.len() {
            table.hash
        } else {
            let mut bytes = table.hash.to_le_bytes().to_vec();
            bytes.extend(columns.iter().flat_map(|(i, _)| (*i as u16).to_le_bytes()));
            xxhash_rust::xxh3::xxh3_64(&bytes)
        };
        let schema = v1::Schema {
            hash,
            database: table.database.clone(),
            table: table.name.clone(),
            columns: columns.iter().map(|(_, column)| schema_column(column)).collect(),
        };
        let bytes = schema.encode_to_vec();
        Plan { schema: Schema { id: xxhash_rust::xxh3::xxh3_64(&bytes), hash, bytes }, columns }
    }

    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Appends the `Row` message of `row`, which must be of the table of this plan; without tag and length.
    ///
    /// # Errors
    /// A value that cannot be written (broken JSON); `out` may have a part of the row then.
    pub fn encode_row(&self, row: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let op = match row.op {
            Op::Insert => v1::Op::Insert,
            Op::Update => v1::Op::Update,
            Op::Delete => v1::Op::Delete,
        };
        out.extend_from_slice(&[0x08, op as u8]);
        if row.op != Op::Insert {
            self.encode_image(0x12, row.before, &[], out)?;
        }
        if row.op != Op::Delete {
            self.encode_image(0x1a, row.after, row.before, out)?;
        }
        number_field(0x20, u64::from(row.event), out);
        number_field(0x28, u64::from(row.row), out);
        number_field(0x30, u64::from(row.part), out);
        number_field(0x38, row.table_row, out);
        Ok(())
    }

    /// `base` has the documents that JSON diffs of `cells` apply to.
    fn encode_image(
        &self,
        tag: u8,
        cells: &[Cell<'_>],
        base: &[Cell<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        for (index, column) in &self.columns {
            let cell = cells.get(*index).unwrap_or(&Cell::Absent);
            let result = match (cell, base.get(*index)) {
                (Cell::JsonDiff(diff), Some(Cell::Json(before))) => {
                    let mut text = Vec::new();
                    json::apply_diff(before, diff, &mut text).map(|()| value_bytes(tag, TEXT, &text, out))
                }
                _ => encode_cell(tag, cell, column, out),
            };
            result.map_err(|source| FormatError::Value { column: column.name.clone(), source })?;
        }
        Ok(())
    }
}

// Tags of the members of `Value`.
const NULL: u8 = 0x08;
const INT: u8 = 0x10;
const UINT: u8 = 0x18;
const DOUBLE: u8 = 0x21;
const FLOAT: u8 = 0x2d;
const TEXT: u8 = 0x32;
const BYTES: u8 = 0x3a;
const JSON_DIFF: u8 = 0x42;

/// A `Value` message as field `tag` of the row.
#[inline]
fn encode_cell(tag: u8, cell: &Cell<'_>, column: &Column, out: &mut Vec<u8>) -> binlog::Result<()> {
    match *cell {
        Cell::Absent => out.extend_from_slice(&[tag, 0]),
        Cell::Null => out.extend_from_slice(&[tag, 2, NULL, 1]),
        Cell::Int(value) => value_number(tag, INT, (value << 1 ^ value >> 63) as u64, out),
        Cell::UInt(value) | Cell::Bit(value) => value_number(tag, UINT, value, out),
        Cell::Year(year) => value_number(tag, UINT, u64::from(year), out),
        Cell::Float(value) => {
            out.extend_from_slice(&[tag, 5, FLOAT]);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Cell::Double(value) => {
            out.extend_from_slice(&[tag, 9, DOUBLE]);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Cell::Text(bytes) if column.charset == Charset::Untold => value_bytes(tag, BYTES, bytes, out),
        Cell::Text(bytes) => match column.charset.decode(bytes) {
            Ok(decoded) if !decoded.had_errors => value_bytes(tag, TEXT, decoded.text.as_bytes(), out),
            _ => value_bytes(tag, BYTES, bytes, out),
        },
        Cell::Bytes(bytes) if render::stripped_zeros(bytes, column) == 0 => value_bytes(tag, BYTES, bytes, out),
        Cell::Bytes(_) => value_patched(tag, BYTES, out, |out| render::render_text(cell, column, out))?,
        Cell::Geometry(bytes) | Cell::Vector(bytes) => value_bytes(tag, BYTES, bytes, out),
        Cell::Enum(index) => match render::enum_label(index, column).filter(|_| index > 0) {
            Some(label) => value_bytes(tag, TEXT, label.as_bytes(), out),
            None => value_number(tag, UINT, u64::from(index), out),
        },
        Cell::Set(bits) if render::set_labels(bits, column).is_none() => value_number(tag, UINT, bits, out),
        Cell::JsonDiff(bytes) => value_bytes(tag, JSON_DIFF, bytes, out),
        Cell::Decimal(_)
        | Cell::Date(_)
        | Cell::Time(_)
        | Cell::DateTime(_)
        | Cell::Timestamp(_)
        | Cell::FixedBinary(_)
        | Cell::Set(_)
        | Cell::Json(_) => value_patched(tag, TEXT, out, |out| render::render_text(cell, column, out))?,
    }
    Ok(())
}

#[inline]
fn value_number(tag: u8, member: u8, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag, 1 + varint_len(value) as u8, member]);
    varint(value, out);
}

#[inline]
fn value_bytes(tag: u8, member: u8, bytes: &[u8], out: &mut Vec<u8>) {
    let len = bytes.len() as u64;
    out.push(tag);
    varint(1 + varint_len(len) as u64 + len, out);
    delimited(member, bytes, out);
}

fn value_patched<R>(tag: u8, member: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    patched(tag, out, |out| patched(member, out, write))
}

fn schema_column(column: &Column) -> v1::Column {
    use v1::ColumnType as T;
    let binary = column.charset.is_binary();
    let ty = match column.ty {
        ColumnType::Tiny => T::Tinyint,
        ColumnType::Short => T::Smallint,
        ColumnType::Int24 => T::Mediumint,
        ColumnType::Long => T::Int,
        ColumnType::LongLong => T::Bigint,
        ColumnType::Float => T::Float,
        ColumnType::Double => T::Double,
        ColumnType::Decimal { .. } => T::Decimal,
        ColumnType::Bit { .. } => T::Bit,
        ColumnType::Year => T::Year,
        ColumnType::Date => T::Date,
        ColumnType::TimeOld | ColumnType::Time { .. } => T::Time,
        ColumnType::DateTimeOld | ColumnType::DateTime { .. } => T::Datetime,
        ColumnType::TimestampOld | ColumnType::Timestamp { .. } => T::Timestamp,
        ColumnType::Char { .. } if binary => T::Binary,
        ColumnType::Char { .. } => T::Char,
        ColumnType::VarChar { .. } | ColumnType::VarCharCompressed { .. } if binary => T::Varbinary,
        ColumnType::VarChar { .. } | ColumnType::VarCharCompressed { .. } => T::Varchar,
        ColumnType::Blob { .. } | ColumnType::BlobCompressed { .. } if binary => T::Blob,
        ColumnType::Blob { .. } | ColumnType::BlobCompressed { .. } => T::Text,
        ColumnType::Enum { .. } => T::Enum,
        ColumnType::Set { .. } => T::Set,
        ColumnType::Json { .. } => T::Json,
        ColumnType::Geometry { .. } => T::Geometry,
        ColumnType::Vector { .. } => T::Vector,
        ColumnType::Uuid => T::Uuid,
        ColumnType::Inet6 => T::Inet6,
        ColumnType::Inet4 => T::Inet4,
        ColumnType::Unsupported { .. } => T::Unspecified,
    };
    let has_charset = matches!(ty, T::Char | T::Varchar | T::Text | T::Enum | T::Set);
    v1::Column {
        name: column.name.clone(),
        r#type: ty.into(),
        sql_type: column.sql_type.clone(),
        unsigned: column.unsigned,
        nullable: column.nullable,
        charset: if has_charset { column.charset.name().to_string() } else { String::new() },
        key_part: column.key_part.map_or(0, |part| u32::from(part) + 1),
    }
}

/// Appends the `Transaction` message; without tag and length.
pub fn encode_transaction(txn: &Transaction, out: &mut Vec<u8>) {
    let gtid = txn.gtid.as_deref().unwrap_or("");
    number_field(0x08, txn.seq, out);
    bytes_field(0x12, gtid.as_bytes(), out);
    bytes_field(0x1a, txn.file.as_bytes(), out);
    number_field(0x20, txn.start_pos, out);
    number_field(0x28, txn.commit_us, out);
    number_field(0x30, u64::from(txn.server_id), out);
    number_field(0x38, txn.xid.unwrap_or(0), out);
    if gtid.is_empty() {
        bytes_field(0x42, txn.server_uuid.as_bytes(), out);
    }
}

/// Appends the `Ddl` message; without tag and length.
pub fn encode_ddl(ddl: &DdlView<'_>, out: &mut Vec<u8>) {
    bytes_field(0x0a, ddl.database.as_bytes(), out);
    bytes_field(0x12, ddl.sql.as_bytes(), out);
    number_field(0x18, u64::from(ddl.event), out);
}

/// Collects rows of one feed and partition for one record. Buffers are kept between records.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// Ids of the schemas in `head`, in order.
    schemas: Vec<u64>,
    /// Encoded `schemas` fields.
    head: Vec<u8>,
    /// `seq` of the last transaction; they come in order.
    last_seq: Option<u64>,
    transactions: u32,
    /// Encoded `transactions` fields.
    transaction_fields: Vec<u8>,
    blocks: Vec<Block>,
    /// Encoded `rows` (or `ddl`) fields of all blocks.
    rows: Vec<u8>,
    count: u32,
}

#[derive(Debug)]
struct Block {
    schema: u32,
    transaction: u32,
    /// Where its rows start in `rows`.
    start: usize,
    ddl: bool,
}

/// Most bytes that a block takes besides its rows: two tags and numbers, its own tag and length.
const BLOCK_OVERHEAD: usize = 2 * 6 + 1 + 10;

impl BatchBuilder {
    /// Adds one row: `transaction` and `row` as [`encode_transaction`] and [`Plan::encode_row`] made them. Rows come in
    /// the order of the log.
    pub fn push(&mut self, schema: &Schema, seq: u64, transaction: &[u8], row: &[u8]) {
        let schema = self.schema_index(schema);
        let transaction = self.transaction_index(seq, transaction);
        self.block(schema, transaction, false);
        delimited(0x1a, row, &mut self.rows);
        self.count += 1;
    }

    /// Adds one statement, as [`encode_ddl`] made it.
    pub fn push_ddl(&mut self, seq: u64, transaction: &[u8], ddl: &[u8]) {
        let transaction = self.transaction_index(seq, transaction);
        self.block(0, transaction, true);
        delimited(0x22, ddl, &mut self.rows);
        self.count += 1;
    }

    /// Bytes that the record will have, at most.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.head.len() + self.transaction_fields.len() + self.rows.len() + self.blocks.len() * BLOCK_OVERHEAD
    }

    /// Rows and statements.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends the record's value to `out` and starts anew.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&self.transaction_fields);
        for (i, block) in self.blocks.iter().enumerate() {
            let end = self.blocks.get(i + 1).map_or(self.rows.len(), |next| next.start);
            let rows = self.rows.get(block.start..end).unwrap_or(&[]);
            let field_len = |value: u32| if value == 0 { 0 } else { 1 + varint_len(u64::from(value)) };
            out.push(0x1a);
            varint((field_len(block.schema) + field_len(block.transaction) + rows.len()) as u64, out);
            number_field(0x08, u64::from(block.schema), out);
            number_field(0x10, u64::from(block.transaction), out);
            out.extend_from_slice(rows);
        }
        self.clear();
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.schemas.clear();
        self.head.clear();
        self.last_seq = None;
        self.transactions = 0;
        self.transaction_fields.clear();
        self.blocks.clear();
        self.rows.clear();
        self.count = 0;
    }

    fn schema_index(&mut self, schema: &Schema) -> u32 {
        // Batches have few tables, and the last one is the likely one.
        if let Some(index) = self.schemas.iter().rposition(|id| *id == schema.id) {
            return index as u32;
        }
        self.schemas.push(schema.id);
        delimited(0x0a, &schema.bytes, &mut self.head);
        self.schemas.len() as u32 - 1
    }

    fn transaction_index(&mut self, seq: u64, transaction: &[u8]) -> u32 {
        if self.last_seq != Some(seq) {
            self.last_seq = Some(seq);
            self.transactions += 1;
            delimited(0x12, transaction, &mut self.transaction_fields);
        }
        self.transactions - 1
    }

    fn block(&mut self, schema: u32, transaction: u32, ddl: bool) {
        let same = |b: &Block| !ddl && !b.ddl && (b.schema, b.transaction) == (schema, transaction);
        if !self.blocks.last().is_some_and(same) {
            self.blocks.push(Block { schema, transaction, start: self.rows.len(), ddl });
        }
    }
}
