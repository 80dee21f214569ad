//! What a reader of the binary log says to the server between login and the first event, as a script.
//!
//! First the server's variables are read, then the rest of the script is planned from them: the checksum of the log is
//! acknowledged (a server refuses to send checksummed events to a reader that does not), the heartbeat period, the
//! reader's identity and a long write timeout are set, MariaDB is told which events are understood, and at last the reader
//! registers and asks for the log. Both the old and the new name of a user variable are set where a server may read
//! either (MySQL 8.0.26 renamed `@master_…` and `@slave_…`); the one it does not read is without effect.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::command::{DumpRequest, DumpStart, QueryResult};
use crate::error::WireError;
use crate::handshake::Flavor;

/// How long the server waits for a reader that does not read, in seconds, before it drops the connection. A reader under
/// back-pressure stops reading on purpose, and the server's default of one minute would end it.
const NET_WRITE_TIMEOUT_SECS: u32 = 3600;
/// A server's longest heartbeat period (MySQL manual, `SOURCE_HEARTBEAT_PERIOD`).
const MAX_HEARTBEAT: Duration = Duration::from_secs(4_294_967);
/// MARIA_SLAVE_CAPABILITY_GTID: events of MariaDB's GTID replication may be sent.
const MARIADB_CAPABILITY: u32 = 4;
/// Variables read at the start; those a server does not have are absent from the answer.
const VARIABLES: [&str; 22] = [
    "binlog_checksum",
    "binlog_expire_logs_seconds",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "binlog_transaction_compression",
    "expire_logs_days",
    "gtid_domain_id",
    "gtid_mode",
    "hostname",
    "log_bin",
    "log_replica_updates",
    "log_slave_updates",
    "lower_case_table_names",
    "max_allowed_packet",
    "port",
    "server_id",
    "server_uuid",
    "system_time_zone",
    "time_zone",
    "version",
];

/// Where replication starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartPosition {
    /// At the event that begins at `pos` of `file`; an empty file name means the oldest log, with `pos` 4.
    File { file: String, pos: u64 },
    /// After a MySQL GTID set, encoded as COM_BINLOG_DUMP_GTID wants it (with tags, if it has any).
    MySqlGtid { set: Vec<u8> },
    /// After a MariaDB GTID position such as `0-1-100,1-2-5`; empty means from the oldest log on.
    MariaDbGtid { position: String },
}

/// One reader's wish for [`crate::Session::replicate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRequest {
    /// Must differ from that of every other replica of this server, and not be 0.
    pub server_id: u32,
    /// This reader's identity, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`. A second reader with it ends the first one.
    pub uuid: String,
    /// After this long without an event the server sends a heartbeat; zero switches heartbeats off.
    pub heartbeat: Duration,
    pub from: StartPosition,
    /// End at the end of the log instead of waiting for more.
    pub stop_at_end: bool,
}

/// What is known of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// As the server names it, without MariaDB's `5.5.5-` prefix.
    pub version: String,
    pub flavor: Flavor,
    /// The server's number of this connection, for KILL and the process list.
    pub connection_id: u32,
    pub encrypted: bool,
    /// Global variables by name in lower case; empty before [`crate::Session::replicate`] has read them.
    pub variables: BTreeMap<String, String>,
}

impl ServerInfo {
    /// A global variable by its name in lower case; None when the server does not have it, or was not asked yet.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// None before the variables are read.
    pub fn server_id(&self) -> Option<u32> {
        self.variable("server_id")?.parse().ok()
    }

    /// MySQL only; MariaDB has none.
    pub fn server_uuid(&self) -> Option<&str> {
        self.variable("server_uuid")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Query(String),
    Register { server_id: u32 },
    Dump(DumpRequest),
}

/// The script: [`Self::next`] gives a step, and the result of a query goes to [`Self::on_result`] before the next one.
#[derive(Debug)]
pub(crate) struct ReplicaSetup {
    pub(crate) info: ServerInfo,
    request: ReplicaRequest,
    steps: VecDeque<Step>,
    planned: bool,
}

impl ReplicaSetup {
    pub(crate) fn new(info: ServerInfo, request: ReplicaRequest) -> Result<Self, WireError> {
        check(&info, &request)?;
        let names = VARIABLES.map(|name| format!("'{name}'")).join(",");
        let first = Step::Query(format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})"));
        Ok(Self { info, request, steps: VecDeque::from([first]), planned: false })
    }

