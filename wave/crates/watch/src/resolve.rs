//! Name lookups away from the loops: `getaddrinfo` blocks, for seconds when a name server is away.
//!
//! A fixed number of threads for the process and a bounded queue; an address needs no lookup. The threads end when the
//! [`Resolver`] is dropped; one that hangs in a lookup then dies with the process.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// One slow lookup must not hold up all others.
const THREADS: usize = 2;
/// Lookups that may wait; beyond it the attempt fails and is repeated after its pause.
const QUEUE: usize = 4096;

type Answer = Box<dyn FnOnce(Result<Vec<SocketAddr>, String>) + Send>;

struct Job {
    host: String,
    port: u16,
    answer: Answer,
}

/// Hands lookups to its threads.
#[derive(Clone, Debug)]
pub(crate) struct Resolver(SyncSender<Job>);

impl Resolver {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Job>(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        for i in 0..THREADS {
            let receiver = receiver.clone();
            thread::Builder::new().name(format!("resolve-{i}")).spawn(move || serve(&receiver))?;
        }
        Ok(Self(sender))
    }

    /// Calls `answer` with at least one address, or with what is wrong: at once for an address or a full queue, else
    /// from a lookup thread.
    pub(crate) fn resolve(&self, host: &str, port: u16, answer: Answer) {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            answer(Ok(vec![SocketAddr::new(ip, port)]));
            return;
        }
        if let Err(refused) = self.0.try_send(Job { host: host.to_owned(), port, answer }) {
            let (std::sync::mpsc::TrySendError::Full(job) | std::sync::mpsc::TrySendError::Disconnected(job)) = refused;
            (job.answer)(Err("too many name lookups are waiting".into()));
        }
    }
}

fn serve(receiver: &Mutex<Receiver<Job>>) {
    loop {
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let found = match (job.host.as_str(), job.port).to_socket_addrs() {
            Ok(addrs) => Ok(addrs.collect::<Vec<_>>()),
            Err(e) => Err(e.to_string()),
        };
        (job.answer)(found.and_then(|a| if a.is_empty() { Err("the name has no address".into()) } else { Ok(a) }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn lookup(host: &str) -> Result<Vec<SocketAddr>, String> {
        let (tx, rx) = channel();
        let resolver = Resolver::start().unwrap();
        resolver.resolve(host, 3306, Box::new(move |r| tx.send(r).unwrap()));
        rx.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn names_and_addresses() {
        assert_eq!(lookup("127.0.0.1").unwrap(), ["127.0.0.1:3306".parse().unwrap()]);
        assert_eq!(lookup("[::1]").unwrap(), ["[::1]:3306".parse().unwrap()]);
        assert!(lookup("localhost").unwrap().iter().all(|a| a.ip().is_loopback()));
        assert!(lookup("no-such-host.invalid").is_err());
    }
}
