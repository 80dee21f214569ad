//! Against real MariaDB servers: logins with its own plugins, dumps by file and by GTID.
#![allow(clippy::unwrap_used, reason = "functions of tests")]

mod support;

use kit::MariaDb;
use mysql_wire::{ConnectOptions, Flavor, SslMode, StartPosition, WireError};
use support::{connect, events, events_of_file, kind, options, who};

const MARIADB_GTID: u8 = 162;
const ANNOTATE_ROWS: u8 = 160;

fn lab() -> ConnectOptions {
    options("binlake", "binlake", SslMode::Preferred)
}

#[test]
fn logins() {
    let server = MariaDb::with("10.11", &["--plugin-load-add=auth_ed25519"]).unwrap();
    let port = server.port();
    server
        .sql(
            "CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret');
             CREATE USER two@'%' IDENTIFIED VIA ed25519 USING PASSWORD('a') OR mysql_native_password USING PASSWORD('b');
             CREATE USER empty@'%' IDENTIFIED VIA mysql_native_password USING ''",
        )
        .unwrap();
    let client = connect(port, lab()).unwrap();
    assert_eq!((client.info().flavor, client.info().encrypted), (Flavor::MariaDb, false));
    assert!(client.info().version.starts_with("10.11."), "{}", client.info().version);
    for (user, password) in [("ed", "secret"), ("two", "a"), ("two", "b"), ("empty", "")] {
        assert_eq!(who(port, options(user, password, SslMode::Preferred)).unwrap(), format!("{user}@%"));
        let error = who(port, options(user, "wrong", SslMode::Preferred)).unwrap_err();
        assert!(matches!(&error, WireError::AuthFailed(e) if e.code == 1045), "{user}: {error}");
    }
    assert!(matches!(connect(port, options("ed", "secret", SslMode::Required)), Err(WireError::TlsRefused(_))));
}

#[test]
fn logins_by_parsec() {
    let server = MariaDb::with("11.8", &["--plugin-load-add=auth_parsec"]).unwrap();
    server.sql("CREATE USER p@'%' IDENTIFIED VIA parsec USING PASSWORD('secret')").unwrap();
    // 11.8 makes itself a certificate when it has none
    for mode in [SslMode::Disabled, SslMode::Required] {
        assert_eq!(who(server.port(), options("p", "secret", mode)).unwrap(), "p@%");
        assert!(matches!(who(server.port(), options("p", "wrong", mode)), Err(WireError::AuthFailed(_))));
    }
}

#[test]
fn dumps() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata");
    let tls = [
        format!("--ssl-ca={dir}/ca.pem"),
        format!("--ssl-cert={dir}/server-cert.pem"),
        format!("--ssl-key={dir}/server-key.pem"),
        "--max-allowed-packet=1G".to_owned(),
        "--binlog-checksum=CRC32".to_owned(),
    ];
    let server = MariaDb::with("10.11", &tls.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let port = server.port();
    server
        .sql(
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, v LONGTEXT); INSERT INTO d.t VALUES (1, 'one');
             INSERT INTO d.t SELECT 2, REPEAT('0123456789abcdef', 35 << 16)",
        )
        .unwrap();
    let middle = server.sql("SELECT @@global.gtid_binlog_pos").unwrap().trim().to_owned();
    server.sql("INSERT INTO d.t VALUES (3, 'three'); INSERT INTO d.t VALUES (4, 'four')").unwrap();
    let file = server.sql("SHOW MASTER STATUS").unwrap().split('\t').next().unwrap().to_owned();
    let expected = events_of_file(&server.dir().join("data").join(&file));

    for mode in [SslMode::Disabled, SslMode::Required] {
        let lab = options("binlake", "binlake", mode);
        let got = events(port, lab, StartPosition::File { file: file.clone(), pos: 4 }).unwrap();
        let of = |events: &[Vec<u8>]| events.iter().filter(|event| kind(event) > 15).cloned().collect::<Vec<_>>();
        assert!(of(&got) == of(&expected), "{mode:?}: {} and {}", got.len(), expected.len());
        assert!(got.iter().any(|event| kind(event) == ANNOTATE_ROWS));
        assert!(got.iter().any(|event| event.len() > 35 << 20));
    }

    let after = events(port, lab(), StartPosition::MariaDbGtid { position: middle }).unwrap();
    assert_eq!(after.iter().filter(|event| kind(event) == MARIADB_GTID).count(), 2);
    let all = events(port, lab(), StartPosition::MariaDbGtid { position: String::new() }).unwrap();
    assert_eq!(
        all.iter().filter(|event| kind(event) == MARIADB_GTID).count(),
        expected.iter().filter(|event| kind(event) == MARIADB_GTID).count()
    );
    let ahead = events(port, lab(), StartPosition::MariaDbGtid { position: "0-99-999999".into() }).unwrap_err();
    assert!(ahead.hint().is_some() && matches!(&ahead, WireError::Server(e) if e.code == 1236), "{ahead}");
}
