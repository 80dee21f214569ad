//! Pauses between attempts: exponential with jitter, so that a thousand sources that lost their servers in the same moment
//! do not all knock in the same moment again.

use std::time::Duration;

/// Gives the next pause: evenly drawn between half of a bound and the bound, which doubles from `min` to `max`. Never less
/// than half, or a server that lets us in and then fails could be asked again at once. No clock; the same seed gives the
/// same pauses.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
    random: u64,
}

impl Backoff {
    /// `min` is the first bound (not below 1 ms, or the pauses would stay zero), `max` the last.
    pub(crate) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        let min = min.max(Duration::from_millis(1));
        Self { min, max: max.max(min), bound: min, random: seed }
    }

    /// The pause before the next attempt.
    pub(crate) fn next_pause(&mut self) -> Duration {
        // SplitMix64 is enough to spread attempts.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.random;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let draw = (x ^ (x >> 31)) >> 11;
        #[allow(clippy::cast_precision_loss)]
        let share = draw as f64 / (1_u64 << 53) as f64;
        let pause = self.bound.mul_f64(0.5 + share / 2.0);
        self.bound = self.bound.saturating_mul(2).min(self.max);
        pause
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.bound = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_lie_in_the_upper_half_of_a_bound_that_doubles_and_are_spread() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut sums = [Duration::ZERO; 12];
        for seed in 0..500 {
            let mut backoff = Backoff::new(min, max, seed);
            let mut bound = min;
            for sum in &mut sums {
                let pause = backoff.next_pause();
                assert!(pause >= bound / 2 && pause <= bound, "{pause:?} of {bound:?}");
                *sum += pause;
                bound = (bound * 2).min(max);
            }
            backoff.reset();
            assert!(backoff.next_pause() <= min);
        }
        let mean = sums[11] / 500;
        assert!(mean > max * 72 / 100 && mean < max * 78 / 100, "{mean:?}");
    }

    #[test]
    fn same_seed_same_pauses() {
        let pauses = |seed| {
            let mut b = Backoff::new(Duration::from_millis(100), Duration::from_secs(30), seed);
            (0..10).map(|_| b.next_pause()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }
}
