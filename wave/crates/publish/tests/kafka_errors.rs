//! What a broker answers, and what becomes of it: librdkafka's mock cluster says what a real one says only in trouble.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use publish::kafka::{KafkaConfig, KafkaPublisher};
use publish::{DeliveryError, PublishError, Publisher, Record, Report, SendOutcome, TopicId, TopicSpec};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr as Answer;

const SOON: Duration = Duration::from_secs(20);

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A cluster with topics of one partition, and a publisher that has opened them.
fn cluster(brokers: i32, topics: &[&str]) -> (Cluster, KafkaPublisher, Vec<TopicId>) {
    let cluster = MockCluster::new(brokers).unwrap();
    for (topic, broker) in topics.iter().zip((1..=brokers).cycle()) {
        cluster.create_topic(topic, 1, 1).unwrap();
        cluster.partition_leader(topic, 0, Some(broker)).unwrap();
    }
    let (publisher, ids) = publisher(&cluster, topics);
    (cluster, publisher, ids)
}

fn publisher(cluster: &Cluster, topics: &[&str]) -> (KafkaPublisher, Vec<TopicId>) {
    // Nobody asks for it here, but it is what a principal is called by.
    publisher_with(cluster, topics, ("security.protocol", "PLAINTEXT"))
}

fn publisher_with(cluster: &Cluster, topics: &[&str], property: (&str, &str)) -> (KafkaPublisher, Vec<TopicId>) {
    let mut config = KafkaConfig::new(cluster.bootstrap_servers());
    config.properties.insert(property.0.to_owned(), property.1.to_owned());
    let mut publisher = KafkaPublisher::new(config).unwrap();
    publisher.init(1).unwrap();
    let open =
        |name: &&str| publisher.open(&TopicSpec { name: (*name).to_owned(), create_partitions: None }).unwrap().0;
    let ids = topics.iter().map(open).collect();
    (publisher, ids)
}

fn send(publisher: &mut KafkaPublisher, topic: TopicId, token: u64) {
    let record =
        Record { topic, partition: 0, key: Some(b"k"), value: b"value", header: b"h", timestamp_ms: 1_000, token };
    let mut dropped = Vec::new();
    while publisher.send(record).unwrap() == SendOutcome::Full {
        publisher.poll(Duration::from_millis(5), &mut dropped).unwrap();
        assert!(dropped.is_empty(), "{dropped:?}");
    }
}

fn flush(publisher: &mut KafkaPublisher) -> Vec<Report> {
    let mut reports = Vec::new();
    publisher.flush(SOON, &mut reports).unwrap();
    assert_eq!(publisher.in_flight_bytes(), 0);
    reports
}

/// What one record gets when the broker answers like this.
fn outcome(answer: Answer) -> DeliveryError {
    let (cluster, mut publisher, ids) = cluster(1, &["orders"]);
    send(&mut publisher, ids[0], 1);
    assert!(flush(&mut publisher)[0].result.is_ok());
    cluster.request_errors(Api::Produce, &[answer; 3]);
    send(&mut publisher, ids[0], 2);
    let reports = flush(&mut publisher);
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports[0].result.clone().unwrap_err()
}

#[test]
fn a_topic_that_may_not_be_written_is_denied_and_says_who_needs_what() {
    let error = outcome(Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    let DeliveryError::Denied { topic, reason } = &error else { panic!("{error:?}") };
    assert_eq!(topic, "orders");
    assert!(reason.contains("User:ANONYMOUS") && reason.contains("grant it Write and Describe"), "{reason}");
}

#[test]
fn what_is_too_large_is_so_by_record_and_by_batch() {
    for answer in [Answer::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Answer::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE] {
        let error = outcome(answer);
        assert!(matches!(&error, DeliveryError::TooLarge { topic, size: 7, .. } if topic == "orders"), "{error:?}");
    }
}

#[test]
fn a_record_larger_than_the_queue_is_taken_when_nothing_is_in_flight() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    let (mut publisher, ids) = publisher_with(&cluster, &["orders"], ("message.max.bytes", "50000000"));
    let value = vec![b'x'; 40 << 20];
    let record =
        Record { topic: ids[0], partition: 0, key: None, value: &value, header: b"h", timestamp_ms: 1, token: 1 };
    assert_eq!(publisher.send(record).unwrap(), SendOutcome::Accepted);
    assert_eq!(publisher.send(Record { token: 2, ..record }).unwrap(), SendOutcome::Full);
    assert!(matches!(flush(&mut publisher)[..], [Report { token: 1, result: Ok(0) }]));
}

