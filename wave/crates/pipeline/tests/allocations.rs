//! Decoding a row and encoding it takes no memory in steady state: buffers grow with the first rows and are used again.
#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a failed test")]

#[path = "../../binlog/benches/made/mod.rs"]
mod made;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;
use std::sync::Arc;

use binlake_pipeline::format::{Op, RowView, Transaction, maxwell_json, row_batch};
use binlog::event::{Event, StreamState};
use made::Made;

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

/// Decodes and encodes a table's rows twice; gives the number of allocations between the first and the last row of the
/// second pass, per step.
fn allocations(made: &Made) -> [usize; 3] {
    const ROWS: usize = 500;
    let (table, raw) = (&made.table, made.event(ROWS));
    let txn = Transaction { gtid: Some("g:5".into()), file: Arc::from("binlog.000007"), ..Transaction::default() };
    let maxwell = maxwell_json::Plan::new(table, None, &maxwell_json::Options::default());
    let batch = row_batch::Plan::new(table, None);
    let (mut before, mut after, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let mut steps = [0; 3];
    for pass in 0..2 {
        assert!(pass == 0 || steps != [0; 3], "the first rows must take memory, or nothing is counted");
        steps = [0; 3];
        let mut state = StreamState::default();
        let Event::Rows(rows) = state.parse(&raw).unwrap().1 else { panic!("a rows event") };
        let mut reader = rows.reader(table).unwrap();
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
                table,
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
    assert_eq!(allocations(&Made::bulk()), [0, 0, 0], "bulk: decode, maxwell-json, binlake");
    assert_eq!(allocations(&Made::mixed()), [0, 0, 0], "30 columns: decode, maxwell-json, binlake");
}
