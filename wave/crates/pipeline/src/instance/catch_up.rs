//! The way back of a parked feed.
//!
//! A second instance with this feed alone publishes it from its own checkpoint, under this epoch, while the others go on.
//! What it settles moves the feed's entry. As soon as the entry has all that the durable checkpoint has, the epoch ends
//! and the next one begins with the feed among the others: it starts at that checkpoint, so nothing can be missing. The
//! entry is deleted beside the first checkpoint of that epoch.
//!
//! - One run that published per epoch: records of two runs could not be told apart by consumers, and `n` is dense.
//! - Ordinals of the two agree as long as the incarnation in which the feed was parked lasts; after that a join begins a
//!   new one, as a change of the server does.

use binlog::gtid::GtidSet;

use super::*;
use crate::table_name;

/// A catch-up under way.
pub(super) struct CatchUp {
    feed: usize,
    epoch: u64,
    told_to_end: bool,
}

impl CatchUp {
    pub(super) fn feed(&self) -> usize {
        self.feed
    }
}

/// What a feed's way back depends on.
#[derive(Debug)]
pub(crate) struct Comeback {
    /// The entry is not stored as it is.
    pub(super) unsaved: bool,
    /// The topic took what a catch-up sent, or nothing is known of it yet.
    pub(super) returns: bool,
    /// Of parks and attempts in a row.
    pauses: Backoff,
    parked_at: Duration,
    pub(super) retry_at: Duration,
    /// The epoch in which a run published.
    pub(super) spent: Option<u64>,
    /// Live again, but its entry is not deleted yet.
    pub(super) joining: Option<Stopped>,
}

impl Comeback {
    pub(super) fn new(limits: &Limits, seed: u64) -> Self {
        Comeback {
            unsaved: false,
            returns: false,
            pauses: Backoff::new(limits.catch_up_min, limits.catch_up_max, seed),
            parked_at: Duration::ZERO,
            retry_at: Duration::ZERO,
            spent: None,
            joining: None,
        }
    }

    pub(super) fn parked(&mut self, now: Now, limits: &Limits) {
        self.joining = None;
        self.unsaved = true;
        self.returns = false;
        if now.monotonic.saturating_sub(self.parked_at) > limits.catch_up_max.saturating_mul(2) {
            self.pauses.reset();
        }
        self.parked_at = now.monotonic;
        self.failed(now, limits);
    }

    fn failed(&mut self, now: Now, limits: &Limits) {
        // The others' checkpoint has to move on between two joins.
        self.retry_at = now.monotonic + self.pauses.next_pause().max(limits.checkpoint_interval.saturating_mul(2));
    }
}

impl Instance {
    /// At a take: feeds whose entry has all that the stored checkpoint has are live in this epoch.
    pub(super) fn come_back(&mut self, stored: &[(String, Stopped)], now: Now, out: &mut Output) {
        for (i, feed) in self.feeds.iter_mut().enumerate() {
            let name = &self.config.feeds[i].name;
            match stored.iter().find(|(n, _)| n == name) {
                Some((_, entry)) => {
                    let mine = feed.comeback.joining.as_ref().or(feed.parked.as_ref());
                    // What this machine knows is newer, unless another owner was here in between.
                    let newer = mine.and_then(Stopped::checkpoint).is_none_or(|mine| entry.covers(&mine));
                    if newer {
                        feed.comeback.returns |= mine.is_none();
                        feed.comeback.unsaved = false;
                        feed.comeback.joining = None;
                        feed.parked = Some(entry.clone());
                    }
                }
                None => {
                    feed.comeback.unsaved = feed.parked.is_some();
                    // Deleted beside a checkpoint that it has, though no answer told so.
                    feed.comeback.joining = None;
                }
            }
        }
        let mut renumber = false;
        for i in 0..self.feeds.len() {
            let feed = &mut self.feeds[i];
            let Some(entry) = feed.comeback.joining.take().or_else(|| feed.parked.take()) else { continue };
            let meets = self.stored.as_ref().is_some_and(|c| entry.covers(c));
            if !(meets && feed.comeback.returns) {
                feed.parked = Some(entry);
                continue;
            }
            renumber |= entry.incarnation != self.incarnation;
            feed.comeback.joining = Some(entry);
            self.dirty = true;
            let name = self.config.feeds[i].name.clone();
            let at = self.frontier.position.file_pos.clone();
            self.incident(IncidentCode::FeedRejoined, &name, format!("it goes on with the others from {at}"), out);
        }
        if renumber && !self.unwritten {
            self.new_incarnation(now);
        }
    }

