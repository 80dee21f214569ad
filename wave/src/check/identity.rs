//! Does another reader already use the identity that BinLake would show to the server?

use std::path::Path;

use mysql_wire::QueryResult;

use super::Server;
use super::finding::Findings;
use crate::source::{Identity, Source};
use crate::sql::Sql;

/// Folder of `up` unless another is given.
const DATA_DIR: &str = "binlake-data";

/// The identity of `binlake up` here with its default folder, whether that folder exists yet or not.
pub(super) fn expected(source: &Source) -> Identity {
    let here = std::env::current_dir().and_then(|dir| dir.canonicalize()).unwrap_or_default();
    let scope = Path::new(DATA_DIR).canonicalize().unwrap_or_else(|_| here.join(DATA_DIR));
    Identity::stable(&scope.to_string_lossy(), &source.default_name())
}

pub(super) fn check(source: &Source, server: &Server, sql: &mut Sql, findings: &mut Findings) {
    let identity = expected(source);
    let of_server = server.variable("server_id").unwrap_or("0");
    if of_server == "0" {
        findings
            .fatal("server_id", "0", "a number of its own", "a server without an id gives its log to nobody")
            .fix(server.set("server_id", "1"));
        return;
    }
    if of_server == identity.server_id.to_string() {
        let why = "it is the id that `binlake up` in this folder would use; both need their own";
        findings.fatal("server_id", of_server, "another number", why).fix(server.set("server_id", "1"));
        return;
    }
    let listed = ["SHOW REPLICAS", "SHOW SLAVE HOSTS"].iter().find_map(|s| sql.query(s).ok());
    let Some(listed) = listed else {
        let need = if server.is_mariadb() { "REPLICATION MASTER ADMIN" } else { "REPLICATION SLAVE" };
        findings
            .ok("server_id", format!("{of_server}; the ids of other replicas are not visible without {need}"))
            .why(format!("`binlake up` in this folder would use {}", identity.server_id));
        return;
    };
    match twin(&listed, &identity) {
        Some(host) => {
            let found = format!("a replica {host} is connected with server id {}", identity.server_id);
            let why = "`binlake up` in this folder would use the same identity: it runs already, or another process took \
                       it (the same path on another machine); the later one ends the earlier one";
            findings
                .fatal("duplicate_server_id", found, "an identity of its own", why)
                .fix("stop the other reader, or give `up` another --data-dir");
        }
        None => {
            let found = format!("{of_server}; {} replicas, none with the id {}", listed.rows.len(), identity.server_id);
            findings.ok("server_id", found);
        }
    }
}

/// `host` of the listed replica that has this identity.
fn twin(listed: &QueryResult, identity: &Identity) -> Option<String> {
    let column = |names: &[&str]| listed.columns.iter().position(|c| names.iter().any(|n| c.eq_ignore_ascii_case(n)));
    let id = column(&["Server_Id", "Server_id"]);
    let uuid = column(&["Replica_UUID", "Slave_UUID"]);
    let host = column(&["Host"]);
    let text = |row, column: Option<usize>| column.and_then(|c| listed.text(row, c)).unwrap_or_default();
    (0..listed.rows.len())
        .find(|row| text(*row, id) == identity.server_id.to_string() || text(*row, uuid) == identity.uuid)
        .map(|row| text(row, host))
}
