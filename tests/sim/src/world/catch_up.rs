//! Catch-ups of parked feeds: instances of their own beside the one that asked for them, in the same process.

use pipeline::io::Ownership;

use super::*;

/// What makes a process a catch-up.
pub(super) struct CatchUpOf {
    pub(super) owner: u64,
    /// Given at the first take; there is no second.
    pub(super) ownership: Option<Box<Ownership>>,
    pub(super) reason: String,
}

impl World {
    /// Processes that own or want to own the source.
    pub(super) fn owners(&self) -> usize {
        self.processes.iter().filter(|p| p.catch_up.is_none()).count()
    }

    pub(super) fn catch_up_of(&self, owner: u64) -> Option<usize> {
        self.processes.iter().position(|p| p.catch_up.as_ref().is_some_and(|c| c.owner == owner))
    }

    pub(super) fn start_catch_up(&mut self, owner: usize, feed: usize, ownership: Box<Ownership>) {
        let (owner, skew) = (self.processes[owner].id, self.processes[owner].skew_us);
        self.stats.catch_ups += 1;
        self.checker.catch_up(feed, ownership.checkpoint.as_ref());
        let of = CatchUpOf { owner, ownership: Some(ownership), reason: String::new() };
        self.start_process(vec![feed], skew, Some(of));
    }

    /// The take of a catch-up: what the owner gave it, once.
    pub(super) fn take_of_catch_up(&mut self, p: usize) {
        let Some(of) = self.processes[p].catch_up.as_mut() else { return };
        let answer = match of.ownership.take() {
            Some(ownership) => Input::Taken(ownership),
            None => Input::TakeFailed(Failure::new(FailureKind::Fenced, Cause::Conflict, "one epoch only")),
        };
        self.answer_in_order(p, answer);
    }

    /// A checkpoint of a catch-up goes to the owner, who stores it beside its own.
    pub(super) fn write_of_catch_up(
        &mut self,
        p: usize,
        checkpoint: pipeline::checkpoint::Checkpoint,
        pinned: Vec<(String, u32)>,
    ) {
        let process = &self.processes[p];
        let (feed, owner) = (process.feeds[0], process.catch_up.as_ref().map_or(0, |c| c.owner));
        let at = self.answer_in_order(p, Input::CheckpointWritten);
        let caught_up = Input::CaughtUp { feed, checkpoint: Box::new(checkpoint), pinned };
        self.schedule(at, Event::Answer(owner, caught_up));
    }

    fn answer_in_order(&mut self, p: usize, answer: Input) -> u64 {
        let wait = self.rng.range(10, 10_000);
        let process = &mut self.processes[p];
        process.coordination_at = process.coordination_at.max(self.now) + wait;
        let (id, at) = (process.id, process.coordination_at - self.now);
        self.schedule(at, Event::Answer(id, answer));
        at
    }

    pub(super) fn catch_up_finished(&mut self, process: Process) {
        let Some(of) = process.catch_up else { return };
        let feed = process.feeds[0];
        let published = process.machine.totals().records > 0;
        self.strand(&process.feeds, process.publisher);
        let after = process.coordination_at.saturating_sub(self.now) + 10;
        let ended = Input::CatchUpEnded { feed, published, reason: of.reason };
        self.schedule(after, Event::Answer(of.owner, ended));
    }

    /// It dies with its owner.
    pub(super) fn drop_catch_up(&mut self, owner: u64) {
        if let Some(p) = self.catch_up_of(owner) {
            let process = self.processes.remove(p);
            self.strand(&process.feeds, process.publisher);
        }
    }
}
