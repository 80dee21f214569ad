//! Reading records of format `binlake`: from bytes to rows that can be printed.
//!
//! Bytes come from outside: a record that is no `RowBatch`, or whose blocks name a schema or transaction that it does not
//! have, is an error as a whole.

use std::borrow::Cow;

use prost::Message;
use proto::v1::{self, ColumnType, value::Kind};

use super::escape::push_string;
use super::java_number::{write_double, write_float};
use super::text::{self, Line, Shown, Style};
use super::{Op, maxwell_ddl, maxwell_value, wkt};

/// Why bytes are not a `RowBatch`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("not a RowBatch: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("RowBatch: block {block} names {what} {index}, which the record does not have")]
    Missing { block: usize, what: &'static str, index: u32 },
    #[error("RowBatch: a row in block {block} has operation {op}, which this version does not know")]
    UnknownOp { block: usize, op: i32 },
}

/// One thing in a batch.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    Row { schema: &'a v1::Schema, transaction: &'a v1::Transaction, op: Op, row: &'a v1::Row },
    Ddl { transaction: &'a v1::Transaction, ddl: &'a v1::Ddl },
}

/// Decodes the value of a record.
///
/// # Errors
/// Bytes that are no `RowBatch`.
pub fn decode(bytes: &[u8]) -> Result<v1::RowBatch, ReadError> {
    Ok(v1::RowBatch::decode(bytes)?)
}

/// The rows and statements of `batch` in their order.
///
/// # Errors
/// References that lead nowhere, or an operation that is not known.
pub fn changes(batch: &v1::RowBatch) -> Result<Vec<Change<'_>>, ReadError> {
    let mut changes = Vec::new();
    for (at, block) in batch.blocks.iter().enumerate() {
        let missing = |what, index| ReadError::Missing { block: at, what, index };
        let transaction = batch
            .transactions
            .get(block.transaction as usize)
            .ok_or_else(|| missing("transaction", block.transaction))?;
        if let Some(ddl) = &block.ddl {
            changes.push(Change::Ddl { transaction, ddl });
        }
        for row in &block.rows {
            let schema = batch.schemas.get(block.schema as usize).ok_or_else(|| missing("schema", block.schema))?;
            let op = match v1::Op::try_from(row.op) {
                Ok(v1::Op::Insert) => Op::Insert,
                Ok(v1::Op::Update) => Op::Update,
                Ok(v1::Op::Delete) => Op::Delete,
                Ok(v1::Op::Unspecified) | Err(_) => return Err(ReadError::UnknownOp { block: at, op: row.op }),
            };
            changes.push(Change::Row { schema, transaction, op, row });
        }
    }
    Ok(changes)
}

impl<'a> Change<'a> {
    #[must_use]
    pub fn transaction(&self) -> &'a v1::Transaction {
        match self {
            Change::Row { transaction, .. } | Change::Ddl { transaction, .. } => transaction,
        }
    }

    fn seconds(&self) -> i64 {
        self.transaction().commit_time_us.div_euclid(1_000_000)
    }

    /// Appends the line of this change as [`super::text`] prints it, with the time of the commit.
    pub fn print_text(&self, style: &Style, out: &mut Vec<u8>) {
        let seconds = u32::try_from(self.seconds()).unwrap_or(0);
        match self {
            Change::Row { schema, op, row, .. } => {
                let mut line = Line::start(style, *op, seconds, &schema.database, &schema.table);
                for (i, column) in schema.columns.iter().enumerate() {
                    let kind = |values: &'a [v1::Value]| values.get(i).and_then(|v| v.kind.as_ref());
                    let (before, after) = (kind(&row.before), kind(&row.after));
                    let unchanged = *op == Op::Update && (after.is_none() || before == after);
                    if unchanged && column.key_part == 0 {
                        continue;
                    }
                    let before_shown = before.map(|k| show(k, column));
                    let after_shown = after.filter(|_| !unchanged || before.is_none()).map(|k| show(k, column));
                    line.field(&column.name, before_shown.as_ref(), after_shown.as_ref());
                }
                line.end(out);
            }
            Change::Ddl { ddl, .. } => {
                let mut line = String::new();
                text::write_statement(seconds, &ddl.database, &ddl.sql, style, &mut line);
                out.extend_from_slice(line.as_bytes());
            }
        }
    }

    /// Appends this change as one line of JSON in Maxwell's form: `database table type ts xid gtid position seq event row
    /// data old`. `ts` is the second of the commit, `position` where the transaction starts; `seq`, `event` and `row` are
    /// the identity of the row in its source. Values are as in [`super::maxwell_json`]; an undecodable text is base64.
    pub fn print_json(&self, out: &mut Vec<u8>) {
        match self {
            Change::Row { schema, transaction, op, row } => {
                out.extend_from_slice(b"{\"database\":");
                push_string(&schema.database, out);
                out.extend_from_slice(b",\"table\":");
                push_string(&schema.table, out);
                out.extend_from_slice(match op {
                    Op::Insert => b",\"type\":\"insert\"",
                    Op::Update => b",\"type\":\"update\"",
                    Op::Delete => b",\"type\":\"delete\"",
                });
                self.print_transaction(transaction, out);
                member("event", u64::from(row.event), out);
                member("row", u64::from(row.row), out);
                let image = if *op == Op::Delete { &row.before } else { &row.after };
                out.extend_from_slice(b",\"data\":");
                print_object(&schema.columns, out, |i| {
                    let kind = |values: &'a [v1::Value]| values.get(i).and_then(|v| v.kind.as_ref());
                    kind(image).or_else(|| kind(&row.before))
                });
                if *op == Op::Update {
                    out.extend_from_slice(b",\"old\":");
                    print_object(&schema.columns, out, |i| {
                        let kind = |values: &'a [v1::Value]| values.get(i).and_then(|v| v.kind.as_ref());
                        let after = kind(&row.after)?;
                        kind(&row.before).filter(|before| *before != after)
                    });
                }
            }
            Change::Ddl { transaction, ddl } => {
                let what = maxwell_ddl::classify(&ddl.sql, &ddl.database);
                out.extend_from_slice(b"{\"database\":");
                push_string(&what.database, out);
                if let Some(table) = &what.table {
                    out.extend_from_slice(b",\"table\":");
                    push_string(table, out);
                }
                out.extend_from_slice(b",\"type\":");
                push_string(what.kind, out);
                self.print_transaction(transaction, out);
                member("event", u64::from(ddl.event), out);
                out.extend_from_slice(b",\"sql\":");
                push_string(&ddl.sql, out);
            }
        }
        out.extend_from_slice(b"}\n");
    }

    fn print_transaction(&self, transaction: &v1::Transaction, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"ts\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.seconds()).as_bytes());
        if transaction.xid != 0 {
            member("xid", transaction.xid, out);
        }
        if !transaction.gtid.is_empty() {
            out.extend_from_slice(b",\"gtid\":");
            push_string(&transaction.gtid, out);
        }
        out.extend_from_slice(b",\"position\":");
        push_string(&format!("{}:{}", transaction.file, transaction.pos), out);
        member("seq", transaction.seq, out);
    }
}

