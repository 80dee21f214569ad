//! Free loopback ports, exclusive among all tests of this machine.
//!
//! A port is claimed by binding an abstract Unix socket of its name: the kernel lets one process have it and takes it
//! back when that process ends, so no lock file can go stale. Ports lie below the range from which the kernel gives
//! ports to outgoing connections. Programs that know nothing of the claims are avoided by trying to bind the port.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Result;

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000; // up to 32,000; Linux gives outgoing connections 32,768 and above

/// `count` consecutive ports from `first`, held until dropped.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    _claims: Vec<UnixListener>,
}

impl Ports {
    /// Claims `count` consecutive ports on which nothing listens.
    pub(crate) fn claim(count: u16) -> Result<Ports> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes start at different places, so that they seldom ask for the same port.
        let start = u16::try_from(std::process::id() % u32::from(COUNT))?.wrapping_mul(37);
        for _ in 0..COUNT {
            let at = start.wrapping_add(NEXT.fetch_add(count, Ordering::Relaxed)) % (COUNT - count);
            let first = FIRST + at;
            let claims: Vec<_> = (first..first + count).map_while(claim).collect();
            if claims.len() == usize::from(count) {
                return Ok(Ports { first, _claims: claims });
            }
        }
        anyhow::bail!("no {count} free ports from {FIRST} to {}", FIRST + COUNT)
    }
}

fn claim(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("binlake-port-{port}")).ok()?;
    let claim = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok()?;
    Some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn parallel_claims_are_disjoint_and_consecutive() {
        let claims: Vec<Ports> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Ports::claim(4).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let all: HashSet<u16> = claims.iter().flat_map(|ports| ports.first..ports.first + 4).collect();
        assert_eq!(all.len(), 32);
        assert!(claims.iter().all(|ports| claim(ports.first + 1).is_none()), "claimed twice");
    }

    #[test]
    fn a_port_in_use_is_not_given() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        assert!(claim(listener.local_addr().unwrap().port()).is_none());
    }
}
