//! Topics in memory, for tests, with faults to order.
//!
//! A [`Memory`] is the broker; it outlives its publishers, so a test can drop one in the middle (a crash) and look at
//! what was stored.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{DeliveryError, PublishError, Publisher, Record, Report, SendOutcome, StoredRecord, TopicId, TopicSpec};

/// What goes wrong with the records of a topic from now on.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Not stored, reported with this error.
    Fail(DeliveryError),
    /// Neither stored nor reported until the fault is cleared; `abort` drops them.
    Delay,
    /// Stored, but the report never comes; `abort` reports them as purged. An unknown outcome.
    LoseReport,
    /// Reported as delivered, but not stored: a broken promise, for tests of checkers.
    LoseRecord,
}

/// The broker. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    topics: HashMap<String, Vec<Vec<StoredRecord>>>,
    faults: HashMap<String, Fault>,
    epochs: HashMap<String, u64>,
    unavailable: bool,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A publisher of `source`; the epochs of one source fence each other. `queue_bytes` bounds what is in flight.
    #[must_use]
    pub fn publisher(&self, source: impl Into<String>, queue_bytes: usize) -> MemoryPublisher {
        MemoryPublisher {
            memory: self.clone(),
            source: source.into(),
            epoch: None,
            topics: Vec::new(),
            queue: VecDeque::new(),
            unreported: Vec::new(),
            queue_bytes,
            in_flight: 0,
        }
    }

    /// A topic that is there keeps its partitions.
    pub fn create_topic(&self, topic: &str, partitions: u32) {
        let partitions = vec![Vec::new(); partitions as usize];
        self.state().topics.entry(topic.to_owned()).or_insert(partitions);
    }

    /// What is stored; empty for a partition that does not exist.
    #[must_use]
    pub fn records(&self, topic: &str, partition: u32) -> Vec<StoredRecord> {
        let state = self.state();
        state.topics.get(topic).and_then(|p| p.get(partition as usize)).cloned().unwrap_or_default()
    }

    /// Sets or, with None, clears the fault of a topic.
    pub fn set_fault(&self, topic: &str, fault: Option<Fault>) {
        let faults = &mut self.state().faults;
        match fault {
            Some(fault) => faults.insert(topic.to_owned(), fault),
            None => faults.remove(topic),
        };
    }

    /// While set, `init` and `open` answer `Unavailable` and nothing moves.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.state().unavailable = unavailable;
    }
}

/// Takes the records of one source; see [`Publisher`].
#[derive(Debug)]
pub struct MemoryPublisher {
    memory: Memory,
    source: String,
    epoch: Option<u64>,
    topics: Vec<Open>,
    queue: VecDeque<Queued>,
    /// Stored, report lost.
    unreported: Vec<(u64, usize)>,
    queue_bytes: usize,
    in_flight: usize,
}

#[derive(Debug)]
struct Open {
    name: String,
    partitions: u32,
    failed: Option<DeliveryError>,
}

#[derive(Debug)]
struct Queued {
    topic: usize,
    token: u64,
    size: usize,
    record: StoredRecord,
}

impl MemoryPublisher {
    fn check_epoch(&self, state: &State) -> Result<(), PublishError> {
        match self.epoch {
            Some(epoch) if state.epochs.get(&self.source) == Some(&epoch) => Ok(()),
            Some(_) => Err(PublishError::Fenced),
            None => Err(PublishError::Config("init comes before the first record".to_owned())),
        }
    }

