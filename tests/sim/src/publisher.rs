//! A publisher with one queue per partition. Who drives it decides what becomes of each record.

use std::collections::VecDeque;

use pipeline::io::Outcome;
use pipeline::ledger::Token;

#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) token: Token,
    pub(crate) header: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) epoch: u64,
    /// Per feed: the error that stopped its topic until the next epoch.
    pub(crate) failed: Vec<Option<Outcome>>,
    queues: Vec<Vec<VecDeque<Queued>>>,
    /// Whether the broker's next step is planned.
    stepping: Vec<Vec<bool>>,
    bytes: usize,
    limit: usize,
}

impl Publisher {
    /// `partitions` per feed; `limit` bounds the bytes in the queues.
    #[must_use]
    pub(crate) fn new(partitions: &[u32], limit: usize) -> Self {
        Publisher {
            epoch: 0,
            failed: vec![None; partitions.len()],
            queues: partitions.iter().map(|n| vec![VecDeque::new(); *n as usize]).collect(),
            stepping: partitions.iter().map(|n| vec![false; *n as usize]).collect(),
            bytes: 0,
            limit,
        }
    }

    /// False when it is full.
    pub(crate) fn accept(&mut self, feed: usize, partition: usize, queued: Queued) -> bool {
        let size = queued.header.len() + queued.value.len();
        if self.bytes > 0 && self.bytes + size > self.limit {
            return false;
        }
        self.bytes += size;
        self.queues[feed][partition].push_back(queued);
        true
    }

    /// True when a step has to be planned for this queue.
    pub(crate) fn start_step(&mut self, feed: usize, partition: usize) -> bool {
        !std::mem::replace(&mut self.stepping[feed][partition], true)
    }

    /// Size of the first record; without one the steps end.
    pub(crate) fn head(&mut self, feed: usize, partition: usize) -> Option<usize> {
        let size = self.queues[feed][partition].front().map(|q| q.value.len());
        self.stepping[feed][partition] = size.is_some();
        size
    }

    pub(crate) fn pop(&mut self, feed: usize, partition: usize) -> Option<Queued> {
        let queued = self.queues[feed][partition].pop_front()?;
        self.bytes -= queued.header.len() + queued.value.len();
        Some(queued)
    }

    /// Behind all others: what a publisher must never do.
    pub(crate) fn push_back(&mut self, feed: usize, partition: usize, queued: Queued) {
        self.bytes += queued.header.len() + queued.value.len();
        self.queues[feed][partition].push_back(queued);
    }

    /// All that is queued goes into the publisher returned; errors are forgotten.
    pub(crate) fn abort(&mut self) -> Publisher {
        let counts: Vec<u32> = self.queues.iter().map(|q| q.len() as u32).collect();
        let mut fresh = Publisher::new(&counts, self.limit);
        // Planned steps find the queues empty or go on with the new epoch's records.
        fresh.stepping.clone_from(&self.stepping);
        std::mem::replace(self, fresh)
    }

    /// Feed, partition and records of every queue whose topic did not fail.
    pub(crate) fn take_queues(&mut self) -> Vec<(usize, usize, VecDeque<Queued>)> {
        let mut out = Vec::new();
        for (feed, partitions) in self.queues.iter_mut().enumerate() {
            for (partition, queue) in partitions.iter_mut().enumerate() {
                if self.failed[feed].is_none() {
                    out.push((feed, partition, std::mem::take(queue)));
                }
            }
        }
        out
    }
}
