//! What transactions may hold, and tables that the log does not describe.

use kit::{Database, MariaDb, MySql};
use serde_json::Value;

use crate::support::{Up, binlake, ids, lines, log_end, read_local, topic_of};

#[test]
fn contents_of_transactions_on_mysql() {
    // Without GTIDs, for with them a server refuses transactions with tables of several engines.
    let mysql = MySql::with("9.7", &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).unwrap();
    contents_of_transactions(&mysql, "SET SESSION binlog_transaction_compression = ON");
}

#[test]
fn contents_of_transactions_on_mariadb() {
    for version in ["10.11", "11.8"] {
        let compress = "SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10";
        contents_of_transactions(&MariaDb::with(version, &[]).unwrap(), compress);
    }
}

/// Rollbacks, savepoints, tables of two engines, compression and statements.
fn contents_of_transactions(db: &Database, compress: &str) {
    let from = log_end(db);
    db.sql(
        "CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(100)) ENGINE=InnoDB; \
         CREATE TABLE it.m (id BIGINT PRIMARY KEY) ENGINE=MyISAM",
    )
    .unwrap();
    db.sql(
        "START TRANSACTION; INSERT INTO it.t VALUES (1, ''); SAVEPOINT `a b`; INSERT INTO it.t VALUES (2, ''); \
         SAVEPOINT c; INSERT INTO it.t VALUES (3, ''); ROLLBACK TO SAVEPOINT `a b`; \
         INSERT INTO it.t VALUES (4, ''); COMMIT",
    )
    .unwrap();
    db.sql("START TRANSACTION; INSERT INTO it.t VALUES (5, ''); ROLLBACK").unwrap();
    // The row of MyISAM stays, and its rollback is in the log.
    db.sql(
        "START TRANSACTION; INSERT INTO it.m VALUES (6); INSERT INTO it.t VALUES (7, ''); SAVEPOINT s; \
         INSERT INTO it.m VALUES (8); INSERT INTO it.t VALUES (9, ''); ROLLBACK TO s; COMMIT",
    )
    .unwrap();
    // MariaDB compares names of savepoints by a collation, and logs them with the session's quotes.
    db.sql(
        "SET NAMES utf8mb4; SET sql_mode = 'ANSI_QUOTES'; START TRANSACTION; INSERT INTO it.t VALUES (18, ''); \
         SAVEPOINT \"É x\"; INSERT INTO it.t VALUES (19, ''); SAVEPOINT \"b x\"; INSERT INTO it.m VALUES (20); \
         INSERT INTO it.t VALUES (21, ''); ROLLBACK TO \"é x\"; INSERT INTO it.t VALUES (22, ''); COMMIT",
    )
    .unwrap();
    db.sql(&format!(
        "{compress}; START TRANSACTION; INSERT INTO it.t VALUES (10, 'z'); \
         UPDATE it.t SET id = 11, pad = REPEAT('z', 90) WHERE id = 10; DELETE FROM it.t WHERE id = 4; COMMIT"
    ))
    .unwrap();
    db.sql("TRUNCATE TABLE it.t; ALTER TABLE it.t ADD COLUMN more INT FIRST, DROP COLUMN pad").unwrap();
    db.sql("CREATE TABLE it.c AS SELECT 12 AS id UNION SELECT 13; INSERT INTO it.t VALUES (1, 14); DROP TABLE it.c")
        .unwrap();
    db.sql(
        "CREATE TEMPORARY TABLE it.tmp (id INT); INSERT INTO it.tmp VALUES (90); INSERT INTO it.m SELECT 15 FROM it.tmp; \
         DROP TEMPORARY TABLE it.tmp; START TRANSACTION; INSERT INTO it.t VALUES (1, 16); INSERT INTO it.m VALUES (17); ROLLBACK",
    )
    .unwrap();
    // Of no table, though the session is in this database.
    db.sql("USE it; CREATE USER a IDENTIFIED BY 'secret'; ALTER USER a IDENTIFIED BY 'secret2'; RENAME USER a TO b; DROP USER b")
        .unwrap();
    let url = db.url();
    let tail = ["tail", "--source", &url, "--tables", "it.*", "--from", &from, "--until", "now"];
    let rows = lines(&tail);
    assert_eq!(ids(&rows), [1, 4, 6, 8, 7, 20, 18, 22, 10, 11, 4, 12, 13, 14, 15, 17], "{rows:#?}");
    let types: Vec<Value> = rows.iter().map(|r| serde_json::from_str::<Value>(r).unwrap()["type"].clone()).collect();
    assert_eq!(types[8..12], ["insert", "update", "delete", "insert"]);
    let statements = lines(&[&tail[..], &["--events", "ddl"]].concat());
    let sql: Vec<String> = statements
        .iter()
        .map(|s| {
            serde_json::from_str::<Value>(s).unwrap()["sql"].as_str().unwrap().split(' ').next().unwrap().to_owned()
        })
        .collect();
    assert_eq!(sql, ["CREATE", "CREATE", "CREATE", "TRUNCATE", "ALTER", "CREATE", "DROP"], "{statements:#?}");
}

