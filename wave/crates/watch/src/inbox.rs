//! Commands to a watch thread: a queue and the means to wake it up.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use mio::Waker;

use crate::ring::lock;
use crate::source::{Source, Target};

#[derive(Debug)]
pub(crate) enum Command {
    /// Give up the present connection, if any, and make a new one after a pause.
    Connect {
        source: Arc<Source>,
        target: Box<Target>,
        after: Duration,
        generation: u64,
    },
    Resolved {
        key: usize,
        generation: u64,
        result: Result<Vec<SocketAddr>, String>,
    },
    /// The ring has room again.
    Resume {
        key: usize,
    },
    /// Give up the present connection.
    Disconnect {
        key: usize,
    },
    /// The owner is gone.
    Remove {
        key: usize,
    },
    Stop,
    #[cfg(test)]
    Panic,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Vec<Command>>,
    waker: Waker,
    /// The sources of this thread: what has to be told when it panics.
    pub(crate) sources: Mutex<HashMap<usize, Arc<Source>>>,
}

impl Inbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { queue: Mutex::default(), waker, sources: Mutex::default() }
    }

    pub(crate) fn send(&self, command: Command) {
        let first = {
            let mut queue = lock(&self.queue);
            queue.push(command);
            queue.len() == 1
        };
        // Whoever put the first one in has woken the thread already.
        if first && let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake a watch thread");
        }
    }

    pub(crate) fn drain(&self) -> Vec<Command> {
        std::mem::take(&mut *lock(&self.queue))
    }
}
