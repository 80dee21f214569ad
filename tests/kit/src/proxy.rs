//! A TCP proxy on loopback that misbehaves on demand: pauses, cuts, swallows, slows.
//!
//! Two threads per connection, one per direction; each reads a chunk, then passes the gate, which holds it while the
//! proxy is paused, then writes it. A change of behaviour takes effect from the next chunk (at most 16 KiB late).

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

const CHUNK: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    Pause,
    BlackHole,
    Slow(u64),
    Refuse,
}

/// A proxy in front of one server.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    up: AtomicU64,
    down: AtomicU64,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    target: SocketAddr,
    closed: bool,
    next_id: u64,
    links: HashMap<u64, Link>,
}

/// One connection: its sockets (the client's; the server's unless swallowed from the start) and how many directions
/// have not ended.
#[derive(Debug)]
struct Link {
    sockets: Vec<TcpStream>,
    directions: usize,
    swallow: bool,
}

impl Link {
    fn close(&self) {
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `target`.
    pub fn to(target: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let addr = listener.local_addr()?;
        let state = State { mode: Mode::Forward, target, closed: false, next_id: 0, links: HashMap::new() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.lock().closed {
                    break;
                }
                if let Ok(client) = client {
                    let _ = accepting.connect(client); // a server that is down looks like a closed connection
                }
            }
        });
        Ok(Proxy { addr, shared })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port of [`Proxy::addr`].
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Forwards again, and new connections work again. Black-holed connections stay dead, as after a lost route.
    pub fn resume(&self) {
        self.set(Mode::Forward);
    }

    /// Holds all bytes, both ways; connections stay and go on after [`Proxy::resume`].
    pub fn pause(&self) {
        self.set(Mode::Pause);
    }

    /// From now on swallows all bytes of present and new connections, without closing them.
    pub fn black_hole(&self) {
        self.set(Mode::BlackHole);
    }

    /// Forwards at most `bytes_per_second` per connection and direction.
    pub fn slow(&self, bytes_per_second: u64) {
        self.set(Mode::Slow(bytes_per_second.max(1)));
    }

    /// Closes new connections at once; present ones go on.
    pub fn refuse(&self) {
        self.set(Mode::Refuse);
    }

    /// Closes all present connections, both ways, in the middle of whatever they carry.
    pub fn cut(&self) {
        for (_, link) in self.shared.lock().links.drain() {
            link.close();
        }
        self.shared.changed.notify_all();
    }

    /// Sends new connections to another server.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.lock().target = target;
    }

    /// Connections now open.
    pub fn connections(&self) -> usize {
        self.shared.lock().links.len()
    }

    /// Bytes forwarded from clients to the server, over all connections.
    pub fn bytes_up(&self) -> u64 {
        self.shared.up.load(Ordering::Relaxed)
    }

    /// Bytes forwarded from the server to clients, over all connections.
    pub fn bytes_down(&self) -> u64 {
        self.shared.down.load(Ordering::Relaxed)
    }

    fn set(&self, mode: Mode) {
        let mut state = self.shared.lock();
        state.mode = mode;
        if mode == Mode::BlackHole {
            state.links.values_mut().for_each(|link| link.swallow = true);
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.cut();
        let _ = TcpStream::connect(self.addr); // wakes the accepting thread
    }
}

/// Which way a chunk goes, and what is left of it at the gate.
enum Pass {
    Write,
    Swallow,
    Slow(u64),
    Closed,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        let (mode, target) = {
            let state = self.lock();
            (state.mode, state.target)
        };
        let swallow = mode == Mode::BlackHole;
        let mut sockets = vec![client];
        if mode == Mode::Refuse {
            return Ok(());
        }
        if !swallow {
            sockets.push(TcpStream::connect_timeout(&target, Duration::from_secs(5))?);
        }
        for socket in &sockets {
            socket.set_nodelay(true)?;
        }
        let copies = sockets.iter().map(TcpStream::try_clone).collect::<Result<Vec<_>, _>>()?;
        let id = {
            let mut state = self.lock();
            state.next_id += 1;
            let id = state.next_id;
            // The mode may have changed while connecting.
            let swallow = swallow || state.mode == Mode::BlackHole;
            state.links.insert(id, Link { directions: copies.len(), sockets: copies, swallow });
            id
        };
        let back = sockets.get(1).map(|server| Ok::<_, std::io::Error>((server.try_clone()?, sockets[0].try_clone()?)));
        if let Some(back) = back {
            let (server, client) = back?;
            let shared = Arc::clone(self);
            std::thread::spawn(move || shared.pump(id, server, Some(client), &shared.down));
        }
        let mut sockets = sockets.into_iter();
        if let Some(client) = sockets.next() {
            let (shared, server) = (Arc::clone(self), sockets.next());
            std::thread::spawn(move || shared.pump(id, client, server, &shared.up));
        }
        Ok(())
    }

    /// Copies one direction until its end or a failure.
    fn pump(&self, id: u64, mut from: TcpStream, mut to: Option<TcpStream>, counter: &AtomicU64) {
        let mut buffer = vec![0; CHUNK];
        let mut broken = false;
        'copy: loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(_) => {
                    broken = true;
                    break;
                }
            };
            let mut rest = &buffer[..n];
            while !rest.is_empty() {
                let (part, pause) = match self.gate(id) {
                    Pass::Closed => break 'copy,
                    Pass::Swallow => continue 'copy,
                    Pass::Write => (rest.len(), Duration::ZERO),
                    // Some 50 parts a second; less often when the rate is below 50 bytes a second.
                    Pass::Slow(rate) => {
                        let part = usize::try_from(rate / 50).unwrap_or(CHUNK).clamp(1, rest.len());
                        (part, Duration::from_secs_f64(part as f64 / rate as f64))
                    }
                };
                std::thread::sleep(pause);
                let (now, later) = rest.split_at(part);
                let Some(to) = &mut to else { continue 'copy };
                // Before they arrive: whoever has them may ask for the count.
                counter.fetch_add(part as u64, Ordering::Relaxed);
                if to.write_all(now).is_err() {
                    broken = true;
                    break 'copy;
                }
                rest = later;
            }
        }
        self.end(id, to.as_ref(), broken);
    }

    /// Waits while paused, then says what to do with the chunk.
    fn gate(&self, id: u64) -> Pass {
        let mut state = self.lock();
        loop {
            let Some(link) = state.links.get(&id) else { return Pass::Closed };
            match state.mode {
                _ if link.swallow => return Pass::Swallow,
                Mode::Pause => {}
                Mode::Slow(rate) => return Pass::Slow(rate),
                Mode::Forward | Mode::Refuse | Mode::BlackHole => return Pass::Write,
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One direction has ended: passes the end on, and closes the connection when both have or one failed. A black hole
    /// hides the end from the other side.
    fn end(&self, id: u64, to: Option<&TcpStream>, broken: bool) {
        let mut state = self.lock();
        let Some(link) = state.links.get_mut(&id) else { return };
        link.directions -= 1;
        if link.directions == 0 || (broken && !link.swallow) {
            link.close();
            state.links.remove(&id);
        } else if let (Some(to), false) = (to, link.swallow) {
            let _ = to.shutdown(Shutdown::Write);
        }
    }
}
