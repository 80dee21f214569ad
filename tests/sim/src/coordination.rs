//! Between the machine's inputs and the coordination: the same stored form as the wave's.

use std::collections::BTreeMap;

use coord::{CoordError, Taken, Write};
use pipeline::checkpoint::{Checkpoint, Stopped};
use pipeline::io::{Cause, CheckpointWrite, Failure, FailureKind, Input, Ownership};

use crate::check::Known;

type Stops = Vec<(String, Stopped)>;

#[derive(Debug)]
pub(crate) enum Request {
    Take,
    Write(Box<CheckpointWrite>),
}

#[must_use]
pub(crate) fn batch(wanted: CheckpointWrite) -> Vec<Write> {
    // No table is released here: none is quarantined.
    let CheckpointWrite { incarnation, checkpoint, park, unpark, quarantine, pin, .. } = wanted;
    let put = |kind: &str, (name, stopped): (String, Stopped)| Write::Put {
        name: format!("{kind}/{name}"),
        bytes: stopped.to_bytes(),
    };
    let mut batch = vec![Write::Incarnation(incarnation), Write::Checkpoint(checkpoint.to_bytes())];
    batch.extend(park.into_iter().map(|stop| put("parked", stop)));
    batch.extend(unpark.into_iter().map(|name| Write::Delete { name: format!("parked/{name}") }));
    batch.extend(quarantine.into_iter().map(|stop| put("quarantine", stop)));
    batch.extend(pin.into_iter().map(|(topic, partitions)| Write::Put {
        name: format!("partitions/{topic}"),
        bytes: partitions.to_string().into_bytes(),
    }));
    batch
}

#[must_use]
pub(crate) fn known(
    epoch: u64,
    incarnation: u64,
    checkpoint: Option<&[u8]>,
    entries: &BTreeMap<String, Vec<u8>>,
) -> Known {
    Known {
        epoch,
        incarnation,
        checkpoint: checkpoint.and_then(|bytes| Checkpoint::from_bytes(bytes).ok()),
        parked: stops(entries, "parked").into_iter().collect(),
    }
}

fn stops(entries: &BTreeMap<String, Vec<u8>>, kind: &str) -> Stops {
    let stop = |(name, bytes): (&String, &Vec<u8>)| {
        let name = name.strip_prefix(kind)?.strip_prefix('/')?;
        Some((name.to_string(), Stopped::from_bytes(bytes).ok()?))
    };
    entries.iter().filter_map(stop).collect()
}

fn pinned(entries: &BTreeMap<String, Vec<u8>>) -> Vec<(String, u32)> {
    let pin = |(name, bytes): (&String, &Vec<u8>)| {
        Some((name.strip_prefix("partitions/")?.to_string(), str::from_utf8(bytes).ok()?.parse().ok()?))
    };
    entries.iter().filter_map(pin).collect()
}

#[must_use]
pub(crate) fn taken(taken: &Taken) -> Input {
    let known = known(taken.epoch, taken.incarnation, taken.checkpoint.as_deref(), &taken.entries);
    Input::Taken(Box::new(Ownership {
        epoch: known.epoch,
        incarnation: known.incarnation,
        checkpoint: known.checkpoint,
        parked: known.parked.into_iter().collect(),
        quarantined: stops(&taken.entries, "quarantine"),
        pinned: pinned(&taken.entries),
    }))
}

#[must_use]
pub(crate) fn failure(error: &CoordError) -> Failure {
    let (kind, cause) = match error {
        CoordError::Fenced { .. } | CoordError::SessionLost(_) => (FailureKind::Fenced, Cause::Conflict),
        CoordError::Unavailable(_) | CoordError::Unknown(_) => (FailureKind::Transient, Cause::Unavailable),
        _ => (FailureKind::Permanent, Cause::Internal),
    };
    Failure::new(kind, cause, error.to_string())
}
