//! The folder of all topics, owned by one process.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::LocalConfig;
use super::log::{PartitionLog, sync_dir};
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

/// Of the folder. Given back by name: closing the file is not enough while a child that is being started has a copy of it,
/// between its fork and its exec.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
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
        fs::create_dir_all(root).map_err(wrong)?;
        let path = root.join(".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(wrong)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                PublishError::Config(format!("{}: another process writes into this folder", root.display()))
            }
            TryLockError::Error(error) => wrong(error),
        })?;
        let (topics, epochs) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(LocalStore { config, topics, epochs, _lock: Lock(lock) }))
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
        let partitions = match (read_meta(&dir).map_err(refused)?, spec.create_partitions) {
            (Some(meta), _) => meta.partitions,
            (None, None) => return Err(refused(format!("does not exist in {}", self.config.root.display()))),
            (None, Some(count)) if (1..=MAX_PARTITIONS).contains(&count) => {
                write_meta(&dir, count).map_err(|error| refused(format!("{}: {error}", dir.display())))?;
                count
            }
            (None, Some(count)) => {
                return Err(refused(format!("{count} partitions: 1 to {MAX_PARTITIONS} are possible")));
            }
        };
        let open = |partition: u32| {
            let log = PartitionLog::open(&partition_dir(&dir, partition));
            log.map(Mutex::new).map_err(|error| refused(format!("partition {partition}: {error}")))
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

/// A panic elsewhere leaves the guarded values whole: each is changed in one step.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn partition_dir(topic: &Path, partition: u32) -> PathBuf {
    topic.join(partition.to_string())
}

/// The same names that Kafka allows, so that a feed can move there: 1 to 249 of `a-z A-Z 0-9 . _ -`, not `.` or `..`.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.bytes().all(good) {
        return Err("not a topic name: 1 to 249 letters, digits, '.', '_' or '-'".to_owned());
    }
    Ok(())
}

/// None when there is no such topic.
pub(super) fn read_meta(topic: &Path) -> Result<Option<TopicMeta>, String> {
    let path = topic.join("topic.json");
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error)),
    };
    let meta: TopicMeta = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
    match meta {
        TopicMeta { version: 1, partitions: 1..=MAX_PARTITIONS } => Ok(Some(meta)),
        TopicMeta { version, partitions } => {
            Err(wrong(&format!("version {version} with {partitions} partitions is not known")))
        }
    }
}

/// The file appears whole or not at all.
fn write_meta(topic: &Path, partitions: u32) -> io::Result<()> {
    fs::create_dir_all(topic)?;
    let new = topic.join("topic.json.new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(&TopicMeta { version: 1, partitions })?)?;
    file.sync_all()?;
    fs::rename(&new, topic.join("topic.json"))?;
    sync_dir(topic)?;
    topic.parent().map_or(Ok(()), sync_dir)
}
