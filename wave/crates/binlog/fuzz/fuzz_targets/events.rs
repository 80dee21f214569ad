//! A stream of events, each behind a length of two bytes: parsed, and everything that an event leads to done with it.
#![no_main]

use std::collections::HashMap;

use binlog::event::{Event, StreamState, classify_query};
use binlog::mariadb::uncompress;
use binlog::schema::Table;
use binlog_fuzz::{MAX_EVENT, counted, print_rows, set_size};
use libfuzzer_sys::fuzz_target;

/// Bytes out of one payload that are looked at: a few bytes can hold millions of small events.
const MAX_INNER: usize = 1 << 20;

#[derive(Default)]
struct Stream {
    tables: HashMap<u64, Table>,
    buffer: Vec<u8>,
}

impl Stream {
    fn event(&mut self, state: &StreamState, event: &Event<'_>) {
        match event {
            Event::TableMap(map) => {
                if let Ok(table) = Table::compile(map, None) {
                    assert_eq!(table.columns.len(), map.column_count());
                    self.tables.insert(map.table_id, table);
                }
            }
            Event::Rows(rows) => {
                if let Some(table) = self.tables.get(&rows.table_id) {
                    print_rows(rows, table);
                }
            }
            Event::CompressedRows(rows) => {
                if let (Some(table), Ok(rows)) =
                    (self.tables.get(&rows.table_id()), rows.uncompress(MAX_EVENT, &mut self.buffer))
                {
                    print_rows(&rows, table);
                }
            }
            Event::Query(query) => {
                let _ = (classify_query(query.sql), query.charset.decode(query.sql));
            }
            Event::CompressedQuery(query) if uncompress(query.sql, MAX_EVENT, &mut self.buffer).is_ok() => {
                let _ = classify_query(&self.buffer);
            }
            Event::PreviousGtids(set) => assert_eq!(set.to_string().parse().as_ref(), Ok(set)),
            Event::MariaGtidList(pos) => assert_eq!(pos.to_string().parse().as_ref(), Ok(pos)),
            Event::XaPrepare(xa) => drop(xa.xid.to_sql()),
            Event::TransactionPayload(payload) => {
                let Ok(mut events) = payload.events(MAX_EVENT) else { return };
                let mut seen = 0;
                while let Ok(Some(raw)) = events.next_event() {
                    seen += raw.len();
                    if seen > MAX_INNER {
                        return;
                    }
                    if let Ok((_, event)) = state.parse_inner(raw) {
                        self.event(state, &event);
                    }
                }
            }
            _ => {}
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let (mut state, mut stream, mut rest) = (StreamState::default(), Stream::default(), data);
    while !rest.is_empty() {
        let (raw, tail) = counted(rest);
        rest = tail;
        let mut raw = raw.to_vec();
        set_size(&mut raw);
        // a changed event has a wrong checksum: then it is read as by the thread that does not verify
        let parsed = match state.parse(&raw) {
            Ok(parsed) => Ok(parsed),
            Err(_) => state.parse_verified(&raw),
        };
        if let Ok((_, event)) = parsed {
            stream.event(&state, &event);
        }
    }
});
