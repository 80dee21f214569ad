//! Speed of row decoding: bytes of log per second and core, all cells decoded, checksums verified.
//! `cargo bench -p binlake-binlog --bench rows`

extern crate binlake_binlog as binlog;

mod made;

use std::hint::black_box;
use std::time::Instant;

use binlog::event::{Event, StreamState};
use made::Made;

/// An event of about 8 KB with its checksum.
fn checked_event(made: &Made) -> Vec<u8> {
    let mut raw = made.event(8000 / made.row.len());
    let size = raw.len() as u32 + 4;
    raw[9..13].copy_from_slice(&size.to_le_bytes());
    raw.extend(crc32fast::hash(&raw).to_le_bytes());
    raw
}

fn measure(name: &str, state: &mut StreamState, made: &Made) {
    let (table, raw) = (&made.table, checked_event(made));
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

    measure("bulk, 4 columns", &mut state, &Made::bulk());
    measure("mixed, 30 columns", &mut state, &Made::mixed());
}
