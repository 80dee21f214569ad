//! Records per second and CPU time of the backends: `cargo bench -p binlake-publish [-- memory|local|kafka]`.
//!
//! Records have a key of 8 bytes, the record header and a value of 225 bytes (a JSON row) or of 16 KiB (a batch of rows).
//! Kafka's figures are of records acknowledged by all replicas of a broker on this machine.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use publish::kafka::{KafkaConfig, KafkaPublisher};
use publish::local::{Flush, LocalConfig, LocalPublisher, LocalStore};
use publish::memory::Memory;
use publish::{Publisher, Record, SendOutcome, TopicSpec};

const PARTITIONS: u32 = 4;

fn main() {
    let wanted = std::env::args().nth(1).filter(|arg| !arg.starts_with('-')).unwrap_or_default();
    println!(
        "{:<16} {:>8} {:>10} {:>12} {:>8} {:>14}",
        "backend", "value", "records", "records/s", "MB/s", "CPU s/million"
    );
    if "memory".starts_with(&wanted) {
        // Memory keeps all: few records.
        run("memory", &mut Memory::default().publisher("bench", 64 << 20), 500_000, 225);
    }
    if "local".starts_with(&wanted) {
        for (name, flush) in [("local, synced", Flush::Fsync), ("local, unsynced", Flush::Os)] {
            let dir = tempfile::tempdir().expect("a folder");
            let config = LocalConfig { flush, ..LocalConfig::new(dir.path()) };
            let store = LocalStore::open(config).expect("a store");
            let mut publisher = LocalPublisher::new(Arc::clone(&store), "bench");
            run(name, &mut publisher, 3_000_000, 225);
            run(name, &mut publisher, 50_000, 16 << 10);
        }
    }
    if "kafka".starts_with(&wanted) {
        let kafka = kit::Kafka::start(1).expect("a broker");
        let mut publisher = KafkaPublisher::new(KafkaConfig::new(kafka.bootstrap())).expect("settings");
        for _ in 0..3 {
            run("kafka", &mut publisher, 1_000_000, 225);
        }
        run("kafka", &mut publisher, 30_000, 16 << 10);
        for linger in ["5", "2", "1", "0"] {
            let mut config = KafkaConfig::new(kafka.bootstrap());
            config.properties.insert("linger.ms".to_owned(), linger.to_owned());
            latency(linger, &mut KafkaPublisher::new(config).expect("settings"));
        }
    }
}

/// From `send` to the report, at 500 records a second.
fn latency(linger: &str, publisher: &mut dyn Publisher) {
    publisher.init(1).expect("init");
    let spec = TopicSpec { name: "latency".to_owned(), create_partitions: Some(PARTITIONS) };
    let (topic, _) = publisher.open(&spec).expect("a topic");
    let (mut sent, mut took, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    let begin = Instant::now();
    for token in 0..3000u64 {
        let due = begin + Duration::from_millis(2 * token);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            publisher.poll(left, &mut reports).expect("poll");
            took.extend(reports.drain(..).map(|report| Instant::elapsed(&sent[report.token as usize])));
            if left.is_zero() {
                break;
            }
        }
        sent.push(Instant::now());
        let partition = (token % u64::from(PARTITIONS)) as u32;
        let record = Record { topic, partition, key: None, value: &[b'x'; 225], header: b"", timestamp_ms: 1, token };
        publisher.send(record).expect("send");
    }
    took.sort_unstable();
    let at = |share: f64| took[(took.len() as f64 * share) as usize];
    println!("kafka latency, linger.ms {linger}: p50 {:.1?}, p99 {:.1?}", at(0.5), at(0.99));
}

fn run(name: &str, publisher: &mut dyn Publisher, count: u64, size: usize) {
    publisher.init(1).expect("init");
    let spec = TopicSpec { name: "bench".to_owned(), create_partitions: Some(PARTITIONS) };
    let (topic, _) = publisher.open(&spec).expect("a topic");
    let value = json_like(size);
    let mut reports = Vec::new();
    let mut reported = 0;
    let (begin, cpu) = (Instant::now(), cpu_time());
    for token in 0..count {
        let header = proto::RecordHeader { n: token, ..Default::default() }.encode();
        let key = token.to_le_bytes();
        let start = token as usize % 64;
        let record = Record {
            topic,
            partition: (token % u64::from(PARTITIONS)) as u32,
            key: Some(&key),
            value: &value[start..start + size],
            header: &header,
            timestamp_ms: 1_764_096_069_000,
            token,
        };
        while publisher.send(record).expect("send") == SendOutcome::Full {
            publisher.poll(Duration::from_millis(20), &mut reports).expect("poll");
        }
        if token % 1000 == 0 {
            publisher.poll(Duration::ZERO, &mut reports).expect("poll");
        }
        reported += reports.drain(..).filter(|report| report.result.is_ok()).count() as u64;
    }
    publisher.flush(Duration::from_secs(60), &mut reports).expect("flush");
    reported += reports.drain(..).filter(|report| report.result.is_ok()).count() as u64;
    assert_eq!(reported, count);
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_time() - cpu);
    let million = count as f64 / 1e6;
    println!(
        "{name:<16} {size:>8} {count:>10} {:>12.0} {:>8.0} {:>14.2}",
        count as f64 / seconds,
        million * size as f64 / seconds,
        cpu / million
    );
}

/// Text with the redundancy of rows of one table.
fn json_like(size: usize) -> Vec<u8> {
    let row = |n: u64| {
        let noise = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            r#"{{"id":{n},"k":{},"c":"{noise:016x}{:016x}","pad":"{:016x}"}},"#,
            noise % 10_000,
            !noise,
            noise.rotate_left(7)
        )
    };
    (0..).flat_map(|n| row(n).into_bytes()).take(size + 64).collect()
}

/// User and system time of this process in seconds; Linux counts in hundredths.
fn cpu_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}
