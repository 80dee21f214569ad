//! A connection that is reset after any byte of a conversation: the watch thread and the blocking client both say so,
//! deliver no event that was not whole, and the watch thread goes on with the next attempt.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use binlake_watch as watch;
use kit::peer::Peer;
use mysql_wire::{ConnectOptions, ErrorKind, ReplicaRequest, SslMode, StartPosition};
use watch::blocking::{BlockingError, Client};
use watch::{Endpoint, SourceHandle, SourceSpec, Watch, WatchEvent, WatchOptions};

/// What real servers sent, from the greeting to the end of a dump; see the tests of `mysql-wire`.
const MYSQL: &[u8] = include_bytes!("../../mysql-wire/tests/testdata/conversation_mysql_9_7.bin");
const MARIADB: &[u8] = include_bytes!("../../mysql-wire/tests/testdata/conversation_mariadb_10_11.bin");

const LONG: Duration = Duration::from_secs(30);

fn request(from: StartPosition) -> ReplicaRequest {
    ReplicaRequest {
        server_id: 9,
        uuid: "5ba7f2a0-0000-4000-8000-00000000beef".into(),
        heartbeat: Duration::from_secs(5),
        from,
        stop_at_end: true,
    }
}

/// The events of one attempt, and the error that ended it; None: the end of the dump.
fn attempt(handle: &SourceHandle) -> (Vec<Vec<u8>>, Option<watch::WatchError>) {
    let mut events = Vec::new();
    loop {
        match handle.recv(LONG).expect("an attempt ends") {
            WatchEvent::Connected(_) => {}
            WatchEvent::Batch(batch) => events.extend(batch.iter().map(<[u8]>::to_vec)),
            WatchEvent::Ended => return (events, None),
            WatchEvent::Disconnected(error) => return (events, Some(error)),
        }
    }
}

fn by_client(endpoint: &Endpoint, options: &Arc<ConnectOptions>, request: ReplicaRequest) -> (Vec<Vec<u8>>, bool) {
    let mut events = Vec::new();
    let read = || -> Result<(), BlockingError> {
        for batch in Client::connect(endpoint, Arc::clone(options), LONG)?.dump_batches(request)? {
            events.extend(batch?.iter().map(<[u8]>::to_vec));
        }
        Ok(())
    };
    let whole = read().is_ok();
    (events, whole)
}

#[test]
fn a_reset_at_every_byte_is_told_and_nothing_half_is_delivered() {
    let mysql = StartPosition::File { file: String::new(), pos: 4 };
    let mariadb = StartPosition::MariaDbGtid { position: String::new() };
    for (recording, from, wanted) in [(MYSQL, mysql, 24), (MARIADB, mariadb, 18)] {
        // Connections come in the order of the cuts, each twice; what begins is always a whole conversation.
        let peer = Peer::start(move |number, talk| {
            let cut = number.div_ceil(2);
            talk.raw(recording.get(..cut).unwrap_or(recording))?;
            if cut >= recording.len() {
                return talk.wait_closed();
            }
            // Long enough for most of it to be read before the reset takes it away.
            std::thread::sleep(Duration::from_millis(1));
            talk.reset()
        })
        .unwrap();
        let mut options = ConnectOptions::new("127.0.0.1", "repl", "repl");
        options.tls.mode = SslMode::Disabled;
        let (options, endpoint) = (Arc::new(options), Endpoint { host: "127.0.0.1".into(), port: peer.port() });
        let watch = Watch::start(WatchOptions { threads: Some(1), ..WatchOptions::default() }).unwrap();
        let handle = watch.add(SourceSpec {
            name: "resets".into(),
            endpoint: endpoint.clone(),
            options: options.clone(),
            request: request(from.clone()),
            signal: None,
        });
        assert!(attempt(&handle).1.is_some(), "a reset at once");
        let mut seen = Vec::new();
        for cut in 1..=recording.len() {
            let (events, whole) = by_client(&endpoint, &options, request(from.clone()));
            assert_eq!(whole, cut == recording.len(), "{cut}");
            seen.push(events);
            handle.connect(request(from.clone()), Duration::ZERO);
            let (events, error) = attempt(&handle);
            assert!(
                error.as_ref().map(watch::WatchError::kind)
                    == (cut < recording.len()).then_some(ErrorKind::Unavailable),
                "{cut}: {error:?}"
            );
            seen.push(events);
        }
        let all = seen.last().unwrap();
        assert_eq!(all.len(), wanted);
        assert!(seen.iter().all(|events| all.starts_with(events)));
        let some = seen.iter().filter(|events| !events.is_empty()).count();
        assert!(some * 20 > seen.len(), "only {some} of {} conversations came to an event", seen.len());
    }
}
