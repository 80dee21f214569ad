//! The count of partitions stays what it was, whatever becomes of the topic.

use binlake_pipeline::io::{Cause, Command, Failure, FailureKind};
use binlog::position::FilePos;

use super::*;

struct Topic {
    machine: Instance,
    out: Output,
    stored: Vec<(String, u32)>,
    epoch: u64,
}

impl Topic {
    fn new() -> Topic {
        let mut topic =
            Topic { machine: machine(Format::Binlake, false), out: Output::default(), stored: Vec::new(), epoch: 0 };
        topic.give(Input::Start);
        topic
    }

    fn give(&mut self, input: Input) {
        let now = Now { monotonic: Duration::from_secs(100 * self.epoch), unix_us: 1 };
        self.machine.handle(now, input, &mut self.out);
    }

    /// An epoch in which the topic has so many partitions: what is told of them, and whether it has to be stored before
    /// anything is read.
    fn epoch(&mut self, partitions: u32) -> (Vec<String>, bool) {
        self.epoch += 1;
        self.out.commands.clear();
        let checkpoint = Checkpoint {
            position: Position { file_pos: FilePos { file: "b.000001".into(), pos: 4 }, ..Position::default() },
            ..Checkpoint::default()
        };
        let pinned = self.stored.clone();
        let (parked, quarantined) = (Vec::new(), Vec::new());
        let checkpoint = Some(checkpoint);
        let owned = Ownership { epoch: self.epoch, incarnation: 1, checkpoint, parked, quarantined, pinned };
        self.give(Input::Taken(Box::new(owned)));
        self.give(Input::Opened(vec![Ok(OpenTopic { topic: 0, name: "t".into(), partitions })]));
        self.give(Input::Connected(Server::default()));
        let reads = self.machine.wants_batch();
        self.give(Input::Tick);
        for command in std::mem::take(&mut self.out.commands) {
            match command {
                Command::WriteCheckpoint(write) if !write.pin.is_empty() => self.stored = write.pin,
                other => self.out.commands.push(other),
            }
        }
        self.give(Input::CheckpointWritten);
        assert!(self.machine.wants_batch());
        let told = self.out.commands.iter().filter_map(|c| match c {
            Command::Incident(i) if i.code.name() == "partitions_changed" => Some(i.message.clone()),
            _ => None,
        });
        let told = told.collect();
        self.give(Input::TakeFailed(Failure::new(FailureKind::Transient, Cause::Unavailable, "a new epoch")));
        self.epoch += 1;
        self.give(Input::Tick);
        (told, reads)
    }

    fn stored(&self) -> u32 {
        assert_eq!((self.stored.len(), self.stored[0].0.as_str()), (1, "t"));
        self.stored[0].1
    }
}

#[test]
fn partitions_that_are_added_get_nothing() {
    let mut topic = Topic::new();
    assert_eq!((topic.epoch(2), topic.stored()), ((vec![], false), 2), "stored before the first row");
    assert_eq!(topic.epoch(2), (vec![], true));
    let (told, reads) = topic.epoch(8);
    assert!(reads && told.len() == 1, "{told:?}");
    assert!(told[0].contains("topic t has 8 partitions now; records go on to the first 2"), "{told:?}");
    assert_eq!(topic.epoch(8), (vec![], true), "told once");
    // Another process knows the count.
    let mut next = Topic { stored: topic.stored.clone(), ..Topic::new() };
    assert_eq!(next.epoch(8).0.len(), 1);
    assert_eq!(next.stored(), 2);
}

#[test]
fn a_topic_with_fewer_partitions_was_made_anew() {
    let mut topic = Topic::new();
    topic.epoch(4);
    let (told, reads) = topic.epoch(3);
    assert!(!reads && told[0].contains("has 3 partitions and had 4"), "{told:?}");
    assert_eq!(topic.stored(), 3);
    assert_eq!(topic.epoch(3), (vec![], true));
}
