//! Real servers, the `binlake` program and a bad network, as fixtures for tests.
//!
//! Each fixture is a value: [`MySql`], [`MariaDb`] and [`Kafka`] are servers of `deploy/servers` in a fresh temporary
//! folder on free loopback ports, [`Process`] is a spawned program, [`Proxy`] a TCP proxy that misbehaves on demand,
//! [`peer::Peer`] a server by a script and [`events`] made by hand, for what no real one sends.
//! Fixtures are independent, so tests may start as many as they like in parallel.
//!
//! Invariant: nothing is left behind. Dropping a fixture, also by a panic, ends its processes and removes its folder;
//! if the test process itself is killed, a guard process does the same (see `guard`). Failure: every error is an
//! [`anyhow::Error`] that carries what the script or client printed.

mod database;
pub mod events;
mod guard;
mod kafka;
pub mod peer;
mod ports;
mod process;
mod proxy;
mod script;
mod session;

pub use database::{Database, MariaDb, MySql};
pub use kafka::Kafka;
pub use process::{Process, binlake_bin};
pub use proxy::Proxy;
pub use session::Session;

use std::time::{Duration, Instant};

/// Asks `condition` every 10 ms until it holds or `timeout` is over; true if it held.
pub fn wait_until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
