//! Speed of row decoding: bytes of log per second and core, all cells decoded, checksums verified.
//! `cargo bench -p binlake-binlog --bench rows`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use binlake_binlog::charset::Charset;
use binlake_binlog::event::{Event, StreamState};
use binlake_binlog::schema::{Column, ColumnType as C, SchemaSource, Table};

fn table(types: &[(C, Charset)]) -> Table {
    let columns = types.iter().enumerate().map(|(i, (ty, charset))| Column {
        name: format!("c{i}"),
        ty: *ty,
        unsigned: i % 2 == 1,
        nullable: true,
        charset: *charset,
        labels: Arc::from([]),
        key_part: (i == 0).then_some(0),
        visible: true,
        generated: false,
        geometry_type: 0,
        sql_type: String::new(),
    });
    Table::new("bench".into(), "t".into(), columns.collect(), SchemaSource::Log)
}

/// A WRITE_ROWS event of about 8 KB, as servers write them.
fn event(table: &Table, row: &[u8]) -> Vec<u8> {
    let columns = table.columns.len();
    let mut raw = vec![0; 19];
    raw[4] = 30;
    raw.extend([1, 0, 0, 0, 0, 0, 1, 0, 2, 0, columns as u8]);
    raw.resize(raw.len() + columns.div_ceil(8), 0xff);
    while raw.len() < 8000 {
        raw.resize(raw.len() + columns.div_ceil(8), 0);
        raw.extend(row);
    }
    let size = raw.len() as u32 + 4;
    raw[9..13].copy_from_slice(&size.to_le_bytes());
    raw.extend(crc32fast::hash(&raw).to_le_bytes());
    raw
}

fn measure(name: &str, state: &mut StreamState, table: &Table, row: &[u8]) {
    let raw = event(table, row);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut best = [f64::MAX; 2];
    let (rounds, mut rows) = (20_000, 0u64);
    for _ in 0..5 {
        for (skip, best) in [false, true].into_iter().zip(&mut best) {
            rows = 0;
            let start = Instant::now();
            for _ in 0..rounds {
                let (_, event) = state.parse(black_box(&raw)).expect("an event");
                let Event::Rows(event) = event else { panic!("{event:?}") };
                let mut reader = event.reader(table).expect("a reader");
                while if skip { reader.skip() } else { reader.next(&mut before, &mut after) }.expect("a row") {
                    rows += 1;
                    black_box(&after);
                }
            }
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    let bytes = (raw.len() * rounds) as f64;
    let [decode, skip] = best.map(|seconds| bytes / seconds / 1e6);
    println!("{name}: decode {decode:.0} MB/s ({:.1} M rows/s), skip {skip:.0} MB/s", rows as f64 / best[0] / 1e6);
}

fn main() {
    let log = include_bytes!("../tests/data/logs/my97_full.binlog");
    let mut state = StreamState::default();
    let format = &log[4..4 + u32::from_le_bytes([log[13], log[14], log[15], log[16]]) as usize];
    state.parse(format).expect("a format description");

    let (text, binary) = (Charset::Utf8mb4, Charset::BINARY);
    let bulk = [
        (C::LongLong, binary),
        (C::Long, binary),
        (C::Char { max_bytes: 480 }, text),
        (C::Char { max_bytes: 240 }, text),
    ];
    let mut row = vec![7; 12];
    row.extend([120, 0]);
    row.extend([b'c'; 120]);
    row.push(60);
    row.extend([b'p'; 60]);
    measure("bulk, 4 columns", &mut state, &table(&bulk), &row);

    let mixed = [
        (C::LongLong, binary, &[1; 8][..]),
        (C::Long, binary, &[1; 4]),
        (C::Short, binary, &[1; 2]),
        (C::Tiny, binary, &[1]),
        (C::Decimal { precision: 10, scale: 2 }, binary, &[0x80, 0, 0, 5, 0]),
        (C::DateTime { fsp: 0 }, binary, &[0x99, 0xb3, 0x46, 0x51, 0x1e]),
        (C::Timestamp { fsp: 3 }, binary, &[0x66, 0, 0, 0, 0, 10]),
        (C::VarChar { max_bytes: 80 }, text, b"\x0chello worlds"),
        (C::Double, binary, &[0; 8]),
        (C::Date, binary, &[0x21, 0xd0, 0x0f]),
    ];
    let (mut types, mut row) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        for (ty, charset, bytes) in mixed {
            types.push((ty, charset));
            row.extend(bytes);
        }
    }
    measure("mixed, 30 columns", &mut state, &table(&types), &row);
}
