//! A peer that is a server until the dump, and sends no log that any server would.

use std::io;
use std::time::{Duration, Instant};

use kit::events::{self, FORMAT_DESCRIPTION, XID, event, format_description};
use kit::peer::{DUMP, Peer, Talk, packet};
use kit::{Process, wait_until};

use super::{MEMORY_KIB, Script, all_end, at_once, case, decent};
use crate::support::{SOON, ids};

/// What only the reader asks for, in its first statement; the look before it does not.
const SET_UP: &str = "'binlog_checksum'";

/// What `tail` says of what such a peer sends, each time it connects.
fn comes_back(cases: Vec<(&str, &[&str], Script)>) {
    let wrong = at_once(cases, |(name, words, script)| reconnects(words, script).map_err(|e| format!("{name}: {e}")));
    assert!(wrong.is_empty(), "{} cases went wrong\n{}", wrong.len(), wrong.join("\n"));
}

fn reconnects(words: &[&str], script: Script) -> Result<(), String> {
    let peer = Peer::start(move |_, talk| script(talk)).unwrap();
    let address = format!("127.0.0.1:{}", peer.port());
    let begin = Instant::now();
    let mut process = Process::binlake(&["tail", "--source", &peer.url(), "--format", "none"]).unwrap();
    // Two looks at the end of the log, and four attempts to read.
    let came = wait_until(2 * SOON, || peer.connections() >= 6 || !process.is_running());
    let (took, said) = (begin.elapsed(), process.stderr());
    if !came || !process.is_running() {
        return Err(format!("{} connections, then: {said}", peer.connections()));
    }
    // The least that the pauses after three attempts can be: 50, 100 and 200 ms.
    if took < Duration::from_millis(350) {
        return Err(format!("pauses do not grow: six connections in {took:?}"));
    }
    if let Some(word) =
        words.iter().copied().chain(["source_disconnected", address.as_str()]).find(|word| !said.contains(word))
    {
        return Err(format!("no `{word}` in: {said}"));
    }
    let peak = process.peak_kib().unwrap();
    if peak >= MEMORY_KIB {
        return Err(format!("{peak} KiB"));
    }
    process.term().unwrap();
    let status = process.wait(SOON).map_err(|e| e.to_string())?;
    if status.code() != Some(0) {
        return Err(format!("{status}: {}", process.stderr()));
    }
    decent(&said)
}

#[test]
fn a_dump_that_goes_wrong_is_asked_for_again_with_growing_pauses() {
    comes_back(vec![
        ("a size above the packet", &["whose header says"], |talk| {
            talk.stream()?;
            let mut xid = event(XID, 0, 200, &[0; 8]);
            xid[9] += 1;
            talk.event(&xid)?;
            talk.wait_closed()
        }),
        ("a size below the packet", &["whose header says"], |talk| {
            talk.stream()?;
            let mut xid = event(XID, 0, 200, &[0; 8]);
            xid[9] -= 1;
            talk.event(&xid)?;
            talk.wait_closed()
        }),
        ("a size below the header", &["event"], |talk| {
            talk.stream()?;
            let mut xid = event(XID, 0, 200, &[0; 8]);
            xid[9] = 3;
            talk.event(&xid)?;
            talk.wait_closed()
        }),
        ("less than a header", &["event"], |talk| {
            talk.stream()?;
            talk.event(&[5; 7])?;
            talk.wait_closed()
        }),
        ("an event without end", &["whose header says"], |talk| {
            talk.stream()?;
            let head = event(XID, 0, 200, &[0; 8]);
            talk.endless_packet(&[&[0], &head[..]].concat(), 0)
        }),
        ("no format description but noise", &["event"], |talk| {
            talk.serve_until(DUMP)?;
            talk.event(&[0xAB; 300])?;
            talk.wait_closed()
        }),
        ("a broken format description", &["event"], |talk| {
            talk.serve_until(DUMP)?;
            talk.event(&event(FORMAT_DESCRIPTION, 0, 126, &format_description()[19..28]))?;
            talk.wait_closed()
        }),
        ("a wrong number", &["number"], |talk| {
            talk.stream()?;
            talk.seq = talk.seq.wrapping_add(3);
            talk.event(&event(XID, 0, 200, &[0; 8]))?;
            talk.wait_closed()
        }),
        ("neither event nor end", &["neither event"], |talk| {
            talk.stream()?;
            talk.packet(&[7; 40])?;
            talk.wait_closed()
        }),
        ("an end that nobody asked for", &["ended the stream"], |talk| {
            talk.stream()?;
            talk.eof()?;
            talk.wait_closed()
        }),
        ("silence", &["heartbeat"], |talk| {
            talk.stream()?;
            talk.wait_closed()
        }),
        ("an event in drops", &["heartbeat"], |talk| {
            talk.stream()?;
            talk.drip(&packet(talk.seq, &[0; 600]), Duration::from_millis(500))
        }),
        ("a reset within an event", &["reset"], |talk| {
            talk.stream()?;
            talk.raw(&packet(talk.seq, &event(XID, 0, 200, &[0; 8]))[..20])?;
            std::thread::sleep(Duration::from_millis(50));
            talk.reset()
        }),
        ("a set-up in drops", &["did not let us in"], |talk| {
            talk.serve_until(SET_UP)?;
            talk.columns(&["Variable_name", "Value"])?;
            let row = packet(talk.seq, &[59; 60]);
            talk.drip(&row, Duration::from_secs(1))
        }),
        ("ends of a result without end", &["number"], |talk| {
            talk.serve_until(SET_UP)?;
            talk.columns(&["Variable_name", "Value"])?;
            loop {
                talk.eof()?;
            }
        }),
        ("a wish for a local file", &["local file"], |talk| {
            talk.serve_until("SET @master_binlog_checksum")?;
            talk.packet(b"\xfb/etc/passwd")?;
            talk.wait_closed()
        }),
    ]);
}

