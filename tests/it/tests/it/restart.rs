//! Restart safety: whatever ends and comes back under load, every row arrives, and after dropping what the header says
//! was delivered before, exactly once.

use std::time::Duration;

use kit::{Kafka, MariaDb, MySql, Process, Proxy, wait_until};
use serde_json::Value;

use crate::support::{
    LOAD_TABLE, SOON, Up, assert_complete, assert_exact, changes_of_lines, changes_of_server, ids, load_for,
    read_local, read_raw, topic_of, under_load,
};

#[test]
fn stop_kill_and_server_restart_lose_nothing() {
    let mysql = MySql::start().unwrap();
    mysql.sql(LOAD_TABLE).unwrap();
    let (url, topic) = (mysql.url(), topic_of(mysql.port()));
    let (orderly, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let args = |dir: &tempfile::TempDir, format: &'static str| {
        ["--source", &url, "--tables", "it.*", "--format", format, "--data-dir", dir.path().to_str().unwrap()]
            .map(str::to_owned)
    };
    let start = |args: &[String; 8]| Up::start(&args.each_ref().map(String::as_str));
    let (calm, rough) = (args(&orderly, "maxwell-json"), args(&killed, "binlake"));

    let mut first = start(&calm);
    let mut second = start(&rough);
    first.wait_streaming();
    second.wait_streaming();
    under_load(&mysql, || {
        for _ in 0..3 {
            load_for(500);
            first.stop();
            load_for(100);
            first = start(&calm);
            load_for(500);
            second.process.kill9().unwrap();
            second = start(&rough);
        }
    });
    first.wait_settled(&mysql);
    second.wait_settled(&mysql);
    assert_exact(&read_raw(orderly.path(), &topic), &mysql);
    assert_exact(&read_local(killed.path(), &topic), &mysql);

    under_load(&mysql, || {
        for _ in 0..2 {
            load_for(300);
            mysql.kill().unwrap();
            mysql.restart().unwrap();
        }
        load_for(300);
    });
    mysql.sql("INSERT INTO it.t (pad) VALUES ('last')").unwrap();
    first.wait_settled(&mysql);
    second.wait_settled(&mysql);
    // A reader that only lost its server repeats nothing.
    assert_exact(&read_raw(orderly.path(), &topic), &mysql);
    assert_exact(&read_local(killed.path(), &topic), &mysql);
    first.stop();
    second.stop();
}

