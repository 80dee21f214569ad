//! Runs the program, makes load, and compares what came out with what the server has.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kit::{Database, Process, wait_until};
use serde_json::Value;

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What a run that ended gave.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stdout_bytes: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs `binlake` to its end.
pub(crate) fn binlake(args: &[&str]) -> Run {
    binlake_within(SOON, args)
}

/// Runs `binlake`, which has to end in time.
pub(crate) fn binlake_within(limit: Duration, args: &[&str]) -> Run {
    let mut process = Process::binlake(args).unwrap();
    let status = process.wait(limit).unwrap();
    Run {
        code: status.code().unwrap_or(-1),
        stdout: process.stdout(),
        stdout_bytes: process.stdout_bytes(),
        stderr: process.stderr(),
    }
}

/// Runs `binlake`, which has to succeed: its lines.
pub(crate) fn lines(args: &[&str]) -> Vec<String> {
    let run = binlake(args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    run.stdout.lines().map(str::to_owned).collect()
}

/// A running `binlake up`.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) process: Process,
    address: String,
}

impl Up {
    /// Starts it on a free port and waits for its status page.
    pub(crate) fn start(args: &[&str]) -> Up {
        let all = [&["up", "--listen", "127.0.0.1:0"], args].concat();
        Up::of(Process::binlake(&all).unwrap())
    }

    /// One that was started some other way.
    pub(crate) fn of(mut process: Process) -> Up {
        process.wait_stdout(SOON, |out| out.contains("read it")).unwrap();
        let out = process.stdout();
        let address = out.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
        Up { process, address }
    }

    /// The first (or only) source of `/healthz`.
    pub(crate) fn health(&self) -> Value {
        let body: Value = serde_json::from_str(&self.get("/healthz").1).unwrap();
        body["sources"][0].clone()
    }

    /// Status code and body of a page of the status port.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path)
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Waits until the source's state, as `/healthz` gives it, is as wanted.
    pub(crate) fn wait_health(&self, wanted: impl Fn(&Value) -> bool) {
        assert!(wait_until(SOON, || wanted(&self.health())), "{:#}", self.health());
    }

    pub(crate) fn wait_streaming(&self) {
        self.wait_health(|h| h["state"] == "streaming");
    }

    /// Waits until all that the server has logged is settled.
    pub(crate) fn wait_settled(&self, db: &Database) {
        let end = log_end(db);
        assert!(wait_until(SOON, || self.health()["settled"] == end), "not settled to {end}: {:#}", self.health());
    }

    /// Waits until what the server has logged up to now is settled, while more may be written.
    pub(crate) fn wait_passed(&self, db: &Database) {
        let place = |text: &str| {
            let (file, pos) = text.rsplit_once(':')?;
            Some((file.rsplit('.').next()?.parse::<u64>().ok()?, pos.parse::<u64>().ok()?))
        };
        let end = log_end(db);
        let passed = || self.health()["settled"].as_str().and_then(place) >= place(&end);
        assert!(wait_until(2 * SOON, passed), "not settled to {end}: {:#}", self.health());
    }

    /// SIGTERM: it drains and says that all is well.
    pub(crate) fn stop(&mut self) {
        self.process.term().unwrap();
        let status = self.process.wait(SOON).unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
    }
}

/// `FILE:POS` of the end of the server's log.
pub(crate) fn log_end(db: &Database) -> String {
    db.log_end().unwrap()
}

/// Name of the topic that `up` makes for a server.
pub(crate) fn topic_of(port: u16) -> String {
    format!("127.0.0.1-{port}")
}

/// All rows of a local topic, each once.
pub(crate) fn read_local(dir: &Path, topic: &str) -> Vec<String> {
    lines(&["read", "--data-dir", dir.to_str().unwrap(), "--topic", topic, "--until-end"])
}

/// All messages of a local topic, also those delivered twice.
pub(crate) fn read_raw(dir: &Path, topic: &str) -> Vec<String> {
    lines(&["read", "--raw", "--data-dir", dir.to_str().unwrap(), "--topic", topic, "--until-end"])
}