/// Events of the right size with wrong lengths in them. Where rows cannot be trusted their table stops, see the test after
/// this one; behind anything else nothing can be.
#[test]
fn tail_ends_at_events_that_are_wrong_inside() {
    /// One event in place of the fifth; `at` of its bytes are changed.
    fn changed(talk: &mut Talk, kind: &[u8], at: &[(usize, u8)]) -> io::Result<()> {
        talk.stream()?;
        let mut event = kind.to_vec();
        for (at, byte) in at {
            event[*at] = *byte;
        }
        talk.event(&event)?;
        talk.wait_closed()
    }
    let unreadable: &[&str] = &["after binlog.000001:127 cannot be read"];
    let cases = vec![
        case("a database name beyond the event", 7, unreadable, |talk| {
            changed(talk, &events::table_map(), &[(27, 250)])
        }),
        case("more columns than types", 7, unreadable, |talk| changed(talk, &events::table_map(), &[(34, 200)])),
        case("metadata beyond the event", 7, unreadable, |talk| changed(talk, &events::table_map(), &[(37, 251)])),
        case("status variables beyond the event", 7, unreadable, |talk| {
            changed(talk, &events::begin(), &[(30, 0xFF), (31, 0xFF)])
        }),
        case("a cut XID", 7, unreadable, |talk| changed(talk, &event(XID, 0, 0, &[1; 3]), &[])),
        case("a payload beyond the event", 7, unreadable, |talk| changed(talk, &events::payload(&[], 1), &[(40, 9)])),
        case("rows without their table", 7, &["table id 9"], |talk| {
            changed(talk, &events::write_rows(1, 1, b"x"), &[])
        }),
    ];
    all_end("tail", cases);
}

/// Sends transactions of one row each; `change` may bend the events of each.
fn transactions(
    talk: &mut Talk,
    numbers: std::ops::Range<u32>,
    change: impl Fn(u32, Vec<u8>) -> Vec<u8>,
) -> io::Result<()> {
    talk.stream()?;
    for number in numbers {
        for event in [events::begin(), events::table_map(), events::write_rows(1, number, b"pad"), events::xid()] {
            talk.event(&change(number, event))?;
        }
    }
    talk.wait_closed()
}

#[test]
fn a_table_whose_rows_are_wrong_inside_stops_and_others_go_on() {
    // The second transaction's pad is said to be longer than its event; other rows are those of another table.
    let peer = Peer::start(|_, talk| {
        transactions(talk, 1..5, |number, mut event| {
            match (event[4], number) {
                (events::WRITE_ROWS, 2) => event[36] = 200,
                (events::TABLE_MAP, 1 | 3 | 4) => event[32] = b'u',
                _ => {}
            }
            event
        })
    })
    .unwrap();
    let mut process = Process::binlake(&["tail", "--source", &peer.url(), "--limit", "3"]).unwrap();
    let status = process.wait(SOON).unwrap();
    let said = process.stderr();
    assert_eq!(status.code(), Some(7), "{said}");
    assert!(said.contains("table_quarantined: it.t: ") && said.contains("binlog.000001"), "{said}");
    assert!(said.contains("rows that were asked for are missing, of it.t\n"), "{said}");
    assert_eq!(ids(&process.stdout().lines().map(str::to_owned).collect::<Vec<_>>()), [1, 3, 4]);
}

#[test]
fn tables_without_number_take_bounded_memory() {
    const TABLES: u32 = 100_000;
    let peer = Peer::start(|_, talk| {
        transactions(talk, 1..TABLES + 1, |number, event| match event[4] {
            events::TABLE_MAP | events::WRITE_ROWS => events::of_table(number, event),
            _ => event,
        })
    })
    .unwrap();
    let limit = TABLES.to_string();
    let tail = ["tail", "--source", &peer.url(), "--format", "none", "--limit", &limit];
    let mut process = Process::binlake(&tail).unwrap();
    let (status, peak) = process.wait_measured(2 * SOON).unwrap();
    let said = process.stderr();
    assert!(status.success() && said.contains(&format!("rows={TABLES} ")), "{said}");
    assert!(peak < MEMORY_KIB, "{peak} KiB");
}
