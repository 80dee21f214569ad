//! XA: rows come with XA COMMIT, never with XA ROLLBACK, and what is prepared survives a kill in between.

use kit::{Database, Kafka, MariaDb, MySql, Proxy};

use crate::support::{Up, ids, lines, log_end, read_local, topic_of};

/// Two transactions are prepared, the program is killed, one is committed and one rolled back.
fn decided_after_a_kill(db: &Database) {
    db.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(100))").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, topic) = (db.url(), topic_of(db.port()));
    let args = ["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()];
    let mut up = Up::start(&args);
    up.wait_streaming();

    let (mut a, mut b) = (db.session().unwrap(), db.session().unwrap());
    a.sql("XA START 'a', 'branch', 7; INSERT INTO it.t VALUES (1, 'a'), (2, 'a'); XA END 'a', 'branch', 7").unwrap();
    b.sql("XA START 'b'; INSERT INTO it.t VALUES (3, 'b'); XA END 'b'; XA PREPARE 'b'").unwrap();
    a.sql("XA PREPARE 'a', 'branch', 7").unwrap();
    db.sql("INSERT INTO it.t VALUES (4, 'plain')").unwrap();
    up.wait_settled(db);
    assert_eq!(ids(&read_local(dir.path(), &topic)), [4], "prepared is not committed");

    up.process.kill9().unwrap();
    db.sql("INSERT INTO it.t VALUES (5, 'while nobody reads')").unwrap();
    up = Up::start(&args);
    db.sql("INSERT INTO it.t VALUES (6, 'after the start')").unwrap();
    up.wait_settled(db);
    // A second one, now with an older checkpoint that already knows of the prepared two.
    up.process.kill9().unwrap();
    a.sql("XA COMMIT 'a', 'branch', 7").unwrap();
    up = Up::start(&args);
    b.sql("XA ROLLBACK 'b'").unwrap();
    a.sql("XA START 'c'; INSERT INTO it.t VALUES (7, 'c'); XA END 'c'; XA COMMIT 'c' ONE PHASE").unwrap();
    // The xid of a transaction that was rolled back is used again.
    b.sql("XA START 'b'; INSERT INTO it.t VALUES (8, 'b again'); XA END 'b'; XA PREPARE 'b'; XA COMMIT 'b'").unwrap();
    db.sql("INSERT INTO it.t VALUES (9, 'last')").unwrap();
    up.wait_settled(db);
    assert_eq!(ids(&read_local(dir.path(), &topic)), [4, 5, 6, 1, 2, 7, 8, 9]);
    assert_eq!(db.sql("SELECT COUNT(*), SUM(id) FROM it.t").unwrap(), "8\t42\n");
    up.stop();
    // Nothing is left open: the next start repeats nothing and misses nothing.
    up = Up::start(&args);
    db.sql("INSERT INTO it.t VALUES (10, 'after all')").unwrap();
    up.wait_settled(db);
    up.stop();
    assert_eq!(ids(&read_local(dir.path(), &topic)), [4, 5, 6, 1, 2, 7, 8, 9, 10]);
}

#[test]
fn mysql_with_gtids() {
    decided_after_a_kill(&MySql::start().unwrap());
}

#[test]
fn mysql_without_gtids() {
    decided_after_a_kill(&MySql::with("9.7", &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).unwrap());
}

#[test]
fn mariadb() {
    decided_after_a_kill(&MariaDb::start().unwrap());
}

