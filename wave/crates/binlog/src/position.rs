//! Positions in a log: file and offset, with the set of executed transactions where the server has GTIDs
//! (manual: "SHOW BINARY LOG STATUS Statement").

use std::cmp::Ordering;

use crate::gtid::GtidSet;

/// A place in the log of one server. `Ord` compares file names by their number, then the offset
/// (`binlog.999999` < `binlog.1000000`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FilePos {
    pub file: String,
    pub pos: u64,
}

impl FilePos {
    /// The numeric suffix of the file name; 0 when there is none.
    #[must_use]
    pub fn file_number(&self) -> u64 {
        file_number(&self.file)
    }
}

/// The numeric suffix of a log file's name, which tells its order among those of its server; 0 when there is none.
#[must_use]
pub fn file_number(file: &str) -> u64 {
    file.rsplit('.').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

impl Ord for FilePos {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.file == other.file {
            return self.pos.cmp(&other.pos);
        }
        (self.file_number(), &self.file).cmp(&(other.file_number(), &other.file))
    }
}

impl PartialOrd for FilePos {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for FilePos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.pos)
    }
}

/// A transaction boundary: everything before it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub file_pos: FilePos,
    /// Executed transactions up to here; empty on a server without GTIDs.
    pub gtids: GtidSet,
}
