//! Seeded simulation of the instance machine.
//!
//! One seed is one history: a log in byte-exact events on two servers, three or four feeds, instances that crash, stop
//! and fence each other, a coordination and a broker with faults, all under one virtual clock. [`run`] plays it and
//! checks the promises of delivery (`check`); the same seed gives the same history, always.
#![forbid(unsafe_code)]

mod check;
mod coordination;
mod event;
mod history;
mod publisher;
mod rng;
mod server;
mod world;

use std::ops::AddAssign;

use world::World;

/// A defect planted into the driver or the consumer, to see that the checkers find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    SettledBeforeStored,
    IgnoreDeliveryError,
    CheckpointOfReadPosition,
    NoFence,
    ResendSingle,
    GtidEarly,
    ParkNotInMulti,
    StartAtLatest,
    DedupByRecord,
    UnparkEarly,
    EntryOfReadPosition,
}

impl Bug {
    pub const ALL: [Bug; 11] = [
        Bug::SettledBeforeStored,
        Bug::IgnoreDeliveryError,
        Bug::CheckpointOfReadPosition,
        Bug::NoFence,
        Bug::ResendSingle,
        Bug::GtidEarly,
        Bug::ParkNotInMulti,
        Bug::StartAtLatest,
        Bug::DedupByRecord,
        Bug::UnparkEarly,
        Bug::EntryOfReadPosition,
    ];
}

/// What happened, so that a run in which nothing went wrong is seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub steps: u64,
    pub messages: u64,
    /// Messages stored again.
    pub repeated: u64,
    pub instances: u64,
    pub epochs: u64,
    pub checkpoints: u64,
    pub crashes: u64,
    pub clean_stops: u64,
    pub takeovers: u64,
    pub fenced: u64,
    pub failovers: u64,
    pub disconnects: u64,
    pub coordination_faults: u64,
    pub feed_faults: u64,
    /// Parks announced, and park entries at the end.
    pub parks: u64,
    pub parked: u64,
    pub catch_ups: u64,
    pub rejoins: u64,
    pub unknown: u64,
    pub lost_reports: u64,
    pub late_records: u64,
    pub full: u64,
    pub xa_commits: u64,
    pub spills: u64,
}

impl Stats {
    /// Each kind with its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 24] {
        [
            ("steps", self.steps),
            ("messages", self.messages),
            ("repeated", self.repeated),
            ("instances", self.instances),
            ("epochs", self.epochs),
            ("checkpoints", self.checkpoints),
            ("crashes", self.crashes),
            ("clean stops", self.clean_stops),
            ("takeovers", self.takeovers),
            ("fenced", self.fenced),
            ("failovers", self.failovers),
            ("disconnects", self.disconnects),
            ("coordination faults", self.coordination_faults),
            ("feed faults", self.feed_faults),
            ("parks", self.parks),
            ("parked at the end", self.parked),
            ("catch-ups", self.catch_ups),
            ("rejoins", self.rejoins),
            ("unknown outcomes", self.unknown),
            ("lost reports", self.lost_reports),
            ("late records", self.late_records),
            ("full", self.full),
            ("XA commits", self.xa_commits),
            ("spills", self.spills),
        ]
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, o: Self) {
        self.steps += o.steps;
        self.messages += o.messages;
        self.repeated += o.repeated;
        self.instances += o.instances;
        self.epochs += o.epochs;
        self.checkpoints += o.checkpoints;
        self.crashes += o.crashes;
        self.clean_stops += o.clean_stops;
        self.takeovers += o.takeovers;
        self.fenced += o.fenced;
        self.failovers += o.failovers;
        self.disconnects += o.disconnects;
        self.coordination_faults += o.coordination_faults;
        self.feed_faults += o.feed_faults;
        self.parks += o.parks;
        self.parked += o.parked;
        self.catch_ups += o.catch_ups;
        self.rejoins += o.rejoins;
        self.unknown += o.unknown;
        self.lost_reports += o.lost_reports;
        self.late_records += o.late_records;
        self.full += o.full;
        self.xa_commits += o.xa_commits;
        self.spills += o.spills;
    }
}

/// Plays the history of `seed`.
///
/// # Errors
/// Broken promises, with the seed and the last events before.
pub fn run(seed: u64, bug: Option<Bug>) -> Result<Stats, String> {
    let mut world = World::new(seed, bug, false);
    world.run();
    if world.checker.violations.is_empty() {
        return Ok(world.stats);
    }
    if bug.is_some() {
        return Err(world.checker.violations.join("\n"));
    }
    let mut world = World::new(seed, bug, true);
    world.run();
    let trace: Vec<String> = world.trace.take().unwrap_or_default().into();
    Err(format!(
        "SIM_SEED={seed} SIM_HISTORIES=1\n{}\n{:?}\n{}",
        trace.join("\n"),
        world.state_of_processes(),
        world.checker.violations.join("\n")
    ))
}
