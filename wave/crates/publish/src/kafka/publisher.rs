//! The producer of one source.
//!
//! librdkafka's delivery reports arrive on the producer's poll thread, which appends them to a list and wakes
//! [`Publisher::poll`]. Each record in flight has a slot; its index is what librdkafka hands back. A producer that was
//! given up cannot report any more: its slots are gone with it.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext, PurgeConfig, ThreadedProducer,
};

use super::{KafkaConfig, LastError, config_error};
use crate::{DeliveryError, PublishError, Publisher, Record, Report, SendOutcome, TopicId, TopicSpec};

/// How long a broker may take to answer `init` and `open`.
const ANSWER: Duration = Duration::from_secs(10);
/// How long `abort` waits for the outcome of what was on its way; the rest is reported as purged.
const ABORT: Duration = Duration::from_secs(1);

/// Takes the records of one source; see [`Publisher`].
pub struct KafkaPublisher {
    config: KafkaConfig,
    producer: Option<ThreadedProducer<Shared>>,
    shared: Arc<Arrivals>,
    topics: Vec<Open>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    in_flight: usize,
    ready: Vec<Report>,
    /// An error of the cluster as a whole: nothing more is sent in this epoch.
    failed: Option<DeliveryError>,
}

#[derive(Debug)]
struct Open {
    name: String,
    partitions: u32,
    failed: Option<DeliveryError>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    token: u64,
    topic: usize,
    size: usize,
    used: bool,
}

/// Reports that have arrived: slot, and offset or error.
#[derive(Debug, Default)]
struct Arrivals {
    reports: Mutex<Vec<(usize, Result<i64, Code>)>>,
    arrived: Condvar,
    last_error: LastError,
}

impl Arrivals {
    fn reports(&self) -> MutexGuard<'_, Vec<(usize, Result<i64, Code>)>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, wait: Duration) -> Vec<(usize, Result<i64, Code>)> {
        let mut reports = self.reports();
        if reports.is_empty() && !wait.is_zero() {
            let waited = self.arrived.wait_timeout_while(reports, wait, |reports| reports.is_empty());
            reports = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut reports)
    }
}

struct Shared(Arc<Arrivals>);

impl ClientContext for Shared {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        LastError::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.last_error.set(&error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Shared {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: usize) {
        let result = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        let mut reports = self.0.reports();
        reports.push((slot, result));
        if reports.len() == 1 {
            self.0.arrived.notify_one();
        }
    }
}

impl std::fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaPublisher")
            .field("config", &self.config)
            .field("topics", &self.topics)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl KafkaPublisher {
    /// Checks the settings; connects in [`Publisher::init`].
    ///
    /// # Errors
    /// `Config` for a property that librdkafka does not know or that may not be set.
    pub fn new(config: KafkaConfig) -> Result<Self, PublishError> {
        let client = config.producer().map_err(PublishError::Config)?;
        client.create_native_config().map_err(|error| PublishError::Config(config_error(&error)))?;
        Ok(KafkaPublisher {
            config,
            producer: None,
            shared: Arc::default(),
            topics: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            ready: Vec::new(),
            failed: None,
        })
    }

    fn producer(&self) -> Result<&ThreadedProducer<Shared>, PublishError> {
        self.producer.as_ref().ok_or_else(|| PublishError::Config("init comes before the first record".to_owned()))
    }

    /// Ends the producer; what it had not reported is purged.
    fn give_up(&mut self) {
        self.producer = None;
        self.collect(Duration::ZERO);
        for slot in self.slots.drain(..).filter(|slot| slot.used) {
            self.ready.push(Report { token: slot.token, result: Err(DeliveryError::Purged) });
        }
        self.free.clear();
        self.in_flight = 0;
        self.failed = None;
        self.topics.iter_mut().for_each(|open| open.failed = None);
    }

    /// Turns what has arrived into reports.
    fn collect(&mut self, wait: Duration) {
        for (index, result) in self.shared.take(wait) {
            let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.used) else { continue };
            slot.used = false;
            self.free.push(index);
            self.in_flight -= slot.size;
            let Slot { token, topic, size, .. } = *slot;
            let result = result.map_err(|code| self.refused(topic, size, code));
            self.ready.push(Report { token, result });
        }
    }

