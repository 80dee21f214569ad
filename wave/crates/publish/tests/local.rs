//! The local topic store under kills, a full disk, damage, retention and live readers.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use publish::local::{Flush, LocalConfig, LocalPublisher, LocalReader, LocalStore, topics};
use publish::{
    DeliveryError, PublishError, Publisher, ReadError, Record, Report, SendOutcome, Start, StoredRecord, TopicId,
    TopicSpec,
};

const TOPIC: &str = "shop.orders";

fn publisher(config: LocalConfig, epoch: u64) -> (LocalPublisher, TopicId) {
    let store = LocalStore::open(config).unwrap();
    let mut publisher = LocalPublisher::new(store, "source");
    publisher.init(epoch).unwrap();
    let spec = TopicSpec { name: TOPIC.to_owned(), create_partitions: Some(1) };
    let (topic, _) = publisher.open(&spec).unwrap();
    (publisher, topic)
}

fn send(publisher: &mut LocalPublisher, topic: TopicId, token: u64, value: &[u8]) -> SendOutcome {
    let timestamp_ms = token.cast_signed() * 10;
    let record = Record { topic, partition: 0, key: Some(b"key"), value, header: b"header", timestamp_ms, token };
    publisher.send(record).unwrap()
}

/// Sends and flushes values with their number at the start, `size` bytes each.
fn fill(publisher: &mut LocalPublisher, topic: TopicId, numbers: std::ops::Range<u64>, size: usize) -> Vec<Report> {
    let mut reports = Vec::new();
    for number in numbers {
        let value = numbered(number, size);
        while send(publisher, topic, number, &value) == SendOutcome::Full {
            publisher.poll(Duration::from_millis(1), &mut reports).unwrap();
        }
        if number % 100 == 0 {
            publisher.poll(Duration::ZERO, &mut reports).unwrap();
        }
    }
    publisher.flush(Duration::from_secs(10), &mut reports).unwrap();
    reports
}

fn numbered(number: u64, size: usize) -> Vec<u8> {
    let mut value = number.to_string().into_bytes();
    value.resize(size, b' ');
    value
}

fn number(record: &StoredRecord) -> u64 {
    str::from_utf8(&record.value).unwrap().trim().parse().unwrap()
}

fn read_all(root: &Path) -> Vec<StoredRecord> {
    let mut reader = LocalReader::open(root, TOPIC, 0).unwrap();
    std::iter::from_fn(|| reader.next_record().unwrap()).collect()
}

fn assert_dense(records: &[StoredRecord]) {
    let first = records.first().map_or(0, |record| record.offset);
    assert!(records.iter().map(|record| record.offset).eq(first..first + records.len() as i64));
}

/// Runs one of the ignored tests below in a process of its own.
fn child(name: &str, root: &Path, epoch: u64, shell_first: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{shell_first} exec \"$@\""), "bash"]);
    command.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--ignored", "--nocapture"]);
    command.env("ROOT", root).env("EPOCH", epoch.to_string());
    command
}

fn child_root() -> std::path::PathBuf {
    std::env::var_os("ROOT").expect("run by another test").into()
}

