//! The coordination of one instance, off its thread: a take or a fenced write may wait for a disk or a network.

use std::num::NonZeroU32;
use std::sync::mpsc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use coord::{
    CoordError, Coordination, Fence, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, MAX_CHECKPOINT_BYTES, SourceId, Taken, Write,
};
use pipeline::checkpoint::{Checkpoint, Stopped};
use pipeline::io::{Cause, CheckpointWrite, Failure, FailureKind, Input, Ownership};

/// The part of [`Coordination`] that an instance needs; every coordination has it.
pub trait Ownable: Send {
    /// # Errors
    /// As [`Coordination::take`].
    fn take(&mut self, source: &SourceId, owner: &str, now_unix_ms: u64) -> Result<Taken, CoordError>;
    /// # Errors
    /// As [`Coordination::write`].
    fn write(&mut self, fence: &Fence, batch: &[Write]) -> Result<(), CoordError>;
}

impl<C: Coordination> Ownable for C {
    fn take(&mut self, source: &SourceId, owner: &str, now_unix_ms: u64) -> Result<Taken, CoordError> {
        Coordination::take(self, source, owner, now_unix_ms)
    }

    fn write(&mut self, fence: &Fence, batch: &[Write]) -> Result<(), CoordError> {
        Coordination::write(self, fence, batch)
    }
}

/// Feeds that come back in the batch of their checkpoint, which has to have room for other entries, too.
const UNPARKED_WITH_CHECKPOINT: usize = 8;

/// What an instance asks of its coordination.
#[derive(Debug)]
pub enum Request {
    Take,
    Write(Box<CheckpointWrite>),
}

/// Answers requests in order, on a thread of its own.
#[derive(Debug)]
pub struct Coordinator {
    requests: mpsc::Sender<Request>,
}

