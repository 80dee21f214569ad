//! What every backend promises, checked on each of them.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use publish::file::{FilePublisher, Framing};
use publish::kafka::{KafkaConfig, KafkaPublisher, KafkaReader};
use publish::local::{Flush, LocalConfig, LocalPublisher, LocalStore, LocalTopicReader};
use publish::memory::Memory;
use publish::{
    DeliveryError, PublishError, Publisher, Reader, Record, Report, SendOutcome, Start, StoredRecord, TopicId,
    TopicSpec,
};

const LARGE_QUEUE: usize = 8 << 20;

/// A backend under test.
trait Backend {
    /// A publisher of `source`, whose epochs fence each other.
    fn publisher(&self, source: &str, queue_bytes: usize) -> Box<dyn Publisher>;
    /// At least `count` records of a topic; those of a partition in the order of offsets.
    fn read(&self, topic: &str, count: usize) -> Vec<StoredRecord>;
    /// A stream has only values in one order: no keys, partitions, bounds or missing topics.
    fn is_stream(&self) -> bool {
        false
    }
    fn fences(&self) -> bool {
        true
    }
}

fn suite(backend: &dyn Backend) {
    order_tokens_and_contents(backend);
    abort_reports_everything(backend);
    polling_waits_no_longer_than_asked(backend);
    if !backend.is_stream() {
        full_is_refused_and_recovers(backend);
        topics_are_pinned(backend);
        a_missing_topic_is_named(backend);
    }
    if backend.fences() {
        a_newer_epoch_fences(backend);
    }
}

fn open(publisher: &mut dyn Publisher, topic: &str, partitions: u32) -> TopicId {
    let spec = TopicSpec { name: topic.to_owned(), create_partitions: Some(partitions) };
    let (id, count) = publisher.open(&spec).unwrap();
    assert_eq!(count, partitions);
    id
}

/// Contents made from the token, so that a reader knows what to expect.
fn sent(token: u64, partition: u32, size: usize) -> StoredRecord {
    let mut value = token.to_string().into_bytes();
    value.resize(size, b' ');
    StoredRecord {
        partition,
        offset: 0,
        key: (!token.is_multiple_of(3)).then(|| format!("key-{}", token % 17).into_bytes()),
        header: proto::RecordHeader { n: token, ..Default::default() }.encode().to_vec(),
        value,
        timestamp_ms: 1_764_096_069_000 + token.cast_signed(),
    }
}

fn send(publisher: &mut dyn Publisher, topic: TopicId, token: u64, record: &StoredRecord) -> SendOutcome {
    let record = Record {
        topic,
        partition: record.partition,
        key: record.key.as_deref(),
        value: &record.value,
        header: &record.header,
        timestamp_ms: record.timestamp_ms,
        token,
    };
    publisher.send(record).unwrap()
}

fn flush(publisher: &mut dyn Publisher, reports: &mut Vec<Report>) {
    publisher.flush(Duration::from_secs(30), reports).unwrap();
    assert_eq!(publisher.in_flight_bytes(), 0);
}

/// Each of `tokens` once.
fn assert_once(reports: &[Report], tokens: impl Iterator<Item = u64>) {
    let mut reported: Vec<u64> = reports.iter().map(|report| report.token).collect();
    reported.sort_unstable();
    assert_eq!(reported, tokens.collect::<Vec<_>>());
}

fn order_tokens_and_contents(backend: &dyn Backend) {
    let mut publisher = backend.publisher("order", LARGE_QUEUE);
    publisher.init(1).unwrap();
    publisher.begin().unwrap();
    let topic = open(&mut *publisher, "order", 3);
    let records: Vec<_> = (0..6000).map(|token| sent(token, (token % 3) as u32, 40 + token as usize % 400)).collect();
    let mut reports = Vec::new();
    for (token, record) in (0..).zip(&records) {
        while send(&mut *publisher, topic, token, record) == SendOutcome::Full {
            publisher.poll(Duration::from_millis(10), &mut reports).unwrap();
        }
        if token % 500 == 0 {
            publisher.poll(Duration::ZERO, &mut reports).unwrap();
        }
    }
    assert!(reports.len() < records.len());
    flush(&mut *publisher, &mut reports);
    publisher.commit().unwrap();
    assert_once(&reports, 0..6000);

    let offsets: HashMap<u64, i64> =
        reports.iter().map(|report| (report.token, *report.result.as_ref().unwrap())).collect();
    let stored = backend.read("order", records.len());
    assert_eq!(stored.len(), records.len());
    if backend.is_stream() {
        assert!(stored.iter().map(|r| &r.value).eq(records.iter().map(|r| &r.value)));
        return;
    }
    for partition in 0..3 {
        let expected = (0..).zip(&records).filter(|(_, record)| record.partition == partition);
        let expected: Vec<_> =
            expected.map(|(token, record)| StoredRecord { offset: offsets[&token], ..record.clone() }).collect();
        let found: Vec<_> = stored.iter().filter(|record| record.partition == partition).cloned().collect();
        assert!(found == expected, "partition {partition} differs");
    }
}