fn member(name: &str, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn print_object<'a>(columns: &[v1::Column], out: &mut Vec<u8>, value: impl Fn(usize) -> Option<&'a Kind>) {
    out.push(b'{');
    let mut comma = false;
    for (i, column) in columns.iter().enumerate() {
        let Some(kind) = value(i) else { continue };
        if comma {
            out.push(b',');
        }
        comma = true;
        push_string(&column.name, out);
        out.push(b':');
        print_value(kind, column, out);
    }
    out.push(b'}');
}

fn print_value(kind: &Kind, column: &v1::Column, out: &mut Vec<u8>) {
    match kind {
        Kind::Null(_) => out.extend_from_slice(b"null"),
        Kind::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        Kind::Uint(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        Kind::Double(value) => write_double(*value, out),
        Kind::Float(value) => write_float(*value, out),
        Kind::Text(text) => match column.r#type() {
            // Checked, for the text comes from outside: it must not break the line's JSON.
            ColumnType::Decimal | ColumnType::Json if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
                out.extend_from_slice(text.as_bytes());
            }
            ColumnType::Set => {
                out.push(b'[');
                for (i, label) in text.split(',').filter(|l| !l.is_empty()).enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    push_string(label, out);
                }
                out.push(b']');
            }
            _ => push_string(text, out),
        },
        Kind::Bytes(bytes) => {
            if let Some(text) = special_text(bytes, column) {
                if column.r#type() == ColumnType::Vector {
                    out.extend_from_slice(text.as_bytes());
                } else {
                    push_string(&text, out);
                }
                return;
            }
            out.push(b'"');
            binlog::render::write_base64(bytes, out);
            out.push(b'"');
        }
        Kind::JsonDiff(diff) => {
            let start = out.len();
            if binlog::json::write_diff(diff, out).is_err() {
                out.truncate(start);
                out.push(b'"');
                binlog::render::write_base64(diff, out);
                out.push(b'"');
            }
        }
    }
}

/// Geometry as WKT, VECTOR as an array; None for other types and for bytes that are neither.
fn special_text(bytes: &[u8], column: &v1::Column) -> Option<String> {
    let mut text = Vec::new();
    match column.r#type() {
        ColumnType::Geometry => wkt::write(bytes, &mut text).ok()?,
        ColumnType::Vector => maxwell_value::write_vector(bytes, &mut text).ok()?,
        _ => return None,
    }
    String::from_utf8(text).ok()
}

fn show<'a>(kind: &'a Kind, column: &v1::Column) -> Shown<'a> {
    let text_type = matches!(
        column.r#type(),
        ColumnType::Char
            | ColumnType::Varchar
            | ColumnType::Text
            | ColumnType::Enum
            | ColumnType::Set
            | ColumnType::Uuid
            | ColumnType::Inet6
            | ColumnType::Inet4
    );
    match kind {
        Kind::Null(_) => Shown::Null,
        Kind::Text(text) if text_type => Shown::Text(Cow::Borrowed(text)),
        Kind::Text(text) => Shown::Bare(Cow::Borrowed(text)),
        Kind::Bytes(bytes) => match special_text(bytes, column) {
            Some(text) => Shown::Bare(Cow::Owned(text)),
            None => Shown::Bytes(Cow::Borrowed(bytes)),
        },
        Kind::JsonDiff(bytes) => Shown::Bytes(Cow::Borrowed(bytes)),
        Kind::Int(_) | Kind::Uint(_) | Kind::Double(_) | Kind::Float(_) => {
            let mut text = Vec::new();
            match kind {
                Kind::Double(value) => binlog::render::write_f64(*value, &mut text),
                Kind::Float(value) => binlog::render::write_f32(*value, &mut text),
                _ => print_value(kind, column, &mut text),
            }
            Shown::Bare(Cow::Owned(String::from_utf8_lossy(&text).into_owned()))
        }
    }
}
