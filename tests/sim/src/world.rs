//! The driver: instances, their publishers and connections, the coordination and the topics under one scheduler with a
//! virtual clock. Everything that happens is an event in one queue; every choice comes from the seed.

mod catch_up;
mod drive;
mod outside;
mod setup;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use binlog::position::FilePos;
use coord::sim::{FaultRates, SimCoordination, SimWorld};
use coord::{Coordination, Fence, SourceId};
use pipeline::feed::{FeedSpec, Format, Order};
use pipeline::format::maxwell_json;
use pipeline::instance::{Instance, InstanceConfig, Limits, Work};
use pipeline::io::{
    Cause, Command, Ended, Failure, FailureKind, IncidentCode, Input, Now, OpenTopic, Outcome, Output, Resolved, Skip,
    Start,
};
use pipeline::ledger::Token;
use pipeline::lifecycle::State;
use pipeline::rule::{EventKinds, Rule, TablePatterns};
use pipeline::spill::{MemorySpills, Spill, SpillStore};

use crate::check::{Checker, Form, Known};
use crate::coordination::{self, Request};
use crate::history::{BASE_US, History, Wants};
use crate::publisher::{Publisher, Queued};
use crate::rng::Rng;
use crate::server::{Dump, Server};
use crate::{Bug, Stats};
use catch_up::CatchUpOf;

pub(crate) const SOURCE: &str = "sim";
const TICK_US: u64 = 50_000;
/// Virtual time after the last fault within which the end must be reached.
const SETTLE_US: u64 = 240_000_000;
const MAX_EVENTS: u64 = 400_000;

/// What is wrong with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FeedFault {
    Refuses,
    Hangs,
    TooLarge(usize),
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartKind {
    Beginning,
    Latest,
    SkipPosition(usize),
    SkipTime(usize),
}

enum Event {
    NewInstance,
    Tick(u64),
    Wake(u64),
    Apply(u64, Request),
    Answer(u64, Input),
    Connect(u64, u64, Start),
    Deliver(u64, u64),
    Store(u64, usize, usize),
    /// Of an instance or epoch that is gone: the broker still gets it.
    StoreLate(usize, usize, Queued),
    Report(u64, Token, Outcome),
    StopNow(u64),
    FeedFault(usize, Option<FeedFault>),
    Failover,
    Heal,
}

struct Scheduled {
    at: u64,
    serial: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

struct Connection {
    id: u64,
    server: usize,
    dump: Dump,
}

/// One instance; dropped at any moment in a crash.
struct Process {
    id: u64,
    catch_up: Option<CatchUpOf>,
    /// Its feeds, as numbers of the history's.
    feeds: Vec<usize>,
    machine: Instance,
    out: Output,
    sent: usize,
    publisher: Publisher,
    coordination: SimCoordination,
    /// Answers come in the order of requests.
    coordination_at: u64,
    connection: Option<Connection>,
    connections: u64,
    skew_us: u64,
    stopping: bool,
    epoch_lost: bool,
    waking: bool,
}

#[derive(Clone, Debug)]
struct Spills {
    fail: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl SpillStore for Spills {
    fn create(&mut self) -> std::io::Result<Box<dyn Spill>> {
        if self.fail.swap(false, Ordering::Relaxed) {
            return Err(std::io::Error::other("no space left on device"));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        MemorySpills.create()
    }
}

/// How likely faults are in a history, in ten-thousandths.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    crash: u32,
    stop: u32,
    takeover: u32,
    disconnect: u32,
    unknown: u32,
    lost_report: u32,
    refuse: u32,
    full: u32,
    open: u32,
}

pub(crate) struct World {
    rng: Rng,
    bug: Option<Bug>,
    now: u64,
    serial: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    history: Rc<History>,
    servers: Vec<Server>,
    active: usize,
    start: StartKind,
    feeds: Vec<FeedSpec>,
    partitions: Vec<u32>,
    limits: Limits,
    rates: Rates,
    coordination_rates: FaultRates,
    /// Init of a new epoch fences older ones at the broker.
    fencing: bool,
    /// A feed that is broken for ever; no other gets a fault of its own then.
    broken: Option<usize>,
    faults: Vec<Option<FeedFault>>,
    healed: bool,
    heal_at: u64,
    world: SimWorld,
    reader: SimCoordination,
    source: SourceId,
    processes: Vec<Process>,
    next_id: u64,
    broker_epoch: u64,
    ending: bool,
    spills: Spills,
    pub(crate) checker: Checker,
    pub(crate) stats: Stats,
    pub(crate) trace: Option<VecDeque<String>>,
}

impl World {
    fn schedule(&mut self, after: u64, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse(Scheduled { at: self.now + after, serial: self.serial, event }));
    }

    fn log(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() >= 4000 {
                trace.pop_front();
            }
            trace.push_back(format!("{:>10.3} ms  {}", self.now as f64 / 1000.0, text()));
        }
    }

