//! History of table definitions, keyed by source, table and position.
//!
//! A definition is appended and durable before the first row that needs it is published, and all of a source's
//! definitions are read before its dump starts. The payload is opaque here.
//!
//! Backends: [`file::FileHistory`] (embedded), [`memory::MemoryHistory`] (tests and `tail`).

use crate::{CoordError, SourceId};

pub mod file;
pub mod memory;

/// Largest stored entry, in bytes. A table of 4,096 columns with long enum labels stays below; a length above it in a
/// file is damage.
pub const MAX_ENTRY_BYTES: usize = 16 * 1024 * 1024;

/// One definition of one table from one position on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    pub source: SourceId,
    /// `database.table` as the log names it.
    pub table: String,
    /// Number of the log file (the digits behind its last dot).
    pub file_number: u64,
    pub offset: u64,
    /// Executed transactions at that position as text; empty without GTIDs.
    pub gtids: String,
    pub payload: Vec<u8>,
}

/// An append-only store of [`HistoryEntry`]s.
pub trait SchemaHistory: Send {
    /// Stores `entry`; it is durable when this returns Ok.
    ///
    /// # Errors
    /// [`CoordError::TooLarge`]; [`CoordError::Unavailable`] when nothing is known to be stored (appending it again
    /// may then give the entry twice, which is harmless: the later one says the same).
    fn append(&mut self, entry: &HistoryEntry) -> Result<(), CoordError>;

    /// All entries of `source` in the order they were appended.
    ///
    /// # Errors
    /// [`CoordError::Corrupt`] when an entry that was once durable cannot be read.
    fn load(&mut self, source: &SourceId) -> Result<Vec<HistoryEntry>, CoordError>;
}
