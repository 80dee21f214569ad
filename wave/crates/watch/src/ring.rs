//! The queue from a watch thread to the owner of one source, bounded in bytes.
//!
//! One lock per batch, not per event: a batch is as much as one read of the socket gave. When the bound is reached the
//! watch thread leaves that socket alone (*paused*) and is called back when half of the bytes are gone. The bound is
//! exceeded by at most one batch, because a batch is only read when there is room, but may then be of any size.
//!
//! Every connection attempt has a number (*generation*). What an older one still delivers is dropped here, so the owner
//! never sees events of a connection that it has given up.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql_wire::EventBatch;

use crate::events::WatchEvent;

/// Spare buffers on their way back to the watch thread; more than two would only be memory.
const MAX_SPARE: usize = 2;

/// Wakes the consumer of one or many sources.
#[derive(Debug, Default)]
pub struct Signal {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A number that changes with every notification; take it before looking for work and give it to `wait`.
    #[must_use]
    pub fn current(&self) -> u64 {
        *lock(&self.count)
    }

    /// Returns when there was a notification after `seen`, or after `timeout`.
    pub fn wait(&self, seen: u64, timeout: Duration) {
        let count = lock(&self.count);
        drop(self.changed.wait_timeout_while(count, timeout, |now| *now == seen));
    }

    /// Wakes everyone who waits.
    pub fn notify(&self) {
        let mut count = lock(&self.count);
        *count = count.wrapping_add(1);
        self.changed.notify_all();
    }
}

/// No code that holds one of these locks can panic half way through a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(crate) struct Ring {
    limit: usize,
    inner: Mutex<Inner>,
    signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<WatchEvent>,
    bytes: usize,
    generation: u64,
    paused_since: Option<Instant>,
    paused: Duration,
    spare: Vec<EventBatch>,
}

/// What [`Ring::pop`] found.
#[derive(Debug)]
pub(crate) struct Popped {
    pub(crate) event: WatchEvent,
    /// The watch thread is paused and there is room again: call it.
    pub(crate) resume: bool,
}

fn weight(event: &WatchEvent) -> usize {
    match event {
        WatchEvent::Batch(batch) => batch.buf.len(),
        _ => 0,
    }
}

impl Ring {
    pub(crate) fn new(limit: usize, signal: Arc<Signal>) -> Self {
        Self { limit, inner: Mutex::default(), signal }
    }

    pub(crate) fn signal(&self) -> &Signal {
        &self.signal
    }

    /// Begins a new attempt: everything of older ones is dropped. Gives its number.
    pub(crate) fn next_generation(&self) -> u64 {
        let mut inner = lock(&self.inner);
        inner.generation += 1;
        inner.queue.clear();
        inner.bytes = 0;
        end_pause(&mut inner);
        inner.generation
    }

    /// Delivers an event of attempt `generation`; dropped if that is not the present one.
    pub(crate) fn push(&self, generation: u64, event: WatchEvent) {
        {
            let mut inner = lock(&self.inner);
            if inner.generation != generation {
                return;
            }
            inner.bytes += weight(&event);
            inner.queue.push_back(event);
        }
        self.signal.notify();
    }

    /// True if the watch thread may read on; otherwise it is paused and will be called.
    pub(crate) fn may_read(&self, generation: u64) -> bool {
        let mut inner = lock(&self.inner);
        if inner.bytes < self.limit || inner.generation != generation {
            return true;
        }
        inner.paused_since.get_or_insert_with(Instant::now);
        false
    }

    pub(crate) fn pop(&self) -> Option<Popped> {
        let mut inner = lock(&self.inner);
        let event = inner.queue.pop_front()?;
        inner.bytes -= weight(&event);
        let resume = inner.paused_since.is_some() && inner.bytes <= self.limit / 2;
        if resume {
            end_pause(&mut inner);
        }
        Some(Popped { event, resume })
    }

    pub(crate) fn give_back(&self, batch: EventBatch) {
        let mut inner = lock(&self.inner);
        if inner.spare.len() < MAX_SPARE {
            inner.spare.push(batch);
        }
    }

    pub(crate) fn spare(&self) -> Option<EventBatch> {
        lock(&self.inner).spare.pop()
    }

    pub(crate) fn bytes(&self) -> usize {
        lock(&self.inner).bytes
    }

    /// How long the watch thread was paused in all, the present pause included.
    pub(crate) fn paused(&self) -> Duration {
        let inner = lock(&self.inner);
        inner.paused + inner.paused_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

fn end_pause(inner: &mut Inner) {
    if let Some(since) = inner.paused_since.take() {
        inner.paused += since.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(len: usize) -> WatchEvent {
        WatchEvent::Batch(EventBatch { buf: vec![0; len], events: vec![] })
    }

    #[test]
    fn full_ring_pauses_and_half_empty_one_resumes_once() {
        let ring = Ring::new(100, Arc::new(Signal::new()));
        let generation = ring.next_generation();
        assert!(ring.may_read(generation));
        for _ in 0..3 {
            ring.push(generation, batch(40));
        }
        assert_eq!(ring.bytes(), 120);
        assert!(!ring.may_read(generation));
        assert!(!ring.pop().unwrap().resume, "80 of 100 are left");
        assert!(ring.pop().unwrap().resume, "40 of 100 are left");
        assert!(!ring.pop().unwrap().resume, "already resumed");
        assert!(ring.pop().is_none());
        assert!(ring.paused() > Duration::ZERO);
        // A consumer that empties the ring before the watch thread looks leaves nothing to resume.
        assert!(ring.may_read(generation));
    }

    #[test]
    fn old_generations_are_dropped() {
        let ring = Ring::new(100, Arc::new(Signal::new()));
        let old = ring.next_generation();
        ring.push(old, batch(200));
        assert!(!ring.may_read(old));
        let new = ring.next_generation();
        ring.push(old, batch(10));
        assert!(ring.pop().is_none());
        assert_eq!(ring.bytes(), 0);
        assert!(ring.may_read(new));
        ring.push(new, batch(10));
        assert_eq!(ring.bytes(), 10);
    }

    #[test]
    fn signal_is_not_lost_between_look_and_wait() {
        let signal = Arc::new(Signal::new());
        let seen = signal.current();
        signal.notify();
        let start = Instant::now();
        signal.wait(seen, Duration::from_secs(20));
        assert!(start.elapsed() < Duration::from_secs(10));
        let other = signal.clone();
        let seen = signal.current();
        let thread = std::thread::spawn(move || other.wait(seen, Duration::from_secs(20)));
        signal.notify();
        thread.join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
