//! A watch thread: one mio loop for many sources.
//!
//! epoll is used edge-triggered: an event only says that a socket *became* readable or writable, so each connection
//! remembers it until the system said "would block". Sockets with something to do stand in a ready list and have turns
//! of bounded size, round by round; between rounds the loop looks for new events, commands and deadlines.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::WatchOptions;
use crate::connection::{Connection, Turn, connect};
use crate::events::{HostPort, WatchError, WatchEvent};
use crate::inbox::{Command, Inbox};
use crate::resolve::Resolver;
use crate::ring::lock;
use crate::source::{Source, Target};
use crate::timers::Timers;

/// Keys of sources count up from 0 and never get there.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// What a thread needs.
pub(crate) struct Body {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) options: Arc<WatchOptions>,
    pub(crate) resolver: Resolver,
}

impl Body {
    /// Runs until told to stop; survives panics.
    pub(crate) fn run(&self, mut poll: Poll) {
        loop {
            let mut run = Loop {
                inbox: &self.inbox,
                options: &self.options,
                resolver: &self.resolver,
                slots: HashMap::new(),
                ready: VecDeque::new(),
                timers: Timers::default(),
            };
            let ended = catch_unwind(AssertUnwindSafe(|| run.run(&mut poll)));
            // The sockets close here, before the owners can ask for new ones.
            drop(run);
            let error = match ended {
                Ok(Ok(())) => WatchError::Stopped,
                Ok(Err(e)) => WatchError::Panicked(format!("epoll: {e}")),
                Err(panic) => WatchError::Panicked(panic_text(panic.as_ref())),
            };
            let stopped = matches!(error, WatchError::Stopped);
            if !stopped {
                tracing::error!(%error, "watch thread starts anew, all its sources have to connect again");
            }
            let sources: Vec<_> = lock(&self.inbox.sources).values().cloned().collect();
            for source in sources {
                source.connected.store(false, Relaxed);
                let generation = source.live.swap(0, Relaxed);
                if generation != 0 {
                    source.ring.push(generation, WatchEvent::Disconnected(error.clone()));
                }
            }
            if stopped {
                return;
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic without text".into())
}

/// A source as its thread sees it.
struct Slot {
    source: Arc<Source>,
    target: Box<Target>,
    generation: u64,
    phase: Phase,
    /// When the phase has lasted too long (or, for a pause, long enough).
    deadline: Option<Instant>,
    in_ready: bool,
}

enum Phase {
    /// No attempt is wanted.
    Down,
    /// The pause before an attempt.
    Pause,
    Resolving,
    Connecting {
        stream: mio::net::TcpStream,
        addr: SocketAddr,
        /// Further addresses of the name.
        others: VecDeque<SocketAddr>,
    },
    Open(Box<Connection>),
}

impl Slot {
    fn not_live(&self) {
        self.source.connected.store(false, Relaxed);
        // The owner may have asked for the next attempt already, which is then the live one.
        let _ = self.source.live.compare_exchange(self.generation, 0, Relaxed, Relaxed);
    }
}

struct Loop<'a> {
    inbox: &'a Arc<Inbox>,
    options: &'a Arc<WatchOptions>,
    resolver: &'a Resolver,
    slots: HashMap<usize, Slot>,
    ready: VecDeque<usize>,
    timers: Timers,
}

impl Loop<'_> {
    fn run(&mut self, poll: &mut Poll) -> std::io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = if self.ready.is_empty() {
                self.timers.next().map(|at| at.saturating_duration_since(Instant::now()))
            } else {
                Some(Duration::ZERO)
            };
            match poll.poll(&mut events, timeout) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => other?,
            }
            for event in &events {
                if event.token() != WAKER {
                    self.on_event(poll, event);
                }
            }
            for command in self.inbox.drain() {
                if matches!(command, Command::Stop) {
                    return Ok(());
                }
                self.on_command(poll, command);
            }
            let now = Instant::now();
            while let Some(key) = self.timers.pop_due(now) {
                self.on_timer(poll, key, now);
            }
            for _ in 0..self.ready.len() {
                if let Some(key) = self.ready.pop_front() {
                    self.turn(key);
                }
            }
        }
    }

    fn on_event(&mut self, poll: &Poll, event: &Event) {
        let key = event.token().0;
        let Some(slot) = self.slots.get_mut(&key) else { return };
        match &mut slot.phase {
            Phase::Open(connection) => {
                connection.on_event(event);
                self.enqueue(key);
            }
            Phase::Connecting { .. } => self.on_connecting(poll, key),
            Phase::Down | Phase::Pause | Phase::Resolving => {}
        }
    }

    fn on_command(&mut self, poll: &Poll, command: Command) {
        match command {
            Command::Connect { source, target, after, generation } => {
                self.start_attempt(source, target, after, generation);
            }
            Command::Resolved { key, generation, result } => self.on_resolved(poll, key, generation, result),
            Command::Resume { key } => {
                if let Some(slot) = self.slots.get_mut(&key)
                    && matches!(slot.phase, Phase::Open(_))
                {
                    let deadline = slot.target.read_deadline().map(|d| Instant::now() + d);
                    self.set_deadline(key, deadline);
                    self.enqueue(key);
                }
            }
            Command::Disconnect { key } => {
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.source.connected.store(false, Relaxed);
                    slot.phase = Phase::Down;
                    slot.deadline = None;
                }
            }
            Command::Remove { key } => {
                self.slots.remove(&key);
                self.timers.forget(key);
            }
            Command::Stop => {}
            #[cfg(test)]
            Command::Panic => panic!("asked to"),
        }
    }

    fn start_attempt(&mut self, source: Arc<Source>, target: Box<Target>, after: Duration, generation: u64) {
        let key = source.key;
        source.connected.store(false, Relaxed);
        let slot = self.slots.entry(key).or_insert_with(|| Slot {
            source,
            target: target.clone(),
            generation,
            phase: Phase::Down,
            deadline: None,
            in_ready: false,
        });
        slot.target = target;
        slot.generation = generation;
        slot.phase = Phase::Pause;
        self.set_deadline(key, Some(Instant::now() + after));
    }

    fn set_deadline(&mut self, key: usize, deadline: Option<Instant>) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.deadline = deadline;
            if let Some(at) = deadline {
                self.timers.arm(key, at);
            }
        }
    }

    fn enqueue(&mut self, key: usize) {
        if let Some(slot) = self.slots.get_mut(&key)
            && !slot.in_ready
        {
            slot.in_ready = true;
            self.ready.push_back(key);
        }
    }

    fn on_timer(&mut self, poll: &Poll, key: usize, now: Instant) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        match slot.deadline {
            None => return,
            Some(at) if at > now => {
                self.timers.arm(key, at);
                return;
            }
            Some(_) => slot.deadline = None,
        }
        let timeout = |step| WatchError::ConnectTimeout {
            host: slot.target.endpoint.host.clone(),
            port: slot.target.endpoint.port,
            after: self.options.connect_timeout,
            step,
        };
        let error = match &slot.phase {
            Phase::Down => return,
            Phase::Pause => return self.resolve(key),
            Phase::Resolving => timeout("looking up the name"),
            Phase::Connecting { others, .. } if !others.is_empty() => return self.next_address(poll, key),
            Phase::Connecting { .. } => timeout("opening the connection"),
            Phase::Open(connection) if connection.streaming() => {
                WatchError::Silent { after: slot.target.read_deadline().unwrap_or_default() }
            }
            Phase::Open(_) => timeout("logging in"),
        };
        self.fail(key, error);
    }

    fn resolve(&mut self, key: usize) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.phase = Phase::Resolving;
        let (generation, inbox) = (slot.generation, self.inbox.clone());
        let answer = move |result| inbox.send(Command::Resolved { key, generation, result });
        self.resolver.resolve(&slot.target.endpoint.host, slot.target.endpoint.port, Box::new(answer));
        self.set_deadline(key, Some(Instant::now() + self.options.connect_timeout));
    }

    fn on_resolved(&mut self, poll: &Poll, key: usize, generation: u64, result: Result<Vec<SocketAddr>, String>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if slot.generation != generation || !matches!(slot.phase, Phase::Resolving) {
            return;
        }
        match result {
            Ok(addrs) => self.try_addresses(poll, key, addrs.into(), None),
            Err(reason) => {
                let host = slot.target.endpoint.host.clone();
                self.fail(key, WatchError::Resolve { host, reason });
            }
        }
    }

    /// Begins to connect to the first address that the system does not refuse at once.
    fn try_addresses(
        &mut self,
        poll: &Poll,
        key: usize,
        mut addrs: VecDeque<SocketAddr>,
        mut last_error: Option<WatchError>,
    ) {
        while let Some(addr) = addrs.pop_front() {
            match connect(poll.registry(), Token(key), addr) {
                Ok(stream) => {
                    if let Some(slot) = self.slots.get_mut(&key) {
                        slot.phase = Phase::Connecting { stream, addr, others: addrs };
                    }
                    self.set_deadline(key, Some(Instant::now() + self.options.connect_timeout));
                    return;
                }
                Err(e) => last_error = Some(WatchError::Connect { addr, reason: e.to_string() }),
            }
        }
        let error = last_error.unwrap_or_else(|| WatchError::Io("no address to connect to".into()));
        self.fail(key, error);
    }

    /// The present address did not answer in time: the next one.
    fn next_address(&mut self, poll: &Poll, key: usize) {
        if let Some(slot) = self.slots.get_mut(&key)
            && let Phase::Connecting { others, .. } = &mut slot.phase
        {
            let others = std::mem::take(others);
            self.try_addresses(poll, key, others, None);
        }
    }

    fn on_connecting(&mut self, poll: &Poll, key: usize) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Phase::Connecting { stream, addr, others } = &mut slot.phase else { return };
        let refused = match stream.take_error() {
            Ok(None) => match stream.peer_addr() {
                Ok(_) => None,
                Err(e) if e.kind() == ErrorKind::NotConnected => return,
                Err(e) => Some(e),
            },
            Ok(Some(e)) | Err(e) => Some(e),
        };
        if let Some(e) = refused {
            let error = WatchError::Connect { addr: *addr, reason: e.to_string() };
            let others = std::mem::take(others);
            return self.try_addresses(poll, key, others, Some(error));
        }
        let Phase::Connecting { stream, .. } = std::mem::replace(&mut slot.phase, Phase::Down) else { return };
        match Connection::open(stream, &slot.target) {
            Ok(connection) => {
                slot.phase = Phase::Open(Box::new(connection));
                self.set_deadline(key, Some(Instant::now() + self.options.connect_timeout));
                self.enqueue(key);
            }
            Err(error) => self.fail(key, error),
        }
    }

    fn turn(&mut self, key: usize) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.in_ready = false;
        let Phase::Open(connection) = &mut slot.phase else { return };
        let was_streaming = connection.streaming();
        let turn = connection.turn(self.options.turn_bytes, &slot.source, slot.generation);
        let (streaming, progress) = (connection.streaming(), connection.take_progress());
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => return self.fail(key, error),
        };
        match turn {
            Turn::Ended if !slot.target.request.stop_at_end => return self.fail(key, WatchError::EndedUnasked),
            Turn::Ended => {
                slot.phase = Phase::Down;
                slot.deadline = None;
                slot.not_live();
                slot.source.ring.push(slot.generation, WatchEvent::Ended);
                return;
            }
            // Nothing is expected from a socket that is not read; resuming sets a new deadline.
            Turn::Paused => return slot.deadline = None,
            Turn::More | Turn::Idle => {}
        }
        if streaming && (progress || !was_streaming) {
            let deadline = slot.target.read_deadline().map(|d| Instant::now() + d);
            self.set_deadline(key, deadline);
        }
        if turn == Turn::More {
            self.enqueue(key);
        }
    }

    fn fail(&mut self, key: usize, error: WatchError) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if let WatchError::Wire(wire) = &error
            && let Some(options) = slot.target.options.in_clear_text_after(wire)
        {
            tracing::debug!(source = %slot.source.name, %error, "connecting in clear text");
            slot.target.options = Arc::new(options);
            slot.phase = Phase::Pause;
            return self.set_deadline(key, Some(Instant::now()));
        }
        slot.phase = Phase::Down;
        slot.deadline = None;
        slot.not_live();
        let at = HostPort(&slot.target.endpoint.host, slot.target.endpoint.port);
        tracing::debug!(source = %slot.source.name, %at, %error, "connection ended");
        slot.source.ring.push(slot.generation, WatchEvent::Disconnected(error));
    }
}
