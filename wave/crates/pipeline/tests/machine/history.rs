//! The schema history does not take what it is given: nothing of the log is passed that it must have.

use binlake_pipeline::feed::Format;
use binlake_pipeline::io::{Cause, Command, Failure, FailureKind, Input};
use binlake_pipeline::lifecycle::State;
use kit::events;

use crate::quarantine::unnamed_map;
use crate::{Owner, batch, machine};

fn no_space() -> Failure {
    Failure::new(FailureKind::Transient, Cause::Unavailable, "no space")
}

impl Owner {
    /// Whether a checkpoint is written once one is due.
    fn writes(&mut self) -> bool {
        self.out.commands.clear();
        self.now.monotonic += std::time::Duration::from_secs(1);
        self.give(Input::Tick);
        self.out.commands.iter().any(|c| matches!(c, Command::WriteCheckpoint(_)))
    }
}

/// Has read a change of a table.
fn altered() -> Owner {
    let mut owner = Owner::take(machine(Format::None, true), None, Vec::new());
    assert!(owner.writes(), "the server is new");
    owner.give(Input::CheckpointWritten);
    let alter = events::query("ALTER TABLE it.t RENAME COLUMN x TO y, RENAME COLUMN y TO x");
    owner.give(Input::Events(batch(&[events::rotate("b.000001"), events::format_description(), alter])));
    assert!(matches!(owner.out.commands.last(), Some(Command::SchemaChanged { .. })), "{:?}", owner.out.commands);
    assert_eq!(owner.machine.frontier().seq, 1, "nothing else holds it back");
    owner
}

#[test]
fn no_checkpoint_passes_a_change_that_is_not_stored() {
    let mut stored = altered();
    assert!(!stored.writes(), "not answered yet");
    stored.give(Input::SchemaStored(Ok(())));
    assert!(stored.writes());

    let mut failed = altered();
    failed.give(Input::SchemaStored(Err(no_space())));
    assert_eq!(failed.machine.state(), State::BackingOff);
    assert!(!failed.writes());

    let mut stopping = altered();
    stopping.give(Input::Stop);
    assert!(!stopping.writes());
    stopping.give(Input::SchemaStored(Err(no_space())));
    assert!(!stopping.writes());
    assert_eq!(stopping.machine.state(), State::Ended);
}

#[test]
fn a_definition_that_is_not_stored_ends_the_epoch_and_stops_no_table() {
    let mut owner = Owner::take(machine(Format::None, true), None, Vec::new());
    let head = [events::rotate("b.000001"), events::format_description(), events::begin(), unnamed_map()];
    owner.give(Input::Events(batch(&head)));
    let Some(Command::LoadTable { database, table, at, .. }) = owner.out.commands.pop() else { panic!("not asked") };
    owner.give(Input::TableLoaded { database, table, at, result: Err(no_space()) });
    assert_eq!(owner.machine.state(), State::BackingOff);
    assert_eq!(owner.machine.quarantined_tables().len(), 0);
}