fn full_is_refused_and_recovers(backend: &dyn Backend) {
    const BOUND: usize = 64 << 10;
    let mut publisher = backend.publisher("full", BOUND);
    publisher.init(1).unwrap();
    let topic = open(&mut *publisher, "full", 1);
    let mut reports = Vec::new();
    let mut token = 0;
    for round in 0..3 {
        let before = token;
        while send(&mut *publisher, topic, token, &sent(token, 0, 900)) == SendOutcome::Accepted {
            token += 1;
            assert!(publisher.in_flight_bytes() <= BOUND + 1100 && token < 100_000, "no bound");
        }
        assert!(token > before + 50, "round {round}: {} records", token - before);
        assert_eq!(send(&mut *publisher, topic, token, &sent(token, 0, 900)), SendOutcome::Full);
        flush(&mut *publisher, &mut reports);
        assert_once(&reports, 0..token);
    }
    let larger_than_the_bound = sent(token, 0, 2 * BOUND);
    assert_eq!(send(&mut *publisher, topic, token, &larger_than_the_bound), SendOutcome::Accepted);
    flush(&mut *publisher, &mut reports);
    assert!(reports.iter().all(|report| report.result.is_ok()));
    assert_eq!(backend.read("full", token as usize + 1).len(), token as usize + 1);
}

fn abort_reports_everything(backend: &dyn Backend) {
    let mut publisher = backend.publisher("abort", LARGE_QUEUE);
    publisher.init(1).unwrap();
    let topic = open(&mut *publisher, "abort", 1);
    let mut reports = Vec::new();
    for token in 0..500 {
        assert_eq!(send(&mut *publisher, topic, token, &sent(token, 0, 200)), SendOutcome::Accepted);
    }
    publisher.abort(&mut reports).unwrap();
    assert_once(&reports, 0..500);
    assert_eq!(publisher.in_flight_bytes(), 0);
    let delivered = reports.iter().filter(|report| report.result.is_ok()).count();
    assert!(reports.iter().all(|r| matches!(r.result, Ok(_) | Err(DeliveryError::Purged))), "{reports:?}");

    publisher.init(2).unwrap();
    assert_eq!(open(&mut *publisher, "abort", 1), topic);
    for token in 1000..1100 {
        assert_eq!(send(&mut *publisher, topic, token, &sent(token, 0, 200)), SendOutcome::Accepted);
    }
    reports.clear();
    flush(&mut *publisher, &mut reports);
    assert_once(&reports, 1000..1100);
    assert!(reports.iter().all(|report| report.result.is_ok()));
    // What was purged may be stored or not, but as a prefix, and all of it before the next epoch.
    let stored = backend.read("abort", delivered + 100);
    let tokens: Vec<u64> = stored.iter().map(|r| str::from_utf8(&r.value).unwrap().trim().parse().unwrap()).collect();
    let first = tokens.len() - 100;
    assert!(first >= delivered);
    assert!(tokens.iter().copied().eq((0..first as u64).chain(1000..1100)), "{tokens:?}");
}

fn polling_waits_no_longer_than_asked(backend: &dyn Backend) {
    let mut publisher = backend.publisher("poll", LARGE_QUEUE);
    publisher.init(1).unwrap();
    let mut reports = Vec::new();
    let begin = Instant::now();
    publisher.poll(Duration::from_millis(20), &mut reports).unwrap();
    publisher.flush(Duration::from_secs(5), &mut reports).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert!(reports.is_empty());
}

fn topics_are_pinned(backend: &dyn Backend) {
    let mut publisher = backend.publisher("pinned", LARGE_QUEUE);
    publisher.init(1).unwrap();
    let id = open(&mut *publisher, "pinned", 2);
    for create_partitions in [Some(5), None] {
        let spec = TopicSpec { name: "pinned".to_owned(), create_partitions };
        assert_eq!(publisher.open(&spec).unwrap(), (id, 2));
    }
    assert_ne!(open(&mut *publisher, "other", 1), id);
}

fn a_missing_topic_is_named(backend: &dyn Backend) {
    let mut publisher = backend.publisher("missing", LARGE_QUEUE);
    publisher.init(1).unwrap();
    for name in ["missing", "not/a/topic"] {
        let error = publisher.open(&TopicSpec { name: name.to_owned(), create_partitions: None }).unwrap_err();
        assert!(matches!(&error, PublishError::Topic { topic, .. } if topic == name), "{error:?}");
    }
}

fn a_newer_epoch_fences(backend: &dyn Backend) {
    let (mut old, mut new) = (backend.publisher("fence", LARGE_QUEUE), backend.publisher("fence", LARGE_QUEUE));
    old.init(10).unwrap();
    let topic = open(&mut *old, "fence", 1);
    assert_eq!(send(&mut *old, topic, 1, &sent(1, 0, 10)), SendOutcome::Accepted);
    new.init(11).unwrap();
    let record = Record { topic, partition: 0, key: None, value: b"", header: b"", timestamp_ms: 0, token: 2 };
    assert!(matches!(old.send(record), Err(PublishError::Fenced)));
    assert!(matches!(old.begin(), Err(PublishError::Fenced)));
    assert!(matches!(old.commit(), Err(PublishError::Fenced)));
    assert!(matches!(old.init(10), Err(PublishError::Fenced)));
    let mut reports = Vec::new();
    old.abort(&mut reports).unwrap();
    assert_once(&reports, 1..2);
    new.init(12).unwrap();
}

