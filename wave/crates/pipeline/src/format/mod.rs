//! Message formats: one format, one file, a pure function from a row to bytes.
//!
//! A format never sees topics, partitions or ledgers. Equal format and projection is encoded once and shared by feeds.

use std::sync::Arc;

use binlog::Cell;
use binlog::schema::Table;

mod escape;
mod java_number;
mod maxwell_ddl;
pub mod maxwell_json;
mod maxwell_value;
pub mod row_batch;
pub mod row_batch_read;
mod row_batch_wire;
pub mod text;
mod wkt;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Insert,
    Update,
    Delete,
}

impl From<binlog::rows::RowsKind> for Op {
    fn from(kind: binlog::rows::RowsKind) -> Self {
        match kind {
            binlog::rows::RowsKind::Insert => Op::Insert,
            binlog::rows::RowsKind::Update => Op::Update,
            binlog::rows::RowsKind::Delete => Op::Delete,
        }
    }
}

/// What all rows of one transaction share. Complete before its first row is encoded: rows are held to their commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// `uuid[:tag]:n` or `domain-server-sequence`; None without GTIDs.
    pub gtid: Option<String>,
    pub server_uuid: String,
    /// Log file of the commit event.
    pub file: Arc<str>,
    /// Offset where the transaction starts in the same file.
    pub start_pos: u64,
    /// Offset where the commit event ends: the next transaction starts here.
    pub end_pos: u64,
    /// InnoDB transaction id of the XID event.
    pub xid: Option<u64>,
    pub server_id: u32,
    pub thread_id: Option<u32>,
    /// Header time of the commit event, seconds since the Unix epoch.
    pub timestamp: u32,
    /// Commit time in microseconds since the Unix epoch, where the GTID event has it; otherwise from `timestamp`.
    pub commit_us: u64,
    /// Ordinal of the transaction in this incarnation of the source; every transaction counts.
    pub seq: u64,
}

/// One row with all that any format may write.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    pub txn: &'a Transaction,
    pub table: &'a Table,
    pub op: Op,
    /// One cell per column of the table; empty for inserts.
    pub before: &'a [Cell<'a>],
    /// One cell per column of the table; empty for deletes.
    pub after: &'a [Cell<'a>],
    /// Columns to write, as indices into the table, ascending; None for all.
    pub columns: Option<&'a [u16]>,
    /// Header time of the rows event, seconds.
    pub timestamp: u32,
    /// Offset where the rows event starts in the log file; for an event of a compressed payload, where the payload starts.
    pub event_pos: u64,
    /// Offset where the rows event ends in the log file.
    pub event_end_pos: u64,
    /// Ordinal of the rows event in its transaction, skipped ones counted.
    pub event: u32,
    /// Ordinal of the row in its event.
    pub row: u32,
    /// Numbers the messages made of one row (0 normally; 1 for the insert half of a changed key).
    pub part: u16,
    /// k-th row of this table in the transaction, from 0: stable over failover.
    pub table_row: u64,
    /// Ordinal of the row among those of the transaction that this feed gets, from 0.
    pub offset: u64,
    /// Last row of the transaction that this feed gets.
    pub last: bool,
    /// Statement text (ROWS_QUERY / annotate event), where the server logs it.
    pub query: Option<&'a [u8]>,
}

/// A schema change or another statement that is an event of its own.
#[derive(Clone, Copy, Debug)]
pub struct DdlView<'a> {
    pub txn: &'a Transaction,
    /// Default database of the statement.
    pub database: &'a str,
    pub sql: &'a str,
    /// Header time of the statement's event, seconds.
    pub timestamp: u32,
    /// Offset where the statement's event starts in the log file.
    pub event_pos: u64,
    /// Ordinal of the statement among the rows events and statements of its transaction.
    pub event: u32,
}

impl RowView<'_> {
    /// The cells that say what the row is: after an insert or update, before a delete.
    #[must_use]
    pub fn image(&self) -> &[Cell<'_>] {
        if self.op == Op::Delete { self.before } else { self.after }
    }
}

/// Whether two cells of one column hold the same value. Floats compare by their bits, so that a change of the sign of
/// zero is a change.
#[must_use]
pub fn same_value(a: &Cell<'_>, b: &Cell<'_>) -> bool {
    match (a, b) {
        (Cell::Float(a), Cell::Float(b)) => a.to_bits() == b.to_bits(),
        (Cell::Double(a), Cell::Double(b)) => a.to_bits() == b.to_bits(),
        // A partial update of other columns has a difference without operations for this one.
        (Cell::Json(_), Cell::JsonDiff(diff)) => diff.is_empty(),
        _ => a == b,
    }
}

/// The row cannot be written in this format; the table is quarantined for the feeds concerned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("column {column}: {source}")]
    Value { column: String, source: binlog::Error },
}
