//! A blocking client over one socket, for metadata queries, preflight and tests. The streams of production are read by
//! the watch threads.
//!
//! Every call is bounded by the client's timeout as a whole, not per read, so a server that dribbles cannot hold it longer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use mysql_wire::{ConnectOptions, EventBatch, Progress, QueryResult, ReplicaRequest, ServerInfo, Session, WireError};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BlockingError {
    /// The socket failed, or the time was up; `what` was being done.
    #[error("{what}: {error}")]
    Io { what: String, error: Arc<io::Error> },
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl BlockingError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { what: what.into(), error: Arc::new(error) }
    }
}

/// Random bytes for a new session.
pub fn entropy() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

/// A logged-in connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    session: Session,
    info: ServerInfo,
    timeout: Duration,
    /// The socket failed or an answer did not come in time: what every later call says, too.
    broken: Option<BlockingError>,
}

impl Client {
    /// Resolves, connects and logs in, all within `timeout`, which then bounds every later call as well. With
    /// `ssl-mode=preferred` a server whose TLS is too old is connected to once more, in clear text.
    pub fn connect(
        endpoint: &Endpoint,
        mut options: Arc<ConnectOptions>,
        timeout: Duration,
    ) -> Result<Self, BlockingError> {
        let started = Instant::now();
        match Self::connect_once(endpoint, options.clone(), timeout) {
            Err(BlockingError::Wire(error)) => {
                options = Arc::new(options.in_clear_text_after(&error).ok_or(error)?);
                let left = timeout.saturating_sub(started.elapsed());
                Ok(Self { timeout, ..Self::connect_once(endpoint, options, left)? })
            }
            other => other,
        }
    }

    fn connect_once(
        endpoint: &Endpoint,
        options: Arc<ConnectOptions>,
        timeout: Duration,
    ) -> Result<Self, BlockingError> {
        let started = Instant::now();
        let what = format!("connecting to {}:{}", endpoint.host, endpoint.port);
        let mut stream = open(endpoint, timeout).map_err(BlockingError::io(&what))?;
        stream.set_nodelay(true).map_err(BlockingError::io(&what))?;
        let mut session = Session::new(options, entropy().map_err(BlockingError::io(&what))?)?;
        match run(&mut stream, &mut session, timeout.saturating_sub(started.elapsed()))? {
            Progress::Ready(info) => Ok(Self { stream, session, info, timeout, broken: None }),
            other => Err(unexpected(&other)),
        }
    }

    /// What the server said of itself.
    pub fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// Runs one statement. After an error that the server sent for it the client can be used again.
    pub fn query(&mut self, sql: &str) -> Result<QueryResult, BlockingError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        // What came unasked must not be taken for the answer.
        if let Some(unasked) = self.session.poll()? {
            return Err(unexpected(&unasked));
        }
        self.session.query(sql)?;
        match run(&mut self.stream, &mut self.session, self.timeout) {
            Ok(Progress::QueryDone(result)) => Ok(result),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => {
                self.broken = Some(error.clone()).filter(|e| matches!(e, BlockingError::Io { .. }));
                Err(error)
            }
        }
    }

    /// Says goodbye; without it the server counts the connection as aborted. Best effort.
    pub fn close(mut self) {
        if self.session.quit().is_ok() {
            let _ = send(&mut self.stream, &mut self.session, Instant::now() + self.timeout);
        }
    }

    /// Turns the connection into a reader of the log.
    pub fn dump_batches(mut self, request: ReplicaRequest) -> Result<Batches, BlockingError> {
        self.session.replicate(request)?;
        match run(&mut self.stream, &mut self.session, self.timeout)? {
            Progress::Streaming(info) => Ok(Batches { client: Self { info, ..self }, ended: false }),
            other => Err(unexpected(&other)),
        }
    }
}

/// The log as an iterator; it ends after an error, or at the end of the log if that was asked for.
#[derive(Debug)]
pub struct Batches {
    client: Client,
    ended: bool,
}

impl Batches {
    /// What the server said of itself, with its variables.
    pub fn info(&self) -> &ServerInfo {
        &self.client.info
    }

    /// Gives a batch back, so that its memory is used again.
    pub fn recycle(&mut self, batch: EventBatch) {
        self.client.session.recycle(batch);
    }

    fn read(&mut self) -> Result<Option<EventBatch>, BlockingError> {
        let Client { stream, session, timeout, .. } = &mut self.client;
        match run(stream, session, *timeout)? {
            Progress::Events => Ok(session.take_batch()),
            Progress::DumpEnded => Ok(None),
            other => Err(unexpected(&other)),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<EventBatch, BlockingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}

fn open(endpoint: &Endpoint, timeout: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses(endpoint, remaining(deadline)?)? {
        match TcpStream::connect_timeout(&address, remaining(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn addresses(endpoint: &Endpoint, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (endpoint.host.clone(), endpoint.port);
    within(timeout, move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect))
}

/// A name lookup cannot be ended: one that takes too long is left to itself, until the system gives it up.
fn within<T: Send + 'static>(
    timeout: Duration,
    lookup: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, answer) = sync_channel(1);
    thread::Builder::new().name("lookup".into()).spawn(move || {
        // Nobody may wait for it any more.
        let _ = sender.send(lookup());
    })?;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the name lookup brought no answer in time");
    answer.recv_timeout(timeout).map_err(late)?
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Moves bytes until the session has something to tell.
fn run(stream: &mut TcpStream, session: &mut Session, timeout: Duration) -> Result<Progress, BlockingError> {
    let deadline = Instant::now() + timeout;
    loop {
        let progress = session.poll();
        // also after an error: TLS may have an alert for the server
        let sent = send(stream, session, deadline);
        if let Some(progress) = progress? {
            return Ok(progress);
        }
        let activity = session.activity();
        sent.map_err(BlockingError::io(activity))?;
        let received = receive(stream, session, deadline).map_err(BlockingError::io(activity))?;
        // its error comes again from `poll`, after what it still has to send
        let _ = session.on_read(received);
    }
}

fn send(stream: &mut TcpStream, session: &mut Session, deadline: Instant) -> io::Result<()> {
    while !session.output().is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        let n = stream.write(session.output())?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        session.on_written(n);
    }
    Ok(())
}

fn receive(stream: &mut TcpStream, session: &mut Session, deadline: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(session.read_space()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // the system's word for a timeout of a blocking socket
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            other => return other,
        }
    }
}

fn unexpected(progress: &Progress) -> BlockingError {
    WireError::Config(format!("the session went to {progress:?} unasked")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_that_hangs_counts_against_the_timeout() {
        let began = Instant::now();
        let hangs = || {
            thread::sleep(Duration::from_secs(30));
            Ok(())
        };
        assert_eq!(within(Duration::from_millis(20), hangs).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(10));
        let refused = within(Duration::from_secs(30), || Err::<(), _>(io::ErrorKind::NotFound.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
        let local = Endpoint { host: "localhost".into(), port: 3306 };
        assert!(addresses(&local, Duration::from_secs(30)).unwrap().iter().all(|a| a.ip().is_loopback()));
    }
}
