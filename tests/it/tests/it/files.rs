//! `tail --file` on what is not a server's plain binary log: relay logs of replicas, and logs that a server encrypts.

use std::path::Path;

use kit::{Database, MariaDb, MySql, Proxy, events, wait_until};

use crate::support::{Run, SOON, binlake, ids, lines};

/// A transaction of several rows events that are larger than the relay log's files.
const LARGE: &str = "BEGIN; INSERT INTO it.t SELECT 3, REPEAT('a', 1500) UNION SELECT 4, REPEAT('b', 1500) UNION SELECT 5, \
                     REPEAT('c', 1500) UNION SELECT 6, REPEAT('d', 1500) UNION SELECT 7, REPEAT('e', 1500) UNION \
                     SELECT 8, REPEAT('f', 1500) UNION SELECT 9, REPEAT('g', 1500) UNION SELECT 10, REPEAT('h', 1500); \
                     UPDATE it.t SET pad = 'short' WHERE id < 7; DELETE FROM it.t WHERE id = 1; COMMIT";

/// The files called `relay.NUMBER`, in order.
fn relay_logs(db: &Database) -> Vec<String> {
    let mut files: Vec<String> = std::fs::read_dir(db.dir().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e.to_str().unwrap().bytes().all(|b| b.is_ascii_digit())))
        .map(|path| path.to_str().unwrap().to_owned())
        .filter(|path| path.contains("/relay."))
        .collect();
    files.sort();
    files
}

fn by_files(files: &[String], more: &[&str]) -> Run {
    let mut args = vec!["tail", "--tables", "it.*"];
    args.extend(files.iter().flat_map(|file| ["--file", file.as_str()]));
    args.extend(more);
    binlake(&args)
}

/// The relay log says what the log of its source says, position by position: over its files, which a transaction may
/// span, over files of the source, and over connections of the replica.
fn relay_log_equals_source(source: &Database, replica: &Database, stop: &str, start: &str) {
    let text = ["--format", "text"];
    source.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(2000))").unwrap();
    source.sql("INSERT INTO it.t VALUES (1, 'one'); FLUSH BINARY LOGS; INSERT INTO it.t VALUES (2, 'two')").unwrap();
    source.sql(LARGE).unwrap();
    let arrived = |id: u32| {
        let found = || replica.sql(&format!("SELECT id FROM it.t WHERE id = {id}")).is_ok_and(|rows| !rows.is_empty());
        assert!(wait_until(SOON, found), "row {id} did not come: {}", replica.sql("SHOW PROCESSLIST").unwrap());
    };
    arrived(10);
    replica.sql(&format!("{stop}; {start}; FLUSH RELAY LOGS")).unwrap();
    source.sql("INSERT INTO it.t VALUES (11, 'eleven'); SET GLOBAL binlog_checksum = NONE").unwrap();
    source.sql("INSERT INTO it.t VALUES (12, 'twelve'); UPDATE it.t SET id = 13 WHERE id = 12").unwrap();
    arrived(13);
    let files = relay_logs(replica);
    assert!(files.len() > 4, "{files:?}");
    let url = source.url();
    let of_source = ["tail", "--tables", "it.*", "--source", &url, "--from", "earliest", "--until", "now"];
    let wanted = lines(&of_source);
    assert_eq!(ids(&wanted), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 1, 11, 12, 13]);
    let run = by_files(&files, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), wanted);
    let places = by_files(&files, &text).stdout;
    assert_eq!(places.lines().collect::<Vec<_>>(), lines(&[&of_source[..], &text].concat()));
}

#[test]
fn relay_logs_of_mysql() {
    let source = MySql::start().unwrap();
    let replica = MySql::with(
        "9.7",
        &["--server-id=2", "--relay-log=relay", "--relay-log-purge=OFF", "--max-relay-log-size=4096"],
    )
    .unwrap();
    replica
        .sql(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'repl', \
             SOURCE_PASSWORD = 'repl', GET_SOURCE_PUBLIC_KEY = 1, SOURCE_AUTO_POSITION = 1; START REPLICA",
            source.port()
        ))
        .unwrap();
    relay_log_equals_source(&source, &replica, "STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD");
}