#[test]
#[ignore = "the victim of kill_9_loses_nothing_acknowledged"]
fn victim() {
    let epoch: u64 = std::env::var("EPOCH").unwrap().parse().unwrap();
    let flush = if epoch.is_multiple_of(2) { Flush::Os } else { Flush::Fsync };
    let sync_interval = Duration::from_millis(2);
    let config = LocalConfig { flush, sync_interval, segment_bytes: 300_000, ..LocalConfig::new(child_root()) };
    let (mut publisher, topic) = publisher(config, epoch);
    let mut reports = Vec::new();
    let mut out = std::io::stdout().lock();
    for n in 0.. {
        let number = epoch * 1_000_000_000 + n;
        while send(&mut publisher, topic, number, &numbered(number, 20 + n as usize % 2000)) == SendOutcome::Full {
            publisher.poll(Duration::from_millis(1), &mut reports).unwrap();
        }
        if n % 7 == 0 {
            publisher.poll(Duration::ZERO, &mut reports).unwrap();
        }
        for report in reports.drain(..) {
            writeln!(out, "ack {} {}", report.token, report.result.unwrap()).unwrap();
        }
    }
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for epoch in 1..=6 {
        let mut child = child("victim", dir.path(), epoch, "").stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (mut line, mut count) = (String::new(), 0);
        while out.read_line(&mut line).unwrap() > 0 {
            // The kill may cut the last line short.
            let whole = std::mem::take(&mut line);
            let Some(whole) = whole.strip_suffix('\n') else { break };
            let words: Vec<_> = whole.split(' ').collect();
            let ["ack", token, offset] = words[..] else { continue };
            acknowledged.push((token.parse::<u64>().unwrap(), offset.parse::<i64>().unwrap()));
            count += 1;
            if count == 400 + epoch * 277 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        drop(publisher(LocalConfig::new(dir.path()), 100));

        let records = read_all(dir.path());
        assert_dense(&records);
        for &(token, offset) in &acknowledged {
            assert_eq!(number(&records[offset as usize]), token, "offset {offset} after epoch {epoch}");
        }
        let of_epoch = records.iter().map(number).filter(|number| number / 1_000_000_000 == epoch);
        assert!(of_epoch.zip(0..).all(|(number, n)| number == epoch * 1_000_000_000 + n), "a hole in epoch {epoch}");
    }
    assert!(acknowledged.len() > 6 * 600);
}

#[test]
#[ignore = "runs under the file size limit of a_full_disk_ends_the_epoch_and_no_more"]
fn limited() {
    let root = child_root();
    let config = LocalConfig { sync_interval: Duration::ZERO, ..LocalConfig::new(&root) };
    let (mut publisher, topic) = publisher(config, 1);
    let reports = fill(&mut publisher, topic, 0..3000, 1000);
    assert_eq!(reports.len(), 3000);
    let delivered = reports.iter().filter(|report| report.result.is_ok()).count();
    let failed =
        reports.iter().filter(|r| matches!(&r.result, Err(DeliveryError::Backend(e)) if e.contains(TOPIC))).count();
    assert!(delivered > 500 && failed > 500 && delivered + failed == 3000, "{delivered} {failed}");
    assert!(reports.iter().take(delivered).all(|report| report.result.is_ok()));
    assert_eq!(publisher.in_flight_bytes(), 0);
    // Nothing goes behind the hole in this epoch, and readers see what was acknowledged, no more.
    assert!(fill(&mut publisher, topic, 3000..3001, 10)[0].result.is_err());
    assert_eq!(read_all(&root).len(), delivered);

    let more_space = std::env::var("MORE_SPACE").unwrap().replace("PID", &std::process::id().to_string());
    assert!(Command::new("bash").args(["-c", &more_space]).status().unwrap().success());
    publisher.init(2).unwrap();
    let again = fill(&mut publisher, topic, delivered as u64..3000, 1000);
    assert!(again.iter().all(|report| report.result.is_ok()), "{:?}", again[0]);
    let records = read_all(&root);
    assert_dense(&records);
    assert!(records.iter().map(number).eq(0..3000));
}

/// A file size limit gives what a full disk gives: a write that ends in the middle of a record, then an error.
#[test]
fn a_full_disk_ends_the_epoch_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("limited", dir.path(), 1, "trap '' XFSZ; ulimit -S -f 1500;");
    let output = child.env("MORE_SPACE", "prlimit --pid PID --fsize=unlimited").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(read_all(dir.path()).iter().map(number).eq(0..3000));
}

#[test]
#[ignore = "runs under the file limit of a_topic_that_cannot_be_opened_yet"]
fn few_files() {
    let store = LocalStore::open(LocalConfig::new(child_root())).unwrap();
    let mut writer = LocalPublisher::new(store, "source");
    writer.init(1).unwrap();
    let spec = TopicSpec { name: TOPIC.to_owned(), create_partitions: Some(50) };
    let error = writer.open(&spec).unwrap_err();
    assert!(matches!(&error, PublishError::Unavailable(text) if text.contains("ulimit -n")), "{error:?}");
    let raise = ["--nofile=1000", "--pid", &std::process::id().to_string()];
    assert!(Command::new("prlimit").args(raise).status().unwrap().success());
    assert_eq!(writer.open(&spec).unwrap().1, 50);
}

#[test]
fn a_topic_that_cannot_be_opened_yet() {
    let dir = tempfile::tempdir().unwrap();
    let output = child("few_files", dir.path(), 1, "ulimit -S -n 60;").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Something else in its place.
    let store = LocalStore::open(LocalConfig::new(dir.path())).unwrap();
    let mut writer = LocalPublisher::new(store, "source");
    fs::write(dir.path().join("file"), b"").unwrap();
    let spec = TopicSpec { name: "file".to_owned(), create_partitions: Some(1) };
    assert!(matches!(writer.open(&spec), Err(PublishError::Topic { .. })));
    // A description that is none.
    fs::write(dir.path().join(TOPIC).join("topic.json"), b"{}").unwrap();
    let spec = TopicSpec { name: TOPIC.to_owned(), create_partitions: None };
    assert!(matches!(writer.open(&spec), Err(PublishError::Damaged(text)) if text.contains("topic.json")));
}

