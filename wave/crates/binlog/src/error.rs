//! What can be wrong with bytes of a log.

/// Result of decoding.
pub type Result<T> = std::result::Result<T, Error>;

/// A reason why bytes could not be decoded. None of them carries row data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `what` ends before its declared or needed length.
    #[error("{what}: {need} bytes needed, {have} left")]
    Truncated { what: &'static str, need: usize, have: usize },
    /// A field holds a value that the format does not allow.
    #[error("{what}: {detail}")]
    Malformed { what: &'static str, detail: String },
    /// A length or count beyond the bound that this decoder accepts.
    #[error("{what}: {size} is more than the limit of {limit}")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    /// CRC32 over the event differs from its trailer.
    #[error("checksum of the event is {found:08x}, its trailer says {expected:08x}")]
    Checksum { expected: u32, found: u32 },
    /// A type, event or option that this version does not know. The table concerned is quarantined.
    #[error("{what} {code} is not supported")]
    Unsupported { what: &'static str, code: u64 },
    /// A table definition does not fit the TABLE_MAP: it is of another time. Read it again, or quarantine the table.
    #[error(
        "definition of table {table} does not fit the log: {detail}; with SET GLOBAL binlog_row_metadata=FULL the log \
         itself describes its tables"
    )]
    DefinitionMismatch { table: String, detail: String },
    /// The log file is encrypted (`binlog_encryption`); only the server can read it.
    #[error("the binary log is encrypted: read it through the server instead of the file")]
    Encrypted,
}
