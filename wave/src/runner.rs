//! One running instance: the thread around the sans-IO machine.
//!
//! The thread moves bytes between an [`EventSource`] (a server's dump or files), the machine and a
//! [`publish::Publisher`]; everything that may wait long (coordination, table definitions, finding a start) happens on
//! other threads and comes back through the inbox. Back-pressure: while a record is not taken by the publisher no batch
//! is taken from the source, whose bounded ring then fills and stops that socket.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use binlog::position::FilePos;
use binlog::query::Renaming;
use binlog::schema::TableDefinition;
use pipeline::instance::{Instance, InstanceConfig, Work};
use pipeline::io::{
    Batch, Cause, Command, Ended, Failure, FailureKind, Incident, Input, Now, OpenTopic, Outcome, Output, Server, Start,
};
use pipeline::lifecycle::State;
use pipeline::spill::SpillStore;
use publish::{DeliveryError, PublishError, Publisher, Record, Report, SendOutcome, TopicId, TopicSpec};

use crate::coordinator::{Coordinator, Request};
use crate::outstanding::{Outstanding, Sent};
use crate::status::{StatusCell, Waited};

/// Where events come from.
pub trait EventSource: Send {
    /// Connects after a while; the answer is an event.
    fn connect(&mut self, from: &Start, after: Duration);
    fn disconnect(&mut self);
    /// The next event; None when there is none within `wait`.
    fn receive(&mut self, wait: Duration) -> Option<SourceEvent>;
    /// Gives a used batch back, for reuse of its memory.
    fn recycle(&mut self, batch: Batch);
    /// Bytes received and not taken yet.
    fn queued_bytes(&self) -> usize {
        0
    }
}

/// What an [`EventSource`] has to say.
#[derive(Debug)]
pub enum SourceEvent {
    Connected(Server),
    Batch(Batch),
    Disconnected(Failure),
    /// Files are read to their end.
    End,
}

/// Slow questions about the source, answered on a thread of their own.
pub trait SourceQuestions: Send + Sync {
    /// The position that the wanted start means.
    ///
    /// # Errors
    /// The source is away, or has no such position.
    fn resolve_start(&self) -> Result<Start, Failure>;
    /// The log of this server, by its uuid or what stands for it, is read from now on.
    fn connected(&self, _server: &str) {}
    /// The definition of a table that is valid at a position, durable in the schema history. `again`: what was given
    /// before does not fit the log.
    ///
    /// # Errors
    /// Why none is known for sure.
    fn load_table(&self, database: &str, table: &str, at: &FilePos, again: bool) -> Result<TableDefinition, String>;
    /// A statement that ends at `at` changed these tables (all, when empty), or only renamed them.
    fn schema_changed(&self, _tables: &[(String, String)], _renames: Option<&[Renaming]>, _at: &FilePos) {}
}

/// What a runner is made of.
pub struct Parts {
    pub config: InstanceConfig,
    /// Topic of each feed, in feed order.
    pub topics: Vec<TopicSpec>,
    pub source: Box<dyn EventSource>,
    pub publisher: Box<dyn Publisher>,
    pub coordination: Box<dyn coord::Coordination>,
    pub questions: Arc<dyn SourceQuestions>,
    pub spills: Box<dyn SpillStore>,
    pub status: StatusCell,
    /// Called on the runner's thread for everything a person must see.
    pub on_incident: Box<dyn FnMut(&Incident) + Send>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("source", &self.config.source).finish_non_exhaustive()
    }
}

/// Handle of a running instance.
#[derive(Debug)]
pub struct Runner {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Ended>,
}

