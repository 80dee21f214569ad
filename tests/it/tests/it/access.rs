//! A Kafka that lets in only whom it knows, and only to the topics that they were granted: wrong password, missing right,
//! right taken back. Each is said once with whom and what to grant, ends with exit 4 or stops its feed alone, and loses
//! nothing.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use kit::{Kafka, MySql, Process, wait_until};

use crate::support::{SOON, Up, binlake, ids, lines};

const USER: &str = "writer";
const SECRET: &str = "Geheim-9x";
const WRITE: [&str; 2] = ["Write", "Describe"];

struct Servers {
    kafka: Kafka,
    mysql: MySql,
}

impl Servers {
    fn start() -> Servers {
        let kafka = Kafka::with_logins(&[(USER, SECRET)]).unwrap();
        let mysql = MySql::start().unwrap();
        mysql
            .sql("CREATE DATABASE it; CREATE TABLE it.a (id BIGINT PRIMARY KEY); CREATE TABLE it.b LIKE it.a")
            .unwrap();
        Servers { kafka, mysql }
    }

    /// Their address with a login.
    fn to(&self, password: &str) -> String {
        let login = "security.protocol=SASL_PLAINTEXT&sasl.mechanism=PLAIN";
        format!("kafka://{}?{login}&sasl.username={USER}&sasl.password={password}", self.kafka.login_addr())
    }

    /// Without a login, where everybody may do everything.
    fn ids(&self, topic: &str) -> Vec<u64> {
        let from = format!("kafka://{}", self.kafka.bootstrap());
        ids(&lines(&["read", "--from", &from, "--topic", topic, "--until-end"]))
    }
}

fn shows_no_password(said: &str) {
    assert!(!said.contains("Geheim") && !said.contains("panicked"), "{said}");
}

/// What it says, which has to end with exit 4 and these words.
fn denied(args: &[&str], words: &[&str]) {
    let run = binlake(args);
    assert_eq!(run.code, 4, "{args:?}: {}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{args:?}: no `{word}` in: {}", run.stderr);
    }
    shows_no_password(&format!("{}{}", run.stdout, run.stderr));
}

fn title(process: &Process) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{}/cmdline", process.pid())).unwrap()).replace('\0', " ")
}

