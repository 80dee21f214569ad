//! The instance: one source, its feeds, and everything between log events and checkpoints, as one sans-IO machine.
//!
//! Inputs are event batches, delivery reports, coordination replies and ticks ([`Input`]); outputs are records to send,
//! commands and incidents ([`Output`]). No clock, thread or socket: the wave, the embedded mode, the simulation and the
//! tests drive this same type.
//!
//! Invariants (see `delivery.md` of the design):
//! - a checkpoint is the end of the longest prefix of transactions whose every record is settled;
//! - nothing is published before the event that commits it is read;
//! - a record whose outcome is unknown ends the epoch; the next one starts at the checkpoint. Nothing is resent alone;
//! - a table that cannot be decoded is quarantined, a feed whose topic refuses is parked; both stand beside the first
//!   checkpoint that passes them.

mod catch_up;
mod epoch;
mod pins;
mod settings;
mod stops;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use binlog::position::{FilePos, Position};
use binlog::schema::TableDefinition;

use crate::assembly::{OpenTransaction, Prepared};
use crate::backoff::Backoff;
use crate::checkpoint::{Checkpoint, OpenXa, Stopped};
use crate::io::{
    Batch, Cause, CheckpointWrite, Command, Ended, Failure, FailureKind, Incident, IncidentCode, Input, Now, OpenTopic,
    Outcome, Output, Ownership, Resolved, Server, Skip, Start,
};
use crate::ledger::{Ledger, Token};
use crate::lifecycle::{self, Event, State};
use crate::progress::End;
use crate::publishing::{Pending, Publishing};
use crate::reading::LogFile;
use crate::route::Route;
use crate::spill::SpillStore;

use catch_up::{CatchUp, Comeback};
use pins::Pins;
pub use settings::{AsStatements, InstanceConfig, Limits, Totals};

/// How long a catch-up may drain when its epoch is over.
const CATCH_UP_DRAIN: Duration = Duration::from_secs(2);

/// Answer of [`Instance::work`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The output is full, or enough was done for one call: send it and call again.
    More,
    /// Nothing to do until the next input; a batch is wanted.
    Idle,
    /// Waits for settlements or a table definition; no batch is wanted.
    Blocked,
}

#[derive(Debug)]
pub(crate) struct FeedState {
    pub topic: OpenTopic,
    /// Next value of the dense counter, per partition.
    pub counters: Vec<u64>,
    pub pending: Vec<Option<Pending>>,
    pub parked: Option<Stopped>,
    /// It hung until nothing more could be read; cleared when it settles a record.
    pub suspect: bool,
    /// Refusal reported in this epoch.
    pub refused: Option<String>,
    pub comeback: Comeback,
}

/// A write under way: the checkpoint, and the parks and quarantines beside it.
struct Writing {
    checkpoint: Checkpoint,
    /// Feeds.
    park: Vec<usize>,
    unpark: Vec<usize>,
    quarantine: Vec<(String, Stopped)>,
    /// Tables, as their entries name them.
    release: Vec<String>,
    pin: Vec<(String, u32)>,
}

pub(crate) enum TableState {
    Wanted(Arc<Route>),
    Unwanted(Vec<u8>),
    Quarantined(Vec<u8>),
}

