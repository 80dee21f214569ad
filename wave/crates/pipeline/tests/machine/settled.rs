//! How far it says that everything is settled: with nothing out, also events that end no transaction. MariaDB logs such
//! a while after the last transaction, and a log may end with them for days.

use std::time::Duration;

use binlake_pipeline::feed::Format;
use binlake_pipeline::format::maxwell_json;
use binlake_pipeline::io::{Batch, Command, Ended, Input, Outcome};
use kit::events;

use crate::{Owner, batch, machine};

/// BINLOG_CHECKPOINT_EVENT of MariaDB.
const CHECKPOINT: u8 = 161;

fn writer() -> Owner {
    Owner::take(machine(Format::MaxwellJson(maxwell_json::Options::default()), false), None, Vec::new())
}

/// A row, and its commit, which ends at 400.
fn transaction() -> Batch {
    let mut commit = events::xid();
    commit[13..17].copy_from_slice(&400_u32.to_le_bytes());
    let head = [events::rotate("b.000001"), events::format_description(), events::begin(), events::table_map()];
    let rows = [events::write_rows(1, 7, b"pad"), commit];
    batch(head.iter().chain(&rows))
}

#[test]
fn events_after_the_last_transaction_count_once_that_is_settled() {
    let mut owner = writer();
    let checkpoint = |end| events::event(CHECKPOINT, 0, end, b"\x08\0\0\0b.000001");
    owner.give(Input::Events(transaction()));
    assert_eq!(owner.machine.settled().to_string(), ":0", "a record is out");

    owner.give(Input::Events(batch([&checkpoint(440)])));
    assert_eq!(owner.machine.read_position().file_pos.to_string(), "b.000001:440");
    assert_eq!(owner.machine.settled().to_string(), ":0", "and still is");
    let token = owner.out.sends[0].token;
    owner.give(Input::Report { token, outcome: Outcome::Settled });
    assert_eq!(owner.machine.settled().to_string(), "b.000001:440");
    assert_eq!(owner.machine.frontier().position.file_pos.pos, 400, "a checkpoint is the end of a transaction");

    owner.give(Input::Events(batch([&checkpoint(480), &events::begin()])));
    assert_eq!(owner.machine.settled().to_string(), "b.000001:480", "and not what is open");
}

#[test]
fn a_target_that_is_silent_is_told_once_until_it_answers() {
    let mut owner = writer();
    let told = |owner: &Owner| {
        let failing = |c: &&Command| matches!(c, Command::Incident(i) if i.code.name() == "feed_failing");
        owner.out.commands.iter().filter(failing).count()
    };
    let wait = |owner: &mut Owner, seconds| {
        owner.now.monotonic += Duration::from_secs(seconds);
        owner.give(Input::Tick);
        (told(owner), owner.machine.silent().map(|(feed, age)| (feed.to_owned(), age.as_secs())))
    };
    let silent = |seconds| Some(("f".to_owned(), seconds));
    owner.give(Input::Events(transaction()));
    assert_eq!(wait(&mut owner, 9), (0, None));
    assert_eq!(wait(&mut owner, 2), (0, None), "the driver itself may have been kept from its reports");
    assert_eq!(wait(&mut owner, 1), (1, silent(12)));
    assert_eq!(wait(&mut owner, 60), (1, silent(72)));
    let token = owner.out.sends[0].token;
    owner.give(Input::Report { token, outcome: Outcome::Settled });
    assert_eq!(wait(&mut owner, 1), (1, None));

    owner.give(Input::Events(transaction()));
    assert_eq!((wait(&mut owner, 11), wait(&mut owner, 1)), ((1, None), (2, silent(12))));
}

#[test]
fn what_an_epoch_that_ended_had_read_is_not_settled() {
    let mut owner = writer();
    owner.give(Input::Events(transaction()));
    let token = owner.out.sends[0].token;
    owner.give(Input::Report { token, outcome: Outcome::Unknown("no answer".into()) });
    assert_eq!(owner.machine.settled().to_string(), ":0");
}

#[test]
fn a_stop_with_records_of_unknown_outcome_is_no_good_end() {
    let mut owner = writer();
    owner.give(Input::Events(transaction()));
    let token = owner.out.sends[0].token;
    owner.give(Input::Stop);
    owner.give(Input::Report { token, outcome: Outcome::Unknown("no answer".into()) });
    let end = owner.out.commands.iter().find_map(|c| match c {
        Command::Finished(end) => Some(end),
        _ => None,
    });
    assert!(matches!(end, Some(Ended::Failed(failure)) if failure.message == "no answer"), "{end:?}");
    assert_eq!(owner.machine.settled().to_string(), ":0");
}
