//! XA: rows come with XA COMMIT, never with XA ROLLBACK, and what is prepared survives a kill in between.

use kit::{Database, Kafka, MariaDb, MySql};

use crate::support::{Up, ids, lines, read_local, topic_of};

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
