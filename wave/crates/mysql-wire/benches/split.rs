//! How fast a stream of packets becomes batches: `cargo bench -p binlake-mysql-wire`. Prints GB/s and ns per event.
//!
//! The copy into the read buffer stands for the socket's; its own speed is printed as the bound.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_wire::{ConnectOptions, DumpRequest, DumpStart, Progress, Session, SslMode};

const GREETING: &[u8] = include_bytes!("../src/testdata/greeting_mysql_9_7.bin");
const RUN: Duration = Duration::from_millis(700);

fn packet(out: &mut Vec<u8>, seq: u8, payload: &[u8]) {
    let len = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
    out.extend_from_slice(&[len[0], len[1], len[2], seq]);
    out.extend_from_slice(payload);
}

fn feed(session: &mut Session, mut bytes: &[u8], mut taken: impl FnMut(&mut Session)) {
    while !bytes.is_empty() {
        let space = session.read_space();
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        bytes = &bytes[n..];
        if session.on_read(n).is_ok() {
            taken(session);
        }
    }
}

fn main() {
    for size in [40, 100, 1000, 8 << 10, 100 << 10, 8 << 20] {
        let mut options = ConnectOptions::new("h", "u", "p");
        options.tls.mode = SslMode::Disabled;
        let Ok(mut session) = Session::new(Arc::new(options), [0; 32]) else { return };
        let mut login = Vec::new();
        packet(&mut login, 0, GREETING);
        packet(&mut login, 2, &[0, 0, 0, 2, 0, 0, 0]);
        feed(&mut session, &login, |session| while let Ok(Some(_)) = session.poll() {});
        let start = DumpStart::File { file: String::new(), pos: 4 };
        if session.dump(&DumpRequest { server_id: 1, start, stop_at_end: false }).is_err() {
            return;
        }
        // 256 packets, so that the next round goes on with the right numbers
        let mut round = Vec::new();
        for seq in 1..=256_u16 {
            packet(&mut round, seq.to_le_bytes()[0], &vec![0; size + 1]);
        }
        let (mut events, mut bytes) = (0, 0);
        let begin = Instant::now();
        while begin.elapsed() < RUN {
            feed(&mut session, &round, |session| {
                while let Ok(Some(Progress::Events)) = session.poll() {
                    if let Some(batch) = session.take_batch() {
                        events += batch.events.len();
                        session.recycle(black_box(batch));
                    }
                }
            });
            bytes += round.len();
        }
        let elapsed = begin.elapsed().as_secs_f64();
        println!(
            "events of {size:>8} bytes: {:6.2} GB/s {:9.1} ns/event",
            bytes as f64 / elapsed / 1e9,
            elapsed * 1e9 / events as f64
        );
    }
    let (from, mut to) = (vec![1_u8; 1 << 20], vec![0_u8; 1 << 20]);
    let (mut bytes, begin) = (0, Instant::now());
    while begin.elapsed() < RUN {
        black_box(&mut to).copy_from_slice(black_box(&from));
        bytes += to.len();
    }
    println!("the copy alone (1 MiB):   {:6.2} GB/s", bytes as f64 / begin.elapsed().as_secs_f64() / 1e9);
}
