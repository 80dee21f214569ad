//! Coordination on the local disk, for one process that runs everything.
//!
//! One file per source, `coordination/{source}.state`, below a locked [`DataDir`]. A write makes the whole new state in
//! `{source}.state.tmp`, syncs it, renames it over the old one and syncs the folder: at every instant, a crash leaves
//! the old state or the new one. The fence is the same as in a cluster, because threads of one process can be as late
//! as those of two.
//!
//! Failure: before the rename nothing has happened ([`CoordError::Unavailable`]); an error after it has an unknown
//! outcome. In both cases the next call reads the file again instead of trusting memory. A file that cannot be read is
//! [`CoordError::Corrupt`] and stays as it is. A folder whose lock file was removed or replaced may have another owner:
//! every call is [`CoordError::SessionLost`] from then on, also a take.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use durable::sync_dir;

use crate::dir::{DataDir, io_error};
use crate::state::State;
use crate::{Change, CoordError, Coordination, Fence, Snapshot, SourceId, Taken, Write};

const HINT: &str = "restore this file from a backup (an older one repeats changes but loses none), or move it away and \
                    name a start position explicitly";

/// The embedded backend. Clones share the state; each has its own watches.
#[derive(Clone, Debug)]
pub struct FileCoordination {
    shared: Arc<Shared>,
    watched: BTreeMap<SourceId, Seen>,
}

#[derive(Debug)]
struct Shared {
    dir: DataDir,
    folder: PathBuf,
    sources: Mutex<HashMap<SourceId, Arc<Mutex<Slot>>>>,
}

/// What memory knows of a source's file.
#[derive(Debug)]
enum Slot {
    Unread,
    Known(Option<State>),
}

/// What a watch saw last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    epoch: u64,
    owned: bool,
    entries: BTreeMap<String, Vec<u8>>,
}

impl Seen {
    pub(crate) fn of(state: Option<&State>) -> Self {
        state.map_or_else(Self::default, |s| Self {
            epoch: s.epoch,
            owned: s.owner.is_some(),
            entries: s.entries.clone(),
        })
    }

    pub(crate) fn changes(&self, now: &Self, source: &SourceId, out: &mut Vec<Change>) {
        if now.epoch != self.epoch {
            out.push(Change::Taken { source: source.clone(), epoch: now.epoch });
        }
        if !now.owned && (self.owned || now.epoch != self.epoch) {
            out.push(Change::Released { source: source.clone() });
        }
        if now.entries != self.entries {
            out.push(Change::Entries { source: source.clone() });
        }
    }
}

impl FileCoordination {
    /// Opens `coordination/` in the data folder and removes what interrupted writes left behind. Once per folder, as long
    /// as anything writes there: the others of the process are clones.
    ///
    /// # Errors
    /// [`CoordError::Unavailable`] when the folder cannot be read or written.
    pub fn open(dir: &DataDir) -> Result<Self, CoordError> {
        let folder = dir.subfolder("coordination")?;
        for entry in fs::read_dir(&folder).map_err(|e| io_error(&folder, "read", &e))? {
            let path = entry.map_err(|e| io_error(&folder, "read", &e))?.path();
            if path.extension().is_some_and(|e| e == "tmp") {
                fs::remove_file(&path).map_err(|e| io_error(&path, "remove", &e))?;
            }
        }
        let shared = Shared { dir: dir.clone(), folder, sources: Mutex::default() };
        Ok(Self { shared: Arc::new(shared), watched: BTreeMap::new() })
    }

    fn slot(&self, source: &SourceId) -> Arc<Mutex<Slot>> {
        let mut sources = lock(&self.shared.sources);
        sources.entry(source.clone()).or_insert_with(|| Arc::new(Mutex::new(Slot::Unread))).clone()
    }

    /// Runs `f` on the present state and stores what it gives back, holding this source (and no other).
    fn update<T>(
        &self,
        source: &SourceId,
        f: impl FnOnce(Option<&State>) -> Result<(Option<State>, T), CoordError>,
    ) -> Result<T, CoordError> {
        self.shared.dir.held()?;
        let slot = self.slot(source);
        let mut slot = lock(&slot);
        let path = self.shared.folder.join(format!("{source}.state"));
        let old = match std::mem::replace(&mut *slot, Slot::Unread) {
            Slot::Known(state) => state,
            Slot::Unread => load(&path, source)?,
        };
        match f(old.as_ref()) {
            Ok((Some(new), answer)) => {
                store(&self.shared.folder, &path, &new.encode(source))?;
                *slot = Slot::Known(Some(new));
                Ok(answer)
            }
            Ok((None, answer)) => {
                *slot = Slot::Known(old);
                Ok(answer)
            }
            Err(error) => {
                *slot = Slot::Known(old);
                Err(error)
            }
        }
    }
}

/// A panic while a lock was held cannot leave half a change: states are replaced whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn load(path: &Path, source: &SourceId) -> Result<Option<State>, CoordError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error(path, "read", &e)),
    };
    State::decode(&bytes, source).map(Some).map_err(|what| CoordError::Corrupt {
        path: path.to_owned(),
        what,
        hint: HINT.into(),
    })
}

fn store(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), CoordError> {
    let tmp = path.with_extension("state.tmp");
    let write = || {
        let mut file = File::create(&tmp)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| io_error(&tmp, "write", &e))?;
    fs::rename(&tmp, path).map_err(|e| io_error(path, "replace", &e))?;
    sync_dir(folder).map_err(|e| CoordError::Unknown(format!("cannot sync {}: {e}", folder.display())))
}

impl Coordination for FileCoordination {
    fn take(&mut self, source: &SourceId, owner: &str, now_unix_ms: u64) -> Result<Taken, CoordError> {
        self.update(source, |old| {
            let new = State::taken(old, owner, now_unix_ms);
            let taken = new.to_taken();
            Ok((Some(new), taken))
        })
    }

    fn write(&mut self, fence: &Fence, batch: &[Write]) -> Result<(), CoordError> {
        self.update(&fence.source, |old| {
            let new = old.unwrap_or(&State::default()).written(fence, batch)?;
            Ok((Some(new), ()))
        })
    }

    fn read(&mut self, source: &SourceId) -> Result<Option<Snapshot>, CoordError> {
        self.update(source, |old| Ok((None, old.map(State::to_snapshot))))
    }

    fn release(&mut self, fence: &Fence) -> Result<(), CoordError> {
        self.update(&fence.source, |old| {
            let new = old.unwrap_or(&State::default()).released(fence)?;
            Ok((Some(new), ()))
        })
    }

    fn watch(&mut self, source: &SourceId) -> Result<(), CoordError> {
        let seen = self.update(source, |old| Ok((None, Seen::of(old))))?;
        self.watched.insert(source.clone(), seen);
        Ok(())
    }

    fn poll_changes(&mut self) -> Result<Vec<Change>, CoordError> {
        let mut now = Vec::with_capacity(self.watched.len());
        for source in self.watched.keys() {
            now.push(self.update(source, |old| Ok((None, Seen::of(old))))?);
        }
        let mut changes = Vec::new();
        for ((source, seen), now) in self.watched.iter_mut().zip(now) {
            seen.changes(&now, source, &mut changes);
            *seen = now;
        }
        Ok(changes)
    }
}
