//! The machine by hand: feeds of every table, and the log that it is given.
#![allow(clippy::unwrap_used, reason = "a failed test")]

mod columns;
mod history;
mod opening;
mod partitions;
mod quarantine;
mod settled;
mod slices;
mod statements;

use std::time::Duration;

use binlake_pipeline::checkpoint::{Checkpoint, Stopped};
use binlake_pipeline::feed::{FeedSpec, Format, Order};
use binlake_pipeline::instance::{Instance, InstanceConfig, Limits, Work};
use binlake_pipeline::io::{Batch, Input, Now, OpenTopic, Output, Ownership, Resolved, Server, Skip, Start};
use binlake_pipeline::rule::{Columns, EventKinds, Rule, TablePatterns};
use binlake_pipeline::spill::MemorySpills;
use binlog::position::Position;

/// Of every table, with all columns or these.
fn feed(name: &str, format: Format, columns: &[&str]) -> FeedSpec {
    let rule = Rule {
        tables: TablePatterns::parse("*.*").unwrap(),
        events: EventKinds::default(),
        columns: Columns::new(columns).unwrap(),
    };
    FeedSpec { name: name.into(), rule, format, order: Order::Source, max_record_bytes: 900_000 }
}

/// `definitions`: whether it may ask for those that the log does not tell.
fn machine(format: Format, definitions: bool) -> Instance {
    machine_of(vec![feed("f", format, &[])], definitions)
}

fn machine_of(feeds: Vec<FeedSpec>, definitions: bool) -> Instance {
    let config = InstanceConfig {
        source: "s".into(),
        feeds,
        limits: Limits::default(),
        headers: false,
        until: None,
        limit: None,
        definitions,
        start_again: "start again".into(),
        catch_up: false,
    };
    Instance::new(config, Box::new(MemorySpills))
}

/// Where reading begins on the server `here`.
fn resolved(position: Position, skip: Option<Skip>) -> Resolved {
    Resolved { start: Start { position, skip }, server_uuid: "here".into() }
}

fn batch<'a>(log: impl IntoIterator<Item = &'a Vec<u8>>) -> Batch {
    let mut batch = Batch::default();
    for event in log {
        let start = batch.buf.len();
        batch.buf.extend_from_slice(event);
        batch.events.push(start..batch.buf.len());
    }
    batch
}

/// A machine that owns the source with this stored state, and streams.
struct Owner {
    machine: Instance,
    out: Output,
    now: Now,
}

impl Owner {
    fn new(machine: Instance) -> Owner {
        let now = Now { monotonic: Duration::from_secs(1), unix_us: 1 };
        Owner { machine, out: Output::default(), now }
    }

    /// Takes the source; without a checkpoint the start is asked for then.
    fn own(&mut self, checkpoint: Option<Checkpoint>, quarantined: Vec<(String, Stopped)>) {
        self.own_parked(checkpoint, Vec::new(), quarantined);
    }

    fn own_parked(
        &mut self,
        checkpoint: Option<Checkpoint>,
        parked: Vec<(String, Stopped)>,
        quarantined: Vec<(String, Stopped)>,
    ) {
        let feeds = self.machine.config().feeds.len();
        let owned =
            Ownership { epoch: 1, incarnation: 1, checkpoint, parked, quarantined, pinned: vec![("t".into(), 1)] };
        self.give(Input::Start);
        self.give(Input::Taken(Box::new(owned)));
        self.give(Input::Opened(vec![Ok(OpenTopic { topic: 0, name: "t".into(), partitions: 1 }); feeds]));
    }

    fn take(machine: Instance, checkpoint: Option<Checkpoint>, quarantined: Vec<(String, Stopped)>) -> Owner {
        let mut owner = Owner::new(machine);
        let fresh = checkpoint.is_none();
        owner.own(checkpoint, quarantined);
        if fresh {
            owner.give(Input::StartResolved(Box::new(resolved(Position::default(), None))));
            owner.give(Input::CheckpointWritten);
        }
        owner.give(Input::Connected(Server::default()));
        owner
    }

    fn give(&mut self, input: Input) {
        self.machine.handle(self.now, input, &mut self.out);
        while self.machine.work(self.now, &mut self.out) == Work::More {}
    }
}
