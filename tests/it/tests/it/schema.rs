//! Definitions of tables at each position of the log, with and without row metadata in it: online schema changes by
//! shadow tables, changes while nobody reads, and decoding from old positions.

use kit::{Database, MariaDb, MySql};
use serde_json::{Value, json};

use crate::replay::apply::{apply, tables};
use crate::support::{SOON, Up, binlake, lines, log_end, read_local, read_raw, topic_of};

const MINIMAL: &str = "--binlog-row-metadata=MINIMAL";

fn args(db: &Database, dir: &tempfile::TempDir) -> [String; 8] {
    let url = db.url();
    let data = dir.path().to_str().unwrap();
    ["--source", &url, "--tables", "it.*", "--events", "insert,update,delete,ddl", "--data-dir", data]
        .map(str::to_owned)
}

fn start(args: &[String; 8]) -> Up {
    let up = Up::start(&args.each_ref().map(String::as_str));
    up.wait_streaming();
    up
}

fn assert_no_quarantine(up: &Up) {
    let health = up.health();
    assert_eq!(health["quarantined"], json!([]), "{health:#}");
}

/// As gh-ost does it: a shadow table, rows copied and changes of the log applied to it, and one RENAME for the swap. Its
/// own table `_ghc`, which it drops at its end, is left.
fn by_log(db: &Database, table: &str) {
    let (shadow, old) = (format!("it._{table}_gho"), format!("it._{table}_del"));
    let own = format!("it._{table}_ghc");
    db.sql(&format!(
        "CREATE TABLE {own} (id BIGINT PRIMARY KEY, v1 VARCHAR(20)); INSERT INTO {own} VALUES (1, 'state'); \
         CREATE TABLE {shadow} LIKE it.{table}; ALTER TABLE {shadow} DROP COLUMN i1, ADD COLUMN v5 VARCHAR(9) DEFAULT 'new' \
         FIRST, RENAME COLUMN v2 TO v3; \
         INSERT IGNORE INTO {shadow} (id, v3) SELECT id, v2 FROM it.{table} WHERE id < 3; \
         UPDATE it.{table} SET v2 = 'changed' WHERE id = 2; REPLACE INTO {shadow} (id, v3) VALUES (2, 'changed'); \
         INSERT INTO it.{table} VALUES (10, 1, 'ten'); REPLACE INTO {shadow} (id, v3) VALUES (10, 'ten'); \
         INSERT IGNORE INTO {shadow} (id, v3) SELECT id, v2 FROM it.{table}; UPDATE {own} SET v1 = 'copied'; \
         RENAME TABLE it.{table} TO {old}, {shadow} TO it.{table}; \
         INSERT INTO it.{table} VALUES ('a', 11, 'eleven'); UPDATE it.{table} SET v3 = 'swapped' WHERE id = 2"
    ))
    .unwrap();
}

/// As pt-online-schema-change does it: triggers keep the new table up to date while rows are copied.
fn by_triggers(db: &Database, table: &str) {
    let (new, old) = (format!("it._{table}_new"), format!("it._{table}_old"));
    db.sql(&format!(
        "CREATE TABLE {new} LIKE it.{table}; ALTER TABLE {new} ADD COLUMN i7 INT UNSIGNED NOT NULL DEFAULT 4000000000 AFTER id; \
         CREATE TRIGGER it.del_{table} AFTER DELETE ON it.{table} FOR EACH ROW DELETE IGNORE FROM {new} WHERE id <=> OLD.id; \
         CREATE TRIGGER it.ins_{table} AFTER INSERT ON it.{table} FOR EACH ROW \
           REPLACE INTO {new} (id, i1, v2) VALUES (NEW.id, NEW.i1, NEW.v2); \
         CREATE TRIGGER it.upd_{table} AFTER UPDATE ON it.{table} FOR EACH ROW \
           REPLACE INTO {new} (id, i1, v2) VALUES (NEW.id, NEW.i1, NEW.v2); \
         UPDATE it.{table} SET i1 = 99 WHERE id = 1; INSERT INTO it.{table} VALUES (20, 2, 'twenty'); \
         INSERT LOW_PRIORITY IGNORE INTO {new} (id, i1, v2) SELECT id, i1, v2 FROM it.{table}; \
         DELETE FROM it.{table} WHERE id = 3; \
         RENAME TABLE it.{table} TO {old}, {new} TO it.{table}; DROP TABLE IF EXISTS {old}; \
         DROP TRIGGER IF EXISTS it.del_{table}; INSERT INTO it.{table} VALUES (21, 5, 3, 'after'); \
         UPDATE it.{table} SET i7 = 6 WHERE id = 1"
    ))
    .unwrap();
}

