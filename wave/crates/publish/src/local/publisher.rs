//! The publisher of one source on a [`LocalStore`].
//!
//! `send` copies into a buffer per partition. `poll` writes the buffers and syncs, at most one group of syncs per
//! `sync_interval`: rare records are durable at once, frequent ones share the cost. Only durable records are reported.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::PartitionLog;
use super::segment::push_frame;
use super::store::{LocalStore, Topic, locked, remedy};
use super::{Flush, LocalConfig};
use crate::{DeliveryError, PublishError, Publisher, Record, Report, SendOutcome, TopicId, TopicSpec};

/// A buffer of this size is written even when no sync is due: memory is bounded, and the disk has work meanwhile.
const WRITE_BYTES: usize = 1 << 20;
const RETENTION_EVERY: Duration = Duration::from_secs(30);

/// Takes the records of one source; see [`Publisher`].
#[derive(Debug)]
pub struct LocalPublisher {
    store: Arc<LocalStore>,
    source: String,
    epoch: Option<u64>,
    topics: Vec<OpenTopic>,
    /// Partitions with something to write or to sync.
    dirty: Vec<(usize, usize)>,
    ready: Vec<Report>,
    in_flight: usize,
    last_sync: Option<Instant>,
    last_retention: Instant,
}

#[derive(Debug)]
struct OpenTopic {
    topic: Arc<Topic>,
    partitions: Vec<Buffer>,
    /// Set by the first error: the epoch stores nothing more here.
    failed: Option<DeliveryError>,
}

/// Records of one partition on their way.
#[derive(Debug, Default)]
struct Buffer {
    frames: Vec<u8>,
    buffered: Vec<Sent>,
    /// With their offsets; written under the log's `generation` and not known to be durable.
    written: Vec<(Sent, i64)>,
    generation: u64,
    dirty: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    token: u64,
    len: usize,
}

impl LocalPublisher {
    /// `source` names whose epochs fence each other.
    #[must_use]
    pub fn new(store: Arc<LocalStore>, source: impl Into<String>) -> Self {
        LocalPublisher {
            store,
            source: source.into(),
            epoch: None,
            topics: Vec::new(),
            dirty: Vec::new(),
            ready: Vec::new(),
            in_flight: 0,
            last_sync: None,
            last_retention: Instant::now(),
        }
    }

    fn check_epoch(&self) -> Result<(), PublishError> {
        match self.epoch {
            Some(epoch) if self.store.is_current(&self.source, epoch) => Ok(()),
            Some(_) => Err(PublishError::Fenced),
            None => Err(PublishError::Config("init comes before the first record".to_owned())),
        }
    }

    fn due_in(&self) -> Duration {
        let interval = self.store.config().sync_interval;
        self.last_sync.map_or(Duration::ZERO, |last| interval.saturating_sub(last.elapsed()))
    }

    /// Writes and syncs all dirty partitions and collects their reports.
    fn sync_all(&mut self) {
        for (topic, partition) in std::mem::take(&mut self.dirty) {
            let Some(open) = self.topics.get_mut(topic) else { continue };
            let Some(buffer) = open.partitions.get_mut(partition) else { continue };
            buffer.dirty = false;
            let config = self.store.config();
            let result = buffer.write(&open.topic, partition, config).and_then(|()| {
                let mut log = locked(&open.topic.partitions[partition]);
                buffer.check(&log)?;
                log.sync(config.flush)
            });
            match result {
                Ok(()) => {
                    for (sent, offset) in buffer.written.drain(..) {
                        self.in_flight -= sent.len;
                        self.ready.push(Report { token: sent.token, result: Ok(offset) });
                    }
                }
                Err(error) => fail(open, partition, &told(&error, config), &mut self.in_flight, &mut self.ready),
            }
        }
        self.last_sync = Some(Instant::now());
        if self.last_retention.elapsed() > RETENTION_EVERY {
            self.last_retention = Instant::now();
            self.store.retain();
        }
    }

    fn clear_failures(&mut self) {
        self.topics.iter_mut().for_each(|open| open.failed = None);
    }
}

impl Buffer {
    fn write(&mut self, topic: &Topic, partition: usize, config: &LocalConfig) -> io::Result<()> {
        if self.buffered.is_empty() {
            return Ok(());
        }
        let mut log = locked(&topic.partitions[partition]);
        self.check(&log)?;
        let lens = self.buffered.iter().map(|sent| sent.len);
        let first = log.append(&mut self.frames, lens, config)?;
        self.generation = log.generation();
        self.written.extend(self.buffered.drain(..).zip(first.cast_signed()..));
        self.frames.clear();
        Ok(())
    }

    /// A failed write of another source may have cut off what this one had written.
    fn check(&self, log: &PartitionLog) -> io::Result<()> {
        if self.written.is_empty() || self.generation == log.generation() {
            return Ok(());
        }
        Err(io::Error::other("a failed write has cut off records that were not durable yet"))
    }
}

