//! A log-linear histogram: each power of two is cut into 32 equal buckets, so a quantile is at most 1/32 (3.2 %) above
//! the true value over the whole range of u64, in a fixed 15 KiB. Recording is a few relaxed atomic operations.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SUB_BITS: u32 = 5;
const SUB: u64 = 1 << SUB_BITS;
const BUCKETS: usize = ((64 - SUB_BITS + 1) as usize) << SUB_BITS;

/// Counts of u64 values (any unit; the caller's choice).
#[derive(Debug)]
pub struct LogLinear {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for LogLinear {
    fn default() -> Self {
        let buckets = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

impl LogLinear {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn record(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(index(value)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
        self.max.fetch_max(value, Relaxed);
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Relaxed)).sum()
    }

    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    #[must_use]
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// The value that a share `q` (0 to 1) of all values does not exceed, rounded up to the end of its bucket but
    /// never above the maximum; 0 when nothing was recorded.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        // Counts stay far below 2^53, where f64 is exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return highest(i).min(self.max());
            }
        }
        0
    }

    /// How many values are below 2^`bits`.
    #[must_use]
    pub(crate) fn count_below_power(&self, bits: u32) -> u64 {
        let end = if bits >= 64 { BUCKETS } else { index(1 << bits) };
        self.buckets.iter().take(end).map(|b| b.load(Relaxed)).sum()
    }
}

/// Values below 32 have a bucket each; above, the leading bit chooses the group and the next five the bucket in it.
fn index(value: u64) -> usize {
    let group = (u64::BITS - value.leading_zeros()).saturating_sub(SUB_BITS + 1);
    #[allow(clippy::cast_possible_truncation)]
    let at = (u64::from(group) << SUB_BITS) as usize + (value >> group) as usize;
    at
}

/// The largest value of a bucket.
fn highest(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * SUB {
        return index;
    }
    let group = (index >> SUB_BITS) - 1;
    let sub = index - (group << SUB_BITS);
    ((sub + 1) << group).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_join_without_gap_over_the_whole_range() {
        let mut expected_first = 0_u64;
        for i in 0..BUCKETS {
            assert_eq!(index(expected_first), i);
            assert_eq!(index(highest(i)), i);
            assert!(highest(i) - expected_first <= expected_first / 32, "bucket {i} is too wide");
            expected_first = highest(i).wrapping_add(1);
        }
        assert_eq!(expected_first, 0, "the last bucket ends at u64::MAX");
    }

    #[test]
    fn quantiles_of_a_known_sample() {
        let h = LogLinear::new();
        for v in 1..=10_000 {
            h.record(v);
        }
        for (q, exact) in [(0.5, 5_000_u64), (0.99, 9_900), (0.999, 9_990)] {
            let found = h.quantile(q);
            assert!(found >= exact && found <= exact + exact / 32, "q {q}: {found}");
        }
        assert_eq!((h.quantile(0.0), h.quantile(1.0), h.max(), h.count()), (1, 10_000, 10_000, 10_000));
        assert_eq!((h.sum(), LogLinear::new().quantile(0.5)), (50_005_000, 0));
        assert_eq!((h.count_below_power(10), h.count_below_power(64)), (1023, 10_000));
    }
}
