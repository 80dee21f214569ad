//! `check` against real servers: a fit one passes, and every fault is found under its code.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use binlake_wave::check::{CheckOptions, Finding, Severity, inspect, run};
use binlake_wave::source::{Identity, Source};
use kit::{Database, MariaDb, MySql, wait_until};
use mysql_wire::{ReplicaRequest, StartPosition};
use watch::blocking::{Batches, Client};

use Severity::{Fatal, Ok as Fine, Warning};

fn options(url: &str, tables: &str, from: Option<&str>) -> CheckOptions {
    CheckOptions {
        source: Some(url.to_string()),
        tables: tables.to_string(),
        from: from.map(str::to_string),
        ..CheckOptions::default()
    }
}

/// The findings of `repl`, the account with the usual rights.
fn check(database: &Database, tables: &str, from: Option<&str>) -> Vec<Finding> {
    inspect(&options(&database.url_of("repl", "repl"), tables, from)).unwrap().1
}

fn finding(findings: &[Finding], code: &str) -> Finding {
    let found = findings.iter().find(|f| f.code == code);
    found.unwrap_or_else(|| panic!("no {code} in {findings:#?}")).clone()
}

/// That the check has this result; what was found.
fn expect(findings: &[Finding], code: &str, severity: Severity) -> Finding {
    let found = finding(findings, code);
    assert_eq!(found.severity, severity, "{found:#?}");
    if severity != Fine {
        assert!(!found.wanted.is_empty() && !found.why.is_empty(), "{found:#?}");
    }
    found
}

fn codes(findings: &[Finding], severity: Severity) -> Vec<&'static str> {
    findings.iter().filter(|f| f.severity == severity).map(|f| f.code).collect()
}

/// The statements of a fix, as an administrator would run them.
fn apply(database: &Database, finding: &Finding) {
    database.sql(finding.fix.as_ref().unwrap()).unwrap();
}

/// A reader with the identity that `binlake up` in this folder would use.
fn twin(database: &Database) -> Batches {
    let source = Source::new(&database.url_of("repl", "repl"), None).unwrap();
    let scope = std::env::current_dir().unwrap().canonicalize().unwrap().join("binlake-data");
    let identity = Identity::stable(&scope.to_string_lossy(), &source.default_name());
    let client = Client::connect(&source.endpoint(), source.options.clone(), Duration::from_secs(10)).unwrap();
    let request = ReplicaRequest {
        server_id: identity.server_id,
        uuid: identity.uuid,
        heartbeat: Duration::from_secs(1),
        from: StartPosition::File { file: "binlog.000001".into(), pos: 4 },
        stop_at_end: false,
    };
    let mut batches = client.dump_batches(request).unwrap();
    batches.next().unwrap().unwrap();
    batches
}

const SHOP: &str = "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)";

#[test]
fn mysql() {
    let db = MySql::with("9.7", &["--sync-binlog=1", "--performance-schema=ON"]).unwrap();
    db.sql(SHOP).unwrap();

    let fit = check(&db, "shop.*", Some("earliest"));
    assert_eq!(codes(&fit, Fatal), [""; 0], "{fit:#?}");
    assert_eq!(codes(&fit, Warning), [""; 0], "{fit:#?}");
    for code in ["reach", "version", "log_bin", "binlog_format", "gtid", "server_id", "rights", "start_position"] {
        expect(&fit, code, Fine);
    }
    assert_eq!(expect(&fit, "tables", Fine).found, "1 tables are matched");
    let retention = expect(&fit, "retention", Fine).found;
    assert!(retention.contains("kept 30 days") && retention.contains("the start stays for 30 days"), "{retention}");
    run(&options(&db.url_of("repl", "repl"), "", None)).unwrap();

    settings_of_mysql(&db);
    rights(&db, "REPLICATION CLIENT");
    tables(&db);
    // This version carries cascades out in the SQL layer, unless told otherwise.
    db.sql(CASCADE).unwrap();
    expect(&check(&db, "shop.*", None), "foreign_key_cascade", Fine);

    expect(&check(&db, "shop.*", None), "server_id", Fine);
    let reader = twin(&db);
    expect(&check(&db, "shop.*", None), "duplicate_server_id", Fatal);
    drop(reader);

    let uuid = db.sql("SELECT @@server_uuid").unwrap().trim().to_string();
    let executed: u64 =
        db.sql("SELECT @@gtid_executed").unwrap().trim().rsplit(['-', ':']).next().unwrap().parse().unwrap();
    db.sql("FLUSH BINARY LOGS").unwrap();
    let logs = db.sql("SHOW BINARY LOGS").unwrap();
    let last = logs.lines().last().unwrap().split('\t').next().unwrap();
    db.sql(&format!("PURGE BINARY LOGS TO '{last}'")).unwrap();
    let start = |from: &str, severity| expect(&check(&db, "shop.*", Some(from)), "start_position", severity).found;
    let gone = format!("there is no binlog.000001 (any more), but {last} to {last}");
    assert_eq!(start("binlog.000001:4", Fatal), gone);
    assert!(start(&format!("{last}:99999999"), Fatal).contains("before 99999999"));
    start(&format!("{last}:4"), Fine);
    let missing = start(&format!("gtid:{uuid}:1-3"), Fatal);
    let purged: u64 = db.sql("SELECT @@gtid_purged").unwrap().trim().rsplit('-').next().unwrap().parse().unwrap();
    assert_eq!(missing, format!("purged and not in the wanted set: {uuid}:4-{purged}"));
    assert_eq!(
        start(&format!("gtid:{uuid}:1-{}", executed + 9), Fatal),
        format!("this server never had {uuid}:{}-{}", executed + 1, executed + 9)
    );
    start(&format!("gtid:{uuid}:1-{executed}"), Fine);
    start("gtid:0-1-5", Fatal);
    start("time:2020-01-01T00:00:00Z", Fatal);

    db.restart_with(&["--skip-log-bin", "--innodb-native-foreign-keys=ON"]).unwrap();
    let off = check(&db, "shop.*", Some("binlog.000001:4"));
    assert_eq!(codes(&off, Fatal), ["log_bin"]);
    assert!(expect(&off, "foreign_key_cascade", Warning).found.contains("shop.child"));
    unreachable(&db);
}

