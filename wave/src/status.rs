//! What an operator can see of an instance: a snapshot for the status line and page, and the metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use binlog::position::FilePos;
use pipeline::checkpoint::Stopped;
use pipeline::instance::{AsStatements, Instance, Totals};
use pipeline::io::{Incident, Outcome};
use pipeline::lifecycle::State;
use serde::Serialize;
use telemetry::SourceMetrics;

/// Incidents kept for display.
const INCIDENTS: usize = 50;

/// A snapshot of one source, at most 50 ms old.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceStatus {
    pub source: String,
    /// Where it comes from, without the password.
    pub origin: String,
    /// Where it goes to.
    pub target: String,
    pub state: &'static str,
    pub epoch: u64,
    pub read: String,
    pub settled: String,
    pub gtid_set: String,
    /// Seconds behind the source; 0 at the end of its log. Grows while the source is not connected.
    pub lag_seconds: f64,
    /// Bytes of the source's log that are not read yet; None while unknown.
    pub lag_bytes: Option<u64>,
    /// Over the last second.
    pub rows_per_second: f64,
    pub rows: u64,
    pub transactions: u64,
    /// Of log events read.
    pub bytes: u64,
    /// Made, whether acknowledged or not.
    pub records: u64,
    pub in_flight_bytes: u64,
    pub queued_bytes: u64,
    pub reconnects: u64,
    /// It has streamed since this process started.
    pub streamed: bool,
    /// A target that does not acknowledge what was sent to it.
    pub silent: Option<String>,
    pub parked: Vec<StopLine>,
    pub quarantined: Vec<StopLine>,
    /// Tables with changes that were logged as statements since this process started.
    pub as_statements: Vec<StopLine>,
    /// The last ones, oldest first.
    pub incidents: Vec<IncidentLine>,
    #[serde(skip)]
    pub(crate) read_pos: FilePos,
}

impl SourceStatus {
    /// What keeps rows from being published, one sentence each; empty when nothing does.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let last = self.incidents.last();
        let why = last.map_or_else(String::new, |i| format!(": {}", i.message));
        let mut problems = Vec::new();
        match self.state {
            "streaming" | "draining" => {}
            "ended" => problems.push(format!("{} has ended{why}", self.source)),
            state => problems.push(format!("{} is {}{why}", self.source, state.replace('_', " "))),
        }
        problems.extend(self.silent.iter().map(|silent| format!("{}: {silent}", self.source)));
        let stopped =
            |what: &str, s: &StopLine| format!("{}: {what} {}: {}; {}", self.source, s.name, s.reason, s.todo);
        problems.extend(self.parked.iter().map(|s| stopped("parked feed", s)));
        problems.extend(self.quarantined.iter().map(|s| stopped("quarantined table", s)));
        problems.extend(self.as_statements.iter().map(|s| stopped("rows are missing of", s)));
        problems
    }

    /// It has streamed, or has been tried and is in trouble: waiting for it tells nothing more.
    pub(crate) fn tried(&self) -> bool {
        self.streamed || self.state == "ended" || !self.incidents.is_empty()
    }
}

/// A parked feed or a quarantined table.
#[derive(Clone, Debug, Serialize)]
pub struct StopLine {
    pub name: String,
    pub reason: String,
    /// Everything before this is published; `FILE:POS`.
    pub at: String,
    pub gtid_set: String,
    /// What an operator can do about it.
    pub todo: String,
}

impl StopLine {
    fn feed(name: &str, stopped: &Stopped, catching_up: bool) -> Self {
        let todo = if catching_up {
            "nothing: it is catching up from there and joins the others by itself"
        } else {
            "mend what the reason names: it is tried again now and then, catches up from there and joins the others by itself"
        };
        StopLine::new(name, stopped, todo.to_string())
    }

    fn table(name: &str, stopped: &Stopped) -> Self {
        let mut line = StopLine::new(name, stopped, String::new());
        let from = if line.gtid_set.is_empty() { line.at.clone() } else { format!("gtid:{}", line.gtid_set) };
        line.todo = format!(
            "mend what the reason names, then publish it from there: binlake up --from {from} --tables '{name}' with \
             another --data-dir and --topic"
        );
        line
    }

    fn statements(name: &str, seen: &AsStatements) -> Self {
        StopLine {
            name: name.to_owned(),
            reason: format!("{} change(s) up to {} were logged as statements, not as rows", seen.count, seen.last),
            at: seen.first.to_string(),
            gtid_set: String::new(),
            todo: "SET GLOBAL binlog_format = 'ROW', let sessions reconnect that have another, and take a new snapshot of the \
                   tables concerned; a restart of this program clears the notice"
                .to_string(),
        }
    }