    /// Stores and reports what no fault holds back; the order within a topic stays.
    fn step(&mut self, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        let memory = self.memory.clone();
        let mut state = memory.state();
        self.check_epoch(&state)?;
        if state.unavailable {
            return Ok(());
        }
        for mut queued in std::mem::take(&mut self.queue) {
            let open = &mut self.topics[queued.topic];
            let fault = state.faults.get(&open.name).cloned();
            if let (Some(Fault::Fail(error)), None) = (&fault, &open.failed) {
                open.failed = Some(error.clone());
            }
            if let Some(error) = &open.failed {
                self.in_flight -= queued.size;
                reports.push(Report { token: queued.token, result: Err(error.clone()) });
                continue;
            }
            if matches!(fault, Some(Fault::Delay)) {
                self.queue.push_back(queued);
                continue;
            }
            let stored = state.topics.get_mut(&open.name).and_then(|p| p.get_mut(queued.record.partition as usize));
            let Some(stored) = stored else { continue };
            let offset = stored.len() as i64;
            queued.record.offset = offset;
            if !matches!(fault, Some(Fault::LoseRecord)) {
                stored.push(queued.record);
            }
            if matches!(fault, Some(Fault::LoseReport)) {
                self.unreported.push((queued.token, queued.size));
                continue;
            }
            self.in_flight -= queued.size;
            reports.push(Report { token: queued.token, result: Ok(offset) });
        }
        Ok(())
    }
}

impl Publisher for MemoryPublisher {
    fn init(&mut self, epoch: u64) -> Result<(), PublishError> {
        let mut state = self.memory.state();
        if state.unavailable {
            return Err(PublishError::Unavailable("memory: set to be unavailable".to_owned()));
        }
        let highest = state.epochs.entry(self.source.clone()).or_insert(epoch);
        if epoch < *highest {
            return Err(PublishError::Fenced);
        }
        *highest = epoch;
        self.epoch = Some(epoch);
        self.topics.iter_mut().for_each(|open| open.failed = None);
        Ok(())
    }

    fn open(&mut self, spec: &TopicSpec) -> Result<(TopicId, u32), PublishError> {
        if self.memory.state().unavailable {
            return Err(PublishError::Unavailable("memory: set to be unavailable".to_owned()));
        }
        if let Some(count) = spec.create_partitions {
            self.memory.create_topic(&spec.name, count);
        }
        let count = self.memory.state().topics.get(&spec.name).map(|partitions| partitions.len() as u32);
        let Some(partitions) = count else {
            return Err(PublishError::Topic { topic: spec.name.clone(), reason: "does not exist".to_owned() });
        };
        let known = self.topics.iter().position(|open| open.name == spec.name);
        let id = known.unwrap_or_else(|| {
            self.topics.push(Open { name: spec.name.clone(), partitions, failed: None });
            self.topics.len() - 1
        });
        Ok((TopicId(id as u32), partitions))
    }

    fn begin(&mut self) -> Result<(), PublishError> {
        self.check_epoch(&self.memory.state())
    }

    fn send(&mut self, record: Record<'_>) -> Result<SendOutcome, PublishError> {
        self.check_epoch(&self.memory.state())?;
        let topic = record.topic.0 as usize;
        let partitions = self.topics.get(topic).map_or(0, |open| open.partitions);
        if record.partition >= partitions {
            return Err(PublishError::Config("no such topic or partition was opened".to_owned()));
        }
        let size = record.key.map_or(0, <[u8]>::len) + record.header.len() + record.value.len();
        if self.in_flight > 0 && self.in_flight + size > self.queue_bytes {
            return Ok(SendOutcome::Full);
        }
        self.in_flight += size;
        let stored = StoredRecord {
            partition: record.partition,
            offset: 0,
            key: record.key.map(<[u8]>::to_vec),
            header: record.header.to_vec(),
            value: record.value.to_vec(),
            timestamp_ms: record.timestamp_ms,
        };
        self.queue.push_back(Queued { topic, token: record.token, size, record: stored });
        Ok(SendOutcome::Accepted)
    }

    /// Never waits: nothing here takes time.
    fn poll(&mut self, _wait: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        self.step(reports)
    }

    fn commit(&mut self) -> Result<(), PublishError> {
        self.check_epoch(&self.memory.state())
    }

    fn abort(&mut self, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        let queued = self.queue.drain(..).map(|queued| (queued.token, queued.size));
        for (token, size) in self.unreported.drain(..).chain(queued) {
            self.in_flight -= size;
            reports.push(Report { token, result: Err(DeliveryError::Purged) });
        }
        self.topics.iter_mut().for_each(|open| open.failed = None);
        Ok(())
    }

    fn flush(&mut self, _deadline: Duration, reports: &mut Vec<Report>) -> Result<(), PublishError> {
        self.step(reports)
    }

