//! What every backend of coordination and schema history must do.

#![allow(clippy::unwrap_used)]

use binlake_coord as coord;
use coord::file::FileCoordination;
use coord::history::file::FileHistory;
use coord::history::memory::MemoryHistory;
use coord::sim::{Fault, FaultRates, SimCoordination, SimWorld};
use coord::{
    Change, CoordError, Coordination, DataDir, Fence, HistoryEntry, MAX_BATCH_ENTRIES, MAX_CHECKPOINT_BYTES,
    SchemaHistory, SourceId, Write,
};

const NOW_MS: u64 = 1_750_000_000_123;

fn source() -> SourceId {
    SourceId::new("shop").unwrap()
}

fn fence(epoch: u64) -> Fence {
    Fence { source: source(), epoch }
}

fn put(name: &str, bytes: &[u8]) -> Write {
    Write::Put { name: name.to_owned(), bytes: bytes.to_vec() }
}

/// After its session is lost, `a` writes nothing and gives nothing away, until it may take again (`again`); `b` is a
/// user of the same backend whose session lives, if there can be one.
fn lost_session<C: Coordination>(a: &mut C, lose: impl FnOnce(&mut C), mut b: impl FnMut() -> C) {
    let id = source();
    let taken = a.take(&id, "wave-1", NOW_MS).unwrap();
    a.write(&fence(taken.epoch), &[Write::Checkpoint(b"before".to_vec())]).unwrap();
    lose(a);
    let lost = |result: Result<(), CoordError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, CoordError::SessionLost(_)), "{error}");
        assert!(error.to_string().contains("session is lost"), "{error}");
    };
    lost(a.write(&fence(taken.epoch), &[Write::Checkpoint(b"after".to_vec())]));
    lost(a.release(&fence(taken.epoch)));
    lost(a.read(&id).map(|_| ()));
    lost(a.watch(&id));
    let next = b().take(&id, "wave-2", NOW_MS).unwrap();
    assert_eq!((next.epoch, next.checkpoint.as_deref()), (taken.epoch + 1, Some(&b"before"[..])));
    lost(a.write(&fence(next.epoch), &[Write::Checkpoint(b"after".to_vec())]));
    assert_eq!(b().read(&id).unwrap().unwrap().checkpoint.as_deref(), Some(&b"before"[..]));
}

/// `a` and `b` are two users of the same empty backend.
fn conformance(a: &mut dyn Coordination, b: &mut dyn Coordination) {
    let id = source();
    assert_eq!(a.read(&id).unwrap(), None);
    assert!(matches!(a.write(&fence(1), &[]), Err(CoordError::Fenced { .. })), "nobody has taken it yet");

    // The first take starts from the clock; nothing is there.
    b.watch(&id).unwrap();
    let first = a.take(&id, "wave-1", NOW_MS).unwrap();
    assert_eq!((first.epoch, first.incarnation), (NOW_MS / 1000, NOW_MS));
    assert_eq!((first.checkpoint, first.entries.len()), (None, 0));
    assert_eq!(b.poll_changes().unwrap(), [Change::Taken { source: id.clone(), epoch: first.epoch }]);
    assert_eq!(b.poll_changes().unwrap(), []);

    // A batch is stored as a whole; a checkpoint alone is not a change worth a watch.
    a.write(&fence(first.epoch), &[Write::Checkpoint(b"p1".to_vec())]).unwrap();
    assert_eq!(b.poll_changes().unwrap(), []);
    a.write(&fence(first.epoch), &[Write::Checkpoint(b"p2".to_vec()), put("parked/orders", b"x"), put("rule/f", b"1")])
        .unwrap();
    assert_eq!(b.poll_changes().unwrap(), [Change::Entries { source: id.clone() }]);
    let seen = b.read(&id).unwrap().unwrap();
    assert_eq!((seen.owner.as_deref(), seen.checkpoint.as_deref()), (Some("wave-1"), Some(&b"p2"[..])));
    assert_eq!(seen.entries["parked/orders"], b"x");

    // A refused batch changes nothing, not even its good parts.
    let refused = [
        vec![Write::Checkpoint(b"no".to_vec()), Write::Checkpoint(vec![0; MAX_CHECKPOINT_BYTES + 1])],
        vec![put("new", b"no"), put("", b"")],
        vec![put("new", b"no"), Write::Incarnation(NOW_MS - 1)],
        vec![put("new", b"no"); MAX_BATCH_ENTRIES + 1],
        vec![put("new", &vec![0; 300_000]), put("new2", &vec![0; 300_000])],
    ];
    for batch in refused {
        let error = a.write(&fence(first.epoch), &batch).unwrap_err();
        assert!(matches!(error, CoordError::TooLarge { .. } | CoordError::Invalid(_)), "{error}");
        assert_eq!(b.read(&id).unwrap().unwrap(), seen);
    }

    // The clock stands still or goes back: the epoch grows all the same, and the old owner is fenced.
    let second = b.take(&id, "wave-2", NOW_MS - 50_000).unwrap();
    assert_eq!((second.epoch, second.incarnation), (first.epoch + 1, NOW_MS));
    assert_eq!((second.checkpoint.as_deref(), &second.entries), (Some(&b"p2"[..]), &seen.entries));
    let late = a.write(&fence(first.epoch), &[Write::Checkpoint(b"late".to_vec())]);
    assert_eq!(late, Err(CoordError::Fenced { source_id: id.clone(), mine: first.epoch, current: second.epoch }));
    assert!(matches!(a.release(&fence(first.epoch)), Err(CoordError::Fenced { .. })));
    assert!(matches!(a.write(&fence(second.epoch + 1), &[]), Err(CoordError::Fenced { .. })), "an epoch nobody got");
    assert_eq!(b.read(&id).unwrap().unwrap().checkpoint.as_deref(), Some(&b"p2"[..]));

    // A repeated batch is harmless.
    let batch = [
        Write::Checkpoint(b"p3".to_vec()),
        Write::Delete { name: "parked/orders".into() },
        Write::Incarnation(NOW_MS + 5),
        put("quarantine/shop.t", b"q"),
    ];
    b.write(&fence(second.epoch), &batch).unwrap();
    b.write(&fence(second.epoch), &batch).unwrap();
    let now = a.read(&id).unwrap().unwrap();
    assert_eq!((now.incarnation, now.checkpoint.as_deref()), (NOW_MS + 5, Some(&b"p3"[..])));
    assert_eq!(now.entries.keys().collect::<Vec<_>>(), ["quarantine/shop.t", "rule/f"]);

    // Release keeps everything but the owner.
    b.poll_changes().unwrap();
    b.release(&fence(second.epoch)).unwrap();
    assert_eq!(b.poll_changes().unwrap(), [Change::Released { source: id.clone() }]);
    assert_eq!(a.read(&id).unwrap().unwrap(), coord::Snapshot { owner: None, ..now });
    let third = a.take(&id, "wave-1", NOW_MS + 9_000_000).unwrap();
    assert_eq!((third.epoch, third.incarnation), ((NOW_MS + 9_000_000) / 1000, NOW_MS + 5));
    assert_eq!(third.checkpoint.as_deref(), Some(&b"p3"[..]));

    // Sources do not touch each other.
    let other = SourceId::new("other").unwrap();
    assert_eq!(a.take(&other, "wave-1", NOW_MS).unwrap().checkpoint, None);
    a.write(&fence(third.epoch), &[]).unwrap();
}

