//! Against a real MySQL 9.7: logins, TLS, statements, dumps.
#![allow(clippy::unwrap_used, reason = "functions of tests")]

mod support;

use kit::MySql;
use mysql_wire::{ConnectOptions, ErrorKind, Flavor, SslMode, StartPosition, TlsProblem, WireError};
use support::{connect, events, events_of_file, kind, options, query, who, wire};

const CA: &[u8] = include_bytes!("testdata/ca.pem");
const CLIENT_CERT: &[u8] = include_bytes!("testdata/client-cert.pem");
const CLIENT_KEY: &[u8] = include_bytes!("testdata/client-key.pem");
const GTID_TAGGED: u8 = 42;
const GTID: u8 = 33;
const WRITE_ROWS_V2: u8 = 30;

fn tls_options(certificate: &str) -> Vec<String> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata");
    vec![
        format!("--ssl-ca={dir}/ca.pem"),
        format!("--ssl-cert={dir}/{certificate}"),
        format!("--ssl-key={dir}/server-key.pem"),
    ]
}

fn server_with(certificate: &str) -> MySql {
    let options = tls_options(certificate);
    MySql::with("9.7", &options.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

fn lab(mode: SslMode) -> ConnectOptions {
    options("binlake", "binlake", mode)
}

#[test]
fn logins() {
    let server = MySql::start().unwrap();
    let port = server.port();
    server
        .sql(
            "CREATE USER fresh@'%' IDENTIFIED WITH caching_sha2_password BY 'päss';
             CREATE USER sha@'%' IDENTIFIED WITH sha256_password BY 'sha-secret';
             CREATE USER nobody@'%' IDENTIFIED WITH caching_sha2_password BY '';
             CREATE USER shanobody@'%' IDENTIFIED WITH sha256_password BY '';
             CREATE USER locked@'%' IDENTIFIED BY 'x' ACCOUNT LOCK;
             CREATE USER tlsonly@'%' IDENTIFIED BY 'x' REQUIRE SSL;
             CREATE DATABASE shop; GRANT ALL ON shop.* TO fresh@'%'",
        )
        .unwrap();
    let fresh = |mode| options("fresh", "päss", mode);

    // not in the server's cache yet: the RSA key is asked for; then by the cached hash
    assert_eq!(who(port, fresh(SslMode::Disabled)).unwrap(), "fresh@%");
    assert_eq!(who(port, fresh(SslMode::Disabled)).unwrap(), "fresh@%");
    // the cache empty again: the password itself over TLS, and with a pinned key
    server.sql("FLUSH PRIVILEGES").unwrap();
    assert_eq!(who(port, fresh(SslMode::Required)).unwrap(), "fresh@%");
    server.sql("FLUSH PRIVILEGES").unwrap();
    let mut pinned = fresh(SslMode::Disabled);
    pinned.server_public_key = Some(std::fs::read(server.dir().join("data/public_key.pem")).unwrap());
    assert_eq!(who(port, pinned).unwrap(), "fresh@%");

    for mode in [SslMode::Disabled, SslMode::Preferred] {
        assert_eq!(who(port, options("sha", "sha-secret", mode)).unwrap(), "sha@%", "{mode:?}");
        assert_eq!(who(port, options("nobody", "", mode)).unwrap(), "nobody@%", "{mode:?}");
        assert_eq!(who(port, options("shanobody", "", mode)).unwrap(), "shanobody@%", "{mode:?}");
        for (user, password) in [("fresh", "wrong"), ("nobody", "x"), ("sha", "wrong"), ("ghost", "x"), ("ghost", "")] {
            let error = who(port, options(user, password, mode)).unwrap_err();
            assert!(matches!(&error, WireError::AuthFailed(e) if e.code == 1045), "{user} {mode:?}: {error}");
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.hint().unwrap().contains("check user, password"));
        }
    }
    let locked = who(port, options("locked", "x", SslMode::Required)).unwrap_err();
    assert!(matches!(&locked, WireError::AuthFailed(e) if e.code == 3118), "{locked}");
    assert!(who(port, options("tlsonly", "x", SslMode::Disabled)).is_err());
    assert_eq!(who(port, options("tlsonly", "x", SslMode::Required)).unwrap(), "tlsonly@%");

    let mut in_shop = fresh(SslMode::Disabled);
    in_shop.database = Some("shop".into());
    assert_eq!(query(port, in_shop.clone(), "SELECT DATABASE()").unwrap().text(0, 0).as_deref(), Some("shop"));
    in_shop.database = Some("missing".into());
    assert!(
        matches!(who(port, in_shop), Err(WireError::Server(e) | WireError::AuthFailed(e)) if e.code == 1044 || e.code == 1049)
    );
}

#[test]
fn statements() {
    let server = MySql::start().unwrap();
    let mut client = connect(server.port(), lab(SslMode::Preferred)).unwrap();
    assert_eq!((client.info().flavor, client.info().encrypted), (Flavor::MySql, true));
    assert!(client.info().version.starts_with("9.7."));
    let result = client
        .query("SELECT 1 AS a, NULL AS b, '' AS c, REPEAT('x', 70000) AS d UNION SELECT 2, 'y', 'z', ''")
        .unwrap();
    assert_eq!(result.columns, ["a", "b", "c", "d"]);
    assert_eq!(result.rows.len(), 2);
    assert_eq!(result.first("A").as_deref(), Some("1"));
    assert_eq!((result.first("b"), result.first("c").as_deref()), (None, Some("")));
    assert_eq!(result.text(0, 3).unwrap().len(), 70_000);
    // a failed statement leaves the connection usable
    let error = wire(client.query("SELECT nonsense").unwrap_err());
    assert!(matches!(&error, WireError::Server(e) if e.code == 1054 && e.sqlstate == "42S22"), "{error}");
    assert_eq!(client.query("SELECT 7").unwrap().text(0, 0).as_deref(), Some("7"));
    client.query("CREATE DATABASE d").unwrap();
    client.query("CREATE TABLE d.t (a INT)").unwrap();
    assert_eq!(client.query("INSERT INTO d.t VALUES (1), (2), (3)").unwrap().affected_rows, 3);
    assert!(client.query("SELECT * FROM d.t WHERE a > 9").unwrap().rows.is_empty());
    // the server may not have a file of ours
    let refused = wire(client.query("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE d.t").unwrap_err());
    assert!(matches!(&refused, WireError::Server(_)), "{refused}");

    let mut small = lab(SslMode::Disabled);
    small.limits.max_result = 100_000;
    let error =
        query(server.port(), small, "SELECT REPEAT('x', 60000) UNION ALL SELECT REPEAT('y', 60000)").unwrap_err();
    assert!(matches!(error, WireError::TooLarge { limit: 100_000, .. }), "{error}");
}

#[test]
fn tls_modes() {
    let server = server_with("server-cert.pem");
    let port = server.port();
    let with_ca = |mode, host: &str| {
        let mut options = lab(mode);
        options.tls.ca = Some(CA.to_vec());
        options.host = host.into();
        options
    };
    for mode in SslMode::ALL {
        let client = connect(port, with_ca(mode, "localhost")).unwrap();
        assert_eq!(client.info().encrypted, mode != SslMode::Disabled, "{mode:?}");
    }
    // by address, which the certificate names too
    assert!(connect(port, with_ca(SslMode::VerifyIdentity, "127.0.0.1")).is_ok());
    // another name: only the identity check minds
    let other = connect(port, with_ca(SslMode::VerifyIdentity, "db.example")).unwrap_err();
    assert_eq!(other, WireError::Tls(TlsProblem::WrongHost("db.example".into())));
    assert!(connect(port, with_ca(SslMode::VerifyCa, "db.example")).is_ok());
    // without the authority
    for mode in [SslMode::VerifyCa, SslMode::VerifyIdentity] {
        let unknown = connect(port, lab(mode)).unwrap_err();
        assert_eq!(unknown, WireError::Tls(TlsProblem::UnknownAuthority), "{mode:?}");
        assert!(unknown.hint().unwrap().contains("ssl-ca"));
    }

    server.sql("CREATE USER cert@'%' IDENTIFIED BY 'x' REQUIRE X509").unwrap();
    let mut cert = options("cert", "x", SslMode::Required);
    assert!(matches!(who(port, cert.clone()), Err(WireError::AuthFailed(e)) if e.code == 1045));
    cert.tls.client_cert = Some(CLIENT_CERT.to_vec());
    cert.tls.client_key = Some(CLIENT_KEY.to_vec());
    assert_eq!(who(port, cert).unwrap(), "cert@%");
}

#[test]
fn a_servers_own_certificates_work_with_its_ca() {
    let server = MySql::start().unwrap();
    let mut options = lab(SslMode::VerifyCa);
    options.tls.ca = Some(std::fs::read(server.dir().join("data/ca.pem")).unwrap());
    assert_eq!(who(server.port(), options.clone()).unwrap(), "binlake@%");
    options.tls.mode = SslMode::VerifyIdentity;
    let error = connect(server.port(), options).unwrap_err();
    assert!(matches!(error, WireError::Tls(TlsProblem::WrongHost(_))), "{error}");
}

#[test]
fn a_version_1_certificate_is_named() {
    let server = server_with("server-v1-cert.pem");
    for mode in [SslMode::Preferred, SslMode::Required] {
        let error = connect(server.port(), lab(mode)).unwrap_err();
        assert_eq!(error, WireError::Tls(TlsProblem::CertificateV1), "{mode:?}");
        assert!(error.hint().unwrap().contains("version 3"));
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
    assert!(who(server.port(), lab(SslMode::Disabled)).is_ok());
}

#[test]
fn a_server_without_tls() {
    let server = MySql::start().unwrap();
    // only after its start, which the test's own client watches over TLS
    server.sql("SET GLOBAL ssl_ca = 'missing.pem'; ALTER INSTANCE RELOAD TLS NO ROLLBACK ON ERROR").unwrap();
    let preferred = connect(server.port(), lab(SslMode::Preferred)).unwrap();
    assert!(!preferred.info().encrypted);
    assert_eq!(connect(server.port(), lab(SslMode::Required)).unwrap_err(), WireError::TlsRefused("required"));
}

#[test]
fn a_server_whose_tls_is_not_ours() {
    let server = MySql::start().unwrap();
    let alien = "SET GLOBAL tls_version = 'TLSv1.3', GLOBAL tls_ciphersuites = 'TLS_AES_128_CCM_SHA256'";
    server.sql(&format!("{alien}; ALTER INSTANCE RELOAD TLS")).unwrap();
    assert!(!connect(server.port(), lab(SslMode::Preferred)).unwrap().info().encrypted);
    let required = connect(server.port(), lab(SslMode::Required)).unwrap_err();
    assert_eq!(required, WireError::Tls(TlsProblem::NoCommonVersion));
}

#[test]
fn dumps() {
    let server = MySql::with("9.7", &["--max-allowed-packet=1G", "--binlog-checksum=CRC32"]).unwrap();
    let port = server.port();
    server
        .sql(
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, v LONGTEXT); INSERT INTO d.t VALUES (1, 'one');
             SET GLOBAL max_allowed_packet = 1 << 30",
        )
        .unwrap();
    server.sql("SET gtid_next='AUTOMATIC:tagged'; INSERT INTO d.t VALUES (2, 'two')").unwrap();
    // 35 MiB: three packets
    server.sql("INSERT INTO d.t SELECT 3, REPEAT('0123456789abcdef', 35 << 16)").unwrap();
    let small: String = (10..22).map(|id| format!("INSERT INTO d.t VALUES ({id}, 'small');")).collect();
    server.sql(&small).unwrap();
    let file = server.sql("SHOW BINARY LOG STATUS").unwrap().split('\t').next().unwrap().to_owned();
    let expected = events_of_file(&server.dir().join("data").join(&file));
    let rows = expected.iter().filter(|event| kind(event) == WRITE_ROWS_V2).count();
    assert_eq!(rows, 15);

    for mode in [SslMode::Disabled, SslMode::Required] {
        let from = StartPosition::File { file: file.clone(), pos: 4 };
        let got = events(port, lab(mode), from).unwrap();
        // the stream begins with a ROTATE that the server makes up; a running server's FORMAT_DESCRIPTION differs in its
        // in-use flag only
        assert_eq!(kind(&got[0]), 4);
        assert_eq!(got.len(), expected.len() + 1, "{mode:?}");
        assert!(got[2..] == expected[1..], "{mode:?}");
    }

    // after the first transactions only: the set is one uuid with 1-3 (CREATE, CREATE, INSERT), no tags
    let uuid = server.sql("SELECT HEX(UUID_TO_BIN(@@server_uuid))").unwrap();
    let uuid: Vec<u8> = (0..32).step_by(2).map(|i| u8::from_str_radix(&uuid.trim()[i..i + 2], 16).unwrap()).collect();
    let executed = server.sql("SELECT @@global.gtid_executed").unwrap();
    let mut set = 1_u64.to_le_bytes().to_vec();
    set.extend_from_slice(&uuid);
    set.extend_from_slice(&1_u64.to_le_bytes());
    set.extend_from_slice(&1_u64.to_le_bytes());
    set.extend_from_slice(&4_u64.to_le_bytes());
    let got = events(port, lab(SslMode::Disabled), StartPosition::MySqlGtid { set }).unwrap();
    let gtids = |events: &[Vec<u8>], which| events.iter().filter(|event| kind(event) == which).count();
    assert_eq!(gtids(&expected, GTID_TAGGED), 1, "{executed}");
    assert_eq!(gtids(&got, GTID_TAGGED), 1);
    assert_eq!(gtids(&got, GTID), gtids(&expected, GTID) - 3, "{executed}");
    // everything, with the empty set
    let all = events(port, lab(SslMode::Disabled), StartPosition::MySqlGtid { set: vec![0; 8] }).unwrap();
    assert_eq!(gtids(&all, WRITE_ROWS_V2), 15);

    // a bound on the size of an event is kept
    let mut small = lab(SslMode::Disabled);
    small.limits.max_event = 20 << 20;
    let error = events(port, small, StartPosition::File { file, pos: 4 }).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { .. }), "{error}");
}

