//! One running instance: the thread around the sans-IO machine.
//!
//! The thread moves bytes between an [`EventSource`] (a server's dump or files), the machine and a
//! [`publish::Publisher`]; everything that may wait long (coordination, table definitions, finding a start) happens on
//! other threads and comes back through the inbox. Back-pressure: while a record is not taken by the publisher no batch
//! is taken from the source, whose bounded ring then fills and stops that socket.

mod catch_up;
mod publishing;

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
    Batch, Cause, Command, Ended, Failure, FailureKind, Incident, Input, Now, OpenTopic, Outcome, Output, Resolved,
    Server, Start,
};
use pipeline::lifecycle::State;
use pipeline::spill::SpillStore;
use publish::{DeliveryError, PublishError, Publisher, Record, Report, SendOutcome, TopicId, TopicSpec};

use crate::coordinator::{Coordinator, Ownable, Request};
use crate::outstanding::{Outstanding, Sent};
use crate::status::{StatusCell, Waited};
use catch_up::CatchUp;
pub(crate) use publishing::publish_failure;

pub use catch_up::{Ends, MakeEnds};

/// Where events come from.
pub trait EventSource: Send {
    /// Connects after a while; the answer is an event.
    fn connect(&mut self, from: &Start, after: Duration);
    /// Gives up the connection and what it still had.
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
    /// The position that the wanted start means, and on which server.
    ///
    /// # Errors
    /// The source is away, or has no such position.
    fn resolve_start(&self) -> Result<Resolved, Failure>;
    /// The log of this server is read from now on.
    fn connected(&self, _server: &Server) {}
    /// The definition of a table that is valid at a position, durable in the schema history. `again`: what was given
    /// before does not fit the log.
    ///
    /// # Errors
    /// Why none is known for sure (permanent), or the history cannot be written.
    fn load_table(&self, database: &str, table: &str, at: &FilePos, again: bool) -> Result<TableDefinition, Failure>;
    /// When the server began this log file, in seconds since the Unix epoch; None where it has it no more.
    ///
    /// # Errors
    /// The server is away.
    fn file_begun(&self, _file: &str) -> Result<Option<u32>, Failure> {
        Ok(None)
    }
    /// A statement that ends at `at` changed these tables (all, when empty), or only renamed them: stores it in the schema
    /// history.
    ///
    /// # Errors
    /// The history cannot be written.
    fn schema_changed(
        &self,
        _tables: &[(String, String)],
        _renames: Option<&[Renaming]>,
        _at: &FilePos,
    ) -> Result<(), Failure> {
        Ok(())
    }
}

/// What a runner is made of.
pub struct Parts {
    pub config: InstanceConfig,
    /// Topic of each feed, in feed order.
    pub topics: Vec<TopicSpec>,
    pub source: Box<dyn EventSource>,
    pub publisher: Box<dyn Publisher>,
    pub coordination: Box<dyn Ownable>,
    pub questions: Arc<dyn SourceQuestions>,
    pub spills: Box<dyn SpillStore>,
    pub status: StatusCell,
    /// Called on the runner's thread for everything a person must see.
    pub on_incident: Box<dyn FnMut(&Incident) + Send>,
    /// For catch-ups of parked feeds; None where no feed can be parked.
    pub make_ends: Option<MakeEnds>,
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
            make_ends: parts.make_ends,
            catch_up: None,
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
    make_ends: Option<MakeEnds>,
    catch_up: Option<CatchUp>,
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
            let caught_up = self.catch_up.take_if(|c| c.is_finished());
            while let Ok(input) = self.inbox.try_recv() {
                self.awaiting = self.awaiting.saturating_sub(u32::from(!matches!(input, Input::CaughtUp { .. })));
                self.feed(input);
            }
            // Behind what it had to say.
            if let Some(caught_up) = caught_up {
                self.feed(caught_up.join());
            }
            self.collect_reports(Duration::ZERO);
            let moved = self.pump();
            if let Some(ended) = self.run_commands() {
                // What was handed on before a failure is good: let it arrive.
                let _ = self.publisher.flush(LAST_FLUSH, &mut self.reports);
                if let Some(catch_up) = self.catch_up.take() {
                    catch_up.stop();
                    let _ = catch_up.join();
                }
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
            // A large transaction must not keep the loop from its ticks, answers and a stop.
            let due = now.monotonic.saturating_sub(self.last_tick) >= TICK;
            if !(work == Work::More && all_sent) || due {
                return moved || work == Work::More;
            }
        }
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
                    self.questions.connected(&server);
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
                    Ok(resolved) => Input::StartResolved(Box::new(resolved)),
                    Err(failure) => Input::StartFailed(failure),
                });
            }
            Command::Connect { from, after } => self.source.connect(&from, after),
            Command::Disconnect => self.source.disconnect(),
            Command::WriteCheckpoint(write) => {
                self.awaiting += 1;
                self.coordinator.ask(Request::Write(write));
            }
            Command::CatchUp { feed, ownership } => self.start_catch_up(feed, *ownership),
            Command::EndCatchUp => {
                if let Some(catch_up) = &self.catch_up {
                    catch_up.stop();
                }
            }
            Command::LoadTable { database, table, at, again } => {
                let questions = Arc::clone(&self.questions);
                self.ask(move || {
                    let result = questions.load_table(&database, &table, &at, again).map(Box::new);
                    Input::TableLoaded { database, table, at, result }
                });
            }
            Command::AskFile { file } => {
                let questions = Arc::clone(&self.questions);
                self.ask(move || Input::FileAnswered { begun: questions.file_begun(&file), file });
            }
            Command::SchemaChanged { tables, renames, at } => {
                let stored = self.questions.schema_changed(&tables, renames.as_deref(), &at);
                self.feed(Input::SchemaStored(stored));
            }
            Command::Incident(incident) => {
                let (code, subject, at) = (incident.code.name(), &incident.subject, &incident.at);
                if self.machine.config().catch_up {
                    // Its owner tells what comes of it, as the feed's.
                    tracing::debug!(code, %subject, %at, catch_up = true, "{}", incident.message);
                } else if incident.code.good() {
                    tracing::info!(code, %subject, %at, "{}", incident.message);
                } else {
                    tracing::warn!(code, %subject, %at, "{}", incident.message);
                }
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

    fn update_status(&self) {
        self.status.update(&self.machine, self.source.queued_bytes(), self.started.elapsed(), self.waited);
    }
}
