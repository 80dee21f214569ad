//! One open connection: a socket and the protocol session over it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use mysql_wire::{EventBatch, Progress, ReplicaRequest, Session, WireError};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::blocking::entropy;
use crate::events::{WatchError, WatchEvent};
use crate::source::{Source, Target};
use crate::verify::Verifier;

/// Begins to connect; an event says when it is done.
///
/// Keepalive finds a dead peer also while reading stands still and no deadline runs. The receive buffer is left to the
/// system's own tuning.
pub(crate) fn connect(registry: &Registry, token: Token, addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)),
    )?;
    match socket.connect(&addr.into()) {
        Err(e) if e.raw_os_error() != Some(EINPROGRESS) && e.kind() != ErrorKind::WouldBlock => return Err(e),
        _ => {}
    }
    let mut stream = TcpStream::from_std(socket.into());
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

/// So much of one event counts as progress; less than a packet of any network carries.
const PROGRESS: usize = 1 << 10;
/// A non-blocking connect has begun; std has no kind for it.
const EINPROGRESS: i32 = 115;

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The socket has nothing more.
    Idle,
    /// The budget is used up and the socket has more.
    More,
    /// The ring is full.
    Paused,
    /// The dump came to the end that was asked for.
    Ended,
}

pub(crate) struct Connection {
    stream: TcpStream,
    session: Session,
    /// Until it is sent.
    request: Option<ReplicaRequest>,
    verifier: Verifier,
    readable: bool,
    writable: bool,
    /// The peer will send nothing more; read to the end whatever a short read seems to say.
    read_closed: bool,
    streaming: bool,
    progress: bool,
    /// Read since the last progress.
    unfinished: usize,
}

impl Connection {
    pub(crate) fn open(stream: TcpStream, target: &Target) -> Result<Self, WatchError> {
        let entropy = entropy().map_err(|e| WatchError::Io(e.to_string()))?;
        Ok(Self {
            stream,
            session: Session::new(target.options.clone(), entropy)?,
            request: Some(target.request.clone()),
            verifier: Verifier::default(),
            // It was just found connected; whether there is something to read, the first read tells.
            readable: true,
            writable: true,
            read_closed: false,
            streaming: false,
            progress: false,
            unfinished: 0,
        })
    }

    pub(crate) fn on_event(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.read_closed |= event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable();
    }

    /// The dump was asked for.
    pub(crate) fn streaming(&self) -> bool {
        self.streaming
    }

    /// Whole events came since the last call, or [`PROGRESS`] bytes of one since the last progress: less, byte by byte,
    /// could go on for ever.
    pub(crate) fn take_progress(&mut self) -> bool {
        let progress = std::mem::take(&mut self.progress) || self.unfinished >= PROGRESS;
        if progress {
            self.unfinished = 0;
        }
        progress
    }

    /// Reads, works and writes until there is nothing to do or `budget` bytes are read.
    pub(crate) fn turn(&mut self, budget: usize, source: &Source, generation: u64) -> Result<Turn, WatchError> {
        let mut left = budget;
        loop {
            let ended = self.work(source, generation);
            // Also after an error: TLS may want to tell the server why.
            let written = self.write();
            if ended? {
                return Ok(Turn::Ended);
            }
            written?;
            if !self.readable {
                return Ok(Turn::Idle);
            }
            if left == 0 {
                return Ok(Turn::More);
            }
            if self.streaming && !source.ring.may_read(generation) {
                return Ok(Turn::Paused);
            }
            left = left.saturating_sub(self.read(source)?);
        }
    }

    fn read(&mut self, source: &Source) -> Result<usize, WatchError> {
        if let Some(batch) = source.ring.spare() {
            self.session.recycle(batch);
        }
        let space = self.session.read_space();
        let room = space.len();
        match self.stream.read(space) {
            Ok(n) => {
                self.unfinished += n;
                // A short read has emptied the socket (epoll(7)): what comes later is a new edge. Saves the read that
                // would only say so, which is half of all reads when transactions are small.
                if n < room && !self.read_closed {
                    self.readable = false;
                }
                if let Err(error) = self.session.on_read(n) {
                    let _ = self.write();
                    return Err(error.into());
                }
                Ok(n)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(0)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(0),
            Err(e) => Err(WatchError::Io(e.to_string())),
        }
    }

    fn write(&mut self) -> Result<(), WatchError> {
        while self.writable && !self.session.output().is_empty() {
            match self.stream.write(self.session.output()) {
                Ok(n) => self.session.on_written(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(WatchError::Io(e.to_string())),
            }
        }
        Ok(())
    }

    /// Works on what was read; true at the end of the dump.
    fn work(&mut self, source: &Source, generation: u64) -> Result<bool, WatchError> {
        while let Some(progress) = self.session.poll()? {
            match progress {
                Progress::Ready(_) => {
                    let request = self
                        .request
                        .take()
                        .ok_or_else(|| WireError::Config("the session became ready a second time".into()))?;
                    self.session.replicate(request)?;
                }
                Progress::Streaming(info) => {
                    self.streaming = true;
                    source.connected.store(true, Relaxed);
                    source.counters.connects.fetch_add(1, Relaxed);
                    source.ring.push(generation, WatchEvent::Connected(Box::new(info)));
                }
                Progress::Events => {
                    if let Some(batch) = self.session.take_batch() {
                        self.deliver(batch, source, generation)?;
                    }
                }
                Progress::DumpEnded => return Ok(true),
                Progress::QueryDone(_) => {}
            }
        }
        Ok(false)
    }

    /// What stands before a damaged event is delivered.
    fn deliver(&mut self, mut batch: EventBatch, source: &Source, generation: u64) -> Result<(), WatchError> {
        let mut good = 0;
        let mut damage = Ok(());
        for event in batch.iter() {
            damage = self.verifier.check(event);
            if damage.is_err() {
                break;
            }
            good += 1;
        }
        batch.events.truncate(good);
        if good > 0 {
            self.progress = true;
            let counters = &source.counters;
            counters.batches.fetch_add(1, Relaxed);
            counters.events.fetch_add(good as u64, Relaxed);
            counters.event_bytes.fetch_add(batch.event_bytes() as u64, Relaxed);
            source.ring.push(generation, WatchEvent::Batch(batch));
        }
        damage
    }
}
