//! Statements in the log: savepoints, and changes that are no rows.

use binlake_pipeline::feed::Format;
use binlake_pipeline::format::maxwell_json;
use binlake_pipeline::io::{Command, Ended, Input, Server, Skip};
use binlog::position::{FilePos, Position};
use kit::events;

use crate::{Owner, batch, machine, resolved};

fn streaming() -> Owner {
    let format = Format::MaxwellJson(maxwell_json::Options::default());
    let mut owner = Owner::take(machine(format, false), None, Vec::new());
    owner.give(Input::Events(batch(&[events::rotate("b.000001"), events::format_description()])));
    owner
}

/// Of a session with `character_set_client` latin1.
fn of_latin1(sql: &str) -> Vec<u8> {
    let status = b"\x04\x08\0\x08\0\x08\0";
    events::event(events::QUERY, 0, 0, &[&[0; 11][..], &[7, 0], status, b"\0", sql.as_bytes()].concat())
}

impl Owner {
    /// The ids of a transaction's rows that are published; `sql` stands between the rows of 2 and 3.
    fn ids_around(&mut self, sql: &[&str]) -> Vec<u64> {
        let row = |id| events::write_rows(1, id, b"pad");
        let mut log = vec![events::begin(), events::table_map(), row(1), events::query("SAVEPOINT `É x`"), row(2)];
        log.extend(sql.iter().map(|sql| of_latin1(sql)));
        log.extend([row(3), events::xid()]);
        self.out = Default::default();
        self.give(Input::Events(batch(&log)));
        let rows = self.out.sends.iter().map(|send| {
            let row: serde_json::Value = serde_json::from_slice(&self.out.arena[send.value.clone()]).unwrap();
            row["data"]["id"].as_u64().unwrap()
        });
        rows.collect()
    }

    fn incidents(&self) -> Vec<String> {
        let said = self.out.commands.iter().filter_map(|c| match c {
            Command::Incident(incident) => Some(format!("{}: {}", incident.code.name(), incident.message)),
            _ => None,
        });
        said.collect()
    }
}

#[test]
fn a_savepoint_is_found_by_its_name_as_the_server_compares_it() {
    let mut owner = streaming();
    assert_eq!(owner.ids_around(&["ROLLBACK TO `É x`"]), [1, 3]);
    assert_eq!(owner.ids_around(&["ROLLBACK TO \"e X\""]), [1, 3]);
    assert_eq!(owner.ids_around(&["SAVEPOINT \"b x\"", "ROLLBACK TO \"b x\""]), [1, 2, 3]);
    assert_eq!(owner.incidents(), [""; 0]);
}

#[test]
fn a_savepoint_that_nobody_set_is_told() {
    let mut owner = streaming();
    assert_eq!(owner.ids_around(&["ROLLBACK TO `other`"]), [1, 2, 3]);
    let said = owner.incidents();
    assert!(said.len() == 1 && said[0].contains("begins at b.000001:") && said[0].contains("`other`"), "{said:?}");
}

/// A machine that looks for this start in files.
fn looking_for(file: &str, pos: u64) -> Owner {
    let mut owner = Owner::new(machine(Format::None, false));
    let skip = Some(Skip::UntilPosition(FilePos { file: file.into(), pos }));
    owner.own(None, Vec::new());
    owner.give(Input::StartResolved(Box::new(resolved(Position::default(), skip))));
    owner.give(Input::CheckpointWritten);
    owner.give(Input::Connected(Server::default()));
    let mut commit = events::xid();
    commit[13..17].copy_from_slice(&400_u32.to_le_bytes());
    let statement = || events::query("INSERT INTO t VALUES (1)");
    let head = [events::rotate("b.000001"), events::format_description(), events::begin(), statement(), commit];
    owner.give(Input::Events(batch(head.iter().chain(&[events::begin(), statement(), events::xid()]))));
    owner
}

#[test]
fn statements_before_the_start_are_not_missed() {
    assert_eq!(looking_for("b.000001", 4).incidents().len(), 1, "the first of the table");
    let said = looking_for("b.000001", 400).incidents();
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_start_that_is_not_in_the_files_is_an_error() {
    for (file, pos, found) in
        [("b.000001", 400, true), ("b.000001", 401, false), ("b.000002", 4, false), ("c.000001", 4, false)]
    {
        let mut owner = looking_for(file, pos);
        owner.give(Input::EndOfInput);
        let ended = owner.out.commands.iter().find_map(|c| match c {
            Command::Finished(ended) => Some(ended.clone()),
            _ => None,
        });
        match ended {
            Some(Ended::Done) => assert!(found, "{file}:{pos}"),
            Some(Ended::Failed(failure)) => {
                assert!(!found && failure.message.contains(&format!("{file}:{pos}")), "{failure:?}");
            }
            None => panic!("{file}:{pos}: goes on"),
        }
    }
}
