//! The disk of the local topics is full: an incident says so, what was acknowledged stays, and once there is space again
//! publishing goes on by itself, with every row.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use kit::{MySql, Process, wait_until};
use serde_json::Value;

use crate::support::{LOAD_TABLE, SOON, Up, assert_exact, load_for, read_local, topic_of, under_load};

/// A file system of its own, 24 MiB in memory; unmounted on drop.
struct Small(tempfile::TempDir);

impl Small {
    /// None where this user may not mount.
    fn mount() -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "binlake-test"]).arg(dir.path());
        mount.output().is_ok_and(|done| done.status.success()).then_some(Small(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a program that was just killed may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Writes a file until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [64 << 10, 512, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

/// The scenario: `fill` takes the space away and `free` gives it back, `reason` is what the system says in between.
fn goes_on_when_there_is_space(
    up: &mut Up,
    mysql: &MySql,
    data: &Path,
    fill: &dyn Fn(),
    free: &dyn Fn(),
    reason: &str,
) {
    let topic = topic_of(mysql.port());
    let verdict = |up: &Up| -> (u16, Value) {
        let (code, body) = up.get("/healthz");
        (code, serde_json::from_str(&body).unwrap())
    };
    let acknowledged = under_load(mysql, || {
        up.wait_streaming();
        load_for(500);
        up.wait_passed(mysql);
        fill();
        // Whoever asks is told: not well, and why.
        let told = || {
            let (code, health) = verdict(up);
            code == 503 && health["problems"][0].as_str().is_some_and(|p| p.contains(&topic) && p.contains(reason))
        };
        assert!(wait_until(SOON, told), "{:#}", verdict(up).1);
        load_for(1500);
        // Readers see all that was acknowledged, while nothing can be written.
        let acknowledged = read_local(data, &topic);
        assert!(!acknowledged.is_empty() && up.process.is_running());
        let (page, said) = (up.get("/").1, up.process.stderr());
        assert!(page.contains("last incident") && page.contains(reason), "{page}");
        let topics = data.join("topics");
        assert!(said.contains("make room there") && said.contains(topics.to_str().unwrap()), "{said}");
        free();
        // By itself, within the pause that it keeps.
        assert!(wait_until(2 * SOON, || verdict(up).0 == 200), "{:#}", verdict(up).1);
        load_for(500);
        acknowledged
    });
    up.wait_settled(mysql);
    let incidents = up.health()["incidents"].to_string();
    assert!(incidents.contains("epoch_ended") && incidents.contains(reason), "{incidents}");
    up.stop();
    let all = read_local(data, &topic);
    assert!(all.starts_with(&acknowledged), "what was acknowledged is not as it was");
    assert_exact(&all, mysql);
}

#[test]
fn a_full_file_system() {
    let Some(disk) = Small::mount() else {
        println!("no right to mount: left to a_full_file");
        return;
    };
    let mysql = MySql::start().unwrap();
    mysql.sql(LOAD_TABLE).unwrap();
    let (data, filler) = (disk.0.path().join("data"), disk.0.path().join("filler"));
    let mut up = Up::start(&["--source", &mysql.url(), "--data-dir", data.to_str().unwrap()]);
    let free = || std::fs::remove_file(&filler).unwrap();
    goes_on_when_there_is_space(&mut up, &mysql, &data, &|| fill(&filler), &free, "No space left");
}

/// The same by a limit of the size of files, which needs no right: a write ends in the middle, then an error.
#[test]
fn a_full_file() {
    let mysql = MySql::start().unwrap();
    mysql.sql(LOAD_TABLE).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut up = start_with_limits(&mysql, dir.path());
    let pid = up.process.pid();
    let (fill, free) = (|| limit(pid, "4000"), || limit(pid, "unlimited"));
    goes_on_when_there_is_space(&mut up, &mysql, dir.path(), &fill, &free, "too large");
}

/// A program whose writes fail beyond the limit of [`limit`]; the signal that comes with it is left to be an error.
fn start_with_limits(mysql: &MySql, data: &Path) -> Up {
    let mut start = Command::new("sh");
    start.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#]).arg(kit::binlake_bin().unwrap());
    start.args(["up", "--listen", "127.0.0.1:0", "--source", &mysql.url(), "--data-dir", data.to_str().unwrap()]);
    Up::of(Process::spawn(start).unwrap())
}

fn limit(pid: u32, bytes: &str) {
    let set = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--fsize={bytes}:unlimited")]).status();
    assert!(set.unwrap().success());
}

/// Where the log does not name columns, the schema history is as good as the rows: a table whose definition cannot be
/// stored waits for the space and is not stopped, and no checkpoint passes a change of names that is not stored, or the
/// next start would publish rows under the old ones.
#[test]
fn the_schema_history_cannot_be_written() {
    let mysql = MySql::with("9.7", &["--binlog-row-metadata=MINIMAL"]).unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.swapped (id BIGINT PRIMARY KEY, x INT, y INT)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut up = start_with_limits(&mysql, dir.path());
    up.wait_streaming();
    mysql.sql("INSERT INTO it.swapped VALUES (1, 1, 2)").unwrap();
    up.wait_settled(&mysql);
    for change in [
        "CREATE TABLE it.new (id BIGINT PRIMARY KEY); INSERT INTO it.new VALUES (1)",
        "ALTER TABLE it.swapped RENAME COLUMN x TO y, RENAME COLUMN y TO x",
    ] {
        limit(up.process.pid(), "64");
        mysql.sql(change).unwrap();
        let told = || {
            let (code, health) = up.get("/healthz");
            code == 503 && health.contains("the schema history cannot be written")
        };
        assert!(wait_until(SOON, told), "{:#}", up.health());
        limit(up.process.pid(), "unlimited");
        up.wait_settled(&mysql);
        let health = up.health();
        assert_eq!(health["quarantined"], serde_json::json!([]), "{health:#}");
        up.stop();
        up = start_with_limits(&mysql, dir.path());
        up.wait_streaming();
    }
    mysql.sql("INSERT INTO it.swapped (id, x, y) VALUES (2, 7, 8)").unwrap();
    up.wait_settled(&mysql);
    up.stop();
    let rows: Vec<Value> = read_local(dir.path(), &topic_of(mysql.port()))
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"].clone())
        .collect();
    let wanted = serde_json::json!([{"id": 1, "x": 1, "y": 2}, {"id": 1}, {"id": 2, "x": 7, "y": 8}]);
    assert_eq!(Value::Array(rows), wanted);
}
