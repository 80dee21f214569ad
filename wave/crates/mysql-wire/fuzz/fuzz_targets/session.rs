//! A session that a hostile server talks to, from the greeting or from any later point of a recorded conversation.
//!
//! The first four bytes of an input choose: the recording, TLS, whether what follows are raw bytes or payloads (each
//! behind a length of two bytes, put into packets with the right number); how many recorded packets come before; the size
//! of the reads; what is done once login is through.
#![no_main]

// Two workspaces, one allocator.
#[path = "../../../binlog/fuzz/src/memory.rs"]
mod memory;

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use memory::{Counting, peak};
use mysql_wire::{ConnectOptions, Flavor, Progress, ReplicaRequest, Session, SslMode, StartPosition, WireError};

#[global_allocator]
static HEAP: Counting = Counting;

const RECORDINGS: [&[u8]; 2] = [
    include_bytes!("../../tests/testdata/conversation_mysql_9_7.bin"),
    include_bytes!("../../tests/testdata/conversation_mariadb_10_11.bin"),
];
const LIMIT: usize = 64 << 10;
/// A packet, a result (counted with what its rows take) and a read buffer may each be at their limit and have grown by
/// doubling; TLS has buffers of its own, and the error is kept twice.
const BOUND: usize = 1 << 20;

struct Peer {
    session: Session,
    step: usize,
    wish: u8,
    /// Number of the next packet to the client.
    seq: u8,
    ended: bool,
}

impl Peer {
    /// Gives `bytes` to the session, in steps.
    fn send(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(self.step) {
            let mut rest = chunk;
            while !rest.is_empty() && !self.ended {
                let space = self.session.read_space();
                assert!(!space.is_empty());
                let n = space.len().min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                rest = &rest[n..];
                self.ended = self.session.on_read(n).is_err();
                self.poll();
            }
        }
    }

    fn poll(&mut self) {
        while !self.ended {
            match self.session.poll() {
                Ok(None) => break,
                Ok(Some(progress)) => self.on_progress(progress),
                Err(error) => {
                    let _ = (error.to_string(), error.kind());
                    if self.session.is_ready() {
                        assert!(matches!(error, WireError::Server(_)), "{error} leaves the session usable");
                    } else {
                        assert_eq!(self.session.poll(), Err(error), "an error stays");
                        self.ended = true;
                    }
                }
            }
        }
        let output = self.session.output();
        // the answer goes to the client with the number after its last packet's
        if let Some(header) = last_header(output) {
            self.seq = header[3].wrapping_add(1);
        }
        let n = output.len();
        self.session.on_written(n);
    }

    fn on_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Ready(info) => {
                let done = if self.wish.is_multiple_of(4) {
                    self.session.query("SELECT 1")
                } else {
                    let from = match (self.wish % 4, info.flavor) {
                        (1, _) => StartPosition::File { file: "binlog.000001".into(), pos: 4 },
                        (_, Flavor::MariaDb) => StartPosition::MariaDbGtid { position: "0-1-5".into() },
                        _ => StartPosition::MySqlGtid { set: vec![0; 8] },
                    };
                    let uuid = "5ba7f2a0-0000-4000-8000-00000000beef".into();
                    let heartbeat = Duration::from_secs(1);
                    self.session.replicate(ReplicaRequest { server_id: 9, uuid, heartbeat, from, stop_at_end: true })
                };
                assert_eq!(done, Ok(()));
            }
            Progress::QueryDone(result) => {
                assert!(result.rows.iter().all(|row| row.len() == result.columns.len()));
                assert_eq!(self.session.query("SELECT 2"), Ok(()));
            }
            Progress::Streaming(_) => {}
            Progress::Events => {
                let batch = self.session.take_batch().expect("events were told");
                assert!(batch.events.iter().all(|range| range.end <= batch.buf.len() && range.len() >= 19));
                assert!(batch.iter().all(|event| event.len() <= LIMIT));
                self.session.recycle(batch);
            }
            Progress::DumpEnded => self.ended = true,
        }
    }
}

/// Header of the last packet in `bytes`, if they are packets.
fn last_header(mut bytes: &[u8]) -> Option<[u8; 4]> {
    let mut last = None;
    while let Some((header, rest)) = bytes.split_first_chunk::<4>() {
        last = Some(*header);
        bytes = rest.get(payload_len(header)..)?;
    }
    last
}

fn payload_len(header: &[u8; 4]) -> usize {
    u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize
}

/// The first `count` packets of a recording.
fn recorded(recording: &[u8], count: usize) -> &[u8] {
    let mut at = 0;
    for _ in 0..count {
        let Some(header) = recording.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { break };
        at += 4 + payload_len(header);
    }
    recording.get(..at).unwrap_or(recording)
}

fn play(data: &[u8]) {
    let Some(([form, count, step, wish], data)) = data.split_first_chunk::<4>() else { return };
    let mut options = ConnectOptions::new("db.example", "repl", "hunter2hunter2");
    options.tls.mode = if form & 2 == 0 { SslMode::Disabled } else { SslMode::Preferred };
    options.limits.max_event = LIMIT;
    options.limits.max_result = LIMIT;
    options.limits.max_read_buffer = LIMIT / 2;
    let session = Session::new(Arc::new(options), [7; 32]).expect("options without files are good");
    let step = 1 + usize::from(*step) * 16;
    let mut peer = Peer { session, step, wish: *wish, seq: 0, ended: false };
    let prefix = recorded(RECORDINGS[usize::from(form & 1)], usize::from(*count));
    peer.send(prefix);
    let mut rest = data;
    if form & 4 == 0 {
        peer.send(rest);
    } else {
        // in the middle of an answer the numbers count on; the recording's last packet says from where
        let mut begun = last_header(prefix).map_or(0, |header| header[3].wrapping_add(1));
        while let Some((len, tail)) = rest.split_first_chunk::<2>() {
            let (payload, tail) = tail.split_at(usize::from(u16::from_le_bytes(*len)).min(tail.len()));
            rest = tail;
            let seq = if peer.seq != 0 { std::mem::take(&mut peer.seq) } else { begun };
            begun = seq.wrapping_add(1);
            let mut packet = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
            packet[3] = seq;
            peer.send(&[&packet, payload].concat());
        }
    }
    if !peer.ended {
        peer.ended = peer.session.on_read(0).is_err();
        peer.poll();
    }
    assert!(!format!("{:?}", peer.session).contains("hunter2"));
}

fuzz_target!(|data: &[u8]| {
    let held = peak(|| play(data));
    assert!(held <= BOUND, "{held} bytes held");
});
