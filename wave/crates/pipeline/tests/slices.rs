//! A call of `work` ends after a bounded part of a transaction, also where no record comes of it: whoever drives the
//! machine has a clock to look at, and may be asked to stop.
#![allow(clippy::unwrap_used, reason = "a failed test")]

mod machine;

use std::time::Duration;

use binlake_pipeline::instance::Work;
use binlake_pipeline::io::{Command, Input, Now, OpenTopic, Output, Ownership, Server, Start};
use binlog::position::Position;
use kit::events;
use machine::{batch, machine};

const EVENTS: usize = 10_000;

#[test]
fn a_large_transaction_without_records_is_worked_on_in_parts() {
    let (mut machine, mut out) = (machine(false), Output::default());
    let now = Now { monotonic: Duration::from_secs(1), unix_us: 1 };
    let owned = Ownership { epoch: 1, incarnation: 1, checkpoint: None, parked: Vec::new(), quarantined: Vec::new() };
    for input in [
        Input::Start,
        Input::Taken(Box::new(owned)),
        Input::Opened(vec![OpenTopic { topic: 0, partitions: 1 }]),
        Input::StartResolved(Box::new(Start { position: Position::default(), skip: None })),
        Input::CheckpointWritten,
        Input::Connected(Server::default()),
    ] {
        machine.handle(now, input, &mut out);
    }
    assert!(out.commands.iter().any(|c| matches!(c, Command::Connect { .. })) && machine.wants_batch());

    let rows = events::write_rows(1, 7, b"pad");
    let head = [events::format_description(), events::begin(), events::table_map()];
    let log = batch(head.iter().chain(std::iter::repeat_n(&rows, EVENTS)).chain([&events::xid()]));
    machine.handle(now, Input::Events(log), &mut out);
    let mut calls = 1;
    while machine.work(now, &mut out) == Work::More {
        calls += 1;
    }
    assert_eq!(machine.totals().rows(), EVENTS as u64);
    assert!((50..500).contains(&calls), "{EVENTS} events in {calls} calls");
}
