//! Coordination in memory, with faults on demand, for simulations and tests.
//!
//! A [`SimWorld`] is the service; [`SimCoordination`]s are its clients. Faults are asked for one by one
//! ([`SimCoordination::inject`]) or drawn from a seed ([`SimCoordination::with_faults`]), so that a history can be
//! replayed exactly. They are the ones of a real service: a request is lost, a reply is lost, a request is late (it
//! lands before the client's next call, behind what others did meanwhile), the session ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use crate::file::{Seen, lock};
use crate::state::State;
use crate::{Change, CoordError, Coordination, Fence, Snapshot, SourceId, Taken, Write};

/// The service: what is stored, shared by its clients.
#[derive(Clone, Debug, Default)]
pub struct SimWorld(Arc<Mutex<BTreeMap<SourceId, State>>>);

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused at once: nothing happened, and the caller knows.
    Refused,
    /// The request is lost: nothing happened, the caller does not know.
    RequestLost,
    /// Done, but the caller does not know.
    ReplyLost,
    /// Done just before this client's next call (if its fence still holds then); the caller does not know.
    Late,
    /// The session ends: what this client had taken is released, and all its calls fail until it takes again. A take
    /// that meets this is refused; the next one begins a new session.
    SessionLost,
}

/// How often a call meets each fault, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultRates {
    pub refused: u16,
    pub request_lost: u16,
    pub reply_lost: u16,
    pub late: u16,
    pub session_lost: u16,
}

#[derive(Clone, Debug)]
enum Request {
    Take { source: SourceId, owner: String, now_unix_ms: u64 },
    Write { fence: Fence, batch: Vec<Write> },
    Release { fence: Fence },
}

/// One client of a [`SimWorld`].
#[derive(Debug)]
pub struct SimCoordination {
    world: SimWorld,
    faults: VecDeque<Fault>,
    rates: FaultRates,
    random: u64,
    late: Vec<Request>,
    session_lost: bool,
    taken: BTreeSet<(SourceId, u64)>,
    watched: BTreeMap<SourceId, Seen>,
}

impl SimWorld {
    /// A client without faults.
    #[must_use]
    pub fn client(&self) -> SimCoordination {
        SimCoordination {
            world: self.clone(),
            faults: VecDeque::new(),
            rates: FaultRates::default(),
            random: 1,
            late: Vec::new(),
            session_lost: false,
            taken: BTreeSet::new(),
            watched: BTreeMap::new(),
        }
    }

    fn apply(&self, request: &Request) -> Result<State, CoordError> {
        let mut sources = lock(&self.0);
        let (source, new) = match request {
            Request::Take { source, owner, now_unix_ms } => {
                (source, State::taken(sources.get(source), owner, *now_unix_ms))
            }
            Request::Write { fence, batch } => {
                let old = sources.get(&fence.source).cloned().unwrap_or_default();
                (&fence.source, old.written(fence, batch)?)
            }
            Request::Release { fence } => {
                let old = sources.get(&fence.source).cloned().unwrap_or_default();
                (&fence.source, old.released(fence)?)
            }
        };
        sources.insert(source.clone(), new.clone());
        Ok(new)
    }
}

impl SimCoordination {
    /// Draws faults from `seed` from now on.
    #[must_use]
    pub fn with_faults(mut self, seed: u64, rates: FaultRates) -> Self {
        self.random = seed;
        self.rates = rates;
        self
    }

    /// The next call that is not a read meets `fault`; several queue up.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.push_back(fault);
    }

    /// Ends the session now.
    pub fn lose_session(&mut self) {
        self.session_lost = true;
        for (source, epoch) in std::mem::take(&mut self.taken) {
            // Fenced means that somebody else has it already: nothing to release.
            let _ = self.world.apply(&Request::Release { fence: Fence { source, epoch } });
        }
    }

    fn next_fault(&mut self) -> Option<Fault> {
        if let Some(fault) = self.faults.pop_front() {
            return Some(fault);
        }
        // SplitMix64: small, and good enough to choose faults.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.random;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut draw = (x ^ (x >> 31)) % 1000;
        let rates = self.rates;
        for (rate, fault) in [
            (rates.refused, Fault::Refused),
            (rates.request_lost, Fault::RequestLost),
            (rates.reply_lost, Fault::ReplyLost),
            (rates.late, Fault::Late),
            (rates.session_lost, Fault::SessionLost),
        ] {
            let rate = u64::from(rate);
            if draw < rate {
                return Some(fault);
            }
            draw -= rate;
        }
        None
    }

    fn land_late(&mut self) {
        for request in std::mem::take(&mut self.late) {
            // Nobody waits for the answer of a late request.
            let _ = self.world.apply(&request);
        }
    }

    fn call(&mut self, request: Request) -> Result<State, CoordError> {
        self.land_late();
        if self.session_lost {
            if !matches!(request, Request::Take { .. }) {
                return Err(session_error());
            }
            self.session_lost = false;
        }
        let unknown = || CoordError::Unknown("connection lost before the answer".into());
        match self.next_fault() {
            None => self.world.apply(&request),
            Some(Fault::Refused) => Err(CoordError::Unavailable("connection refused".into())),
            Some(Fault::RequestLost) => Err(unknown()),
            Some(Fault::ReplyLost) => self.world.apply(&request).and_then(|_| Err(unknown())),
            Some(Fault::Late) => {
                self.late.push(request);
                Err(unknown())
            }
            Some(Fault::SessionLost) => {
                self.lose_session();
                if matches!(request, Request::Take { .. }) {
                    return Err(CoordError::Unavailable("the session ended before the take".into()));
                }
                Err(session_error())
            }
        }
    }

    fn get(&mut self, source: &SourceId) -> Result<Option<State>, CoordError> {
        self.land_late();
        if self.session_lost {
            return Err(session_error());
        }
        Ok(lock(&self.world.0).get(source).cloned())
    }
}

fn session_error() -> CoordError {
    CoordError::SessionLost("it ended; take the source again".into())
}

impl Coordination for SimCoordination {
    fn take(&mut self, source: &SourceId, owner: &str, now_unix_ms: u64) -> Result<Taken, CoordError> {
        let state = self.call(Request::Take { source: source.clone(), owner: owner.to_owned(), now_unix_ms })?;
        self.taken.insert((source.clone(), state.epoch));
        Ok(state.to_taken())
    }

    fn write(&mut self, fence: &Fence, batch: &[Write]) -> Result<(), CoordError> {
        self.call(Request::Write { fence: fence.clone(), batch: batch.to_vec() }).map(|_| ())
    }

    fn read(&mut self, source: &SourceId) -> Result<Option<Snapshot>, CoordError> {
        Ok(self.get(source)?.as_ref().map(State::to_snapshot))
    }

    fn release(&mut self, fence: &Fence) -> Result<(), CoordError> {
        self.call(Request::Release { fence: fence.clone() }).map(|_| ())
    }

    fn watch(&mut self, source: &SourceId) -> Result<(), CoordError> {
        let seen = Seen::of(self.get(source)?.as_ref());
        self.watched.insert(source.clone(), seen);
        Ok(())
    }

    fn poll_changes(&mut self) -> Result<Vec<Change>, CoordError> {
        let mut now = Vec::with_capacity(self.watched.len());
        for source in self.watched.keys().cloned().collect::<Vec<_>>() {
            now.push(Seen::of(self.get(&source)?.as_ref()));
        }
        let mut changes = Vec::new();
        for ((source, seen), now) in self.watched.iter_mut().zip(now) {
            seen.changes(&now, source, &mut changes);
            *seen = now;
        }
        Ok(changes)
    }
}
