//! Schema history that lives as long as its process.

use super::{HistoryEntry, SchemaHistory};
use crate::{CoordError, SourceId};

/// Entries in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryHistory(Vec<HistoryEntry>);

impl SchemaHistory for MemoryHistory {
    fn append(&mut self, entry: &HistoryEntry) -> Result<(), CoordError> {
        super::file::encode(entry)?;
        self.0.push(entry.clone());
        Ok(())
    }

    fn load(&mut self, source: &SourceId) -> Result<Vec<HistoryEntry>, CoordError> {
        Ok(self.0.iter().filter(|e| e.source == *source).cloned().collect())
    }
}
