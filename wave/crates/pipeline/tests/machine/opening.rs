//! Topics that cannot be opened: their feeds are parked together, and the others begin at once.

use binlake_pipeline::io::{Cause, Command, Failure, FailureKind};
use binlake_pipeline::lifecycle::State;
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
    owner.give(Input::StartResolved(Box::new(Start { position, skip: None })));
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