    /// Names an error and stops what it concerns for the rest of the epoch.
    fn refused(&mut self, topic: usize, size: usize, code: Code) -> DeliveryError {
        let open = &mut self.topics[topic];
        let (topic, reason) = (open.name.clone(), code.to_string());
        let error = match code {
            Code::PurgeQueue | Code::PurgeInflight => return DeliveryError::Purged,
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => DeliveryError::TooLarge { topic, size, reason },
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::InvalidRecord
            | Code::PolicyViolation => DeliveryError::Topic { topic, reason },
            _ => DeliveryError::Backend(self.shared.last_error.explain(&format!("topic {topic}: {reason}"))),
        };
        if matches!(error, DeliveryError::Backend(_)) {
            self.failed = Some(error.clone());
        } else {
            open.failed = Some(error.clone());
        }
        error
    }

    fn unavailable(&self, what: &str) -> PublishError {
        PublishError::Unavailable(self.shared.last_error.explain(&format!("kafka {}: {what}", self.config.bootstrap)))
    }

    /// Partition count, None when there is no such topic, and whether every partition has a leader.
    fn describe(&self, name: &str) -> Result<Option<(u32, bool)>, PublishError> {
        let metadata = self.producer()?.client().fetch_metadata(Some(name), ANSWER);
        let metadata = metadata.map_err(|error| self.unavailable(&error.to_string()))?;
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
        match topic.error().map(Code::from) {
            None => {
                let led = topic.partitions().iter().all(|partition| partition.leader() >= 0);
                Ok(Some((topic.partitions().len() as u32, led)).filter(|(count, _)| *count > 0))
            }
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
            Some(Code::LeaderNotAvailable) => Ok(Some((topic.partitions().len() as u32, false))),
            Some(code) => Err(PublishError::Topic { topic: name.to_owned(), reason: code.to_string() }),
        }
    }