impl Runner {
    /// Starts the instance on its own thread.
    ///
    /// # Errors
    /// A thread cannot be started or the source's name is not usable.
    pub fn start(parts: Parts) -> Result<Runner, Failure> {
        let internal = |e: String| Failure::new(FailureKind::Permanent, Cause::Internal, e);
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let name = parts.config.source.clone();
        let source = coord::SourceId::new(name.clone()).map_err(|e| internal(e.to_string()))?;
        let (sender, inbox) = mpsc::channel();
        let owner = format!("process {}", std::process::id());
        let coordinator = Coordinator::start(parts.coordination, source, owner, sender.clone())
            .map_err(|e| internal(e.to_string()))?;
        let looped = Loop {
            machine: Instance::new(parts.config, parts.spills),
            topics: parts.topics,
            ids: Vec::new(),
            source: parts.source,
            publisher: parts.publisher,
            coordinator,
            questions: parts.questions,
            inbox,
            sender,
            status: parts.status,
            on_incident: parts.on_incident,
            out: Output::default(),
            sent: 0,
            reports: Vec::new(),
            outstanding: Outstanding::default(),
            waited: Waited::default(),
            awaiting: 0,
            started: Instant::now(),
            last_tick: Duration::ZERO,
            stop: flag,
            stop_told: false,
            closed: false,
        };
        let thread = thread::Builder::new()
            .name(format!("source {name}"))
            .spawn(move || looped.run())
            .map_err(|e| internal(e.to_string()))?;
        Ok(Runner { stop, thread })
    }

    /// Asks the instance to drain and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end.
    #[must_use]
    pub fn join(self) -> Ended {
        self.thread.join().unwrap_or_else(|_| {
            let message =
                "the instance ended by a defect of this program; it continues from its checkpoint when started again";
            Ended::Failed(Failure::new(FailureKind::Permanent, Cause::Internal, message))
        })
    }
}

struct Loop {
    machine: Instance,
    topics: Vec<TopicSpec>,
    ids: Vec<TopicId>,
    source: Box<dyn EventSource>,
    publisher: Box<dyn Publisher>,
    coordinator: Coordinator,
    questions: Arc<dyn SourceQuestions>,
    inbox: mpsc::Receiver<Input>,
    sender: mpsc::Sender<Input>,
    status: StatusCell,
    on_incident: Box<dyn FnMut(&Incident) + Send>,
    out: Output,
    /// Records of `out` that the publisher has taken.
    sent: usize,
    reports: Vec<Report>,
    outstanding: Outstanding,
    waited: Waited,
    /// Answers expected in the inbox.
    awaiting: u32,
    started: Instant,
    last_tick: Duration,
    stop: Arc<AtomicBool>,
    stop_told: bool,
    /// The reader of the output has gone away (a closed pipe): nothing more is wanted.
    closed: bool,
}

/// Waits of the loop: short while an answer or a report is due, long when nothing is.
const WAIT_BUSY: Duration = Duration::from_millis(1);
const WAIT_IDLE: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(50);
const LAST_FLUSH: Duration = Duration::from_secs(2);

impl Loop {
    fn now(&self) -> Now {
        let unix_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
        Now { monotonic: self.started.elapsed(), unix_us }
    }

    fn feed(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle(now, input, &mut self.out);
    }

    fn run(mut self) -> Ended {
        self.feed(Input::Start);
        loop {
            if self.stop.load(Ordering::Relaxed) && !self.stop_told {
                self.stop_told = true;
                self.feed(Input::Stop);
            }
            let now = self.now();
            if now.monotonic.saturating_sub(self.last_tick) >= TICK {
                self.last_tick = now.monotonic;
                self.feed(Input::Tick);
                self.update_status();
            }
            while let Ok(input) = self.inbox.try_recv() {
                self.awaiting = self.awaiting.saturating_sub(1);
                self.feed(input);
            }
            self.collect_reports(Duration::ZERO);
            let moved = self.pump();
            if let Some(ended) = self.run_commands() {
                // What was handed on before a failure is good: let it arrive.
                let _ = self.publisher.flush(LAST_FLUSH, &mut self.reports);
                self.update_status();
                return ended;
            }
            if self.closed {
                return Ended::Done;
            }
            if !moved {
                self.wait();
            }
        }
    }

    /// Sends what there is and lets the machine work; true when something moved.
    fn pump(&mut self) -> bool {
        let mut moved = self.send_records();
        if self.sent < self.out.sends.len() {
            return moved;
        }
        loop {
            let now = self.now();
            let work = self.machine.work(now, &mut self.out);
            if let Some(batch) = self.machine.take_spent() {
                self.source.recycle(batch);
            }
            moved |= self.send_records();
            let all_sent = self.sent >= self.out.sends.len();
            if !(work == Work::More && all_sent) {
                return moved || work == Work::More;
            }
        }
    }