    fn new(name: &str, stopped: &Stopped, todo: String) -> Self {
        let at = format!("{}:{}", stopped.file, stopped.pos);
        StopLine { name: name.to_owned(), reason: stopped.reason.clone(), at, gtid_set: stopped.gtid_set.clone(), todo }
    }
}

impl std::fmt::Display for StopLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// An incident, as pages and JSON show it.
#[derive(Clone, Debug, Serialize)]
pub struct IncidentLine {
    pub time_ms: u64,
    pub code: &'static str,
    pub subject: String,
    pub message: String,
    pub at: String,
}

/// Time that an instance's thread spent waiting.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waited {
    /// For the publisher to take or settle records, or for a table definition.
    pub(crate) blocked: Duration,
    /// For the source.
    pub(crate) idle: Duration,
}

/// What the metrics and rates have counted so far.
#[derive(Debug, Default)]
struct Counted {
    totals: Totals,
    busy: Duration,
    waited: Waited,
    /// When the rate was last made, and the rows then.
    rate_at: Duration,
    rate_rows: u64,
    /// The last moment at which everything was settled and the source connected; before the first, the start.
    at_end_us: u64,
}

/// Shared by the instance's thread, which writes, and everybody who looks.
#[derive(Clone, Debug)]
pub struct StatusCell {
    inner: Arc<Mutex<SourceStatus>>,
    counted: Arc<Mutex<Counted>>,
    metrics: Option<SourceMetrics>,
}

/// Rates are made over this long.
const RATE: Duration = Duration::from_secs(1);

impl StatusCell {
    #[must_use]
    pub fn new(source: &str, origin: &str, target: &str, metrics: Option<SourceMetrics>) -> Self {
        let status = SourceStatus {
            source: source.to_string(),
            origin: origin.to_string(),
            target: target.to_string(),
            state: state_name(State::Idle),
            ..SourceStatus::default()
        };
        let counted = Counted { at_end_us: unix_us(), ..Counted::default() };
        StatusCell { inner: Arc::new(Mutex::new(status)), counted: Arc::new(Mutex::new(counted)), metrics }
    }