    pub(crate) fn next(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    pub(crate) fn on_result(&mut self, result: &QueryResult) {
        if self.planned {
            return;
        }
        self.planned = true;
        self.info.variables = result.named();
        self.steps = plan(&self.info, &self.request).into();
    }
}

fn check(info: &ServerInfo, request: &ReplicaRequest) -> Result<(), WireError> {
    let unfit = |what: &str| Err(WireError::Config(what.to_owned()));
    if request.server_id == 0 {
        return unfit("server id 0 is not allowed for a replica");
    }
    // both go into statements, so only what they consist of may pass
    let uuid = request.uuid.as_bytes();
    if uuid.len() != 36 || !uuid.iter().all(|&byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return unfit("the replica's uuid is not of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    }
    match (&request.from, info.flavor) {
        (StartPosition::MySqlGtid { .. }, Flavor::MariaDb) => {
            unfit("the position is a MySQL GTID set, but the server is MariaDB")
        }
        (StartPosition::MariaDbGtid { .. }, Flavor::MySql) => {
            unfit("the position is a MariaDB GTID position, but the server is MySQL")
        }
        (StartPosition::MariaDbGtid { position }, Flavor::MariaDb)
            if !position.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b',') =>
        {
            unfit("a MariaDB GTID position looks like 0-1-100,1-2-5")
        }
        _ => Ok(()),
    }
}

fn plan(info: &ServerInfo, request: &ReplicaRequest) -> Vec<Step> {
    let mut sql = Vec::new();
    // MySQL 5.5 has no checksums and no such variable
    if info.variables.contains_key("binlog_checksum") {
        sql.push(
            "SET @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum"
                .to_owned(),
        );
    }
    let period = request.heartbeat.min(MAX_HEARTBEAT).as_nanos();
    sql.push(format!("SET @master_heartbeat_period = {period}, @source_heartbeat_period = {period}"));
    sql.push(format!("SET @slave_uuid = '{0}', @replica_uuid = '{0}'", request.uuid));
    sql.push(format!("SET SESSION net_write_timeout = {NET_WRITE_TIMEOUT_SECS}"));
    if info.flavor == Flavor::MariaDb {
        sql.push(format!("SET @mariadb_slave_capability = {MARIADB_CAPABILITY}"));
        if let StartPosition::MariaDbGtid { position } = &request.from {
            sql.push(format!("SET @slave_connect_state = '{position}'"));
            // a reader whose position is ahead of this server's own log after a failover is told so by the position, not
            // by the order of numbers
            sql.push("SET @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0".to_owned());
        }
    }
    let start = match &request.from {
        StartPosition::File { file, pos } => DumpStart::File { file: file.clone(), pos: *pos },
        StartPosition::MySqlGtid { set } => DumpStart::Gtid { set: set.clone() },
        StartPosition::MariaDbGtid { .. } => DumpStart::File { file: String::new(), pos: 4 },
    };
    let mut steps: Vec<_> = sql.into_iter().map(Step::Query).collect();
    steps.push(Step::Register { server_id: request.server_id });
    steps.push(Step::Dump(DumpRequest { server_id: request.server_id, start, stop_at_end: request.stop_at_end }));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(flavor: Flavor) -> ServerInfo {
        ServerInfo { version: "x".into(), flavor, connection_id: 1, encrypted: false, variables: BTreeMap::new() }
    }

    fn request(from: StartPosition) -> ReplicaRequest {
        ReplicaRequest {
            server_id: 77,
            uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".into(),
            heartbeat: Duration::from_millis(1500),
            from,
            stop_at_end: false,
        }
    }

    fn variables(checksum: bool) -> QueryResult {
        let mut rows = vec![vec![Some(b"server_id".to_vec()), Some(b"5".to_vec())]];
        if checksum {
            rows.push(vec![Some(b"binlog_checksum".to_vec()), Some(b"CRC32".to_vec())]);
        }
        QueryResult { columns: vec!["Variable_name".into(), "Value".into()], rows, affected_rows: 0 }
    }

    fn script(flavor: Flavor, from: StartPosition, checksum: bool) -> Vec<Step> {
        let mut setup = ReplicaSetup::new(info(flavor), request(from)).unwrap();
        assert!(matches!(setup.next(), Some(Step::Query(sql)) if sql.starts_with("SHOW GLOBAL VARIABLES")));
        setup.on_result(&variables(checksum));
        assert_eq!(setup.info.server_id(), Some(5));
        let mut steps = Vec::new();
        while let Some(step) = setup.next() {
            setup.on_result(&QueryResult::default());
            steps.push(step);
        }
        steps
    }

    #[test]
    fn mysql_by_gtid() {
        let query = |sql: &str| Step::Query(sql.to_owned());
        assert_eq!(
            script(Flavor::MySql, StartPosition::MySqlGtid { set: vec![0; 8] }, true),
            [
                query(
                    "SET @master_binlog_checksum = @@global.binlog_checksum, \
                     @source_binlog_checksum = @@global.binlog_checksum"
                ),
                query("SET @master_heartbeat_period = 1500000000, @source_heartbeat_period = 1500000000"),
                query(
                    "SET @slave_uuid = '3e11fa47-71ca-11e1-9e33-c80aa9429562', \
                     @replica_uuid = '3e11fa47-71ca-11e1-9e33-c80aa9429562'"
                ),
                query("SET SESSION net_write_timeout = 3600"),
                Step::Register { server_id: 77 },
                Step::Dump(DumpRequest {
                    server_id: 77,
                    start: DumpStart::Gtid { set: vec![0; 8] },
                    stop_at_end: false
                }),
            ]
        );
    }

    #[test]
    fn mariadb_by_gtid_sets_the_position_before_the_dump() {
        let steps = script(Flavor::MariaDb, StartPosition::MariaDbGtid { position: "0-1-100".into() }, true);
        assert_eq!(steps.get(4), Some(&Step::Query("SET @mariadb_slave_capability = 4".into())));
        assert_eq!(steps.get(5), Some(&Step::Query("SET @slave_connect_state = '0-1-100'".into())));
        assert!(
            matches!(steps.last(), Some(Step::Dump(dump)) if dump.start == DumpStart::File { file: String::new(), pos: 4 })
        );
    }

    #[test]
    fn a_server_without_checksums_is_not_asked_for_them() {
        let steps = script(Flavor::MySql, StartPosition::File { file: "b.1".into(), pos: 4 }, false);
        assert!(!steps.iter().any(|step| matches!(step, Step::Query(sql) if sql.contains("checksum"))));
    }

    #[test]
    fn nothing_foreign_gets_into_a_statement() {
        let refused = |flavor, request| ReplicaSetup::new(info(flavor), request).is_err();
        let file = StartPosition::File { file: String::new(), pos: 4 };
        let mut quoted = request(file.clone());
        quoted.uuid = "3e11fa47-71ca-11e1-9e33-c80aa942956'".into();
        assert!(refused(Flavor::MySql, quoted));
        assert!(refused(Flavor::MariaDb, request(StartPosition::MariaDbGtid { position: "0-1-1'".into() })));
        assert!(refused(Flavor::MySql, request(StartPosition::MariaDbGtid { position: "0-1-1".into() })));
        assert!(refused(Flavor::MariaDb, request(StartPosition::MySqlGtid { set: vec![0; 8] })));
        let mut zero = request(file);
        zero.server_id = 0;
        assert!(refused(Flavor::MySql, zero));
    }
}
