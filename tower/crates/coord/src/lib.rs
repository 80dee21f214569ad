//! Coordination of ownership, and the history of table definitions.
//!
//! [`Coordination`] answers one question safely: who may move the checkpoint of a source. A *take* gives its caller a
//! new epoch; every later write names that epoch and fails with [`CoordError::Fenced`] as soon as somebody else has
//! taken the source. A batch is atomic: all of it is stored, or nothing.
//!
//! Invariants, held by one conformance suite on every backend: epochs and incarnations only grow; a write of an old
//! epoch changes nothing; a user whose session is lost writes nothing until it has taken the source again; what a
//! successful call returned is still there after `kill -9`; stored bytes that cannot be read are a named error, never an
//! empty state (which would let a source silently start at the end of its log).
//!
//! Backends: [`file::FileCoordination`] (embedded, one locked folder), [`sim::SimCoordination`] (in memory, with faults
//! on demand).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

mod codec;
pub mod dir;
pub mod file;
pub mod history;
pub mod sim;
mod state;

pub use dir::DataDir;
pub use history::{HistoryEntry, SchemaHistory};

/// A checkpoint may have this many bytes: a ZooKeeper node of 1 MiB holds it with room to spare, and a larger one
/// would be written several times a second.
pub const MAX_CHECKPOINT_BYTES: usize = 256 * 1024;
/// Entries in one batch; with [`MAX_BATCH_BYTES`] it keeps a multi below ZooKeeper's 1 MiB.
pub const MAX_BATCH_ENTRIES: usize = 32;
/// Bytes of all names and values in one batch.
pub const MAX_BATCH_BYTES: usize = 512 * 1024;
/// Longest name of an entry, in bytes.
pub const MAX_NAME_BYTES: usize = 512;
/// Entries of one source over all batches.
pub const MAX_ENTRIES: usize = 65_536;

/// Name of a source: 1 to 128 characters of `A-Z a-z 0-9 . _ : @ -`, not beginning with a dot, so that it is a file
/// name and a node name as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(String);

impl SourceId {
    /// # Errors
    /// [`CoordError::Invalid`] when the text breaks the rule above.
    pub fn new(id: impl Into<String>) -> Result<Self, CoordError> {
        let id = id.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:@-".contains(&b);
        if id.is_empty() || id.len() > 128 || id.starts_with('.') || !id.bytes().all(allowed) {
            return Err(CoordError::Invalid(format!(
                "source id {id:?}: use 1 to 128 characters of A-Z a-z 0-9 . _ : @ - and no dot in front"
            )));
        }
        Ok(Self(id))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a new owner gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// max(old + 1, Unix seconds).
    pub epoch: u64,
    /// Unix milliseconds of the first take, or what the last [`Write::Incarnation`] set.
    pub incarnation: u64,
    /// None only if no owner ever wrote one.
    pub checkpoint: Option<Vec<u8>>,
    /// `parked/{feed}`, `quarantine/{db.table}`, `rule/{feed}` and the like.
    pub entries: BTreeMap<String, Vec<u8>>,
}

/// The state of a source as anyone may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub epoch: u64,
    pub incarnation: u64,
    /// Who took it last; None after a release.
    pub owner: Option<String>,
    pub checkpoint: Option<Vec<u8>>,
    pub entries: BTreeMap<String, Vec<u8>>,
}

/// The right to write: valid as long as nobody took the source after `epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub source: SourceId,
    pub epoch: u64,
}

/// One change in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// At most [`MAX_CHECKPOINT_BYTES`].
    Checkpoint(Vec<u8>),
    Put {
        name: String,
        bytes: Vec<u8>,
    },
    /// Deleting what is not there succeeds, so that a batch of unknown outcome may be repeated.
    Delete {
        name: String,
    },
    /// Must not be below the present one; the same again succeeds.
    Incarnation(u64),
}

/// What [`Coordination::poll_changes`] tells about a watched source. Changes are coalesced: read the source to see the
/// present state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another take happened.
    Taken { source: SourceId, epoch: u64 },
    /// The owner let go or its session ended.
    Released { source: SourceId },
    /// Entries (not the checkpoint) differ.
    Entries { source: SourceId },
}

/// Why a call of [`Coordination`] or [`SchemaHistory`] failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordError {
    /// Somebody took the source after this epoch: stop, never write again under it.
    #[error("source {source_id} is owned by epoch {current}, this write came from epoch {mine}")]
    Fenced { source_id: SourceId, mine: u64, current: u64 },
    /// The session under which the source was taken is gone, and with it the right to write: whoever takes the source
    /// next may already have it. Nothing was changed; only a new take, as a new owner, goes on.
    #[error("the coordination session is lost: {0}")]
    SessionLost(String),
    /// Nothing was changed; try again later.
    #[error("coordination is not available: {0}")]
    Unavailable(String),
    /// The change may or may not be stored. Read before deciding, or repeat the same batch: batches are idempotent.
    #[error("the outcome of a coordination write is unknown: {0}")]
    Unknown(String),
    #[error("too many {what}: {size}, the limit is {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    /// Stored bytes cannot be read. Nothing is guessed and nothing is overwritten.
    #[error("{}: {what}; {hint}", path.display())]
    Corrupt { path: PathBuf, what: String, hint: String },
    /// Another process owns the folder.
    #[error("{} is in use by {}; stop it or choose another data folder", path.display(), pid.map_or_else(|| "another process".to_owned(), |p| format!("process {p}")))]
    Locked { path: PathBuf, pid: Option<u32> },
    /// The caller broke a rule of this interface.
    #[error("{0}")]
    Invalid(String),
}

/// Take, fenced write and watch. One value per user; backends are shared behind it.
pub trait Coordination: Send {
    /// Takes `source` for `owner`, whoever had it before, and fences the previous epoch.
    ///
    /// # Errors
    /// [`CoordError::Unknown`]: the epoch may have moved; take again (epochs only grow). A take begins a new session where
    /// the old one is lost; [`CoordError::SessionLost`] says that there can be none any more.
    fn take(&mut self, source: &SourceId, owner: &str, now_unix_ms: u64) -> Result<Taken, CoordError>;

    /// Stores all of `batch`, or nothing, if the fence still holds.
    ///
    /// # Errors
    /// [`CoordError::Fenced`] and [`CoordError::SessionLost`] end the epoch. [`CoordError::TooLarge`] and [`CoordError::Invalid`] are found before
    /// anything is written.
    fn write(&mut self, fence: &Fence, batch: &[Write]) -> Result<(), CoordError>;

    /// The present state; None when nobody ever took the source.
    ///
    /// # Errors
    /// As for `take`; a read changes nothing.
    fn read(&mut self, source: &SourceId) -> Result<Option<Snapshot>, CoordError>;

    /// Gives the source up. The epoch number stays, the checkpoint too.
    ///
    /// # Errors
    /// As for `write`.
    fn release(&mut self, fence: &Fence) -> Result<(), CoordError>;

    /// From now on [`Coordination::poll_changes`] reports changes of `source`.
    ///
    /// # Errors
    /// As for `read`.
    fn watch(&mut self, source: &SourceId) -> Result<(), CoordError>;

    /// Changes of watched sources since the last call, own ones included; never blocks.
    ///
    /// # Errors
    /// As for `read`; changes are not lost by an error.
    fn poll_changes(&mut self) -> Result<Vec<Change>, CoordError>;
}
