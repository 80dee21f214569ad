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

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use binlog::position::{FilePos, Position};
use binlog::schema::TableDefinition;

use crate::assembly::{OpenTransaction, Prepared};
use crate::checkpoint::Stopped;
use crate::feed::FeedSpec;
use crate::io::{
    Batch, Cause, Command, Ended, Failure, FailureKind, Incident, IncidentCode, Input, Now, OpenTopic, Outcome, Output,
    Ownership, Server, Skip, Start, Until,
};
use crate::ledger::{Ledger, Token};
use crate::lifecycle::{self, Event, State};
use crate::progress::{End, Frontier};
use crate::publishing::{Pending, Publishing};
use crate::route::Route;
use crate::spill::SpillStore;

/// Bounds and intervals of an instance.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes handed to the publisher and not settled; beyond, reading stops.
    pub in_flight_bytes: u64,
    /// Bytes of output after which [`Instance::work`] returns to let the driver send.
    pub output_bytes: usize,
    /// Transactions waiting for settlement.
    pub ledger: usize,
    pub checkpoint_interval: Duration,
    /// A feed without progress for this long while others progress is parked.
    pub park_after: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // Below what every publisher's own queue takes: a topic that hangs must not fill the queue for all.
            in_flight_bytes: 24 << 20,
            output_bytes: 1 << 20,
            ledger: 1 << 20,
            checkpoint_interval: Duration::from_millis(500),
            park_after: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// What an instance is to do.
#[derive(Clone, Debug)]
pub struct InstanceConfig {
    pub source: String,
    pub feeds: Vec<FeedSpec>,
    pub limits: Limits,
    /// Write the `bl` header on every record.
    pub headers: bool,
    pub until: Option<Until>,
    /// Rows to publish before ending.
    pub limit: Option<u64>,
    /// Ask for definitions of tables whose TABLE_MAP has no names; otherwise columns are `@1`….
    pub definitions: bool,
}

/// Running totals, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub bytes: u64,
    pub events: u64,
    pub transactions: u64,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    /// Rows events of tables that no feed wants.
    pub skipped_events: u64,
    pub records: u64,
    pub record_bytes: u64,
    pub unknown_events: u64,
    pub checkpoints: u64,
    pub reconnects: u64,
    pub epochs: u64,
}

impl Totals {
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

/// Answer of [`Instance::work`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The output is full; send it and call again.
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
}

