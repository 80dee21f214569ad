//! Watch threads on real servers.

#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use binlake_watch as watch;
use kit::MySql;
use mysql_wire::{ErrorKind, ReplicaRequest, StartPosition};
use watch::{SourceHandle, Watch, WatchError, WatchEvent, WatchOptions};

mod source;
use source::{GTID, LONG, spec};

/// The event that ends a transaction.
const XID: u8 = 16;

/// Takes events until `done` says so for a batch's event, and gives them.
fn read_until(handle: &SourceHandle, mut done: impl FnMut(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        match handle.recv(Duration::from_secs(1)) {
            Some(WatchEvent::Batch(batch)) => {
                events.extend(batch.iter().map(<[u8]>::to_vec));
                if batch.iter().any(&mut done) {
                    return events;
                }
            }
            Some(WatchEvent::Connected(_)) | None => {}
            Some(other) => panic!("{other:?}"),
        }
    }
    panic!("not found in {} events", events.len());
}

fn failure(handle: &SourceHandle) -> WatchError {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        if let Some(WatchEvent::Disconnected(error)) = handle.recv(Duration::from_secs(1)) {
            return error;
        }
    }
    panic!("no failure within {LONG:?}");
}

fn contains(event: &[u8], text: &str) -> bool {
    event.windows(text.len()).any(|w| w == text.as_bytes())
}

#[test]
fn broken_silent_and_refused_connections_end_with_their_reason() {
    let server = MySql::start().unwrap();
    let proxy = kit::Proxy::to(server.addr()).unwrap();
    let heartbeat = Duration::from_millis(300);
    let watch = Watch::start(WatchOptions { threads: Some(1), ..WatchOptions::default() }).unwrap();
    let mut through_proxy = spec(&server.url(), 1, true);
    through_proxy.endpoint.port = proxy.port();
    through_proxy.request.heartbeat = heartbeat;
    let from = |from| ReplicaRequest { from, ..through_proxy.request.clone() };
    server.sql("CREATE DATABASE w; CREATE TABLE w.t (id INT PRIMARY KEY, s VARCHAR(50)); INSERT INTO w.t VALUES (1, 'first row')").unwrap();
    let handle = watch.add(through_proxy.clone());
    read_until(&handle, |e| contains(e, "first row"));

    // An idle connection lives on its heartbeats.
    let idle = Instant::now() + heartbeat * 6;
    while Instant::now() < idle {
        match handle.recv(Duration::from_millis(50)) {
            Some(WatchEvent::Batch(_)) | None => {}
            Some(other) => panic!("{other:?}"),
        }
    }

    // Cut in the middle: the owner goes on from where it stands and gets exactly what is missing.
    let status = server.sql("SHOW BINARY LOG STATUS").unwrap();
    let mut fields = status.split('\t');
    let (file, pos) = (fields.next().unwrap().to_owned(), fields.next().unwrap().parse().unwrap());
    proxy.cut();
    assert_eq!(failure(&handle).kind(), ErrorKind::Unavailable);
    server.sql("INSERT INTO w.t VALUES (2, 'second row')").unwrap();
    assert!(handle.recv(Duration::from_millis(300)).is_none(), "nobody connects before the owner asks");
    handle.connect(from(StartPosition::File { file, pos }), Duration::ZERO);
    let events = read_until(&handle, |e| contains(e, "second row"));
    assert!(!events.iter().any(|e| contains(e, "first row")));
    assert!(events.iter().filter(|e| e[4] == XID).count() <= 1);

    // MySQL answers a KILL QUERY of the reader's dump with the packet that ends a dump that was to end.
    let dump = "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'";
    server.sql(&format!("KILL QUERY {}", server.sql(dump).unwrap().trim())).unwrap();
    let error = failure(&handle);
    assert!(matches!(error, WatchError::EndedUnasked), "{error}");
    handle.connect(from(StartPosition::File { file: String::new(), pos: 4 }), Duration::ZERO);
    read_until(&handle, |e| contains(e, "second row"));

    // A black hole closes nothing and answers nothing.
    proxy.black_hole();
    let since = Instant::now();
    let error = failure(&handle);
    assert!(matches!(error, WatchError::Silent { after } if after == heartbeat * 3), "{error}");
    assert!(since.elapsed() >= heartbeat);
    proxy.resume();

    // What the server refuses comes with its reason and kind.
    let wrong = watch.add(spec(&server.url_of("binlake", "wrong-password"), 2, false));
    let error = failure(&wrong);
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("wrong-password"));
    let missing = StartPosition::File { file: "binlog.999999".into(), pos: 4 };
    handle.connect(from(missing), Duration::ZERO);
    let error = failure(&handle);
    assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
}