#[test]
fn dump_errors_say_what_to_do() {
    let server = MySql::start().unwrap();
    let port = server.port();
    let dump = |file: &str, pos| events(port, lab(SslMode::Disabled), StartPosition::File { file: file.into(), pos });
    let gone = dump("binlog.009999", 4).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Gone, "{gone}");
    assert!(gone.hint().unwrap().contains("no longer has"), "{gone}");
    let first = server.sql("SHOW BINARY LOGS").unwrap().split('\t').next().unwrap().to_owned();
    let beyond = dump(&first, 100_000_000).unwrap_err();
    assert!(beyond.hint().unwrap().contains("does not go on at this position"), "{beyond}");

    server.sql("CREATE USER weak@'%' IDENTIFIED BY 'w'").unwrap();
    let from = StartPosition::File { file: first, pos: 4 };
    let weak = events(port, options("weak", "w", SslMode::Required), from).unwrap_err();
    assert_eq!(weak.kind(), ErrorKind::Denied, "{weak}");

    // a GTID set that the server purged
    server.sql("CREATE DATABASE x; FLUSH BINARY LOGS; FLUSH BINARY LOGS").unwrap();
    let last = server.sql("SHOW BINARY LOG STATUS").unwrap().split('\t').next().unwrap().to_owned();
    server.sql(&format!("PURGE BINARY LOGS TO '{last}'")).unwrap();
    let purged = events(port, lab(SslMode::Disabled), StartPosition::MySqlGtid { set: vec![0; 8] }).unwrap_err();
    assert_eq!(purged.kind(), ErrorKind::Gone, "{purged}");
    assert!(purged.hint().unwrap().contains("keep logs longer"), "{purged}");
}

