//! The data folder of an embedded installation: owned by one process at a time.
//!
//! The session of the embedded backend is this lock. The lock is the kernel's (`flock` on the file `lock`), so it ends
//! with its process, however that dies. The process number inside is only for the message. Whoever removes the file, or the
//! folder, takes the lock from its process without its knowing: another one can then lock a new file. So every call of the
//! coordination looks first whether the locked file is still the one in the folder (`held`).

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use durable::{Lock, make_dir};

use crate::CoordError;

/// A locked data folder. Clones share the lock, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: Arc<Lock>,
}

impl DataDir {
    /// Creates the folder if needed and locks it for this process.
    ///
    /// # Errors
    /// [`CoordError::Locked`] when somebody has it (this process included), [`CoordError::Unavailable`] when the folder
    /// cannot be made or written.
    pub fn lock(path: impl Into<PathBuf>) -> Result<Self, CoordError> {
        let path = path.into();
        make_dir(&path).map_err(|e| io_error(&path, "create", &e))?;
        let lock_path = path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|e| io_error(&lock_path, "open", &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = (&file).take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(CoordError::Locked { path, pid });
            }
            Err(TryLockError::Error(e)) => return Err(io_error(&lock_path, "lock", &e)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|e| io_error(&lock_path, "write", &e))?;
        Ok(Self { path, lock: Arc::new(Lock::of(file)) })
    }

    /// Whether the lock still counts.
    ///
    /// # Errors
    /// [`CoordError::SessionLost`] when the folder has another lock file, or none; a lock that is gone does not come back.
    pub(crate) fn held(&self) -> Result<(), CoordError> {
        let path = self.path.join("lock");
        let lost = |what: &str| {
            CoordError::SessionLost(format!("{} {what}; stop this process and start it again", path.display()))
        };
        let mine = self.lock.file().metadata().map_err(|e| io_error(&path, "look at", &e))?;
        match fs::metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == (mine.dev(), mine.ino()) => Ok(()),
            Ok(_) => Err(lost("is no longer the file that this process has locked")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(lost("has been removed")),
            Err(e) => Err(io_error(&path, "look at", &e)),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder inside.
    pub(crate) fn subfolder(&self, name: &str) -> Result<PathBuf, CoordError> {
        let path = self.path.join(name);
        make_dir(&path).map_err(|e| io_error(&path, "create", &e))?;
        Ok(path)
    }
}

pub(crate) fn io_error(path: &Path, doing: &str, error: &io::Error) -> CoordError {
    CoordError::Unavailable(format!("cannot {doing} {}: {error}", path.display()))
}
