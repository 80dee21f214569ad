//! Compressed transactions that are much more than they seem, from files and from a peer: what they hold passes in
//! bounded memory, or they end with the place and the reason.

use std::io::Write;
use std::time::Duration;

use kit::peer::Peer;
use kit::{Process, events};

const MIB: usize = 1 << 20;
/// What the payloads hold, uncompressed.
const SIZE: usize = 128 * MIB;
const ENOUGH: Duration = Duration::from_secs(60);

/// Compresses what `write` writes; the events of a log: FORMAT_DESCRIPTION and the payload, claiming `claim` bytes.
fn bomb(claim: u64, write: impl FnOnce(&mut dyn Write)) -> Vec<Vec<u8>> {
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    write(&mut packed);
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 128 << 10, "{}", packed.len());
    vec![events::format_description(), events::payload(&packed, claim)]
}

/// What the program said and counted.
struct End {
    code: Option<i32>,
    said: String,
    peak_kib: u64,
}

fn run(args: &[&str]) -> End {
    let mut process = Process::binlake(&[&["tail", "--format", "none"], args].concat()).unwrap();
    let (status, peak_kib) = process.wait_measured(ENOUGH).unwrap();
    End { code: status.code(), said: process.stderr(), peak_kib }
}

/// The log by `--file`, and by a peer whose dump it is, up to `limit` rows, after which a reader of a server goes on waiting.
fn both_ways(log: &[Vec<u8>], limit: Option<usize>) -> [End; 2] {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("binlog.000001");
    std::fs::write(&path, [events::MAGIC, &log.concat()].concat()).unwrap();
    let limit = limit.map(|n| n.to_string());
    let limit: Vec<&str> = limit.iter().flat_map(|n| ["--limit", n.as_str()]).collect();
    let events = log.to_vec();
    let peer = Peer::start(move |_, talk| {
        talk.serve_until(kit::peer::DUMP)?;
        talk.event(&events::rotate("binlog.000001"))?;
        for event in &events {
            talk.event(event)?;
        }
        talk.wait_closed()
    })
    .unwrap();
    [
        run(&[&["--file", path.to_str().unwrap()], &limit[..]].concat()),
        run(&[&["--source", &peer.url()], &limit[..]].concat()),
    ]
}

fn fails(log: &[Vec<u8>], words: &[&str]) {
    for end in both_ways(log, None) {
        assert_eq!(end.code, Some(7), "{}", end.said);
        for word in words.iter().chain(&["compressed transaction", "binlog.000001"]) {
            assert!(end.said.contains(word), "no `{word}` in: {}", end.said);
        }
        assert!(end.peak_kib < 64 << 10, "{words:?}: {} KiB", end.peak_kib);
    }
}

fn passes(log: &[Vec<u8>], rows: usize, peak_mib: u64) {
    for end in both_ways(log, Some(rows)) {
        assert_eq!(end.code, Some(0), "{}", end.said);
        assert!(end.said.contains(&format!("rows={rows} ")), "{rows} wanted: {}", end.said);
        assert!(end.peak_kib < peak_mib << 10, "{} KiB", end.peak_kib);
    }
}

#[test]
fn payloads_that_hold_nothing_to_read() {
    let zeros = |out: &mut dyn Write| (0..SIZE / MIB).for_each(|_| out.write_all(&vec![0; MIB]).unwrap());
    fails(&bomb(SIZE as u64, zeros), &["event of 0 bytes"]);
    // An event of more than any server writes, which is known at its header.
    fails(
        &bomb(SIZE as u64, |out| {
            let mut rows = events::write_rows(1, 1, b"x");
            rows[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
            out.write_all(&[events::begin(), events::table_map(), rows].concat()).unwrap();
            zeros(out);
        }),
        &["4294967295", "1073745920"],
    );
    // A payload in a payload, and one that ends in the middle.
    fails(&bomb(10, |out| out.write_all(&events::payload(b"x", 1)).unwrap()), &["TRANSACTION_PAYLOAD"]);
    fails(
        &bomb(10, |out| out.write_all(&[events::begin(), events::xid()[..25].to_vec()].concat()).unwrap()),
        &["event in a payload"],
    );
    // A window of 2 GiB, of which zstd would make room.
    let frame = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00".to_vec();
    fails(&[events::format_description(), events::payload(&frame, 1)], &["TRANSACTION_PAYLOAD"]);
}

#[test]
fn payloads_much_larger_than_they_say() {
    let rows = events::write_rows(1000, 7, &[b'p'; 100]);
    let events_of = SIZE / rows.len();
    for claim in [0, 1, u64::MAX] {
        let log = bomb(claim, |out| {
            out.write_all(&[events::begin(), events::table_map()].concat()).unwrap();
            (0..events_of).for_each(|_| out.write_all(&rows).unwrap());
            out.write_all(&events::xid()).unwrap();
        });
        // It is held on disk from 16 MiB on.
        passes(&log, events_of * 1000, 120);
    }
}

#[test]
fn one_row_as_large_as_the_payload() {
    let log = bomb(SIZE as u64, |out| {
        let row = events::write_rows(1, 7, &vec![0; SIZE]);
        out.write_all(&[events::begin(), events::table_map(), row, events::xid()].concat()).unwrap();
    });
    // Out of the payload and held for the commit, and the buffer that was outgrown on the way.
    passes(&log, 1, 3 * (SIZE / MIB) as u64 + 64);
}

/// The length of what follows, as the protocol writes long ones.
fn long(n: usize) -> Vec<u8> {
    [&[0xFE][..], &(n as u64).to_le_bytes()].concat()
}

#[test]
fn a_table_of_more_columns_or_labels_than_any_server_makes_stops_and_others_go_on() {
    // Each takes a byte in the event, and hundreds, or dozens, where it is looked at.
    const MANY: usize = 4 * MIB;
    let head = b"\x0a\0\0\0\0\0\x01\0\x02it\0\x04wide\0";
    let columns = [&head[..], &long(MANY), &vec![1; MANY], &[0], &vec![0; MANY / 8]].concat();
    // One ENUM, its labels all empty.
    let labels = [&long(MANY)[..], &vec![0; MANY]].concat();
    let labels = [&head[..], &[1, 254, 2, 247, 2, 0, 6], &long(labels.len()), &labels].concat();
    for (body, words) in [(columns, "number of columns"), (labels, "number of labels")] {
        let wide = events::event(events::TABLE_MAP, 0, 0, &body);
        let log = bomb(SIZE as u64, |out| {
            let row = events::write_rows(1, 7, b"x");
            out.write_all(&[events::begin(), wide, events::table_map(), row, events::xid()].concat()).unwrap();
        });
        for end in both_ways(&log, Some(1)) {
            assert_eq!(end.code, Some(7), "{}", end.said);
            let stopped = format!("table_quarantined: it.wide: rows of this table are not published: {words}");
            assert!(end.said.contains(&stopped) && end.said.contains("rows=1 "), "{}", end.said);
            assert!(end.peak_kib < 64 << 10, "{words}: {} KiB", end.peak_kib);
        }
    }
}
