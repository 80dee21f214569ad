//! Checks of the connection and of how the server writes its log.

use pipeline::io::Cause;

use super::Server;
use super::finding::Findings;
use crate::source::Source;
use crate::sql::Sql;

/// The connection and the server's version.
pub(super) fn reach(source: &Source, server: &Server, sql: &mut Sql, findings: &mut Findings) {
    findings.ok("reach", format!("{} answers, login as {}", server.address, source.url.user));
    let cipher = sql.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'").ok().and_then(|r| r.text(0, 1)).unwrap_or_default();
    let loopback = matches!(source.url.host.as_str(), "localhost" | "::1") || source.url.host.starts_with("127.");
    if !cipher.is_empty() {
        findings.ok("tls", cipher);
    } else if loopback {
        findings.ok("tls", "not encrypted, on the loopback interface");
    } else {
        let why =
            "rows cross the network in clear text; give the source's address ?ssl-mode=required, better verify_ca";
        findings.warning("tls", "not encrypted", "TLS", why);
    }
    let numbers = server.version_numbers();
    let oldest = if server.is_mariadb() { (10, 1, 0) } else { (5, 5, 0) };
    let name = format!("{} {}", if server.is_mariadb() { "MariaDB" } else { "MySQL" }, server.version);
    if numbers >= oldest {
        findings.ok("version", name);
    } else {
        findings.warning(
            "version",
            name,
            "MySQL 5.5, MariaDB 10.1 or newer",
            "BinLake was not tried with older servers",
        );
    }
}

/// Whether the server keeps a binary log at all; without one the other checks of the log are left out.
pub(super) fn check(server: &Server, sql: &mut Sql, findings: &mut Findings) -> bool {
    if !server.is_on("log_bin") {
        findings
            .fatal("log_bin", "OFF", "ON", "the server keeps no binary log: there is nothing to read")
            .fix("[mysqld] log_bin=binlog (and no skip-log-bin), then restart the server");
        return false;
    }
    findings.ok("log_bin", "ON");
    format(server, sql, findings);
    row_image(server, findings);
    row_metadata(server, findings);
    partial_json(server, findings);
    match server.variable("binlog_checksum") {
        Some("NONE") => {
            findings
                .warning("binlog_checksum", "NONE", "CRC32", "damage of the log on disk or on the way goes unnoticed")
                .fix(server.set("binlog_checksum", "'CRC32'"));
        }
        Some(value) => {
            findings.ok("binlog_checksum", value);
        }
        None => {
            findings.ok("binlog_checksum", "this version has none");
        }
    }
    let compressed = ["binlog_transaction_compression", "log_bin_compress"].into_iter().find(|name| server.is_on(name));
    findings
        .ok("binlog_compression", compressed.map_or("OFF".to_string(), |name| format!("{name} is ON, which is read")));
    if let Some(value) = server.variable("sync_binlog").filter(|v| *v != "1") {
        let why =
            "after a power failure the log may lack the last transactions, which readers may have seen or never see";
        findings.warning("sync_binlog", value, "1", why).fix(server.set("sync_binlog", "1"));
    }
    filters(sql, findings);
    gtid(server, findings);
    replica(server, sql, findings);
    true
}

fn format(server: &Server, sql: &mut Sql, findings: &mut Findings) {
    let format = server.variable("binlog_format").unwrap_or("ROW");
    if format != "ROW" {
        let why =
            "the log holds statements instead of rows; sessions keep the format they began with until they reconnect";
        findings.fatal("binlog_format", format, "ROW", why).fix(server.set("binlog_format", "'ROW'"));
        return;
    }
    findings
        .ok("binlog_format", "ROW")
        .why("sessions with SUPER, BINLOG ADMIN or SESSION_VARIABLES_ADMIN can still choose another for themselves");
    let question = "SELECT VARIABLE_VALUE, COUNT(*) FROM performance_schema.variables_by_thread \
                    WHERE VARIABLE_NAME = 'binlog_format' AND VARIABLE_VALUE <> 'ROW' GROUP BY VARIABLE_VALUE";
    // Where the account may not look, or MariaDB has no such table, the note above stands.
    if let Ok(others) = sql.query(question)
        && !others.rows.is_empty()
    {
        let found: Vec<String> = (0..others.rows.len())
            .map(|i| {
                format!(
                    "{} in {} sessions",
                    others.text(i, 0).unwrap_or_default(),
                    others.text(i, 1).unwrap_or_default()
                )
            })
            .collect();
        let why = "what these sessions write is logged as statements: its rows are not seen; they have to reconnect";
        findings.warning("binlog_format_sessions", found.join(", "), "ROW in every session", why);
    }
}

fn row_image(server: &Server, findings: &mut Findings) {
    match server.variable("binlog_row_image") {
        None => {
            findings.ok("binlog_row_image", "this version logs full rows only");
        }
        Some("FULL") => {
            findings.ok("binlog_row_image", "FULL");
        }
        Some(value) => {
            let why =
                "updates and deletes carry only some columns: consumers get incomplete rows, keyless tables no key";
            findings.warning("binlog_row_image", value, "FULL", why).fix(server.set("binlog_row_image", "'FULL'"));
        }
    }
}

