//! A call of `work` ends after a bounded part of a transaction, also where no record comes of it: whoever drives the
//! machine has a clock to look at, and may be asked to stop.

use binlake_pipeline::feed::Format;
use binlake_pipeline::instance::Work;
use binlake_pipeline::io::{Command, Input};
use kit::events;

use crate::{Owner, batch, machine};

const EVENTS: usize = 10_000;

#[test]
fn a_large_transaction_without_records_is_worked_on_in_parts() {
    let Owner { mut machine, mut out, now } = Owner::take(machine(Format::None, false), None, Vec::new());
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
