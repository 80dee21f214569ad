//! What an instance is to do, its bounds, and its running totals.

use std::time::Duration;

use crate::feed::FeedSpec;
use crate::io::Until;

/// Bounds and intervals of an instance.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes handed to the publisher and not settled; beyond, reading stops.
    pub in_flight_bytes: u64,
    /// Bytes of output after which [`Instance::work`] returns to let the driver send.
    pub output_bytes: usize,
    /// Transactions waiting for settlement.
    pub ledger: usize,
    pub checkpoint_interval: Duration,
    /// A feed without progress for this long while others progress is parked.
    pub park_after: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // Below what every publisher's own queue takes: a topic that hangs must not fill the queue for all.
            in_flight_bytes: 24 << 20,
            output_bytes: 1 << 20,
            ledger: 1 << 20,
            checkpoint_interval: Duration::from_millis(500),
            park_after: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// What an instance is to do.
#[derive(Clone, Debug)]
pub struct InstanceConfig {
    pub source: String,
    pub feeds: Vec<FeedSpec>,
    pub limits: Limits,
    /// Write the `bl` header on every record.
    pub headers: bool,
    pub until: Option<Until>,
    /// Rows to publish before ending.
    pub limit: Option<u64>,
    /// Ask for definitions of tables whose TABLE_MAP has no names; otherwise columns are `@1`….
    pub definitions: bool,
}

/// Running totals, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub bytes: u64,
    pub events: u64,
    pub transactions: u64,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    /// Rows events of tables that no feed wants.
    pub skipped_events: u64,
    pub records: u64,
    pub record_bytes: u64,
    pub unknown_events: u64,
    pub checkpoints: u64,
    pub reconnects: u64,
    pub epochs: u64,
}

impl Totals {
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}
