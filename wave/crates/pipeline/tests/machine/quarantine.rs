//! A quarantine that is stored ahead of the checkpoint that passes it belongs to that pass only: after a crash the
//! position is read again, and what is found then counts.

use std::time::Duration;

use binlake_pipeline::checkpoint::{Checkpoint, Stopped};
use binlake_pipeline::feed::Format;
use binlake_pipeline::format::text::Style;
use binlake_pipeline::io::{Cause, Command, Failure, FailureKind, Input};
use binlog::position::{FilePos, Position};
use binlog::schema::{ColumnDefinition, TableDefinition};
use kit::events;

use crate::{Owner, batch, machine};

/// Of `it.t (id INT, pad LONGBLOB)`, without names.
pub(crate) fn unnamed_map() -> Vec<u8> {
    let body = b"\x09\0\0\0\0\0\x01\0\x02it\0\x01t\0\x02\x03\xfc\x01\x04\x02";
    events::event(events::TABLE_MAP, 0, 0, body)
}

fn definition() -> TableDefinition {
    let column = |name: &str, column_type: &str| ColumnDefinition {
        name: name.into(),
        column_type: column_type.into(),
        nullable: name == "pad",
        charset: None,
        key_part: None,
        extra: String::new(),
    };
    let columns = vec![column("id", "int"), column("pad", "longblob")];
    TableDefinition { database: "it".into(), name: "t".into(), columns }
}

fn owns(checkpoint: Option<Checkpoint>, quarantined: Vec<(String, Stopped)>) -> Owner {
    Owner::take(machine(Format::None, true), checkpoint, quarantined)
}

impl Owner {
    /// A transaction with a row of the table; the answer to the question for its definition.
    fn read(&mut self, answer: Result<TableDefinition, Failure>) {
        let head = [events::rotate("b.000001"), events::format_description(), events::begin()];
        let rows = [unnamed_map(), events::write_rows(1, 7, b"pad"), events::xid()];
        self.give(Input::Events(batch(head.iter().chain(&rows))));
        let asked = self.out.commands.iter().find_map(|c| match c {
            Command::LoadTable { at, .. } => Some(at.clone()),
            _ => None,
        });
        let (database, table) = ("it".to_string(), "t".to_string());
        self.give(Input::TableLoaded { database, table, at: asked.unwrap(), result: answer.map(Box::new) });
    }

    /// The next checkpoint: its ordinal, what it quarantines and releases.
    fn write(&mut self) -> (Checkpoint, Vec<(String, Stopped)>, Vec<String>) {
        self.out.commands.clear();
        self.now.monotonic += Duration::from_secs(1);
        self.give(Input::Tick);
        let written = self.out.commands.iter().find_map(|c| match c {
            Command::WriteCheckpoint(w) => Some((w.checkpoint.clone(), w.quarantine.clone(), w.release.clone())),
            _ => None,
        });
        written.unwrap()
    }
}

#[test]
fn what_is_found_when_the_position_is_read_again_counts() {
    let mut owner = owns(None, Vec::new());
    let no_right = || Failure::new(FailureKind::Permanent, Cause::Conflict, "no right on it");
    owner.read(Err(no_right()));
    let (_, stored, released) = owner.write();
    assert_eq!((stored.len(), stored[0].0.as_str(), released.len()), (1, "it.t", 0));
    // The entry is stored, but the checkpoint beside it does not pass it: what came before was not settled yet.
    let before = Checkpoint {
        position: Position { file_pos: FilePos { file: "b.000001".into(), pos: 4 }, ..Position::default() },
        seq: stored[0].1.seq,
        server_uuid: String::new(),
        commit_us: 0,
        open_xa: Vec::new(),
        file_begun: 0,
    };

    // Still not readable: the entry stays, and stands for this pass.
    let mut again = owns(Some(before.clone()), stored.clone());
    again.read(Err(no_right()));
    let (_, quarantined, released) = again.write();
    assert_eq!((quarantined.len(), released.len(), again.machine.totals().rows()), (1, 0, 0));

    // Mended: its rows are published, and the entry goes with the checkpoint that passes it.
    let mut mended = owns(Some(before), stored.clone());
    assert_eq!(mended.machine.quarantined_tables().len(), 0);
    mended.read(Ok(definition()));
    let (after, quarantined, released) = mended.write();
    assert_eq!((quarantined.len(), released, mended.machine.totals().rows()), (0, vec!["it.t".to_string()], 1));
    assert!(after.seq > stored[0].1.seq);
    mended.out.commands.clear();
    mended.give(Input::CheckpointFailed(Failure::new(FailureKind::Transient, Cause::Unavailable, "no answer")));
    let (after, _, released) = mended.write();
    assert_eq!(released, ["it.t"], "a write that failed is made again");
    mended.give(Input::CheckpointWritten);
    let told =
        mended.out.commands.iter().any(|c| matches!(c, Command::Incident(i) if i.code.name() == "table_released"));
    assert!(told, "{:?}", mended.out.commands);

    // The defect that was: with the entry left, the next start stops the table again.
    assert_eq!(owns(Some(after.clone()), stored).machine.quarantined_tables().len(), 1);
    assert_eq!(owns(Some(after), Vec::new()).machine.quarantined_tables().len(), 0);
}

#[test]
fn a_collation_that_is_not_known_is_told_with_its_column() {
    // As above, with names and the collation 999.
    let body = b"\x09\0\0\0\0\0\x01\0\x02it\0\x01t\0\x02\x03\xfc\x01\x04\x02\x02\x03\xfc\xe7\x03\x04\x07\x02id\x03pad";
    let mut owner = Owner::take(machine(Format::Text(Style::default()), false), None, Vec::new());
    let map = events::event(events::TABLE_MAP, 0, 0, body);
    let head = [events::rotate("b.000001"), events::format_description(), events::begin(), map];
    let rows = [events::write_rows(1, 7, b"pad"), events::xid()];
    owner.give(Input::Events(batch(head.iter().chain(&rows))));
    let reason = owner.machine.quarantined_tables().next().map(|(_, stopped)| stopped.reason.clone());
    assert!(reason.as_ref().is_some_and(|r| r.starts_with("column `pad` has collation 999, which")), "{reason:?}");
}
