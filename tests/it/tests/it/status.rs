//! What an operator sees: every metric after a workload whose figures are known, and what the health pages say when things
//! go well, badly and well again.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use kit::{Kafka, MySql, Process, Proxy, binlake_bin, wait_until};
use serde_json::Value;

use crate::support::{SOON, Up, binlake, ids, lines, log_end, read_raw, topic_of};

/// The samples of `/metrics`, by name and labels as they stand there, without the label of the source.
struct Metrics {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    fn of(up: &Up, source: &str) -> Metrics {
        let (code, text) = up.get("/metrics");
        assert_eq!(code, 200);
        let label = format!("source=\"{source}\"");
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.contains(&label), "{series}");
            let series = series.replace(&format!("{label},"), "").replace(&format!("{{{label}}}"), "");
            (series.strip_prefix("binlake_").unwrap().to_owned(), value.parse().unwrap())
        };
        let samples = text.lines().filter(|l| !l.starts_with('#')).map(sample).collect();
        Metrics { text, samples }
    }

    fn get(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }
}

/// Events and bytes of the server's log from a position on, by its own list.
fn events_after(mysql: &MySql, position: &str) -> (f64, f64) {
    let (file, pos) = position.rsplit_once(':').unwrap();
    let list = mysql.sql(&format!("SHOW BINLOG EVENTS IN '{file}' FROM {pos}")).unwrap();
    let end: u64 = log_end(mysql).rsplit_once(':').unwrap().1.parse().unwrap();
    (list.lines().count() as f64, (end - pos.parse::<u64>().unwrap()) as f64)
}