#[test]
fn large_transactions_pass_a_small_ring_whole_and_the_end_is_reported() {
    let server = MySql::start().unwrap();
    server
        .sql(
            "CREATE DATABASE w; CREATE TABLE w.t (id INT PRIMARY KEY, b LONGBLOB);
             SET SESSION cte_max_recursion_depth = 100000;
             INSERT INTO w.t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             SELECT i, REPEAT('x', 500) FROM n;
             INSERT INTO w.t VALUES (1000000, REPEAT('y', 20 * 1024 * 1024));",
        )
        .unwrap();
    let size: u64 = server.sql("SHOW BINARY LOG STATUS").unwrap().split('\t').nth(1).unwrap().parse().unwrap();
    assert!(size > 30_000_000);
    let watch =
        Watch::start(WatchOptions { threads: Some(1), ring_bytes: 256 << 10, ..WatchOptions::default() }).unwrap();
    for tls in [false, true] {
        let mut spec = spec(&server.url(), 1, tls);
        let file = server.sql("SHOW BINARY LOG STATUS").unwrap().split('\t').next().unwrap().to_owned();
        spec.request.from = StartPosition::File { file, pos: 4 };
        spec.request.stop_at_end = true;
        let handle = watch.add(spec);
        let (mut bytes, mut largest, mut highest_ring) = (0, 0, 0);
        loop {
            highest_ring = highest_ring.max(handle.stats().ring_bytes);
            match handle.recv(LONG) {
                // A reader that lingers: the ring fills.
                Some(WatchEvent::Connected(_)) => std::thread::sleep(Duration::from_millis(200)),
                Some(WatchEvent::Batch(batch)) => {
                    for event in batch.iter() {
                        // What the server makes up for the stream stands in no file.
                        let made_up = event[17] & 0x20 != 0 || event[4] == 27 || event[4] == 41;
                        bytes += if made_up { 0 } else { event.len() as u64 };
                        largest = largest.max(event.len());
                    }
                    handle.recycle(batch);
                }
                Some(WatchEvent::Ended) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bytes + 4, size, "every byte of the file but its magic");
        assert!(largest > 20 << 20);
        assert!(handle.stats().paused > Duration::ZERO, "a ring of 256 KiB was too small to never pause");
        assert!(highest_ring < 64 << 20, "bounded by the ring and the largest event, found {highest_ring}");
        assert_eq!(handle.stats().ring_bytes, 0);
    }
}

/// The algorithm of checksums as servers of both families write it, also when it changes under a running dump.
#[test]
fn checksums_hold_on_both_families_and_over_a_change() {
    let watch = Watch::start(WatchOptions { threads: Some(1), ..WatchOptions::default() }).unwrap();
    let check = |server: &kit::Database| {
        server.sql("CREATE DATABASE w; CREATE TABLE w.t (s VARCHAR(50))").unwrap();
        let mut spec = spec(&server.url(), 1, false);
        spec.request.heartbeat = Duration::from_millis(200);
        let handle = watch.add(spec);
        for (i, checksum) in ["CRC32", "NONE", "CRC32"].iter().enumerate() {
            let text = format!("row {i} with {checksum}");
            server.sql(&format!("SET GLOBAL binlog_checksum = {checksum}; INSERT INTO w.t VALUES ('{text}')")).unwrap();
            read_until(&handle, |e| contains(e, &text));
            // Heartbeats have checksums, too.
            read_until(&handle, |e| e[4] == 27 || e[4] == 41);
        }
    };
    check(&MySql::start().unwrap());
    check(&kit::MariaDb::start().unwrap());
}

/// A network that flips one byte of a row: nothing wrong is delivered, and reading again helps.
#[test]
fn damaged_event_is_not_delivered() {
    let server = MySql::start().unwrap();
    server.sql("CREATE DATABASE w; CREATE TABLE w.t (s VARCHAR(50)); INSERT INTO w.t VALUES ('good row')").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut spec = spec(&server.url(), 1, false);
    spec.endpoint.port = listener.local_addr().unwrap().port();
    let address = server.addr();
    std::thread::spawn(move || {
        for attempt in 0.. {
            let (client, upstream) = (listener.accept().unwrap().0, TcpStream::connect(address).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || flip(upstream, client, attempt == 0));
        }
    });
    let watch = Watch::start(WatchOptions { threads: Some(1), ..WatchOptions::default() }).unwrap();
    let handle = watch.add(spec.clone());
    read_until(&handle, |e| contains(e, "good row"));
    server.sql("INSERT INTO w.t VALUES ('flip me')").unwrap();
    let mut seen = Vec::new();
    let error = loop {
        match handle.recv(LONG) {
            Some(WatchEvent::Batch(batch)) => seen.extend(batch.iter().map(<[u8]>::to_vec)),
            Some(WatchEvent::Disconnected(error)) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert!(seen.iter().any(|e| GTID.contains(&e[4])), "what came before is delivered");
    assert!(!seen.iter().any(|e| contains(e, "flip m") || contains(e, "Flip m")));
    assert!(
        matches!(&error, WatchError::Damaged { at, .. } if at.file.starts_with("binlog.0") && at.pos > 4),
        "{error}"
    );
    handle.connect(spec.request, Duration::ZERO);
    read_until(&handle, |e| contains(e, "flip me"));
}

fn flip(mut from: TcpStream, mut to: TcpStream, damage: bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if let Some(at) = buffer[..n].windows(7).position(|w| w == b"flip me").filter(|_| damage) {
            buffer[at] = b'F';
        }
        if to.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}
