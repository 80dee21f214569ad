//! A feed that wants a column which a table does not have (any more) stops by itself, not its source.

use std::time::Duration;

use binlake_pipeline::checkpoint::{Checkpoint, Stopped};
use binlake_pipeline::feed::Format;
use binlake_pipeline::format::maxwell_json;
use binlake_pipeline::io::{Cause, Command, Ended, Input, Outcome, Server};
use binlog::position::{FilePos, Position};
use kit::events;

use crate::{Owner, batch, feed, machine_of};

fn maxwell() -> Format {
    Format::MaxwellJson(maxwell_json::Options::default())
}

/// A transaction of another table, then one of `it.t (id, pad)`.
fn log() -> Vec<Vec<u8>> {
    let other = |event| events::of_table(8, event);
    let mut map = other(events::table_map());
    let at = map.windows(2).position(|w| w == b"it").unwrap();
    map[at + 4] = b'u';
    let first = [events::begin(), map, other(events::write_rows(1, 6, b"pad")), events::xid()];
    let second = [events::begin(), events::table_map(), events::write_rows(1, 7, b"pad"), events::xid()];
    [events::rotate("b.000001"), events::format_description()].into_iter().chain(first).chain(second).collect()
}

#[test]
fn others_go_on() {
    let feeds = vec![feed("narrow", maxwell(), &["it.t:id,total"]), feed("all", maxwell(), &[])];
    let mut owner = Owner::take(machine_of(feeds, false), None, Vec::new());
    owner.give(Input::Events(batch(&log())));
    let parked: Vec<(&str, &str)> = owner.machine.parked().map(|(name, s)| (name, s.reason.as_str())).collect();
    assert_eq!(parked.len(), 1, "{:?}", owner.out.commands);
    let (name, reason) = parked[0];
    assert_eq!(name, "narrow");
    for part in ["narrow", "`total`", "it.t", "--columns", "start again"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(!owner.out.commands.iter().any(|c| matches!(c, Command::Finished(_))), "{:?}", owner.out.commands);
}

#[test]
fn what_keeps_a_parked_feed_back_now_is_told_and_stored() {
    let feeds = vec![feed("narrow", maxwell(), &["it.t:id,total"]), feed("all", maxwell(), &[])];
    let stopped = Stopped::at(Checkpoint { position: position(4), ..Checkpoint::default() }, 1, "an old reason");
    let mut owner = Owner::new(machine_of(feeds, false));
    let checkpoint = Checkpoint { position: position(400), seq: 9, ..Checkpoint::default() };
    owner.own_parked(Some(checkpoint), vec![("narrow".into(), stopped)], Vec::new());
    owner.give(Input::Connected(Server::default()));
    owner.give(Input::Tick);
    assert!(
        owner.out.commands.iter().any(|c| matches!(c, Command::CatchUp { feed: 0, .. })),
        "{:?}",
        owner.out.commands
    );
    owner.give(Input::CheckpointWritten);

    owner.give(Input::CatchUpEnded { feed: 0, published: false, reason: "the logs are purged".into() });
    let (_, stopped) = owner.machine.parked().next().unwrap();
    assert_eq!((stopped.reason.as_str(), stopped.pos), ("the logs are purged", 4));
    owner.now.monotonic += Duration::from_secs(1);
    owner.give(Input::Tick);
    let stored = owner.out.commands.iter().rev().find_map(|c| match c {
        Command::WriteCheckpoint(write) => {
            write.park.first().map(|(name, stopped)| (name.as_str(), stopped.reason.as_str()))
        }
        _ => None,
    });
    assert_eq!(stored, Some(("narrow", "the logs are purged")));
}

fn position(pos: u64) -> Position {
    Position { file_pos: FilePos { file: "b.000001".into(), pos }, ..Position::default() }
}

fn the_only_one() -> Owner {
    let mut owner = Owner::take(machine_of(vec![feed("narrow", maxwell(), &["it.t:total"])], false), None, Vec::new());
    owner.give(Input::Events(batch(&log())));
    owner
}

fn finished(owner: &Owner) -> Option<Ended> {
    owner.out.commands.iter().find_map(|c| match c {
        Command::Finished(ended) => Some(ended.clone()),
        _ => None,
    })
}

#[test]
fn it_ends_for_the_column_also_where_what_comes_before_cannot_be_settled() {
    let mut owner = the_only_one();
    let token = owner.out.sends[0].token;
    owner.give(Input::Report { token, outcome: Outcome::Unknown("no answer".into()) });
    let Some(Ended::Failed(failure)) = finished(&owner) else { panic!("{:?}", owner.out.commands) };
    assert_eq!(failure.cause, Cause::Data, "{failure:?}");
}

#[test]
fn the_only_one_ends_the_source_behind_what_it_could_publish() {
    let mut owner = the_only_one();
    assert_eq!((owner.out.sends.len(), finished(&owner)), (1, None));
    owner.give(Input::CheckpointWritten);
    let token = owner.out.sends[0].token;
    owner.give(Input::Report { token, outcome: Outcome::Settled });
    let written = owner.out.commands.iter().rev().find_map(|c| match c {
        Command::WriteCheckpoint(write) => Some(write.checkpoint.seq),
        _ => None,
    });
    assert_eq!((written, finished(&owner)), (Some(1), None), "{:?}", owner.out.commands);
    owner.give(Input::CheckpointWritten);
    let Some(Ended::Failed(failure)) = finished(&owner) else { panic!("{:?}", owner.out.commands) };
    assert_eq!(failure.cause, Cause::Data);
    assert!(failure.message.contains("`total`"), "{failure:?}");
}
