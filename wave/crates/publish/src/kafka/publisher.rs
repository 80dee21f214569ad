//! The producer of one source.
//!
//! librdkafka keeps its delivery reports until [`Publisher::poll`] takes them. Each record in flight has a slot; its index
//! is what librdkafka hands back. A producer that was given up cannot report any more: its slots are gone with it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::errors::{Class, LastError, class};
use super::native::{Arrival, Native};
use super::{KafkaConfig, config_error};
use crate::{DeliveryError, PublishError, Publisher, Record, Report, SendOutcome, TopicId, TopicSpec};

/// How long a broker may take to answer `init` and `open`.
const ANSWER: Duration = Duration::from_secs(10);
/// After one broker has refused the login, how long another may take to let us in.
const OTHERS: Duration = Duration::from_secs(1);
/// How long `abort` waits for the outcome of what was on its way; the rest is reported as purged.
const ABORT: Duration = Duration::from_secs(1);

/// Takes the records of one source; see [`Publisher`].
pub struct KafkaPublisher {
    config: KafkaConfig,
    /// Has the topics of `topics`, under the same numbers.
    producer: Option<Native>,
    last_error: Arc<LastError>,
    topics: Vec<Open>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    in_flight: usize,
    /// Taken from the producer and not yet made reports: see [`KafkaPublisher::waits_for_refusal`].
    arrivals: Vec<Arrival>,
    ready: Vec<Report>,
    /// An error of the cluster as a whole: nothing more is sent in this epoch.
    failed: Option<DeliveryError>,
    /// What is out was given up by this side. librdkafka calls the gap that this leaves a fatal error of its own.
    ending: bool,
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
            last_error: Arc::default(),
            topics: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            arrivals: Vec::new(),
            ready: Vec::new(),
            failed: None,
            ending: false,
        })
    }

    fn producer(&self) -> Result<&Native, PublishError> {
        self.producer.as_ref().ok_or_else(before_init)
    }

    /// Ends the producer; what it had not reported is purged.
    fn give_up(&mut self) {
        self.ending = true;
        if let Some(producer) = self.producer.take() {
            producer.end(&mut self.arrivals);
            self.settle();
        }
        for slot in self.slots.drain(..).filter(|slot| slot.used) {
            self.ready.push(Report { token: slot.token, result: Err(DeliveryError::Purged) });
        }
        self.free.clear();
        self.in_flight = 0;
        self.failed = None;
        self.ending = false;
        self.topics.iter_mut().for_each(|open| open.failed = None);
    }

    /// Waits at most `wait` for reports of librdkafka's and makes ours of them.
    fn collect(&mut self, wait: Duration) {
        if let Some(producer) = &self.producer {
            producer.serve(wait);
            producer.take(&mut self.arrivals);
            self.settle();
        }
    }

    fn settle(&mut self) {
        if !self.ending && self.arrivals.iter().any(|(_, result)| result.is_err()) && self.waits_for_refusal() {
            return;
        }
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (index, result) in arrivals.drain(..) {
            let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.used) else { continue };
            slot.used = false;
            self.free.push(index);
            self.in_flight -= slot.size;
            let Slot { token, topic, size, .. } = *slot;
            let result = result.map_err(|code| self.refused(topic, size, code));
            self.ready.push(Report { token, result });
        }
        self.arrivals = arrivals;
    }

    /// One record that a topic refuses makes librdkafka give up those of all topics, and may report these first. The
    /// refusal names the feed to stop, so it goes first.
    fn waits_for_refusal(&mut self) -> bool {
        let given_up = |(_, result): &Arrival| matches!(result, Err(code) if is_given_up(*code));
        self.arrivals.sort_by_key(given_up);
        let fatal = self.producer.as_ref().and_then(Native::fatal);
        let refused = || self.arrivals.iter().any(|arrival| arrival.1.is_err() && !given_up(arrival));
        let more = || self.arrivals.len() < self.slots.iter().filter(|slot| slot.used).count();
        matches!(fatal, Some((Code::GaplessGuarantee, _))) && !self.stopped() && !refused() && more()
    }

    /// Whether an error has ended the epoch for a topic or for all.
    fn stopped(&self) -> bool {
        self.failed.is_some() || self.topics.iter().any(|open| open.failed.is_some())
    }

    /// Names an error and stops what it concerns for the rest of the epoch.
    fn refused(&mut self, topic: usize, size: usize, code: Code) -> DeliveryError {
        if self.ending && is_given_up(code) {
            return DeliveryError::Purged;
        }
        // librdkafka's own account of what ended this producer, where this is a consequence of it.
        let fatal = self.producer.as_ref().and_then(Native::fatal);
        let fatal = fatal.filter(|_| is_given_up(code) || class(code) == Class::Backend);
        let (cause, reason) = match fatal {
            Some(found) => found,
            None if class(code) == Class::Backend => (code, self.last_error.explain(&code.to_string())),
            None => (code, code.to_string()),
        };
        let topic_name = self.topics[topic].name.clone();
        let error = match class(cause) {
            Class::Purged => return DeliveryError::Purged,
            Class::TooLarge => {
                let batch = cause == Code::MessageBatchTooLarge;
                let by = if batch { ", by segment.bytes of the topic" } else { "" };
                let reason = format!(
                    "{reason}{by}; raise max.message.bytes of the topic (and message.max.bytes in --to), or send smaller \
                     batches with batch.size in --to"
                );
                DeliveryError::TooLarge { topic: topic_name, size, reason }
            }
            Class::Denied => DeliveryError::Denied { reason: self.may_not_write(cause, &reason), topic: topic_name },
            Class::Topic => DeliveryError::Topic { topic: topic_name, reason },
            Class::Backend => DeliveryError::Backend(format!("topic {topic_name}: {reason}")),
        };
        if matches!(error, DeliveryError::Backend(_)) {
            self.failed = Some(error.clone());
        } else {
            self.topics[topic].failed = Some(error.clone());
        }
        error
    }

    fn may_not_write(&self, code: Code, reason: &str) -> String {
        let grant = match code {
            Code::TopicAuthorizationFailed => "grant it Write and Describe on the topic",
            // What a producer asks for its sequence numbers.
            Code::ClusterAuthorizationFailed => {
                "grant it Write and Describe on the topic, and IdempotentWrite on the cluster if the broker is older than 2.8"
            }
            _ => "check its login and its rights",
        };
        format!("{} may not write it: {grant} ({reason})", self.config.principal())
    }

    /// Waits until the cluster answers.
    fn connect(&self) -> Result<(), PublishError> {
        let mut deadline = Instant::now() + ANSWER;
        let mut denied = None;
        loop {
            let producer = self.producer()?;
            if producer.client().fetch_cluster_id(Duration::from_millis(200)).is_some() {
                return Ok(());
            }
            producer.serve(Duration::ZERO); // the reason is among what has happened
            if denied.is_none() {
                denied = self.last_error.denied();
                if denied.is_some() {
                    deadline = deadline.min(Instant::now() + OTHERS);
                }
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        match denied {
            Some(reason) => Err(PublishError::Denied(self.config.not_let_in(&reason))),
            None => Err(self.unavailable(&format!("no answer within {} s", ANSWER.as_secs()))),
        }
    }

    fn unavailable(&self, what: &str) -> PublishError {
        if let Some(producer) = &self.producer {
            producer.serve(Duration::ZERO); // the reason may be among what has happened
        }
        PublishError::Unavailable(self.last_error.explain(&format!("kafka {}: {what}", self.config.bootstrap)))
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
            Some(code) if class(code) == Class::Denied => {
                let reason = self.may_not_write(code, &code.to_string());
                Err(PublishError::Denied(format!("topic {name}: {reason}")))
            }
            Some(code) => Err(PublishError::Topic { topic: name.to_owned(), reason: code.to_string() }),
        }
    }

    /// Creates a topic and waits until it can be written.
    fn create(&self, name: &str, partitions: u32) -> Result<u32, PublishError> {
        let refused = |reason: String| PublishError::Topic { topic: name.to_owned(), reason };
        let admin: AdminClient<DefaultClientContext> =
            self.config.client().create().map_err(|error| PublishError::Config(config_error(&error)))?;
        // As many replicas as the brokers make of their own accord.
        let replication = TopicReplication::Fixed(-1);
        let count = i32::try_from(partitions).map_err(|_| refused(format!("{partitions} partitions are too many")))?;
        let topic = NewTopic::new(name, count, replication);
        let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
        let deadline = Instant::now() + 2 * ANSWER;
        let answer = wait_for(admin.create_topics([&topic], &options), deadline);
        let answer = answer.ok_or_else(|| self.unavailable("no answer to the creation of a topic"))?;
        for result in answer.map_err(|error| self.unavailable(&error.to_string()))? {
            match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) if class(code) == Class::Denied => {
                    let principal = self.config.principal();
                    let grant = "grant it Create on the topic or on the cluster, or create the topic";
                    let message =
                        format!("topic {name}: does not exist, and {principal} may not create it: {grant} ({code})");
                    return Err(PublishError::Denied(message));
                }
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

fn before_init() -> PublishError {
    PublishError::Config("init comes before the first record".to_owned())
}

fn cannot_be_opened(topic: &str, code: Code) -> PublishError {
    PublishError::Topic { topic: topic.to_owned(), reason: code.to_string() }
}

/// Errors of records that were given up because of something else.
fn is_given_up(code: Code) -> bool {
    matches!(code, Code::PurgeQueue | Code::PurgeInflight | Code::Fatal)
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
        if self.stopped() || self.in_flight > 0 {
            self.give_up();
        }
        if self.producer.is_none() {
            self.last_error = Arc::default();
            let config = self.config.producer().map_err(PublishError::Config)?;
            let started = Native::start(&config, Arc::clone(&self.last_error));
            let mut producer = started.map_err(|error| PublishError::Config(config_error(&error)))?;
            for open in &self.topics {
                producer.add_topic(&open.name).map_err(|code| cannot_be_opened(&open.name, code))?;
            }
            self.producer = Some(producer);
        }
        self.connect()
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
        if let Some(known) = known {
            // Of a topic that has been changed or made anew since.
            self.topics[known].partitions = partitions;
        } else {
            let producer = self.producer.as_mut().ok_or_else(before_init)?;
            producer.add_topic(&spec.name).map_err(|code| cannot_be_opened(&spec.name, code))?;
            self.topics.push(Open { name: spec.name.clone(), partitions, failed: None });
        }
        Ok((TopicId(known.unwrap_or(self.topics.len() - 1) as u32), partitions))
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
        match self.producer()?.send(topic, &record, index) {
            Ok(()) => {}
            // With nothing in flight no report would ever make room: this record alone does not fit.
            Err(Code::QueueFull) if self.in_flight > 0 => return Ok(SendOutcome::Full),
            // Behind the reports that say why.
            Err(Code::Fatal) => self.arrivals.push((index, Err(Code::Fatal))),
            Err(code) => {
                let result = Err(self.refused(topic, size, code));
                self.ready.push(Report { token: record.token, result });
                return Ok(SendOutcome::Accepted);
            }
        }
        let slot = Slot { token: record.token, topic, size, used: true };
        match self.slots.get_mut(index) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.free.pop();
        self.in_flight += size;
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
        self.ending = true;
        if let Some(producer) = &self.producer {
            producer.purge();
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