#[test]
fn heartbeats_and_takeover_by_a_twin() {
    let server = MySql::start().unwrap();
    let mut request = support::replica(StartPosition::File { file: String::new(), pos: 4 });
    request.stop_at_end = false;
    let client = connect(server.port(), lab(SslMode::Required)).unwrap();
    let mut batches = client.dump_batches(request.clone()).unwrap();
    assert_eq!(batches.info().variable("binlog_format"), Some("ROW"));
    assert!(batches.info().server_uuid().is_some());
    assert!(server.sql("SHOW REPLICAS").unwrap().contains(support::UUID));
    // version 2, since it was asked for
    let heartbeat = batches.by_ref().take(20).any(|batch| batch.unwrap().iter().any(|event| kind(event) == 41));
    assert!(heartbeat);

    let second = connect(server.port(), lab(SslMode::Required)).unwrap().dump_batches(request).unwrap();
    let error = batches.find_map(Result::err).map(wire).unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.hint().unwrap().contains("its own"), "{error}");
    drop(second);
}

#[test]
fn an_older_server() {
    let server = MySql::with("5.7.29", &[]).unwrap();
    let port = server.port();
    server.sql("CREATE USER old@'%' IDENTIFIED WITH mysql_native_password BY 'native'").unwrap();
    assert_eq!(who(port, options("old", "native", SslMode::Disabled)).unwrap(), "old@%");
    let wrong = who(port, options("old", "wrong", SslMode::Disabled)).unwrap_err();
    assert!(matches!(&wrong, WireError::AuthFailed(e) if e.code == 1045), "{wrong}");
    assert_eq!(who(port, options("old", "native", SslMode::Preferred)).unwrap(), "old@%");
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (a INT); INSERT INTO d.t VALUES (1)").unwrap();
    let all = events(port, lab(SslMode::Disabled), StartPosition::MySqlGtid { set: vec![0; 8] }).unwrap();
    assert_eq!(all.iter().filter(|event| kind(event) == WRITE_ROWS_V2).count(), 1);
}