fn entry(source: &str, table: &str, offset: u64, payload: &[u8]) -> HistoryEntry {
    HistoryEntry {
        source: SourceId::new(source).unwrap(),
        table: table.into(),
        file_number: 7,
        offset,
        gtids: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".into(),
        payload: payload.to_vec(),
    }
}

fn history_conformance(history: &mut dyn SchemaHistory) {
    let shop = source();
    assert_eq!(history.load(&shop).unwrap(), []);
    let entries =
        [entry("shop", "shop.a", 4, b"{}"), entry("shop", "shop.b", 900, b""), entry("shop", "shop.a", 4, b"2")];
    for e in &entries {
        history.append(e).unwrap();
        history.append(&HistoryEntry { source: SourceId::new("other").unwrap(), ..e.clone() }).unwrap();
    }
    assert_eq!(history.load(&shop).unwrap(), entries);
    let huge = entry("shop", "shop.c", 1, &vec![0; coord::history::MAX_ENTRY_BYTES]);
    assert!(matches!(history.append(&huge), Err(CoordError::TooLarge { .. })));
    assert_eq!(history.load(&shop).unwrap(), entries);
}

#[test]
fn file_backend_conforms_and_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let before = {
        let dir = DataDir::lock(folder.path()).unwrap();
        let mut a = FileCoordination::open(&dir).unwrap();
        let mut b = a.clone();
        conformance(&mut a, &mut b);
        a.read(&source()).unwrap()
    };
    let dir = DataDir::lock(folder.path()).unwrap();
    assert_eq!(FileCoordination::open(&dir).unwrap().read(&source()).unwrap(), before);
}

#[test]
fn sim_backend_conforms() {
    let world = SimWorld::default();
    conformance(&mut world.client(), &mut world.client());
}

#[test]
fn a_lost_session_is_named_by_the_file_backend() {
    // The lock file is removed, or replaced by the one of a process that could not see this one.
    for replaced in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut a = FileCoordination::open(&DataDir::lock(folder.path()).unwrap()).unwrap();
        let mut dir = None;
        let lock = folder.path().join("lock");
        lost_session(
            &mut a,
            |_| {
                std::fs::remove_file(&lock).unwrap();
                if replaced {
                    std::fs::write(&lock, "1\n").unwrap();
                }
            },
            || {
                let dir = dir.get_or_insert_with(|| DataDir::lock(folder.path()).unwrap());
                FileCoordination::open(dir).unwrap()
            },
        );
        let again = a.take(&source(), "wave-1", NOW_MS).unwrap_err();
        assert!(matches!(again, CoordError::SessionLost(_)), "the folder has another owner: {again}");
    }
}