    /// Runs to the end, or to the first violation.
    pub(crate) fn run(&mut self) {
        while let Some(Reverse(next)) = self.queue.pop() {
            self.now = next.at;
            self.stats.steps += 1;
            self.step(next.event);
            if !self.checker.violations.is_empty() {
                return;
            }
            if self.healed && !self.ending && self.owners() == 1 && self.checker.complete(self.broken) {
                self.ending = true;
                let owner = self.processes.iter().find(|p| p.catch_up.is_none()).map(|p| p.id);
                self.schedule(100_000, Event::StopNow(owner.unwrap_or_default()));
            }
            if self.ending && self.processes.is_empty() {
                break;
            }
            if self.stats.steps > MAX_EVENTS || self.now > self.heal_at + SETTLE_US {
                let states: Vec<_> = self
                    .processes
                    .iter()
                    .map(|p| {
                        let waiting = p.out.sends.len() - p.sent.min(p.out.sends.len());
                        format!(
                            "{:?} in flight {} unsent {waiting} wants {}",
                            p.machine,
                            p.machine.in_flight_bytes(),
                            p.machine.wants_batch()
                        )
                    })
                    .collect();
                self.checker.violation(format!("I10: no end after the faults healed; {states:?}, {:?}", self.limits));
                return;
            }
        }
        while let Some(Reverse(next)) = self.queue.pop() {
            if let Event::StoreLate(feed, partition, queued) = next.event {
                self.store_late(feed, partition, &queued);
            }
        }
        self.checker.finish();
        self.stats.repeated = self.checker.repeated();
        self.stats.messages = self.checker.messages();
        self.stats.parked = self.checker.known.parked.len() as u64;
        self.stats.spills = self.spills.count.load(Ordering::Relaxed);
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::NewInstance => {
                if self.owners() == 0 || !self.healed {
                    let skew = self.rng.below(4_000_000);
                    self.start_process((0..self.feeds.len()).collect(), skew, None);
                }
            }
            Event::Tick(id) => {
                if let Some(p) = self.find(id) {
                    self.chance_of_death(p);
                }
                if let Some(p) = self.find(id) {
                    self.input(p, Input::Tick);
                    self.schedule(TICK_US, Event::Tick(id));
                    self.pump(id);
                }
            }
            Event::Wake(id) => {
                if let Some(p) = self.find(id) {
                    self.processes[p].waking = false;
                    self.pump(id);
                }
            }
            Event::Apply(id, request) => {
                if let Some(p) = self.find(id) {
                    self.apply(p, request);
                }
            }
            Event::Answer(id, input) => {
                if let Some(p) = self.find(id) {
                    self.input(p, input);
                    self.pump(id);
                }
            }
            Event::Connect(id, connection, start) => self.connect(id, connection, &start),
            Event::Deliver(id, connection) => self.deliver(id, connection),
            Event::Store(id, feed, partition) => self.store(id, feed, partition),
            Event::StoreLate(feed, partition, queued) => self.store_late(feed, partition, &queued),
            Event::Report(id, token, outcome) => {
                if let Some(p) = self.find(id) {
                    let outcome = match self.bug {
                        Some(Bug::IgnoreDeliveryError) => Outcome::Settled,
                        _ => outcome,
                    };
                    self.input(p, Input::Report { token, outcome });
                    self.pump(id);
                }
            }
            Event::StopNow(id) => self.stop(id),
            Event::FeedFault(feed, fault) => {
                self.log(|| format!("feed {feed}: {fault:?}"));
                self.stats.feed_faults += u64::from(fault.is_some());
                self.faults[feed] = fault;
            }
            Event::Failover => self.failover(),
            Event::Heal => self.heal(),
        }
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.processes.iter().position(|p| p.id == id)
    }

    fn start_process(&mut self, feeds: Vec<usize>, skew_us: u64, catch_up: Option<CatchUpOf>) {
        let id = self.next_id;
        self.next_id += 1;
        let config = InstanceConfig {
            source: SOURCE.into(),
            feeds: feeds.iter().map(|f| self.feeds[*f].clone()).collect(),
            limits: self.limits.clone(),
            headers: true,
            until: None,
            limit: None,
            start_again: "start again".into(),
            definitions: false,
            catch_up: catch_up.is_some(),
        };
        let partitions: Vec<u32> = feeds.iter().map(|f| self.partitions[*f]).collect();
        let rates = if self.healed { FaultRates::default() } else { self.coordination_rates };
        // A topic that hangs for ever must meet the machine's bound before it fills the queue that all topics share.
        let sizes: &[usize] = if self.broken.is_some() { &[1 << 30] } else { &[500, 5_000, 1 << 20] };
        let queue = *self.rng.pick(sizes).unwrap_or(&5_000);
        let process = Process {
            id,
            catch_up,
            feeds,
            machine: Instance::new(config, Box::new(self.spills.clone())),
            out: Output::default(),
            sent: 0,
            publisher: Publisher::new(&partitions, queue),
            coordination: self.world.client().with_faults(self.rng.next(), rates),
            coordination_at: 0,
            connection: None,
            connections: 0,
            // Clocks of hosts differ.
            skew_us,
            stopping: false,
            epoch_lost: false,
            waking: false,
        };
        self.stats.instances += u64::from(process.catch_up.is_none());
        self.log(|| format!("instance {id} starts with feeds {:?}", process.feeds));
        self.processes.push(process);
        self.schedule(TICK_US, Event::Tick(id));
        let at = self.processes.len() - 1;
        self.input(at, Input::Start);
        self.pump(id);
    }

    fn now_of(&self, p: usize) -> Now {
        Now { monotonic: Duration::from_micros(self.now), unix_us: BASE_US + self.now + self.processes[p].skew_us }
    }

    fn input(&mut self, p: usize, input: Input) {
        if self.trace.is_some() && !matches!(input, Input::Tick) {
            let id = self.processes[p].id;
            let text = match &input {
                Input::Events(batch) => format!("{} events", batch.events.len()),
                Input::Taken(o) => {
                    format!("Taken {} {} {:?} parked {:?}", o.epoch, o.incarnation, o.checkpoint, o.parked)
                }
                other => format!("{other:?}"),
            };
            self.log(|| format!("[{id}] <- {text}"));
        }
        let now = self.now_of(p);
        let process = &mut self.processes[p];
        process.machine.handle(now, input, &mut process.out);
        if process.out.sends.is_empty() {
            process.sent = 0;
        }
    }

    /// Crashes, stops and takeovers come at any step.
    fn chance_of_death(&mut self, p: usize) {
        if self.healed || self.processes[p].stopping || self.processes[p].catch_up.is_some() {
            return;
        }
        let id = self.processes[p].id;
        if self.rng.chance(self.rates.crash * 4) {
            self.crash(id);
        } else if self.rng.chance(self.rates.stop * 2) {
            self.stop(id);
        } else if self.owners() == 1 && self.rng.chance(self.rates.takeover * 2) {
            self.stats.takeovers += 1;
            self.schedule(0, Event::NewInstance);
        }
    }

    fn crash(&mut self, id: u64) {
        let Some(p) = self.find(id) else { return };
        self.log(|| format!("[{id}] CRASH"));
        self.stats.crashes += 1;
        let process = self.processes.remove(p);
        self.strand(&process.feeds, process.publisher);
        self.drop_catch_up(id);
        self.replace();
    }

    fn replace(&mut self) {
        if self.owners() == 0 && !self.ending {
            let after = self.rng.range(1_000, 400_000);
            self.schedule(after, Event::NewInstance);
        }
    }

    /// What a dead publisher had on its way: a part of it still arrives, in order.
    fn strand(&mut self, feeds: &[usize], mut publisher: Publisher) {
        for (feed, partition, queue) in publisher.take_queues() {
            let keep = self.rng.index(queue.len() + 1);
            let mut after = 0;
            for queued in queue.into_iter().take(keep) {
                after += self.rng.below(200_000);
                self.schedule(after, Event::StoreLate(feeds[feed], partition, queued));
            }
        }
    }

    fn stop(&mut self, id: u64) {
        let Some(p) = self.find(id) else { return };
        if self.processes[p].stopping {
            return;
        }
        self.processes[p].stopping = true;
        self.input(p, Input::Stop);
        self.pump(id);
    }

    fn failover(&mut self) {
        let known = self.checker.known.checkpoint.as_ref().is_some_and(|c| !c.position.gtids.is_empty());
        let all = self.processes.iter().all(|p| !p.machine.frontier().position.gtids.is_empty());
        if !known || !all {
            return;
        }
        self.active = 1 - self.active;
        self.stats.failovers += 1;
        self.log(|| "FAILOVER".into());
        for id in self.processes.iter().map(|p| p.id).collect::<Vec<_>>() {
            self.cut(id, "server went away");
        }
    }

    fn cut(&mut self, id: u64, why: &str) {
        let Some(p) = self.find(id) else { return };
        if self.processes[p].connection.take().is_some() {
            self.stats.disconnects += 1;
            self.input(p, Input::Disconnected(transient(why)));
            self.pump(id);
        }
    }

    fn heal(&mut self) {
        self.log(|| "HEALED".into());
        self.healed = true;
        self.rates = Rates::default();
        for (feed, fault) in self.faults.iter_mut().enumerate() {
            if self.broken != Some(feed) {
                *fault = None;
            }
        }
        // Of several owners the youngest stays, on a connection to the coordination without faults.
        while self.owners() > 1 {
            let oldest = self.processes.iter().find(|p| p.catch_up.is_none()).map(|p| p.id);
            self.crash(oldest.unwrap_or_default());
        }
        for p in &mut self.processes {
            let random = self.rng.next();
            let old = std::mem::replace(&mut p.coordination, self.world.client());
            p.coordination = old.with_faults(random, FaultRates::default());
        }
    }

    pub(crate) fn state_of_processes(&self) -> BTreeMap<u64, State> {
        self.processes.iter().map(|p| (p.id, p.machine.state())).collect()
    }
}

fn transient(message: &str) -> Failure {
    Failure::new(FailureKind::Transient, Cause::Unavailable, message)
}
