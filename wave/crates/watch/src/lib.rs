//! Watch threads: read the logs of many servers with few threads.
//!
//! [`Watch::start`] starts a fixed number of threads (one per core unless told otherwise), each with one mio loop for
//! many sockets, and [`Watch::add`] puts a source on the least loaded of them. A watch thread connects, logs in, asks for
//! the dump, splits the stream into events and checks their CRC32; it decodes no row. What it read goes as an
//! [`WatchEvent::Batch`] into the source's ring, from which the owner takes it through its [`SourceHandle`].
//!
//! Invariants
//! - *Order*: the events of a connection arrive in log order, between `Connected` and `Disconnected` (or `Ended`).
//! - *Isolation*: a source whose ring is full is not read until its owner has emptied half of it; all others go on. No
//!   socket gets more than a byte budget per turn, so a flood of one delays the others by that much at most.
//! - *No wait*: a batch is handed over as soon as the socket has nothing more; batches grow by themselves under load.
//! - *The owner decides where to go on*: after a failure the thread reports it, with the pause to keep, and waits for
//!   [`SourceHandle::connect`]. What an abandoned connection still had is never delivered.
//!
//! Failure: each way a connection can end is a [`WatchError`]; a server that is silent for three heartbeats counts as
//! gone. A panic in a watch thread is reported to all its sources, and the thread goes on.
#![forbid(unsafe_code)]

pub mod blocking;
mod connection;
mod events;
mod inbox;
mod resolve;
mod ring;
mod source;
#[cfg(test)]
mod tests;
mod thread;
mod timers;
mod verify;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Poll, Waker};

pub use blocking::Endpoint;
pub use events::{SourceStats, WatchError, WatchEvent};
pub use ring::Signal;
pub use source::{SourceHandle, SourceSpec};

use inbox::{Command, Inbox};
use resolve::Resolver;
use ring::{Ring, lock};
use source::Source;

/// Settings of all watch threads.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Number of threads; None: one per core.
    pub threads: Option<usize>,
    /// Bytes that may wait in the ring of each source; reading stops there.
    pub ring_bytes: usize,
    /// Bytes read from one socket before the next has its turn. 256 KiB are some 0.2 ms of work, which is what the
    /// other sources of the thread then wait.
    pub turn_bytes: usize,
    /// For the TCP connection, and again for TLS and login together.
    pub connect_timeout: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { threads: None, ring_bytes: 8 << 20, turn_bytes: 256 << 10, connect_timeout: Duration::from_secs(10) }
    }
}

/// The watch threads. Dropping it ends them and all connections.
#[derive(Debug)]
pub struct Watch {
    threads: Vec<(Arc<Inbox>, Option<JoinHandle<()>>)>,
    ring_bytes: usize,
    next_key: AtomicUsize,
}

impl Watch {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses a thread or an epoll instance.
    pub fn start(options: WatchOptions) -> io::Result<Self> {
        let count = options.threads.map_or_else(std::thread::available_parallelism, |n| {
            std::num::NonZero::new(n).ok_or_else(|| io::Error::other("at least one watch thread is needed"))
        })?;
        let ring_bytes = options.ring_bytes;
        let options = Arc::new(options);
        let resolver = Resolver::start()?;
        // An early return ends the threads that run already.
        let mut watch = Self { threads: Vec::new(), ring_bytes, next_key: AtomicUsize::new(0) };
        for i in 0..count.get() {
            let poll = Poll::new()?;
            let inbox = Arc::new(Inbox::new(Waker::new(poll.registry(), thread::WAKER)?));
            let body = thread::Body { inbox: inbox.clone(), options: options.clone(), resolver: resolver.clone() };
            let join = std::thread::Builder::new().name(format!("watch-{i}")).spawn(move || body.run(poll))?;
            watch.threads.push((inbox, Some(join)));
        }
        Ok(watch)
    }

    /// Begins to watch a source, on the thread that has the fewest.
    ///
    /// # Panics
    /// Never: there is at least one thread.
    #[must_use]
    pub fn add(&self, spec: SourceSpec) -> SourceHandle {
        let key = self.next_key.fetch_add(1, Relaxed);
        let source = Arc::new(Source {
            key,
            name: spec.name,
            ring: Ring::new(self.ring_bytes, spec.signal.unwrap_or_default()),
            live: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            counters: source::Counters::default(),
        });
        let (inbox, _) = self
            .threads
            .iter()
            .min_by_key(|(inbox, _)| lock(&inbox.sources).len())
            .expect("start makes at least one thread");
        lock(&inbox.sources).insert(key, source.clone());
        let (endpoint, options) = (spec.endpoint, spec.options);
        let handle = SourceHandle { source, inbox: inbox.clone(), endpoint, options };
        handle.connect(spec.request, Duration::ZERO);
        handle
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for (inbox, _) in &self.threads {
            inbox.send(Command::Stop);
        }
        for (_, join) in &mut self.threads {
            // A panic was caught and reported inside.
            let _ = join.take().map(JoinHandle::join);
        }
    }
}
