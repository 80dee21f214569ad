//! Rows of a binary log file, as the pipeline hands them to a format.

use std::collections::HashMap;
use std::sync::Arc;

use binlake_pipeline::format::{DdlView, Op, RowView, Transaction};
use binlog::Cell;
use binlog::event::{Event, FileSplitter, StreamState};
use binlog::rows::RowsKind;
use binlog::schema::{ColumnDefinition, Table, TableDefinition};

/// What a test sees of the log, in its order.
pub(crate) enum Item<'a> {
    Row(RowView<'a>),
    Ddl(DdlView<'a>),
}

struct Held {
    table: Arc<Table>,
    raw: Vec<u8>,
    query: Option<Vec<u8>>,
    start: u64,
}

/// The definition of a table of the log, as INFORMATION_SCHEMA gave it: the log has none (`binlog_row_metadata=MINIMAL`).
fn definition(database: &str, table: &str) -> Option<TableDefinition> {
    let columns: Vec<_> = include_str!("../golden/maxwell.columns.tsv")
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|fields| fields[0] == table)
        .map(|fields| ColumnDefinition {
            name: fields[1].into(),
            column_type: fields[2].into(),
            nullable: fields[3] == "YES",
            charset: Some(fields[4].to_string()).filter(|c| c != "NULL"),
            key_part: fields[5].parse().ok(),
            extra: fields[6].into(),
        })
        .collect();
    (!columns.is_empty()).then(|| TableDefinition { database: database.into(), name: table.into(), columns })
}

/// Calls `visit` for every row and statement of `database` in the file with these bytes.
pub(crate) fn visit(bytes: &[u8], file: &str, database: &str, mut visit: impl FnMut(Item<'_>)) {
    let mut splitter = FileSplitter::new(1 << 20);
    splitter.push(bytes);
    let mut state = StreamState::default();
    let mut tables: HashMap<u64, Arc<Table>> = HashMap::new();
    let mut txn = Transaction { file: Arc::from(file), ..Transaction::default() };
    let mut held: Vec<Held> = Vec::new();
    let mut query = None;
    loop {
        let start = splitter.offset();
        let Some(raw) = splitter.next_event().unwrap().map(<[u8]>::to_vec) else { break };
        let (header, event) = state.parse(&raw).unwrap();
        txn.end_pos = start + u64::from(header.event_size);
        match event {
            Event::Gtid(gtid) => {
                held.clear();
                txn.seq += 1;
                txn.start_pos = if start < 10 { 4 } else { start };
                let hex: String = gtid.uuid.iter().map(|b| format!("{b:02x}")).collect();
                let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
                txn.gtid = Some(format!("{uuid}:{}", gtid.gno));
                txn.commit_us = gtid.immediate_commit_micros;
                txn.server_id = header.server_id;
            }
            Event::Query(statement) => {
                txn.thread_id = Some(statement.thread_id);
                let sql = String::from_utf8(statement.sql.to_vec()).unwrap();
                let default = String::from_utf8(statement.schema.to_vec()).unwrap();
                if sql != "BEGIN" && default == database {
                    let ddl = DdlView {
                        txn: &txn,
                        database: &default,
                        sql: &sql,
                        timestamp: header.timestamp,
                        event_pos: start,
                        event: 0,
                    };
                    visit(Item::Ddl(ddl));
                }
            }
            Event::RowsQuery(sql) => query = Some(sql.to_vec()),
            Event::TableMap(map) => {
                let (name, of) = (std::str::from_utf8(map.table).unwrap(), std::str::from_utf8(map.database).unwrap());
                let definition = if of == database { definition(database, name) } else { None };
                tables.insert(map.table_id, Arc::new(Table::compile(&map, definition.as_ref()).unwrap()));
            }
            Event::Rows(rows) => {
                let table = Arc::clone(&tables[&rows.table_id]);
                if table.database == database {
                    held.push(Held { table, raw: raw.clone(), query: query.clone(), start });
                }
            }
            Event::Xid(xid) => {
                txn.xid = Some(xid);
                txn.timestamp = header.timestamp;
                emit(&state, &txn, &held, &mut visit);
                held.clear();
                query = None;
            }
            _ => {}
        }
    }
    assert_eq!(splitter.pending(), 0);
}

fn emit(state: &StreamState, txn: &Transaction, held: &[Held], visit: &mut impl FnMut(Item<'_>)) {
    let mut total = 0;
    for_each(state, held, |_, _, _, _, _, _| total += 1);
    let mut offset = 0;
    let mut table_rows: HashMap<String, u64> = HashMap::new();
    for_each(state, held, |event, row, op, timestamp, before, after| {
        let at = &held[event];
        let table_row = table_rows.entry(at.table.name.clone()).or_default();
        visit(Item::Row(RowView {
            txn,
            table: &at.table,
            op,
            before,
            after,
            columns: None,
            timestamp,
            event_pos: at.start,
            event_end_pos: at.start + at.raw.len() as u64,
            event: event as u32,
            row,
            part: 0,
            table_row: *table_row,
            offset,
            last: offset + 1 == total,
            query: at.query.as_deref(),
        }));
        *table_row += 1;
        offset += 1;
    });
}

fn for_each(state: &StreamState, held: &[Held], mut row: impl FnMut(usize, u32, Op, u32, &[Cell<'_>], &[Cell<'_>])) {
    for (event, at) in held.iter().enumerate() {
        let (header, Event::Rows(rows)) = state.parse_verified(&at.raw).unwrap() else { unreachable!() };
        let op = match rows.kind {
            RowsKind::Insert => Op::Insert,
            RowsKind::Update => Op::Update,
            RowsKind::Delete => Op::Delete,
        };
        let mut reader = rows.reader(&at.table).unwrap();
        let (mut before, mut after, mut ordinal) = (Vec::new(), Vec::new(), 0);
        while reader.next(&mut before, &mut after).unwrap() {
            row(event, ordinal, op, header.timestamp, &before, &after);
            ordinal += 1;
        }
    }
}