/// Rows of a prepared transaction belong to several partitions; a kill before the decision, and one right behind it.
#[test]
fn several_partitions_in_batches() {
    let kafka = Kafka::start(1).unwrap();
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(100))").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, to) = (mysql.url(), format!("kafka://{}", kafka.bootstrap()));
    let data = dir.path().to_str().unwrap();
    let args = ["--source", &url, "--tables", "it.*", "--format", "binlake", "--data-dir", data];
    let args = [&args[..], &["--to", &to, "--topic", "xa", "--partitions", "5"]].concat();
    let mut up = Up::start(&args);
    up.wait_streaming();
    let rows = |from: u64, to: u64| (from..to).map(|i| format!("({i}, 'row')")).collect::<Vec<_>>().join(", ");
    let read = || {
        let read = lines(&["read", "--from", &to, "--topic", "xa", "--until-end"]);
        let mut ids = ids(&read);
        ids.sort_unstable();
        ids
    };
    let mut prepared = Vec::new();
    for (n, xid) in ["a", "b", "c"].into_iter().enumerate() {
        let mut session = mysql.session().unwrap();
        let first = 1000 * (n as u64 + 1);
        let insert = format!("INSERT INTO it.t VALUES {}", rows(first, first + 50));
        session.sql(&format!("XA START '{xid}'; {insert}; XA END '{xid}'; XA PREPARE '{xid}'")).unwrap();
        prepared.push(session);
    }
    mysql.sql("INSERT INTO it.t VALUES (1, 'plain')").unwrap();
    up.wait_settled(&mysql);
    up.process.kill9().unwrap();
    assert_eq!(read(), [1], "prepared is not committed");
    mysql.sql("XA COMMIT 'a'").unwrap();
    up = Up::start(&args);
    up.wait_streaming();
    mysql.sql("XA COMMIT 'b'; INSERT INTO it.t VALUES (2, 'plain')").unwrap();
    up.process.kill9().unwrap();
    mysql.sql("XA ROLLBACK 'c'; INSERT INTO it.t VALUES (3, 'plain')").unwrap();
    up = Up::start(&args);
    up.wait_settled(&mysql);
    up.stop();
    let wanted: Vec<u64> = (1..4).chain(1000..1050).chain(2000..2050).collect();
    assert_eq!(read(), wanted);
    assert_eq!(mysql.sql("SELECT COUNT(*) FROM it.t").unwrap(), "103\n");
}

/// A transaction that nobody has decided when the log ends is not in what is read, by server or by file; its rows come
/// with the decision, also if server and connection ended in between.
fn left_open(db: &Database) {
    db.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(100))").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, topic) = (db.url(), topic_of(db.port()));
    let mut up = Up::start(&["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()]);
    up.wait_streaming();
    let prepare = |xid: &str, id: u32| {
        format!("XA START '{xid}'; INSERT INTO it.t VALUES ({id}, ''); XA END '{xid}'; XA PREPARE '{xid}'")
    };
    for (xid, id) in [("kept", 1), ("gone", 2), ("open", 3)] {
        db.session().unwrap().sql(&prepare(xid, id)).unwrap();
    }
    db.sql("INSERT INTO it.t VALUES (4, 'plain')").unwrap();
    // The last event of the log.
    db.session().unwrap().sql(&prepare("last", 5)).unwrap();
    up.wait_settled(db);
    let from_start = ["tail", "--source", &url, "--tables", "it.*", "--from", "earliest", "--until", "now"];
    let file = db.dir().join("data").join(log_end(db).split(':').next().unwrap());
    let by_file = ["tail", "--file", file.to_str().unwrap(), "--tables", "it.*"];
    assert_eq!(ids(&lines(&from_start)), [4]);
    assert_eq!(ids(&lines(&by_file)), [4]);

    db.restart().unwrap();
    assert_eq!(db.sql("XA RECOVER").unwrap().lines().count(), 4);
    db.sql("XA COMMIT 'kept'; XA ROLLBACK 'gone'; INSERT INTO it.t VALUES (6, 'plain')").unwrap();
    db.sql("XA COMMIT 'last'").unwrap();
    up.wait_settled(db);
    assert_eq!(ids(&read_local(dir.path(), &topic)), [4, 1, 6, 5]);
    // Both files, of which the first has all the rows and the second the decisions.
    let second = db.dir().join("data").join(log_end(db).split(':').next().unwrap());
    let both = [&by_file[..], &["--file", second.to_str().unwrap()]].concat();
    assert_eq!(ids(&lines(&both)), [4, 1, 6, 5]);
    assert_eq!(ids(&lines(&from_start)), [4, 1, 6, 5]);
    up.stop();
}

#[test]
fn left_open_on_mysql() {
    left_open(&MySql::start().unwrap());
}

#[test]
fn left_open_on_mariadb() {
    for version in ["10.11", "11.8"] {
        left_open(&MariaDb::with(version, &[]).unwrap());
    }
}

/// A MariaDB server and a replica of it that follows by GTID.
fn mariadb_and_replica() -> (MariaDb, MariaDb) {
    let source = MariaDb::start().unwrap();
    let replica = MariaDb::with("10.11", &["--log-slave-updates=ON"]).unwrap();
    replica
        .sql(&format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='repl', MASTER_PASSWORD='repl', \
             MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1; START SLAVE",
            source.port()
        ))
        .unwrap();
    (source, replica)
}