    #[must_use]
    pub fn get(&self) -> SourceStatus {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, SourceStatus> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record of a feed was acknowledged.
    pub(crate) fn settled(&self, feed: usize, bytes: usize, latency_us: u64) {
        if let Some(m) = &self.metrics {
            m.delivery_latency.record(latency_us);
            if let Some((messages, total)) = m.produced.get(feed) {
                messages.inc();
                total.add(bytes as u64);
            }
        }
    }

    /// The report of a record, of which only failures are counted here.
    pub(crate) fn reported(&self, outcome: &Outcome) {
        if let Some(m) = &self.metrics {
            match outcome {
                Outcome::Settled => {}
                Outcome::Feed(_) | Outcome::Denied(_) => m.refused_by_topic.inc(),
                Outcome::TooLarge(_) => m.refused_too_large.inc(),
                Outcome::Unknown(_) => m.unconfirmed.inc(),
            }
        }
    }

    /// How much of the log is unread, as the server said; None when it does not say.
    pub(crate) fn set_lag_bytes(&self, bytes: Option<u64>) {
        self.lock().lag_bytes = bytes;
        if let Some(m) = &self.metrics {
            m.lag_bytes.set(bytes.map_or(f64::NAN, |b| b as f64));
        }
    }

    pub(crate) fn incident(&self, incident: &Incident) {
        if let Some(m) = &self.metrics {
            m.incident(incident.code.name());
        }
        let mut s = self.lock();
        if s.incidents.len() >= INCIDENTS {
            s.incidents.remove(0);
        }
        s.incidents.push(IncidentLine {
            time_ms: unix_us() / 1000,
            code: incident.code.name(),
            subject: incident.subject.clone(),
            message: incident.message.clone(),
            at: incident.at.to_string(),
        });
    }

    /// `queued` are bytes received and not taken; `alive` and `waited` say how the thread spent its time.
    pub(crate) fn update(&self, machine: &Instance, queued: usize, alive: Duration, waited: Waited) {
        let totals = machine.totals();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let connected = machine.state() == State::Streaming;
        let lag_seconds = counted.lag_us(machine, queued > 0, connected) as f64 / 1e6;
        {
            let mut s = self.lock();
            s.state = state_name(machine.state());
            s.streamed |= connected;
            s.epoch = machine.epoch();
            s.read_pos.clone_from(&machine.read_position().file_pos);
            s.read = s.read_pos.to_string();
            s.settled = machine.settled().to_string();
            s.gtid_set = machine.frontier().position.gtids.to_string();
            s.lag_seconds = lag_seconds;
            s.rows = totals.rows();
            if let Some(time) = alive.checked_sub(counted.rate_at).filter(|t| *t >= RATE) {
                s.rows_per_second = (s.rows - counted.rate_rows) as f64 / time.as_secs_f64();
                (counted.rate_at, counted.rate_rows) = (alive, s.rows);
            }
            s.transactions = totals.transactions;
            s.bytes = totals.bytes;
            s.records = totals.records;
            s.in_flight_bytes = machine.in_flight_bytes();
            s.queued_bytes = queued as u64;
            s.reconnects = totals.reconnects;
            s.silent = machine.silent().map(|(feed, age)| {
                format!(
                    "a record for {feed} is not acknowledged for {} s: is its target there and fast enough?",
                    age.as_secs()
                )
            });
            let feed = |(name, stop)| StopLine::feed(name, stop, machine.catching_up() == Some(name));
            s.parked = machine.parked().map(feed).collect();
            let table = |(name, stop): (String, &Stopped)| StopLine::table(&name, stop);
            s.quarantined = machine.quarantined_tables().map(table).collect();
            s.quarantined.sort_by(|a, b| a.name.cmp(&b.name));
            s.as_statements =
                machine.statements().iter().map(|(name, seen)| StopLine::statements(name, seen)).collect();
        }
        let Some(m) = &self.metrics else { return };
        let before = &counted.totals;
        m.read_bytes.add(totals.bytes - before.bytes);
        m.events.add(totals.events - before.events);
        m.skipped_events.add(totals.skipped_events - before.skipped_events);
        m.unknown_events.add(totals.unknown_events - before.unknown_events);
        m.transactions.add(totals.transactions - before.transactions);
        m.rows_inserted.add(totals.inserts - before.inserts);
        m.rows_updated.add(totals.updates - before.updates);
        m.rows_deleted.add(totals.deletes - before.deletes);
        m.reconnects.add(totals.reconnects - before.reconnects);
        m.checkpoint_writes.add(totals.checkpoints - before.checkpoints);
        counted.totals = totals;
        let busy = alive.saturating_sub(waited.blocked + waited.idle);
        let grown = |now: Duration, before: Duration| now.saturating_sub(before).as_nanos() as u64;
        m.busy.add(grown(busy, counted.busy));
        m.blocked.add(grown(waited.blocked, counted.waited.blocked));
        m.idle.add(grown(waited.idle, counted.waited.idle));
        (counted.busy, counted.waited) = (busy.max(counted.busy), waited);
        m.parked_feeds.set(machine.parked().count() as f64);
        m.quarantined_tables.set(machine.quarantined_tables().len() as f64);
        m.lag_seconds.set(lag_seconds);
        m.connected.set(f64::from(u8::from(connected)));
        for (name, gauge) in &m.states {
            gauge.set(f64::from(u8::from(*name == state_name(machine.state()))));
        }
        m.epoch.set(machine.epoch() as f64);
        m.queue_received.set(queued as f64);
        m.queue_in_flight.set(machine.in_flight_bytes() as f64);
    }
}

impl Counted {
    /// Behind means: something is read and not settled, or waits to be read. An idle source is at its end; one that is not
    /// connected may have moved on since it was last seen there.
    fn lag_us(&mut self, machine: &Instance, queued: bool, connected: bool) -> u64 {
        let now = unix_us();
        let behind = queued || machine.in_flight_bytes() > 0;
        let since = match (connected, behind) {
            (true, false) => {
                self.at_end_us = now;
                now
            }
            (true, true) => machine.unsettled_us().unwrap_or_else(|| machine.last_event_us()),
            (false, _) => machine.unsettled_us().unwrap_or_else(|| machine.frontier().commit_us.max(self.at_end_us)),
        };
        now.saturating_sub(if since == 0 { self.at_end_us } else { since })
    }
}

pub(crate) fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// All names of states.
pub const STATES: [&str; 9] = [
    state_name(State::Idle),
    state_name(State::Taking),
    state_name(State::Opening),
    state_name(State::Resolving),
    state_name(State::Connecting),
    state_name(State::Streaming),
    state_name(State::BackingOff),
    state_name(State::Draining),
    state_name(State::Ended),
];

/// The name of a state for people and metrics.
#[must_use]
pub const fn state_name(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Taking => "taking",
        State::Opening => "opening",
        State::Resolving => "resolving",
        State::Connecting => "connecting",
        State::Streaming => "streaming",
        State::BackingOff => "backing_off",
        State::Draining => "draining",
        State::Ended => "ended",
    }
}
