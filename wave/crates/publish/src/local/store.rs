//! The folder of all topics, owned by one process.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use durable::{Lock, make_dir, sync_dir};

use super::LocalConfig;
use super::log::PartitionLog;
use crate::{PublishError, TopicSpec};

/// More would be a mistake of configuration: each partition holds three open files.
pub const MAX_PARTITIONS: u32 = 1024;

/// Owner of the folder; shared by the publishers of all sources of this process. Dropping it frees the folder.
#[derive(Debug)]
pub struct LocalStore {
    config: LocalConfig,
    topics: Mutex<HashMap<String, Arc<Topic>>>,
    /// Highest epoch that each source has been opened for.
    epochs: Mutex<HashMap<String, u64>>,
    /// The last to go: what is open above still writes.
    _lock: Lock,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) partitions: Vec<Mutex<PartitionLog>>,
}

/// Contents of `topic.json`.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct TopicMeta {
    pub(super) version: u32,
    pub(super) partitions: u32,
}

impl LocalStore {
    /// Makes the folder when it is absent, and locks it.
    ///
    /// # Errors
    /// `Config` when another process writes there or the folder cannot be used.
    pub fn open(config: LocalConfig) -> Result<Arc<Self>, PublishError> {
        let root = &config.root;
        let wrong = |error: io::Error| PublishError::Config(format!("{}: {error}", root.display()));
        make_dir(root).map_err(wrong)?;
        let path = root.join(".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(wrong)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                PublishError::Config(format!("{}: another process writes into this folder", root.display()))
            }
            TryLockError::Error(error) => wrong(error),
        })?;
        let (topics, epochs) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(LocalStore { config, topics, epochs, _lock: Lock::of(lock) }))
    }

    pub(super) fn config(&self) -> &LocalConfig {
        &self.config
    }

    /// Fences older epochs of `source`.
    pub(super) fn fence(&self, source: &str, epoch: u64) -> Result<(), PublishError> {
        let mut epochs = locked(&self.epochs);
        let highest = epochs.entry(source.to_owned()).or_insert(epoch);
        if epoch < *highest {
            return Err(PublishError::Fenced);
        }
        *highest = epoch;
        Ok(())
    }

    pub(super) fn is_current(&self, source: &str, epoch: u64) -> bool {
        locked(&self.epochs).get(source) == Some(&epoch)
    }

    pub(super) fn topic(&self, spec: &TopicSpec) -> Result<Arc<Topic>, PublishError> {
        let refused = |reason: String| PublishError::Topic { topic: spec.name.clone(), reason };
        let mut topics = locked(&self.topics);
        if let Some(topic) = topics.get(&spec.name) {
            return Ok(Arc::clone(topic));
        }
        check_name(&spec.name).map_err(refused)?;
        let dir = self.config.root.join(&spec.name);
        let failed = |what: &Path, error: &io::Error| failed(&spec.name, what, error);
        let meta = read_meta(&dir).map_err(|error| failed(&dir, &error))?;
        let partitions = match (meta, spec.create_partitions) {
            (Some(meta), _) => meta.partitions,
            (None, None) => return Err(refused(format!("does not exist in {}", self.config.root.display()))),
            (None, Some(count)) if (1..=MAX_PARTITIONS).contains(&count) => {
                write_meta(&dir, count).map_err(|error| failed(&dir, &error))?;
                count
            }
            (None, Some(count)) => {
                return Err(refused(format!("{count} partitions: 1 to {MAX_PARTITIONS} are possible")));
            }
        };
        let open = |partition: u32| {
            let dir = partition_dir(&dir, partition);
            PartitionLog::open(&dir).map(Mutex::new).map_err(|error| failed(&dir, &error))
        };
        let partitions = (0..partitions).map(open).collect::<Result<_, _>>()?;
        let topic = Arc::new(Topic { name: spec.name.clone(), partitions });
        topics.insert(spec.name.clone(), Arc::clone(&topic));
        Ok(topic)
    }

    /// Removes what is beyond the limits of size and age, in all open topics.
    pub(super) fn retain(&self) {
        let topics: Vec<_> = locked(&self.topics).values().cloned().collect();
        for topic in topics {
            for (partition, log) in topic.partitions.iter().enumerate() {
                if let Err(error) = locked(log).retain(&self.config) {
                    tracing::warn!(topic = topic.name, partition, %error, "cannot remove old segments");
                }
            }
        }
    }
}

/// Why a topic cannot be opened: damage, a right, something else in its place, or the system, which may do better later.
fn failed(topic: &str, what: &Path, error: &io::Error) -> PublishError {
    use io::ErrorKind as K;
    let reason = format!("{}: {error}{}", what.display(), remedy(error));
    match error.kind() {
        K::InvalidData => PublishError::Damaged(format!("topic {topic}: {reason}")),
        K::PermissionDenied | K::ReadOnlyFilesystem => PublishError::Denied(format!("topic {topic}: {reason}")),
        K::AlreadyExists | K::NotADirectory | K::IsADirectory => {
            PublishError::Topic { topic: topic.to_owned(), reason }
        }
        _ => PublishError::Unavailable(format!("topic {topic}: {reason}")),
    }
}

/// What to do about an error of the system, where that is known.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind as K;
    /// Of a process and of the system; the library has no kind for them.
    const OPEN_FILES: [i32; 2] = [24, 23];
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => "; make room there: publishing goes on by itself",
        _ if error.raw_os_error().is_some_and(|code| OPEN_FILES.contains(&code)) => {
            "; each partition takes three files: raise the limit (ulimit -n) and start it again, or make topics with fewer \
             --partitions"
        }
        _ => "",
    }
}

/// A panic elsewhere leaves the guarded values whole: each is changed in one step.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn partition_dir(topic: &Path, partition: u32) -> PathBuf {
    topic.join(partition.to_string())
}

/// The same names that Kafka allows, so that a feed can move there: 1 to 249 of `a-z A-Z 0-9 . _ -`, not `.` or `..`.
///
/// # Errors
/// What a name is made of.
pub fn check_name(name: &str) -> Result<(), String> {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.bytes().all(good) {
        return Err("not a topic name: 1 to 249 letters, digits, '.', '_' or '-'".to_owned());
    }
    Ok(())
}

/// None when there is no such topic; `InvalidData` when its description is none.
pub(super) fn read_meta(topic: &Path) -> io::Result<Option<TopicMeta>> {
    let text = match fs::read(topic.join("topic.json")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("topic.json: {why}"));
    let meta: TopicMeta = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    match meta {
        TopicMeta { version: 1, partitions: 1..=MAX_PARTITIONS } => Ok(Some(meta)),
        TopicMeta { version, partitions } => {
            Err(damaged(format!("version {version} with {partitions} partitions is not known")))
        }
    }
}

/// The file appears whole or not at all.
fn write_meta(topic: &Path, partitions: u32) -> io::Result<()> {
    make_dir(topic)?;
    let new = topic.join("topic.json.new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(&TopicMeta { version: 1, partitions })?)?;
    file.sync_all()?;
    fs::rename(&new, topic.join("topic.json"))?;
    sync_dir(topic)
}