impl Coordinator {
    /// Starts the thread; answers go to `inbox`. It ends when the coordinator is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        mut backend: Box<dyn Ownable>,
        source: SourceId,
        owner: String,
        inbox: mpsc::Sender<Input>,
    ) -> std::io::Result<Self> {
        let (requests, queue) = mpsc::channel::<Request>();
        thread::Builder::new().name("coordination".into()).spawn(move || {
            for request in queue {
                if inbox.send(answer(backend.as_mut(), &source, &owner, request)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Coordinator { requests })
    }

    /// Never blocks. A coordinator whose thread is gone answers nothing; the instance's drain deadline notices.
    pub fn ask(&self, request: Request) {
        if self.requests.send(request).is_err() {
            tracing::error!("coordination thread is gone");
        }
    }
}

fn answer(backend: &mut dyn Ownable, source: &SourceId, owner: &str, request: Request) -> Input {
    match request {
        Request::Take => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
            match backend.take(source, owner, now).map_err(failure).and_then(ownership) {
                Ok(ownership) => Input::Taken(Box::new(ownership)),
                Err(failure) => Input::TakeFailed(failure),
            }
        }
        Request::Write(wanted) => {
            let CheckpointWrite { epoch, incarnation, checkpoint, park, unpark, quarantine, release, pin } = *wanted;
            let parked = park.iter().map(|(feed, stopped)| put("parked", feed, stopped));
            let stops = parked.chain(quarantine.iter().map(|(table, stopped)| put("quarantine", table, stopped)));
            let pins = pin.iter().map(|(topic, partitions)| pin_entry(topic, *partitions));
            let stops = stops.chain(pins.map(|(name, bytes)| Write::Put { name, bytes }));
            let fence = Fence { source: source.clone(), epoch };
            let mut last = vec![Write::Incarnation(incarnation), Write::Checkpoint(checkpoint.to_bytes())];
            last.extend(release.iter().map(|table| Write::Delete { name: format!("quarantine/{table}") }));
            let unpark = unpark.iter().map(|feed| Write::Delete { name: format!("parked/{feed}") });
            match write(backend, &fence, stops, last, unpark.collect()) {
                Ok(()) => Input::CheckpointWritten,
                // Batches are idempotent: what may or may not be stored is written again with the next one.
                Err(e) => Input::CheckpointFailed(failure(e)),
            }
        }
    }
}

/// Writes a checkpoint with the stops that it passes and the counts of partitions. More than one batch takes are written
/// ahead of it: a stop whose checkpoint never follows is found again when its position is read again. The entries of
/// feeds that are back go with it or, when they are many, after it, but never ahead of it: one that is left is a feed
/// that is still parked.
fn write(
    backend: &mut dyn Ownable,
    fence: &Fence,
    stops: impl Iterator<Item = Write>,
    mut last: Vec<Write>,
    mut unpark: Vec<Write>,
) -> Result<(), CoordError> {
    let size = |w: &Write| match w {
        Write::Put { name, bytes } => name.len() + bytes.len(),
        _ => 0,
    };
    let later = unpark.split_off(unpark.len().min(UNPARKED_WITH_CHECKPOINT));
    last.extend(unpark);
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for stop in stops {
        if batch.len() + last.len() >= MAX_BATCH_ENTRIES
            || bytes + size(&stop) > (MAX_BATCH_BYTES - MAX_CHECKPOINT_BYTES) / 2
        {
            backend.write(fence, &std::mem::take(&mut batch))?;
            bytes = 0;
        }
        bytes += size(&stop);
        batch.push(stop);
    }
    batch.extend(last);
    backend.write(fence, &batch)?;
    later.chunks(MAX_BATCH_ENTRIES).try_for_each(|batch| backend.write(fence, batch))
}

/// Name and bytes under which a stop is stored.
pub(crate) fn entry(kind: &str, name: &str, stopped: &Stopped) -> (String, Vec<u8>) {
    (format!("{kind}/{name}"), stopped.to_bytes())
}

/// Under which counts of partitions are stored, by topic.
pub(crate) const PINNED: &str = "partitions/";

pub(crate) fn pin_entry(topic: &str, partitions: u32) -> (String, Vec<u8>) {
    (format!("{PINNED}{topic}"), partitions.to_string().into_bytes())
}

/// None when it is no count that can be.
pub(crate) fn pin_of(name: &str, bytes: &[u8]) -> Option<(String, u32)> {
    let partitions = str::from_utf8(bytes).ok()?.parse::<NonZeroU32>().ok()?;
    Some((name.strip_prefix(PINNED)?.to_owned(), partitions.get()))
}

fn put(kind: &str, name: &str, stopped: &Stopped) -> Write {
    let (name, bytes) = entry(kind, name, stopped);
    Write::Put { name, bytes }
}

fn ownership(taken: Taken) -> Result<Ownership, Failure> {
    let damaged = |what: String| Failure::new(FailureKind::Permanent, Cause::Data, what);
    let checkpoint = match taken.checkpoint {
        Some(bytes) => Some(Checkpoint::from_bytes(&bytes).map_err(|e| damaged(e.to_string()))?),
        None => None,
    };
    let (mut parked, mut quarantined, mut pinned) = (Vec::new(), Vec::new(), Vec::new());
    for (name, bytes) in taken.entries {
        if name.starts_with(PINNED) {
            let pin = pin_of(&name, &bytes);
            pinned.push(pin.ok_or_else(|| damaged(format!("entry {name} cannot be read: no count of partitions")))?);
            continue;
        }
        let list = match name.split_once('/') {
            Some(("parked", feed)) => Some((&mut parked, feed)),
            Some(("quarantine", table)) => Some((&mut quarantined, table)),
            _ => None,
        };
        if let Some((list, subject)) = list {
            let stopped = Stopped::from_bytes(&bytes).map_err(|e| damaged(format!("entry {name}: {e}")))?;
            list.push((subject.to_string(), stopped));
        }
    }
    Ok(Ownership { epoch: taken.epoch, incarnation: taken.incarnation, checkpoint, parked, quarantined, pinned })
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
pub(crate) fn failure(error: CoordError) -> Failure {
    let (kind, cause) = match &error {
        CoordError::Fenced { .. } | CoordError::SessionLost(_) => (FailureKind::Fenced, Cause::Conflict),
        CoordError::Unavailable(_) | CoordError::Unknown(_) => (FailureKind::Transient, Cause::Unavailable),
        CoordError::Corrupt { .. } => (FailureKind::Permanent, Cause::Data),
        CoordError::Locked { .. } => (FailureKind::Permanent, Cause::Conflict),
        CoordError::TooLarge { .. } | CoordError::Invalid(_) => (FailureKind::Permanent, Cause::Internal),
    };
    Failure::new(kind, cause, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_stops_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let data = coord::DataDir::lock(folder.path()).unwrap();
        let mut backend = coord::file::FileCoordination::open(&data).unwrap();
        let source = SourceId::new("s").unwrap();
        let taken = Coordination::take(&mut backend, &source, "a", 1).unwrap();
        let checkpoint = Checkpoint {
            position: binlog::position::Position::default(),
            seq: 9,
            server_uuid: String::new(),
            commit_us: 0,
            open_xa: Vec::new(),
            file_begun: 0,
        };
        let stopped = Stopped::at(checkpoint.clone(), 1, &"r".repeat(5_000));
        let request = Request::Write(Box::new(CheckpointWrite {
            epoch: taken.epoch,
            incarnation: taken.incarnation,
            checkpoint: checkpoint.clone(),
            park: (0..50).map(|i| (format!("feed{i}"), stopped.clone())).collect(),
            unpark: Vec::new(),
            release: vec!["db.t7".to_string()],
            pin: (1..=50).map(|i| (format!("topic{i}"), i)).collect(),
            quarantine: (0..200).map(|i| (format!("db.t{i}"), stopped.clone())).collect(),
        }));
        let answered = answer(&mut backend, &source, "a", request);
        assert!(matches!(answered, Input::CheckpointWritten), "{answered:?}");
        let Input::Taken(ownership) = answer(&mut backend, &source, "a", Request::Take) else { panic!("not taken") };
        assert!(ownership.checkpoint.is_some());
        assert_eq!((ownership.parked.len(), ownership.quarantined.len()), (50, 199), "one was released");
        assert_eq!(ownership.pinned.len(), 50);
        assert!(ownership.pinned.contains(&("topic7".to_string(), 7)));

        let back = Request::Write(Box::new(CheckpointWrite {
            epoch: ownership.epoch,
            incarnation: ownership.incarnation,
            checkpoint,
            park: Vec::new(),
            unpark: (0..49).map(|i| format!("feed{i}")).collect(),
            release: (8..16).map(|i| format!("db.t{i}")).collect(),
            pin: Vec::new(),
            quarantine: (0..200).map(|i| (format!("db.u{i}"), stopped.clone())).collect(),
        }));
        let answered = answer(&mut backend, &source, "a", back);
        assert!(matches!(answered, Input::CheckpointWritten), "{answered:?}");
        let Input::Taken(ownership) = answer(&mut backend, &source, "a", Request::Take) else { panic!("not taken") };
        assert_eq!((ownership.parked.len(), ownership.quarantined.len()), (1, 391));
    }
}
