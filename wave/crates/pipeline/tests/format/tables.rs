//! Tables and rows from literals.

use std::sync::Arc;

use binlake_pipeline::format::{Op, RowView, Transaction};
use binlog::Cell;
use binlog::charset::Charset;
use binlog::schema::{Column, ColumnType, SchemaSource, Table};

/// `{"k": 1}` in MySQL's binary form: a small object, one member, its key and its inlined int16.
pub(crate) const DOCUMENT: &[u8] = &[0, 1, 0, 12, 0, 11, 0, 1, 0, 5, 1, 0, b'k'];

/// Replaces `$.k` by 2.
pub(crate) const DIFF: &[u8] = &[0, 3, b'$', b'.', b'k', 3, 5, 2, 0];

pub(crate) fn column(name: &str, ty: ColumnType, charset: Charset) -> Column {
    Column::new(name, ty, charset)
}

pub(crate) fn labelled(name: &str, ty: ColumnType, labels: &[&str]) -> Column {
    Column { labels: labels.iter().map(|l| Some((*l).to_string())).collect(), ..column(name, ty, Charset::Utf8mb4) }
}

pub(crate) fn key(name: &str, part: u16) -> Column {
    Column { key_part: Some(part), nullable: false, ..column(name, ColumnType::Int24, Charset::Binary) }
}

pub(crate) fn table(columns: Vec<Column>) -> Table {
    Table::new("d".into(), "t".into(), columns, SchemaSource::Log)
}

pub(crate) fn txn() -> Transaction {
    Transaction {
        gtid: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:5".into()),
        server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
        file: Arc::from("binlog.000007"),
        start_pos: 4000,
        end_pos: 4711,
        xid: Some(23396),
        server_id: 1,
        thread_id: Some(108),
        timestamp: 1_477_053_217,
        commit_us: 1_477_053_217_000_123,
        seq: 42,
    }
}

pub(crate) fn row<'a>(
    txn: &'a Transaction,
    table: &'a Table,
    op: Op,
    before: &'a [Cell<'a>],
    after: &'a [Cell<'a>],
) -> RowView<'a> {
    RowView {
        txn,
        table,
        op,
        before,
        after,
        columns: None,
        timestamp: 1_477_053_217,
        event_pos: 4100,
        event_end_pos: 4200,
        event: 0,
        row: 0,
        part: 0,
        table_row: 0,
        offset: 0,
        last: true,
        query: None,
    }
}