fn only_segment(root: &Path) -> std::path::PathBuf {
    root.join(TOPIC).join("0").join(format!("{:020}.seg", 0))
}

#[test]
fn a_torn_tail_is_cut_and_damage_before_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, topic) = publisher(LocalConfig::new(dir.path()), 1);
    fill(&mut writer, topic, 0..100, 50);
    drop(writer);
    let whole = fs::read(only_segment(dir.path())).unwrap();
    let frame = (whole.len() - 8) / 100;
    for torn in [1, 7, 8, 31, frame - 1, frame, 3 * frame + 5] {
        // The start of further frames, as a kill in the middle of a write leaves it.
        let mut bytes = whole.clone();
        bytes.extend((0..torn).map(|i| whole[8 + i % frame]));
        fs::write(only_segment(dir.path()), bytes).unwrap();
        assert_eq!(read_all(dir.path()).len(), 100, "a reader does not look behind the mark");
        drop(publisher(LocalConfig::new(dir.path()), 1));
        assert_eq!(fs::read(only_segment(dir.path())).unwrap(), whole, "{torn} torn bytes");
    }

    for damage in [8 + 50 * frame + 9, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[damage] ^= 1;
        fs::write(only_segment(dir.path()), &bytes).unwrap();
        let store = LocalStore::open(LocalConfig::new(dir.path())).unwrap();
        let mut writer = LocalPublisher::new(Arc::clone(&store), "source");
        writer.init(1).unwrap();
        let error = writer.open(&TopicSpec { name: TOPIC.to_owned(), create_partitions: None }).unwrap_err();
        assert!(
            matches!(&error, PublishError::Damaged(text) if text.contains("acknowledged records are damaged")),
            "{error:?}"
        );
        assert_eq!(fs::read(only_segment(dir.path())).unwrap(), bytes, "what is refused is left as it is");
        let mut reader = LocalReader::open(dir.path(), TOPIC, 0).unwrap();
        let end = loop {
            match reader.next_record() {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(&end, Err(ReadError::Damaged(text)) if text.contains("offset")), "{end:?}");
    }
    fs::write(only_segment(dir.path()), &whole[..whole.len() - frame]).unwrap();
    let mut reader = LocalReader::open(dir.path(), TOPIC, 0).unwrap();
    reader.seek(Start::Offset(99)).unwrap();
    assert!(matches!(reader.next_record(), Err(ReadError::Damaged(_))), "a missing acknowledged record is told");
}

#[test]
fn a_record_that_is_too_large_is_refused_by_the_key_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, topic) = publisher(LocalConfig { max_record_bytes: 1024, ..LocalConfig::new(dir.path()) }, 1);
    assert_eq!(send(&mut writer, topic, 1, &[0; 2000]), SendOutcome::Accepted);
    let mut reports = Vec::new();
    writer.poll(Duration::ZERO, &mut reports).unwrap();
    let refused = reports[0].result.as_ref().unwrap_err().to_string();
    assert!(refused.contains("max_record of [local]"), "{refused}");
}

#[test]
fn two_processes_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let first = LocalStore::open(LocalConfig::new(dir.path())).unwrap();
    let error = LocalStore::open(LocalConfig::new(dir.path())).unwrap_err();
    assert!(matches!(&error, PublishError::Config(text) if text.contains("another process")), "{error}");
    drop(first);
    LocalStore::open(LocalConfig::new(dir.path())).unwrap();
}