/// Rows without a key are logged whole also by MINIMAL; an invisible key of the server's own is one, and is in the row.
#[test]
fn tables_without_key_and_with_an_invisible_one_by_minimal_images() {
    let image = "--binlog-row-image=MINIMAL";
    let (mysql, mariadb) = (MySql::with("9.7", &[image]).unwrap(), MariaDb::with("11.8", &[image]).unwrap());
    let servers: [&Database; 2] = [&mysql, &mariadb];
    for db in servers {
        db.sql("CREATE DATABASE it; CREATE TABLE it.k (a INT, b VARCHAR(9)); INSERT INTO it.k VALUES (1, 'x'), (1, 'x'), (2, NULL)").unwrap();
        db.sql("UPDATE it.k SET b = 'y' WHERE a = 1 LIMIT 1; DELETE FROM it.k WHERE a = 2").unwrap();
        let rows = row_forms(&lines(&[
            "tail",
            "--source",
            &db.url(),
            "--tables",
            "it.k",
            "--from",
            "earliest",
            "--until",
            "now",
        ]));
        let update = rows[3].clone();
        assert_eq!(
            rows[0..3],
            [r#"insert {"a":1,"b":"x"}"#, r#"insert {"a":1,"b":"x"}"#, r#"insert {"a":2,"b":null}"#]
        );
        assert_eq!(update, r#"update {"a":1,"b":"y"} from {"b":"x"}"#);
        assert_eq!(rows[4..], [r#"delete {"a":2,"b":null}"#]);
    }
    mysql
        .sql(
            "SET SESSION sql_generate_invisible_primary_key = ON; CREATE TABLE it.g (a INT, b VARCHAR(9)); \
             INSERT INTO it.g VALUES (1, 'x'), (1, 'x'); UPDATE it.g SET b = 'y' WHERE my_row_id = 2; DELETE FROM it.g WHERE my_row_id = 1",
        )
        .unwrap();
    let rows = row_forms(&lines(&[
        "tail",
        "--source",
        &mysql.url(),
        "--tables",
        "it.g",
        "--from",
        "earliest",
        "--until",
        "now",
    ]));
    assert_eq!(
        rows,
        [
            r#"insert {"a":1,"b":"x","my_row_id":1}"#,
            r#"insert {"a":1,"b":"x","my_row_id":2}"#,
            r#"update {"b":"y","my_row_id":2}"#,
            r#"delete {"my_row_id":1}"#,
        ]
    );
}

/// Kind, `data` and `old` of each line.
fn row_forms(lines: &[String]) -> Vec<String> {
    let form = |line: &String| {
        let row: Value = serde_json::from_str(line).unwrap();
        let old = row.get("old").map(|old| format!(" from {old}")).unwrap_or_default();
        format!("{} {}{old}", row["type"].as_str().unwrap(), row["data"])
    };
    lines.iter().map(form).collect()
}

#[test]
fn a_large_transaction_passes_in_bounded_memory() {
    let mysql = MySql::start().unwrap();
    mysql
        .sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, pad VARCHAR(2000))")
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, data) = (mysql.url(), dir.path().to_str().unwrap());
    let mut up = Up::start(&["--source", &url, "--tables", "it.*", "--data-dir", data, "--format", "binlake"]);
    up.wait_streaming();
    let before = mysql.sql("SHOW BINARY LOGS").unwrap();
    mysql
        .sql(
            "USE it; SET SESSION cte_max_recursion_depth = 100000; INSERT INTO it.t (pad) WITH RECURSIVE n (i) AS \
               (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) SELECT RPAD(i, 1500, 'abcdefghij') FROM n",
        )
        .unwrap();
    let written = |text: &str| text.trim().split('\t').nth(1).unwrap().parse::<u64>().unwrap();
    assert!(written(&mysql.sql("SHOW BINARY LOGS").unwrap()) - written(&before) > 60_000_000);
    up.wait_settled(&mysql);
    let peak = up.process.proc_status("VmHWM").unwrap();
    up.stop();
    let kilobytes: u64 = peak.split(' ').next().unwrap().parse().unwrap();
    println!("peak memory {peak}");
    assert!(kilobytes <= 200_000, "{peak}");
    let rows = read_local(dir.path(), &topic_of(mysql.port()));
    assert_eq!(ids(&rows), (1..=40_000).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.len() > 1500));
}

#[test]
fn tables_that_the_log_does_not_describe() {
    let mysql = MySql::with("9.7", &["--binlog-row-metadata=MINIMAL"]).unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.a (id BIGINT PRIMARY KEY, price DECIMAL(8,2), u INT UNSIGNED, \
               kind ENUM('x','y')); CREATE TABLE it.gone (id BIGINT PRIMARY KEY); CREATE TABLE it.b (id BIGINT PRIMARY KEY)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, topic) = (mysql.url(), topic_of(mysql.port()));
    let args = ["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()];
    let data = |lines: &[String]| -> Vec<Value> {
        lines.iter().map(|l| serde_json::from_str::<Value>(l).unwrap()["data"].clone()).collect()
    };
    let mut up = Up::start(&args);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.a VALUES (1, 1.50, 4294967295, 'y')").unwrap();
    up.wait_settled(&mysql);
    // Written before and after a change, while nobody reads.
    up.stop();
    mysql
        .sql("INSERT INTO it.a VALUES (2, 2.50, 1, 'x'); INSERT INTO it.gone VALUES (3); INSERT INTO it.b VALUES (4)")
        .unwrap();
    mysql.sql("DROP TABLE it.gone").unwrap();
    let mut up = Up::start(&args);
    up.wait_settled(&mysql);
    let health = up.health();
    assert_eq!(health["quarantined"][0]["name"], "it.gone", "{health:#}");
    let (table, reason) = (&health["quarantined"][0], health["quarantined"][0]["reason"].clone());
    assert!(table["todo"].as_str().unwrap().contains("--tables 'it.gone'"), "{health:#}");
    let incident = health["incidents"].to_string();
    assert!(
        incident.contains("it.gone") && incident.contains("dropped since") && incident.contains("binlog_row_metadata"),
        "{incident}"
    );
    let wanted =
        |n: u64, price: f64, u: u64, kind: &str| serde_json::json!({"id": n, "price": price, "u": u, "kind": kind});
    let expected = vec![wanted(1, 1.5, 4_294_967_295, "y"), wanted(2, 2.5, 1, "x"), serde_json::json!({"id": 4})];
    assert_eq!(data(&read_local(dir.path(), &topic)), expected);
    // A change that is read as it happens.
    mysql.sql("ALTER TABLE it.a ADD COLUMN note VARCHAR(10) AFTER id").unwrap();
    mysql.sql("INSERT INTO it.a VALUES (5, 'ü', 5.5, 5, 'x'); INSERT INTO it.b VALUES (6)").unwrap();
    up.wait_settled(&mysql);
    up.stop();
    let mut up = Up::start(&args);
    mysql.sql("INSERT INTO it.a VALUES (7, 'n', 7.5, 7, 'y')").unwrap();
    up.wait_settled(&mysql);
    let again = up.health();
    assert_eq!(again["quarantined"].as_array().unwrap().len(), 1, "it stays so over restarts: {again:#}");
    assert_eq!(again["quarantined"][0]["reason"], reason, "{again:#}");
    up.stop();
    let rows = data(&read_local(dir.path(), &topic));
    assert_eq!(rows[3], serde_json::json!({"id": 5, "note": "ü", "price": 5.5, "u": 5, "kind": "x"}));
    assert_eq!(
        rows[4..],
        [serde_json::json!({"id": 6}), serde_json::json!({"id": 7, "note": "n", "price": 7.5, "u": 7, "kind": "y"})]
    );
}

/// A session that logs statements leaves rows out: the log line, the metric, the status page and health say of which table,
/// where, and what next. The table goes on: what a statement names need not be what it changed.
#[test]
fn changes_logged_as_statements_are_told_by_table() {
    let mysql = MySql::start().unwrap();
    mysql
        .sql(
            "CREATE DATABASE it; USE it; CREATE TABLE t (id BIGINT PRIMARY KEY, v INT); CREATE TABLE log (id BIGINT); \
             CREATE VIEW v AS SELECT * FROM t; \
             CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW INSERT INTO log VALUES (NEW.id)",
        )
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, topic) = (mysql.url(), topic_of(mysql.port()));
    let args = ["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()];
    let mut up = Up::start(&args);
    up.wait_streaming();
    let statements: String = (3..15).map(|id| format!("; INSERT INTO v VALUES ({id}, 0)")).collect();
    mysql
        .sql(&format!(
            "INSERT INTO it.t VALUES (1, 1); USE it; SET SESSION binlog_format = STATEMENT; INSERT INTO t VALUES (2, 31337) \
             {statements}; UPDATE t SET v = 5 WHERE id = 99; SET SESSION binlog_format = ROW; UPDATE t SET v = 2 WHERE id = 1"
        ))
        .unwrap();
    up.wait_settled(&mysql);
    up.wait_health(|h| h["as_statements"].as_array().is_some_and(|list| list.len() == 2));
    let (code, body) = up.get("/healthz");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 503, "{health:#}");
    let problems = health["problems"].to_string();
    for part in
        ["rows are missing of it.t: 2 change(s)", "rows are missing of it.v: 12 change(s)", "binlog_format = 'ROW'"]
    {
        assert!(problems.contains(part), "no {part:?} in {problems}");
    }
    assert!(up.get("/").1.contains("rows missing of"));
    // Three times: of each name the first, and the tenth of the view.
    assert!(up.get("/metrics").1.lines().any(|l| l.contains("code=\"statement_format\"") && l.ends_with(" 3")));
    let said = up.process.stderr();
    assert!(said.contains("INSERT on it.t was logged as a statement") && said.contains("number 10 on it"), "{said}");
    assert!(!said.contains("31337"), "no data of the statement");
    // What ends says so at its end, where they were asked for.
    let whole = ["tail", "--source", &url, "--from", "earliest", "--until", "now", "--tables"];
    let of = |tables: &'static str| binlake(&[&whole[..], &[tables]].concat());
    let missing = of("it.*");
    assert_eq!(missing.code, 7, "{}", missing.stderr);
    assert!(missing.stderr.contains("rows that were asked for are missing, of it.t, it.v\n"), "{}", missing.stderr);
    assert_eq!(of("it.log").code, 0);
    // The way to see the statement works.
    let way = said.split("SHOW BINLOG EVENTS").nth(1).unwrap().split(';').next().unwrap();
    let events = mysql.sql(&format!("SHOW BINLOG EVENTS{way}")).unwrap();
    assert!(events.contains("INSERT INTO t VALUES (2, 31337)"), "{way}: {events}");
    assert_eq!(up.get("/readyz").0, 200);
    up.stop();
    let rows = read_local(dir.path(), &topic);
    assert_eq!(rows.len(), 3, "the insert, its trigger's row, the update: {rows:?}");
}