const CASCADE: &str = "CREATE TABLE shop.child (id INT PRIMARY KEY, t INT, \
                       FOREIGN KEY (t) REFERENCES shop.t (id) ON DELETE CASCADE) ENGINE = InnoDB";

fn settings_of_mysql(db: &MySql) {
    let mut session = db.session().unwrap();
    session.sql("SET SESSION binlog_format = 'MIXED'").unwrap();
    // The table of sessions' variables is not for everybody.
    let seen = inspect(&options(&db.url(), "shop.*", None)).unwrap().1;
    assert_eq!(expect(&seen, "binlog_format_sessions", Warning).found, "MIXED in 1 sessions");
    drop(session);

    db.sql(
        "SET GLOBAL binlog_format = 'STATEMENT'; SET GLOBAL binlog_row_image = 'MINIMAL'; \
         SET GLOBAL binlog_row_metadata = 'MINIMAL'; SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON'; \
         SET GLOBAL binlog_checksum = 'NONE'; SET GLOBAL sync_binlog = 0; SET GLOBAL binlog_expire_logs_seconds = 3600; \
         SET GLOBAL max_connections = 10; SET GLOBAL binlog_transaction_compression = ON; \
         SET GLOBAL gtid_mode = ON_PERMISSIVE",
    )
    .unwrap();
    let unfit = check(db, "shop.*", None);
    assert_eq!(expect(&unfit, "binlog_format", Fatal).found, "STATEMENT");
    let wrong = [
        "binlog_row_image",
        "binlog_row_metadata",
        "binlog_row_value_options",
        "binlog_checksum",
        "sync_binlog",
        "gtid",
        "retention",
        "connections",
    ];
    assert_eq!(codes(&unfit, Fatal), ["binlog_format"]);
    assert_eq!(codes(&unfit, Warning), wrong);
    assert_eq!(unfit[0].code, "binlog_format", "worst first");
    expect(&unfit, "binlog_compression", Fine);
    let exit = run(&options(&db.url_of("repl", "repl"), "", None)).unwrap_err();
    assert_eq!((exit.code, exit.message.ends_with("1 check is fatal")), (7, true), "{exit}");

    // What is advised works, and is enough.
    for code in ["binlog_format"].into_iter().chain(wrong).filter(|c| *c != "gtid") {
        apply(db, &finding(&unfit, code));
    }
    db.sql("SET GLOBAL gtid_mode = ON").unwrap();
    let mended = check(db, "shop.*", None);
    assert_eq!(codes(&mended, Fatal).len() + codes(&mended, Warning).len(), 0, "{mended:#?}");
}

/// Accounts with too little and too much; `client` is the right that the server names for reading positions.
fn rights(db: &Database, client: &str) {
    db.sql("CREATE USER poor@'%' IDENTIFIED BY 'hunter2'").unwrap();
    let url = db.url_of("poor", "hunter2");
    let (name, poor) = inspect(&options(&url, "shop.*", Some("earliest"))).unwrap();
    let lacking: Vec<&Finding> = poor.iter().filter(|f| f.severity == Fatal).collect();
    assert_eq!(lacking.iter().map(|f| f.code).collect::<Vec<_>>(), ["rights", "rights"]);
    assert_eq!(lacking[1].found, format!("'poor'@'%' lacks {client}"));
    expect(&poor, "tables", Warning);
    let text = format!("{name} {}", serde_json::to_string(&poor).unwrap());
    assert!(!text.contains("hunter2") && !text.contains("PASSWORD"), "{text}");

    for fix in lacking {
        apply(db, fix);
    }
    expect(&inspect(&options(&url, "shop.*", None)).unwrap().1, "rights", Fine);

    let rich = inspect(&options(&db.url(), "shop.*", None)).unwrap().1;
    let excess = expect(&rich, "rights_excess", Warning);
    assert!(excess.found.contains("SUPER") || excess.found.contains("ALL PRIVILEGES"), "{excess:?}");
    apply(db, &excess);
    assert_eq!(codes(&rich, Fatal), [""; 0]);
}