#[test]
fn what_the_topic_does_not_take_concerns_the_topic() {
    for answer in [
        Answer::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
        Answer::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        Answer::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        Answer::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE,
    ] {
        let error = outcome(answer);
        assert!(matches!(&error, DeliveryError::Topic { topic, .. } if topic == "orders"), "{error:?}");
    }
}

#[test]
fn a_fatal_error_comes_with_what_librdkafka_says_of_it() {
    let error = outcome(Answer::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH);
    let DeliveryError::Backend(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("orders") && text.contains("ProduceRequest") && text.contains("epoch"), "{text}");
}

#[test]
fn a_refused_record_is_reported_before_what_it_takes_along() {
    for round in 0..5 {
        let (cluster, mut publisher, ids) = cluster(3, &["first", "second", "third"]);
        for (token, id) in ids.iter().enumerate() {
            send(&mut publisher, *id, token as u64);
        }
        assert!(flush(&mut publisher).iter().all(|report| report.result.is_ok()));
        // Slow, so that each broker has something in its queue. One of them refuses.
        cluster.broker_round_trip_time(-1, Duration::from_millis(50)).unwrap();
        cluster.request_errors(Api::Produce, &[Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
        let (mut reports, mut token, begin) = (Vec::new(), 10, Instant::now());
        while reports.iter().all(|report: &Report| report.result.is_ok()) && begin.elapsed() < SOON {
            reports.clear();
            send_to_all(&mut publisher, &ids, &mut token, &mut reports);
            publisher.poll(Duration::from_micros(200), &mut reports).unwrap();
        }
        let first = reports.iter().find(|report| report.result.is_err()).unwrap();
        assert!(matches!(&first.result, Err(DeliveryError::Denied { .. })), "round {round}: {first:?}");
    }
}

fn send_to_all(publisher: &mut KafkaPublisher, ids: &[TopicId], token: &mut u64, reports: &mut Vec<Report>) {
    for topic in ids {
        let record =
            Record { topic: *topic, partition: 0, key: None, value: b"v", header: b"", timestamp_ms: 1, token: *token };
        match publisher.send(record).unwrap() {
            SendOutcome::Accepted => *token += 1,
            SendOutcome::Full => publisher.poll(Duration::from_millis(1), reports).unwrap(),
        }
    }
}

#[test]
fn a_producer_that_gets_no_number_is_denied() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    cluster.request_errors(Api::InitProducerId, &[Answer::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED; 3]);
    let (mut publisher, ids) = publisher(&cluster, &["orders"]);
    send(&mut publisher, ids[0], 1);
    let reports = flush(&mut publisher);
    let error = reports[0].result.clone().unwrap_err();
    assert!(matches!(&error, DeliveryError::Denied { reason, .. } if reason.contains("IdempotentWrite")), "{error:?}");
    // The next epoch asks again.
    cluster.clear_request_errors(Api::InitProducerId);
    publisher.init(2).unwrap();
    send(&mut publisher, ids[0], 2);
    assert!(flush(&mut publisher)[0].result.is_ok());
}

#[test]
fn a_topic_that_may_not_be_described_is_denied_at_once() {
    let (cluster, mut publisher, _) = cluster(1, &["orders"]);
    cluster.topic_error("orders", Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let error = publisher.open(&TopicSpec { name: "orders".to_owned(), create_partitions: Some(1) }).unwrap_err();
    let PublishError::Denied(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("topic orders") && text.contains("User:ANONYMOUS"), "{text}");
}
