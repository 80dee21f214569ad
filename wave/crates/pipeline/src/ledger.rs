//! The checkpoint ledger: which transactions are settled, and how far that reaches without a hole.
//!
//! A FIFO of transactions. Each counts the records that must be settled before a checkpoint may pass it, plus one until
//! all its rows have been handed on. A record that holds rows of several transactions counts at the first of them: the
//! checkpoint is the longest all-settled *prefix*, so nothing behind the first can be passed before it either.
//!
//! Invariants: the frontier only grows; a record is settled at most once; a GTID joins the executed set only when its
//! transaction leaves the ledger (see `Checkpoint::apply`); memory is bounded by
//! the caller through [`Ledger::in_flight_bytes`] and [`Ledger::len`].

use std::collections::VecDeque;
use std::time::Duration;

/// Number of a transaction in the ledger; dense, never reused in the life of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

/// Identifies one record handed to the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

#[derive(Debug)]
struct Entry<T> {
    pending: u32,
    end: T,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    feed: u16,
    settled: bool,
    bytes: u32,
    slot: u64,
    since: Duration,
}

/// What one feed has outstanding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    pub records: u64,
    pub bytes: u64,
    /// When the feed last settled a record, or began to have any outstanding.
    pub since: Duration,
}

/// `T` is what is known at the end of a transaction; it comes back when the transaction leaves the ledger.
#[derive(Debug)]
pub struct Ledger<T> {
    entries: VecDeque<Entry<T>>,
    first_slot: u64,
    records: VecDeque<InFlight>,
    first_token: u64,
    feeds: Vec<Outstanding>,
    bytes: u64,
}

impl<T> Ledger<T> {
    #[must_use]
    pub fn new(feeds: usize) -> Self {
        Ledger {
            entries: VecDeque::new(),
            first_slot: 0,
            records: VecDeque::new(),
            first_token: 0,
            feeds: vec![Outstanding::default(); feeds],
            bytes: 0,
        }
    }

    /// Adds a transaction that still has rows to hand on; it is held until [`Ledger::close`].
    pub fn open(&mut self, end: T) -> Slot {
        self.entries.push_back(Entry { pending: 1, end });
        Slot(self.first_slot + self.entries.len() as u64 - 1)
    }

    /// All rows of the transaction have been handed on (to a record or to a batch that counts through
    /// [`Ledger::hold`]).
    pub fn close(&mut self, slot: Slot) {
        self.release(slot);
    }

    /// Keeps `slot` from being passed until [`Ledger::release`]: an unfinished batch holds rows of it.
    pub fn hold(&mut self, slot: Slot) {
        if let Some(e) = self.entry(slot) {
            e.pending += 1;
        }
    }

    /// Ends a [`Ledger::hold`].
    pub fn release(&mut self, slot: Slot) {
        if let Some(e) = self.entry(slot) {
            e.pending = e.pending.saturating_sub(1);
        }
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut Entry<T>> {
        let index = slot.0.checked_sub(self.first_slot)?;
        self.entries.get_mut(usize::try_from(index).ok()?)
    }

    /// A record of `bytes` is handed to the publisher; `slot` is the first transaction it has rows of.
    pub fn sent(&mut self, feed: u16, slot: Slot, bytes: u32, now: Duration) -> Token {
        self.hold(slot);
        self.bytes += u64::from(bytes);
        if let Some(f) = self.feeds.get_mut(usize::from(feed)) {
            if f.records == 0 {
                f.since = now;
            }
            f.records += 1;
            f.bytes += u64::from(bytes);
        }
        self.records.push_back(InFlight { feed, settled: false, bytes, slot: slot.0, since: now });
        Token(self.first_token + self.records.len() as u64 - 1)
    }

    /// The record is settled. False when the token is not outstanding (an older epoch's, or reported twice).
    pub fn settle(&mut self, token: Token, now: Duration) -> bool {
        let Some(index) = token.0.checked_sub(self.first_token) else { return false };
        let Some(record) = usize::try_from(index).ok().and_then(|i| self.records.get_mut(i)) else { return false };
        if record.settled {
            return false;
        }
        record.settled = true;
        let done = *record;
        self.bytes -= u64::from(done.bytes);
        if let Some(f) = self.feeds.get_mut(usize::from(done.feed)) {
            f.records -= 1;
            f.bytes -= u64::from(done.bytes);
            f.since = now;
        }
        self.release(Slot(done.slot));
        while self.records.front().is_some_and(|r| r.settled) {
            self.records.pop_front();
            self.first_token += 1;
        }
        true
    }

    /// The feed of an outstanding record.
    #[must_use]
    pub fn feed_of(&self, token: Token) -> Option<u16> {
        let index = token.0.checked_sub(self.first_token)?;
        self.records.get(usize::try_from(index).ok()?).filter(|r| !r.settled).map(|r| r.feed)
    }

    /// Takes the transactions off that are settled without a hole, oldest first.
    pub fn pop_settled(&mut self) -> Option<T> {
        if self.entries.front().is_some_and(|e| e.pending == 0) {
            self.first_slot += 1;
            return self.entries.pop_front().map(|e| e.end);
        }
        None
    }

    /// Forgets everything (a new epoch starts at the checkpoint). Tokens and slots stay unique.
    pub fn clear(&mut self) {
        self.first_slot += self.entries.len() as u64;
        self.first_token += self.records.len() as u64;
        self.entries.clear();
        self.records.clear();
        self.feeds.fill(Outstanding::default());
        self.bytes = 0;
    }

    /// What feed number `feed` has out.
    #[must_use]
    pub fn outstanding(&self, feed: u16) -> Outstanding {
        self.feeds.get(usize::from(feed)).copied().unwrap_or_default()
    }

    /// When the oldest record that is not settled was handed on.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.records.front().map(|record| record.since)
    }

