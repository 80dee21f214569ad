//! Whole conversations without a server: what real servers sent, cut, bent and mixed up; and servers that are hostile.
//!
//! The recordings hold the bytes of MySQL 9.7.4 and MariaDB 10.11 from the greeting to the end of a dump: login in clear
//! text (MySQL's with its RSA key, MariaDB's by mysql_native_password), set-up, registration, events.
#![allow(clippy::unwrap_used, reason = "functions of tests")]

use std::sync::Arc;
use std::time::Duration;

use mysql_wire::{
    ConnectOptions, DumpRequest, DumpStart, ErrorKind, Flavor, Progress, ReplicaRequest, Session, SslMode,
    StartPosition, WireError,
};
use proptest::prelude::*;

const MYSQL: &[u8] = include_bytes!("testdata/conversation_mysql_9_7.bin");
const MARIADB: &[u8] = include_bytes!("testdata/conversation_mariadb_10_11.bin");

fn session(mode: SslMode) -> Session {
    let mut options = ConnectOptions::new("127.0.0.1", "repl", "repl");
    options.tls.mode = mode;
    options.limits.max_event = 1 << 20;
    Session::new(Arc::new(options), [7; 32]).unwrap()
}

fn feed(session: &mut Session, bytes: &[u8]) -> Result<(), WireError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = session.read_space();
        let n = space.len().min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        session.on_read(n)?;
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    steps: Vec<String>,
    events: Vec<Vec<u8>>,
}

/// Plays `bytes` in pieces of `step` to a session that replicates as soon as it can, then ends the input.
fn replay(bytes: &[u8], step: usize, mode: SslMode) -> (Seen, Result<(), WireError>) {
    let mut session = session(mode);
    let mut seen = Seen::default();
    for chunk in bytes.chunks(step).map(Some).chain([None]) {
        let fed = match chunk {
            Some(chunk) => feed(&mut session, chunk),
            None => session.on_read(0),
        };
        if let Err(error) = fed {
            return (seen, Err(error));
        }
        loop {
            let progress = match session.poll() {
                Ok(Some(progress)) => progress,
                Ok(None) => break,
                Err(error) => {
                    // and again, for ever
                    assert!(session.is_ready() || session.poll() == Err(error.clone()));
                    return (seen, Err(error));
                }
            };
            match progress {
                Progress::Ready(info) => {
                    seen.steps.push(format!("ready {:?} {}", info.flavor, info.encrypted));
                    let from = if info.flavor == Flavor::MariaDb {
                        StartPosition::MariaDbGtid { position: String::new() }
                    } else {
                        StartPosition::File { file: String::new(), pos: 4 }
                    };
                    let uuid = "5ba7f2a0-0000-4000-8000-00000000beef".into();
                    let heartbeat = Duration::from_secs(1);
                    let request = ReplicaRequest { server_id: 9, uuid, heartbeat, from, stop_at_end: true };
                    if let Err(error) = session.replicate(request) {
                        return (seen, Err(error));
                    }
                }
                Progress::Streaming(info) => {
                    seen.steps.push(format!("streaming {:?}", info.variable("binlog_format")));
                }
                Progress::Events => {
                    let batch = session.take_batch().unwrap();
                    seen.events.extend(batch.iter().map(<[u8]>::to_vec));
                    session.recycle(batch);
                }
                Progress::DumpEnded => return (seen, Ok(())),
                Progress::QueryDone(_) => panic!("the set-up's own statements are not told"),
            }
        }
        let n = session.output().len();
        session.on_written(n);
    }
    (seen, Err(WireError::Config("the session did not notice the end of its input".into())))
}