#[test]
fn a_lost_session_is_named_by_the_simulation() {
    let world = SimWorld::default();
    let mut client = world.client();
    lost_session(&mut client, SimCoordination::lose_session, || world.client());
    let taken = client.take(&source(), "wave-1", NOW_MS).unwrap();
    client.write(&fence(taken.epoch), &[]).unwrap();

    // Lost in the middle of a call: the same error, and nothing is done.
    client.inject(Fault::SessionLost);
    let error = client.write(&fence(taken.epoch), &[Write::Checkpoint(b"lost".to_vec())]).unwrap_err();
    assert!(matches!(error, CoordError::SessionLost(_)), "{error}");
    let seen = world.client().read(&source()).unwrap().unwrap();
    assert_eq!((seen.owner, seen.checkpoint.as_deref()), (None, Some(&b"before"[..])));
}

#[test]
fn histories_conform() {
    history_conformance(&mut MemoryHistory::default());
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::lock(folder.path()).unwrap();
    let mut history = FileHistory::open(&dir).unwrap();
    history_conformance(&mut history);
    let before = history.load(&source()).unwrap();
    assert_eq!(FileHistory::open(&dir).unwrap().load(&source()).unwrap(), before);
}

#[test]
fn faults_of_the_simulation_do_what_they_say() {
    let world = SimWorld::default();
    let (mut a, mut b) = (world.client(), world.client());
    let epoch = a.take(&source(), "a", NOW_MS).unwrap().epoch;
    let checkpoint = |c: &mut dyn Coordination| c.read(&source()).unwrap().unwrap().checkpoint;
    let write = |text: &str| [Write::Checkpoint(text.as_bytes().to_vec())];

    a.inject(Fault::Refused);
    assert!(matches!(a.write(&fence(epoch), &write("1")), Err(CoordError::Unavailable(_))));
    a.inject(Fault::RequestLost);
    assert!(matches!(a.write(&fence(epoch), &write("2")), Err(CoordError::Unknown(_))));
    assert_eq!(checkpoint(&mut b), None);
    a.inject(Fault::ReplyLost);
    assert!(matches!(a.write(&fence(epoch), &write("3")), Err(CoordError::Unknown(_))));
    assert_eq!(checkpoint(&mut b).unwrap(), b"3");
    a.inject(Fault::Late);
    assert!(matches!(a.write(&fence(epoch), &write("4")), Err(CoordError::Unknown(_))));
    assert_eq!(checkpoint(&mut b).unwrap(), b"3");
    assert_eq!(checkpoint(&mut a).unwrap(), b"4");

    // A late write of a fenced epoch lands nowhere.
    a.inject(Fault::Late);
    a.write(&fence(epoch), &write("5")).unwrap_err();
    b.watch(&source()).unwrap();
    let next = b.take(&source(), "b", NOW_MS).unwrap().epoch;
    assert_eq!(checkpoint(&mut a).unwrap(), b"4");
    b.poll_changes().unwrap();
    b.lose_session();
    assert!(matches!(b.write(&fence(next), &write("6")), Err(CoordError::SessionLost(_))));
    assert_eq!(a.read(&source()).unwrap().unwrap().owner, None);
    assert!(b.take(&source(), "b", NOW_MS).unwrap().epoch > next);
}

/// Two owners under random faults: acknowledged checkpoints never go back, whoever writes them.
#[test]
fn checkpoints_grow_under_random_faults() {
    let rates = FaultRates { refused: 50, request_lost: 80, reply_lost: 80, late: 80, session_lost: 20 };
    for seed in 0..200 {
        let world = SimWorld::default();
        let mut clients = [world.client().with_faults(seed, rates), world.client().with_faults(seed ^ 0xffff, rates)];
        let mut epochs: [Option<(u64, u64)>; 2] = [None, None];
        let mut highest = 0;
        for step in 0..300_u64 {
            let who = usize::from((step.wrapping_mul(seed + 7) >> 3).is_multiple_of(5));
            let client = &mut clients[who];
            let Some((epoch, value)) = epochs[who] else {
                if let Ok(taken) = client.take(&source(), "w", NOW_MS) {
                    let value = taken.checkpoint.map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap()));
                    assert!(
                        value >= highest,
                        "seed {seed}, step {step}: took {value} after {highest} was acknowledged"
                    );
                    epochs[who] = Some((taken.epoch, value));
                }
                continue;
            };
            match client.write(&fence(epoch), &[Write::Checkpoint((value + 1).to_le_bytes().to_vec())]) {
                Ok(()) => {
                    highest = value + 1;
                    epochs[who] = Some((epoch, value + 1));
                }
                // The same batch again is the remedy for an unknown outcome.
                Err(CoordError::Unknown(_)) => {}
                Err(CoordError::Fenced { .. } | CoordError::SessionLost(_) | CoordError::Unavailable(_)) => {
                    epochs[who] = None;
                }
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
        assert!(highest > 20, "seed {seed}: only {highest} acknowledged");
    }
}