/// Both kinds of swap while the program reads, while it is stopped, and while it stands still.
///
/// `described`: by the log. If it is not, a table that was made, changed and dropped while nobody read cannot be known:
/// the tool's own record of its progress stops, and nothing else does.
fn swaps_just_work(db: &Database, described: bool, to: &Database) {
    db.sql("CREATE DATABASE it").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let args = args(db, &dir);
    let mut up = start(&args);
    let mut lost = Vec::new();
    for when in ["live", "stopped", "still"] {
        for how in ["log", "triggers"] {
            let table = format!("{how}_{when}");
            db.sql(&format!(
                "CREATE TABLE it.{table} (id BIGINT PRIMARY KEY, i1 INT, v2 VARCHAR(20)); \
                 INSERT INTO it.{table} VALUES (1, 1, 'one'), (2, 2, 'two'), (3, 3, 'three'); \
                 CREATE TABLE IF NOT EXISTS it.other (id BIGINT PRIMARY KEY AUTO_INCREMENT, v1 VARCHAR(20))"
            ))
            .unwrap();
        }
        up.wait_settled(db);
        let log_end_before = log_end(db);
        match when {
            "stopped" => up.stop(),
            "still" => up.process.signal("STOP").unwrap(),
            _ => {}
        }
        // In between, other tables have rows too.
        for how in ["log", "triggers"] {
            db.sql("INSERT INTO it.other (v1) VALUES ('before')").unwrap();
            let table = format!("{how}_{when}");
            if how == "log" {
                by_log(db, &table);
                if when == "live" {
                    // The tool runs for minutes; a reader that is some statements behind still meets its table.
                    up.wait_settled(db);
                }
                db.sql(&format!("DROP TABLE it._{table}_ghc")).unwrap();
            } else {
                by_triggers(db, &table);
            }
            db.sql("INSERT INTO it.other (v1) VALUES ('behind')").unwrap();
        }
        match when {
            "stopped" => up = start(&args),
            "still" => up.process.signal("CONT").unwrap(),
            _ => {}
        }
        up.wait_settled(db);
        if !described && when != "live" {
            lost.push(format!("it._log_{when}_ghc"));
        }
        let health = up.health();
        let mut stopped: Vec<&str> =
            health["quarantined"].as_array().unwrap().iter().flat_map(|t| t["name"].as_str()).collect();
        stopped.sort_unstable();
        lost.sort();
        assert_eq!(stopped, lost, "{health:#}");
        assert_ne!(log_end(db), log_end_before);
    }
    // A killed program reads again what it had not stored, now with all definitions behind it.
    up.process.kill9().unwrap();
    up = start(&args);
    db.sql("INSERT INTO it.other (v1) VALUES ('last')").unwrap();
    up.wait_settled(db);
    let health = up.health();
    assert_eq!(health["quarantined"].as_array().unwrap().len(), lost.len(), "{health:#}");
    up.stop();
    let messages = read_local(dir.path(), &topic_of(db.port()));
    apply(&messages, false, to);
    assert_eq!(tables(to), tables(db));
    assert!(tables(db).len() >= 10);
}

