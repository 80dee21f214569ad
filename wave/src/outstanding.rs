//! What was handed to the publisher and has no report yet: for latency and counts of what is acknowledged, per topic.
//!
//! The ledger decides what is settled; this is for display only. Its tokens are dense over epochs too, so an epoch that
//! ends has to be told ([`Outstanding::clear`]), or its records would stay for ever.

use std::collections::VecDeque;

/// A record that is out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Commit of its first row, microseconds since the Unix epoch.
    pub(crate) commit_us: u64,
    pub(crate) feed: usize,
    /// Of key, value and header.
    pub(crate) bytes: usize,
}

/// Records that are not reported yet; tokens are dense and grow, also over epochs.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    first: u64,
    records: VecDeque<Option<Sent>>,
}

impl Outstanding {
    pub(crate) fn sent(&mut self, token: u64, sent: Sent) {
        if token != self.first + self.records.len() as u64 {
            self.records.clear();
        }
        if self.records.is_empty() {
            self.first = token;
        }
        self.records.push_back(Some(sent));
    }

    pub(crate) fn settled(&mut self, token: u64) -> Option<Sent> {
        let sent = self.records.get_mut(usize::try_from(token.checked_sub(self.first)?).ok()?)?.take();
        while let Some(None) = self.records.front() {
            self.records.pop_front();
            self.first += 1;
        }
        sent
    }

    pub(crate) fn clear(&mut self) {
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_leave_in_any_order_and_with_their_epoch() {
        let mut out = Outstanding::default();
        let sent = |feed| Sent { commit_us: 1, feed, bytes: 10 };
        (7..10).for_each(|token| out.sent(token, sent(token as usize)));
        assert_eq!(out.settled(8).map(|s| s.feed), Some(8));
        assert!(out.settled(8).is_none() && out.settled(6).is_none() && out.settled(10).is_none());
        assert_eq!(out.settled(7).map(|s| s.feed), Some(7));
        assert_eq!((out.first, out.records.len()), (9, 1));

        // The epoch ends with 9 unreported; tokens go on without a gap.
        out.clear();
        out.sent(10, sent(0));
        assert!(out.settled(9).is_none() && out.settled(10).is_some());
        assert_eq!(out.records.len(), 0);
    }
}