/// A file gives a source several feeds: each topic has its own tables, columns and format.
#[test]
fn several_feeds_from_a_file() {
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.a (id INT PRIMARY KEY, v INT, w INT)").unwrap();
    mysql.sql("CREATE TABLE it.b (id INT PRIMARY KEY)").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("up.toml"), folder.path().join("data"));
    let text = format!(
        "[up]\ndata_dir = \"{}\"\n[local]\nretention_age = \"1h\"\n[[source]]\nurl = \"{}\"\nname = \"shop\"\n\
         [[source.feed]]\ntopic = \"narrow\"\ntables = \"it.a\"\ncolumns = [\"it.a:id,w\"]\nevents = \"insert\"\n\
         [[source.feed]]\ntopic = \"all\"\ntables = \"it.*\"\npartitions = 3\nformat = \"binlake\"\n",
        data.display(),
        mysql.url()
    );
    std::fs::write(&file, &text).unwrap();
    let mut up = Up::start(&["--config", file.to_str().unwrap()]);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.a VALUES (1, 2, 3); INSERT INTO it.b VALUES (4); UPDATE it.a SET v = 5").unwrap();
    up.wait_settled(&mysql);
    // A column that one feed wants is gone: it stops, the other goes on, and a mended rule goes on where it stopped.
    mysql.sql("ALTER TABLE it.a DROP COLUMN w; INSERT INTO it.a VALUES (2, 6)").unwrap();
    let stopped = |h: &Value| h["parked"][0]["reason"].as_str().is_some_and(|r| r.contains("`w`: table it.a has no"));
    up.wait_health(stopped);
    up.wait_settled(&mysql);
    up.stop();
    assert_eq!(read_local(&data, "all").len(), 4);
    std::fs::write(&file, text.replace("it.a:id,w", "it.a:id")).unwrap();
    let mut up = Up::start(&["--config", file.to_str().unwrap()]);
    up.wait_streaming();
    up.wait_health(|h| h["parked"] == serde_json::json!([]) && h["state"] == "streaming");
    up.wait_settled(&mysql);
    up.stop();
    let narrow = read_local(&data, "narrow");
    assert_eq!(narrow.len(), 2, "{narrow:?}");
    assert!(narrow[0].contains(r#""data":{"id":1,"w":3}"#), "{narrow:?}");
    assert!(narrow[1].contains(r#""data":{"id":2}"#), "{narrow:?}");
    let all = read_local(&data, "all");
    assert_eq!(all.len(), 4, "{all:?}");
    let partitions =
        std::fs::read_dir(data.join("topics/all")).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir());
    assert_eq!(partitions.count(), 3);
}

/// An update of the key becomes delete and insert only where the log holds the whole row: an insert without the
/// columns that the log leaves out would pass for one.
#[test]
fn key_updates_with_partial_row_images() {
    let mysql = MySql::with("9.7", &["--binlog-row-image=MINIMAL"]).unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (a INT, b INT, v INT, PRIMARY KEY (a, b))").unwrap();
    mysql.sql("CREATE TABLE it.k (a INT, b INT, PRIMARY KEY (a, b))").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(&["--source", &mysql.url(), "--data-dir", folder.path().to_str().unwrap(), "--topic", "t"]);
    up.wait_streaming();
    mysql
        .sql(
            "INSERT INTO it.t VALUES (1, 1, 7); UPDATE it.t SET b = 2; \
             INSERT INTO it.k VALUES (1, 1); UPDATE it.k SET b = 2; \
             SET binlog_row_image = NOBLOB; UPDATE it.t SET b = 3",
        )
        .unwrap();
    up.wait_settled(&mysql);
    up.stop();
    let told: Vec<(String, String, String)> = read_local(folder.path(), "t")
        .iter()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| row[name].as_str().unwrap().to_string();
            (text("table"), text("type"), row["data"].to_string())
        })
        .collect();
    let told: Vec<(&str, &str, &str)> = told.iter().map(|(t, k, d)| (t.as_str(), k.as_str(), d.as_str())).collect();
    assert_eq!(told.len(), 7, "{told:#?}");
    assert_eq!(told[0], ("t", "insert", r#"{"a":1,"b":1,"v":7}"#));
    assert_eq!((told[1].0, told[1].1), ("t", "update"), "v is not in the log: {told:#?}");
    assert_eq!(told[2], ("k", "insert", r#"{"a":1,"b":1}"#));
    assert_eq!(told[3], ("k", "delete", r#"{"a":1,"b":1}"#));
    assert_eq!(told[4], ("k", "insert", r#"{"a":1,"b":2}"#), "the key that did not change is filled in");
    assert_eq!(told[5], ("t", "delete", r#"{"a":1,"b":2,"v":7}"#));
    assert_eq!(told[6], ("t", "insert", r#"{"a":1,"b":3,"v":7}"#));
}