#[test]
fn swaps_with_metadata() {
    swaps_just_work(&MySql::start().unwrap(), true, &MySql::start().unwrap());
}

#[test]
fn swaps_without_metadata() {
    swaps_just_work(&MySql::with("9.7", &[MINIMAL]).unwrap(), false, &MySql::start().unwrap());
}

#[test]
fn swaps_on_mariadb_as_it_comes() {
    let mariadb = MariaDb::with("10.11", &["--binlog-row-metadata=NO_LOG"]).unwrap();
    swaps_just_work(&mariadb, false, &MariaDb::start().unwrap());
}

/// Four shapes of a table, a row in each, and one of a table that stays as it is.
fn four_shapes(db: &Database, between: impl Fn()) {
    for sql in [
        "CREATE TABLE it.t (id BIGINT PRIMARY KEY, a INT, b VARCHAR(10)); CREATE TABLE it.same (id BIGINT PRIMARY KEY); \
         INSERT INTO it.t VALUES (1, 10, 'one'); INSERT INTO it.same VALUES (1)",
        "ALTER TABLE it.t RENAME COLUMN a TO x; INSERT INTO it.t VALUES (2, 20, 'two')",
        "ALTER TABLE it.t MODIFY COLUMN x BIGINT UNSIGNED, ADD COLUMN c DECIMAL(6,2) FIRST; \
         INSERT INTO it.t VALUES (3.50, 3, 18446744073709551615, 'three')",
        "ALTER TABLE it.t DROP COLUMN b; INSERT INTO it.t VALUES (4.25, 4, 40); INSERT INTO it.same VALUES (2)",
    ] {
        db.sql(sql).unwrap();
        between();
    }
}

fn shapes() -> Vec<Value> {
    vec![
        json!({"id": 1, "a": 10, "b": "one"}),
        json!({"id": 2, "x": 20, "b": "two"}),
        json!({"id": 3, "x": 18_446_744_073_709_551_615_u64, "b": "three", "c": 3.5}),
        json!({"id": 4, "x": 40, "c": 4.25}),
    ]
}

/// `data` of the rows of a table.
fn rows_of(lines: &[String], table: &str) -> Vec<Value> {
    let messages = lines.iter().map(|l| serde_json::from_str::<Value>(l).unwrap());
    messages.filter(|m| m["table"] == table && m.get("data").is_some()).map(|m| m["data"].clone()).collect()
}

#[test]
fn old_positions_have_the_old_columns() {
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it").unwrap();
    let (from, url) = (log_end(&mysql), mysql.url());
    four_shapes(&mysql, || ());
    mysql.sql("RENAME TABLE it.t TO it.gone; DROP TABLE it.gone").unwrap();
    for start in [from.as_str(), "earliest"] {
        let rows = lines(&["tail", "--source", &url, "--tables", "it.*", "--from", start, "--until", "now"]);
        assert_eq!(rows_of(&rows, "t"), shapes());
    }
}