#[test]
fn retention_removes_whole_old_segments() {
    let dir = tempfile::tempdir().unwrap();
    let small = LocalConfig { segment_bytes: 10_000, ..LocalConfig::new(dir.path()) };
    let (mut writer, topic) = publisher(small.clone(), 1);
    for start in (0..1000).step_by(50) {
        fill(&mut writer, topic, start..start + 50, 100);
    }
    drop(writer);
    let mut late = LocalReader::open(dir.path(), TOPIC, 0).unwrap();
    assert_eq!(late.next_record().unwrap().unwrap().offset, 0);

    let limits = [
        LocalConfig { retention_bytes: Some(50_000), ..small.clone() },
        LocalConfig { retention_age: Some(Duration::ZERO), ..small },
    ];
    let mut kept = 1000;
    for (epoch, limit) in (2..).zip(limits) {
        let (mut writer, topic) = publisher(limit, epoch);
        // Two rolls: the first segment that is full may be the one written before.
        for start in [1000, 1100] {
            fill(&mut writer, topic, start..start + 100, 100);
        }
        let records = read_all(dir.path());
        assert_dense(&records);
        assert!(!records.is_empty() && records.len() < kept, "{} of {kept}", records.len());
        kept = records.len();
    }
    // The reader still holds the first segment; what comes after it is gone, and it is told so.
    let end = loop {
        match late.next_record() {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(end, Err(ReadError::Gone { earliest: 1.., .. })), "{end:?}");
    assert!(matches!(late.seek(Start::Offset(5)), Err(ReadError::Gone { wanted: 5, .. })));
    late.seek(Start::Earliest).unwrap();
    assert!(late.next_record().unwrap().is_some());
}

#[test]
fn seeks_by_offset_and_time_with_and_without_index() {
    let dir = tempfile::tempdir().unwrap();
    let config = LocalConfig { segment_bytes: 200_000, ..LocalConfig::new(dir.path()) };
    let (mut writer, topic) = publisher(config, 1);
    for start in (0..10_000).step_by(1000) {
        fill(&mut writer, topic, start..start + 1000, 100);
    }
    let partition = dir.path().join(TOPIC).join("0");
    let indexes = || {
        fs::read_dir(&partition)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().unwrap_or_default() == "idx")
    };
    assert!(indexes().count() > 3);
    assert!(indexes().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>() > 24 * 20);
    for damage in ["none", "garbage", "gone"] {
        for path in indexes() {
            match damage {
                "garbage" => fs::write(path, [7; 240]).unwrap(),
                "gone" => fs::remove_file(path).unwrap(),
                _ => {}
            }
        }
        let mut reader = LocalReader::open(dir.path(), TOPIC, 0).unwrap();
        for target in [0, 1, 777, 5000, 9998, 9999] {
            for start in [Start::Offset(target), Start::Time(target * 10), Start::Time(target * 10 - 9)] {
                reader.seek(start).unwrap();
                let record = reader.next_record().unwrap().unwrap();
                assert_eq!(
                    (record.offset, number(&record).cast_signed()),
                    (target, target),
                    "{start:?}, index {damage}"
                );
            }
        }
        for start in [Start::Latest, Start::Time(100_000), Start::Offset(10_000)] {
            reader.seek(start).unwrap();
            assert_eq!(reader.next_record().unwrap(), None, "{start:?}");
        }
    }
    let mut reader = LocalReader::open(dir.path(), TOPIC, 0).unwrap();
    reader.seek(Start::Latest).unwrap();
    fill(&mut writer, topic, 10_000..10_001, 10);
    assert_eq!(reader.next_record().unwrap().unwrap().offset, 10_000);
    assert_eq!(topics(dir.path()).unwrap(), [(TOPIC.to_owned(), 1)]);
}

#[test]
fn a_reader_follows_a_writer() {
    const COUNT: u64 = 50_000;
    let dir = tempfile::tempdir().unwrap();
    let config =
        LocalConfig { segment_bytes: 100_000, sync_interval: Duration::from_millis(1), ..LocalConfig::new(dir.path()) };
    let (mut writer, topic) = publisher(config, 1);
    let mut reader = LocalReader::open(dir.path(), TOPIC, 0).unwrap();
    let follower = std::thread::spawn(move || {
        let mut next = 0;
        while next < COUNT {
            match reader.next_record().unwrap() {
                Some(record) => {
                    assert_eq!((record.offset.cast_unsigned(), number(&record)), (next, next));
                    next += 1;
                }
                None => std::thread::sleep(Duration::from_micros(100)),
            }
        }
    });
    let mut reports = Vec::new();
    for number in 0..COUNT {
        assert_eq!(
            send(&mut writer, topic, number, &numbered(number, 20 + number as usize % 300)),
            SendOutcome::Accepted
        );
        if number % 10 == 0 {
            writer.poll(Duration::ZERO, &mut reports).unwrap();
        }
    }
    writer.flush(Duration::from_secs(10), &mut reports).unwrap();
    follower.join().unwrap();
}

#[test]
fn two_sources_share_a_partition() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(LocalConfig::new(dir.path())).unwrap();
    let spec = TopicSpec { name: TOPIC.to_owned(), create_partitions: Some(1) };
    let mut writers = ["a", "b"].map(|source| {
        let mut writer = LocalPublisher::new(Arc::clone(&store), source);
        writer.init(1).unwrap();
        let (topic, _) = writer.open(&spec).unwrap();
        (writer, topic)
    });
    let mut offsets = Vec::new();
    for round in 0..50 {
        for (index, (writer, topic)) in (0..).zip(&mut writers) {
            let number = round * 2 + index;
            let report = fill(writer, *topic, number..number + 1, 30).pop().unwrap();
            offsets.push((number, report.result.unwrap()));
        }
    }
    let records = read_all(dir.path());
    assert_eq!(records.len(), 100);
    assert!(offsets.iter().all(|&(n, offset)| number(&records[offset as usize]) == n));
}