    fn in_flight_bytes(&self) -> usize {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> (Memory, MemoryPublisher) {
        let memory = Memory::default();
        let mut publisher = memory.publisher("source", 1 << 20);
        publisher.init(1).unwrap();
        for name in ["a", "b"] {
            publisher.open(&TopicSpec { name: name.to_owned(), create_partitions: Some(1) }).unwrap();
        }
        (memory, publisher)
    }

    /// Sends one record to topic `a` and one to `b`, with tokens `2n` and `2n + 1`, and polls.
    fn round(publisher: &mut MemoryPublisher, n: u64) -> Vec<Report> {
        for topic in 0..2 {
            let (token, value) = (2 * n + u64::from(topic), [n as u8]);
            let topic = TopicId(topic);
            let record = Record { topic, partition: 0, key: None, value: &value, header: b"", timestamp_ms: 0, token };
            assert_eq!(publisher.send(record).unwrap(), SendOutcome::Accepted);
        }
        let mut reports = Vec::new();
        publisher.poll(Duration::ZERO, &mut reports).unwrap();
        reports
    }

    fn aborted(publisher: &mut MemoryPublisher) -> Vec<u64> {
        let mut reports = Vec::new();
        publisher.abort(&mut reports).unwrap();
        assert_eq!(publisher.in_flight_bytes(), 0);
        assert!(reports.iter().all(|report| matches!(report.result, Err(DeliveryError::Purged))));
        reports.iter().map(|report| report.token).collect()
    }

    fn values(memory: &Memory, topic: &str) -> Vec<u8> {
        memory.records(topic, 0).iter().map(|record| record.value[0]).collect()
    }

    #[test]
    fn a_failing_topic_stays_stopped_until_the_epoch_ends() {
        let (memory, mut publisher) = setup();
        let error = DeliveryError::Topic { topic: "a".to_owned(), reason: "gone".to_owned() };
        memory.set_fault("a", Some(Fault::Fail(error)));
        let reports = round(&mut publisher, 0);
        assert!(matches!(reports[0].result, Err(DeliveryError::Topic { .. })));
        assert!(reports[1].result.is_ok());
        memory.set_fault("a", None);
        assert!(round(&mut publisher, 1)[0].result.is_err());
        assert_eq!(aborted(&mut publisher), [0; 0]);
        assert!(round(&mut publisher, 2)[0].result.is_ok());
        assert_eq!((values(&memory, "a"), values(&memory, "b")), (vec![2], vec![0, 1, 2]));
    }

    #[test]
    fn delayed_records_come_later_or_are_purged() {
        let (memory, mut publisher) = setup();
        memory.set_fault("a", Some(Fault::Delay));
        assert_eq!(round(&mut publisher, 0).len(), 1);
        memory.set_fault("a", None);
        let tokens: Vec<u64> = round(&mut publisher, 1).iter().map(|report| report.token).collect();
        assert_eq!(tokens, [0, 2, 3]);
        memory.set_fault("a", Some(Fault::Delay));
        round(&mut publisher, 2);
        assert_eq!(aborted(&mut publisher), [4]);
        assert_eq!(values(&memory, "a"), [0, 1]);
    }

    #[test]
    fn lost_reports_and_lost_records_tell_less_than_the_truth() {
        let (memory, mut publisher) = setup();
        memory.set_fault("a", Some(Fault::LoseReport));
        assert_eq!(round(&mut publisher, 0).len(), 1);
        assert_eq!(values(&memory, "a"), [0], "stored though never reported");
        assert_eq!(aborted(&mut publisher), [0]);
        memory.set_fault("a", Some(Fault::LoseRecord));
        assert!(round(&mut publisher, 1)[0].result.is_ok());
        assert_eq!(values(&memory, "a"), [0], "reported though never stored");
    }

    #[test]
    fn an_unavailable_broker_takes_nothing_new() {
        let (memory, mut publisher) = setup();
        memory.set_unavailable(true);
        assert!(round(&mut publisher, 0).is_empty());
        assert!(matches!(publisher.init(2), Err(PublishError::Unavailable(_))));
        memory.set_unavailable(false);
        assert_eq!(round(&mut publisher, 1).len(), 4);
    }
}