/// The table of [`under_load`]: `ver` counts the updates of a row, so `(id, ver)` names one change.
pub(crate) const LOAD_TABLE: &str = "CREATE DATABASE it; CREATE TABLE it.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, \
                              ver INT NOT NULL DEFAULT 0, pad VARCHAR(100))";

/// Three inserts in a transaction, then two updates in another.
const STEP: &str = "INSERT INTO it.t (pad) VALUES (REPEAT('x', 50)), (REPEAT('y', 50)), ('ä'); \
                    UPDATE it.t SET ver = ver + 1 WHERE id BETWEEN LAST_INSERT_ID() AND LAST_INSERT_ID() + 1";

/// Writes to `it.t` while `work` runs, also over restarts of the server.
pub(crate) fn under_load<T>(db: &Database, work: impl FnOnce() -> T) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop_at_end = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                let Ok(mut session) = db.session() else { continue };
                while !stop.load(Ordering::Relaxed) && session.sql(STEP).is_ok() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        let result = work();
        drop(stop_at_end);
        result
    })
}

/// Lets the load run for a while.
pub(crate) fn load_for(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Changes of `it.t` by `(id, ver)`, with how often each is there.
pub(crate) type Changes = BTreeMap<(u64, u64), usize>;

/// What the server says must have come: one change per version of each row.
pub(crate) fn changes_of_server(db: &Database) -> Changes {
    let rows = db.sql("SELECT id, ver FROM it.t").unwrap();
    let pairs = rows.lines().map(|line| {
        let (id, ver) = line.split_once('\t').unwrap();
        (id.parse::<u64>().unwrap(), ver.parse::<u64>().unwrap())
    });
    let changes: Changes = pairs.flat_map(|(id, ver)| (0..=ver).map(move |v| ((id, v), 1))).collect();
    assert!(changes.len() > 10, "the load wrote next to nothing: {}", changes.len());
    changes
}

/// What came, by lines in Maxwell's form (`data`) or that of `binlake read` for RowBatch (`after`).
pub(crate) fn changes_of_lines(lines: &[String]) -> Changes {
    let mut changes = Changes::new();
    for line in lines {
        let message: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let row = message.get("data").or_else(|| message.get("after")).unwrap_or_else(|| panic!("no row: {line}"));
        *changes.entry((row["id"].as_u64().unwrap(), row["ver"].as_u64().unwrap())).or_default() += 1;
    }
    changes
}

/// Every change once, none twice, none else; says which are not.
pub(crate) fn assert_exact(lines: &[String], db: &Database) {
    let (came, wanted) = (changes_of_lines(lines), changes_of_server(db));
    let lost: Vec<_> = wanted.keys().filter(|k| !came.contains_key(k)).collect();
    let twice: Vec<_> = came.iter().filter(|(k, n)| **n > 1 || !wanted.contains_key(k)).collect();
    assert!(
        lost.is_empty() && twice.is_empty(),
        "of {}: {} lost, first {:?}; {} too often, first {:?}",
        wanted.len(),
        lost.len(),
        &lost[..lost.len().min(5)],
        twice.len(),
        &twice[..twice.len().min(5)]
    );
}

/// Every change at least once.
pub(crate) fn assert_complete(lines: &[String], db: &Database) {
    let came = changes_of_lines(lines);
    let lost: Vec<_> = changes_of_server(db).into_keys().filter(|k| !came.contains_key(k)).collect();
    assert!(lost.is_empty(), "{} lost, first {:?}", lost.len(), &lost[..lost.len().min(5)]);
}

/// `data.id` of each line, in order.
pub(crate) fn ids(lines: &[String]) -> Vec<u64> {
    let id = |line: &String| serde_json::from_str::<Value>(line).ok()?["data"]["id"].as_u64();
    lines.iter().map(|line| id(line).unwrap_or_else(|| panic!("no id: {line}"))).collect()
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v} is no number")))
}

/// Appends a line to the journal `tests/reports/NAME.jsonl`, with the commit that was run.
pub(crate) fn journal(name: &str, mut line: Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let git = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(&root).output();
    line["commit"] = git.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default().into();
    let path = root.join(format!("tests/reports/{name}.jsonl"));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}
