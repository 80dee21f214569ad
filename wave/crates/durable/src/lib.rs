//! What every store in files needs of its folder: names that survive a power loss, and a lock that ends when it is given
//! back (Linux manual: `fsync(2)`, `flock(2)`).

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes a folder and what is missing above it, durably.
///
/// # Errors
/// As [`fs::create_dir`]; a folder that is there is none.
pub fn make_dir(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dir(parent)?;
            fs::create_dir(path)?;
        }
        Err(_) if path.is_dir() => return Ok(()),
        made => made?,
    }
    sync_dir(parent)
}

/// Makes names in `path` (created, renamed, removed) durable.
///
/// # Errors
/// The folder cannot be opened or synced.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The lock on a file. It is given back by name: closing the file is not enough while a child that is being started has a
/// copy of it, between its fork and its exec.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Of a file that is locked.
    #[must_use]
    pub fn of(locked: File) -> Self {
        Self(locked)
    }

    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_with_what_is_above_and_once_only() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        make_dir(&path).unwrap();
        make_dir(&path).unwrap();
        assert!(path.is_dir());
        fs::write(root.path().join("file"), "").unwrap();
        assert_eq!(make_dir(&root.path().join("file")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(make_dir(&root.path().join("file/in")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_lock_ends_though_a_copy_of_its_file_is_open() {
        let root = tempfile::tempdir().unwrap();
        let open = || File::create(root.path().join("lock")).unwrap();
        let (first, second) = (open(), open());
        first.try_lock().unwrap();
        let copy = first.try_clone().unwrap();
        let lock = Lock::of(first);
        assert!(second.try_lock().is_err());
        drop(lock);
        second.try_lock().unwrap();
        drop(copy);
    }
}