    /// Begins the catch-up of the parked feed that is due first.
    pub(super) fn start_catch_up(&mut self, now: Now, out: &mut Output) {
        if self.state != State::Streaming || self.finishing || self.catch_up.is_some() || self.stored.is_none() {
            return;
        }
        let due = |f: &FeedState| f.parked.is_some() && f.comeback.retry_at <= now.monotonic;
        let parked = self.feeds.iter().enumerate().filter(|(_, f)| due(f));
        let Some((feed, entry)) = parked
            .min_by_key(|(_, f)| f.comeback.retry_at)
            .and_then(|(i, f)| Some((i, f.parked.as_ref()?.checkpoint()?)))
        else {
            return;
        };
        if self.feeds[feed].comeback.spent == Some(self.epoch) {
            let name = &self.config.feeds[feed].name;
            return self.turn(format!("feed {name} is caught up again, which takes a new epoch"), now, out);
        }
        let mut checkpoint = entry;
        let server = &self.frontier.server_uuid;
        if checkpoint.server_uuid != *server && !server.is_empty() && !checkpoint.position.gtids.is_empty() {
            // File and offset mean nothing on this server.
            checkpoint.server_uuid.clone_from(server);
            checkpoint.position.file_pos = FilePos::default();
            checkpoint.file_begun = 0;
        } else if self.frontier.position.gtids.is_empty() && !checkpoint.position.file_pos.file.is_empty() {
            // The server gives no log by GTID.
            checkpoint.position.gtids = GtidSet::default();
        }
        let quarantined =
            |((d, t), stopped): (&(String, String), &Stopped)| (table_name::encode(d, t), stopped.clone());
        let ownership = Ownership {
            epoch: self.epoch,
            incarnation: self.incarnation,
            checkpoint: Some(checkpoint),
            parked: Vec::new(),
            quarantined: self.quarantined.iter().map(quarantined).collect(),
            pinned: self.pins.all(),
        };
        self.catch_up = Some(CatchUp { feed, epoch: self.epoch, told_to_end: false });
        out.command(Command::CatchUp { feed, ownership: Box::new(ownership) });
    }

    pub(super) fn end_catch_up(&mut self, out: &mut Output) {
        if let Some(run) = self.catch_up.as_mut().filter(|run| !run.told_to_end) {
            run.told_to_end = true;
            out.command(Command::EndCatchUp);
        }
    }

    pub(super) fn caught_up(&mut self, feed: usize, checkpoint: Checkpoint, now: Now, out: &mut Output) {
        let Some(run) = self.catch_up.as_ref().filter(|run| run.feed == feed) else { return };
        let state = &mut self.feeds[feed];
        let Some(entry) = state.parked.as_mut() else { return };
        // A run of an epoch that is over may tell late what the feed, live since and parked again, has passed.
        if !entry.covers(&checkpoint) {
            *entry = Stopped::at(checkpoint, entry.incarnation, &entry.reason);
            state.comeback.unsaved = true;
            self.dirty = true;
        }
        state.comeback.returns |= !run.told_to_end;
        self.join_if_met(now, out);
    }

    /// Turns the epoch if the feed that is caught up has all that is stored.
    pub(super) fn join_if_met(&mut self, now: Now, out: &mut Output) {
        let Some(run) = &self.catch_up else { return };
        let (feed, stored) = (&self.feeds[run.feed], &self.stored);
        let entry = feed.parked.as_ref().filter(|_| feed.comeback.returns && !run.told_to_end);
        let meets = matches!((entry, stored), (Some(entry), Some(stored)) if entry.covers(stored));
        // A write under way may store a later checkpoint.
        if meets && self.state == State::Streaming && self.writing.is_none() && !self.finishing {
            let name = &self.config.feeds[run.feed].name;
            self.turn(format!("feed {name} has caught up and joins the others"), now, out);
        }
    }

    pub(super) fn catch_up_ended(&mut self, feed: usize, published: bool, reason: &str, now: Now, out: &mut Output) {
        let Some(run) = self.catch_up.take_if(|run| run.feed == feed) else { return };
        let state = &mut self.feeds[feed];
        if published {
            state.comeback.spent = Some(run.epoch);
        }
        let Some(entry) = state.parked.as_mut().filter(|_| !run.told_to_end) else { return };
        // What it was parked for may be mended by now.
        reason.clone_into(&mut entry.reason);
        state.comeback.unsaved = true;
        self.dirty = true;
        state.comeback.failed(now, &self.config.limits);
        let name = self.config.feeds[feed].name.clone();
        self.incident(IncidentCode::FeedFailing, &name, format!("it stays parked: {reason}"), out);
    }

    /// A new epoch because one is wanted, not because something failed.
    fn turn(&mut self, reason: String, now: Now, out: &mut Output) {
        let epochs = self.epochs.clone();
        self.leave_epoch(IncidentCode::EpochTurned, reason, now, out);
        self.epochs = epochs;
        self.retry_at = now.monotonic;
    }

    /// Feeds that were parked before the start was known begin there.
    pub(crate) fn parks_begin_here(&mut self) {
        for i in 0..self.feeds.len() {
            let unknown = self.feeds[i].parked.as_ref().filter(|entry| entry.checkpoint().is_none());
            if let Some(reason) = unknown.map(|entry| entry.reason.clone()) {
                self.feeds[i].parked = Some(self.stopped_here(&reason));
                self.feeds[i].comeback.unsaved = true;
            }
        }
    }

    /// The executed set that becomes known where reading began is that of the feeds that stopped there.
    pub(crate) fn parks_learn(&mut self) {
        let position = &self.frontier.position;
        for feed in &mut self.feeds {
            let Some(entry) = feed.parked.as_mut() else { continue };
            let here = (&entry.file, entry.pos) == (&position.file_pos.file, position.file_pos.pos);
            if here && entry.gtid_set.is_empty() {
                entry.gtid_set = position.gtids.to_string();
                feed.comeback.unsaved = true;
            }
        }
    }
}