    /// Hands records on until all are taken or the publisher is full.
    fn send_records(&mut self) -> bool {
        let before = self.sent;
        while let Some(send) = self.out.sends.get(self.sent) {
            let arena = &self.out.arena;
            let record = Record {
                topic: self.ids.get(send.feed).copied().unwrap_or(TopicId(0)),
                partition: send.partition,
                key: send.key.as_ref().and_then(|r| arena.get(r.clone())),
                value: arena.get(send.value.clone()).unwrap_or_default(),
                header: arena.get(send.header.clone()).unwrap_or_default(),
                timestamp_ms: (send.commit_us / 1000) as i64,
                token: send.token.0,
            };
            match self.publisher.send(record) {
                Ok(SendOutcome::Accepted) => {
                    let bytes = send.value.len() + send.header.len() + send.key.as_ref().map_or(0, Range::len);
                    self.outstanding.sent(send.token.0, Sent { commit_us: send.commit_us, feed: send.feed, bytes });
                    self.sent += 1;
                }
                Ok(SendOutcome::Full) => break,
                Err(e) => {
                    let token = send.token;
                    self.clear_sends();
                    self.feed(Input::Report { token, outcome: Outcome::Unknown(e.to_string()) });
                    return true;
                }
            }
        }
        let moved = self.sent > before;
        if self.sent >= self.out.sends.len() {
            self.clear_sends();
        }
        moved
    }

    fn clear_sends(&mut self) {
        self.out.clear_sends();
        self.sent = 0;
    }

    fn collect_reports(&mut self, wait: Duration) {
        if self.ids.is_empty() {
            return; // not open yet
        }
        let mut reports = std::mem::take(&mut self.reports);
        if let Err(e) = self.publisher.poll(wait, &mut reports) {
            tracing::warn!(error = %e, "publisher failed");
        }
        // One clock read for all: a read per report was 11 % of the CPU time of `tail --format maxwell-json`.
        let now = self.now();
        for report in reports.drain(..) {
            let token = pipeline::ledger::Token(report.token);
            let outcome = match report.result {
                Ok(_) => {
                    if let Some(sent) = self.outstanding.settled(report.token) {
                        self.status.settled(sent.feed, sent.bytes, now.unix_us.saturating_sub(sent.commit_us));
                    }
                    Outcome::Settled
                }
                Err(DeliveryError::Topic { topic, reason }) => Outcome::Feed(format!("topic {topic}: {reason}")),
                Err(e @ DeliveryError::TooLarge { .. }) => Outcome::TooLarge(format!(
                    "{e}; raise max.message.bytes of the topic (and message.max.bytes in --to): it goes on from its checkpoint"
                )),
                Err(DeliveryError::Closed) => {
                    self.closed = true;
                    return;
                }
                Err(e) => Outcome::Unknown(e.to_string()),
            };
            self.status.reported(&outcome);
            self.machine.handle(now, Input::Report { token, outcome }, &mut self.out);
        }
        self.reports = reports;
    }

    /// Nothing moved: waits for whatever comes first.
    fn wait(&mut self) {
        let blocked = self.sent < self.out.sends.len() || !self.wants_source();
        let began = Instant::now();
        self.wait_for_next(blocked);
        let waited = if blocked { &mut self.waited.blocked } else { &mut self.waited.idle };
        *waited += began.elapsed();
    }

    fn wait_for_next(&mut self, blocked: bool) {
        let busy = self.awaiting > 0 || self.publisher.in_flight_bytes() > 0 || self.sent < self.out.sends.len();
        let wait = if busy { WAIT_BUSY } else { WAIT_IDLE };
        if blocked {
            if self.publisher.in_flight_bytes() > 0 {
                self.collect_reports(wait);
            } else {
                thread::park_timeout(wait.min(TICK));
            }
            return;
        }
        if let Some(event) = self.source.receive(wait) {
            let input = match event {
                SourceEvent::Connected(server) => {
                    self.questions.connected(&server.uuid);
                    Input::Connected(server)
                }
                SourceEvent::Batch(batch) => Input::Events(batch),
                SourceEvent::Disconnected(failure) => Input::Disconnected(failure),
                SourceEvent::End => Input::EndOfInput,
            };
            self.feed(input);
        }
    }

    fn wants_source(&self) -> bool {
        self.machine.wants_batch() || self.machine.state() == State::Connecting
    }

    fn run_commands(&mut self) -> Option<Ended> {
        let mut ended = None;
        while !self.out.commands.is_empty() {
            for command in std::mem::take(&mut self.out.commands) {
                if let Command::Finished(how) = command {
                    ended = Some(how);
                } else {
                    self.run_command(command);
                }
            }
        }
        ended
    }

