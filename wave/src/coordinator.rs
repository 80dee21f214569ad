//! The coordination of one instance, off its thread: a take or a fenced write may wait for a disk or a network.

use std::sync::mpsc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use coord::{CoordError, Coordination, Fence, SourceId, Write};
use pipeline::checkpoint::{Checkpoint, Stopped};
use pipeline::io::{Cause, Failure, FailureKind, Input, Ownership};

/// What an instance asks of its coordination.
#[derive(Debug)]
pub enum Request {
    Take,
    Write {
        epoch: u64,
        incarnation: u64,
        checkpoint: Box<Checkpoint>,
        park: Vec<(String, Stopped)>,
        quarantine: Vec<(String, Stopped)>,
    },
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
        mut backend: Box<dyn Coordination>,
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

fn answer(backend: &mut dyn Coordination, source: &SourceId, owner: &str, request: Request) -> Input {
    match request {
        Request::Take => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
            match backend.take(source, owner, now).map_err(failure).and_then(ownership) {
                Ok(ownership) => Input::Taken(Box::new(ownership)),
                Err(failure) => Input::TakeFailed(failure),
            }
        }
        Request::Write { epoch, incarnation, checkpoint, park, quarantine } => {
            let mut batch = vec![Write::Incarnation(incarnation), Write::Checkpoint(checkpoint.to_bytes())];
            batch.extend(park.into_iter().map(|(feed, stopped)| put("parked", &feed, &stopped)));
            batch.extend(quarantine.into_iter().map(|(table, stopped)| put("quarantine", &table, &stopped)));
            let fence = Fence { source: source.clone(), epoch };
            match backend.write(&fence, &batch) {
                Ok(()) => Input::CheckpointWritten,
                // Batches are idempotent: what may or may not be stored is written again with the next one.
                Err(e) => Input::CheckpointFailed(failure(e)),
            }
        }
    }
}

fn put(kind: &str, name: &str, stopped: &Stopped) -> Write {
    Write::Put { name: format!("{kind}/{name}"), bytes: serde_json::to_vec(stopped).unwrap_or_default() }
}

fn ownership(taken: coord::Taken) -> Result<Ownership, Failure> {
    let damaged = |what: String| Failure::new(FailureKind::Permanent, Cause::Data, what);
    let checkpoint = match taken.checkpoint {
        Some(bytes) => Some(Checkpoint::from_bytes(&bytes).map_err(|e| damaged(e.to_string()))?),
        None => None,
    };
    let (mut parked, mut quarantined) = (Vec::new(), Vec::new());
    for (name, bytes) in taken.entries {
        let list = match name.split_once('/') {
            Some(("parked", feed)) => Some((&mut parked, feed)),
            Some(("quarantine", table)) => Some((&mut quarantined, table)),
            _ => None,
        };
        if let Some((list, subject)) = list {
            let stopped: Stopped =
                serde_json::from_slice(&bytes).map_err(|e| damaged(format!("entry {name} cannot be read: {e}")))?;
            list.push((subject.to_string(), stopped));
        }
    }
    Ok(Ownership { epoch: taken.epoch, incarnation: taken.incarnation, checkpoint, parked, quarantined })
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn failure(error: CoordError) -> Failure {
    let (kind, cause) = match &error {
        CoordError::Fenced { .. } | CoordError::SessionLost(_) => (FailureKind::Fenced, Cause::Conflict),
        CoordError::Unavailable(_) | CoordError::Unknown(_) => (FailureKind::Transient, Cause::Unavailable),
        CoordError::Corrupt { .. } => (FailureKind::Permanent, Cause::Data),
        CoordError::Locked { .. } => (FailureKind::Permanent, Cause::Conflict),
        CoordError::TooLarge { .. } | CoordError::Invalid(_) => (FailureKind::Permanent, Cause::Internal),
    };
    Failure::new(kind, cause, error.to_string())
}