#[test]
fn every_metric_after_a_known_workload() {
    let mysql = MySql::start().unwrap();
    mysql
        .sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, v INT, pad MEDIUMTEXT); CREATE TABLE it.other LIKE it.t")
        .unwrap();
    let proxy = Proxy::to(mysql.addr()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("mysql://repl:repl@127.0.0.1:{}/", proxy.port());
    let source = topic_of(proxy.port());
    let begun = Instant::now();
    let mut up = Up::start(&["--source", &url, "--tables", "it.t", "--data-dir", dir.path().to_str().unwrap()]);
    up.wait_streaming();
    let start = log_end(&mysql);
    mysql
        .sql(
            "INSERT INTO it.t VALUES (1,1,'a'), (2,1,'b'), (3,1,'c'), (4,1,'d'), (5,1,'e'); \
             UPDATE it.t SET v = 2 WHERE id <= 3; DELETE FROM it.t WHERE id > 3; \
             INSERT INTO it.other VALUES (1,1,'x'), (2,1,'y'), (3,1,'z'), (4,1,'w')",
        )
        .unwrap();
    up.wait_settled(&mysql);
    // A tick writes the figures, a question to the server now and then the bytes that are not read.
    let done = |m: &Metrics| m.get("rows_total{op=\"delete\"}") == 2.0 && m.get("source_lag_bytes") == 0.0;
    assert!(wait_until(SOON, || done(&Metrics::of(&up, &source))), "{}", Metrics::of(&up, &source).text);

    let m = Metrics::of(&up, &source);
    let produced = |what: &str| m.get(&format!("produced_{what}_total{{topic=\"{source}\"}}"));
    for (series, value) in [
        ("rows_total{op=\"insert\"}", 5.0),
        ("rows_total{op=\"update\"}", 3.0),
        ("rows_total{op=\"delete\"}", 2.0),
        ("transactions_total", 4.0),
        ("skipped_events_total", 1.0),
        ("unknown_events_total", 0.0),
        ("delivery_latency_seconds_count", 10.0),
        ("produce_errors_total{reason=\"topic\"}", 0.0),
        ("produce_errors_total{reason=\"too_large\"}", 0.0),
        ("produce_errors_total{reason=\"unknown\"}", 0.0),
        ("queue_bytes{queue=\"received\"}", 0.0),
        ("queue_bytes{queue=\"in_flight\"}", 0.0),
        ("source_lag_seconds", 0.0),
        ("source_connected", 1.0),
        ("instance_state{state=\"streaming\"}", 1.0),
        ("instance_epoch", up.health()["epoch"].as_f64().unwrap()),
        ("reconnects_total", 0.0),
        ("parked_feeds", 0.0),
        ("quarantined_tables", 0.0),
    ] {
        assert_eq!(m.get(series), value, "{series}");
    }
    let states: f64 = m.samples.iter().filter(|(s, _)| s.starts_with("instance_state")).map(|(_, v)| v).sum();
    assert_eq!(states, 1.0, "one state at a time");
    // Beside the events of the log, the server makes up a rotation and a format description at the begin of a dump.
    let (events, bytes) = events_after(&mysql, &start);
    let (read_events, read_bytes) = (m.get("events_total"), m.get("read_bytes_total"));
    assert!(read_events >= events && read_events <= events + 4.0, "{read_events} of {events} events");
    assert!(read_bytes >= bytes && read_bytes <= bytes + 500.0, "{read_bytes} of {bytes} bytes");
    // Messages with their headers and keys: more than the values alone.
    let values: usize = read_raw(dir.path(), &source).iter().map(String::len).sum();
    assert_eq!(produced("messages"), 10.0);
    assert!(
        produced("bytes") > values as f64 && produced("bytes") < values as f64 + 10.0 * 200.0,
        "{}",
        produced("bytes")
    );
    let latency = m.get("delivery_latency_seconds_sum");
    assert!(latency > 0.0 && latency < 10.0 * begun.elapsed().as_secs_f64(), "{latency}");
    assert!(m.get("checkpoint_writes_total") >= 1.0);
    let time = |state: &str| m.get(&format!("instance_seconds_total{{state=\"{state}\"}}"));
    let all = time("busy") + time("blocked") + time("idle");
    assert!(time("idle") > all / 2.0 && all <= begun.elapsed().as_secs_f64(), "idle {} of {all} s", time("idle"));

    // What comes faster than it is read is seen, in bytes of the log.
    proxy.slow(20_000);
    mysql.sql("INSERT INTO it.t VALUES (10, 1, REPEAT('p', 600000))").unwrap();
    assert!(wait_until(SOON, || Metrics::of(&up, &source).get("source_lag_bytes") > 100_000.0), "{:#}", up.health());
    assert!(up.health()["lag_bytes"].as_u64().unwrap() > 100_000, "{:#}", up.health());
    proxy.resume();
    up.wait_settled(&mysql);

    // The connection is lost, and made again.
    proxy.refuse();
    proxy.cut();
    let lost = |m: &Metrics| {
        m.get("source_connected") == 0.0 && m.get("source_lag_seconds") > 0.2 && m.get("source_lag_bytes").is_nan()
    };
    assert!(wait_until(SOON, || lost(&Metrics::of(&up, &source))), "{}", Metrics::of(&up, &source).text);
    proxy.resume();
    up.wait_streaming();
    let back = |m: &Metrics| m.get("source_connected") == 1.0 && m.get("source_lag_seconds") == 0.0;
    assert!(wait_until(SOON, || back(&Metrics::of(&up, &source))), "{}", Metrics::of(&up, &source).text);
    let m = Metrics::of(&up, &source);
    assert!(m.get("reconnects_total") >= 1.0);
    assert!(m.get("incidents_total{code=\"source_disconnected\"}") >= 1.0);

    // Everything in the table is there, with its help, and nothing else is.
    let told: Vec<&str> = m.text.lines().filter_map(|l| l.strip_prefix("# HELP binlake_")).collect();
    let table: Vec<String> = telemetry::names::ALL.iter().map(|l| format!("{} {}", l.name, l.help)).collect();
    let mut table: Vec<&str> = table.iter().map(String::as_str).collect();
    table.sort_unstable();
    assert_eq!(told, table);
    up.stop();
}

