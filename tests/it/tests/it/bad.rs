//! What goes wrong: one clear message, the exit code of its kind, no password anywhere, nothing acknowledged lost.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use kit::{Kafka, MariaDb, MySql, Process, wait_until};

use crate::support::{Run, Up, binlake, ids, lines, read_local, topic_of};

const SECRET: &str = "Geheim%21x9";

/// Runs it and checks code and words of the message, and that neither of them shows a password.
fn fails(args: &[&str], code: i32, words: &[&str]) -> Run {
    let run = binlake(args);
    assert_eq!(run.code, code, "{args:?}: {}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{args:?}: no `{word}` in: {}", run.stderr);
    }
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(!said.contains("Geheim") && !said.contains(":binlake@"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    run
}

#[test]
fn usage() {
    fails(&["tail", "--sorce", "x"], 2, &["--sorce", "--source"]);
    fails(&["tail"], 2, &["--source", "--file"]);
    fails(&["tail", "--source", "mysql://u@h/", "--format", "xml"], 2, &["xml", "maxwell-json", "text"]);
    fails(&["tail", "--source", "mysql://u@h/", "--tables", "/(/"], 2, &["--tables", "/(/"]);
    fails(&["tail", "--source", "mysql://u@h/", "--tables", "[a.b"], 2, &["--tables", "[a"]);
    fails(&["tail", "--source", "mysql://u@h/", "--events", "insert,upsert"], 2, &["--events", "upsert"]);
    fails(&["tail", "--source", "mysql://u@h/", "--from", "yesterday"], 2, &["--from", "yesterday", "earliest"]);
    fails(&["tail", "--source", &format!("postgres://u:{SECRET}@h/")], 2, &["mysql://"]);
    fails(&["up", "--source", "mysql://u@h/", "--to", "redis://x"], 2, &["redis://x", "kafka://"]);
    fails(&["up", "--source", "mysql://u@h/", "--format", "text"], 2, &["maxwell-json"]);
    fails(&["up", "--source", "mysql://u@h/", "--format", "xml"], 2, &["xml", "maxwell-json"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("binlake.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, format!("[up]\nlisen = \"x\"\n[[source]]\nurl = \"mysql://u:{SECRET}@h/\"\nfrom = 3\n"))
        .unwrap();
    for args in [&["up", "--config", path][..], &["config", "check", path]] {
        fails(args, 2, &["binlake.toml:2", "lisen", "`listen`", "binlake.toml:5", "config defaults"]);
    }
    std::fs::write(&file, "[[source]]\nurl = \"mysql://u:p@h/\"\n[[source.feed]]\n[[source.feed]]\n").unwrap();
    fails(&["config", "check", path], 2, &["two feeds", "h-3306"]);
    fails(&["up", "--config", path, "--tables", "a.*"], 2, &["--tables", "[[source.feed]]"]);
    fails(&["up", "--config", "/no/such.toml"], 3, &["/no/such.toml"]);
    fails(&["read", "--data-dir", dir.path().to_str().unwrap(), "--topic", "none"], 3, &["none"]);
}

#[test]
fn hosts_and_files() {
    let url = |host: &str| format!("mysql://u:{SECRET}@{host}/");
    fails(&["tail", "--source", &url("no-such-host.invalid")], 6, &["no-such-host.invalid"]);
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails(&["tail", "--source", &url(&unused.to_string())], 6, &[&unused.to_string(), "refused"]);
    let mariadb = MariaDb::start().unwrap(); // 10.11 has no TLS unless set up
    fails(
        &["tail", "--source", &format!("{}?ssl-mode=required", mariadb.url())],
        4,
        &["TLS", &mariadb.port().to_string()],
    );
    fails(&["tail", "--file", "/no/such/binlog.000001"], 3, &["/no/such/binlog.000001"]);
}

#[test]
fn logins_rights_and_positions() {
    let mysql = MySql::start().unwrap();
    mysql
        .sql("CREATE USER reader@'%' IDENTIFIED BY 'Geheim!x9'; GRANT REPLICATION CLIENT, SELECT ON *.* TO reader@'%'")
        .unwrap();
    let (url, port) = (mysql.url(), mysql.port());
    let tail = |user: &str| format!("mysql://{user}@127.0.0.1:{port}/");
    fails(&["tail", "--source", &tail(&format!("binlake:{SECRET}"))], 4, &["Access denied", &port.to_string()]);
    fails(&["tail", "--source", &tail(&format!("reader:{SECRET}"))], 4, &["REPLICATION SLAVE"]);

    // A password from a file or the environment; the process title shows none.
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "Geheim!x9\n").unwrap();
    let file = password.to_str().unwrap();
    fails(&["tail", "--source", &tail("reader"), "--password-file", file], 4, &["REPLICATION SLAVE"]);
    fails(&["tail", "--source", &tail("reader"), "--password-file", "/no/such/file"], 3, &["/no/such/file"]);
    mysql.sql("GRANT REPLICATION SLAVE ON *.* TO reader@'%'").unwrap();
    let running = Process::binlake(&["tail", "--source", &tail(&format!("reader:{SECRET}"))]).unwrap();
    let title =
        || String::from_utf8_lossy(&std::fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap()).into_owned();
    assert!(wait_until(Duration::from_secs(5), || title().contains("reader:xxx")), "{}", title());
    assert!(!title().contains("Geheim"));
    drop(running);

    // A position that is purged, by file and by GTID, and one that never was.
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
    let set = mysql.sql("SELECT @@gtid_executed").unwrap();
    let gtid = format!("gtid:{}", set.trim());
    mysql
        .sql("INSERT INTO it.t VALUES (1); FLUSH BINARY LOGS; FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'binlog.000003'")
        .unwrap();
    fails(&["tail", "--source", &url, "--from", "binlog.000001:4"], 5, &["binlog.000001", "binlog.000003"]);
    fails(&["tail", "--source", &url, "--from", &gtid], 5, &["purged"]);
    fails(&["tail", "--source", &url, "--from", "binlog.000003:99999999"], 5, &["binlog.000003", "99999999"]);

    // The same for a checkpoint: `up` says so and does not go on somewhere else.
    let data = dir.path().join("data");
    let args = ["--source", &url, "--data-dir", data.to_str().unwrap()];
    let mut up = Up::start(&args);
    mysql.sql("INSERT INTO it.t VALUES (2)").unwrap();
    up.wait_settled(&mysql);
    fails(&[&["up", "--listen", "127.0.0.1:0"], &args[..]].concat(), 5, &[data.to_str().unwrap()]);
    up.stop();
    mysql.sql("INSERT INTO it.t VALUES (3); FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'binlog.000004'").unwrap();
    for _ in 0..2 {
        fails(&[&["up", "--listen", "127.0.0.1:0"], &args[..]].concat(), 5, &["purged"]);
    }
    assert_eq!(ids(&read_local(&data, &topic_of(port))), [2]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let other = dir.path().join("other");
    fails(
        &["up", "--listen", &listen, "--source", &url, "--data-dir", other.to_str().unwrap()],
        6,
        &[&listen, "--listen"],
    );
    fails(&["up", "--listen", "0.0.0.0:1", "--source", &url, "--data-dir", other.to_str().unwrap()], 2, &["loopback"]);
}

#[test]
fn logs_that_cannot_be_read() {
    let mysql = MySql::start().unwrap();
    let url = mysql.url();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(100))").unwrap();
    mysql.sql("INSERT INTO it.t VALUES (1, REPEAT('a', 90)); INSERT INTO it.t VALUES (2, REPEAT('b', 90))").unwrap();

    // A log with one byte changed, one cut off, and something that is no log.
    let log = std::fs::read(mysql.dir().join("data/binlog.000001")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let mut changed = log.clone();
    let at = log.windows(20).rposition(|w| w == [b'b'; 20]).unwrap();
    changed[at] ^= 1;
    let changed = path("changed.000001", &changed);
    let run = fails(&["tail", "--file", &changed], 7, &["changed.000001", "checksum"]);
    assert_eq!(run.stdout.lines().count(), 1, "what comes before the damage is read");
    let cut = path("cut.000001", &log[..log.len() - 10]);
    fails(&["tail", "--file", &cut], 7, &["cut.000001", "offset"]);
    fails(&["tail", "--file", &path("x.000001", b"not a log at all, but long enough for one")], 7, &["x.000001"]);

    mysql.restart_with(&["--binlog-format=STATEMENT"]).unwrap();
    fails(&["tail", "--source", &url], 7, &["STATEMENT", "binlog_format"]);
    let data = dir.path().join("data");
    let up = ["up", "--listen", "127.0.0.1:0", "--source", &url, "--data-dir", data.to_str().unwrap()];
    fails(&up, 7, &["STATEMENT", "binlog_format"]);
    mysql.restart_with(&["--skip-log-bin"]).unwrap();
    fails(&["tail", "--source", &url], 7, &["log_bin"]);
    fails(&up, 7, &["log_bin"]);
}

#[test]
fn kafka_without_topic_and_records_too_large_for_it() {
    let kafka = Kafka::start(1).unwrap();
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad LONGTEXT)").unwrap();
    kafka.create_topic("small", 1, &[("max.message.bytes", "2000")]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, to, data) = (mysql.url(), format!("kafka://{}", kafka.bootstrap()), dir.path().to_str().unwrap());
    fails(&["read", "--from", &to, "--topic", "none", "--until-end"], 3, &["none"]);
    let compression = format!("{to}?compression.type=none");
    let args = ["--source", &url, "--to", &compression, "--topic", "small", "--data-dir", data];
    let mut up = Up::start(&args);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.t VALUES (1, 'short')").unwrap();
    up.wait_settled(&mysql);
    mysql.sql("INSERT INTO it.t VALUES (2, REPEAT('long', 1000)); INSERT INTO it.t VALUES (3, 'short')").unwrap();
    // It stops and says why; nothing after the record is passed as settled.
    let status = up.process.wait(Duration::from_secs(20)).unwrap();
    let said = up.process.stderr();
    assert!(
        status.code() == Some(7) && said.contains("small") && said.contains("max.message.bytes"),
        "{status} {said}"
    );
    let tool =
        ["--alter", "--entity-type", "topics", "--entity-name", "small", "--add-config", "max.message.bytes=100000"];
    kafka
        .tool("org.apache.kafka.tools.ConfigCommand", &tool)
        .or_else(|_| kafka.tool("kafka.admin.ConfigCommand", &tool))
        .unwrap();
    let mut up = Up::start(&args);
    up.wait_streaming();
    up.wait_settled(&mysql);
    let read = ["read", "--from", &to, "--topic", "small", "--until-end"];
    assert_eq!(ids(&lines(&read)), [1, 2, 3]);
    up.stop();

    // The broker is gone when it starts: it says so and waits.
    kafka.kill().unwrap();
    let mut start = Command::new(kit::binlake_bin().unwrap());
    start.args(["up", "--listen", "127.0.0.1:0"]).args(args);
    let mut up = Process::spawn(start).unwrap();
    up.wait_stderr(Duration::from_secs(20), |err| err.contains(&kafka.bootstrap())).unwrap();
    up.term().unwrap();
    let status = up.wait(Duration::from_secs(27)).unwrap();
    assert!(matches!(status.code(), Some(0 | 6)), "{status} {}", up.stderr());
}

#[test]
fn a_kafka_topic_that_is_missing() {
    // Topics get three replicas, which one broker cannot give.
    let kafka = Kafka::with(1, &["default.replication.factor=3", "auto.create.topics.enable=false"]).unwrap();
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, to, data) = (mysql.url(), format!("kafka://{}", kafka.bootstrap()), dir.path().to_str().unwrap());
    let args = ["--source", &url, "--to", &to, "--topic", "missing", "--data-dir", data];
    fails(&[&["up", "--listen", "127.0.0.1:0"], &args[..]].concat(), 3, &["missing", "replication"]);
    // Somebody makes it: the same command goes on.
    kafka.create_topic("missing", 1, &[]).unwrap_or_else(|_| {
        let topic = ["--create", "--topic", "missing", "--partitions", "1", "--replication-factor", "1"];
        kafka.tool("org.apache.kafka.tools.TopicCommand", &topic).unwrap();
    });
    let mut up = Up::start(&args);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.t VALUES (1)").unwrap();
    up.wait_settled(&mysql);
    up.stop();
    assert_eq!(ids(&lines(&["read", "--from", &to, "--topic", "missing", "--until-end"])), [1]);
}
