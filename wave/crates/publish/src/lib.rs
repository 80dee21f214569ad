//! Publishers: where encoded records go.
//!
//! One trait, [`Publisher`], and its backends. A backend never decides what to do about an error: it reports, and the
//! instance machine ends the epoch, parks the feed or stops.
//!
//! Rules common to all backends:
//! - every record that [`Publisher::send`] accepted is reported exactly once, by `poll`, `flush` or `abort`;
//! - after an error no later record of the same topic is stored until [`Publisher::abort`] or [`Publisher::init`]: what
//!   is stored of an epoch is a prefix, never a hole with records behind it. Such records are accepted and reported
//!   with the error that stopped the topic;
//! - queues are bounded in bytes; one record is always taken when nothing is in flight, whatever its size.
//!
//! [`Reader`] is the way back, for `binlake read` and for tests.

use std::time::Duration;

pub mod file;
pub mod kafka;
pub mod local;
pub mod memory;
mod reader;

pub use reader::{ReadError, Reader, Start, StoredRecord};

/// One record to publish, borrowed from the sender's buffers.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Which of the topics opened by [`Publisher::open`].
    pub topic: TopicId,
    pub partition: u32,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    /// The encoded `bl` header (layout in `binlake-proto`); absent on sinks without metadata (stdout).
    pub header: &'a [u8],
    /// Commit time, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Comes back in the [`Report`].
    pub token: u64,
}

/// Index given by [`Publisher::open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u32);

/// What became of a record.
#[derive(Clone, Debug)]
pub struct Report {
    pub token: u64,
    /// Offset in the partition, or why the record is not known to be stored.
    pub result: Result<i64, DeliveryError>,
}

/// Why a record was not delivered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The topic or partition is gone or the record is refused: this topic's feeds are concerned, no others.
    #[error("topic {topic}: {reason}")]
    Topic { topic: String, reason: String },
    /// The record is larger than the topic accepts.
    #[error("topic {topic}: record of {size} bytes is refused as too large: {reason}")]
    TooLarge { topic: String, size: usize, reason: String },
    /// The topic may not be written: a right is missing, and it would be the next time, too.
    #[error("topic {topic}: {reason}")]
    Denied { topic: String, reason: String },
    /// The backend as a whole: all that is unreported is unknown.
    #[error("{0}")]
    Backend(String),
    /// Given up by [`Publisher::abort`]. It may be stored all the same when it was on its way.
    #[error("purged")]
    Purged,
    /// The other end of the pipe is closed: nobody reads any more. Only `file` and `stdout` report it.
    #[error("the reader has closed the pipe")]
    Closed,
}

/// Answer of [`Publisher::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    Accepted,
    /// The bounded queue is full: nothing was taken, try again after [`Publisher::poll`].
    Full,
}

/// Errors of the publisher itself.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// Nobody answers; worth a retry.
    #[error("{0}")]
    Unavailable(String),
    /// The topic does not exist or is not creatable.
    #[error("topic {topic}: {reason}")]
    Topic { topic: String, reason: String },
    /// A login, TLS or a right is refused: somebody has to grant it.
    #[error("{0}")]
    Denied(String),
    /// What is stored is damaged: somebody has to mend it or give it up.
    #[error("{0}")]
    Damaged(String),
    /// Wrong settings; a retry will not help.
    #[error("{0}")]
    Config(String),
    /// Another epoch owns the transactional id.
    #[error("fenced by a newer owner")]
    Fenced,
    /// What it wrote last is not known and cannot be written again.
    #[error("{0}")]
    Lost(String),
}

/// How a topic is opened.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    pub name: String,
    /// Partition count wanted when the topic has to be created; None: it must exist.
    pub create_partitions: Option<u32>,
}

/// A place that takes records and reports each of them exactly once.
///
/// Order: records of one (topic, partition) are stored in the order of `send`. A record is *settled* only by a
/// successful [`Report`] (idempotent mode) or by a successful [`Publisher::commit`] after it (fenced mode).
pub trait Publisher: Send {
    /// Prepares for `epoch`: connects, fences older owners where the backend can. Called once before the first send and
    /// again for each new epoch.
    fn init(&mut self, epoch: u64) -> Result<(), PublishError>;
    /// Opens (creating it if the spec says so) a topic; gives its id and partition count. Idempotent by name.
    fn open(&mut self, spec: &TopicSpec) -> Result<(TopicId, u32), PublishError>;
    /// Starts a transaction; a no-op for backends in idempotent mode.
    fn begin(&mut self) -> Result<(), PublishError>;
    /// Takes one record. Never blocks longer than it needs to copy.
    fn send(&mut self, record: Record<'_>) -> Result<SendOutcome, PublishError>;
    /// Moves I/O on and appends finished reports to `reports`; waits at most `wait` when there is none.
    fn poll(&mut self, wait: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError>;
    /// Ends the transaction; everything sent since `begin` is settled on Ok. Without transactions: makes sure that
    /// everything reported is durable.
    fn commit(&mut self) -> Result<(), PublishError>;
    /// Drops everything not settled; each such record is reported as [`DeliveryError::Purged`] or with its real outcome.
    fn abort(&mut self, reports: &mut Vec<Report>) -> Result<(), PublishError>;
    /// Waits until all sent records are reported, at most `deadline`.
    fn flush(&mut self, deadline: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError>;
    /// Bytes accepted and not reported yet.
    fn in_flight_bytes(&self) -> usize;
}
