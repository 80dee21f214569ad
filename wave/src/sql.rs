//! Questions to a server in SQL: positions, files, definitions. Blocking, on threads that may wait.

use std::sync::Arc;
use std::time::Duration;

use binlog::gtid::GtidSet;
use binlog::position::{FilePos, Position};
use mysql_wire::{Flavor, QueryResult, StartPosition, WireError};
use pipeline::io::{Cause, Failure, FailureKind};
use watch::blocking::{BlockingError, Client};

use crate::remote::{HEARTBEAT, question_failure, without_uuid};
use crate::source::{Identity, Source};

/// Waits for a connection and for each answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A logged-in connection.
#[derive(Debug)]
pub struct Sql {
    client: Client,
    source: Source,
}

/// Whether the server itself said that it does not do what it was asked for; the connection goes on.
fn answered(error: &BlockingError) -> bool {
    matches!(error, BlockingError::Wire(WireError::Server(_)))
}

/// One log file of a server, as `SHOW BINARY LOGS` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    pub name: String,
    pub size: u64,
}

impl Sql {
    /// # Errors
    /// Host, login or TLS; the message names the address and what to do.
    pub fn connect(source: &Source) -> Result<Sql, Failure> {
        let client = Client::connect(&source.endpoint(), Arc::clone(&source.options), TIMEOUT).map_err(|e| {
            let mut failure = question_failure(&e);
            failure.message = format!("{}: {}", source.address(), failure.message);
            failure
        })?;
        Ok(Sql { client, source: source.clone() })
    }

    /// Makes answers complete and literals mean the same, whatever the server's defaults for sessions are.
    ///
    /// # Errors
    /// A broken connection.
    pub fn plain_session(&mut self) -> Result<(), Failure> {
        self.query("SET SESSION sql_mode = '', sql_select_limit = 18446744073709551615, sql_big_selects = 1")
            .map(|_| ())
    }

