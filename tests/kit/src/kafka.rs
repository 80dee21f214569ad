//! Kafka clusters of one to several brokers.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::ports::Ports;
use crate::script::{self, Server};

/// Small and quick to start: the JVM's first compiler only, a quarter of the usual heap.
const JVM: &str = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1";
const HEAP: &str = "256m";
/// A killed broker is given up after 3 s, not 9 s, and so can register again as soon.
const PROPERTIES: &str = "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500";

/// Of the ports of [`Kafka::with_logins`].
const LOGIN_PORT: u16 = 2;

/// A cluster on loopback; brokers count from 1. With three brokers or more, topics have three replicas of which two
/// must be in sync.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    ports: Ports,
    brokers: u16,
}

impl Kafka {
    /// Starts a fresh cluster.
    pub fn start(brokers: u16) -> Result<Kafka> {
        Kafka::with(brokers, &[])
    }

    /// Starts a fresh cluster with `properties` of the brokers, such as `message.max.bytes=1000`.
    pub fn with(brokers: u16, properties: &[&str]) -> Result<Kafka> {
        let ports = Ports::claim(2 * brokers)?;
        let extra = format!("{PROPERTIES}\n{}", properties.join("\n"));
        Kafka::launch(ports, brokers, extra)
    }

    /// Starts a fresh cluster of one broker that wants a login (SASL PLAIN) at [`Kafka::login_addr`], with these users
    /// and passwords, who may do nothing until [`Kafka::allow`]. Its usual address stays open to everybody, for tools.
    pub fn with_logins(users: &[(&str, &str)]) -> Result<Kafka> {
        let ports = Ports::claim(3)?;
        let [plain, controller, login] = [0, 1, LOGIN_PORT].map(|n| format!("127.0.0.1:{}", ports.first + n));
        let users: Vec<String> = users.iter().map(|(user, password)| format!("user_{user}=\"{password}\"")).collect();
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
        let properties = [
            PROPERTIES.to_owned(),
            format!("listeners=PLAINTEXT://{plain},CONTROLLER://{controller},LOGIN://{login}"),
            format!("advertised.listeners=PLAINTEXT://{plain},LOGIN://{login}"),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT".to_owned(),
            "sasl.enabled.mechanisms=PLAIN".to_owned(),
            format!("listener.name.login.plain.sasl.jaas.config={module} {};", users.join(" ")),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            "super.users=User:ANONYMOUS".to_owned(),
        ];
        Kafka::launch(ports, 1, properties.join("\n"))
    }

    fn launch(ports: Ports, brokers: u16, extra: String) -> Result<Kafka> {
        let env = vec![("KAFKA_JVM", JVM.to_owned()), ("KAFKA_HEAP", HEAP.to_owned()), ("KAFKA_EXTRA", extra)];
        let kafka = Kafka { server: Server::new("kafka", env)?, ports, brokers };
        kafka.run()?;
        Ok(kafka)
    }

    fn run(&self) -> Result<()> {
        self.server.run("start", &[self.ports.first.to_string(), self.brokers.to_string()]).map(drop)
    }

    /// All brokers' addresses, as `bootstrap.servers` wants them.
    pub fn bootstrap(&self) -> String {
        let addrs: Vec<String> = (1..=self.brokers).map(|broker| self.addr(broker).to_string()).collect();
        addrs.join(",")
    }

    /// The address of one broker.
    pub fn addr(&self, broker: u16) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.ports.first + 2 * (broker - 1)).into()
    }

    /// Where [`Kafka::with_logins`] wants a login.
    pub fn login_addr(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.ports.first + LOGIN_PORT).into()
    }

    /// Lets a user do `operations`, such as `Write`, on a topic. Takes about a second (a JVM).
    pub fn allow(&self, user: &str, topic: &str, operations: &[&str]) -> Result<()> {
        self.rights("--add", user, topic, operations)
    }

    /// Takes back what [`Kafka::allow`] gave.
    pub fn forbid(&self, user: &str, topic: &str, operations: &[&str]) -> Result<()> {
        self.rights("--remove", user, topic, operations)
    }

    fn rights(&self, verb: &str, user: &str, topic: &str, operations: &[&str]) -> Result<()> {
        let user = format!("User:{user}");
        let mut args = vec![verb, "--force", "--allow-principal", &user, "--topic", topic];
        for operation in operations {
            args.extend(["--operation", operation]);
        }
        self.tool("org.apache.kafka.tools.AclCommand", &args).map(drop)
    }

    /// The cluster's folder: for broker I, `I/data`, `I/log`, `I/server.properties`.
    pub fn dir(&self) -> &Path {
        self.server.dir()
    }

    /// Makes a topic, with topic configs such as `("max.message.bytes", "1000")`. Takes about a second (a JVM).
    pub fn create_topic(&self, name: &str, partitions: u32, configs: &[(&str, &str)]) -> Result<()> {
        let mut args = ["--create", "--topic", name, "--partitions"].map(str::to_owned).to_vec();
        args.push(partitions.to_string());
        for (key, value) in configs {
            args.extend(["--config".to_owned(), format!("{key}={value}")]);
        }
        self.tool("org.apache.kafka.tools.TopicCommand", &args).map(drop)
    }

    /// The first `count` records of a topic, committed transactions only, one string each:
    /// `Partition:P`, `Offset:O`, headers (`NO_HEADERS` for none), key and value, tab separated. For text records.
    /// An error after 30 s without a new record.
    pub fn read_text(&self, topic: &str, count: usize) -> Result<Vec<String>> {
        let count_arg = count.to_string();
        let mut args = vec!["--topic", topic, "--from-beginning", "--isolation-level", "read_committed"];
        args.extend(["--timeout-ms", "30000", "--max-messages", &count_arg]);
        for property in ["print.partition=true", "print.offset=true", "print.headers=true", "print.key=true"] {
            args.extend(["--formatter-property", property]);
        }
        let out = self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &args)?;
        let records: Vec<String> = String::from_utf8(out)?.lines().map(str::to_owned).collect();
        anyhow::ensure!(records.len() == count, "{} records of {count} in {topic}", records.len());
        Ok(records)
    }

    /// Runs one of Kafka's tools by its class, with `--bootstrap-server` before `args`: what it printed.
    pub fn tool<S: AsRef<OsStr>>(&self, class: &str, args: &[S]) -> Result<Vec<u8>> {
        let mut command = self.server.bare("run");
        command.args([class, "--bootstrap-server", &self.bootstrap()]).args(args);
        script::output(command).with_context(|| class.to_owned())
    }

    /// Kills all brokers with SIGKILL; their data stay.
    pub fn kill(&self) -> Result<()> {
        self.server.run::<&str>("kill", &[]).map(drop)
    }

    /// Stops all brokers in order; their data stay.
    pub fn stop(&self) -> Result<()> {
        self.server.run::<&str>("stop", &[]).map(drop)
    }

    /// Stops all brokers and starts them on the same data and ports.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.run()
    }

    /// Kills one broker with SIGKILL.
    pub fn kill_broker(&self, broker: u16) -> Result<()> {
        self.server.run("kill", &[broker.to_string()]).map(drop)
    }

    /// Starts a killed broker again.
    pub fn start_broker(&self, broker: u16) -> Result<()> {
        self.server.run("node", &[broker.to_string()]).map(drop)
    }
}
