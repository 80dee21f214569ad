//! Which rows a consumer has seen already.
//!
//! Delivery is at least once: after a crash or a move the next owner of a source repeats what was not known to be
//! settled, and a stopped owner may still append records of its old epoch. Per source and partition:
//!
//! 1. lower incarnation: drop; higher: forget everything and accept;
//! 2. lower epoch: drop; higher: adopt it;
//! 3. a row is accepted if and only if its [`RowId`] is greater than the last.
//!
//! The rule goes by row, never by record: the records of a replay are cut at other rows than those before it. *Last*
//! moves on only while `n` is without a gap in the epoch. After a gap the rows keep coming, and what is repeated in the
//! next epoch from before the gap is accepted: a lost record costs duplicates, never rows. (Only the loss of an epoch's last
//! records shows in no counter.) Compacted topics lose records
//! by design; for them [`Gaps::Expected`] lets *last* move on anyway.
//!
//! One [`Deduplicator`] serves one topic. It keeps one small state per (source, partition) seen.

use std::collections::HashMap;

use crate::header::{RecordHeader, RowId};

/// What a missing `n` means in this topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// A record was lost.
    Loss,
    /// The topic is compacted, or starts to be read in the middle of every epoch.
    Expected,
}

/// State of the rule for one topic.
#[derive(Debug)]
pub struct Deduplicator {
    gaps: Gaps,
    partitions: HashMap<(u64, u32), Partition>,
    missing: u64,
}

#[derive(Debug)]
struct Partition {
    incarnation: u64,
    epoch: u64,
    last: Option<RowId>,
    /// The next `n` of the epoch.
    next_n: u64,
}

impl Deduplicator {
    #[must_use]
    pub fn new(gaps: Gaps) -> Self {
        Deduplicator { gaps, partitions: HashMap::new(), missing: 0 }
    }

    /// Takes up the next record of `partition`, in the order of offsets; its rows are then asked for by
    /// [`Rows::accept`]. The first record of a partition may be any: reading starts where the reader likes.
    pub fn record(&mut self, partition: u32, header: &RecordHeader) -> Rows<'_> {
        let RecordHeader { source, incarnation, epoch, n, .. } = *header;
        let state = self.partitions.entry((source, partition)).or_insert(Partition {
            incarnation,
            epoch,
            last: None,
            next_n: n,
        });
        let place = (incarnation, epoch);
        if incarnation < state.incarnation || (incarnation == state.incarnation && epoch < state.epoch) {
            return Rows { last: None, advance: false };
        }
        if incarnation > state.incarnation {
            state.last = None;
        }
        if place != (state.incarnation, state.epoch) {
            (state.incarnation, state.epoch) = place;
            state.next_n = 0;
        }
        let contiguous = n == state.next_n;
        if contiguous {
            state.next_n = state.next_n.saturating_add(1);
        } else if n > state.next_n && self.gaps == Gaps::Loss {
            self.missing = self.missing.saturating_add(1);
        }
        let advance = contiguous || self.gaps == Gaps::Expected;
        Rows { last: Some(&mut state.last), advance }
    }

    /// [`Deduplicator::record`] and [`Rows::accept`] for formats with one row in a record.
    pub fn accept(&mut self, partition: u32, header: &RecordHeader) -> bool {
        self.record(partition, header).accept(header.first)
    }

    /// Records that came after a gap in `n`: not 0 means that something was lost or not read.
    #[must_use]
    pub fn after_gap(&self) -> u64 {
        self.missing
    }
}

/// The rows of one record; made by [`Deduplicator::record`].
#[derive(Debug)]
pub struct Rows<'a> {
    /// None: the record as a whole is dropped.
    last: Option<&'a mut Option<RowId>>,
    advance: bool,
}

impl Rows<'_> {
    /// True when the row is new; to be called for each row of the record in its order.
    pub fn accept(&mut self, row: RowId) -> bool {
        let Some(last) = self.last.as_deref_mut() else { return false };
        if last.is_some_and(|last| row <= last) {
            return false;
        }
        if self.advance {
            *last = Some(row);
        }
        true
    }
}

#[cfg(test)]
#[path = "dedup_tests.rs"]
mod tests;
