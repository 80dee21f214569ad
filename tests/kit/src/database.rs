//! MySQL and MariaDB servers.
//!
//! They start from a ready data folder in one to two seconds, with small buffers and, since a killed *process* loses
//! nothing that it handed to the kernel, without waiting for the disk (`sync_binlog=0`,
//! `innodb_flush_log_at_trx_commit=2`). Options given by the test win over these.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};

use crate::ports::Ports;
use crate::script::{self, Server};
use crate::session::Session;

/// What any server of a test is started with: little memory, quick start, no fsync per commit.
const OPTIONS: [&str; 8] = [
    "--innodb-buffer-pool-size=64M",
    "--performance-schema=OFF",
    "--innodb-flush-log-at-trx-commit=2",
    "--sync-binlog=0",
    "--skip-name-resolve",
    "--loose-innodb-redo-log-capacity=32M",
    "--loose-innodb-buffer-pool-dump-at-shutdown=OFF",
    "--loose-innodb-buffer-pool-load-at-startup=OFF",
];

/// The `mysqlbinlog` of a flavour, and the version whose tree carries it; None: the server's own.
#[derive(Debug, Clone, Copy)]
struct BinlogTool {
    program: &'static str,
    version: Option<(&'static str, &'static str)>,
}

/// A running (or stopped, or killed) server with its data; see [`MySql`] and [`MariaDb`].
#[derive(Debug)]
pub struct Database {
    server: Server,
    ports: Ports,
    options: Mutex<Vec<String>>,
    tool: BinlogTool,
}

/// A MySQL server, 9.7 unless another version of `mysql.sh versions` is asked for.
#[derive(Debug)]
pub struct MySql(Database);

/// A MariaDB server, 10.11 unless another version of `mariadb.sh versions` is asked for.
#[derive(Debug)]
pub struct MariaDb(Database);

impl MySql {
    /// Starts a fresh MySQL 9.7.
    pub fn start() -> Result<MySql> {
        MySql::with("9.7", &[])
    }

    /// Starts a fresh server of `version` with `options` of mysqld, such as `--binlog-checksum=NONE`.
    pub fn with(version: &str, options: &[&str]) -> Result<MySql> {
        // Trees of old versions carry the server only; 9.7's tool reads their logs, too, but not those of 5.5, whose tree
        // has its own.
        let tree = if version.starts_with("5.5") { "5.5.34" } else { "9.7" };
        let tool = BinlogTool { program: "mysqlbinlog", version: Some(("MYSQL", tree)) };
        Ok(MySql(Database::launch("mysql", ("MYSQL", version), options, tool)?))
    }
}

impl MariaDb {
    /// Starts a fresh MariaDB 10.11.
    pub fn start() -> Result<MariaDb> {
        MariaDb::with("10.11", &[])
    }

    /// Starts a fresh server of `version` with `options` of mariadbd.
    pub fn with(version: &str, options: &[&str]) -> Result<MariaDb> {
        // Trees of three numbers carry the server only.
        let other = (version.split('.').count() == 3).then_some(("MARIADB", "11.8"));
        let tool = BinlogTool { program: "mariadb-binlog", version: other };
        Ok(MariaDb(Database::launch("mariadb", ("MARIADB", version), options, tool)?))
    }
}

impl Deref for MySql {
    type Target = Database;
    fn deref(&self) -> &Database {
        &self.0
    }
}

impl Deref for MariaDb {
    type Target = Database;
    fn deref(&self) -> &Database {
        &self.0
    }
}

impl Database {
    fn launch(name: &str, version: (&'static str, &str), options: &[&str], tool: BinlogTool) -> Result<Database> {
        let ports = Ports::claim(1)?;
        let server = Server::new(name, vec![(version.0, version.1.to_owned())])?;
        let options = options.iter().map(ToString::to_string).collect();
        let database = Database { server, ports, options: Mutex::new(options), tool };
        database.run()?;
        Ok(database)
    }

    fn run(&self) -> Result<()> {
        let port = self.port().to_string();
        let options = self.options.lock().map_err(|_| anyhow::anyhow!("a start panicked"))?;
        let args: Vec<&str> =
            [port.as_str()].into_iter().chain(OPTIONS).chain(options.iter().map(String::as_str)).collect();
        self.server.run("start", &args)?;
        Ok(())
    }

    /// The port on 127.0.0.1; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.ports.first
    }

