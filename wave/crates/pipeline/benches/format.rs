//! Speed of the formats on the bulk table (`id BIGINT PK, k INT, c CHAR(120), pad CHAR(60)`), one core, encoding alone.
//!
//! MB/s are bytes of log: what the rows take in it. `cargo bench -p binlake-pipeline`

use std::hint::black_box;
use std::sync::Arc;

use binlake_pipeline::format::{Op, RowView, Transaction, maxwell_json, row_batch};
use binlog::Cell;
use binlog::charset::Charset;
use binlog::schema::{Column, ColumnType, SchemaSource, Table};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 10_000;
const BATCH: usize = 900_000;

fn column(name: &str, ty: ColumnType, charset: Charset, key_part: Option<u16>) -> Column {
    Column { nullable: false, key_part, ..Column::new(name, ty, charset) }
}

/// Digits in groups of eleven, as sysbench fills its tables.
fn digits(len: usize, seed: &mut u64) -> String {
    (1..=len)
        .map(|i| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if i % 12 == 0 { '-' } else { char::from(b'0' + (*seed >> 33) as u8 % 10) }
        })
        .collect()
}

fn encode(c: &mut Criterion) {
    let table = Table::new(
        "sbtest".into(),
        "sbtest1".into(),
        vec![
            column("id", ColumnType::LongLong, Charset::Binary, Some(0)),
            column("k", ColumnType::Long, Charset::Binary, None),
            column("c", ColumnType::Char { max_bytes: 480 }, Charset::Utf8mb4, None),
            column("pad", ColumnType::Char { max_bytes: 240 }, Charset::Utf8mb4, None),
        ],
        SchemaSource::Log,
    );
    let mut seed = 1;
    let texts: Vec<(String, String)> = (0..ROWS).map(|_| (digits(119, &mut seed), digits(59, &mut seed))).collect();
    let rows: Vec<[Cell<'_>; 4]> = texts
        .iter()
        .enumerate()
        .map(|(i, (c, pad))| {
            let id = i as i64 + 1;
            [Cell::Int(id), Cell::Int(id * 7919 % 1_000_000), Cell::Text(c.as_bytes()), Cell::Text(pad.as_bytes())]
        })
        .collect();
    // Null bits, BIGINT, INT, two bytes length and 119, one byte length and 59.
    let log_bytes = ROWS * (1 + 8 + 4 + 2 + 119 + 1 + 59);
    let txn = Transaction {
        gtid: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:5".into()),
        file: Arc::from("binlog.000007"),
        xid: Some(23396),
        seq: 1,
        ..Transaction::default()
    };
    let view = |i: usize| RowView {
        txn: &txn,
        table: &table,
        op: Op::Insert,
        before: &[],
        after: rows.get(i).map_or(&[], |r| &r[..]),
        columns: None,
        timestamp: 1_795_632_651,
        event_pos: 4,
        event_end_pos: 8192,
        event: (i / 40) as u32,
        row: (i % 40) as u32,
        part: 0,
        table_row: i as u64,
        offset: i as u64,
        last: false,
        query: None,
    };

    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Bytes(log_bytes as u64));
    let maxwell = maxwell_json::Plan::new(&table, None, &maxwell_json::Options::default());
    for (name, with_key) in [("maxwell-json", false), ("maxwell-json with key", true)] {
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                for i in 0..ROWS {
                    out.clear();
                    maxwell.encode_row(&view(i), &mut out).expect("these cells can be written");
                    if with_key {
                        maxwell.encode_key(&view(i), &mut out).expect("these cells can be written");
                    }
                    black_box(&out);
                }
            });
        });
    }
    let plan = row_batch::Plan::new(&table, None);
    let (mut row, mut txn_bytes, mut record) = (Vec::new(), Vec::new(), Vec::new());
    row_batch::encode_transaction(&txn, &mut txn_bytes);
    let mut builder = row_batch::BatchBuilder::default();
    group.bench_function("binlake", |b| {
        b.iter(|| {
            for i in 0..ROWS {
                row.clear();
                plan.encode_row(&view(i), &mut row).expect("these cells can be written");
                builder.push(plan.schema(), txn.seq, &txn_bytes, &row);
                if builder.len() > BATCH || i + 1 == ROWS {
                    record.clear();
                    builder.finish(&mut record);
                    black_box(&record);
                }
            }
        });
    });
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