    /// Its feed.
    #[must_use]
    pub fn oldest_feed(&self) -> Option<usize> {
        self.records.front().map(|record| usize::from(record.feed))
    }

    /// The end of the oldest transaction that is not settled.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.entries.front().map(|entry| &entry.end)
    }

    /// Bytes of records that are out, of all feeds.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.bytes
    }

    /// Transactions that are not taken off yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: Duration = Duration::ZERO;

    #[test]
    fn prefix_waits_for_the_slowest() {
        let mut l = Ledger::new(2);
        let a = l.open("a");
        let ta = l.sent(0, a, 10, T0);
        l.close(a);
        let b = l.open("b");
        let tb = l.sent(1, b, 20, Duration::from_secs(1));
        l.close(b);
        assert_eq!(l.in_flight_bytes(), 30);
        assert!(l.settle(tb, T0));
        assert_eq!((l.pop_settled(), l.oldest()), (None, Some(T0)));
        assert_eq!(l.feed_of(ta), Some(0));
        assert!(l.settle(ta, T0));
        assert!(!l.settle(ta, T0), "a second report of the same record counts for nothing");
        assert_eq!((l.pop_settled(), l.pop_settled(), l.pop_settled()), (Some("a"), Some("b"), None));
        assert_eq!((l.in_flight_bytes(), l.oldest()), (0, None));
    }

    #[test]
    fn open_transaction_is_not_passed_and_old_tokens_are_ignored() {
        let mut l = Ledger::new(1);
        let a = l.open(1);
        let t = l.sent(0, a, 1, T0);
        l.settle(t, T0);
        assert_eq!(l.pop_settled(), None);
        l.clear();
        let b = l.open(2);
        assert!(!l.settle(t, T0));
        l.close(a);
        assert_eq!(l.pop_settled(), None, "closing a slot of the old epoch does not touch the new one");
        l.close(b);
        assert_eq!(l.pop_settled(), Some(2));
    }

    proptest! {
        /// Whatever the order of reports, the popped prefix never passes an unsettled record.
        #[test]
        fn never_passes_an_unsettled_record(
            counts in proptest::collection::vec(0usize..4, 1..40),
            order in proptest::collection::vec(any::<u16>(), 1..200),
        ) {
            let mut l = Ledger::new(1);
            let mut open = Vec::new();
            for (i, n) in counts.iter().enumerate() {
                let slot = l.open(i);
                for _ in 0..*n {
                    open.push((l.sent(0, slot, 1, T0), i));
                }
                l.close(slot);
            }
            let mut popped = 0;
            for pick in order {
                if open.is_empty() { break; }
                let (token, _) = open.swap_remove(usize::from(pick) % open.len());
                prop_assert!(l.settle(token, T0));
                while let Some(i) = l.pop_settled() {
                    prop_assert_eq!(i, popped);
                    popped += 1;
                }
                let oldest = open.iter().map(|(_, i)| *i).min().unwrap_or(counts.len());
                prop_assert_eq!(popped, oldest);
            }
        }
    }
}