fn row_metadata(server: &Server, findings: &mut Findings) {
    let why = "the log does not name columns: names and types come from INFORMATION_SCHEMA (SELECT on the tables is \
               needed), and a change of a table that was not read in time stops that table";
    match server.variable("binlog_row_metadata") {
        Some("FULL") => {
            findings.ok("binlog_row_metadata", "FULL");
        }
        Some(value) => {
            findings
                .warning("binlog_row_metadata", value, "FULL", why)
                .fix(server.set("binlog_row_metadata", "'FULL'"));
        }
        None => {
            let wanted = "FULL (MySQL 8.0.1, MariaDB 10.5 or newer)";
            findings.warning("binlog_row_metadata", "this version cannot log it", wanted, why);
        }
    }
}

fn partial_json(server: &Server, findings: &mut Findings) {
    let Some(value) = server.variable("binlog_row_value_options") else { return };
    if value.is_empty() {
        findings.ok("binlog_row_value_options", "none");
        return;
    }
    let why = "updates of JSON columns are logged as differences; the full value can be given only where the row before \
               the update is logged, too (binlog_row_image FULL)";
    findings.warning("binlog_row_value_options", value, "none", why).fix(server.set("binlog_row_value_options", "''"));
}

fn filters(sql: &mut Sql, findings: &mut Findings) {
    let status = match sql.log_status() {
        Ok(status) => status,
        Err(e) if e.cause == Cause::Denied => {
            findings.warning("binlog_filters", "not visible to this account", "none", "see the missing rights");
            return;
        }
        Err(e) => {
            findings.warning("binlog_filters", e.message, "none", "the server does not tell the log's status");
            return;
        }
    };
    let filters: Vec<String> = ["Binlog_Do_DB", "Binlog_Ignore_DB"]
        .into_iter()
        .filter_map(|name| Some((name, status.first(name).filter(|v| !v.is_empty())?)))
        .map(|(name, value)| format!("{}={value}", name.to_ascii_lowercase()))
        .collect();
    if filters.is_empty() {
        findings.ok("binlog_filters", "none");
    } else {
        let why = "changes of other databases are not in the log and never seen";
        findings
            .warning("binlog_filters", filters.join(" "), "none", why)
            .fix("remove these options from the server's configuration and restart it");
    }
}

fn gtid(server: &Server, findings: &mut Findings) {
    if server.is_mariadb() {
        findings.ok("gtid", format!("domain {}", server.variable("gtid_domain_id").unwrap_or("0")));
        return;
    }
    match server.variable("gtid_mode") {
        Some("ON") => {
            findings.ok("gtid", "gtid_mode is ON");
        }
        Some(value) => {
            let why = "positions are file and offset, which mean nothing on another server: reading cannot go on after a \
                       failover";
            findings.warning("gtid", format!("gtid_mode is {value}"), "ON", why).fix(
                "SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = OFF_PERMISSIVE; \
                 SET GLOBAL gtid_mode = ON_PERMISSIVE; SET GLOBAL gtid_mode = ON; -- and both under [mysqld]",
            );
        }
        None => {
            let why = "positions are file and offset: reading cannot go on after a failover";
            findings.warning("gtid", "this version has none", "MySQL 5.6 or newer", why);
        }
    }
}

/// What a server that follows another one has to log, and how far behind it is.
fn replica(server: &Server, sql: &mut Sql, findings: &mut Findings) {
    let logs_updates = server.is_on("log_replica_updates") || server.is_on("log_slave_updates");
    let wanted = "ON on a replica";
    let name =
        if server.variable("log_replica_updates").is_some() { "log_replica_updates" } else { "log_slave_updates" };
    let lost = "rows that this server takes over from its own source are not in its log and never seen";
    let fix = format!("[mysqld] {name}=ON, then restart the server");
    let statements: &[&str] =
        if server.is_mariadb() { &["SHOW ALL SLAVES STATUS"] } else { &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"] };
    let Some(status) = statements.iter().find_map(|s| sql.query(s).ok()) else {
        if logs_updates {
            findings.ok("replica", format!("{name} is ON; whether it is a replica is not visible to this account"));
        } else {
            let found = format!("{name} is OFF; whether this is a replica is not visible to this account");
            findings.warning("replica", found, wanted, lost).fix(fix);
        }
        return;
    };
    if status.rows.is_empty() {
        findings.ok("replica", "follows no other server");
        return;
    }
    if logs_updates {
        findings.ok("replica", format!("a replica with {name}"));
    } else {
        findings.fatal("replica", format!("a replica with {name} OFF"), wanted, lost).fix(fix);
    }
    let lag = status.first("Seconds_Behind_Source").or_else(|| status.first("Seconds_Behind_Master"));
    let why = "everything read from it comes that much later, or not at all";
    match lag.and_then(|l| l.parse::<u64>().ok()) {
        None => {
            findings.warning("replica_delay", "replication is not running", "running", why);
        }
        Some(seconds) if seconds > 60 => {
            findings.warning("replica_delay", format!("{seconds} s"), "below 60 s", why);
        }
        Some(seconds) => {
            findings.ok("replica_delay", format!("{seconds} s"));
        }
    }
}
