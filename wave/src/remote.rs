//! A server's dump as a source of events, through the watch threads.

use std::sync::Arc;
use std::time::Duration;

use binlog::gtid::GtidSet;
use binlog::query::NameCase;
use mysql_wire::{ErrorKind, Flavor, ReplicaRequest, ServerInfo, StartPosition};
use pipeline::io::{Batch, Cause, Failure, FailureKind, Server, Start};
use watch::blocking::BlockingError;
use watch::{SourceHandle, SourceSpec, Watch, WatchError, WatchEvent};

use crate::runner::{EventSource, SourceEvent};
use crate::source::{Identity, Source};

/// After this long without an event the server says that it is still there, unless something else is set; three times
/// that and the connection counts as dead.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// One source on the watch threads.
#[derive(Debug)]
pub struct Remote {
    watch: Arc<Watch>,
    /// Made by the first connect.
    handle: Option<SourceHandle>,
    name: String,
    source: Source,
    identity: Identity,
    /// None: no server was seen yet.
    flavor: Option<Flavor>,
    heartbeat: Duration,
}

impl Remote {
    /// Asks for heartbeats every [`HEARTBEAT`].
    #[must_use]
    pub fn new(watch: Arc<Watch>, name: &str, source: Source, identity: Identity, flavor: Option<Flavor>) -> Self {
        Remote { watch, handle: None, name: name.to_string(), source, identity, flavor, heartbeat: HEARTBEAT }
    }

    /// Asks for heartbeats every `period` instead.
    #[must_use]
    pub fn with_heartbeat(self, period: Duration) -> Self {
        Remote { heartbeat: period, ..self }
    }

    /// Says of which server, where the error does not.
    fn failure(&self, error: &WatchError) -> Failure {
        use WatchError as E;
        let mut failure = failure_of(error);
        if !matches!(error, E::Resolve { .. } | E::Connect { .. } | E::ConnectTimeout { .. }) {
            failure.message = format!("{}: {}", self.source.address(), failure.message);
        }
        failure
    }
}

/// What to ask the server for: by executed set where one is known, by file and offset otherwise. A server that nobody
/// has seen yet is taken for one of the set's kind.
#[must_use]
pub fn replica_request(
    identity: &Identity,
    start: &Start,
    flavor: Option<Flavor>,
    heartbeat: Duration,
) -> ReplicaRequest {
    let file_pos = &start.position.file_pos;
    let from = match &start.position.gtids {
        GtidSet::MySql(set) if !set.is_empty() && flavor != Some(Flavor::MariaDb) => {
            StartPosition::MySqlGtid { set: set.encode() }
        }
        GtidSet::MariaDb(pos) if !pos.is_empty() && flavor != Some(Flavor::MySql) => {
            StartPosition::MariaDbGtid { position: pos.to_string() }
        }
        _ => StartPosition::File { file: file_pos.file.clone(), pos: file_pos.pos.max(4) },
    };
    ReplicaRequest { server_id: identity.server_id, uuid: identity.uuid.clone(), heartbeat, from, stop_at_end: false }
}

/// What stands for the uuid of a server that has none.
pub(crate) fn without_uuid(server_id: impl std::fmt::Display) -> String {
    format!("server-id-{server_id}")
}

/// What is to know of a server. Its identity is its uuid, on MariaDB (which has none) its server id.
#[must_use]
pub fn server_of(info: &ServerInfo) -> Server {
    let uuid =
        info.server_uuid().map(str::to_string).or_else(|| info.server_id().map(without_uuid)).unwrap_or_default();
    let names = match info.variable("lower_case_table_names") {
        None | Some("0") => NameCase::Sensitive,
        Some(_) => NameCase::Insensitive,
    };
    Server { uuid, version: info.version.clone(), names }
}

/// How the machine has to take a broken connection.
#[must_use]
pub fn failure_of(error: &WatchError) -> Failure {
    failure(error.kind(), error.to_string(), error.hint())
}

/// The same for a connection that asks questions.
#[must_use]
pub fn question_failure(error: &BlockingError) -> Failure {
    match error {
        BlockingError::Wire(wire) => failure(wire.kind(), error.to_string(), wire.hint()),
        BlockingError::Io { .. } => failure(
            ErrorKind::Unavailable,
            error.to_string(),
            Some("check host, port and firewall, and that the server runs and listens there"),
        ),
    }
}

fn failure(kind: ErrorKind, message: String, hint: Option<&str>) -> Failure {
    let (kind, cause) = match kind {
        ErrorKind::Denied => (FailureKind::Permanent, Cause::Denied),
        ErrorKind::Conflict => (FailureKind::Permanent, Cause::Conflict),
        ErrorKind::Gone => (FailureKind::Permanent, Cause::Gone),
        ErrorKind::NoGtids => (FailureKind::Permanent, Cause::NoGtids),
        ErrorKind::Config => (FailureKind::Permanent, Cause::Data),
        ErrorKind::Unavailable | ErrorKind::Protocol => (FailureKind::Transient, Cause::Unavailable),
    };
    let message = match hint {
        Some(hint) => format!("{message}; {hint}"),
        None => message,
    };
    Failure::new(kind, cause, message)
}

impl EventSource for Remote {
    fn connect(&mut self, from: &Start, after: Duration) {
        let request = replica_request(&self.identity, from, self.flavor, self.heartbeat);
        match &self.handle {
            Some(handle) => handle.connect(request, after),
            None => {
                let spec = SourceSpec {
                    name: self.name.clone(),
                    endpoint: self.source.endpoint(),
                    options: Arc::clone(&self.source.options),
                    request,
                    signal: None,
                };
                self.handle = Some(self.watch.add(spec));
            }
        }
    }

    fn disconnect(&mut self) {
        if let Some(handle) = &self.handle {
            handle.disconnect();
        }
    }

    fn receive(&mut self, wait: Duration) -> Option<SourceEvent> {
        let Some(handle) = &self.handle else {
            std::thread::sleep(wait);
            return None;
        };
        Some(match handle.recv(wait)? {
            WatchEvent::Connected(info) => {
                self.flavor = Some(info.flavor);
                SourceEvent::Connected(server_of(&info))
            }
            WatchEvent::Batch(batch) => SourceEvent::Batch(Batch { buf: batch.buf, events: batch.events }),
            WatchEvent::Ended => SourceEvent::End,
            WatchEvent::Disconnected(error) => SourceEvent::Disconnected(self.failure(&error)),
        })
    }

    fn recycle(&mut self, batch: Batch) {
        if let Some(handle) = &self.handle {
            handle.recycle(mysql_wire::EventBatch { buf: batch.buf, events: batch.events });
        }
    }

    fn queued_bytes(&self) -> usize {
        self.handle.as_ref().map_or(0, |h| h.stats().ring_bytes)
    }
}