#[test]
fn health_names_what_is_wrong() {
    let good = MySql::start().unwrap();
    good.sql(
        "CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY); \
         CREATE USER halfway IDENTIFIED BY 'halfway'; GRANT REPLICATION CLIENT ON *.* TO halfway",
    )
    .unwrap();
    let verdict = |up: &Up| -> (u16, Value) {
        let (code, body) = up.get("/healthz");
        (code, serde_json::from_str(&body).unwrap())
    };

    // No broker, so no dump: alive, not ready, and it says why.
    let dir = tempfile::tempdir().unwrap();
    let nowhere = ["--to", "kafka://127.0.0.1:1", "--topic", "t", "--data-dir", dir.path().to_str().unwrap()];
    let waiting = Up::start(&[&["--source", good.url().as_str()][..], &nowhere].concat());
    assert_eq!(waiting.get("/livez"), (200, "ok\n".into()));
    let (code, why) = waiting.get("/readyz");
    assert!(code == 503 && why.starts_with("not ready: "), "{code} {why}");
    let (code, health) = verdict(&waiting);
    assert_eq!((code, &health["status"]), (503, &Value::from("trouble")), "{health:#}");
    assert!(health["problems"][0].as_str().unwrap().starts_with(&topic_of(good.port())), "{health:#}");
    waiting.wait_health(|h| h["lag_seconds"].as_f64() > Some(0.5));
    drop(waiting);

    // Two sources, one of which may look at the log's end but not read it.
    let proxy = Proxy::to(good.addr()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, denied) = (format!("mysql://repl:repl@127.0.0.1:{}/", proxy.port()), good.url_of("halfway", "halfway"));
    let both = ["--source", url.as_str(), "--source", denied.as_str(), "--data-dir", dir.path().to_str().unwrap()];
    let broken = Up::start(&both);
    broken.wait_streaming();
    let of_denied = |problem: &Value| {
        let text = problem.as_str().unwrap_or_default();
        text.starts_with(&format!("{} has ended: ", topic_of(good.port()))) && text.contains("REPLICATION SLAVE")
    };
    assert!(wait_until(SOON, || of_denied(&verdict(&broken).1["problems"][0])), "{:#}", verdict(&broken).1);
    assert_eq!(verdict(&broken).0, 503);
    assert_eq!(broken.get("/readyz"), (200, "ok\n".into()), "one broken source holds up no other");
    let page = broken.get("/").1;
    assert!(page.contains("last incident") && page.contains("REPLICATION SLAVE"), "{page}");
    drop(broken);

    // Well; then without its server; then well again.
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(&["--source", &url, "--data-dir", dir.path().to_str().unwrap()]);
    let well = |up: &Up| verdict(up).0 == 200 && verdict(up).1["status"] == "ok";
    up.wait_streaming();
    assert!(wait_until(SOON, || well(&up)), "{:#}", verdict(&up).1);
    assert_eq!(verdict(&up).1["problems"], serde_json::json!([]));
    for page in ["/", "/healthz", "/metrics"] {
        assert_eq!(up.ask("HEAD", page), (200, String::new()), "{page}");
    }
    assert_eq!(up.get("/readyz").0, 200);
    proxy.refuse();
    proxy.cut();
    assert!(wait_until(SOON, || verdict(&up).0 == 503), "{:#}", verdict(&up).1);
    let problem = verdict(&up).1["problems"][0].as_str().unwrap_or_default().to_owned();
    assert!(problem.contains(" is connecting: ") || problem.contains(" is backing off: "), "{problem}");
    assert_eq!((up.get("/livez").0, up.get("/readyz").0), (200, 200), "once ready, it stays so");
    proxy.resume();
    assert!(wait_until(SOON, || well(&up)), "{:#}", verdict(&up).1);
    up.stop();
}

#[test]
fn many_sources_start_beside_each_other() {
    let mysql = MySql::start().unwrap();
    let proxies: Vec<Proxy> = (0..10).map(|_| Proxy::to(mysql.addr()).unwrap()).collect();
    let urls: Vec<String> = proxies.iter().map(|p| format!("mysql://repl:repl@127.0.0.1:{}/", p.port())).collect();
    for _ in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let mut args = vec!["--data-dir", dir.path().to_str().unwrap()];
        args.extend(urls.iter().flat_map(|url| ["--source", url.as_str()]));
        let mut up = Up::start(&args);
        let states = || -> Vec<Value> {
            let body: Value = serde_json::from_str(&up.get("/healthz").1).unwrap();
            body["sources"].as_array().unwrap().iter().map(|s| s["state"].clone()).collect()
        };
        assert!(wait_until(SOON, || states() == vec!["streaming"; urls.len()]), "{:?}", states());
        up.stop();
    }
}

