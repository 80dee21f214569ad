//! What BinLake writes into topics: message definitions and the record header.
//!
//! - [`v1`]: types generated from `proto/binlake/v1/row_batch.proto`, the value of records in format `binlake`. The
//!   file's comments are the contract for writers and readers in any language.
//! - [`header`]: the binary record header `bl` that every record carries.
//! - [`dedup`]: the rule by which a consumer drops what it has seen already.
//!
//! Decoding takes bytes from outside: it never panics, and a version that is not known is an error, never a guess.
#![forbid(unsafe_code)]

pub mod dedup;
pub mod header;

/// Generated message types of package `binlake.v1`.
#[allow(clippy::pedantic, clippy::all, missing_docs)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/binlake.v1.rs"));
}

pub use header::{HeaderError, RecordHeader, RowId};

#[cfg(test)]
mod batch_tests;
