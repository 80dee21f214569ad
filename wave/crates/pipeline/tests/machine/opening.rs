//! From a take to the first connection: topics that cannot be opened, and what is known of the place where reading begins.

use binlake_pipeline::io::{Cause, Command, Failure, FailureKind};
use binlake_pipeline::lifecycle::State;
use binlog::gtid::GtidSet;
use binlog::position::FilePos;

use super::*;

/// Feeds of which these topics are refused, without a checkpoint and until the topics are opened.
fn opened(refused: &[bool]) -> Owner {
    let names = ["a", "b", "c", "d"];
    let feeds = names.iter().take(refused.len()).map(|name| feed(name, Format::None, &[])).collect();
    let mut owner = Owner::new(machine_of(feeds, false));
    let (parked, quarantined, pinned) = (Vec::new(), Vec::new(), Vec::new());
    let owned = Ownership { epoch: 1, incarnation: 1, checkpoint: None, parked, quarantined, pinned };
    owner.give(Input::Start);
    owner.give(Input::Taken(Box::new(owned)));
    let topic = |(name, refused): (&&str, &bool)| match refused {
        true => Err(Failure::new(FailureKind::Permanent, Cause::NotFound, format!("topic {name} does not exist"))),
        false => Ok(OpenTopic { topic: 0, name: (*name).into(), partitions: 1 }),
    };
    owner.give(Input::Opened(names.iter().zip(refused).map(topic).collect()));
    owner
}

fn incidents(owner: &Owner) -> Vec<(&str, &str)> {
    let incident = owner.out.commands.iter().filter_map(|command| match command {
        Command::Incident(i) => Some((i.code.name(), i.subject.as_str())),
        _ => None,
    });
    incident.collect()
}

#[test]
fn the_refused_are_parked_together_and_the_others_begin() {
    let mut owner = opened(&[true, false, true, true]);
    let parked = ["a", "c", "d"].map(|feed| ("feed_parked", feed));
    assert_eq!((incidents(&owner), owner.machine.state()), (parked.to_vec(), State::Resolving));
    let position = Position { file_pos: FilePos { file: "b.000001".into(), pos: 4 }, ..Position::default() };
    owner.give(Input::StartResolved(Box::new(resolved(position, None))));
    let stored = owner.out.commands.iter().find_map(|command| match command {
        Command::WriteCheckpoint(write) => Some(write.park.clone()),
        _ => None,
    });
    let stored: Vec<_> = stored.unwrap().into_iter().map(|(feed, stopped)| (feed, stopped.pos)).collect();
    assert_eq!(stored, ["a", "c", "d"].map(|feed| (feed.to_string(), 4)), "with the start that they missed");
    owner.give(Input::CheckpointWritten);
    owner.give(Input::Connected(Server::default()));
    assert!(owner.machine.wants_batch());
}

#[test]
fn without_a_topic_that_can_be_opened_the_source_ends() {
    let owner = opened(&[true, true]);
    assert_eq!((incidents(&owner), owner.machine.state()), (vec![("source_failed", "")], State::Ended));
    assert!(owner.out.commands.iter().any(|command| {
        matches!(command, Command::Finished(binlake_pipeline::io::Ended::Failed(f)) if f.cause == Cause::NotFound)
    }));
}

const EXECUTED: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";

/// An instance whose start was just found by file and GTID set on the server `here`, and the checkpoint that says so.
fn begun() -> (Owner, Checkpoint) {
    let mut owner = opened(&[false]);
    let position = Position {
        file_pos: FilePos { file: "b.000002".into(), pos: 157 },
        gtids: EXECUTED.parse::<GtidSet>().unwrap(),
    };
    owner.give(Input::StartResolved(Box::new(resolved(position, None))));
    let stored = owner.out.commands.iter().find_map(|command| match command {
        Command::WriteCheckpoint(write) => Some(write.checkpoint.clone()),
        _ => None,
    });
    owner.give(Input::CheckpointWritten);
    owner.out.commands.clear();
    (owner, stored.unwrap())
}

/// Where the next epoch begins with this checkpoint.
fn next_epoch(owner: &mut Owner, stored: Checkpoint) -> Position {
    owner.now.monotonic += Duration::from_secs(60);
    owner.give(Input::Tick);
    assert!(owner.out.commands.iter().any(|command| matches!(command, Command::Take)), "{:?}", owner.out.commands);
    owner.out.commands.clear();
    owner.own(Some(stored), Vec::new());
    let connect = owner.out.commands.iter().find_map(|command| match command {
        Command::Connect { from, .. } => Some(from.position.clone()),
        _ => None,
    });
    connect.unwrap()
}

/// No transaction was settled since the start: its checkpoint alone has to tell on which server its file is.
#[test]
fn a_server_that_gives_no_log_by_gtid_is_read_by_file_right_after_the_start() {
    let (mut owner, stored) = begun();
    owner.give(Input::Connected(Server { uuid: "here".into(), ..Server::default() }));
    let failure = Failure::new(FailureKind::Permanent, Cause::NoGtids, "gtid_mode is OFF_PERMISSIVE");
    owner.give(Input::Disconnected(failure));
    assert_eq!(incidents(&owner), [("gtids_off", ""), ("epoch_ended", "")]);
    let from = next_epoch(&mut owner, stored);
    assert_eq!((from.file_pos.to_string().as_str(), from.gtids.is_empty()), ("b.000002:157", true));
}

/// A failover between the question and the connection: the file that was found means nothing there.
#[test]
fn another_server_than_the_one_of_the_start_is_read_by_gtid() {
    let (mut owner, stored) = begun();
    owner.give(Input::Connected(Server { uuid: "there".into(), ..Server::default() }));
    assert_eq!(incidents(&owner), [("server_changed", ""), ("epoch_ended", "")]);
    let from = next_epoch(&mut owner, stored);
    assert_eq!((from.file_pos.file.as_str(), from.gtids.to_string().as_str()), ("", EXECUTED));
}