    fn run_command(&mut self, command: Command) {
        match command {
            Command::Take => {
                self.awaiting += 1;
                self.coordinator.ask(Request::Take);
            }
            Command::Open { epoch } => self.open(epoch),
            Command::ResolveStart => {
                let questions = Arc::clone(&self.questions);
                self.ask(move || match questions.resolve_start() {
                    Ok(start) => Input::StartResolved(Box::new(start)),
                    Err(failure) => Input::StartFailed(failure),
                });
            }
            Command::Connect { from, after } => self.source.connect(&from, after),
            Command::Disconnect => self.source.disconnect(),
            Command::WriteCheckpoint { epoch, incarnation, checkpoint, park, quarantine } => {
                self.awaiting += 1;
                self.coordinator.ask(Request::Write { epoch, incarnation, checkpoint, park, quarantine });
            }
            Command::LoadTable { database, table, at, again } => {
                let questions = Arc::clone(&self.questions);
                self.ask(move || {
                    let result = questions.load_table(&database, &table, &at, again).map(Box::new);
                    Input::TableLoaded { database, table, result }
                });
            }
            Command::SchemaChanged { tables, renames, at } => {
                self.questions.schema_changed(&tables, renames.as_deref(), &at);
            }
            Command::Incident(incident) => {
                tracing::warn!(code = incident.code.name(), subject = %incident.subject, at = %incident.at, "{}", incident.message);
                self.status.incident(&incident);
                (self.on_incident)(&incident);
            }
            Command::Finished(_) => {}
        }
    }

    /// Runs a slow question on its own thread; the answer comes through the inbox.
    fn ask(&mut self, question: impl FnOnce() -> Input + Send + 'static) {
        self.awaiting += 1;
        let sender = self.sender.clone();
        let spawned = thread::Builder::new().name("question".into()).spawn(move || {
            // The loop may have ended meanwhile; then nobody needs the answer.
            let _ = sender.send(question());
        });
        if let Err(e) = spawned {
            self.awaiting -= 1;
            let failure =
                Failure::new(FailureKind::Transient, Cause::Internal, format!("no thread can be started: {e}"));
            self.feed(Input::StartFailed(failure));
        }
    }

    /// Prepares the publisher for an epoch and opens the topics of all feeds.
    fn open(&mut self, epoch: u64) {
        self.clear_sends();
        // What was outstanding is never reported as settled.
        self.outstanding.clear();
        let mut dropped = Vec::new();
        if let Err(e) = self.publisher.abort(&mut dropped).and_then(|()| self.publisher.init(epoch)) {
            self.feed(Input::OpenFailed { feed: None, failure: publish_failure(&e) });
            return;
        }
        let (mut ids, mut opened) = (Vec::new(), Vec::new());
        let parked: Vec<String> = self.machine.parked().map(|(name, _)| name.to_string()).collect();
        for (feed, topic) in self.topics.clone().iter().enumerate() {
            if self.machine.feed_name(feed).is_some_and(|n| parked.iter().any(|p| p == n)) {
                ids.push(TopicId(u32::MAX));
                opened.push(OpenTopic { topic: u32::MAX, partitions: 0 });
                continue;
            }
            match self.publisher.open(topic) {
                Ok((id, partitions)) => {
                    ids.push(id);
                    opened.push(OpenTopic { topic: id.0, partitions });
                }
                Err(e) => {
                    self.feed(Input::OpenFailed { feed: Some(feed), failure: publish_failure(&e) });
                    return;
                }
            }
        }
        self.ids = ids;
        self.feed(Input::Opened(opened));
    }

    fn update_status(&self) {
        self.status.update(&self.machine, self.source.queued_bytes(), self.started.elapsed(), self.waited);
    }
}

fn publish_failure(error: &PublishError) -> Failure {
    let (kind, cause) = match error {
        PublishError::Unavailable(_) => (FailureKind::Transient, Cause::Unavailable),
        PublishError::Topic { .. } => (FailureKind::Permanent, Cause::NotFound),
        PublishError::Config(_) => (FailureKind::Permanent, Cause::Usage),
        PublishError::Fenced => (FailureKind::Fenced, Cause::Conflict),
    };
    Failure::new(kind, cause, error.to_string())
}