    /// Ends the connection politely.
    pub fn close(self) {
        self.client.close();
    }

    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.client.info().flavor
    }

    #[must_use]
    pub fn version(&self) -> String {
        self.client.info().version.clone()
    }

    /// # Errors
    /// The server's answer, or a broken connection.
    pub fn query(&mut self, sql: &str) -> Result<QueryResult, Failure> {
        self.ask(sql).map_err(|e| self.failure(&e))
    }

    fn ask(&mut self, sql: &str) -> Result<QueryResult, BlockingError> {
        self.client.query(sql)
    }

    /// What breaks the connection names the server; what the server says of a statement is the caller's.
    fn failure(&self, error: &BlockingError) -> Failure {
        let mut failure = question_failure(error);
        if !answered(error) {
            failure.message = format!("{}: {}", self.source.address(), failure.message);
        }
        failure
    }

    /// First column of the first row; None for NULL or no row, or a variable that this server does not have.
    pub fn value(&mut self, sql: &str) -> Option<String> {
        self.query(sql).ok()?.text(0, 0)
    }

    /// A global variable; None when the server does not have it.
    pub fn variable(&mut self, name: &str) -> Option<String> {
        self.value(&format!("SELECT @@GLOBAL.{name}"))
    }

    /// As [`server_of`](crate::remote::server_of) gives it.
    ///
    /// # Errors
    /// A broken connection, or a server that has neither variable.
    pub fn identity(&mut self) -> Result<String, Failure> {
        let names = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_id', 'server_uuid')";
        let mut found = self.query(names)?.named();
        found.remove("server_uuid").or_else(|| found.remove("server_id").map(without_uuid)).ok_or_else(|| {
            let message =
                format!("{}: the server tells neither its server_uuid nor its server_id", self.source.address());
            Failure::new(FailureKind::Permanent, Cause::Data, message)
        })
    }

    /// The end of the log, and the executed set there.
    ///
    /// # Errors
    /// No right (REPLICATION CLIENT), or the log is switched off.
    pub fn log_end(&mut self) -> Result<Position, Failure> {
        let status = self.log_status()?;
        self.position_of(&status)
    }

    /// What the server says of its log: file, position, filters, and on MySQL the executed set.
    ///
    /// # Errors
    /// No right (REPLICATION CLIENT).
    pub fn log_status(&mut self) -> Result<QueryResult, Failure> {
        // The statement was renamed in 8.2 (and differently in MariaDB 10.5.2): probe, newest first.
        let mut last = None;
        for statement in ["SHOW BINARY LOG STATUS", "SHOW BINLOG STATUS", "SHOW MASTER STATUS"] {
            match self.ask(statement) {
                Ok(result) => return Ok(result),
                Err(e) => {
                    let failure = self.failure(&e);
                    if !answered(&e) || failure.cause == Cause::Denied {
                        return Err(failure);
                    }
                    last = Some(failure);
                }
            }
        }
        Err(last.unwrap_or_else(|| Failure::new(FailureKind::Permanent, Cause::Data, "no status statement works")))
    }

    /// [`Sql::log_end`] of a log that holds rows.
    ///
    /// # Errors
    /// As there, and when the server logs statements.
    pub fn readable_end(&mut self) -> Result<Position, Failure> {
        let end = self.log_end().map_err(|mut failure| {
            if !failure.message.contains(&self.source.address()) {
                failure.message = format!("{}: {}", self.source.address(), failure.message);
            }
            failure
        })?;
        match self.variable("binlog_format") {
            Some(format) if !format.eq_ignore_ascii_case("ROW") => {
                let message = format!(
                    "{}: binlog_format is {format}: the log holds statements, not rows; SET GLOBAL binlog_format = 'ROW' \
                     (sessions that are connected keep the old format until they reconnect)",
                    self.source.address()
                );
                Err(Failure::new(FailureKind::Permanent, Cause::Data, message))
            }
            _ => Ok(end),
        }
    }

    fn position_of(&mut self, status: &QueryResult) -> Result<Position, Failure> {
        let (Some(file), Some(pos)) = (status.first("File"), status.first("Position").and_then(|p| p.parse().ok()))
        else {
            let message = format!(
                "{}: the server keeps no binary log (log_bin is OFF): nothing can be read; set log_bin in its \
                 configuration and restart it",
                self.source.address()
            );
            return Err(Failure::new(FailureKind::Permanent, Cause::Data, message));
        };
        let set = match self.flavor() {
            Flavor::MySql => status.first("Executed_Gtid_Set").unwrap_or_default(),
            Flavor::MariaDb => self.value("SELECT @@GLOBAL.gtid_binlog_pos").unwrap_or_default(),
        };
        Ok(Position { file_pos: FilePos { file, pos }, gtids: self.parse_set(&set)? })
    }

    fn parse_set(&self, text: &str) -> Result<GtidSet, Failure> {
        text.parse().map_err(|e| {
            let message = format!("{}: GTID set of the server: {e}", self.source.address());
            Failure::new(FailureKind::Permanent, Cause::Data, message)
        })
    }

    /// All log files, oldest first.
    ///
    /// # Errors
    /// No right, or the log is switched off.
    pub fn log_files(&mut self) -> Result<Vec<LogFile>, Failure> {
        let result = self.query("SHOW BINARY LOGS")?;
        let files: Vec<LogFile> = (0..result.rows.len())
            .filter_map(|i| {
                let name = result.text(i, 0)?;
                let size = result.text(i, 1)?.parse().ok()?;
                Some(LogFile { name, size })
            })
            .collect();
        if files.is_empty() {
            let message = format!("{}: the server lists no binary log", self.source.address());
            return Err(Failure::new(FailureKind::Permanent, Cause::Data, message));
        }
        Ok(files)
    }

    /// Reads events from a position until `each` says stop (false) or the log ends; a connection of its own identity.
    ///
    /// # Errors
    /// The server refuses the position, or the connection breaks.
    pub fn scan(source: &Source, from: &FilePos, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), Failure> {
        let sql = Sql::connect(source)?;
        let identity = Identity::random()?;
        let request = mysql_wire::ReplicaRequest {
            server_id: identity.server_id,
            uuid: identity.uuid,
            heartbeat: HEARTBEAT,
            from: StartPosition::File { file: from.file.clone(), pos: from.pos.max(4) },
            stop_at_end: true,
        };
        let mut dump = sql.client.dump_batches(request).map_err(|e| question_failure(&e))?;
        while let Some(batch) = dump.next() {
            let batch = batch.map_err(|e| question_failure(&e))?;
            if !batch.iter().all(&mut each) {
                return Ok(());
            }
            dump.recycle(batch);
        }
        Ok(())
    }
}
