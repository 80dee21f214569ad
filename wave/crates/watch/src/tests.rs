//! Failures that need no MySQL server: only sockets of this test.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_wire::{ConnectOptions, ErrorKind, ReplicaRequest, StartPosition};

use crate::inbox::Command;
use crate::{Endpoint, SourceHandle, SourceSpec, Watch, WatchError, WatchEvent, WatchOptions};

const LONG: Duration = Duration::from_secs(30);

fn request() -> ReplicaRequest {
    ReplicaRequest {
        server_id: 1,
        uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
        heartbeat: Duration::from_secs(1),
        from: StartPosition::File { file: String::new(), pos: 4 },
        stop_at_end: false,
    }
}

fn spec(host: &str, port: u16) -> SourceSpec {
    SourceSpec {
        name: "s".into(),
        endpoint: Endpoint { host: host.into(), port },
        options: Arc::new(ConnectOptions::new(host, "u", "secret")),
        request: request(),
        signal: None,
    }
}

fn watch() -> Watch {
    Watch::start(WatchOptions {
        threads: Some(1),
        connect_timeout: Duration::from_millis(300),
        ..WatchOptions::default()
    })
    .unwrap()
}

fn disconnected(handle: &SourceHandle) -> WatchError {
    match handle.recv(LONG) {
        Some(WatchEvent::Disconnected(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn refused_connection_and_unknown_host_are_named() {
    let watch = watch();
    let port = closed_port();
    let handle = watch.add(spec("127.0.0.1", port));
    let error = disconnected(&handle);
    assert!(matches!(&error, WatchError::Connect { addr, .. } if addr.port() == port), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.hint().is_some());

    let error = disconnected(&watch.add(spec("no-such-host.invalid", 3306)));
    // The time limit ends a lookup whose name server does not answer.
    assert!(matches!(error, WatchError::Resolve { .. } | WatchError::ConnectTimeout { .. }), "{error}");
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[test]
fn a_pause_is_kept() {
    let watch = watch();
    let handle = watch.add(spec("127.0.0.1", closed_port()));
    disconnected(&handle);
    let start = Instant::now();
    handle.connect(request(), Duration::from_millis(200));
    disconnected(&handle);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn server_that_never_greets_times_out_and_one_that_talks_nonsense_is_refused() {
    let watch = watch();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = watch.add(spec("127.0.0.1", silent.local_addr().unwrap().port()));
    let error = disconnected(&handle);
    assert!(matches!(error, WatchError::ConnectTimeout { step: "logging in", .. }), "{error}");
    let (mut peer, _) = silent.accept().unwrap();
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "the connection is closed");

    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = watch.add(spec("127.0.0.1", http.local_addr().unwrap().port()));
    let (mut peer, _) = http.accept().unwrap();
    peer.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").unwrap();
    let error = disconnected(&handle);
    assert!(matches!(error, WatchError::Wire(_)), "{error}");

    handle.connect(request(), Duration::ZERO);
    drop(http.accept().unwrap());
    let error = disconnected(&handle);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn panic_is_reported_and_the_thread_goes_on() {
    let watch = watch();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = watch.add(spec("127.0.0.1", silent.local_addr().unwrap().port()));
    let idle = watch.add(spec("127.0.0.1", closed_port()));
    disconnected(&idle);
    let _peer = silent.accept().unwrap();
    handle.inbox.send(Command::Panic);
    let error = disconnected(&handle);
    assert!(matches!(&error, WatchError::Panicked(text) if text == "asked to"), "{error}");
    assert!(idle.try_recv().is_none(), "a source without a connection has lost none");
    drop(silent);
    handle.connect(request(), Duration::ZERO);
    assert!(matches!(disconnected(&handle), WatchError::Connect { .. }));
}

#[test]
fn stopping_is_reported_and_disconnecting_is_quiet() {
    let watch = watch();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (stopped, quiet, dropped) =
        (watch.add(spec("127.0.0.1", port)), watch.add(spec("127.0.0.1", port)), watch.add(spec("127.0.0.1", port)));
    let mut peers: Vec<_> = (0..3).map(|_| silent.accept().unwrap().0).collect();
    quiet.disconnect();
    drop(dropped);
    drop(watch);
    assert!(matches!(disconnected(&stopped), WatchError::Stopped));
    assert!(quiet.try_recv().is_none());
    for peer in &mut peers {
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    }
}