/// A restart while one of two servers is away, or lets nobody in: the other goes on. With nobody to hold up, the end of the
/// command tells what is wrong.
#[test]
fn a_server_that_is_away_at_a_restart_holds_up_no_other() {
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
    mysql
        .sql("CREATE USER other IDENTIFIED BY 'other'; GRANT REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO other")
        .unwrap();
    let proxy = Proxy::to(mysql.addr()).unwrap();
    let (here, there) = (mysql.url(), format!("mysql://other:other@127.0.0.1:{}/", proxy.port()));
    let dir = tempfile::tempdir().unwrap();
    let data = ["--listen", "127.0.0.1:0", "--data-dir", dir.path().to_str().unwrap()];
    let (one, both) = (["--source", &there], ["--source", &here, "--source", &there]);
    let states = |up: &Up| {
        let body: Value = serde_json::from_str(&up.get("/healthz").1).unwrap();
        [0, 1].map(|i| body["sources"][i]["state"].as_str().unwrap().to_owned())
    };
    let reaches = |up: &Up, wanted: [&str; 2]| {
        assert!(wait_until(SOON, || states(up) == wanted), "{:?} {}", states(up), up.process.stderr());
    };
    proxy.refuse();
    let new = binlake(&[&["up"], &data[..], &both].concat());
    assert_eq!(new.code, 6, "without a checkpoint there is nothing to go on from: {}", new.stderr);
    proxy.resume();
    let mut up = Up::start(&[&data[2..], &both].concat());
    reaches(&up, ["streaming", "streaming"]);
    up.stop();

    proxy.refuse();
    let alone = binlake(&[&["up"], &data[..], &one].concat());
    assert!(alone.code == 6 && alone.stderr.contains(&proxy.port().to_string()), "{} {}", alone.code, alone.stderr);
    let mut up = Up::start(&[&data[2..], &both].concat());
    reaches(&up, ["streaming", "connecting"]);
    let said = up.process.stderr();
    assert!(said.contains(&format!("source {}: ", topic_of(proxy.port()))), "{said}");
    mysql.sql("INSERT INTO it.t VALUES (1)").unwrap();
    up.wait_settled(&mysql);
    proxy.resume();
    reaches(&up, ["streaming", "streaming"]);
    up.wait_passed(&mysql);
    up.stop();

    mysql.sql("ALTER USER other IDENTIFIED BY 'another'; INSERT INTO it.t VALUES (2)").unwrap();
    assert_eq!(binlake(&[&["up"], &data[..], &one].concat()).code, 4);
    let mut up = Up::start(&[&data[2..], &both].concat());
    reaches(&up, ["streaming", "ended"]);
    up.wait_settled(&mysql);
    assert!(up.process.stderr().contains("Access denied"), "{}", up.process.stderr());
    up.process.term().unwrap();
    assert_eq!(up.process.wait(SOON).unwrap().code(), Some(4));
    assert_eq!(ids(&read_raw(dir.path(), &topic_of(mysql.port()))), [1, 2]);
}

