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
    // The signal that comes with the limit is left to be an error.
    let mut start = Command::new("sh");
    start.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#]).arg(kit::binlake_bin().unwrap());
    let args = ["up", "--listen", "127.0.0.1:0", "--source", &mysql.url(), "--data-dir", dir.path().to_str().unwrap()];
    start.args(args);
    let mut up = Up::of(Process::spawn(start).unwrap());
    let pid = up.process.pid().to_string();
    let limit = |bytes: &str| {
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
        assert!(set.unwrap().success());
    };
    goes_on_when_there_is_space(&mut up, &mysql, dir.path(), &|| limit("4000"), &|| limit("unlimited"), "too large");
}