#[test]
fn relay_logs_of_mariadb() {
    let source = MariaDb::start().unwrap();
    let options = ["--server-id=2", "--relay-log=relay", "--relay-log-purge=OFF", "--max-relay-log-size=4096"];
    let replica = MariaDb::with("11.8", &options).unwrap();
    // By file and position: with GTIDs MariaDB throws its relay log away when it connects anew.
    replica
        .sql(&format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'repl', MASTER_PASSWORD = 'repl', \
             MASTER_SSL = 0, MASTER_LOG_FILE = 'binlog.000001', MASTER_LOG_POS = 4, MASTER_USE_GTID = no; START SLAVE",
            source.port()
        ))
        .unwrap();
    relay_log_equals_source(&source, &replica, "STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD");
}

/// A replica whose connection breaks within a transaction, after some of its rows are in the relay log: what it has then,
/// the whole transaction anew or the rest of it, gives each row once. `start`: what the replica has to be told then.
fn cut_within_a_transaction(source: &Database, replica: &Database, proxy: &Proxy, start: &str) {
    source.sql("CREATE DATABASE it; CREATE TABLE it.t (id INT PRIMARY KEY, pad VARCHAR(2000))").unwrap();
    source.sql("INSERT INTO it.t VALUES (1, 'one')").unwrap();
    let arrived = |id: u32| {
        let select = format!("{start}; SELECT id FROM it.t WHERE id = {id}");
        let found = || replica.sql(&select).is_ok_and(|rows| !rows.is_empty());
        assert!(wait_until(SOON, found), "row {id} did not come: {}", replica.sql("SHOW SLAVE STATUS").unwrap());
    };
    arrived(1);
    let relayed = || relay_logs(replica).iter().map(|file| std::fs::metadata(file).unwrap().len()).sum::<u64>();
    let before = relayed();
    proxy.slow(1_000_000);
    // 1.8 MB of rows.
    source
        .sql(
            "BEGIN; INSERT INTO it.t VALUES (2, 'two'); INSERT INTO it.t WITH RECURSIVE n AS (SELECT 101 AS id UNION ALL \
             SELECT id + 1 FROM n WHERE id < 1000) SELECT id, REPEAT('x', 2000) FROM n; UPDATE it.t SET pad = 'short' WHERE \
             id < 105; DELETE FROM it.t WHERE id = 1; COMMIT",
        )
        .unwrap();
    source.sql("INSERT INTO it.t VALUES (3, 'three')").unwrap();
    assert!(wait_until(SOON, || relayed() > before + 500_000));
    proxy.cut();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let cut_at = relayed() - before;
    assert!(cut_at < 1_500_000, "the transaction was through: {cut_at} bytes");
    proxy.resume();
    arrived(3);
    let files = relay_logs(replica);
    let run = by_files(&files, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let url = source.url();
    let of_source = ["tail", "--tables", "it.*", "--source", &url, "--from", "earliest", "--until", "now"];
    let wanted = lines(&of_source);
    assert_eq!(wanted.len(), 1 + 1 + 900 + 6 + 1 + 1);
    let told: Vec<&str> = run.stdout.lines().collect();
    assert!(told == wanted, "{} rows instead of {}, cut after {cut_at} bytes", told.len(), wanted.len());
    let places = by_files(&files, &["--format", "text"]).stdout;
    assert!(places.lines().eq(lines(&[&of_source[..], &["--format", "text"]].concat())), "other places");
}

const RELAY: [&str; 3] = ["--server-id=2", "--relay-log=relay", "--relay-log-purge=OFF"];

#[test]
fn a_cut_within_a_transaction_on_mysql() {
    for (gtid_mode, auto_position) in [("ON", 1), ("ON", 0), ("OFF", 0)] {
        let (gtid_mode, consistency) = (format!("--gtid-mode={gtid_mode}"), "--enforce-gtid-consistency=ON");
        let source = MySql::with("9.7", &[&gtid_mode, consistency]).unwrap();
        let replica = MySql::with("9.7", &[&RELAY[..], &[&gtid_mode, consistency]].concat()).unwrap();
        let proxy = Proxy::to(source.addr()).unwrap();
        let place = match auto_position {
            0 => "SOURCE_LOG_FILE = 'binlog.000001', SOURCE_LOG_POS = 4",
            _ => "SOURCE_AUTO_POSITION = 1",
        };
        replica
            .sql(&format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'repl', \
                 SOURCE_PASSWORD = 'repl', GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1, {place}; START REPLICA",
                proxy.port()
            ))
            .unwrap();
        cut_within_a_transaction(&source, &replica, &proxy, "SELECT 1 WHERE FALSE");
    }
}

