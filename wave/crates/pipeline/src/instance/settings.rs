//! What an instance is to do, its bounds, and its running totals.

use std::time::Duration;

use binlog::position::FilePos;

use crate::feed::FeedSpec;
use crate::io::Until;

/// Bounds and intervals of an instance.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes handed to the publisher and not settled; beyond, reading stops.
    pub in_flight_bytes: u64,
    /// The same as long as the last record was settled less than `prompt` ago. More would only wait in the publisher's
    /// queue and fall out of the processor's caches before its turn comes.
    pub prompt_bytes: u64,
    pub prompt: Duration,
    /// Bytes of output after which [`Instance::work`](super::Instance::work) returns to let the driver send.
    pub output_bytes: usize,
    /// Transactions waiting for settlement.
    pub ledger: usize,
    pub checkpoint_interval: Duration,
    /// A feed without progress for this long while others progress is parked.
    pub park_after: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// Between two attempts to catch up a parked feed: the first pause, doubled up to the last.
    pub catch_up_min: Duration,
    pub catch_up_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // Below what every publisher's own queue takes: a topic that hangs must not fill the queue for all.
            in_flight_bytes: 24 << 20,
            // Enough for 80 MB/s when an answer takes 25 ms; a broker that is silent for longer gets all of the above.
            prompt_bytes: 2 << 20,
            prompt: Duration::from_millis(25),
            output_bytes: 1 << 20,
            ledger: 1 << 20,
            checkpoint_interval: Duration::from_millis(500),
            park_after: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            catch_up_min: Duration::from_secs(5),
            catch_up_max: Duration::from_secs(300),
        }
    }
}

impl Limits {
    /// How much may be in flight after a silence of this length.
    pub(super) fn in_flight(&self, silence: Duration) -> u64 {
        if silence < self.prompt { self.prompt_bytes.min(self.in_flight_bytes) } else { self.in_flight_bytes }
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
    /// What a person does where the log no longer goes on at the position.
    pub start_again: String,
    /// This is the catch-up of a parked feed: it rather ends than waits for a topic that hangs.
    pub catch_up: bool,
}

/// Changes that were logged as statements, whose rows nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsStatements {
    pub count: u64,
    pub first: FilePos,
    pub last: FilePos,
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
    /// Rows decoded, of every operation.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_broker_gets_the_whole_bound() {
        let limits = Limits::default();
        let bounds = [0, 24, 25, 10_000].map(|ms| limits.in_flight(Duration::from_millis(ms)) >> 20);
        assert_eq!(bounds, [2, 2, 24, 24]);
        let small = Limits { in_flight_bytes: 1 << 20, ..limits };
        assert_eq!(small.in_flight(Duration::ZERO), 1 << 20, "what was set counts where it is less");
    }
}