/// Both outputs lead to a reader that takes three lines and goes, as in `binlake up … 2>&1 | head -3`.
#[test]
fn publishing_goes_on_when_nobody_reads_what_it_prints() {
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
    let proxy = Proxy::to(mysql.addr()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    let script = r#"{ "$@" 2>&1 & echo $! >&3; wait $!; echo "code $?" >&3; } 3>&2 | head -3"#;
    shell.args(["-c", script, "sh"]).arg(binlake_bin().unwrap());
    shell.args(["up", "--listen", "127.0.0.1:0", "--data-dir", dir.path().to_str().unwrap()]);
    shell.args(["--source", &format!("mysql://repl:repl@127.0.0.1:{}/", proxy.port())]);
    let mut up = Up::of(Process::spawn(shell).unwrap());
    up.wait_streaming();
    // What is logged of this, and the status line at the end, have nowhere to go.
    proxy.cut();
    mysql.sql("INSERT INTO it.t VALUES (1)").unwrap();
    up.wait_settled(&mysql);
    let pid = up.process.stderr();
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
    up.process.wait(SOON).unwrap();
    assert_eq!(up.process.stderr(), format!("{pid}code 0\n"));
    let read =
        lines(&["read", "--data-dir", dir.path().to_str().unwrap(), "--topic", &topic_of(proxy.port()), "--until-end"]);
    assert_eq!(read.len(), 1, "{read:?}");
}

#[test]
fn a_parked_feed_says_why_and_comes_back_when_its_topic_is_mended() {
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad MEDIUMTEXT)").unwrap();
    let kafka = Kafka::start(1).unwrap();
    kafka.create_topic("small", 1, &[("max.message.bytes", "3000")]).unwrap();
    kafka.create_topic("large", 1, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("up.toml"), folder.path().join("data"));
    let text = format!(
        "[up]\ndata_dir = \"{}\"\nto = \"kafka://{}?compression.type=none\"\n[[source]]\nurl = \"{}\"\nname = \"shop\"\n\
         [[source.feed]]\ntopic = \"small\"\n[[source.feed]]\ntopic = \"large\"\n[wave]\ncatch_up_max = \"2s\"\n",
        data.display(),
        kafka.bootstrap(),
        mysql.url()
    );
    std::fs::write(&file, text).unwrap();
    let mut up = Up::start(&["--config", file.to_str().unwrap()]);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.t VALUES (1, 'a'); INSERT INTO it.t VALUES (2, REPEAT('b', 9000)), (3, 'c')").unwrap();
    up.wait_settled(&mysql);
    let parked = |m: &Metrics| m.get("parked_feeds") == 1.0 && m.get("source_connected") == 1.0;
    assert!(wait_until(SOON, || parked(&Metrics::of(&up, "shop"))), "{}", Metrics::of(&up, "shop").text);

    let m = Metrics::of(&up, "shop");
    assert!(m.get("produce_errors_total{reason=\"too_large\"}") >= 1.0);
    assert!(m.get("incidents_total{code=\"feed_parked\"}") == 1.0);
    assert!(m.get("produced_messages_total{topic=\"large\"}") >= 3.0, "{}", m.text);
    assert!(m.get("produced_messages_total{topic=\"small\"}") < 3.0, "{}", m.text);
    let (code, body) = up.get("/healthz");
    let health: Value = serde_json::from_str(&body).unwrap();
    let stopped = &health["sources"][0]["parked"][0];
    assert_eq!((code, &stopped["name"]), (503, &Value::from("small")), "{health:#}");
    let problem = health["problems"][0].as_str().unwrap();
    for part in ["shop: parked feed small", "max.message.bytes", "mend what the reason names", "by itself"] {
        assert!(problem.contains(part), "no {part:?} in {problem}");
    }
    assert_eq!(up.get("/readyz").0, 200);

    // Others go on meanwhile, and an attempt at a topic that is as it was changes nothing for them.
    mysql
        .sql("INSERT INTO it.t VALUES (4, 'd'), (5, REPEAT('e', 9000)); UPDATE it.t SET pad = 'f' WHERE id = 1")
        .unwrap();
    up.wait_settled(&mysql);
    let incidents = |m: &Metrics, code: &str| m.samples.get(&format!("incidents_total{{code=\"{code}\"}}")).copied();
    let tried = |m: &Metrics| incidents(m, "feed_failing").is_some();
    assert!(wait_until(SOON, || tried(&Metrics::of(&up, "shop"))), "{:#}", up.health());
    let limit = |bytes: u32| {
        let set = format!("max.message.bytes={bytes}");
        let args = ["--alter", "--entity-type", "topics", "--entity-name", "small", "--add-config", &set];
        kafka.tool("kafka.admin.ConfigCommand", &args).unwrap();
    };
    let read = |topic: &str| {
        let from = format!("kafka://{}", kafka.bootstrap());
        ids(&lines(&["read", "--from", &from, "--topic", topic, "--until-end"]))
    };
    limit(1_000_000);
    let well = |m: &Metrics| m.get("parked_feeds") == 0.0 && incidents(m, "feed_rejoined").is_some();
    assert!(wait_until(SOON, || well(&Metrics::of(&up, "shop"))), "{:#}", up.health());
    mysql.sql("INSERT INTO it.t VALUES (6, 'g')").unwrap();
    up.wait_settled(&mysql);
    assert_eq!((read("small"), read("large")), (vec![1, 2, 3, 4, 5, 1, 6], vec![1, 2, 3, 4, 5, 1, 6]));
    // An attempt that failed is the feed's trouble, not the source's; a join is none.
    let said = up.process.stderr();
    assert!(said.contains("feed_failing") && !said.contains("source_failed"), "{said}");
    let alarmed = |code: &str| said.lines().any(|line| line.contains("WARN") && line.contains(code));
    assert!(alarmed("feed_failing") && !alarmed("feed_rejoined") && !alarmed("joins the others"), "{said}");

    // Parked again, and mended while nothing runs.
    limit(3000);
    mysql.sql("INSERT INTO it.t VALUES (7, REPEAT('h', 9000))").unwrap();
    assert!(wait_until(SOON, || parked(&Metrics::of(&up, "shop"))), "{:#}", up.health());
    mysql.sql("INSERT INTO it.t VALUES (8, 'i')").unwrap();
    up.wait_settled(&mysql);
    up.stop();
    limit(1_000_000);
    let mut up = Up::start(&["--config", file.to_str().unwrap()]);
    assert!(wait_until(SOON, || well(&Metrics::of(&up, "shop"))), "{:#}", up.health());
    up.wait_settled(&mysql);
    let all = vec![1, 2, 3, 4, 5, 1, 6, 7, 8];
    assert_eq!((read("small"), read("large")), (all.clone(), all));
    up.wait_health(|source| source["parked"] == serde_json::json!([]));
    up.stop();
}