#[test]
fn a_cut_within_a_transaction_on_mariadb() {
    for gtid in ["slave_pos", "no"] {
        let (source, replica) = (MariaDb::start().unwrap(), MariaDb::with("11.8", &RELAY).unwrap());
        let proxy = Proxy::to(source.addr()).unwrap();
        let place = if gtid == "no" { "MASTER_LOG_FILE = 'binlog.000001', MASTER_LOG_POS = 4, " } else { "" };
        replica
            .sql(&format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'repl', MASTER_PASSWORD = 'repl', \
                 MASTER_SSL = 0, MASTER_CONNECT_RETRY = 1, {place}MASTER_USE_GTID = {gtid}; START SLAVE",
                proxy.port()
            ))
            .unwrap();
        // By position it ends once with error 1595 and goes on when it is told to.
        let start = if gtid == "no" { "START SLAVE IO_THREAD" } else { "SELECT 1 WHERE FALSE" };
        cut_within_a_transaction(&source, &replica, &proxy, start);
    }
}

/// Without GTIDs a BEGIN within a transaction is its repetition: what stood before it is not part of any commit.
#[test]
fn a_transaction_that_begins_anew() {
    const RELAY: u8 = 0x40;
    let mut own = events::format_description();
    own[17] |= RELAY;
    let rows = |id: u32| events::write_rows(1, id, b"x");
    let log = [
        events::MAGIC.to_vec(),
        own,
        events::rotate("binlog.000007"),
        events::format_description(),
        [events::begin(), events::table_map(), rows(1), events::xid()].concat(),
        [events::begin(), events::table_map(), rows(2), rows(3)].concat(),
        // The replica connects anew.
        events::rotate("binlog.000007"),
        events::format_description(),
        [events::begin(), events::table_map(), rows(2), rows(3), rows(4), events::xid()].concat(),
        [events::begin(), events::table_map(), rows(5), events::xid()].concat(),
        // It ends within a transaction.
        [events::begin(), events::table_map(), rows(6)].concat(),
    ]
    .concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay-bin.000002");
    std::fs::write(&path, log).unwrap();
    let run = by_files(&[path.to_str().unwrap().to_owned()], &[]);
    let told: Vec<String> = run.stdout.lines().map(str::to_owned).collect();
    assert_eq!((run.code, ids(&told)), (0, vec![1, 2, 3, 4, 5]), "{}", run.stderr);
}

/// The server hands an encrypted log out in clear; the file is named as what it is.
fn encrypted(db: &Database) {
    db.sql("FLUSH BINARY LOGS; CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
    db.sql("INSERT INTO it.t VALUES (1), (2)").unwrap();
    let rows = lines(&["tail", "--source", &db.url(), "--tables", "it.*", "--from", "earliest", "--until", "now"]);
    assert_eq!(ids(&rows), [1, 2]);
    let end = db.log_end().unwrap();
    let file = db.dir().join("data").join(Path::new(end.split(':').next().unwrap()));
    let run = binlake(&["tail", "--file", file.to_str().unwrap()]);
    assert_eq!((run.code, run.stdout.as_str()), (7, ""), "{}", run.stderr);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(run.stderr.contains("encrypted") && run.stderr.contains(name), "{}", run.stderr);
}

#[test]
fn logs_that_mysql_encrypts() {
    let mysql = MySql::start().unwrap();
    mysql.stop().unwrap();
    let data = mysql.dir().join("data");
    std::fs::write(data.join("mysqld.my"), r#"{"components": "file://component_keyring_file"}"#).unwrap();
    let keyring = format!(r#"{{"path": "{}", "read_only": false}}"#, mysql.dir().join("keyring").display());
    std::fs::write(data.join("component_keyring_file.cnf"), keyring).unwrap();
    mysql.restart_with(&["--binlog-encryption=ON"]).unwrap();
    encrypted(&mysql);
}

#[test]
fn logs_that_mariadb_encrypts() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "1;770a8a65da156d24ee2a093277530142\n").unwrap();
    let keys = format!("--file-key-management-filename={}", keys.display());
    let options = ["--plugin-load-add=file_key_management", keys.as_str(), "--encrypt-binlog=ON"];
    encrypted(&MariaDb::with("10.11", &options).unwrap());
}