/// Parks and quarantines on their way beside a checkpoint, by name.
#[derive(Clone, Debug, Default)]
struct Stops {
    park: Vec<(String, Stopped)>,
    quarantine: Vec<(String, Stopped)>,
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
    pub(crate) read: Position,
    /// End of the last whole transaction read; a lost connection goes on from here when there are no GTIDs.
    pub(crate) boundary: FilePos,
    pub(crate) skip: Option<Skip>,
    pub(crate) batch: Option<(Batch, usize)>,
    pub(crate) spent: Option<Batch>,
    /// Name of the file being read, shared by its transactions.
    pub(crate) file: Arc<str>,
    /// Offset where the event being handled starts.
    pub(crate) event_start: u64,
    /// Definitions in a row that did not fit a table map.
    pub(crate) mismatches: u32,
    pub(crate) tables: HashMap<u64, TableState>,
    /// Each with the position that it was asked for.
    pub(crate) definitions: HashMap<(String, String), (Arc<TableDefinition>, FilePos)>,
    pub(crate) waiting_table: Option<((String, String), FilePos)>,
    pub(crate) quarantined: HashMap<(String, String), Stopped>,
    /// Tables that cannot be read in the stretch that is skipped to reach the wanted start, and why.
    pub(crate) unreadable: HashMap<(String, String), String>,
    pub(crate) open: Option<OpenTransaction>,
    pub(crate) prepared: Prepared,
    // publishing
    pub(crate) publishing: Option<Box<Publishing>>,
    /// Buffer for rows of compressed events.
    pub(crate) uncompressed: Vec<u8>,
    pub(crate) feeds: Vec<FeedState>,
    pub(crate) seq: u64,
    pub(crate) rows_left: Option<u64>,
    pub(crate) finishing: bool,
    // progress
    pub(crate) ledger: Ledger<End>,
    pub(crate) frontier: Frontier,
    has_checkpoint: bool,
    dirty: bool,
    /// Start or incarnation are new: nothing is read before they are stored.
    unwritten: bool,
    /// Parks and quarantines that stand in the write under way.
    writing: Option<Stops>,
    /// The server changed: the next epoch begins a new incarnation on this one.
    switch_to: Option<String>,
    last_write: Duration,
    to_park: Vec<(String, Stopped)>,
    pub(crate) to_quarantine: Vec<(String, Stopped)>,
    // failures
    /// Connections in a row that were not made.
    connect_failures: u32,
    /// Epochs in a row that ended without anything new settled.
    epoch_failures: u32,
    /// The furthest transaction ever settled by this machine.
    furthest: u64,
    retry_at: Duration,
    last_progress: Duration,
    pub(crate) failure: Option<Failure>,
    ended_told: bool,
    /// Time of the last transaction read, microseconds since the Unix epoch.
    pub(crate) last_event_us: u64,
    pub(crate) totals: Totals,
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
        let feeds = config
            .feeds
            .iter()
            .map(|_| FeedState {
                topic: OpenTopic { topic: 0, partitions: 1 },
                counters: Vec::new(),
                pending: Vec::new(),
                parked: None,
                suspect: false,
                refused: None,
            })
            .collect();
        Instance {
            source_id: proto::header::source_id(&config.source),
            rows_left: config.limit,
            ledger: Ledger::new(config.feeds.len()),
            config,
            spills,
            state: State::Idle,
            epoch: 0,
            incarnation: 0,
            server: Server::default(),
            stream: Arc::default(),
            read: Position::default(),
            boundary: FilePos::default(),
            skip: None,
            batch: None,
            spent: None,
            file: Arc::from(""),
            event_start: 0,
            mismatches: 0,
            tables: HashMap::new(),
            definitions: HashMap::new(),
            waiting_table: None,
            quarantined: HashMap::new(),
            unreadable: HashMap::new(),
            open: None,
            prepared: Prepared::new(),
            publishing: None,
            uncompressed: Vec::new(),
            feeds,
            seq: 0,
            finishing: false,
            frontier: Frontier::default(),
            has_checkpoint: false,
            dirty: false,
            unwritten: false,
            writing: None,
            switch_to: None,
            last_write: Duration::ZERO,
            to_park: Vec::new(),
            to_quarantine: Vec::new(),
            connect_failures: 0,
            epoch_failures: 0,
            furthest: 0,
            retry_at: Duration::ZERO,
            last_progress: Duration::ZERO,
            failure: None,
            ended_told: false,
            last_event_us: 0,
            totals: Totals::default(),
        }
    }

    /// Takes one input; outputs are appended to `out`.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Output) {
        match input {
            Input::Start => {
                if self.go(Event::Start) {
                    out.command(Command::Take);
                }
            }
            Input::Taken(ownership) => self.taken(*ownership, now, out),
            Input::TakeFailed(failure) | Input::StartFailed(failure) => self.failed(failure, now, out),
            Input::Opened(topics) => self.opened(&topics, now, out),
            Input::OpenFailed { feed, failure } => self.open_failed(feed, failure, now, out),
            Input::StartResolved(start) => self.start_resolved(*start, now, out),
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
                self.writing = None;
                self.unwritten = false;
                if self.state == State::Draining {
                    self.last_progress = now.monotonic;
                }
                self.totals.checkpoints += 1;
                self.tick(now, out);
            }
            Input::CheckpointFailed(failure) => self.checkpoint_failed(failure, now, out),
            Input::TableLoaded { database, table, result } => self.table_loaded(database, table, result, out),
            Input::Tick => self.tick(now, out),
            Input::Stop => self.stop(now, out),
            Input::EndOfInput => {
                self.cut_off(out);
                self.finishing = true;
                self.tick(now, out);
            }
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

    fn taken(&mut self, ownership: Ownership, now: Now, out: &mut Output) {
        if !self.go(Event::Taken) {
            return;
        }
        self.epoch = ownership.epoch;
        self.incarnation = ownership.incarnation;
        self.totals.epochs += 1;
        self.has_checkpoint = ownership.checkpoint.is_some();
        self.frontier = ownership.checkpoint.map_or_else(Frontier::default, Frontier::from);
        self.seq = self.frontier.seq;
        self.restore_stops();
        self.unwritten = false;
        if let Some(uuid) = self.switch_to.take() {
            // File and offset mean nothing on the new server; the first transaction read sets them anew.
            self.frontier.server_uuid = uuid;
            self.frontier.position.file_pos = FilePos::default();
            self.incarnation = (self.incarnation + 1).max(now.unix_us / 1000);
            // Were it published before it is stored, the next owner might go on below it and be dropped by consumers.
            self.unwritten = true;
            self.dirty = true;
        }
        for (name, stopped) in ownership.parked.into_iter().chain(self.to_park.iter().cloned()) {
            if let Some(i) = self.config.feeds.iter().position(|f| f.name == name) {
                self.feeds[i].parked = Some(stopped);
            }
        }
        // A quarantine that lies beyond the checkpoint is found again when its position is read again; until then the
        // table's rows are wanted.
        self.quarantined.clear();
        self.unreadable.clear();
        for (name, stopped) in ownership.quarantined {
            if let Some(table) = table_of(&name)
                && stopped.seq < self.frontier.seq
            {
                self.quarantined.insert(table, stopped);
            }
        }
        self.to_quarantine.clear();
        out.command(Command::Open { epoch: self.epoch });
    }

    fn opened(&mut self, topics: &[OpenTopic], now: Now, out: &mut Output) {
        let event = if self.has_checkpoint { Event::OpenedWithCheckpoint } else { Event::OpenedWithout };
        if !self.go(event) {
            return;
        }
        for (feed, topic) in self.feeds.iter_mut().zip(topics) {
            feed.topic = *topic;
            feed.counters = vec![0; topic.partitions as usize];
            feed.pending = (0..topic.partitions).map(|_| None).collect();
            feed.refused = None;
        }
        self.last_progress = now.monotonic;
        if !self.has_checkpoint {
            out.command(Command::ResolveStart);
            return;
        }
        let start = self.start_from_frontier();
        self.begin_reading(start, Duration::ZERO, out);
    }

    /// Where a new epoch reads: the frontier, or before it where prepared XA transactions have to be read again and the
    /// server cannot be told to leave out the rest.
    fn start_from_frontier(&self) -> Start {
        let position = self.frontier.position.clone();
        let by_set = matches!(&position.gtids, binlog::gtid::GtidSet::MySql(s) if !s.is_empty());
        let earliest = self.frontier.open_xa.iter().map(|x| FilePos { file: x.file.clone(), pos: x.pos }).min();
        match earliest {
            Some(first) if !by_set && first < position.file_pos => Start {
                skip: Some(Skip::UntilPosition(position.file_pos)),
                position: Position { file_pos: first, gtids: binlog::gtid::GtidSet::default() },
            },
            _ => Start { position, skip: None },
        }
    }

    fn start_resolved(&mut self, start: Start, now: Now, out: &mut Output) {
        if !self.go(Event::Resolved) {
            return;
        }
        self.frontier.position = start.position.clone();
        // The start is durable before the first row: a crash must not move it. One that is reached by skipping is found
        // again the same way.
        self.unwritten = start.skip.is_none();
        self.dirty = true;
        self.begin_reading(start, Duration::ZERO, out);
        self.tick(now, out);
    }

    fn begin_reading(&mut self, start: Start, after: Duration, out: &mut Output) {
        self.read = start.position.clone();
        self.boundary.clone_from(&self.read.file_pos);
        if start.skip.is_some() && self.has_checkpoint {
            // Re-read for prepared XA only: the executed set is known.
            self.read.gtids = self.frontier.position.gtids.clone();
        }
        self.skip = start.skip.clone();
        self.reset_reading();
        out.command(Command::Connect { from: start, after });
    }

    /// Forgets what belongs to one connection.
    fn reset_reading(&mut self) {
        self.stream = Arc::default();
        self.batch = None;
        self.tables.clear();
        self.waiting_table = None;
        self.open = None;
    }

    fn connected(&mut self, server: Server, now: Now, out: &mut Output) {
        if !self.go(Event::Connected) {
            return;
        }
        let known = self.frontier.server_uuid.clone();
        if !known.is_empty() && known != server.uuid && !server.uuid.is_empty() {
            self.incident(
                IncidentCode::ServerChanged,
                "",
                format!("the server is now {}, it was {known}", server.uuid),
                out,
            );
            if self.frontier.position.gtids.is_empty() {
                let message = format!(
                    "the server {} is not the one that was read ({known}), and there is no GTID set to find the position \
                     on it; point the source back or rewind it explicitly",
                    server.uuid
                );
                self.failed(Failure::new(FailureKind::Permanent, Cause::Conflict, message), now, out);
            } else {
                // Another server may have another commit order: what is unsettled is read again from the checkpoint,
                // as a new incarnation, so that no consumer compares ordinals across the switch.
                self.switch_to = Some(server.uuid);
                self.end_epoch("reading goes on by GTID on another server".to_string(), now, out);
            }
            return;
        }
        if known != server.uuid {
            self.frontier.server_uuid.clone_from(&server.uuid);
            self.dirty = true;
        }
        self.server = server;
        self.connect_failures = 0;
    }

    fn disconnected(&mut self, failure: Failure, now: Now, out: &mut Output) {
        match failure.kind {
            FailureKind::Transient => {
                if !self.go(Event::Disconnected) {
                    return;
                }
                self.incident(IncidentCode::SourceDisconnected, "", failure.message, out);
                self.totals.reconnects += 1;
                let after = self.backoff(self.connect_failures);
                self.connect_failures = self.connect_failures.saturating_add(1);
                // The part of a transaction that was read is forgotten: all of it has to come again.
                self.read.file_pos.clone_from(&self.boundary);
                let mut resume = Start { position: self.read.clone(), skip: self.skip.clone() };
                if self.skip.is_some() && self.has_checkpoint {
                    // Still before the frontier, on the way to prepared XA transactions: a GTID would jump over them.
                    resume.position.gtids = binlog::gtid::GtidSet::default();
                }
                self.reset_reading();
                out.command(Command::Connect { from: resume, after });
            }
            _ => self.failed(failure, now, out),
        }
    }

    /// Exponential, from the minimum to the maximum.
    fn backoff(&self, failures: u32) -> Duration {
        let limits = &self.config.limits;
        limits.backoff_min.saturating_mul(1 << failures.min(16)).min(limits.backoff_max)
    }

    fn failed(&mut self, failure: Failure, now: Now, out: &mut Output) {
        match failure.kind {
            FailureKind::Transient => self.end_epoch(failure.message, now, out),
            FailureKind::Permanent | FailureKind::Fenced => {
                if self.go(Event::Fatal) {
                    self.incident(IncidentCode::SourceFailed, "", failure.message.clone(), out);
                    self.failure = Some(failure);
                    self.drop_unsettled(out);
                    out.command(Command::Disconnect);
                    self.tell_end(out);
                }
            }
        }
    }

    fn open_failed(&mut self, feed: Option<usize>, failure: Failure, now: Now, out: &mut Output) {
        if let (Some(i), FailureKind::Permanent) = (feed, failure.kind)
            && self.may_park(i)
        {
            self.park(i, &failure.message, out);
            self.end_epoch(failure.message, now, out);
            return;
        }
        self.failed(failure, now, out);
    }

    /// Whether other feeds would go on without this one: with nobody else to protect, the instance rather waits.
    fn may_park(&self, feed: usize) -> bool {
        self.feeds.iter().enumerate().any(|(i, f)| i != feed && f.parked.is_none() && f.refused.is_none())
    }

    fn park(&mut self, feed: usize, reason: &str, out: &mut Output) {
        let name = self.config.feeds[feed].name.clone();
        let stopped = self.frontier.stopped(reason);
        self.incident(
            IncidentCode::FeedParked,
            &name,
            format!("parked at {}:{}: {reason}", stopped.file, stopped.pos),
            out,
        );
        self.feeds[feed].parked = Some(stopped.clone());
        self.to_park.push((name, stopped));
        self.dirty = true;
    }

    /// A record's outcome is unknown, or a dependency failed: everything unsettled is read again in a new epoch.
    pub(crate) fn end_epoch(&mut self, reason: String, now: Now, out: &mut Output) {
        if !self.go(Event::EpochLost) {
            return;
        }
        self.incident(IncidentCode::EpochEnded, "", reason, out);
        self.drop_unsettled(out);
        out.command(Command::Disconnect);
        if self.state == State::Ended {
            self.tell_end(out);
            return;
        }
        self.retry_at = now.monotonic + self.backoff(self.epoch_failures);
        self.epoch_failures = self.epoch_failures.saturating_add(1);
    }

    fn drop_unsettled(&mut self, out: &mut Output) {
        out.clear_sends();
        self.reset_reading();
        // The next epoch may begin before a change of a definition that was read behind it.
        self.definitions.clear();
        self.prepared.clear();
        self.publishing = None;
        self.ledger.clear();
        for feed in &mut self.feeds {
            feed.pending.iter_mut().for_each(|p| *p = None);
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
                    self.park(feed, &reason, out);
                } else {
                    let name = self.config.feeds[feed].name.clone();
                    self.incident(IncidentCode::FeedFailing, &name, reason.clone(), out);
                }
                self.end_epoch(reason, now, out);
            }
            Outcome::TooLarge(reason) => {
                let Some(feed) = self.ledger.feed_of(token).map(usize::from) else { return };
                if self.may_park(feed) {
                    self.feeds[feed].refused = Some(reason.clone());
                    self.park(feed, &reason, out);
                    self.end_epoch(reason, now, out);
                } else {
                    // Nobody else to protect, and trying again would only write what comes before it again.
                    self.failed(Failure::new(FailureKind::Permanent, Cause::Data, reason), now, out);
                }
            }
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

    pub(crate) fn advance(&mut self) {
        while let Some(end) = self.ledger.pop_settled() {
            self.frontier.apply(end);
            self.dirty = true;
        }
        if self.frontier.seq > self.furthest {
            self.furthest = self.frontier.seq;
            self.epoch_failures = 0;
        }
    }

    fn restore_stops(&mut self) {
        if let Some(stops) = self.writing.take() {
            self.to_park.extend(stops.park);
            self.to_quarantine.extend(stops.quarantine);
            self.dirty = true;
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

    fn table_loaded(
        &mut self,
        database: String,
        table: String,
        result: Result<Box<TableDefinition>, String>,
        out: &mut Output,
    ) {
        let key = (database, table);
        let Some((_, at)) = self.waiting_table.take_if(|(waiting, _)| *waiting == key) else { return };
        match result {
            Ok(definition) => {
                self.definitions.insert(key, (Arc::new(*definition), at));
            }
            Err(reason) => self.table_unreadable(key, reason, out),
        }
    }

    /// Stops a table; but while the wanted start is searched for, only if it turns out to matter.
    pub(crate) fn table_unreadable(&mut self, key: (String, String), reason: String, out: &mut Output) {
        if self.skip.is_some() {
            self.unreadable.insert(key, reason);
        } else {
            self.quarantine(&key.0, &key.1, self.seq, &reason, out);
        }
    }

    /// Stops a table; `complete` is the last transaction whose rows of it are all published.
    pub(crate) fn quarantine(&mut self, database: &str, table: &str, complete: u64, reason: &str, out: &mut Output) {
        let key = (database.to_string(), table.to_string());
        if self.quarantined.contains_key(&key) {
            return;
        }
        let name = format!("{database}.{table}");
        let mut stopped = self.frontier.stopped(reason);
        stopped.seq = complete;
        self.quarantined.insert(key, stopped.clone());
        self.to_quarantine.push((entry_name(database, table), stopped));
        self.dirty = true;
        self.incident(
            IncidentCode::TableQuarantined,
            &name,
            format!("rows of this table are not published: {reason}"),
            out,
        );
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
        let after = self.config.limits.park_after;
        if self.state == State::Draining && now.monotonic.saturating_sub(self.last_progress) >= after {
            let reason = format!("stopped with unsettled records: nothing was acknowledged for {} s", after.as_secs());
            self.end_epoch(reason, now, out);
        }
    }

    /// Before the wanted start is reached there is nothing worth keeping: it is found again the same way.
    fn started(&self) -> bool {
        self.has_checkpoint || self.skip.is_none()
    }

    /// A feed that settles nothing while others do holds back the common checkpoint: it is parked.
    fn park_stalled(&mut self, now: Now, out: &mut Output) {
        if self.state != State::Streaming {
            return;
        }
        let after = self.config.limits.park_after;
        for i in 0..self.feeds.len() {
            let o = self.ledger.outstanding(i as u16);
            let stalled = o.records > 0 && now.monotonic.saturating_sub(o.since) >= after;
            if !stalled || !self.may_park(i) {
                continue;
            }
            let others = now.monotonic.saturating_sub(self.last_progress) < after;
            // Where it stopped all reading, the others have nothing left to show that the broker lives. The next epoch
            // asks it again: what they settle there, and this feed does not, decides.
            let alone = self.full() && self.last_progress > o.since;
            if alone && !others && !self.feeds[i].suspect {
                self.feeds[i].suspect = true;
                self.end_epoch(format!("nothing was acknowledged for {} s", after.as_secs()), now, out);
                return;
            }
            if others || alone {
                let reason = format!("no record was acknowledged for {} s while other feeds went on", after.as_secs());
                self.feeds[i].refused = Some(reason.clone());
                self.park(i, &reason, out);
                self.end_epoch(reason, now, out);
                return;
            }
        }
    }

    /// What is unsettled is at its bound: reading waits.
    pub(crate) fn full(&self) -> bool {
        self.ledger.in_flight_bytes() >= self.config.limits.in_flight_bytes
            || self.ledger.len() >= self.config.limits.ledger
    }

    fn write_checkpoint(&mut self, now: Now, out: &mut Output) {
        let owns = matches!(self.state, State::Connecting | State::Streaming | State::Draining);
        let due = self.state == State::Draining
            || self.unwritten
            || !self.has_checkpoint
            || now.monotonic.saturating_sub(self.last_write) >= self.config.limits.checkpoint_interval;
        if !owns || !self.dirty || !self.started() || self.writing.is_some() || !due {
            return;
        }
        self.dirty = false;
        self.has_checkpoint = true;
        self.last_write = now.monotonic;
        let stops =
            Stops { park: std::mem::take(&mut self.to_park), quarantine: std::mem::take(&mut self.to_quarantine) };
        self.writing = Some(stops.clone());
        out.command(Command::WriteCheckpoint {
            epoch: self.epoch,
            incarnation: self.incarnation,
            checkpoint: Box::new(self.frontier.checkpoint()),
            park: stops.park,
            quarantine: stops.quarantine,
        });
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

    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    #[must_use]
    pub fn feed_name(&self, feed: usize) -> Option<&str> {
        self.config.feeds.get(feed).map(|f| f.name.as_str())
    }

    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Everything up to here is settled.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Everything up to here is read.
    #[must_use]
    pub fn read_position(&self) -> &Position {
        &self.read
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Commit time of the last transaction read, microseconds since the Unix epoch; 0 before the first.
    #[must_use]
    pub fn last_event_us(&self) -> u64 {
        self.last_event_us
    }

    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.ledger.in_flight_bytes()
    }

    /// Names of parked feeds with the reasons.
    pub fn parked(&self) -> impl Iterator<Item = (&str, &Stopped)> {
        self.config.feeds.iter().zip(&self.feeds).filter_map(|(c, f)| f.parked.as_ref().map(|s| (c.name.as_str(), s)))
    }

    /// Names of the tables whose rows are not published, with the reasons.
    pub fn quarantined_tables(&self) -> impl ExactSizeIterator<Item = (String, &Stopped)> {
        self.quarantined.iter().map(|((d, t), stopped)| (format!("{d}.{t}"), stopped))
    }
}

/// Name of a table's stored entry: database and table, in which a dot, a slash, a percent sign and what cannot be seen
/// stand as `%` and their code.
fn entry_name(database: &str, table: &str) -> String {
    let mut out = String::new();
    for (i, part) in [database, table].into_iter().enumerate() {
        if i > 0 {
            out.push('.');
        }
        for c in part.chars() {
            if matches!(c, '.' | '/' | '%') || c.is_control() {
                out.push_str(&format!("%{:02X}", u32::from(c)));
            } else {
                out.push(c);
            }
        }
    }
    out
}

/// The table of [`entry_name`]; None for what it does not write.
fn table_of(name: &str) -> Option<(String, String)> {
    let (database, table) = name.split_once('.')?;
    let part = |text: &str| {
        let mut pieces = text.split('%');
        let mut out = pieces.next()?.to_string();
        for piece in pieces {
            let (code, rest) = piece.split_at_checked(2)?;
            out.push(char::from(u8::from_str_radix(code, 16).ok()?));
            out.push_str(rest);
        }
        Some(out)
    };
    Some((part(database)?, part(table)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_one_table() {
        for (database, table) in [("shop", "orders"), ("a.b", "c"), ("a", "b.c"), ("50%", "x/y\n"), ("ä", "ü%2E")] {
            let name = entry_name(database, table);
            assert_eq!(table_of(&name), Some((database.to_string(), table.to_string())), "{name}");
            assert!(!name.contains(['/', '\n']), "{name}");
        }
        assert_eq!(table_of("a%"), None);
        assert_eq!(table_of("a.b%zz"), None);
    }
}