#[test]
fn a_login_or_a_topic_that_is_refused() {
    let servers = Servers::start();
    let (kafka, mysql) = (&servers.kafka, &servers.mysql);
    kafka.create_topic("t", 1, &[]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (url, data, address) = (mysql.url(), dir.path().join("data"), kafka.login_addr().to_string());
    let data = data.to_str().unwrap();
    let up = |to: &str, topic: &str| {
        [
            "up",
            "--listen",
            "127.0.0.1:0",
            "--source",
            &url,
            "--tables",
            "it.a",
            "--data-dir",
            data,
            "--to",
            to,
            "--topic",
            topic,
        ]
        .map(str::to_owned)
    };
    let run = |args: &[String], words: &[&str]| denied(&args.iter().map(String::as_str).collect::<Vec<_>>(), words);

    // A wrong password, which is no broker that is away; and none at all in a file.
    run(&up(&servers.to("Geheim-wrong"), "t"), &[&address, "User:writer", "Authentication failed", "sasl."]);
    let password = dir.path().join("password");
    std::fs::write(&password, format!("{SECRET}\n")).unwrap();
    let to = servers.to(&format!("file:{}", password.display()));
    // No right at all, on a topic that is there and on one that is not.
    run(&up(&to, "t"), &["topic t", "User:writer", "grant it Write and Describe"]);
    run(&up(&to, "new"), &["topic new", "User:writer", "grant"]);
    kafka.allow(USER, "new", &["Describe"]).unwrap();
    run(&up(&to, "new"), &["topic new", "User:writer may not create it", "grant it Create"]);
    // It may look but not write: nobody knows before the first record.
    kafka.allow(USER, "t", &["Describe"]).unwrap();
    let start = |to: &str| {
        let args = up(to, "t");
        Up::start(&args[3..].iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut first = start(&to);
    first.wait_streaming();
    mysql.sql("INSERT INTO it.a VALUES (1), (2)").unwrap();
    let status = first.process.wait(SOON).unwrap();
    let said = first.process.stderr();
    assert!(
        status.code() == Some(4) && said.contains("User:writer may not write it: grant it Write"),
        "{status} {said}"
    );
    shows_no_password(&said);
    // Granted: the same command goes on, and nothing is missing. The password of the command line is not shown.
    kafka.allow(USER, "t", &WRITE).unwrap();
    let mut second = start(&servers.to(SECRET));
    assert!(wait_until(SOON, || title(&second.process).contains("sasl.password=xxx")), "{}", title(&second.process));
    shows_no_password(&title(&second.process));
    second.wait_streaming();
    mysql.sql("INSERT INTO it.a VALUES (3)").unwrap();
    second.wait_settled(mysql);
    shows_no_password(&format!("{}{}{}", second.get("/").1, second.health(), second.process.stdout()));
    second.stop();
    shows_no_password(&second.process.stderr());
    assert_eq!(servers.ids("t"), [1, 2, 3]);

    // Reading it wants the right to read it, and none to a group.
    let read = |to: &str| ["read", "--from", to, "--topic", "t", "--until-end"].map(str::to_owned);
    run(&read(&servers.to("Geheim-wrong")), &[&address, "User:writer", "Authentication failed"]);
    run(&read(&to), &["topic t", "User:writer may not read it", "grant it Read and Describe"]);
    kafka.allow(USER, "t", &["Read"]).unwrap();
    let args = read(&to);
    assert_eq!(ids(&lines(&args.each_ref().map(String::as_str))), [1, 2, 3]);
}

/// A broker whose certificate nobody vouches for.
#[test]
fn tls_that_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("certificate.pem"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-keyout"]);
    assert!(make.arg(&key).arg("-out").arg(&certificate).output().unwrap().status.success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut serve = Command::new("openssl");
    serve.args(["s_server", "-quiet", "-accept", &port.to_string(), "-key"]).arg(&key).arg("-cert").arg(&certificate);
    let _broker = Process::spawn(serve).unwrap();
    let address = format!("127.0.0.1:{port}");
    assert!(wait_until(SOON, || TcpStream::connect(&address).is_ok()));
    let from = format!("kafka://{address}?security.protocol=SSL");
    denied(&["read", "--from", &from, "--topic", "t"], &[&address, "certificate", "ssl."]);
}

#[test]
fn a_right_that_is_taken_back_stops_its_feed_alone() {
    let servers = Servers::start();
    let (kafka, mysql) = (&servers.kafka, &servers.mysql);
    for topic in ["a", "b"] {
        kafka.create_topic(topic, 1, &[]).unwrap();
        kafka.allow(USER, topic, &WRITE).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(&["--config", &configuration(&servers, dir.path())]);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.a VALUES (1); INSERT INTO it.b VALUES (1)").unwrap();
    up.wait_settled(mysql);

    kafka.forbid(USER, "b", &WRITE).unwrap();
    mysql.sql("INSERT INTO it.b VALUES (2); INSERT INTO it.a VALUES (2)").unwrap();
    up.wait_health(|h| h["parked"].to_string().contains("User:writer may not write it: grant it Write"));
    up.wait_settled(mysql);
    assert_eq!(servers.ids("a"), [1, 2]);
    assert_eq!(servers.ids("b"), [1]);
    assert!(up.process.is_running());
    shows_no_password(&format!("{}{}{}", up.health(), up.get("/").1, up.process.stderr()));

    // Granted again: it comes back by itself with what was missed. Meanwhile a topic got partitions, of which no use is made.
    kafka.tool("org.apache.kafka.tools.TopicCommand", &["--alter", "--topic", "a", "--partitions", "8"]).unwrap();
    kafka.allow(USER, "b", &WRITE).unwrap();
    mysql.sql("INSERT INTO it.b VALUES (3); INSERT INTO it.a VALUES (3)").unwrap();
    let back = |up: &Up| up.health()["parked"].as_array().is_some_and(Vec::is_empty);
    assert!(wait_until(2 * SOON, || back(&up)), "{:#}", up.health());
    mysql.sql("INSERT INTO it.a VALUES (4), (5), (6), (7)").unwrap();
    up.wait_settled(mysql);
    let told = |up: &Up| up.health().to_string().contains("topic a has 8 partitions now; records go on to the first 1");
    assert!(told(&up), "{:#}", up.health());
    up.stop();
    shows_no_password(&up.process.stderr());
    assert_eq!(servers.ids("b"), [1, 2, 3]);

    // Another process knows how many were there.
    let mut up = Up::start(&["--config", &configuration(&servers, dir.path())]);
    up.wait_streaming();
    mysql.sql("INSERT INTO it.a VALUES (8), (9)").unwrap();
    up.wait_settled(mysql);
    assert!(told(&up), "{:#}", up.health());
    up.stop();
    assert_eq!(servers.ids("a"), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let ends = kafka.tool("org.apache.kafka.tools.GetOffsetShell", &["--topic", "a"]).unwrap();
    let ends = String::from_utf8(ends).unwrap();
    let empty = |line: &str| line.ends_with(":0");
    assert!(ends.lines().count() == 8 && ends.lines().skip(1).all(empty), "{ends}");
}

/// Two feeds of one source; the password of Kafka is in a file.
fn configuration(servers: &Servers, dir: &Path) -> String {
    let password = dir.join("password");
    std::fs::write(&password, SECRET).unwrap();
    let file = dir.join("binlake.toml");
    let text = format!(
        "[up]\nto = \"{}\"\ndata_dir = \"{}\"\n[[source]]\nurl = \"{}\"\n\
         [[source.feed]]\ntopic = \"a\"\ntables = \"it.a\"\n[[source.feed]]\ntopic = \"b\"\ntables = \"it.b\"\n",
        servers.to(&format!("file:{}", password.display())),
        dir.join("data").display(),
        servers.mysql.url()
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}
