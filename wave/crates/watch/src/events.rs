//! What the owner of a source hears from its watch thread, and how a connection can end.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use binlog::position::FilePos;
use mysql_wire::{ErrorKind, EventBatch, ServerInfo, WireError};

/// One thing that happened on the way from the server, in order.
#[derive(Debug)]
pub enum WatchEvent {
    /// Logged in and the dump is asked for.
    Connected(Box<ServerInfo>),
    /// Whole events whose checksums were right (the four bytes are still there). Give the buffer back with
    /// [`crate::SourceHandle::recycle`].
    Batch(EventBatch),
    /// The server sent everything that it had, as asked for by a request that ends there. Nothing more comes.
    Ended,
    /// The connection is gone or was never made, and nothing more comes until the owner asks for a new one.
    Disconnected(WatchError),
}

/// Why a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WatchError {
    #[error("cannot find the address of {host}: {reason}")]
    Resolve { host: String, reason: String },
    #[error("cannot connect to {addr}: {reason}")]
    Connect { addr: SocketAddr, reason: String },
    /// TCP connection or login took too long.
    #[error("{host}:{port} did not let us in within {after:?} ({step})")]
    ConnectTimeout { host: String, port: u16, after: Duration, step: &'static str },
    /// Not even a heartbeat came, or an event comes in drops: the connection is half open, or the server hangs.
    #[error("for {after:?} the server sent no event, no KiB of one, and not even a heartbeat")]
    Silent { after: Duration },
    /// MySQL does so when somebody kills the reader's statement (KILL QUERY).
    #[error("the server ended the stream of events, which should have gone on")]
    EndedUnasked,
    #[error("the connection broke: {0}")]
    Io(String),
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An event arrived damaged. Reading it again from its position usually helps: TCP's own checksum is weak.
    #[error("{} is damaged: {error}", place(at))]
    Damaged { at: FilePos, error: binlog::Error },
    /// The watch threads were told to end.
    #[error("the watch threads were stopped")]
    Stopped,
    /// A defect of this program: the watch thread of this source panicked and was set up again.
    #[error("the watch thread failed: {0}")]
    Panicked(String),
}

impl WatchError {
    /// What kind of trouble this is, which decides whether to try again.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Wire(error) => error.kind(),
            Self::Damaged { .. } => ErrorKind::Protocol,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Silent { .. }
            | Self::EndedUnasked
            | Self::Io(_)
            | Self::Stopped
            | Self::Panicked(_) => ErrorKind::Unavailable,
        }
    }

    /// What a person can do, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Wire(error) => error.hint(),
            Self::Resolve { .. } => {
                Some("check the host name in the source's URL and the name servers of this machine")
            }
            Self::Connect { .. } => Some("check host, port and firewall, and that the server runs and listens there"),
            _ => None,
        }
    }
}

/// The event that follows `at`, in words; there is no file yet before the stream has named it.
fn place(at: &FilePos) -> String {
    if at.file.is_empty() { "the first event of the stream".to_owned() } else { format!("the event at {at}") }
}

/// Numbers of one source since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Bytes of events read, without packet headers.
    pub event_bytes: u64,
    pub events: u64,
    pub batches: u64,
    /// Times the dump was asked for.
    pub connects: u64,
    /// Bytes in the ring now.
    pub ring_bytes: usize,
    /// How long reading stood still because the ring was full.
    pub paused: Duration,
    /// The dump runs.
    pub connected: bool,
}

/// Shows host and port of a target.
pub(crate) struct HostPort<'a>(pub(crate) &'a str, pub(crate) u16);

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}
