//! Real servers: they start in parallel, survive a kill with their data, and leave nothing behind.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit::{Database, Kafka, MariaDb, MySql, Proxy, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn fill(database: &Database) {
    database.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(20))").unwrap();
    database.sql("INSERT INTO shop.t VALUES (1, 'eins'), (2, NULL), (3, 'a\\tb')").unwrap();
}

const ROWS: &str = "1\teins\n2\tNULL\n3\ta\\tb\n";

fn rows(database: &Database) -> String {
    database.sql("SELECT * FROM shop.t ORDER BY id").unwrap()
}

fn runs(pid: u32, dir: &Path) -> bool {
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&cmdline).contains(dir.to_str().unwrap())
}

/// No process mentions the folder, and it is gone.
fn nothing_left(dir: &Path) -> bool {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    !dir.exists() && !pids.into_iter().any(|pid: u32| runs(pid, dir))
}

#[test]
fn two_mysql_and_one_mariadb_start_in_parallel() {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let a = scope.spawn(|| MySql::start().unwrap());
        let b = scope.spawn(|| MySql::with("9.7", &["--server-id=77", "--binlog-checksum=NONE"]).unwrap());
        let c = scope.spawn(|| MariaDb::start().unwrap());
        let (a, b, c) = (a.join().unwrap(), b.join().unwrap(), c.join().unwrap());
        println!("three servers in {:?}", start.elapsed());
        for database in [&*a, &*b, &*c] {
            fill(database);
            assert_eq!(rows(database), ROWS);
        }
        assert!(a.sql("SELECT VERSION()").unwrap().starts_with("9.7."));
        assert!(c.sql("SELECT VERSION()").unwrap().starts_with("10.11."));
        assert_eq!(b.sql("SELECT @@server_id, @@binlog_checksum").unwrap(), "77\tNONE\n");
        let uuids = [&a, &b].map(|mysql| mysql.sql("SELECT @@server_uuid").unwrap());
        assert_ne!(uuids[0], uuids[1]);
        assert_eq!(a.url(), format!("mysql://binlake:binlake@127.0.0.1:{}/", a.port()));
    });
}

#[test]
fn what_the_fixtures_promise_of_the_binary_log_holds() {
    let mysql = MySql::start().unwrap();
    let settings = "SELECT @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@gtid_mode, @@sync_binlog";
    assert_eq!(mysql.sql(settings).unwrap(), "ROW\tFULL\tFULL\tON\t0\n");
    let mariadb = MariaDb::with("11.8", &["--sync-binlog=1"]).unwrap();
    let settings = "SELECT @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@sync_binlog";
    assert_eq!(mariadb.sql(settings).unwrap(), "ROW\tFULL\tFULL\t1\n");
    for database in [&*mysql, &*mariadb] {
        fill(database);
        let args = ["--read-from-remote-server", "-vv", "--base64-output=decode-rows", "binlog.000001"];
        let log = String::from_utf8(database.mysqlbinlog(&args).unwrap()).unwrap();
        assert!(log.contains("### INSERT INTO `shop`.`t`") && log.contains("'eins'"), "{log}");
        let grants = database.sql("SHOW GRANTS FOR repl").unwrap();
        assert!(grants.contains("SELECT") && grants.contains("REPLICATION SLAVE"), "{grants}");
    }
}

#[test]
fn a_kill_and_a_restart_keep_data_and_port() {
    let (mysql, mariadb) = (MySql::start().unwrap(), MariaDb::start().unwrap());
    for database in [&*mysql, &*mariadb] {
        fill(database);
        let (pid, url) = (database.pid().unwrap(), database.url());
        database.kill().unwrap();
        assert!(!runs(pid, database.dir()));
        let error = database.sql("SELECT 1").unwrap_err().to_string();
        assert!(error.contains("connect"), "{error}");
        database.restart().unwrap();
        assert_eq!((rows(database), database.url()), (ROWS.to_owned(), url));
        database.restart_with(&["--max-connections=17"]).unwrap();
        assert_eq!(database.sql("SELECT @@max_connections").unwrap(), "17\n");
        assert_eq!(rows(database), ROWS);
    }
}

#[test]
fn a_session_keeps_its_transaction_and_reports_errors() {
    let (mysql, mariadb) = (MySql::start().unwrap(), MariaDb::start().unwrap());
    for database in [&*mysql, &*mariadb] {
        fill(database);
        let mut session = database.session().unwrap();
        assert_eq!(
            session.sql("BEGIN; INSERT INTO shop.t VALUES (4, 'vier'); SELECT COUNT(*) FROM shop.t;").unwrap(),
            "4\n"
        );
        assert_eq!(rows(database), ROWS, "not committed");
        let error = session.sql("INSERT INTO shop.t VALUES (1, 'twice')").unwrap_err().to_string();
        assert!(error.contains("Duplicate entry '1'"), "{error}");
        assert_eq!(session.sql("COMMIT").unwrap(), "");
        assert!(rows(database).ends_with("4\tvier\n"));
        let start = Instant::now();
        for _ in 0..100 {
            session.sql("SELECT 1").unwrap();
        }
        println!("100 statements in {:?}", start.elapsed());
        database.kill().unwrap();
        assert!(session.sql("SELECT 1").is_err());
    }
}