fn tables(db: &Database) {
    expect(&check(db, "nothing.*", None), "tables", Warning);
    db.sql("CREATE TABLE shop.`no``key` (v INT); CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE = MyISAM").unwrap();
    let findings = check(db, "shop.*", None);
    let keys = expect(&findings, "primary_key", Warning);
    assert_eq!(keys.found, "1 tables without: shop.no`key");
    let engine = expect(&findings, "engine", Warning);
    assert_eq!(engine.found, "1 tables not transactional: shop.old (MyISAM)");
    expect(&check(db, "shop.t", None), "primary_key", Fine);
    apply(db, &keys);
    apply(db, &engine);
    let mended = check(db, "shop.*", None);
    expect(&mended, "primary_key", Fine);
    expect(&mended, "engine", Fine);
}

/// A server that cannot be asked is no finding but an end of its own.
fn unreachable(db: &Database) {
    let code = |options: &CheckOptions| run(options).unwrap_err().code;
    let denied = CheckOptions { json: true, ..options(&db.url_of("repl", "wrong-one"), "", None) };
    assert_eq!(code(&denied), 4);
    assert!(!inspect(&denied).unwrap_err().to_string().contains("wrong-one"));
    db.kill().unwrap();
    assert_eq!(code(&options(&db.url_of("repl", "repl"), "", None)), 6);
    assert_eq!(code(&CheckOptions::default()), 2);
    assert_eq!(code(&options("mysql://u:p@127.0.0.1/", "", Some("yesterday"))), 2);
}

#[test]
fn mariadb() {
    let db = MariaDb::with("10.11", &["--sync-binlog=1", "--expire-logs-days=10"]).unwrap();
    db.sql(SHOP).unwrap();
    let fit = check(&db, "shop.*", Some("earliest"));
    assert_eq!(codes(&fit, Fatal), [""; 0], "{fit:#?}");
    assert_eq!(codes(&fit, Warning), [""; 0], "{fit:#?}");
    assert!(expect(&fit, "retention", Fine).found.contains("kept 10 days"));
    expect(&fit, "gtid", Fine);

    rights(&db, "BINLOG MONITOR");
    tables(&db);
    db.sql(CASCADE).unwrap();
    assert!(expect(&check(&db, "shop.*", None), "foreign_key_cascade", Warning).found.contains("shop.child"));

    // Only an account with REPLICATION MASTER ADMIN sees the others.
    let reader = twin(&db);
    expect(&inspect(&options(&db.url(), "shop.*", None)).unwrap().1, "duplicate_server_id", Fatal);
    assert!(expect(&check(&db, "shop.*", None), "server_id", Fine).found.contains("not visible"));
    drop(reader);

    db.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS").unwrap();
    // The server keeps, without an error, what a reader that has just gone seems still to need.
    let purged = || {
        db.sql("PURGE BINARY LOGS TO 'binlog.000003'").unwrap();
        db.sql("SHOW BINARY LOGS").unwrap().starts_with("binlog.000003")
    };
    assert!(wait_until(Duration::from_secs(30), purged));
    let end = db.sql("SELECT @@gtid_binlog_pos").unwrap().trim().to_string();
    let (server, last) = end.strip_prefix("0-").unwrap().split_once('-').unwrap();
    let start = |from: &str, severity| expect(&check(&db, "shop.*", Some(from)), "start_position", severity).found;
    let gap = start(&format!("gtid:0-{server}-2"), Fatal);
    assert_eq!(gap, format!("purged and not in the wanted set: domain 0 sequences 3 to {last}"));
    start(&format!("gtid:{end}"), Fine);
    assert_eq!(start(&format!("gtid:0-{server}-9999"), Fatal), format!("this server never had 0-{server}-9999"));
    start("binlog.000001:4", Fatal);

    db.restart_with(&[
        "--log-slave-updates=OFF",
        "--binlog-do-db=shop",
        "--binlog-format=MIXED",
        "--binlog-row-metadata=MINIMAL",
    ])
    .unwrap();
    db.sql("CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_USER = 'none'").unwrap();
    let unfit = inspect(&options(&db.url(), "shop.*", None)).unwrap().1;
    assert_eq!(expect(&unfit, "binlog_format", Fatal).found, "MIXED");
    expect(&unfit, "replica", Fatal);
    assert_eq!(expect(&unfit, "replica_delay", Warning).found, "replication is not running");
    assert_eq!(expect(&unfit, "binlog_filters", Warning).found, "binlog_do_db=shop");
    expect(&unfit, "binlog_row_metadata", Warning);
    expect(&check(&db, "shop.*", None), "replica", Warning);
}
