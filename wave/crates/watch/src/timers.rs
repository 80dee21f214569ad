//! Deadlines of many connections in one heap, at most one live entry each.
//!
//! A deadline moves with every read. Instead of a heap operation per read, the entry stays where it is; when it comes
//! up, the owner is asked for the real deadline and armed again if that lies later.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    armed: HashMap<usize, Instant>,
}

impl Timers {
    /// Makes sure that `key` comes up at `at` or before.
    pub(crate) fn arm(&mut self, key: usize, at: Instant) {
        if self.armed.get(&key).is_none_or(|&armed| at < armed) {
            self.armed.insert(key, at);
            self.heap.push(Reverse((at, key)));
        }
    }

    pub(crate) fn forget(&mut self, key: usize) {
        self.armed.remove(&key);
    }

    /// When the next entry comes up.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next key that is due; it is no longer armed.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            // An entry that was replaced by an earlier one, or forgotten, is not the armed one.
            if self.armed.get(&key) == Some(&at) {
                self.armed.remove(&key);
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn due_keys_come_once_in_order() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.arm(1, at(30));
        timers.arm(2, at(10));
        timers.arm(3, at(20));
        timers.arm(1, at(5)); // earlier: replaces
        timers.arm(2, at(50)); // later: the owner re-arms when it comes up
        timers.forget(3);
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(40)), Some(1));
        assert_eq!(timers.pop_due(at(40)), Some(2));
        assert_eq!(timers.pop_due(at(40)), None);
        timers.arm(3, at(60));
        assert_eq!(timers.pop_due(at(99)), Some(3));
        assert_eq!((timers.pop_due(at(99)), timers.next()), (None, None));
    }
}
