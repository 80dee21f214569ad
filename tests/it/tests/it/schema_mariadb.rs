//! MariaDB changes tables by statements of its own words: what the log says of them counts all the same.

use kit::MariaDb;
use serde_json::{Value, json};

use crate::support::{Up, read_local, topic_of};

/// `data` of the inserted rows of a table.
fn rows_of(lines: &[String], table: &str) -> Vec<Value> {
    let messages = lines.iter().map(|l| serde_json::from_str::<Value>(l).unwrap());
    messages.filter(|m| m["table"] == table && m["type"] == "insert").map(|m| m["data"].clone()).collect()
}

/// The log tells no sign: a table map of the new table is byte for byte that of the old one.
#[test]
fn sequences_and_partitions_are_tables() {
    let db = MariaDb::with("11.8", &["--binlog-row-metadata=NO_LOG"]).unwrap();
    db.sql("CREATE DATABASE it").unwrap();
    let (url, dir) = (db.url(), tempfile::tempdir().unwrap());
    let data = dir.path().to_str().unwrap();
    let mut up = Up::start(&["--source", &url, "--tables", "it.*", "--events", "insert,ddl", "--data-dir", data]);
    up.wait_streaming();
    let steps = [
        "CREATE SEQUENCE s NOCACHE; SELECT NEXTVAL(s)",
        "DROP SEQUENCE s; CREATE SEQUENCE s AS BIGINT UNSIGNED START WITH 18446744073709551000 NOCACHE; SELECT NEXTVAL(s)",
        "CREATE TABLE parts (a INT) PARTITION BY RANGE (a) \
           (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (4294967295)); \
         CREATE TABLE one (a INT); INSERT INTO one VALUES (-1)",
        "DELETE FROM one; ALTER TABLE parts CONVERT TABLE one TO PARTITION p2 VALUES LESS THAN MAXVALUE WITHOUT VALIDATION",
        "ALTER TABLE parts REMOVE PARTITIONING",
        "ALTER TABLE parts MODIFY a INT UNSIGNED",
        "ALTER TABLE parts PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE); \
         ALTER TABLE parts CONVERT PARTITION p1 TO TABLE one; INSERT INTO one VALUES (4294967295)",
    ];
    for step in steps {
        db.sql(&format!("USE it; {step}")).unwrap();
        up.wait_settled(&db);
    }
    assert_eq!(up.health()["quarantined"], json!([]));
    up.stop();
    let lines = read_local(dir.path(), &topic_of(db.port()));
    let starts: Vec<Value> = rows_of(&lines, "s").iter().map(|row| row["start_value"].clone()).collect();
    assert_eq!(starts, [json!(1), json!(18_446_744_073_709_551_000_u64)]);
    assert_eq!(rows_of(&lines, "one"), [json!({"a": -1}), json!({"a": 4_294_967_295_u32})]);
}

/// The events between BEGIN and COMMIT do not tell their places there: statement and rows seem to be at one.
#[test]
fn a_table_made_of_a_query_is_known_by_its_statement() {
    let db = MariaDb::with("11.8", &["--binlog-row-metadata=NO_LOG"]).unwrap();
    db.sql("CREATE DATABASE it").unwrap();
    let (url, dir) = (db.url(), tempfile::tempdir().unwrap());
    let data = dir.path().to_str().unwrap();
    let args = ["--source", &url, "--tables", "it.*", "--data-dir", data];
    let mut up = Up::start(&args);
    up.wait_streaming();
    db.sql("USE it; CREATE TABLE made (a INT) AS SELECT 1 AS a; INSERT INTO made VALUES (2)").unwrap();
    up.wait_settled(&db);
    db.sql("USE it; CREATE OR REPLACE TABLE made (b INT) AS SELECT 3 AS b; INSERT INTO made VALUES (4)").unwrap();
    up.wait_settled(&db);
    up.stop();
    db.sql("USE it; CREATE TABLE unseen (c INT) AS SELECT 5 AS c; INSERT INTO unseen VALUES (6)").unwrap();
    let mut up = Up::start(&args);
    up.wait_settled(&db);
    assert_eq!(up.health()["quarantined"], json!([]));
    up.stop();
    let lines = read_local(dir.path(), &topic_of(db.port()));
    assert_eq!(rows_of(&lines, "made"), [json!({"a": 1}), json!({"a": 2}), json!({"b": 3}), json!({"b": 4})]);
    assert_eq!(rows_of(&lines, "unseen"), [json!({"c": 5}), json!({"c": 6})]);
}