#[test]
fn recordings_play_in_pieces_of_any_size() {
    for (bytes, flavor, events) in [(MYSQL, "MySql", 24), (MARIADB, "MariaDb", 18)] {
        let (whole, end) = replay(bytes, usize::MAX, SslMode::Disabled);
        assert_eq!(end, Ok(()));
        assert_eq!(whole.steps, [format!("ready {flavor} false"), "streaming Some(\"ROW\")".to_owned()]);
        assert_eq!(whole.events.len(), events);
        for event in &whole.events {
            // the length in an event's own header
            assert_eq!(u32::from_le_bytes(event[9..13].try_into().unwrap()) as usize, event.len());
        }
        for step in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(
                replay(bytes, step, SslMode::Disabled),
                (Seen { steps: whole.steps.clone(), events: whole.events.clone() }, Ok(()))
            );
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    for bytes in [MYSQL, MARIADB] {
        let (whole, _) = replay(bytes, usize::MAX, SslMode::Disabled);
        for cut in 0..bytes.len() {
            let (seen, end) = replay(&bytes[..cut], usize::MAX, SslMode::Disabled);
            assert!(matches!(end, Err(WireError::Closed { .. })), "{cut}: {end:?}");
            assert!(whole.steps.starts_with(&seen.steps) && whole.events.starts_with(&seen.events), "{cut}");
        }
    }
}

fn packet(seq: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_le_bytes()[..3].to_vec();
    out.push(seq);
    out.extend_from_slice(payload);
    out
}

/// An event of `len` times `byte`, but for its size.
fn event(byte: u8, len: u32) -> Vec<u8> {
    let mut out = vec![byte; len as usize];
    out[9..13].copy_from_slice(&len.to_le_bytes());
    out
}

fn greeting() -> Vec<u8> {
    let len = 4 + u32::from_le_bytes([MYSQL[0], MYSQL[1], MYSQL[2], 0]) as usize;
    MYSQL[..len].to_vec()
}

fn logged_in() -> Session {
    let mut session = session(SslMode::Disabled);
    feed(&mut session, &[greeting(), packet(2, &[0, 0, 0, 2, 0, 0, 0])].concat()).unwrap();
    assert!(matches!(session.poll(), Ok(Some(Progress::Ready(_)))));
    session
}

#[test]
fn a_request_for_a_local_file_ends_the_session() {
    let mut session = logged_in();
    session.query("SELECT 1").unwrap();
    feed(&mut session, &packet(1, b"\xfb/etc/passwd")).unwrap();
    let sent = session.output().len();
    let error = session.poll().unwrap_err();
    assert!(error.to_string().contains("local file"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(session.output().len(), sent, "nothing is answered");
    assert!(session.query("SELECT 1").is_err());
}

/// Found by fuzzing: the session stayed ready and told the same error for ever, so that a driver could send on.
#[test]
fn bytes_that_nobody_asked_for_end_a_ready_session() {
    // a length above the limit, a number that is not due, a packet that answers nothing
    for bytes in [vec![0x7e, 0xff, 0xff, 0xff], packet(9, b"what?"), packet(3, b"\0")] {
        let mut options = ConnectOptions::new("127.0.0.1", "repl", "repl");
        options.tls.mode = SslMode::Disabled;
        options.limits.max_result = 64 << 10;
        let mut session = Session::new(Arc::new(options), [7; 32]).unwrap();
        feed(&mut session, &[greeting(), packet(2, &[0, 0, 0, 2, 0, 0, 0]), bytes].concat()).unwrap();
        assert!(matches!(session.poll(), Ok(Some(Progress::Ready(_)))));
        let error = session.poll().unwrap_err();
        assert!(matches!(error, WireError::TooLarge { .. } | WireError::Protocol { .. }), "{error}");
        assert!(!session.is_ready());
        assert_eq!(session.poll(), Err(error));
        assert!(session.query("SELECT 1").is_err());
    }
}

#[test]
fn a_downgrade_to_clear_text_is_refused() {
    for allow in [false, true] {
        let mut options = ConnectOptions::new("h", "u", "hunter2");
        options.tls.mode = SslMode::Disabled;
        options.allow_cleartext_auth = allow;
        let mut session = Session::new(Arc::new(options), [7; 32]).unwrap();
        feed(&mut session, &greeting()).unwrap();
        assert_eq!(session.poll(), Ok(None));
        feed(&mut session, &packet(2, b"\xfemysql_clear_password\0")).unwrap();
        let error = session.poll().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(!session.output().windows(7).any(|bytes| bytes == b"hunter2"));
        assert!(!format!("{error:?} {error} {session:?}").contains("hunter2"));
    }
}

#[test]
fn bytes_slipped_in_before_tls_are_refused() {
    let mut session = session(SslMode::Required);
    feed(&mut session, &[greeting(), packet(2, &[0, 0, 0, 2, 0, 0, 0])].concat()).unwrap();
    let error = session.poll().unwrap_err();
    assert!(error.to_string().contains("bytes after the greeting"), "{error}");
}

#[test]
fn a_greeting_may_be_an_error() {
    let mut session = session(SslMode::Disabled);
    feed(&mut session, &packet(0, b"\xff\x10\x04Too many connections")).unwrap();
    let error = session.poll().unwrap_err();
    assert!(matches!(&error, WireError::Server(e) if e.code == 1040));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn events_come_before_the_error_behind_them() {
    let mut session = logged_in();
    let start = DumpStart::File { file: String::new(), pos: 4 };
    session.dump(&DumpRequest { server_id: 1, start, stop_at_end: false }).unwrap();
    let sent = [&[0][..], &event(5, 30)].concat();
    let error = packet(3, b"\xff\xd4\x04#HY000purged");
    feed(&mut session, &[packet(1, &sent), packet(2, &sent), error].concat()).unwrap();
    assert_eq!(session.poll(), Ok(Some(Progress::Events)));
    assert_eq!(session.take_batch().unwrap().iter().collect::<Vec<_>>(), [event(5, 30), event(5, 30)]);
    assert!(matches!(session.poll(), Err(WireError::Server(e)) if e.code == 1236));
}

#[test]
fn an_event_is_as_long_as_its_header_says() {
    let streaming = || {
        let mut session = logged_in();
        let start = DumpStart::File { file: String::new(), pos: 4 };
        session.dump(&DumpRequest { server_id: 1, start, stop_at_end: false }).unwrap();
        session
    };
    for size in [29, 31, 0, u32::MAX] {
        let mut sent = [&[0][..], &event(5, 30)].concat();
        sent[10..14].copy_from_slice(&size.to_le_bytes());
        let mut session = streaming();
        feed(&mut session, &packet(1, &sent)).unwrap();
        let error = session.poll().unwrap_err();
        assert!(matches!(error, WireError::Protocol { .. }) && error.to_string().contains("30 bytes"), "{error}");
    }
}

#[test]
fn events_that_are_not_taken_are_kept() {
    let mut session = logged_in();
    let start = DumpStart::File { file: String::new(), pos: 4 };
    session.dump(&DumpRequest { server_id: 1, start, stop_at_end: false }).unwrap();
    for i in 0..2000_usize {
        let event = [&[0][..], &event(i as u8, 100)].concat();
        feed(&mut session, &packet((i + 1) as u8, &event)).unwrap();
        assert_eq!(session.poll(), Ok(Some(Progress::Events)));
    }
    let batch = session.take_batch().unwrap();
    assert_eq!((batch.events.len(), batch.event_bytes()), (2000, 200_000));
    assert!(batch.iter().enumerate().all(|(i, found)| found == event(i as u8, 100)));
    assert!(session.take_batch().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bent_conversations_do_no_harm(
        mysql: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        step in 1..4000_usize,
    ) {
        let mut bytes = if mysql { MYSQL } else { MARIADB }.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (seen, _) = replay(&bytes, step, SslMode::Disabled);
        prop_assert!(seen.events.len() <= 200);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000), after in 0..3_usize, step in 1..300_usize, tls: bool) {
        // with TLS, after the greeting, the bytes are records of it;
        // at the start, after the greeting, and after the login
        let head = [Vec::new(), greeting(), [greeting(), packet(2, &[0, 0, 0, 2, 0, 0, 0])].concat()];
        let (_, end) = replay(&[head[after].as_slice(), &bytes].concat(), step, if tls { SslMode::Preferred } else { SslMode::Disabled });
        prop_assert!(end.is_err());
    }

    #[test]
    fn random_packets_do_no_harm(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20), begin in 0..4_u8) {
        let mut bytes = greeting();
        for (seq, payload) in (begin..).zip(&payloads) {
            bytes.extend_from_slice(&packet(seq, payload));
        }
        let (_, end) = replay(&bytes, usize::MAX, SslMode::Disabled);
        prop_assert!(end.is_err());
    }
}