    /// `127.0.0.1:PORT`, as [`crate::Proxy::to`] wants it.
    pub fn addr(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port()).into()
    }

    /// `mysql://binlake:binlake@127.0.0.1:PORT/`, a user with all rights.
    pub fn url(&self) -> String {
        self.url_of("binlake", "binlake")
    }

    /// The URL of a user; `repl`/`repl` has REPLICATION SLAVE, REPLICATION CLIENT and SELECT.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/", self.port())
    }

    /// The server's folder: `data/` (with the binary logs `binlog.000001`, …), `log`, `client.cnf`.
    pub fn dir(&self) -> &Path {
        self.server.dir()
    }

    /// Runs statements by the server's command line client as user `binlake`: the rows, one a line, tab separated,
    /// without column names, escaped as `mysql --batch` does. Errors carry the client's message.
    pub fn sql(&self, statements: &str) -> Result<String> {
        let rows = script::output_with_input(self.client(), statements.as_bytes())?;
        Ok(String::from_utf8_lossy(&rows).into_owned())
    }

    /// Runs the statements in a file, for much data.
    pub fn sql_file(&self, path: &Path) -> Result<String> {
        let mut client = self.client();
        client.stdin(File::open(path).with_context(|| path.display().to_string())?);
        Ok(String::from_utf8_lossy(&script::output(client)?).into_owned())
    }

    /// Opens a connection that stays, for open transactions and for many statements at little cost each.
    pub fn session(&self) -> Result<Session> {
        let options =
            ["--batch", "--skip-column-names", "--binary-mode", "--unbuffered", "--force", "--skip-reconnect"];
        Session::open(self.server.command("sql", &options))
    }

    fn client(&self) -> std::process::Command {
        self.server.command("sql", &["--batch", "--skip-column-names", "--binary-mode"])
    }

    /// `FILE:POS` of the end of the server's log.
    pub fn log_end(&self) -> Result<String> {
        let status = ["SHOW BINARY LOG STATUS", "SHOW BINLOG STATUS", "SHOW MASTER STATUS"]
            .iter()
            .find_map(|sql| self.sql(sql).ok().filter(|status| !status.trim().is_empty()))
            .context("the server tells no log position")?;
        let mut columns = status.split(['\t', '\n']);
        Ok(format!("{}:{}", columns.next().context("no file")?, columns.next().context("no position")?))
    }

    /// Runs `mysqlbinlog` (or `mariadb-binlog`) as user `binlake`: what it printed.
    pub fn mysqlbinlog<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Vec<u8>> {
        let mut command = self.server.bare("run");
        command.envs(self.tool.version).arg(self.tool.program);
        command.arg(format!("--defaults-file={}", self.dir().join("client.cnf").display())).args(args);
        script::output(command)
    }

    /// Kills the server with SIGKILL; its data stay.
    pub fn kill(&self) -> Result<()> {
        self.server.run::<&str>("kill", &[]).map(drop)
    }

    /// Stops the server in order and waits for its end; its data stay.
    pub fn stop(&self) -> Result<()> {
        self.server.run::<&str>("stop", &[]).map(drop)
    }

    /// Stops the server if it runs, and starts it on the same data and port.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.run()
    }

    /// Like [`Database::restart`], with other options in place of those it had.
    pub fn restart_with(&self, options: &[&str]) -> Result<()> {
        self.stop()?;
        if let Ok(mut current) = self.options.lock() {
            *current = options.iter().map(ToString::to_string).collect();
        }
        self.run()
    }

    /// The process id of the running server.
    pub fn pid(&self) -> Result<u32> {
        let path = self.dir().join("pid");
        Ok(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().parse()?)
    }
}