/// What went wrong in which folder, and what to do where that is known.
fn told(error: &io::Error, config: &LocalConfig) -> String {
    format!("{} cannot be written: {error}{}", config.root.display(), remedy(error))
}

/// Stops the topic and reports what the partition held.
fn fail(open: &mut OpenTopic, partition: usize, error: &str, in_flight: &mut usize, ready: &mut Vec<Report>) {
    let error = DeliveryError::Backend(format!("topic {} partition {partition}: {error}", open.topic.name));
    let buffer = &mut open.partitions[partition];
    buffer.frames.clear();
    let written = buffer.written.drain(..).map(|(sent, _)| sent);
    for sent in written.chain(buffer.buffered.drain(..)) {
        *in_flight -= sent.len;
        ready.push(Report { token: sent.token, result: Err(error.clone()) });
    }
    open.failed = Some(error);
}

impl Publisher for LocalPublisher {
    fn init(&mut self, epoch: u64) -> Result<(), PublishError> {
        self.store.fence(&self.source, epoch)?;
        self.epoch = Some(epoch);
        self.clear_failures();
        Ok(())
    }

    fn open(&mut self, spec: &TopicSpec) -> Result<(TopicId, u32), PublishError> {
        let topic = self.store.topic(spec)?;
        let count = topic.partitions.len();
        let known = self.topics.iter().position(|open| open.topic.name == spec.name);
        let id = known.unwrap_or_else(|| {
            let partitions = (0..count).map(|_| Buffer::default()).collect();
            self.topics.push(OpenTopic { topic, partitions, failed: None });
            self.topics.len() - 1
        });
        Ok((TopicId(id as u32), count as u32))
    }

    fn begin(&mut self) -> Result<(), PublishError> {
        self.check_epoch()
    }

    fn send(&mut self, record: Record<'_>) -> Result<SendOutcome, PublishError> {
        self.check_epoch()?;
        let config = self.store.config();
        let (topic, partition) = (record.topic.0 as usize, record.partition as usize);
        let open = self.topics.get_mut(topic).ok_or_else(|| unknown("the topic was not opened"))?;
        let name = &open.topic.name;
        let buffer = open.partitions.get_mut(partition).ok_or_else(|| unknown("no such partition"))?;
        let size = record.key.map_or(0, <[u8]>::len) + record.header.len() + record.value.len();
        if open.failed.is_none() && size > config.max_record_bytes {
            let reason = format!(
                "the limit is {} bytes; raise max_record of [local], or leave such tables out",
                config.max_record_bytes
            );
            open.failed = Some(DeliveryError::TooLarge { topic: name.clone(), size, reason });
        }
        if let Some(error) = &open.failed {
            self.ready.push(Report { token: record.token, result: Err(error.clone()) });
            return Ok(SendOutcome::Accepted);
        }
        if self.in_flight > 0 && self.in_flight + size > config.queue_bytes {
            return Ok(SendOutcome::Full);
        }
        let len = push_frame(&mut buffer.frames, &record);
        self.in_flight += len;
        buffer.buffered.push(Sent { token: record.token, len });
        if !buffer.dirty {
            buffer.dirty = true;
            self.dirty.push((topic, partition));
        }
        if buffer.frames.len() >= WRITE_BYTES
            && let Err(error) = buffer.write(&open.topic, partition, config)
        {
            fail(open, partition, &told(&error, config), &mut self.in_flight, &mut self.ready);
        }
        Ok(SendOutcome::Accepted)
    }

    fn poll(&mut self, wait: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        let due_in = if self.store.config().flush == Flush::Os { Duration::ZERO } else { self.due_in() };
        if self.ready.is_empty() && !self.dirty.is_empty() && due_in <= wait {
            std::thread::sleep(due_in);
            self.sync_all();
        } else if due_in.is_zero() && !self.dirty.is_empty() {
            self.sync_all();
        } else if self.ready.is_empty() {
            std::thread::sleep(wait);
        }
        reports.append(&mut self.ready);
        self.check_epoch()
    }

    fn commit(&mut self) -> Result<(), PublishError> {
        self.check_epoch()
    }

    fn abort(&mut self, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        for open in &mut self.topics {
            for buffer in &mut open.partitions {
                buffer.frames.clear();
                for sent in buffer.buffered.drain(..) {
                    self.in_flight -= sent.len;
                    self.ready.push(Report { token: sent.token, result: Err(DeliveryError::Purged) });
                }
            }
        }
        self.sync_all();
        self.clear_failures();
        reports.append(&mut self.ready);
        Ok(())
    }

    fn flush(&mut self, _deadline: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        self.sync_all();
        reports.append(&mut self.ready);
        self.check_epoch()
    }

    fn in_flight_bytes(&self) -> usize {
        self.in_flight
    }
}

fn unknown(what: &str) -> PublishError {
    PublishError::Config(what.to_owned())
}
