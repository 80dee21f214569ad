//! The catch-up of a parked feed: a runner of its own beside the one that asked for it.
//!
//! It is an ordinary runner whose coordination is its owner: the take gives the feed's checkpoint, once, and what it
//! writes goes to the owner's inbox, to be stored beside the owner's checkpoint.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use coord::{CoordError, Fence, SourceId, Taken, Write};
use pipeline::checkpoint::{Checkpoint, Stopped};
use pipeline::instance::{InstanceConfig, Limits};
use pipeline::io::{Cause, Ended, Failure, FailureKind, Input, Ownership};
use pipeline::spill::SpillStore;
use publish::{PublishError, Publisher};

use super::{EventSource, Loop, Parts, Runner, SourceQuestions, publish_failure};
use crate::coordinator::{Ownable, PINNED, entry, pin_entry, pin_of};
use crate::status::StatusCell;

/// What an instance is connected to.
pub struct Ends {
    pub source: Box<dyn EventSource>,
    pub questions: Arc<dyn SourceQuestions>,
    pub publisher: Box<dyn Publisher>,
    pub spills: Box<dyn SpillStore>,
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends").finish_non_exhaustive()
    }
}

/// Makes the ends for the catch-up of the feed of this name.
pub type MakeEnds = Box<dyn FnMut(&str) -> Result<Ends, PublishError> + Send>;

/// Beside the instance's own.
const IN_FLIGHT: u64 = 8 << 20;
/// A catch-up under way.
#[derive(Debug)]
pub(super) struct CatchUp {
    feed: usize,
    runner: Runner,
    status: StatusCell,
}

impl CatchUp {
    pub(super) fn stop(&self) {
        self.runner.stop();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.runner.is_finished()
    }

    /// Waits for its end; what is to be told of it.
    pub(super) fn join(self) -> Input {
        let ended = self.runner.join();
        let status = self.status.get();
        let reason = match ended {
            Ended::Done => "its catch-up was stopped".to_string(),
            // It may not take again: what ended its epoch is the reason.
            Ended::Failed(failure) if failure.kind == FailureKind::Fenced => {
                let why = status.incidents.iter().rev().find(|i| i.code != "source_failed");
                why.map_or(failure.message, |i| i.message.clone())
            }
            Ended::Failed(failure) => failure.message,
        };
        Input::CatchUpEnded { feed: self.feed, published: status.records > 0, reason }
    }
}

impl Loop {
    pub(super) fn start_catch_up(&mut self, feed: usize, ownership: Ownership) {
        match self.make_catch_up(feed, ownership) {
            Ok(catch_up) => self.catch_up = Some(catch_up),
            Err(failure) => self.feed(Input::CatchUpEnded { feed, published: false, reason: failure.message }),
        }
    }

    fn make_catch_up(&mut self, feed: usize, ownership: Ownership) -> Result<CatchUp, Failure> {
        let config = self.machine.config();
        let spec = config.feeds[feed].clone();
        let make = self.make_ends.as_mut().ok_or_else(|| {
            Failure::new(FailureKind::Permanent, Cause::Usage, "this command does not bring parked feeds back")
        })?;
        let ends = make(&spec.name).map_err(|e| publish_failure(&e))?;
        let status = StatusCell::new(&config.source, "", &spec.name, None);
        let limits = Limits { in_flight_bytes: config.limits.in_flight_bytes.min(IN_FLIGHT), ..config.limits.clone() };
        let start_again =
            "take a new snapshot of its tables, and give the feed another topic: one that is new begins where \
                           the source's other feeds are"
                .to_string();
        let runner = Runner::start(Parts {
            config: InstanceConfig { feeds: vec![spec], limits, start_again, catch_up: true, ..config.clone() },
            topics: vec![self.topics[feed].clone()],
            source: ends.source,
            publisher: ends.publisher,
            coordination: Box::new(Entry::new(ownership, feed, self.sender.clone())),
            questions: ends.questions,
            spills: ends.spills,
            status: status.clone(),
            on_incident: Box::new(|_| {}),
            make_ends: None,
        })?;
        Ok(CatchUp { feed, runner, status })
    }
}

/// The coordination of a catch-up.
struct Entry {
    /// Given at the first take; there is no second.
    given: Option<Taken>,
    /// Entries of tables that it may quarantine: its owner has them, too.
    quarantined: Vec<String>,
    feed: usize,
    owner: mpsc::Sender<Input>,
}

impl Entry {
    fn new(ownership: Ownership, feed: usize, owner: mpsc::Sender<Input>) -> Self {
        let Ownership { epoch, incarnation, checkpoint, quarantined, pinned, .. } = ownership;
        let stored = quarantined.iter().map(|(table, stopped)| entry("quarantine", table, stopped));
        let mut entries: BTreeMap<String, Vec<u8>> = stored.collect();
        let quarantined = entries.keys().cloned().collect();
        entries.extend(pinned.iter().map(|(topic, partitions)| pin_entry(topic, *partitions)));
        let checkpoint = checkpoint.map(|c| c.to_bytes());
        Entry { given: Some(Taken { epoch, incarnation, checkpoint, entries }), quarantined, feed, owner }
    }
}

impl Ownable for Entry {
    fn take(&mut self, source: &SourceId, _owner: &str, _now_unix_ms: u64) -> Result<Taken, CoordError> {
        self.given.take().ok_or_else(|| CoordError::Fenced { source_id: source.clone(), mine: 0, current: 0 })
    }

    fn write(&mut self, _fence: &Fence, batch: &[Write]) -> Result<(), CoordError> {
        let (mut settled, mut pinned) = (None, Vec::new());
        for write in batch {
            match write {
                Write::Put { name, bytes } if name.starts_with(PINNED) => pinned.extend(pin_of(name, bytes)),
                Write::Put { name, bytes } if !self.quarantined.contains(name) => {
                    let reason = Stopped::from_bytes(bytes).map_or_else(|e| e.to_string(), |stopped| stopped.reason);
                    let name = name.strip_prefix("quarantine/").unwrap_or(name);
                    return Err(CoordError::Invalid(format!("table {name} cannot be read again from there: {reason}")));
                }
                Write::Checkpoint(bytes) => settled = Some(bytes),
                _ => {}
            }
        }
        let Some(bytes) = settled else { return Ok(()) };
        let checkpoint = Checkpoint::from_bytes(bytes).map_err(|e| CoordError::Invalid(e.to_string()))?;
        let caught_up = Input::CaughtUp { feed: self.feed, checkpoint: Box::new(checkpoint), pinned };
        self.owner.send(caught_up).map_err(|_| CoordError::Unavailable("the instance has ended".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_cannot_be_read_again_is_told_with_its_reason() {
        let (owner, _inbox) = mpsc::channel();
        let source = SourceId::new("s").unwrap();
        let (checkpoint, parked, quarantined, pinned) = (None, Vec::new(), Vec::new(), Vec::new());
        let owned = Ownership { epoch: 1, incarnation: 1, checkpoint, parked, quarantined, pinned };
        let (mut backend, fence) = (Entry::new(owned, 0, owner), Fence { source, epoch: 1 });
        // One that is stored plain, and one that is compressed.
        for length in [10, 100_000] {
            let reason = "no right ".repeat(length / 9);
            let (name, bytes) = entry("quarantine", "it.t", &Stopped::at(Checkpoint::default(), 1, &reason));
            let error = backend.write(&fence, &[Write::Put { name, bytes }]).unwrap_err().to_string();
            assert!(error.contains("it.t") && error.contains(&reason), "{error}");
        }
    }
}