struct InMemory(Memory);

impl Backend for InMemory {
    fn publisher(&self, source: &str, queue_bytes: usize) -> Box<dyn Publisher> {
        Box::new(self.0.publisher(source, queue_bytes))
    }

    fn read(&self, topic: &str, _count: usize) -> Vec<StoredRecord> {
        (0..3).flat_map(|partition| self.0.records(topic, partition)).collect()
    }
}

#[test]
fn memory() {
    suite(&InMemory(Memory::default()));
}

struct Stream(tempfile::TempDir);

impl Backend for Stream {
    fn publisher(&self, source: &str, _queue_bytes: usize) -> Box<dyn Publisher> {
        let file = fs::File::create(self.0.path().join(source)).unwrap();
        Box::new(FilePublisher::new(file, Framing::Delimited))
    }

    fn read(&self, topic: &str, _count: usize) -> Vec<StoredRecord> {
        let bytes = fs::read(self.0.path().join(topic)).unwrap();
        let (mut rest, mut records) = (bytes.as_slice(), Vec::new());
        while let Some((&low, tail)) = rest.split_first() {
            let (len, tail) = match low {
                0..0x80 => (usize::from(low), tail),
                _ => (usize::from(low & 0x7f) | usize::from(tail[0]) << 7, &tail[1..]),
            };
            let (value, tail) = tail.split_at(len);
            records.push(StoredRecord { value: value.to_vec(), ..StoredRecord::default() });
            rest = tail;
        }
        records
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn fences(&self) -> bool {
        false
    }
}

#[test]
fn file() {
    suite(&Stream(tempfile::tempdir().unwrap()));
}

/// One store per queue bound, in folders of their own: the bound is a setting of the store.
struct Local {
    root: PathBuf,
    flush: Flush,
    stores: RefCell<HashMap<usize, Arc<LocalStore>>>,
}

impl Backend for Local {
    fn publisher(&self, source: &str, queue_bytes: usize) -> Box<dyn Publisher> {
        let config = LocalConfig {
            flush: self.flush,
            segment_bytes: 50_000,
            queue_bytes,
            ..LocalConfig::new(self.root.join(queue_bytes.to_string()))
        };
        let mut stores = self.stores.borrow_mut();
        let store = stores.entry(queue_bytes).or_insert_with(|| LocalStore::open(config).unwrap());
        Box::new(LocalPublisher::new(Arc::clone(store), source))
    }

    fn read(&self, topic: &str, _count: usize) -> Vec<StoredRecord> {
        let holds = |queue_bytes: &&usize| self.root.join(queue_bytes.to_string()).join(topic).exists();
        let queue_bytes = self.stores.borrow().keys().find(holds).copied().unwrap();
        drain(&mut LocalTopicReader::open(&self.root.join(queue_bytes.to_string()), topic).unwrap(), None)
    }
}

/// All records until `count` are there, or without a count until none comes.
fn drain(reader: &mut dyn Reader, count: Option<usize>) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    let wait = Duration::from_millis(if count.is_some() { 10_000 } else { 0 });
    while count.is_none_or(|count| records.len() < count) {
        let Some(record) = reader.next(wait).unwrap() else { break };
        records.push(record);
    }
    records
}

fn local(flush: Flush) {
    let dir = tempfile::tempdir().unwrap();
    suite(&Local { root: dir.path().to_owned(), flush, stores: RefCell::default() });
}

#[test]
fn local_synced() {
    local(Flush::Fsync);
}

#[test]
fn local_unsynced() {
    local(Flush::Os);
}

struct OnKafka(KafkaConfig);

impl Backend for OnKafka {
    fn publisher(&self, _source: &str, queue_bytes: usize) -> Box<dyn Publisher> {
        Box::new(KafkaPublisher::new(KafkaConfig { queue_bytes, ..self.0.clone() }).unwrap())
    }

    fn read(&self, topic: &str, count: usize) -> Vec<StoredRecord> {
        let mut reader = KafkaReader::open(&self.0, topic, Start::Earliest).unwrap();
        let mut records = drain(&mut reader, Some(count));
        // More than was asked for would be a duplicate, or purged records that were stored all the same.
        while let Some(record) = reader.next(Duration::from_millis(500)).unwrap() {
            records.push(record);
        }
        records
    }

    /// The fence of Kafka needs transactions.
    fn fences(&self) -> bool {
        false
    }
}

#[test]
fn kafka() {
    let kafka = kit::Kafka::start(1).unwrap();
    suite(&OnKafka(KafkaConfig::new(kafka.bootstrap())));
}
