//! A feed: what one rule of one source publishes to one topic, in one format.

use crate::format::maxwell_json;
use crate::format::text;
use crate::rule::Rule;

/// Message format of a feed.
#[derive(Clone, Debug)]
pub enum Format {
    /// Decode every cell, publish nothing (measuring, checking).
    None,
    Text(text::Style),
    MaxwellJson(maxwell_json::Options),
    /// Protobuf `RowBatch`.
    Binlake,
}

/// What keeps rows in order relative to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Rows with the same key: partition by primary key. An update that changes the key becomes a delete of the old and
    /// an insert of the new, each in its own partition.
    RowKey,
    /// The whole source: one partition, rows as they stand in the log.
    Source,
}

/// A feed as an instance gets it.
#[derive(Clone, Debug)]
pub struct FeedSpec {
    /// Stable name; also the name of its entry beside the checkpoint.
    pub name: String,
    pub rule: Rule,
    pub format: Format,
    pub order: Order,
    /// A batch record is closed at this many bytes. It must be below what the topic accepts.
    pub max_record_bytes: usize,
}

/// Default of [`FeedSpec::max_record_bytes`]: under Kafka's 1 MB default with room for the header.
pub const MAX_RECORD_BYTES: usize = 900_000;
