//! Replay: a random workload runs on a server while the program is killed again and again; its messages, applied to empty
//! tables of a second server, give the same tables.
//!
//! The short form is part of the integration tests. `REPLAY_CHANGES=200000 make it ONLY=replay` is the long one; it
//! appends its result to `tests/reports/replay.jsonl`. `REPLAY_SEED` repeats a run (as far as the order of concurrent
//! statements repeats).

#[path = "replay/apply.rs"]
pub(crate) mod apply;
#[path = "replay/workload.rs"]
mod workload;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kit::{Database, Kafka, MariaDb, MySql, wait_until};

use crate::support::{Up, binlake_within, journal, load_for, log_end, setting, topic_of};
use workload::{Dice, Writer, create_shared};

const WRITERS: u64 = 3;

/// One run of the program: its arguments, how to read what it wrote.
struct Copy {
    name: &'static str,
    args: Vec<String>,
    read: Vec<String>,
    /// Several partitions: order comes from the messages.
    sorted: bool,
    _dir: tempfile::TempDir,
}

impl Copy {
    fn local(db: &Database, name: &'static str, format: &str) -> Copy {
        let dir = tempfile::tempdir().unwrap();
        let args = Copy::args(db, &dir, format);
        let (data, topic) = (dir.path().to_str().unwrap(), topic_of(db.port()));
        let read = ["read", "--data-dir", data, "--topic", &topic, "--until-end"].map(str::to_owned).to_vec();
        Copy { name, args, read, sorted: false, _dir: dir }
    }

    fn kafka(db: &Database, name: &'static str, format: &str, kafka: &Kafka) -> Copy {
        let dir = tempfile::tempdir().unwrap();
        let to = format!("kafka://{}", kafka.bootstrap());
        let mut args = Copy::args(db, &dir, format);
        args.extend(["--to", &to, "--topic", "replay", "--partitions", "4"].map(str::to_owned));
        let read = ["read", "--from", &to, "--topic", "replay", "--until-end"].map(str::to_owned).to_vec();
        Copy { name, args, read, sorted: true, _dir: dir }
    }

    fn args(db: &Database, dir: &tempfile::TempDir, format: &str) -> Vec<String> {
        let data: &Path = dir.path();
        let url = db.url();
        ["--source", &url, "--tables", "it.*", "--events", "insert,update,delete,ddl", "--format", format]
            .into_iter()
            .chain(["--data-dir", data.to_str().unwrap()])
            .map(str::to_owned)
            .collect()
    }

    fn start(&self) -> Up {
        Up::start(&self.args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn lines(&self) -> Vec<String> {
        let run = binlake_within(Duration::from_secs(600), &self.read.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stdout.lines().map(str::to_owned).collect()
    }
}

/// Runs the workload on `db` with the `copies`, then compares each on `to`. `gated`: definitions change only while the
/// program keeps up, for the log of this server does not describe its tables.
fn replay(name: &str, db: &Database, to: &Database, copies: &[Copy], gated: bool) {
    let (changes, seed) = (setting("REPLAY_CHANGES", 6000), setting("REPLAY_SEED", 1));
    let begin = Instant::now();
    println!("{name}: seed {seed}, {changes} changes");
    let ups: Vec<Up> = copies.iter().map(Copy::start).collect();
    ups.iter().for_each(Up::wait_streaming);
    let ups = Mutex::new(ups);
    db.sql("CREATE DATABASE it").unwrap();
    create_shared(db);
    let (running, mut kills) = (AtomicUsize::new(WRITERS as usize), 0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (readers, running) = (gated.then_some(&ups), &running);
                std::thread::Builder::new()
                    .spawn_scoped(scope, move || {
                        let _done = Done(running);
                        Writer::start(db, seed, number, WRITERS, readers).run(changes / WRITERS + 1);
                    })
                    .unwrap()
            })
            .collect();
        let mut dice = Dice(seed ^ 0xfeed);
        while running.load(Ordering::Relaxed) > 0 {
            load_for(500 + dice.below(2500));
            let mut ups = ups.lock().unwrap();
            let which = dice.below(ups.len() as u64) as usize;
            ups[which].process.kill9().unwrap();
            kills += 1;
            load_for(dice.below(300));
            ups[which] = copies[which].start();
            if gated {
                ups[which].wait_passed(db);
            }
        }
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
    for up in ups.lock().unwrap().iter_mut() {
        let end = log_end(db);
        assert!(
            wait_until(Duration::from_secs(120), || up.health()["settled"] == end),
            "not settled to {end}: {:#}",
            up.health()
        );
        let health = up.health();
        assert_eq!(health["quarantined"], serde_json::json!([]), "{health:#}");
        up.stop();
    }
    let wanted = apply::tables(db);
    assert!(wanted.len() > 10, "{wanted:#?}");
    for copy in copies {
        let rows = apply::apply(&copy.lines(), copy.sorted, to);
        let came = apply::tables(to);
        let differ: Vec<_> = wanted.iter().zip(&came).filter(|(a, b)| a != b).collect();
        let equal = wanted == came;
        println!("{name}, {}: {rows} rows, {} tables, {kills} kills, equal: {equal}", copy.name, wanted.len());
        report(&format!("{name}, {}", copy.name), seed, rows, kills, begin.elapsed(), equal);
        assert!(equal, "{name}, {}: {} and {} tables; {differ:#?}", copy.name, wanted.len(), came.len());
        assert!(rows as u64 * 10 >= changes * 7, "the workload changed only {rows} rows of {changes}");
    }
}

/// Tells the end of a writer, also by a panic.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Long runs leave a line in the reports.
fn report(what: &str, seed: u64, changes: usize, kills: u32, took: Duration, equal: bool) {
    if std::env::var_os("REPLAY_CHANGES").is_none() {
        return;
    }
    let line = serde_json::json!({
        "run": what, "seed": seed, "changes": changes, "kills": kills, "seconds": took.as_secs(),
        "result": if equal { "equal" } else { "different" },
    });
    journal("replay", line);
}

#[test]
fn mysql_to_local_and_to_several_partitions() {
    let (mysql, to, kafka) = (MySql::start().unwrap(), MySql::start().unwrap(), Kafka::start(1).unwrap());
    let copies = [
        Copy::local(&mysql, "maxwell-json", "maxwell-json"),
        Copy::kafka(&mysql, "binlake in 4 partitions", "binlake", &kafka),
    ];
    replay("MySQL 9.7", &mysql, &to, &copies, false);
}

#[test]
fn mysql_without_metadata() {
    let mysql = MySql::with("9.7", &["--binlog-row-metadata=MINIMAL"]).unwrap();
    let to = MySql::start().unwrap();
    let copies = [Copy::local(&mysql, "maxwell-json", "maxwell-json"), Copy::local(&mysql, "binlake", "binlake")];
    replay("MySQL 9.7 with MINIMAL metadata", &mysql, &to, &copies, true);
}

#[test]
fn mariadb() {
    let (mariadb, to) = (MariaDb::with("10.11", &["--binlog-row-metadata=NO_LOG"]).unwrap(), MariaDb::start().unwrap());
    let copies = [Copy::local(&mariadb, "maxwell-json", "maxwell-json"), Copy::local(&mariadb, "binlake", "binlake")];
    replay("MariaDB 10.11 as it comes", &mariadb, &to, &copies, true);
}