fn follow_mariadb(source: &Database, replica: &Database) {
    let position = source.sql("SELECT @@gtid_binlog_pos").unwrap();
    let waited = replica.sql(&format!("SELECT MASTER_GTID_WAIT('{}', 20)", position.trim())).unwrap();
    assert_eq!(waited, "0\n");
}

/// PREPARE is read from one server, the decision from another, whose log has other files and offsets. `restarted`: the
/// program is down while it happens, and again afterwards.
fn failover_between_prepare_and_commit(restarted: bool) {
    let (source, replica) = mariadb_and_replica();
    source.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(100))").unwrap();
    source.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS").unwrap();
    let proxy = Proxy::to(source.addr()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("mysql://binlake:binlake@{}/", proxy.addr());
    let args = ["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()];
    let topic = topic_of(proxy.port());
    let mut up = Up::start(&args);
    up.wait_streaming();
    source.sql("INSERT INTO it.t VALUES (1, 'before')").unwrap();
    let prepare = |xid: &str, id: u32| {
        let sql = format!("XA START '{xid}'; INSERT INTO it.t VALUES ({id}, ''); XA END '{xid}'; XA PREPARE '{xid}'");
        source.session().unwrap().sql(&sql).unwrap();
    };
    prepare("early", 2);
    source.sql("INSERT INTO it.t VALUES (3, 'between')").unwrap();
    // Another domain, and one that is decided before the failover.
    source.sql("SET SESSION gtid_domain_id = 7; INSERT INTO it.t VALUES (4, 'of another domain')").unwrap();
    prepare("decided", 5);
    prepare("undone", 6);
    source.sql("XA COMMIT 'decided'").unwrap();
    prepare("late", 7);
    up.wait_settled(&source);
    let read = || ids(&read_local(dir.path(), &topic));
    assert_eq!(read(), [1, 3, 4, 5]);
    if restarted {
        up.process.kill9().unwrap();
    }
    follow_mariadb(&source, &replica);
    source.kill().unwrap();
    proxy.retarget(replica.addr());
    proxy.cut();
    replica.sql("STOP SLAVE; RESET SLAVE ALL").unwrap();
    replica.sql("INSERT INTO it.t VALUES (8, 'on the other server')").unwrap();
    if restarted {
        up = Up::start(&args);
    }
    up.wait_settled(&replica);
    assert_eq!(read(), [1, 3, 4, 5, 8], "nothing twice, prepared is not committed");
    replica.sql("XA COMMIT 'early'; XA ROLLBACK 'undone'").unwrap();
    up.wait_settled(&replica);
    // Between a PREPARE and its COMMIT again, now on the new server alone.
    up.process.kill9().unwrap();
    up = Up::start(&args);
    replica.sql("XA COMMIT 'late'; INSERT INTO it.t VALUES (9, 'last')").unwrap();
    up.wait_settled(&replica);
    up.stop();
    assert_eq!(read(), [1, 3, 4, 5, 8, 2, 7, 9]);
    assert_eq!(replica.sql("SELECT COUNT(*), SUM(id) FROM it.t").unwrap(), "8\t39\n");
    // All is decided: the next start repeats nothing.
    let mut up = Up::start(&args);
    replica.sql("INSERT INTO it.t VALUES (10, 'after all')").unwrap();
    up.wait_settled(&replica);
    up.stop();
    assert_eq!(read(), [1, 3, 4, 5, 8, 2, 7, 9, 10]);
}

#[test]
fn mariadb_failover_between_prepare_and_commit() {
    failover_between_prepare_and_commit(false);
}

#[test]
fn mariadb_failover_between_prepare_and_commit_while_nobody_reads() {
    failover_between_prepare_and_commit(true);
}
