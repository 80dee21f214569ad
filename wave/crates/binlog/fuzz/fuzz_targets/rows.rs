//! A TABLE_MAP, a definition of the table and a rows event of it, each behind a length of two bytes: compiled with the
//! definition and without, every cell of every row printed.
#![no_main]

use std::sync::LazyLock;

use binlog::event::{Event, StreamState};
use binlog::schema::{ColumnDefinition, Table, TableDefinition};
use binlog_fuzz::{counted, event, print_rows};
use libfuzzer_sys::fuzz_target;

/// Types of rows events whose images stand in the event as they are.
const ROWS: [u8; 10] = [20, 21, 22, 23, 24, 25, 30, 31, 32, 39];
const TABLE_MAP: u8 = 19;

/// The state behind the FORMAT_DESCRIPTION at the start of a recorded file.
fn state(file: &[u8]) -> StreamState {
    let mut state = StreamState::default();
    let size = u32::from_le_bytes(file[13..17].try_into().unwrap()) as usize;
    state.parse(&file[4..4 + size]).unwrap();
    state
}

static STATES: LazyLock<[StreamState; 3]> = LazyLock::new(|| {
    [
        StreamState::default(),
        state(include_bytes!("../../tests/data/logs/my97_full.binlog")),
        state(include_bytes!("../../tests/data/logs/ma1011_full.binlog")),
    ]
});

/// One column a line, as the recorded `.columns` files have them.
fn definition(text: &[u8]) -> TableDefinition {
    let text = String::from_utf8_lossy(text);
    let column = |line: &str| {
        let mut parts = line.split('\t').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        ColumnDefinition {
            name: part(),
            column_type: part(),
            nullable: part() == "YES",
            charset: Some(part()).filter(|name| name != "-"),
            key_part: part().parse().ok(),
            extra: part(),
        }
    };
    TableDefinition { database: "d".into(), name: "t".into(), columns: text.lines().map(column).collect() }
}

fuzz_target!(|data: &[u8]| {
    let Some(([family, kind], rest)) = data.split_first_chunk::<2>() else { return };
    let (map, rest) = counted(rest);
    let (columns, rest) = counted(rest);
    let (rows, _) = counted(rest);
    let state = &STATES[usize::from(*family) % STATES.len()];
    let trailer = if state.format().is_some() { 4 } else { 0 };
    let (map, rows) = (event(TABLE_MAP, map, trailer), event(ROWS[usize::from(*kind) % ROWS.len()], rows, trailer));
    let Ok((_, Event::TableMap(map))) = state.parse_verified(&map) else { return };
    let definition = definition(columns);
    let rows = state.parse_verified(&rows);
    for definition in [None, Some(&definition)] {
        if let (Ok(table), Ok((_, Event::Rows(rows)))) = (Table::compile(&map, definition), &rows) {
            print_rows(rows, &table);
        }
    }
});