    /// Creates a topic and waits until it can be written.
    fn create(&self, name: &str, partitions: u32) -> Result<u32, PublishError> {
        let refused = |reason: String| PublishError::Topic { topic: name.to_owned(), reason };
        let admin: AdminClient<DefaultClientContext> =
            self.config.client().create().map_err(|error| PublishError::Config(config_error(&error)))?;
        let replication = TopicReplication::Fixed(self.config.replication.unwrap_or(-1));
        let count = i32::try_from(partitions).map_err(|_| refused(format!("{partitions} partitions are too many")))?;
        let topic = NewTopic::new(name, count, replication);
        let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
        let deadline = Instant::now() + 2 * ANSWER;
        let answer = wait_for(admin.create_topics([&topic], &options), deadline);
        let answer = answer.ok_or_else(|| self.unavailable("no answer to the creation of a topic"))?;
        for result in answer.map_err(|error| self.unavailable(&error.to_string()))? {
            match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(refused(format!("cannot be created: {code}"))),
            }
        }
        while Instant::now() < deadline {
            if let Some((count, true)) = self.describe(name)? {
                return Ok(count);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(self.unavailable(&format!("topic {name} was created but has no leader yet")))
    }
}

/// Waits for a rare answer without a runtime.
fn wait_for<T>(future: impl Future<Output = T>, deadline: Instant) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    while Instant::now() < deadline {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

impl Publisher for KafkaPublisher {
    /// Starts a new producer when there is none or the last one is stopped by an error.
    fn init(&mut self, _epoch: u64) -> Result<(), PublishError> {
        let stopped =
            self.failed.is_some() || self.topics.iter().any(|open| open.failed.is_some()) || self.in_flight > 0;
        if stopped {
            self.give_up();
        }
        if self.producer.is_none() {
            self.shared = Arc::default();
            let config = self.config.producer().map_err(PublishError::Config)?;
            let created = config.create_with_context(Shared(Arc::clone(&self.shared)));
            self.producer = Some(created.map_err(|error| PublishError::Config(config_error(&error)))?);
        }
        match self.producer()?.client().fetch_cluster_id(ANSWER) {
            Some(_) => Ok(()),
            None => Err(self.unavailable(&format!("no answer within {} s", ANSWER.as_secs()))),
        }
    }

    fn open(&mut self, spec: &TopicSpec) -> Result<(TopicId, u32), PublishError> {
        let partitions = match (self.describe(&spec.name)?, spec.create_partitions) {
            (Some((count, _)), _) => count,
            (None, Some(count)) => self.create(&spec.name, count)?,
            (None, None) => {
                return Err(PublishError::Topic { topic: spec.name.clone(), reason: "does not exist".to_owned() });
            }
        };
        let known = self.topics.iter().position(|open| open.name == spec.name);
        let id = known.unwrap_or_else(|| {
            self.topics.push(Open { name: spec.name.clone(), partitions, failed: None });
            self.topics.len() - 1
        });
        Ok((TopicId(id as u32), partitions))
    }

    fn begin(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    fn send(&mut self, record: Record<'_>) -> Result<SendOutcome, PublishError> {
        let topic = record.topic.0 as usize;
        let open = self.topics.get(topic).filter(|open| record.partition < open.partitions);
        let open = open.ok_or_else(|| PublishError::Config("no such topic or partition was opened".to_owned()))?;
        if let Some(error) = self.failed.as_ref().or(open.failed.as_ref()) {
            self.ready.push(Report { token: record.token, result: Err(error.clone()) });
            return Ok(SendOutcome::Accepted);
        }
        let size = record.key.map_or(0, <[u8]>::len) + record.header.len() + record.value.len();
        if self.in_flight > 0 && self.in_flight + size > self.config.queue_bytes {
            return Ok(SendOutcome::Full);
        }
        let index = self.free.last().copied().unwrap_or(self.slots.len());
        let mut message = BaseRecord::with_opaque_to(&open.name, index)
            .partition(record.partition.cast_signed())
            .payload(record.value)
            .timestamp(record.timestamp_ms);
        if let Some(key) = record.key {
            message = message.key(key);
        }
        if !record.header.is_empty() {
            let header = Header { key: proto::header::HEADER_NAME, value: Some(record.header) };
            message = message.headers(OwnedHeaders::new_with_capacity(1).insert(header));
        }
        let error = match self.producer()?.send(message) {
            Ok(()) => {
                let slot = Slot { token: record.token, topic, size, used: true };
                match self.slots.get_mut(index) {
                    Some(free) => *free = slot,
                    None => self.slots.push(slot),
                }
                self.free.pop();
                self.in_flight += size;
                return Ok(SendOutcome::Accepted);
            }
            Err((error, _)) => error.rdkafka_error_code().unwrap_or(Code::Fail),
        };
        if error == Code::QueueFull {
            return Ok(SendOutcome::Full);
        }
        let result = Err(self.refused(topic, size, error));
        self.ready.push(Report { token: record.token, result });
        Ok(SendOutcome::Accepted)
    }

    fn poll(&mut self, wait: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        let wait = if self.ready.is_empty() { wait } else { Duration::ZERO };
        self.collect(wait);
        reports.append(&mut self.ready);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), PublishError> {
        Ok(())
    }

    /// Ends the producer: what it sends late belongs to the old epoch. [`Publisher::init`] starts the next one.
    fn abort(&mut self, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        if let Some(producer) = &self.producer {
            producer.purge(PurgeConfig::default().queue().inflight());
            let deadline = Instant::now() + ABORT;
            while self.in_flight > 0 && Instant::now() < deadline {
                self.collect(Duration::from_millis(20));
            }
        }
        self.give_up();
        reports.append(&mut self.ready);
        Ok(())
    }

    fn flush(&mut self, deadline: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        let end = Instant::now() + deadline;
        loop {
            self.collect(Duration::ZERO);
            let left = end.saturating_duration_since(Instant::now());
            if self.in_flight == 0 || left.is_zero() {
                break;
            }
            self.collect(left.min(Duration::from_millis(50)));
        }
        reports.append(&mut self.ready);
        Ok(())
    }

    fn in_flight_bytes(&self) -> usize {
        self.in_flight
    }
}
