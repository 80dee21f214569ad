//! What the tests against real servers share: the blocking client, and the shortest ways to use it.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mysql_wire::{ConnectOptions, QueryResult, ReplicaRequest, SslMode, StartPosition, WireError};

// the client lives with the code that owns sockets; its tests against servers live here, with the protocol's
#[path = "../../../watch/src/blocking.rs"]
pub mod blocking;

use blocking::{BlockingError, Client, Endpoint};

pub const TIMEOUT: Duration = Duration::from_secs(20);
pub const UUID: &str = "5ba7f2a0-0000-4000-8000-00000000beef";

pub fn options(user: &str, password: &str, mode: SslMode) -> ConnectOptions {
    let mut options = ConnectOptions::new("127.0.0.1", user, password);
    options.tls.mode = mode;
    options
}

pub fn connect(port: u16, options: ConnectOptions) -> Result<Client, WireError> {
    let endpoint = Endpoint { host: "127.0.0.1".into(), port };
    Client::connect(&endpoint, Arc::new(options), TIMEOUT).map_err(wire)
}

pub fn query(port: u16, options: ConnectOptions, sql: &str) -> Result<QueryResult, WireError> {
    connect(port, options)?.query(sql).map_err(wire)
}

/// The plain answer to a login: who the server says is logged in.
pub fn who(port: u16, options: ConnectOptions) -> Result<String, WireError> {
    Ok(query(port, options, "SELECT CURRENT_USER()")?.text(0, 0).unwrap())
}

pub fn wire(error: BlockingError) -> WireError {
    match error {
        BlockingError::Wire(error) => error,
        other => panic!("the socket failed: {other}"),
    }
}

pub fn replica(from: StartPosition) -> ReplicaRequest {
    ReplicaRequest {
        server_id: 4_000_001,
        uuid: UUID.into(),
        heartbeat: Duration::from_secs(1),
        from,
        stop_at_end: true,
    }
}

/// Every event of the log from a position to its end.
pub fn events(port: u16, options: ConnectOptions, from: StartPosition) -> Result<Vec<Vec<u8>>, WireError> {
    let mut batches = connect(port, options)?.dump_batches(replica(from)).map_err(wire)?;
    let mut events = Vec::new();
    while let Some(batch) = batches.next() {
        let batch = batch.map_err(wire)?;
        events.extend(batch.iter().map(<[u8]>::to_vec));
        batches.recycle(batch);
    }
    Ok(events)
}

/// The events of a log file on disk; the oracle of what a dump must send.
pub fn events_of_file(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[4..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[9..13].try_into().unwrap()) as usize;
        let (event, tail) = rest.split_at(len);
        events.push(event.to_vec());
        rest = tail;
    }
    events
}

/// Type code in an event's header.
pub fn kind(event: &[u8]) -> u8 {
    event[4]
}