#[test]
fn old_positions_without_metadata_and_history_stop_the_table_and_say_so() {
    let mysql = MySql::with("9.7", &[MINIMAL]).unwrap();
    mysql.sql("CREATE DATABASE it").unwrap();
    let (from, url) = (log_end(&mysql), mysql.url());
    let last = std::cell::RefCell::new(Vec::new());
    four_shapes(&mysql, || last.borrow_mut().push(log_end(&mysql)));
    let ends = last.into_inner();
    let tail = |from: &str, code: i32| {
        let run = binlake(&["tail", "--source", &url, "--tables", "it.*", "--from", from, "--until", "now"]);
        assert_eq!(run.code, code, "{}", run.stderr);
        (run.stdout.lines().map(str::to_owned).collect::<Vec<_>>(), run.stderr)
    };
    for from in [from.as_str(), "earliest"] {
        let (rows, said) = tail(from, 7);
        assert_eq!(rows_of(&rows, "t"), Vec::<Value>::new(), "no row with columns that are a guess");
        assert_eq!(rows_of(&rows, "same"), [json!({"id": 1}), json!({"id": 2})]);
        for part in ["it.t", "is not known", "changed since", "binlog_row_metadata=FULL"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    // Behind the last change all is known.
    let (rows, said) = tail(&ends[2], 0);
    assert_eq!((rows_of(&rows, "t"), said.contains("it.t")), (shapes()[3..].to_vec(), false), "{said}");
}

#[test]
fn old_positions_with_a_stored_history_have_the_old_columns() {
    let mysql = MySql::with("9.7", &[MINIMAL]).unwrap();
    mysql.sql("CREATE DATABASE it").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let args = args(&mysql, &dir);
    let topic = topic_of(mysql.port());
    let mut up = start(&args);
    mysql.sql("CREATE TABLE it.first (id BIGINT PRIMARY KEY); INSERT INTO it.first VALUES (1)").unwrap();
    up.wait_settled(&mysql);
    up.stop();
    let state = dir.path().join("coordination").join(format!("{topic}.state"));
    let old = std::fs::read(&state).unwrap();
    up = start(&args);
    four_shapes(&mysql, || up.wait_settled(&mysql));
    mysql.sql("RENAME TABLE it.t TO it.gone; DROP TABLE it.gone").unwrap();
    up.wait_settled(&mysql);
    up.stop();
    assert_eq!(rows_of(&read_raw(dir.path(), &topic), "t"), shapes());
    // Back to the old checkpoint; the table is gone, but what it looked like is stored.
    std::fs::write(&state, &old).unwrap();
    up = start(&args);
    up.wait_settled(&mysql);
    assert_no_quarantine(&up);
    up.stop();
    assert_eq!(rows_of(&read_raw(dir.path(), &topic), "t"), [shapes(), shapes()].concat());
}

#[test]
fn what_cannot_be_known_stops_that_table_alone() {
    let mysql = MySql::with("9.7", &[MINIMAL]).unwrap();
    mysql.sql("CREATE DATABASE it").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut args = args(&mysql, &dir);
    args[3] = "it.*,it2.*".into();
    let mut up = start(&args);
    mysql.sql("CREATE TABLE it.twice (id BIGINT PRIMARY KEY, a INT); INSERT INTO it.twice VALUES (1, 1)").unwrap();
    mysql.sql("CREATE TABLE it.same (id BIGINT PRIMARY KEY); CREATE DATABASE unrelated; CREATE DATABASE it2").unwrap();
    mysql.sql("CREATE TABLE it2.t (id BIGINT PRIMARY KEY)").unwrap();
    up.wait_settled(&mysql);
    up.stop();
    // The shape between the two changes was never seen by anybody.
    mysql
        .sql(
            "INSERT INTO it.twice VALUES (2, 2); ALTER TABLE it.twice RENAME COLUMN a TO b; INSERT INTO it.twice VALUES (3, 3); \
             ALTER TABLE it.twice RENAME COLUMN b TO c; INSERT INTO it.twice VALUES (4, 4); INSERT INTO it.same VALUES (1); \
             CREATE VIEW it.v AS SELECT 1; CREATE USER somebody; DROP DATABASE unrelated; \
             CREATE TABLE it.made (id BIGINT PRIMARY KEY) AS SELECT 7 AS id",
        )
        .unwrap();
    mysql
        .sql(
            "SET SESSION binlog_transaction_compression = ON; \
             CREATE TABLE it.packed (id BIGINT PRIMARY KEY) AS SELECT 8 AS id; INSERT INTO it.packed VALUES (9)",
        )
        .unwrap();
    // What is there already is left as it is, and what was dropped with its database is not.
    mysql
        .sql(
            "CREATE TABLE IF NOT EXISTS it.same (other INT); INSERT INTO it.same VALUES (2); \
             CREATE TABLE IF NOT EXISTS it.same (other INT); INSERT INTO it.same VALUES (3); INSERT INTO it2.t VALUES (1); \
             DROP DATABASE it2; CREATE DATABASE it2; CREATE TABLE IF NOT EXISTS it2.t (other BIGINT PRIMARY KEY)",
        )
        .unwrap();
    up = start(&args);
    up.wait_settled(&mysql);
    let health = up.health();
    assert_eq!(health["quarantined"].as_array().unwrap().len(), 2, "{health:#}");
    assert_eq!(health["quarantined"][1]["name"], "it2.t", "{health:#}");
    assert_eq!(health["quarantined"][0]["name"], "it.twice", "{health:#}");
    let said = health["incidents"].to_string();
    assert!(said.contains("it.twice") && said.contains("changed since") && said.contains("=FULL"), "{said}");
    up.stop();
    let rows = read_local(dir.path(), &topic_of(mysql.port()));
    assert_eq!(rows_of(&rows, "twice"), [json!({"id": 1, "a": 1}), json!({"id": 2, "a": 2})]);
    assert_eq!(rows_of(&rows, "same"), [json!({"id": 1}), json!({"id": 2}), json!({"id": 3})]);
    assert_eq!(rows_of(&rows, "made"), [json!({"id": 7})]);
    assert_eq!(rows_of(&rows, "packed"), [json!({"id": 8}), json!({"id": 9})]);
}

#[test]
fn a_change_that_is_not_in_the_log_is_read_again() {
    let mysql = MySql::with("9.7", &[MINIMAL]).unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, a INT)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let args = args(&mysql, &dir);
    // What the server sets for sessions does not cut or bend the answers.
    mysql
        .sql(
            "SET GLOBAL sql_select_limit = 1; \
             SET GLOBAL sql_mode = CONCAT(@@GLOBAL.sql_mode, ',NO_BACKSLASH_ESCAPES'); \
             CREATE TABLE it.`\\` (id BIGINT PRIMARY KEY, a INT)",
        )
        .unwrap();
    let mut up = start(&args);
    mysql.sql("INSERT INTO it.t VALUES (1, 1); INSERT INTO it.`\\` VALUES (1, 1)").unwrap();
    up.wait_settled(&mysql);
    mysql
        .sql(
            "SET SESSION sql_log_bin = 0; ALTER TABLE it.t ADD COLUMN b VARCHAR(9); SET SESSION sql_log_bin = 1; \
              INSERT INTO it.t VALUES (2, 2, 'two')",
        )
        .unwrap();
    up.wait_settled(&mysql);
    assert_no_quarantine(&up);
    up.stop();
    let rows = read_local(dir.path(), &topic_of(mysql.port()));
    assert_eq!(rows_of(&rows, "t"), [json!({"id": 1, "a": 1}), json!({"id": 2, "a": 2, "b": "two"})]);
    assert_eq!(rows_of(&rows, "\\"), [json!({"id": 1, "a": 1})]);
}

#[test]
fn a_server_that_fails_for_a_while_is_asked_again() {
    let mariadb = MariaDb::with("10.11", &["--binlog-row-metadata=NO_LOG"]).unwrap();
    mariadb.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let args = args(&mariadb, &dir);
    let mut up = start(&args);
    // INFORMATION_SCHEMA needs temporary tables there.
    let (tmp, away) = (mariadb.dir().join("tmp"), mariadb.dir().join("away"));
    std::fs::rename(&tmp, &away).unwrap();
    mariadb.sql("INSERT INTO it.t VALUES (1)").unwrap();
    up.process.wait_stderr(SOON, |said| said.contains("it.t is asked for again")).unwrap();
    std::fs::rename(&away, &tmp).unwrap();
    up.wait_settled(&mariadb);
    assert_no_quarantine(&up);
    up.stop();
    assert_eq!(rows_of(&read_local(dir.path(), &topic_of(mariadb.port())), "t"), [json!({"id": 1})]);
}

/// Statements name tables in another case than the table maps, and in another character set.
#[test]
fn names_in_statements_are_those_of_the_rows() {
    let mysql = MySql::with("5.7.29", &["--lower-case-table-names=1"]).unwrap();
    mysql.sql("CREATE DATABASE it").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let args = args(&mysql, &dir);
    let mut up = start(&args);
    let bytes = |charset: &str, sql: &str, name: &[u8]| {
        let mut text = format!("SET NAMES {charset}; USE it; ").into_bytes();
        let (before, after) = sql.split_once('#').unwrap();
        text.extend([before.as_bytes(), name, after.as_bytes()].concat());
        let file = dir.path().join("statement.sql");
        std::fs::write(&file, text).unwrap();
        mysql.sql_file(&file).unwrap();
    };
    let sql = |sql: &str| mysql.sql(&format!("SET NAMES utf8mb4; USE it; {sql}")).unwrap();
    let swapped = "CHANGE a b VARCHAR(9), CHANGE b a VARCHAR(9)";
    let made = |names: [&str; 3]| {
        for name in names {
            sql(&format!(
                "CREATE TABLE {name} (id INT, a VARCHAR(9), b VARCHAR(9)); INSERT INTO {name} VALUES (1, 'a1', 'b1')"
            ));
        }
    };
    let both = |[t, latin, cyrillic]: [&str; 3]| {
        sql(&format!("ALTER TABLE IT.{} {swapped}", t.to_uppercase()));
        bytes("latin1", &format!("ALTER TABLE # {swapped}"), &latin.chars().map(|c| c as u8).collect::<Vec<_>>());
        let cp1251 = |c: char| if c < '\u{80}' { c as u8 } else { (c as u32 - 0x350) as u8 };
        bytes("cp1251", &format!("ALTER TABLE # {swapped}"), &cyrillic.chars().map(cp1251).collect::<Vec<_>>());
        for name in [t, latin, cyrillic] {
            sql(&format!("INSERT INTO {name} VALUES (2, 'b2', 'a2')"));
        }
    };
    let live = ["t", "té", "ток"];
    made(live);
    sql("CREATE TABLE shadow (id INT, x INT); INSERT INTO shadow VALUES (3, 3)");
    up.wait_settled(&mysql);
    both(live);
    up.wait_settled(&mysql);
    sql("RENAME TABLE It.T TO T_OLD, Shadow TO T; DROP TABLE t_old; INSERT INTO t VALUES (4, 4)");
    up.wait_settled(&mysql);
    assert_no_quarantine(&up);
    up.stop();
    // While nobody reads: what cannot be known is found out, and a new name is followed.
    let unseen = ["u", "ué", "кот"];
    made(unseen);
    both(unseen);
    sql(
        "CREATE TABLE v (id INT, x INT); INSERT INTO v VALUES (1, 1); RENAME TABLE V TO W; INSERT INTO w VALUES (2, 2)",
    );
    up = start(&args);
    up.wait_settled(&mysql);
    let health = up.health();
    let mut stopped: Vec<&str> =
        health["quarantined"].as_array().unwrap().iter().flat_map(|t| t["name"].as_str()).collect();
    stopped.sort_unstable();
    assert_eq!(stopped, ["it.u", "it.ué", "it.кот"], "{health:#}");
    up.stop();
    let messages = read_local(dir.path(), &topic_of(mysql.port()));
    let swap = [json!({"id": 1, "a": "a1", "b": "b1"}), json!({"id": 2, "b": "b2", "a": "a2"})];
    assert_eq!(rows_of(&messages, "t"), [&swap[..], &[json!({"id": 4, "x": 4})]].concat());
    assert_eq!([rows_of(&messages, "té"), rows_of(&messages, "ток")], [swap.clone(), swap]);
    assert_eq!(rows_of(&messages, "u"), Vec::<Value>::new());
    assert_eq!(
        [rows_of(&messages, "v"), rows_of(&messages, "w")].concat(),
        [json!({"id": 1, "x": 1}), json!({"id": 2, "x": 2})]
    );
}

/// An ALTER that the server logs when it begins and again when it is done, with rows of the table between the two, and one
/// that fails: the definition changes with the second event, and not at all.
fn altered_in_two_phases(metadata: &str, running: bool) {
    let db = MariaDb::with("10.11", &["--binlog-alter-two-phase=ON", metadata]).unwrap();
    db.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, a INT, pad VARCHAR(200))").unwrap();
    // Rows that make the ALTER last; they are not in the log.
    db.sql("SET SESSION sql_log_bin = 0; USE it; INSERT INTO t SELECT 1000000 + seq, seq, REPEAT('x', 150) FROM seq_1_to_150000")
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let args = args(&db, &dir);
    let mut up = start(&args);
    db.sql("INSERT INTO it.t (id, a) VALUES (1, 1)").unwrap();
    up.wait_settled(&db);
    if !running {
        up.stop();
    }
    let insert_while = |first: u64, alter: &str| {
        std::thread::scope(|scope| {
            let altering = scope.spawn(|| db.sql(alter).is_ok());
            let (mut session, mut id) = (db.session().unwrap(), first);
            while !altering.is_finished() {
                session.sql(&format!("INSERT INTO it.t (id) VALUES ({id})")).unwrap();
                id += 1;
            }
            (altering.join().unwrap(), id)
        })
    };
    let at = |what: &str| {
        let file = log_end(&db).split(':').next().unwrap().to_owned();
        let events = db.sql(&format!("SHOW BINLOG EVENTS IN '{file}'")).unwrap();
        events.lines().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what}"))
    };
    let (done, next) =
        insert_while(2, "ALTER TABLE it.t ADD COLUMN b INT DEFAULT 7, ADD KEY (pad), ALGORITHM=INPLACE, LOCK=NONE");
    assert!(done && at("COMMIT ALTER") - at("START ALTER") > 10, "no row came between start and end");
    db.sql(&format!("INSERT INTO it.t (id) VALUES ({next})")).unwrap();
    let (done, last) = insert_while(next + 1, "ALTER TABLE it.t ADD UNIQUE KEY (b), ALGORITHM=INPLACE, LOCK=NONE");
    assert!(!done && at("ROLLBACK ALTER") > at("COMMIT ALTER"));
    db.sql(&format!("INSERT INTO it.t (id) VALUES ({last})")).unwrap();
    if !running {
        up = start(&args);
    }
    up.wait_settled(&db);
    assert_no_quarantine(&up);
    up.stop();

    let lines = read_local(dir.path(), &topic_of(db.port()));
    let rows = rows_of(&lines, "t");
    let ids: Vec<u64> = rows.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=last).collect::<Vec<_>>());
    let first_new = rows.iter().position(|row| row.get("b").is_some()).unwrap();
    assert!(rows[..first_new].iter().all(|row| row.get("b").is_none() && row.get("a").is_some()));
    assert!(rows[first_new..].iter().all(|row| row["b"] == 7), "{:?}", &rows[first_new..]);
    // The statement is told once, where it took effect, and not where it failed.
    let message = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let ddl: Vec<usize> =
        lines.iter().map(message).enumerate().filter(|(_, m)| m["type"] == "table-alter").map(|(i, _)| i).collect();
    assert_eq!(ddl, [first_new], "{metadata}");
}

#[test]
fn an_alter_in_two_phases_counts_at_its_end() {
    for metadata in ["--binlog-row-metadata=NO_LOG", "--binlog-row-metadata=FULL"] {
        altered_in_two_phases(metadata, true);
    }
    altered_in_two_phases("--binlog-row-metadata=NO_LOG", false);
}
