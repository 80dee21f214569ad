//! Topics as append-only segment files: the embedded topic store.
//!
//! Layout: `<root>/<topic>/topic.json` (version and the pinned partition count), `<root>/<topic>/<partition>/` (segments,
//! see `segment.rs`), `<root>/.lock` (one process writes). A [`LocalStore`] owns the folder; each source has a
//! [`LocalPublisher`] on it, and [`LocalReader`] reads one partition from any process while it is written.
//!
//! A record is reported as delivered once it is durable: with [`Flush::Fsync`] it survives a power loss, with
//! [`Flush::Os`] the end of this process. A full disk or any other failed write is a `Backend` error of the records
//! concerned; what was acknowledged stays, and the next epoch goes on once there is space.

mod log;
mod publisher;
mod reader;
mod segment;
mod store;

use std::path::PathBuf;
use std::time::Duration;

pub use publisher::LocalPublisher;
pub use reader::{LocalReader, LocalTopicReader, topics};
pub use store::{LocalStore, MAX_PARTITIONS, check_name};

/// When a record counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// Synced to the disk.
    #[default]
    Fsync,
    /// Handed to the operating system.
    Os,
}

/// Settings of a [`LocalStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalConfig {
    /// Folder of all topics; made when absent.
    pub root: PathBuf,
    pub flush: Flush,
    /// Least time between two groups of syncs; records wait that long for company. Default 20 ms.
    pub sync_interval: Duration,
    /// A segment that has reached this size is followed by a new one. Default 64 MiB.
    pub segment_bytes: u64,
    /// Per partition; the segment that is written is always kept. Default: no limit.
    pub retention_bytes: Option<u64>,
    /// Age of a segment's last write. Default: no limit.
    pub retention_age: Option<Duration>,
    /// Larger records (key, header and value) are refused. Default 64 MiB.
    pub max_record_bytes: usize,
    /// Bound of the bytes taken and not reported, per publisher. Default 32 MiB.
    pub queue_bytes: usize,
}

impl LocalConfig {
    /// The defaults for a folder.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        LocalConfig {
            root: root.into(),
            flush: Flush::default(),
            sync_interval: Duration::from_millis(20),
            segment_bytes: 64 << 20,
            retention_bytes: None,
            retention_age: None,
            max_record_bytes: 64 << 20,
            queue_bytes: 32 << 20,
        }
    }
}