/// See the module.
pub struct Instance {
    pub(crate) config: InstanceConfig,
    pub(crate) spills: Box<dyn SpillStore>,
    pub(crate) state: State,
    pub(crate) epoch: u64,
    pub(crate) incarnation: u64,
    pub(crate) source_id: u64,
    // reading
    pub(crate) server: Server,
    pub(crate) stream: Arc<binlog::event::StreamState>,
    /// What is read is a replica's relay log.
    pub(crate) relayed: bool,
    pub(crate) read: Position,
    /// The set of `read` has all that was executed up to there.
    pub(crate) gtids_known: bool,
    /// The server gives no log by GTID set.
    pub(crate) by_file: bool,
    /// End of the last whole transaction read; a lost connection goes on from here when there are no GTIDs.
    pub(crate) boundary: FilePos,
    pub(crate) skip: Option<Skip>,
    pub(crate) batch: Option<(Batch, usize)>,
    pub(crate) spent: Option<Batch>,
    /// Name of the file being read, shared by its transactions.
    pub(crate) file: Arc<str>,
    /// Offset where the event being handled starts.
    pub(crate) event_start: u64,
    pub(crate) log: LogFile,
    /// Definitions in a row that did not fit a table map.
    pub(crate) mismatches: u32,
    pub(crate) tables: HashMap<u64, TableState>,
    /// Each with the position that it was asked for.
    pub(crate) definitions: HashMap<(String, String), (Arc<TableDefinition>, FilePos)>,
    pub(crate) waiting_table: Option<((String, String), FilePos)>,
    /// Statements that the schema history may not have yet: a checkpoint behind one of them would hide it for good.
    pub(crate) schema_unstored: u32,
    pub(crate) quarantined: HashMap<(String, String), Stopped>,
    /// Stored quarantines that lie beyond the checkpoint: their positions are read again.
    beyond: Vec<(String, Stopped)>,
    /// Tables that cannot be read in the stretch that is skipped to reach the wanted start, and why.
    pub(crate) unreadable: HashMap<(String, String), String>,
    pub(crate) open: Option<OpenTransaction>,
    pub(crate) prepared: Prepared,
    // publishing
    pub(crate) publishing: Option<Box<Publishing>>,
    /// Buffer for rows of compressed events.
    pub(crate) uncompressed: Vec<u8>,
    pub(crate) feeds: Vec<FeedState>,
    pins: Pins,
    pub(crate) seq: u64,
    pub(crate) rows_left: Option<u64>,
    pub(crate) finishing: bool,
    // progress
    /// Of the last call.
    pub(crate) now: Duration,
    pub(crate) ledger: Ledger<End>,
    /// Ticks in a row at which a record was out for too long.
    overdue: u32,
    pub(crate) frontier: Checkpoint,
    pub(crate) has_checkpoint: bool,
    pub(crate) dirty: bool,
    /// Start, incarnation or a count of partitions are new: nothing is read before they are stored.
    unwritten: bool,
    writing: Option<Writing>,
    /// The checkpoint that is durable.
    stored: Option<Checkpoint>,
    /// Of a parked feed, under way.
    catch_up: Option<CatchUp>,
    /// The server changed: the next epoch begins a new incarnation on this one.
    switch_to: Option<String>,
    last_write: Duration,
    pub(crate) to_quarantine: Vec<(String, Stopped)>,
    // failures
    /// Of connections that were not made, or brought nothing.
    connecting: Backoff,
    /// When the present connection was made, and the boundary then.
    connected_at: Option<(Duration, FilePos)>,
    /// Of epochs that ended without anything new settled.
    epochs: Backoff,
    /// The furthest transaction ever settled by this machine.
    furthest: u64,
    retry_at: Duration,
    last_progress: Duration,
    pub(crate) failure: Option<Failure>,
    ended_told: bool,
    /// Time of the last transaction read, microseconds since the Unix epoch.
    pub(crate) last_event_us: u64,
    pub(crate) totals: Totals,
    /// By the table that they name, or the database where they name none.
    pub(crate) statements: BTreeMap<String, AsStatements>,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("source", &self.config.source)
            .field("state", &self.state)
            .field("epoch", &self.epoch)
            .field("read", &self.read.file_pos)
            .finish_non_exhaustive()
    }
}

impl Instance {
    #[must_use]
    pub fn new(config: InstanceConfig, spills: Box<dyn SpillStore>) -> Self {
        let source_id = proto::header::source_id(&config.source);
        let limits = &config.limits;
        let backoff = |seed| Backoff::new(limits.backoff_min, limits.backoff_max, source_id ^ seed);
        let (connecting, epochs) = (backoff(0), backoff(1));
        let feeds = (2..)
            .zip(&config.feeds)
            .map(|(seed, _)| FeedState {
                topic: OpenTopic { partitions: 1, ..OpenTopic::default() },
                counters: Vec::new(),
                pending: Vec::new(),
                parked: None,
                suspect: false,
                refused: None,
                comeback: Comeback::new(limits, source_id ^ seed),
            })
            .collect();
        Instance {
            source_id,
            rows_left: config.limit,
            now: Duration::ZERO,
            ledger: Ledger::new(config.feeds.len()),
            overdue: 0,
            config,
            spills,
            state: State::Idle,
            epoch: 0,
            incarnation: 0,
            server: Server::default(),
            stream: Arc::default(),
            relayed: false,
            read: Position::default(),
            gtids_known: false,
            by_file: false,
            boundary: FilePos::default(),
            skip: None,
            batch: None,
            spent: None,
            file: Arc::from(""),
            event_start: 0,
            log: LogFile::default(),
            mismatches: 0,
            tables: HashMap::new(),
            definitions: HashMap::new(),
            waiting_table: None,
            schema_unstored: 0,
            quarantined: HashMap::new(),
            beyond: Vec::new(),
            unreadable: HashMap::new(),
            open: None,
            prepared: Prepared::new(),
            publishing: None,
            uncompressed: Vec::new(),
            feeds,
            pins: Pins::default(),
            seq: 0,
            finishing: false,
            frontier: Checkpoint::default(),
            has_checkpoint: false,
            dirty: false,
            unwritten: false,
            writing: None,
            stored: None,
            catch_up: None,
            switch_to: None,
            last_write: Duration::ZERO,
            to_quarantine: Vec::new(),
            connecting,
            connected_at: None,
            epochs,
            furthest: 0,
            retry_at: Duration::ZERO,
            last_progress: Duration::ZERO,
            failure: None,
            ended_told: false,
            last_event_us: 0,
            totals: Totals::default(),
            statements: BTreeMap::new(),
        }
    }

