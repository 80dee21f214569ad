//! What goes wrong: one clear message, the exit code of its kind, no password anywhere, nothing acknowledged lost.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use kit::{Kafka, MariaDb, MySql, Process, wait_until};

use crate::support::{Run, Up, binlake, ids, lines, read_local, topic_of};

const SECRET: &str = "Geheim%21x9";

/// Runs it and checks code and words of the message, and that neither of them shows a password.
fn fails(args: &[&str], code: i32, words: &[&str]) -> Run {
    let run = binlake(args);
    assert_eq!(run.code, code, "{args:?}: {}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{args:?}: no `{word}` in: {}", run.stderr);
    }
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(!said.contains("Geheim") && !said.contains(":binlake@"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    run
}

#[test]
fn usage() {
    fails(&["tail", "--sorce", "x"], 2, &["--sorce", "--source"]);
    fails(&["tail"], 2, &["--source", "--file"]);
    fails(&["tail", "--source", "mysql://u@h/", "--format", "xml"], 2, &["xml", "maxwell-json", "text"]);
    fails(&["tail", "--source", "mysql://u@h/", "--tables", "/(/"], 2, &["--tables", "/(/"]);
    fails(&["tail", "--source", "mysql://u@h/", "--tables", "[a.b"], 2, &["--tables", "[a"]);
    fails(&["tail", "--source", "mysql://u@h/", "--events", "insert,upsert"], 2, &["--events", "upsert"]);
    fails(&["tail", "--source", "mysql://u@h/", "--from", "yesterday"], 2, &["--from", "yesterday", "earliest"]);
    fails(&["tail", "--source", &format!("postgres://u:{SECRET}@h/")], 2, &["mysql://"]);
    fails(&["up", "--source", "mysql://u@h/", "--to", "redis://x"], 2, &["redis://x", "kafka://"]);
    fails(&["up", "--source", "mysql://u@h/", "--format", "text"], 2, &["maxwell-json"]);
    fails(&["up", "--source", "mysql://u@h/", "--format", "xml"], 2, &["xml", "maxwell-json"]);
    fails(&["up", "--source", "mysql://u@h/", "--partitions", "1025"], 2, &["--partitions 1025", "1 to 1024"]);
    fails(
        &["up", "--source", "mysql://u@h/", "--to", "kafka://b", "--partitions", "0"],
        2,
        &["kafka://b", "1 to 10000"],
    );
    for (option, value, words) in [
        ("--log", "vrebose", ["\"vrebose\" is no level", "warn"]),
        ("--tables", "shop.", ["`shop.`", "database.table"]),
        ("--tables", "`shop`.`orders`", ["--tables", "without backticks"]),
        ("--source", "mysql://u@h/shop", ["\"shop\"", "--tables 'shop.*'"]),
        ("--topic", "a/b", ["--topic \"a/b\"", "not a topic name"]),
        ("--topic", "", ["--topic \"\"", "not a topic name"]),
    ] {
        let source: &[&str] = if option == "--source" { &[] } else { &["--source", "mysql://u@h/"] };
        fails(&[&["up", option, value], source].concat(), 2, &words);
    }
    fails(
        &["up", "--source", "mysql://u:p@h/", "--data-dir", "/proc/none/data"],
        4,
        &["/proc/none/data", "--data-dir"],
    );
    assert!(binlake(&["help"]).stdout.contains("binlake tail"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("binlake.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, format!("[up]\nlisen = \"x\"\n[[source]]\nurl = \"mysql://u:{SECRET}@h/\"\nfrom = 3\n"))
        .unwrap();
    for args in [&["up", "--config", path][..], &["config", "check", path]] {
        fails(args, 2, &["binlake.toml:2", "lisen", "`listen`", "binlake.toml:5", "config defaults"]);
    }
    std::fs::write(&file, "[[source]]\nurl = \"mysql://u:p@h/\"\n[[source.feed]]\n[[source.feed]]\n").unwrap();
    fails(&["config", "check", path], 2, &["binlake.toml:2: two feeds", "h-3306"]);
    std::fs::write(&file, "[up]\nlisten = \"x\"\n[[source]]\nurl = \"mysql://u:p@h/\"\nfrom = \"then\"\n").unwrap();
    for args in [&["up", "--config", path][..], &["config", "check", path]] {
        fails(args, 2, &["binlake.toml:2: listen x: write address:port", "binlake.toml:5: from then: write now"]);
    }
    let flags = ["up", "--config", path, "--listen", "y", "--source", "mysql://u:p@h/", "--from", "z"];
    fails(&flags, 2, &["--listen y: write address:port", "--from z: write now"]);
    fails(&["up", "--config", path, "--tables", "a.*"], 2, &["--tables", "[[source.feed]]"]);
    fails(&["up", "--config", "/no/such.toml"], 3, &["/no/such.toml"]);
    fails(&["read", "--data-dir", dir.path().to_str().unwrap(), "--topic", "none"], 3, &["none"]);
}

/// What is quoted of a command line may hold a password.
#[test]
fn a_mistake_beside_a_password_does_not_show_it() {
    let url = format!("mysql://u:{SECRET}@h/");
    fails(&["tail", &url], 2, &["u:xxx@h"]);
    fails(&["tail", &format!("--sorce={url}")], 2, &["--sorce", "--source"]);
    fails(&["up", "--source", &url, "--to", &url], 2, &["--to", "u:xxx@h", "kafka://"]);
    for (to, words) in [
        (format!("Kafka://h?sasl.password={SECRET}"), ["sasl.password=xxx", "kafka://"]),
        (format!("kafka://h?sasl.password=a&{SECRET}"), ["--to", "%26"]),
        (format!("kafka://u:{SECRET}@h"), ["--to", "sasl.username"]),
        (format!("kafka://h?sasl.passwort={SECRET}"), ["sasl.passwort", "property"]),
    ] {
        fails(&["up", "--source", &url, "--to", &to], 2, &words);
    }
    let pem = format!("kafka://h?security.protocol=SSL&ssl.key.pem={SECRET}");
    fails(&["read", "--from", &pem, "--topic", "t"], 2, &["kafka", "ssl.key"]);
    let (dir, mut text) = (tempfile::tempdir().unwrap(), String::from("[[source]]\n"));
    let file = dir.path().join("binlake.toml");
    for (line, words) in [
        (format!("url = \"mysql://u:{SECRET}@h"), "binlake.toml:2"),
        (format!("url = \"{url}\" \"{SECRET}\""), "binlake.toml:2"),
        (format!("url = \"mysql://u@h/\"\npassword = \"{SECRET}\""), "file:PATH"),
        (format!("url = \"mysql://u:{SECRET}@h:port/\""), "port"),
    ] {
        text.truncate("[[source]]\n".len());
        std::fs::write(&file, format!("{text}{line}\n")).unwrap();
        fails(&["config", "check", file.to_str().unwrap()], 2, &[words]);
    }
}

/// Where a password or certificate is named and not to be had.
#[test]
fn references_that_lead_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let (file, binary) = (dir.path().join("binlake.toml"), dir.path().join("binary"));
    std::fs::write(&binary, b"Geheim\xff\n").unwrap();
    let binary = binary.to_str().unwrap();
    for path in [folder, binary, "/no/such/file"] {
        let password = ["tail", "--source", "mysql://u@h/", "--password-file", path];
        fails(&password, 3, &["password file", path, "cannot be read"]);
        let to = format!("kafka://h?sasl.password=file:{path}");
        fails(&["up", "--source", "mysql://u:p@h/", "--to", &to], 3, &["password file", path]);
        std::fs::write(&file, format!("[[source]]\nurl = \"mysql://u@h/\"\npassword = \"file:{path}\"\n")).unwrap();
        fails(&["config", "check", file.to_str().unwrap()], 3, &["password file", path]);
    }
    std::fs::write(&file, "[[source]]\nurl = \"mysql://u@h/\"\npassword = \"env:BINLAKE_NO_SUCH\"\n").unwrap();
    fails(&["config", "check", file.to_str().unwrap()], 3, &["BINLAKE_NO_SUCH"]);
    fails(&["tail", "--source", "mysql://u:p@h/?ssl-ca=/no/such.pem"], 3, &["/no/such.pem"]);
    let none = format!("mysql://u:p@h/?ssl-mode=verify_ca&ssl-ca={path}", path = file.display());
    fails(&["tail", "--source", &none], 2, &["not a certificate in PEM", &format!("ssl-ca={}", file.display())]);
    let authority = "kafka://h?security.protocol=SSL&ssl.ca.location=/no/such.pem";
    fails(&["up", "--source", "mysql://u:p@h/", "--to", authority], 3, &["ssl.ca.location", "/no/such.pem"]);
    fails(&["tail", "--file", folder], 7, &[folder]);
    fails(&["up", "--config", folder], 3, &[folder]);
}

#[test]
fn a_configuration_is_checked_without_a_question_and_without_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("binlake.toml");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let source = format!("[[source]]\nurl = \"mysql://u@{address}/\"\n");
    std::fs::write(&file, format!("[up]\nto = \"kafka://{address}\"\n{source}")).unwrap();
    // On a terminal, where `up` asks; util-linux's `script` has one, whose keyboard is never touched.
    let on_terminal = |command: &str| {
        let mut script = Command::new("script");
        let program = kit::binlake_bin().unwrap();
        let line = format!("'{}' {command} '{}'", program.display(), file.display());
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env_remove("BINLAKE_PASSWORD");
        let mut keyboard = Command::new("sh");
        keyboard.args(["-c", r#"sleep 60 | exec "$@""#, "sh"]).arg(script.get_program()).args(script.get_args());
        keyboard.env_remove("BINLAKE_PASSWORD");
        Process::spawn(keyboard).unwrap()
    };
    let mut up = on_terminal("up --config");
    up.wait_stdout(Duration::from_secs(10), |out| out.contains("password of u")).unwrap();
    drop(up);
    let mut check = on_terminal("config check");
    check.wait_stdout(Duration::from_secs(10), |out| out.contains("no mistake found")).unwrap();
    assert!(!check.stdout().contains("password of"), "{}", check.stdout());
    drop(check);
    server.set_nonblocking(true).unwrap();
    let came = server.accept().map(|(_, peer)| peer);
    assert!(came.is_err(), "{came:?} connected");

    // What needs no server to be seen as wrong.
    let path = file.to_str().unwrap();
    for (up, words) in [
        ("listen = \"0.0.0.0:8080\"", ["0.0.0.0:8080", "loopback"]),
        ("to = \"kafka://b:9092?no.such.property=1\"", ["no.such.property", "kafka"]),
        ("to = \"kafka://b:9092?acks=1\"", ["acks", "BinLake sets it itself"]),
    ] {
        std::fs::write(&file, format!("[up]\n{up}\n{source}")).unwrap();
        fails(&["config", "check", path], 2, &words);
    }
}

#[test]
fn hosts_and_files() {
    let url = |host: &str| format!("mysql://u:{SECRET}@{host}/");
    fails(&["tail", "--source", &url("no-such-host.invalid")], 6, &["no-such-host.invalid"]);
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails(&["tail", "--source", &url(&unused.to_string())], 6, &[&unused.to_string(), "refused"]);
    let mariadb = MariaDb::start().unwrap(); // 10.11 has no TLS unless set up
    fails(
        &["tail", "--source", &format!("{}?ssl-mode=required", mariadb.url())],
        4,
        &["TLS", &mariadb.port().to_string()],
    );
    fails(&["tail", "--file", "/no/such/binlog.000001"], 3, &["/no/such/binlog.000001"]);
}

#[test]
fn logins_rights_and_positions() {
    let mysql = MySql::start().unwrap();
    mysql
        .sql("CREATE USER reader@'%' IDENTIFIED BY 'Geheim!x9'; GRANT REPLICATION CLIENT, SELECT ON *.* TO reader@'%'")
        .unwrap();
    mysql.sql("CREATE USER nobody@'%' IDENTIFIED BY 'Geheim!x9'").unwrap();
    let (url, port) = (mysql.url(), mysql.port());
    let tail = |user: &str| format!("mysql://{user}@127.0.0.1:{port}/");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let wrong = tail(&format!("binlake:{SECRET}"));
    for command in [&["tail"][..], &["check"], &["up", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]]
    {
        fails(&[command, &["--source", &wrong]].concat(), 4, &["Access denied", &port.to_string()]);
    }
    fails(&["tail", "--source", &tail(&format!("reader:{SECRET}"))], 4, &["REPLICATION SLAVE"]);
    let without = [&tail(&format!("nobody:{SECRET}")), "--data-dir", data.to_str().unwrap()];
    fails(&["tail", "--source", without[0]], 4, &["REPLICATION CLIENT", &port.to_string()]);
    fails(&[&["up", "--source"], &without[..]].concat(), 4, &["REPLICATION CLIENT", &port.to_string()]);

    // A password from a file or the environment; the process title shows none.
    let password = dir.path().join("password");
    std::fs::write(&password, "Geheim!x9\n").unwrap();
    let file = password.to_str().unwrap();
    fails(&["tail", "--source", &tail("reader"), "--password-file", file], 4, &["REPLICATION SLAVE"]);
    fails(&["tail", "--source", &tail("reader"), "--password-file", "/no/such/file"], 3, &["/no/such/file"]);
    mysql.sql("GRANT REPLICATION SLAVE ON *.* TO reader@'%'").unwrap();
    let running = Process::binlake(&["tail", "--source", &tail(&format!("reader:{SECRET}"))]).unwrap();
    let title =
        || String::from_utf8_lossy(&std::fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap()).into_owned();
    assert!(wait_until(Duration::from_secs(5), || title().contains("reader:xxx")), "{}", title());
    assert!(!title().contains("Geheim"));
    drop(running);

    // A position that is purged, by file and by GTID, and one that never was.
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
    let set = mysql.sql("SELECT @@gtid_executed").unwrap();
    let gtid = format!("gtid:{}", set.trim());
    mysql
        .sql("INSERT INTO it.t VALUES (1); FLUSH BINARY LOGS; FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'binlog.000003'")
        .unwrap();
    for time in ["--from=time:2020-01-01T00:00:00Z", "--from=time:2026-01-01T00:00:00+01:00"] {
        fails(&["tail", "--source", &url, time], 5, &[&port.to_string(), "the oldest log, binlog.000003", "earliest"]);
        let up = ["up", "--listen", "127.0.0.1:0", "--source", &url, "--data-dir", data.to_str().unwrap(), time];
        fails(&up, 5, &["binlog.000003", "earliest"]);
        let check = binlake(&["check", "--source", &url, time]);
        assert!(check.code == 7 && check.stdout.contains("the oldest log, binlog.000003"), "{}", check.stdout);
    }
    fails(&["tail", "--source", &url, "--from", "binlog.000001:4"], 5, &["binlog.000001", "binlog.000003"]);
    let purged = fails(&["tail", "--source", &url, "--from", &gtid], 5, &["purged", "--from earliest"]);
    assert!(!purged.stderr.contains("remove"), "{}", purged.stderr);
    fails(&["tail", "--source", &url, "--from", "binlog.000003:99999999"], 5, &["binlog.000003", "99999999"]);

    // The same for a checkpoint: `up` says so and does not go on somewhere else.
    let args = ["--source", &url, "--data-dir", data.to_str().unwrap()];
    let mut up = Up::start(&args);
    mysql.sql("INSERT INTO it.t VALUES (2)").unwrap();
    up.wait_settled(&mysql);
    fails(&[&["up", "--listen", "127.0.0.1:0"], &args[..]].concat(), 5, &[data.to_str().unwrap()]);
    up.stop();
    mysql.sql("INSERT INTO it.t VALUES (3); FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'binlog.000004'").unwrap();
    let state = data.join(format!("coordination/{}.state", topic_of(port)));
    let earliest = [&["up", "--listen", "127.0.0.1:0", "--from", "earliest"], &args[..]].concat();
    for _ in 0..2 {
        let run = fails(&earliest, 5, &["purged", "new snapshot", state.to_str().unwrap()]);
        assert!(run.stdout.contains("goes on from its checkpoint; --from is only for"), "{}", run.stdout);
    }
    assert_eq!(ids(&read_local(&data, &topic_of(port))), [2]);
    let beyond = ["read", "--data-dir", data.to_str().unwrap(), "--topic", &topic_of(port), "--offset", "100"];
    fails(&beyond, 3, &["partition 0 ends before offset 1", "100"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let other = dir.path().join("other");
    fails(
        &["up", "--listen", &listen, "--source", &url, "--data-dir", other.to_str().unwrap()],
        6,
        &[&listen, "--listen"],
    );
    fails(&["up", "--listen", "0.0.0.0:1", "--source", &url, "--data-dir", other.to_str().unwrap()], 2, &["loopback"]);
}

#[test]
fn logs_that_cannot_be_read() {
    let mysql = MySql::start().unwrap();
    let url = mysql.url();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad VARCHAR(100))").unwrap();
    mysql.sql("INSERT INTO it.t VALUES (1, REPEAT('a', 90)); INSERT INTO it.t VALUES (2, REPEAT('b', 90))").unwrap();

    // A log with one byte changed, one cut off, and something that is no log.
    let log = std::fs::read(mysql.dir().join("data/binlog.000001")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let mut changed = log.clone();
    let at = log.windows(20).rposition(|w| w == [b'b'; 20]).unwrap();
    changed[at] ^= 1;
    let changed = path("changed.000001", &changed);
    let run = fails(&["tail", "--file", &changed], 7, &["changed.000001", "checksum"]);
    assert_eq!(run.stdout.lines().count(), 1, "what comes before the damage is read");
    let cut = path("cut.000001", &log[..log.len() - 10]);
    fails(&["tail", "--file", &cut], 7, &["cut.000001", "offset"]);
    fails(&["tail", "--file", &path("x.000001", b"not a log at all, but long enough for one")], 7, &["x.000001"]);

    mysql.restart_with(&["--binlog-format=STATEMENT"]).unwrap();
    fails(&["tail", "--source", &url], 7, &["STATEMENT", "binlog_format"]);
    let data = dir.path().join("data");
    let up = ["up", "--listen", "127.0.0.1:0", "--source", &url, "--data-dir", data.to_str().unwrap()];
    fails(&up, 7, &["STATEMENT", "binlog_format"]);
    mysql.restart_with(&["--skip-log-bin"]).unwrap();
    fails(&["tail", "--source", &url], 7, &["log_bin"]);
    fails(&up, 7, &["log_bin"]);
}

/// `check` warns and has the statement that helps; `up` reads it all the same, partitioned by the whole row.
#[test]
fn a_table_without_a_key() {
    let mysql = MySql::start().unwrap();
    mysql
        .sql("CREATE DATABASE it; CREATE TABLE it.varied (id INT, v INT); CREATE TABLE it.same LIKE it.varied")
        .unwrap();
    let url = mysql.url();
    let check = || binlake(&["check", "--source", &url, "--tables", "it.*"]);
    let warned = check();
    let found = format!("{}{}", warned.stdout, warned.stderr);
    assert!(warned.code == 0 && found.contains("it.same, it.varied") && found.contains("primary_key"), "{found}");

    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("binlake.toml"));
    let feed = |name: &str| format!("[[source.feed]]\ntopic = \"{name}\"\ntables = \"it.{name}\"\npartitions = 4\n");
    let (varied, same) = (feed("varied"), feed("same"));
    std::fs::write(
        &file,
        format!("[up]\ndata_dir = \"{}\"\n[[source]]\nurl = \"{url}\"\n{varied}{same}", data.display()),
    )
    .unwrap();
    let mut up = Up::start(&["--config", file.to_str().unwrap()]);
    up.wait_streaming();
    for id in 1..=20 {
        mysql.sql(&format!("INSERT INTO it.varied VALUES ({id}, 0); INSERT INTO it.same VALUES (1, 0)")).unwrap();
    }
    mysql
        .sql("UPDATE it.varied SET v = 1 WHERE id = 7; DELETE FROM it.varied WHERE id = 7; DELETE FROM it.same LIMIT 1")
        .unwrap();
    up.wait_settled(&mysql);
    up.stop();
    // Each row once; equal rows in one partition, others spread.
    let mut came = ids(&read_local(&data, "varied"));
    came.sort_unstable();
    let wanted: Vec<u64> = (1..=20).flat_map(|id| if id == 7 { vec![7; 3] } else { vec![id] }).collect();
    assert_eq!(came, wanted);
    assert_eq!(ids(&read_local(&data, "same")), [1; 21]);
    let used = |topic: &str| {
        let holds = |partition: &u32| {
            let files = std::fs::read_dir(data.join("topics").join(topic).join(partition.to_string())).unwrap();
            files
                .map(|file| file.unwrap())
                .any(|file| file.path().extension().is_some_and(|e| e == "seg") && file.metadata().unwrap().len() > 100)
        };
        (0..4).filter(holds).count()
    };
    assert_eq!((used("same"), used("varied") > 1), (1, true));

    let fixes = found.lines().filter(|line| line.contains("ALTER TABLE")).collect::<Vec<_>>().join(" ");
    let fix = &fixes[fixes.find("ALTER TABLE").unwrap()..];
    mysql.sql(fix).unwrap();
    let again = check();
    assert!(again.stdout.contains("every table has one"), "{}{}", again.stdout, again.stderr);
}

#[test]
fn kafka_without_topic_and_records_too_large_for_it() {
    let kafka = Kafka::start(1).unwrap();
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY, pad LONGTEXT)").unwrap();
    kafka.create_topic("small", 1, &[("max.message.bytes", "2000")]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, to, data) = (mysql.url(), format!("kafka://{}", kafka.bootstrap()), dir.path().to_str().unwrap());
    fails(&["read", "--from", &to, "--topic", "none", "--until-end"], 3, &["none"]);
    let compression = format!("{to}?compression.type=none");
    let args = ["--source", &url, "--to", &compression, "--topic", "small", "--data-dir", data];
    let mut up = Up::start(&args);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.t VALUES (1, 'short')").unwrap();
    up.wait_settled(&mysql);
    mysql.sql("INSERT INTO it.t VALUES (2, REPEAT('long', 1000)); INSERT INTO it.t VALUES (3, 'short')").unwrap();
    // It stops and says why; nothing after the record is passed as settled.
    let status = up.process.wait(Duration::from_secs(20)).unwrap();
    let said = up.process.stderr();
    assert!(
        status.code() == Some(7) && said.contains("small") && said.contains("max.message.bytes"),
        "{status} {said}"
    );
    let tool =
        ["--alter", "--entity-type", "topics", "--entity-name", "small", "--add-config", "max.message.bytes=100000"];
    kafka
        .tool("org.apache.kafka.tools.ConfigCommand", &tool)
        .or_else(|_| kafka.tool("kafka.admin.ConfigCommand", &tool))
        .unwrap();
    let mut up = Up::start(&args);
    up.wait_streaming();
    up.wait_settled(&mysql);
    let read = ["read", "--from", &to, "--topic", "small", "--until-end"];
    assert_eq!(ids(&lines(&read)), [1, 2, 3]);
    up.stop();

    // A batch larger than a segment of the topic is refused under another name, and not sent for ever.
    let sizes = [("max.message.bytes", "8000000"), ("segment.bytes", "1048576")];
    kafka.create_topic("segments", 1, &sizes).unwrap();
    let wide = format!("{compression}&message.max.bytes=8000000");
    let other = dir.path().join("other");
    let mut up =
        Up::start(&["--source", &url, "--to", &wide, "--topic", "segments", "--data-dir", other.to_str().unwrap()]);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.t VALUES (4, REPEAT('long', 500000))").unwrap();
    let status = up.process.wait(Duration::from_secs(20)).unwrap();
    let said = up.process.stderr();
    assert!(status.code() == Some(7) && said.contains("segment.bytes") && said.contains("segments"), "{status} {said}");

    // The broker is gone when it starts: it says so and waits.
    kafka.kill().unwrap();
    let mut start = Command::new(kit::binlake_bin().unwrap());
    start.args(["up", "--listen", "127.0.0.1:0"]).args(args);
    let mut up = Process::spawn(start).unwrap();
    up.wait_stderr(Duration::from_secs(20), |err| err.contains(&kafka.bootstrap())).unwrap();
    up.term().unwrap();
    let status = up.wait(Duration::from_secs(27)).unwrap();
    assert!(matches!(status.code(), Some(0 | 6)), "{status} {}", up.stderr());
}

#[test]
fn a_kafka_topic_that_is_missing() {
    // Topics get three replicas, which one broker cannot give.
    let kafka = Kafka::with(1, &["default.replication.factor=3", "auto.create.topics.enable=false"]).unwrap();
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, to, data) = (mysql.url(), format!("kafka://{}", kafka.bootstrap()), dir.path().to_str().unwrap());
    let args = ["--source", &url, "--to", &to, "--topic", "missing", "--data-dir", data];
    fails(&[&["up", "--listen", "127.0.0.1:0"], &args[..]].concat(), 3, &["missing", "replication"]);
    // Somebody makes it: the same command goes on.
    kafka.create_topic("missing", 1, &[]).unwrap_or_else(|_| {
        let topic = ["--create", "--topic", "missing", "--partitions", "1", "--replication-factor", "1"];
        kafka.tool("org.apache.kafka.tools.TopicCommand", &topic).unwrap();
    });
    let mut up = Up::start(&args);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.t VALUES (1)").unwrap();
    up.wait_settled(&mysql);
    up.stop();
    assert_eq!(ids(&lines(&["read", "--from", &to, "--topic", "missing", "--until-end"])), [1]);
}

/// The end of what can be reached is not the end of the topic.
#[test]
fn a_partition_without_its_broker_is_not_read_to_its_end() {
    let kafka = Kafka::start(2).unwrap();
    kafka.create_topic("t", 4, &[]).unwrap();
    let mysql = MySql::start().unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id BIGINT PRIMARY KEY)").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let to = format!("kafka://{}", kafka.bootstrap());
    let data = dir.path().to_str().unwrap();
    let mut up = Up::start(&["--source", &mysql.url(), "--data-dir", data, "--to", &to, "--topic", "t"]);
    up.wait_streaming();
    let values: Vec<String> = (0..100).map(|id| format!("({id})")).collect();
    mysql.sql(&format!("INSERT INTO it.t VALUES {}", values.join(","))).unwrap();
    up.wait_settled(&mysql);
    up.stop();
    let read = ["read", "--from", &to, "--topic", "t", "--until-end"];
    assert_eq!(lines(&read).len(), 100);
    kafka.kill_broker(2).unwrap();
    let run = fails(&read, 6, &["topic t partition", "its end was not reached", "not all there is"]);
    assert!(run.stdout.lines().count() < 100, "{}", run.stdout);
}
