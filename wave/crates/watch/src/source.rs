//! One source as its owner sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mysql_wire::{ConnectOptions, EventBatch, ReplicaRequest};

use crate::blocking::Endpoint;
use crate::events::{SourceStats, WatchEvent};
use crate::inbox::{Command, Inbox};
use crate::ring::{Ring, Signal, lock};

/// Where to connect, how, and what to read from there.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) options: Arc<ConnectOptions>,
    pub(crate) request: ReplicaRequest,
}

impl Target {
    /// No [progress](crate::connection::Connection::take_progress) for longer than this means that the connection is dead;
    /// None without heartbeats. Three periods, so that one late heartbeat does not end a connection.
    pub(crate) fn read_deadline(&self) -> Option<Duration> {
        Some(self.request.heartbeat * 3).filter(|d| !d.is_zero())
    }
}

/// A source to watch.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// For logs.
    pub name: String,
    /// A host name is looked up anew for every attempt.
    pub endpoint: Endpoint,
    pub options: Arc<ConnectOptions>,
    /// After three of its heartbeat periods without an event, or a KiB of one, the connection is given up.
    pub request: ReplicaRequest,
    /// Notified with every event; share one between the sources that one thread serves. None: a signal of its own.
    pub signal: Option<Arc<Signal>>,
}

/// What owner and watch thread share.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) key: usize,
    pub(crate) name: String,
    pub(crate) ring: Ring,
    /// Generation of the attempt or connection whose end has still to be reported; 0: none.
    pub(crate) live: AtomicU64,
    pub(crate) connected: AtomicBool,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) event_bytes: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) connects: AtomicU64,
}

/// The owner's end. Dropping it closes the connection and forgets the source.
#[derive(Debug)]
pub struct SourceHandle {
    pub(crate) source: Arc<Source>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) endpoint: Endpoint,
    pub(crate) options: Arc<ConnectOptions>,
}

impl SourceHandle {
    /// As in [`SourceSpec::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The next event, waiting at most `timeout`. Wakes up for other sources that share the signal, too, and goes on
    /// waiting.
    #[must_use]
    pub fn recv(&self, timeout: Duration) -> Option<WatchEvent> {
        let end = Instant::now() + timeout;
        let signal = self.source.ring.signal();
        loop {
            let seen = signal.current();
            if let Some(event) = self.try_recv() {
                return Some(event);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            signal.wait(seen, left);
        }
    }

    /// The next event if there is one. Taking a batch frees its bytes in the ring, and reading goes on if it stood
    /// still.
    #[must_use]
    pub fn try_recv(&self) -> Option<WatchEvent> {
        let popped = self.source.ring.pop()?;
        if popped.resume {
            self.inbox.send(Command::Resume { key: self.source.key });
        }
        Some(popped.event)
    }

    /// Gives the buffer of a finished batch back to the connection.
    pub fn recycle(&self, batch: EventBatch) {
        self.source.ring.give_back(batch);
    }

    /// Gives up the present connection, if any, and connects to the same server after a pause. Events of the old
    /// connection that were not taken yet are dropped: the request must begin where the owner stands.
    pub fn connect(&self, request: ReplicaRequest, after: Duration) {
        let (endpoint, options) = (self.endpoint.clone(), Arc::clone(&self.options));
        let generation = self.source.ring.next_generation();
        self.source.live.store(generation, Relaxed);
        let target = Box::new(Target { endpoint, options, request });
        self.inbox.send(Command::Connect { source: self.source.clone(), target, after, generation });
    }

    /// Gives up the present connection or attempt and drops what was not taken; nothing is reported. [`Self::connect`]
    /// may follow.
    pub fn disconnect(&self) {
        self.source.ring.next_generation();
        self.source.live.store(0, Relaxed);
        self.inbox.send(Command::Disconnect { key: self.source.key });
    }

    /// Numbers since the source was added, and of now.
    #[must_use]
    pub fn stats(&self) -> SourceStats {
        let counters = &self.source.counters;
        SourceStats {
            event_bytes: counters.event_bytes.load(Relaxed),
            events: counters.events.load(Relaxed),
            batches: counters.batches.load(Relaxed),
            connects: counters.connects.load(Relaxed),
            ring_bytes: self.source.ring.bytes(),
            paused: self.source.ring.paused(),
            connected: self.source.connected.load(Relaxed),
        }
    }
}

impl Drop for SourceHandle {
    fn drop(&mut self) {
        lock(&self.inbox.sources).remove(&self.source.key);
        self.inbox.send(Command::Remove { key: self.source.key });
    }
}
