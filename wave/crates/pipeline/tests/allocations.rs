//! Decoding a row and encoding it takes no memory in steady state: buffers grow with the first rows and are used again.
#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a failed test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;
use std::sync::Arc;

use binlake_pipeline::format::{Op, RowView, Transaction, maxwell_json, row_batch};
use binlog::charset::Charset;
use binlog::event::{Event, StreamState};
use binlog::schema::{Column, ColumnType as C, SchemaSource, Table};

thread_local! {
    static TAKEN: Counter<usize> = const { Counter::new(0) };
}

struct Counting;

// SAFETY: all work is the system allocator's; the counter takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|n| n.set(n.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        TAKEN.with(|n| n.set(n.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn table(types: &[(C, Charset)]) -> Table {
    let columns = types.iter().enumerate().map(|(i, (ty, charset))| Column {
        name: format!("c{i}"),
        ty: *ty,
        unsigned: i % 2 == 1,
        nullable: true,
        charset: *charset,
        labels: Arc::from(["a".into(), "b".into()]),
        key_part: (i == 0).then_some(0),
        visible: true,
        generated: false,
        geometry_type: 0,
        sql_type: String::new(),
    });
    Table::new("shop".into(), "t".into(), columns.collect(), SchemaSource::Log)
}

/// A WRITE_ROWS event without checksum, as servers write them.
fn event(columns: usize, row: &[u8], rows: usize) -> Vec<u8> {
    let mut raw = vec![0; 19];
    raw[4] = 30;
    raw.extend([1, 0, 0, 0, 0, 0, 1, 0, 2, 0, columns as u8]);
    raw.resize(raw.len() + columns.div_ceil(8), 0xff);
    for _ in 0..rows {
        raw.resize(raw.len() + columns.div_ceil(8), 0);
        raw.extend(row);
    }
    let size = raw.len() as u32;
    raw[9..13].copy_from_slice(&size.to_le_bytes());
    raw
}

/// Decodes and encodes a table's rows twice; gives the number of allocations between the first and the last row of the
/// second pass, per step.
fn allocations(types: &[(C, Charset)], row: &[u8]) -> [usize; 3] {
    const ROWS: usize = 500;
    let (table, raw) = (table(types), event(types.len(), row, ROWS));
    let txn = Transaction { gtid: Some("g:5".into()), file: Arc::from("binlog.000007"), ..Transaction::default() };
    let maxwell = maxwell_json::Plan::new(&table, None, &maxwell_json::Options::default());
    let batch = row_batch::Plan::new(&table, None);
    let (mut before, mut after, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let mut steps = [0; 3];
    for pass in 0..2 {
        assert!(pass == 0 || steps != [0; 3], "the first rows must take memory, or nothing is counted");
        steps = [0; 3];
        let mut state = StreamState::default();
        let Event::Rows(rows) = state.parse(&raw).unwrap().1 else { panic!("a rows event") };
        let mut reader = rows.reader(&table).unwrap();
        let mut seen = 0;
        loop {
            let start = TAKEN.get();
            let more = reader.next(&mut before, &mut after).unwrap();
            let decoded = TAKEN.get();
            if !more {
                break;
            }
            let view = RowView {
                txn: &txn,
                table: &table,
                op: Op::Insert,
                before: &before,
                after: &after,
                columns: None,
                timestamp: 1_795_632_651,
                event_pos: 4,
                event_end_pos: 8192,
                event: 0,
                row: seen,
                part: 0,
                table_row: u64::from(seen),
                offset: u64::from(seen),
                last: false,
                query: None,
            };
            out.clear();
            maxwell.encode_row(&view, &mut out).unwrap();
            maxwell.encode_key(&view, &mut out).unwrap();
            let json = TAKEN.get();
            out.clear();
            batch.encode_row(&view, &mut out).unwrap();
            let protobuf = TAKEN.get();
            seen += 1;
            for (step, taken) in steps.iter_mut().zip([decoded - start, json - decoded, protobuf - json]) {
                *step += taken;
            }
        }
        assert_eq!(seen as usize, ROWS);
        before.clear();
        after.clear();
        before = binlog::cell::recycle(before);
        after = binlog::cell::recycle(after);
    }
    steps
}

#[test]
fn no_memory_is_taken_per_row() {
    let (text, binary) = (Charset::Utf8mb4, Charset::BINARY);
    let mut row = vec![7; 12];
    row.extend([120, 0]);
    row.extend([b'c'; 120]);
    row.push(60);
    row.extend([b'p'; 60]);
    let bulk = [
        (C::LongLong, binary),
        (C::Long, binary),
        (C::Char { max_bytes: 480 }, text),
        (C::Char { max_bytes: 240 }, text),
    ];
    assert_eq!(allocations(&bulk, &row), [0, 0, 0], "bulk: decode, maxwell-json, binlake");

    let mixed = [
        (C::LongLong, binary, &[1; 8][..]),
        (C::Long, binary, &[1; 4]),
        (C::Short, binary, &[1; 2]),
        (C::Tiny, binary, &[1]),
        (C::Decimal { precision: 10, scale: 2 }, binary, &[0x80, 0, 0, 5, 0]),
        (C::DateTime { fsp: 0 }, binary, &[0x99, 0xb3, 0x46, 0x51, 0x1e]),
        (C::Timestamp { fsp: 3 }, binary, &[0x66, 0, 0, 0, 0, 10]),
        (C::VarChar { max_bytes: 80 }, text, b"\x0chello worlds"),
        (C::Double, binary, &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f]),
        (C::Date, binary, &[0x21, 0xd0, 0x0f]),
    ];
    let (mut types, mut row) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        for (ty, charset, bytes) in mixed {
            types.push((ty, charset));
            row.extend(bytes);
        }
    }
    assert_eq!(allocations(&types, &row), [0, 0, 0], "30 columns: decode, maxwell-json, binlake");
}
