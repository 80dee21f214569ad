//! Speed of decoding: bytes of log per second and core, checksums verified. `cargo bench -p binlake-binlog`

extern crate binlake_binlog as binlog;

mod made;

use std::hint::black_box;

use binlog::event::{Event, StreamState};
use binlog::gtid::MySqlGtidSet;
use binlog::json::write_text;
use binlog::payload::{Compression, TransactionPayload};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use made::Made;

/// An event of about 8 KB with its checksum.
fn checked_event(made: &Made) -> Vec<u8> {
    let mut raw = made.event(8000 / made.row.len());
    let size = raw.len() as u32 + 4;
    raw[9..13].copy_from_slice(&size.to_le_bytes());
    raw.extend(crc32fast::hash(&raw).to_le_bytes());
    raw
}

fn rows(c: &mut Criterion) {
    let log = include_bytes!("../tests/data/logs/my97_full.binlog");
    let mut state = StreamState::default();
    let format = &log[4..4 + u32::from_le_bytes([log[13], log[14], log[15], log[16]]) as usize];
    state.parse(format).expect("a format description");

    let mut group = c.benchmark_group("rows");
    for (name, made) in [("bulk", Made::bulk()), ("mixed", Made::mixed())] {
        let raw = checked_event(&made);
        group.throughput(Throughput::Bytes(raw.len() as u64));
        for skip in [false, true] {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            group.bench_function(format!("{} {name}", if skip { "skip" } else { "decode" }), |b| {
                b.iter(|| {
                    let (_, event) = state.parse(black_box(&raw)).expect("an event");
                    let Event::Rows(event) = event else { panic!("{event:?}") };
                    let mut reader = event.reader(&made.table).expect("a reader");
                    while if skip { reader.skip() } else { reader.next(&mut before, &mut after) }.expect("a row") {
                        black_box(&after);
                    }
                });
            });
        }
    }
    group.finish();
}

/// The binary documents that a server wrote, as text.
fn json(c: &mut Criterion) {
    let recorded = include_str!("../tests/data/json-diffs.tsv");
    let unhex = |hex: &str| -> Option<Vec<u8>> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()).collect()
    };
    let documents: Vec<Vec<u8>> = recorded
        .lines()
        .flat_map(|line| line.split('\t'))
        .filter_map(unhex)
        .filter(|bytes| bytes.len() > 8 && write_text(bytes, &mut Vec::new()).is_ok())
        .collect();
    assert!(documents.len() >= 20, "{} documents", documents.len());
    let mut out = Vec::new();
    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Bytes(documents.iter().map(|document| document.len() as u64).sum()));
    group.bench_function("text", |b| {
        b.iter(|| {
            for document in &documents {
                out.clear();
                write_text(black_box(document), &mut out).expect("a document");
                black_box(&out);
            }
        });
    });
    group.finish();
}

/// A compressed transaction of 128 events of rows that differ, unpacked and split.
fn payload(c: &mut Criterion) {
    let event = Made::bulk().event(40);
    let mut plain = event.repeat(128);
    let mut noise = 1_u64;
    for rows in plain.chunks_mut(event.len()).filter_map(|event| event.get_mut(40..)) {
        for byte in rows {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte ^= (noise >> 61) as u8;
        }
    }
    let data = zstd::bulk::compress(&plain, 3).expect("zstd");
    let packed =
        TransactionPayload { compression: Compression::Zstd, uncompressed_size: plain.len() as u64, data: &data };
    let mut group = c.benchmark_group("payload");
    group.throughput(Throughput::Bytes(plain.len() as u64));
    group.bench_function("unpack", |b| {
        b.iter(|| {
            let mut events = black_box(&packed).events(1 << 20).expect("a payload");
            let mut count = 0;
            while let Some(event) = events.next_event().expect("an event") {
                black_box(event);
                count += 1;
            }
            assert_eq!(count, 128);
        });
    });
    group.finish();
}

/// The next transaction of a server whose history has 1,000 gaps.
fn gtid(c: &mut Criterion) {
    let (server, mut set) = ([7; 16], MySqlGtidSet::default());
    for gap in 0..1000 {
        set.add(server, "", 2 * gap + 1);
    }
    let mut next = 2000;
    let mut group = c.benchmark_group("gtid");
    group.throughput(Throughput::Elements(1));
    group.bench_function("add", |b| {
        b.iter(|| {
            next += 1;
            black_box(&mut set).add(server, "", next);
        });
    });
    group.finish();
}

criterion_group!(benches, rows, json, payload, gtid);
criterion_main!(benches);
