//! Reading records back: the same records whatever the backend.

use std::time::Duration;

/// One record as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRecord {
    pub partition: u32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    /// The `bl` header; empty when the record has none.
    pub header: Vec<u8>,
    /// Empty also when Kafka holds a null.
    pub value: Vec<u8>,
    /// Milliseconds since the Unix epoch; -1 when unknown.
    pub timestamp_ms: i64,
}

/// Where to start reading, in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that is kept.
    Earliest,
    /// Only what is written from now on.
    Latest,
    /// This offset.
    Offset(i64),
    /// The first record whose timestamp is at or after this time, milliseconds since the Unix epoch.
    Time(i64),
}

/// Why reading stopped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// Wrong settings.
    #[error("{0}")]
    Config(String),
    /// The topic or the wanted offset does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A login, TLS or a right is refused.
    #[error("{0}")]
    Denied(String),
    /// The backend does not answer; worth a retry.
    #[error("{0}")]
    Unavailable(String),
    /// Stored bytes are damaged.
    #[error("{0}")]
    Damaged(String),
    /// Retention has removed what was to be read next.
    #[error("partition {partition}: offset {wanted} is not kept any more, the oldest is {earliest}")]
    Gone { partition: u32, wanted: i64, earliest: i64 },
}

impl ReadError {
    pub(crate) fn beyond(topic: &str, partition: u32, wanted: i64, end: i64) -> ReadError {
        ReadError::NotFound(format!(
            "topic {topic}: partition {partition} ends before offset {end}, and {wanted} is wanted of every partition"
        ))
    }
}

/// Reads one topic, following its writer.
pub trait Reader {
    /// Starts again elsewhere, in all partitions.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn seek(&mut self, start: Start) -> Result<(), ReadError>;

    /// The next record of any partition, in the order of offsets within each; None when none came within `wait`.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn next(&mut self, wait: Duration) -> Result<Option<StoredRecord>, ReadError>;

    /// A partition of which it is not known that all there is has been given: no record may also mean no answer.
    fn behind(&self) -> Option<u32> {
        None
    }
}