/// Reads the load's table, which it makes, over a proxy.
fn read_through_a_proxy(mysql: &MySql) -> (Proxy, tempfile::TempDir, Up) {
    mysql.sql(LOAD_TABLE).unwrap();
    let proxy = Proxy::to(mysql.addr()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("mysql://binlake:binlake@{}/", proxy.addr());
    let up = Up::start(&["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()]);
    up.wait_streaming();
    (proxy, dir, up)
}

/// The period that is asked of the server is the file's: an idle connection lives longer than three of it, which it
/// would not with heartbeats every second, and a silent one ends after three.
#[test]
fn heartbeats_come_as_often_as_was_configured() {
    let mysql = MySql::start().unwrap();
    let proxy = Proxy::to(mysql.addr()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("binlake.toml");
    let url = format!("mysql://binlake:binlake@{}/", proxy.addr());
    std::fs::write(&file, format!("[wave]\nheartbeat = \"200ms\"\n[[source]]\nurl = \"{url}\"\n")).unwrap();
    let data = dir.path().join("data");
    let mut up = Up::start(&["--config", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]);
    up.wait_streaming();
    load_for(2000);
    assert!(!up.process.stderr().contains("sent no event"), "an idle connection was given up");
    proxy.black_hole();
    up.process.wait_stderr(Duration::from_secs(10), |err| err.contains("for 600ms the server sent no event")).unwrap();
    proxy.resume();
    up.wait_streaming();
    up.stop();
}

#[test]
fn server_without_gtids_is_cut_in_the_middle_of_transactions() {
    let mysql = MySql::with("9.7", &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).unwrap();
    let (proxy, dir, mut up) = read_through_a_proxy(&mysql);
    // Slow enough that a cut falls between the events of one transaction of 4 MB.
    proxy.slow(3_000_000);
    mysql.sql("INSERT INTO it.t (pad) VALUES ('a'), ('b')").unwrap();
    mysql
        .sql(
            "SET SESSION cte_max_recursion_depth = 100000; INSERT INTO it.t (pad) WITH RECURSIVE n (i) AS \
               (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) SELECT REPEAT('z', 90) FROM n",
        )
        .unwrap();
    load_for(500);
    proxy.cut();
    load_for(700);
    proxy.cut();
    proxy.resume();
    up.wait_settled(&mysql);
    up.stop();
    assert_exact(&read_raw(dir.path(), &topic_of(proxy.port())), &mysql);
}

/// A server and a replica of it that follows by GTID.
fn source_and_replica() -> (MySql, MySql) {
    let source = MySql::start().unwrap();
    let replica = MySql::with("9.7", &["--server-id=2"]).unwrap();
    replica
        .sql(&format!(
            "RESET BINARY LOGS AND GTIDS; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, \
             SOURCE_USER='repl', SOURCE_PASSWORD='repl', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, \
             SOURCE_CONNECT_RETRY=1; START REPLICA",
            source.port()
        ))
        .unwrap();
    (source, replica)
}

/// Waits until the replica has all of the source.
fn follow(source: &MySql, replica: &MySql) {
    let executed = source.sql("SELECT @@gtid_executed").unwrap().replace("\\n", "");
    let waited = replica.sql(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{}', 20)", executed.trim())).unwrap();
    assert_eq!(waited, "0\n");
}

#[test]
fn failover_by_gtid_to_a_replica() {
    let (source, replica) = source_and_replica();
    let (proxy, dir, mut up) = read_through_a_proxy(&source);
    let url = format!("mysql://binlake:binlake@{}/", proxy.addr());
    let mut tail = Process::binlake(&["tail", "--source", &url, "--tables", "it.*"]).unwrap();
    under_load(&source, || {
        tail.wait_stdout(SOON, |out| out.contains('\n')).unwrap();
        load_for(500);
    });
    follow(&source, &replica);
    source.kill().unwrap();
    // Written before anybody reads there.
    replica.sql("STOP REPLICA; RESET REPLICA ALL; INSERT INTO it.t (pad) VALUES ('between')").unwrap();
    proxy.retarget(replica.addr());
    proxy.cut();
    under_load(&replica, || load_for(1000));
    replica.sql("INSERT INTO it.t (pad) VALUES ('last')").unwrap();
    up.wait_settled(&replica);
    let health = up.health().to_string();
    assert!(health.contains("server_changed"), "{health}");
    up.stop();
    let topic = topic_of(proxy.port());
    // Another server is a new incarnation: what was unsettled comes again and the rule accepts it, nothing is lost.
    assert_complete(&read_local(dir.path(), &topic), &replica);

    // One that keeps nothing on disk and began in the middle goes on where it was, not at the new server's end.
    tail.wait_stdout(SOON, |out| out.contains("last")).unwrap();
    tail.signal("INT").unwrap();
    assert_eq!(tail.wait(SOON).unwrap().code(), Some(0), "{}", tail.stderr());
    let told: Vec<String> = tail.stdout().lines().map(str::to_owned).collect();
    let (first, came) = (ids(&told)[0], changes_of_lines(&told));
    // Of the transaction it began with, the rows may have been inserted before.
    let wanted = changes_of_server(&replica).into_keys().filter(|(id, _)| *id > first + 2);
    let lost: Vec<_> = wanted.filter(|change| !came.contains_key(change)).collect();
    assert!(lost.is_empty(), "{} lost, first {:?}: {}", lost.len(), lost.first(), tail.stderr());
}

#[test]
fn failover_to_a_replica_that_is_behind_waits_for_what_it_has_not() {
    let (source, replica) = source_and_replica();
    let (proxy, dir, mut up) = read_through_a_proxy(&source);
    under_load(&source, || load_for(500));
    follow(&source, &replica);
    replica.sql("STOP REPLICA IO_THREAD").unwrap();
    // Read from the source, and not there on the replica.
    under_load(&source, || load_for(500));
    source.sql("INSERT INTO it.t (pad) VALUES ('late')").unwrap();
    up.wait_settled(&source);
    // What is in the checkpoint is not read again, wherever it comes from.
    load_for(1500);
    proxy.retarget(replica.addr());
    proxy.cut();
    up.wait_health(|h| h["state"] == "streaming" && h.to_string().contains("server_changed"));
    // What comes late by replication was read before; what is new on the replica was not.
    replica.sql("START REPLICA IO_THREAD").unwrap();
    follow(&source, &replica);
    replica.sql("STOP REPLICA; RESET REPLICA ALL").unwrap();
    under_load(&replica, || load_for(500));
    up.wait_settled(&replica);
    up.stop();
    let topic = topic_of(proxy.port());
    assert_exact(&read_raw(dir.path(), &topic), &replica);
    assert_exact(&read_local(dir.path(), &topic), &replica);
}

#[test]
fn failover_to_a_replica_that_has_purged_its_logs_ends_and_skips_nothing() {
    let (source, replica) = source_and_replica();
    source.sql(LOAD_TABLE).unwrap();
    let proxy = Proxy::to(source.addr()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("mysql://binlake:binlake@{}/", proxy.addr());
    let args = ["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()];
    let mut up = Up::start(&args);
    up.wait_streaming();
    let rows = "INSERT INTO it.t (pad) SELECT 'x' FROM information_schema.collations LIMIT 20";
    source.sql(rows).unwrap();
    up.wait_settled(&source);
    up.stop();
    source.sql(rows).unwrap();
    follow(&source, &replica);
    replica.sql("FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY").unwrap();
    proxy.retarget(replica.addr());
    let mut up = Up::start(&args);
    let status = up.process.wait(SOON).unwrap();
    let said = up.process.stderr();
    assert!(status.code() == Some(5) && said.contains("purged"), "{status} {said}");
    // The server that has them still gives them all.
    proxy.retarget(source.addr());
    let mut up = Up::start(&args);
    up.wait_settled(&source);
    up.stop();
    assert_exact(&read_local(dir.path(), &topic_of(proxy.port())), &source);
}

#[test]
fn kafka_broker_killed_and_started() {
    let kafka = Kafka::start(1).unwrap();
    let mysql = MySql::start().unwrap();
    mysql.sql(LOAD_TABLE).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let to = format!("kafka://{}", kafka.bootstrap());
    let file = dir.path().join("up.toml");
    let text = format!(
        "[up]\ndata_dir = \"{}\"\nto = \"{to}\"\n[[source]]\nurl = \"{}\"\nname = \"db\"\n\
         [[source.feed]]\ntopic = \"changes\"\ntables = \"it.*\"\n[wave]\npark_after = \"1s\"\n",
        dir.path().join("data").display(),
        mysql.url()
    );
    std::fs::write(&file, text).unwrap();
    let mut up = Up::start(&["--config", file.to_str().unwrap()]);
    let verdict = || -> (u16, Value) {
        let (code, body) = up.get("/healthz");
        (code, serde_json::from_str(&body).unwrap())
    };
    up.wait_streaming();
    under_load(&mysql, || {
        load_for(1000);
        kafka.kill_broker(1).unwrap();
        // It connects, streams and reads: that nothing arrives is a problem all the same.
        let problem =
            |v: &Value| v["problems"][0].as_str().is_some_and(|p| p.starts_with("db: a record for changes is not"));
        assert!(wait_until(SOON, || verdict().0 == 503 && problem(&verdict().1)), "{:#}", verdict().1);
        assert!(up.health()["lag_seconds"].as_f64() > Some(0.9), "{:#}", up.health());
        kafka.start_broker(1).unwrap();
        load_for(500);
    });
    up.wait_settled(&mysql);
    assert!(wait_until(SOON, || verdict().0 == 200), "{:#}", verdict().1);
    let told = up.process.stderr().matches("is not acknowledged for 1 s").count();
    assert_eq!(told, 1, "{}", up.process.stderr());
    up.stop();
    let read = ["read", "--from", &to, "--topic", "changes", "--until-end"];
    assert_exact(&crate::support::lines(&read), &mysql);
    assert_complete(&crate::support::lines(&[&read[..], &["--raw"]].concat()), &mysql);
}

#[test]
fn mariadb_by_gtid_with_restarts_of_both() {
    let mariadb = MariaDb::start().unwrap();
    mariadb.sql(LOAD_TABLE).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = mariadb.url();
    let args = ["--source", &url, "--tables", "it.*", "--data-dir", dir.path().to_str().unwrap()];
    let mut up = Up::start(&args);
    up.wait_streaming();
    let from = format!("gtid:{}", mariadb.sql("SELECT @@gtid_binlog_pos").unwrap().trim());
    under_load(&mariadb, || {
        load_for(400);
        up.process.kill9().unwrap();
        up = Up::start(&args);
        load_for(400);
        mariadb.kill().unwrap();
        mariadb.restart().unwrap();
        load_for(400);
        up.stop();
        up = Up::start(&args);
    });
    mariadb.sql("INSERT INTO it.t (pad) VALUES ('last')").unwrap();
    up.wait_settled(&mariadb);
    let settled = mariadb.sql("SELECT @@gtid_binlog_pos").unwrap();
    assert_eq!(up.health()["gtid_set"], settled.trim());
    up.stop();
    assert_exact(&read_local(dir.path(), &topic_of(mariadb.port())), &mariadb);
    let tail =
        crate::support::lines(&["tail", "--source", &url, "--tables", "it.*", "--from", &from, "--until", "now"]);
    assert_exact(&tail, &mariadb);
}
