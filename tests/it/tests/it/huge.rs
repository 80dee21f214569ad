//! One transaction of more than any memory for it: through `up` to a local topic and through `tail`, every row once, in
//! bounded memory.
//!
//! The short form is part of the integration tests. `HUGE_MIB=2048 make it ONLY=huge` is the long one; it appends its
//! result to `tests/reports/huge.jsonl`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit::{MySql, Process, binlake_bin, wait_until};

use crate::support::{Up, journal, log_end, setting, topic_of};

/// Doublings of the first rows: so many times their number are in the transaction.
const DOUBLINGS: usize = 10;
/// What the program is itself, what it holds of a transaction in memory, what is on its way to the topic.
const BASE_KIB: u64 = 180 << 10;
/// Of each event of 8 KiB something stays in memory until the commit, see the bounds in ARCHITECTURE.md: for 2 GiB this
/// and the base are 300 MiB.
const PER_MIB_KIB: u64 = 60;

/// Writes `mib` rows, then doubles them [`DOUBLINGS`] times, all in one transaction: ids from 1, 1 KiB each in the log.
fn insert(mysql: &MySql, mib: usize) {
    let mut sql = String::from(
        "CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(1100) CHARACTER SET ascii); BEGIN; \
         SET SESSION cte_max_recursion_depth = 1000000; \
         INSERT INTO it.t WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < ",
    );
    // Random, so that compression does not make it small; longer than what LZ4 looks back for.
    sql += &format!("{mib}) SELECT i, TO_BASE64(RANDOM_BYTES(740)) FROM n; ");
    for doubling in 0..DOUBLINGS {
        sql += &format!("INSERT INTO it.t SELECT id + {}, pad FROM it.t; ", mib << doubling);
    }
    sql += "COMMIT";
    mysql.sql(&sql).unwrap();
}

/// Reads a local topic to its end: rows, of them different ids, and the largest id.
fn read_ids(dir: &Path, topic: &str) -> (usize, usize, usize) {
    let mut read = Command::new(binlake_bin().unwrap());
    read.args(["read", "--data-dir", dir.to_str().unwrap(), "--topic", topic, "--until-end"]);
    let mut child = read.stdout(Stdio::piped()).spawn().unwrap();
    let (mut rows, mut seen, mut highest) = (0, Vec::new(), 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let id = line.split("\"id\":").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        let id: usize = id.parse().unwrap_or_else(|e| panic!("{e}: {line}"));
        rows += 1;
        highest = highest.max(id);
        seen.resize(highest.max(seen.len()), false);
        seen[id - 1] = true;
    }
    assert!(child.wait().unwrap().success());
    (rows, seen.iter().filter(|seen| **seen).count(), highest)
}

#[test]
fn one_transaction_larger_than_memory() {
    let mib = setting("HUGE_MIB", 200) as usize;
    let rows = mib << DOUBLINGS;
    let (begin, limit) = (Instant::now(), Duration::from_secs(60 + mib as u64 / 2));
    let most = BASE_KIB + PER_MIB_KIB * mib as u64;
    let mysql = MySql::with("9.7", &["--innodb-buffer-pool-size=512M", "--innodb-redo-log-capacity=1G"]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(&["--source", &mysql.url(), "--data-dir", dir.path().to_str().unwrap()]);
    up.wait_streaming();
    let from = log_end(&mysql);
    insert(&mysql, mib);
    // The server may have begun another log file: a small transaction stands behind the large one in any case.
    mysql.sql("CREATE TABLE it.behind (id INT PRIMARY KEY)").unwrap();
    let end = log_end(&mysql);
    let written = begin.elapsed();
    assert!(wait_until(limit, || up.health()["settled"] == end), "not settled to {end}: {:#}", up.health());
    let published = begin.elapsed();
    let by_up = up.process.peak_kib().unwrap();
    up.stop();

    let tail = ["tail", "--source", &mysql.url(), "--from", &from, "--until", "now", "--format", "none"];
    let mut tail = Process::binlake(&tail).unwrap();
    let (status, by_tail) = tail.wait_measured(limit).unwrap();
    let said = tail.stderr();
    assert!(status.success() && said.contains(&format!("rows={rows} transactions=")), "{rows} rows wanted: {said}");

    assert!(!said.contains("epoch_ended"), "{said}");

    assert_eq!(read_ids(dir.path(), &topic_of(mysql.port())), (rows, rows, rows));
    println!(
        "{mib} MiB, {rows} rows: written {written:?}, published {published:?}, up {by_up} KiB, tail {by_tail} KiB, {said}"
    );
    assert!(by_up < most && by_tail < most, "up {by_up} KiB, tail {by_tail} KiB, at most {most}");
    if std::env::var_os("HUGE_MIB").is_some() {
        let line = serde_json::json!({
            "mib": mib, "rows": rows, "seconds": begin.elapsed().as_secs(), "written_after_s": written.as_secs(),
            "published_after_s": published.as_secs(), "peak_rss_mib_up": by_up >> 10, "peak_rss_mib_tail": by_tail >> 10,
        });
        journal("huge", line);
    }
}