    /// Takes one input; outputs are appended to `out`.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Output) {
        self.now = now.monotonic;
        match input {
            Input::Start => {
                if self.go(Event::Start) {
                    out.command(Command::Take);
                }
            }
            Input::Taken(ownership) => self.taken(*ownership, now, out),
            Input::TakeFailed(failure)
            | Input::OpenFailed(failure)
            | Input::StartFailed(failure)
            | Input::SchemaStored(Err(failure)) => self.failed(failure, now, out),
            Input::Opened(topics) => self.opened(topics, now, out),
            Input::StartResolved(resolved) => self.start_resolved(*resolved, now, out),
            Input::Connected(server) => self.connected(server, now, out),
            Input::Disconnected(failure) => self.disconnected(failure, now, out),
            Input::Events(batch) => {
                if self.state == State::Streaming && !batch.events.is_empty() {
                    debug_assert!(self.batch.is_none(), "a batch is given only when one is wanted");
                    self.batch = Some((batch, 0));
                }
            }
            Input::Report { token, outcome } => self.report(token, outcome, now, out),
            Input::CheckpointWritten => {
                self.written(now, out);
                self.unwritten = false;
                if self.state == State::Draining {
                    self.last_progress = now.monotonic;
                }
                self.totals.checkpoints += 1;
                self.tick(now, out);
            }
            Input::CheckpointFailed(failure) => self.checkpoint_failed(failure, now, out),
            Input::CaughtUp { feed, checkpoint, pinned } => {
                self.pins.learn(pinned);
                self.caught_up(feed, *checkpoint, now, out);
            }
            Input::CatchUpEnded { feed, published, reason } => self.catch_up_ended(feed, published, &reason, now, out),
            Input::TableLoaded { database, table, at, result } => {
                self.table_loaded((database, table), at, result, now, out);
            }
            Input::SchemaStored(Ok(())) => self.schema_unstored = self.schema_unstored.saturating_sub(1),
            Input::FileAnswered { file, begun } => self.file_answered(&file, begun, now, out),
            Input::Tick => self.tick(now, out),
            Input::Stop => self.stop(now, out),
            Input::EndOfInput => self.end_of_input(now, out),
        }
    }

    fn go(&mut self, event: Event) -> bool {
        match lifecycle::next(self.state, event) {
            Some(state) => {
                self.state = state;
                true
            }
            None => false,
        }
    }

    fn report(&mut self, token: Token, outcome: Outcome, now: Now, out: &mut Output) {
        match outcome {
            Outcome::Settled => {
                if let Some(feed) = self.ledger.feed_of(token) {
                    self.feeds[usize::from(feed)].suspect = false;
                }
                if self.ledger.settle(token, now.monotonic) {
                    self.last_progress = now.monotonic;
                    self.advance();
                }
            }
            Outcome::Feed(reason) => {
                let Some(feed) = self.ledger.feed_of(token).map(usize::from) else { return };
                self.feeds[feed].refused = Some(reason.clone());
                if self.may_park(feed) {
                    self.park(feed, &reason, now, out);
                } else {
                    let name = self.config.feeds[feed].name.clone();
                    self.incident(IncidentCode::FeedFailing, &name, reason.clone(), out);
                }
                self.end_epoch(reason, now, out);
            }
            Outcome::TooLarge(reason) => self.refused_again(token, Cause::Data, reason, now, out),
            Outcome::Denied(reason) => self.refused_again(token, Cause::Denied, reason, now, out),
            Outcome::Unknown(reason) => {
                if self.ledger.feed_of(token).is_some() {
                    self.end_epoch(reason, now, out);
                }
            }
        }
        if self.state == State::Draining {
            self.tick(now, out);
        }
    }

    /// What a topic refuses until somebody changes something: its feed is parked, or the instance ends where there is
    /// nobody else to protect, since trying again would only write what comes before it again.
    fn refused_again(&mut self, token: Token, cause: Cause, reason: String, now: Now, out: &mut Output) {
        let Some(feed) = self.ledger.feed_of(token).map(usize::from) else { return };
        if self.may_park(feed) {
            self.feeds[feed].refused = Some(reason.clone());
            self.park(feed, &reason, now, out);
            self.end_epoch(reason, now, out);
        } else {
            self.failed(Failure::new(FailureKind::Permanent, cause, reason), now, out);
        }
    }

    /// All that was read up to the open transaction is settled, and nothing is passed over to reach the start.
    pub(crate) fn nothing_out(&self) -> bool {
        self.publishing.is_none() && self.ledger.is_empty() && self.skip.is_none()
    }

    pub(crate) fn advance(&mut self) {
        while let Some(end) = self.ledger.pop_settled() {
            self.frontier.apply(end);
            self.dirty = true;
        }
        if self.frontier.seq > self.furthest {
            self.furthest = self.frontier.seq;
            self.epochs.reset();
        }
    }

    fn checkpoint_failed(&mut self, failure: Failure, now: Now, out: &mut Output) {
        self.restore_stops();
        self.incident(IncidentCode::CheckpointFailed, "", failure.message.clone(), out);
        match failure.kind {
            FailureKind::Transient => self.dirty = true,
            _ => self.failed(failure, now, out),
        }
    }

    pub(crate) fn incident(&self, code: IncidentCode, subject: &str, message: String, out: &mut Output) {
        let at = self.read.file_pos.clone();
        out.command(Command::Incident(Incident { code, subject: subject.to_string(), message, at }));
    }

    fn stop(&mut self, now: Now, out: &mut Output) {
        if !self.go(Event::StopAsked) {
            return;
        }
        self.reset_reading();
        self.end_catch_up(out);
        if self.state == State::Ended {
            self.tell_end(out);
            return;
        }
        out.command(Command::Disconnect);
        self.last_progress = now.monotonic;
        self.tick(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Output) {
        if self.state == State::BackingOff && now.monotonic >= self.retry_at && self.go(Event::BackoffOver) {
            out.command(Command::Take);
        }
        if self.finishing && matches!(self.state, State::Streaming | State::Connecting) && self.batch.is_none() {
            self.stop(now, out);
        }
        self.park_stalled(now, out);
        self.tell_silence(now, out);
        self.start_catch_up(now, out);
        self.write_checkpoint(now, out);
        if self.state == State::Draining
            && self.publishing.is_none()
            && self.ledger.is_empty()
            && !(self.dirty && self.started())
            && self.writing.is_none()
            && self.go(Event::Drained)
        {
            self.tell_end(out);
        }
        // A topic or a coordination that does not answer must not keep an instance from ending.
        let limits = &self.config.limits;
        let after = if self.config.catch_up { limits.park_after.min(CATCH_UP_DRAIN) } else { limits.park_after };
        if self.state == State::Draining && now.monotonic.saturating_sub(self.last_progress) >= after {
            let reason = format!("stopped with unsettled records: nothing was acknowledged for {} s", after.as_secs());
            self.end_epoch(reason, now, out);
        }
    }

    /// Before the wanted start is reached there is nothing worth keeping: it is found again the same way.
    fn started(&self) -> bool {
        self.has_checkpoint || self.skip.is_none()
    }

    /// What is unsettled is at its bound: reading waits.
    pub(crate) fn full(&self) -> bool {
        let since = self.ledger.oldest().map_or(self.now, |oldest| oldest.max(self.last_progress));
        let limits = &self.config.limits;
        self.ledger.in_flight_bytes() >= limits.in_flight(self.now.saturating_sub(since))
            || self.ledger.len() >= limits.ledger
    }

    fn write_checkpoint(&mut self, now: Now, out: &mut Output) {
        let owns = matches!(self.state, State::Connecting | State::Streaming | State::Draining);
        let due = self.state == State::Draining
            || self.unwritten
            || !self.has_checkpoint
            || now.monotonic.saturating_sub(self.last_write) >= self.config.limits.checkpoint_interval;
        if !owns || !self.dirty || !self.started() || self.writing.is_some() || self.schema_unstored > 0 || !due {
            return;
        }
        self.dirty = false;
        self.has_checkpoint = true;
        self.last_write = now.monotonic;
        let writing = self.stops_to_write();
        out.command(Command::WriteCheckpoint(Box::new(CheckpointWrite {
            epoch: self.epoch,
            incarnation: self.incarnation,
            checkpoint: writing.checkpoint.clone(),
            park: writing.park.iter().filter_map(|i| self.stop_of(*i)).collect(),
            unpark: writing.unpark.iter().map(|i| self.config.feeds[*i].name.clone()).collect(),
            quarantine: writing.quarantine.clone(),
            release: writing.release.clone(),
            pin: writing.pin.clone(),
        })));
        self.writing = Some(writing);
    }

    fn tell_end(&mut self, out: &mut Output) {
        if !self.ended_told {
            self.ended_told = true;
            out.command(Command::Finished(self.failure.clone().map_or(Ended::Done, Ended::Failed)));
        }
    }

    /// True when the machine can take a batch now.
    #[must_use]
    pub fn wants_batch(&self) -> bool {
        self.state == State::Streaming
            && !self.unwritten
            && self.batch.is_none()
            && self.publishing.is_none()
            && !self.full()
    }
}
