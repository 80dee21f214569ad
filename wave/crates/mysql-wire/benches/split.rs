//! How fast a stream of packets becomes batches of events: `cargo bench -p binlake-mysql-wire`.
//!
//! The copy into the read buffer stands for the socket's; its own speed is measured as the bound.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mysql_wire::{ConnectOptions, DumpRequest, DumpStart, Progress, Session, SslMode};

const GREETING: &[u8] = include_bytes!("../src/testdata/greeting_mysql_9_7.bin");

fn packet(out: &mut Vec<u8>, seq: u8, payload: &[u8]) {
    let len = u32::try_from(payload.len()).expect("a packet").to_le_bytes();
    out.extend_from_slice(&[len[0], len[1], len[2], seq]);
    out.extend_from_slice(payload);
}

/// An event of `size` bytes with its status byte; all zero but the size.
fn event(size: usize) -> Vec<u8> {
    let mut payload = vec![0; size + 1];
    payload[10..14].copy_from_slice(&u32::try_from(size).expect("an event").to_le_bytes());
    payload
}

fn feed(session: &mut Session, mut bytes: &[u8], mut taken: impl FnMut(&mut Session)) {
    while !bytes.is_empty() {
        let space = session.read_space();
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        bytes = &bytes[n..];
        session.on_read(n).expect("a packet");
        taken(session);
    }
}

/// A session that was let in and has asked for the log.
fn streaming() -> Session {
    let mut options = ConnectOptions::new("h", "u", "p");
    options.tls.mode = SslMode::Disabled;
    let mut session = Session::new(Arc::new(options), [0; 32]).expect("a session");
    let mut login = Vec::new();
    packet(&mut login, 0, GREETING);
    packet(&mut login, 2, &[0, 0, 0, 2, 0, 0, 0]);
    feed(&mut session, &login, |session| while session.poll().expect("a login").is_some() {});
    let start = DumpStart::File { file: String::new(), pos: 4 };
    session.dump(&DumpRequest { server_id: 1, start, stop_at_end: false }).expect("a dump");
    session
}

fn split(c: &mut Criterion) {
    let mut group = c.benchmark_group("split packets");
    for size in [40, 1000, 8 << 10, 100 << 10] {
        let mut session = streaming();
        // 256 packets, so that the next round goes on with the right numbers.
        let mut round = Vec::new();
        for seq in 1..=256_u16 {
            packet(&mut round, seq.to_le_bytes()[0], &event(size));
        }
        group.throughput(Throughput::Bytes(round.len() as u64));
        group.bench_function(BenchmarkId::new("events", size), |b| {
            b.iter(|| {
                let mut events = 0;
                feed(&mut session, &round, |session| {
                    while let Some(Progress::Events) = session.poll().expect("events") {
                        let batch = session.take_batch().expect("a batch");
                        events += batch.events.len();
                        session.recycle(black_box(batch));
                    }
                });
                assert_eq!(events, 256);
            });
        });
    }
    let (from, mut to) = (vec![1_u8; 1 << 20], vec![0_u8; 1 << 20]);
    group.throughput(Throughput::Bytes(from.len() as u64));
    group.bench_function("the copy alone", |b| b.iter(|| black_box(&mut to).copy_from_slice(black_box(&from))));
    group.finish();
}

criterion_group!(benches, split);
criterion_main!(benches);
