//! RESET BINARY LOGS AND GTIDS (RESET MASTER) under a reader: the new log has the names, numbers and GTIDs of the old one,
//! so that a position of the old log lies anywhere in it. Reading ends and says so; it never goes on there.

use kit::{Database, MariaDb, MySql, wait_until};

use crate::support::{SOON, Up, ids, load_for, read_local, topic_of};

const NO_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
/// Definitions of tables are then kept by position.
const NO_NAMES: &str = "--binlog-row-metadata=MINIMAL";

/// What happens to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Running,
    /// The new log ends before the old position.
    Short,
    /// It has grown over the old position in the file of the same name.
    SameFile,
    /// The old position is in an earlier file than the new log has it in by GTID.
    LaterFile,
    /// And in a later one.
    EarlierFile,
}

fn insert(db: &Database, from: u64, to: u64) {
    let mut session = db.session().unwrap();
    for id in from..to {
        session.sql(&format!("INSERT INTO it.t VALUES ({id}, REPEAT('x', 200))")).unwrap();
    }
}

fn reset_logs(db: &Database) {
    db.sql("RESET BINARY LOGS AND GTIDS").or_else(|_| db.sql("RESET MASTER")).unwrap();
}

fn reset(db: &Database, when: When) {
    let flush = |times| (0..times).for_each(|_| drop(db.sql("FLUSH BINARY LOGS").unwrap()));
    // A file is told by the second in which it was begun.
    load_for(1100);
    // Other columns than before: a definition of the old log must not be taken.
    db.sql("ALTER TABLE it.t ADD COLUMN more INT FIRST, DROP COLUMN pad").unwrap();
    reset_logs(db);
    if when == When::LaterFile {
        flush(3);
    }
    let last = if when == When::Short { 102 } else { 160 };
    let mut session = db.session().unwrap();
    for id in 100..last {
        if id == 150 && when == When::LaterFile {
            session.sql("FLUSH BINARY LOGS").unwrap();
        }
        session.sql(&format!("INSERT INTO it.t (id, more) VALUES ({id}, 7)")).unwrap();
    }
}

fn ends_and_says_so(db: &Database, when: When) {
    reset_logs(db);
    db.sql(
        "DROP DATABASE IF EXISTS it; CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(300))",
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, topic) = (db.url(), topic_of(db.port()));
    let args = ["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()];
    let mut up = Up::start(&args);
    up.wait_streaming();
    insert(db, 1, 5);
    if when == When::EarlierFile {
        (0..4).for_each(|_| drop(db.sql("FLUSH BINARY LOGS").unwrap()));
    }
    insert(db, 5, 10);
    up.wait_settled(db);
    if when == When::Running {
        reset(db, when);
    } else {
        up.stop();
        reset(db, when);
        up = Up::start(&args);
    }
    let status = up.process.wait(SOON).unwrap_or_else(|e| panic!("{when:?}: {e}: {:#}", up.health()));
    let said = up.process.stderr();
    assert_eq!(status.code(), Some(5), "{when:?}: {said}");
    // Where the server itself refuses the position, the hint is about its words.
    let forget = ["coordination", "schemas"].map(|folder| {
        let ending = if folder == "schemas" { "log" } else { "state" };
        dir.path().join(format!("{folder}/{topic}.{ending}"))
    });
    let helps = forget.iter().all(|file| said.contains(file.to_str().unwrap())) && said.contains("--from earliest");
    assert!(helps && said.contains("take a new snapshot"), "{when:?}: {said}");
    let refused = said.contains("server error 1236");
    let found = said.contains("\"code\":\"log_reset\"");
    assert!(found || refused && when != When::SameFile && when != When::LaterFile, "{when:?}: {said}");
    assert_eq!(ids(&read_local(dir.path(), &topic)), (1..10).collect::<Vec<_>>(), "{when:?}: nothing of the new log");

    // What it says helps.
    forget.iter().for_each(|file| drop(std::fs::remove_file(file)));
    let mut up = Up::start(&[&args[..], &["--from", "earliest"]].concat());
    up.wait_settled(db);
    up.stop();
    let mut rows = read_local(dir.path(), &topic);
    rows.drain(..9);
    let last = if when == When::Short { 102 } else { 160 };
    assert_eq!(ids(&rows), (100..last).collect::<Vec<_>>(), "{when:?}");
    assert!(rows.iter().all(|row| row.contains("\"more\":7")), "{when:?}: {rows:?}");
}

const BY_GTID: [When; 5] = [When::Running, When::Short, When::SameFile, When::LaterFile, When::EarlierFile];

#[test]
fn of_mysql_with_gtids() {
    let mysql = MySql::start().unwrap();
    BY_GTID.into_iter().for_each(|when| ends_and_says_so(&mysql, when));
}

#[test]
fn of_mysql_without_gtids_and_without_names() {
    let mysql = MySql::with("9.7", &[&NO_GTIDS[..], &[NO_NAMES]].concat()).unwrap();
    [When::Running, When::Short, When::SameFile, When::EarlierFile]
        .into_iter()
        .for_each(|when| ends_and_says_so(&mysql, when));
}

#[test]
fn of_mariadb_with_and_without_names() {
    for options in [&[][..], &[NO_NAMES]] {
        let mariadb = MariaDb::with("10.11", options).unwrap();
        BY_GTID.into_iter().for_each(|when| ends_and_says_so(&mariadb, when));
    }
}

/// A log that was only purged up to where reading stopped is the same log. Where nobody can tell any more, that is said.
#[test]
fn a_purge_is_no_reset() {
    for (options, gtids) in [(&[][..], true), (&NO_GTIDS[..], false)] {
        let mysql = MySql::with("9.7", options).unwrap();
        mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(300))").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let url = mysql.url();
        let args = ["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()];
        // The server keeps a file as long as it believes that somebody reads it.
        let purge = |first: &str| {
            let purged = || {
                mysql.sql(&format!("PURGE BINARY LOGS TO '{first}'")).unwrap();
                mysql.sql("SHOW BINARY LOGS").unwrap().starts_with(first)
            };
            assert!(wait_until(SOON, purged), "{first}");
        };
        let mut up = Up::start(&args);
        up.wait_streaming();
        insert(&mysql, 1, 4);
        up.wait_settled(&mysql);
        // An idle reader goes along with the rotation.
        mysql.sql("FLUSH BINARY LOGS").unwrap();
        up.wait_health(|h| h["settled"].as_str().is_some_and(|at| at.starts_with("binlog.000002:")));
        up.stop();
        purge("binlog.000002");
        insert(&mysql, 4, 6);
        let mut up = Up::start(&args);
        up.wait_settled(&mysql);
        assert!(!up.health().to_string().contains("log_purged"), "{:#}", up.health());
        up.stop();
        // One that is stopped does not.
        mysql.sql("FLUSH BINARY LOGS").unwrap();
        purge("binlog.000003");
        insert(&mysql, 6, 8);
        let mut up = Up::start(&args);
        let rows: Vec<u64> = if gtids {
            up.wait_settled(&mysql);
            assert!(up.health().to_string().contains("log_purged"), "{:#}", up.health());
            up.stop();
            (1..8).collect()
        } else {
            assert_eq!(up.process.wait(SOON).unwrap().code(), Some(5), "{}", up.process.stderr());
            (1..6).collect()
        };
        assert_eq!(ids(&read_local(dir.path(), &topic_of(mysql.port()))), rows);
    }
}