#[test]
fn statements_come_from_a_file_and_through_a_proxy() {
    let mysql = MySql::start().unwrap();
    let file = mysql.dir().join("load.sql");
    let values: Vec<String> = (0..10_000).map(|i| format!("({i},'{}')", "v".repeat(50))).collect();
    let load = format!(
        "CREATE DATABASE x; CREATE TABLE x.t (id INT PRIMARY KEY, v TEXT);\nINSERT INTO x.t VALUES {};\n",
        values.join(",")
    );
    std::fs::write(&file, load).unwrap();
    mysql.sql_file(&file).unwrap();
    let proxy = Proxy::to(mysql.addr()).unwrap();
    let port = format!("--port={}", proxy.port());
    let log = mysql.mysqlbinlog(&[port.as_str(), "--read-from-remote-server", "binlog.000001"]).unwrap();
    assert!(log.len() > 500_000 && proxy.bytes_down() > 500_000, "{} {}", log.len(), proxy.bytes_down());
    assert_eq!(mysql.sql("SELECT COUNT(*), SUM(LENGTH(v)) FROM x.t").unwrap(), "10000\t500000\n");
}

#[test]
fn drop_leaves_no_process_and_no_folder_also_on_panic() {
    let (mysql, mariadb) = (MySql::start().unwrap(), MariaDb::start().unwrap());
    let dirs = [mysql.dir().to_owned(), mariadb.dir().to_owned()];
    let pids = [mysql.pid().unwrap(), mariadb.pid().unwrap()];
    assert!(runs(pids[0], &dirs[0]) && runs(pids[1], &dirs[1]));
    drop(mysql);
    assert!(nothing_left(&dirs[0]));
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _held = mariadb;
        panic!("as a failing test does");
    }));
    assert!(panic.is_err() && nothing_left(&dirs[1]));
}

#[test]
fn a_server_that_does_not_start_is_an_error_with_its_log_and_leaves_nothing() {
    let error = MySql::with("9.7", &["--no-such-option"]).unwrap_err().to_string();
    assert!(error.contains("unknown option '--no-such-option'"), "{error}");
    let dir = error.split_whitespace().find(|word| word.starts_with('/') && word.contains("binlake-mysql-")).unwrap();
    assert!(nothing_left(Path::new(dir)), "{dir}");
    let error = MySql::with("1.2.3", &[]).unwrap_err().to_string();
    assert!(error.contains("no MySQL 1.2.3 here"), "{error}");
}

/// Not a test of its own: runs inside the next one, in a process that gets killed.
#[test]
#[ignore = "holds servers until it is killed; run by the test after it"]
fn victim() {
    let mysql = MySql::start().unwrap();
    println!("\nvictim {} {}", mysql.pid().unwrap(), mysql.dir().display());
    let _second = MariaDb::start(); // the kill may come in the middle of this start
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_killed_test_process_leaves_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "victim", "--nocapture"])
        .env("TMPDIR", tmp.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(test.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("victim "))
        .unwrap();
    let [_, pid, dir] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let (pid, dir) = (pid.parse().unwrap(), PathBuf::from(dir));
    assert!(runs(pid, &dir));
    std::thread::sleep(Duration::from_millis(100));
    test.kill().unwrap();
    test.wait().unwrap();
    assert!(wait_until(SOON, || nothing_left(&dir)), "{line}");
    assert!(wait_until(SOON, || std::fs::read_dir(tmp.path()).unwrap().count() == 0), "the half started server stayed");
}

#[test]
fn kafka_keeps_records_over_a_kill_and_leaves_nothing() {
    let start = Instant::now();
    let kafka = Kafka::start(1).unwrap();
    println!("one broker in {:?}", start.elapsed());
    kafka.create_topic("t", 2, &[("max.message.bytes", "1000")]).unwrap();
    let described = kafka.tool("org.apache.kafka.tools.TopicCommand", &["--describe", "--topic", "t"]).unwrap();
    let described = String::from_utf8(described).unwrap();
    assert!(described.contains("PartitionCount: 2") && described.contains("max.message.bytes=1000"), "{described}");
    kafka.tool("org.apache.kafka.tools.VerifiableProducer", &["--topic", "t", "--max-messages", "5"]).unwrap();
    kafka.kill_broker(1).unwrap();
    kafka.start_broker(1).unwrap();
    let mut values: Vec<String> =
        kafka.read_text("t", 5).unwrap().iter().map(|line| line.rsplit('\t').next().unwrap().to_owned()).collect();
    values.sort();
    assert_eq!(values, ["0", "1", "2", "3", "4"]);
    let dir = kafka.dir().to_owned();
    drop(kafka);
    assert!(nothing_left(&dir));
}

#[test]
fn three_brokers_go_on_without_one() {
    let start = Instant::now();
    let kafka = Kafka::with(3, &["auto.create.topics.enable=false"]).unwrap();
    println!("three brokers in {:?}", start.elapsed());
    assert_eq!(kafka.bootstrap().split(',').count(), 3);
    kafka.create_topic("t", 3, &[]).unwrap();
    kafka.kill_broker(2).unwrap();
    kafka
        .tool("org.apache.kafka.tools.VerifiableProducer", &["--topic", "t", "--max-messages", "9", "--acks", "-1"])
        .unwrap();
    assert_eq!(kafka.read_text("t", 9).unwrap().len(), 9);
    kafka.start_broker(2).unwrap();
}
