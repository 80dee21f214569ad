//! What the account may do: too little stops reading, too much is a risk for nothing.

use super::Server;
use super::finding::Findings;
use crate::sql::Sql;

/// Rights that reading a log never needs.
const TOO_MUCH: [&str; 21] = [
    "ALL PRIVILEGES",
    "SUPER",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "TRIGGER",
    "EVENT",
    "EXECUTE",
    "CREATE USER",
    "CREATE ROLE",
    "DROP ROLE",
    "SHUTDOWN",
    "FILE",
    "LOCK TABLES",
    "DELETE HISTORY",
    "SYSTEM_VARIABLES_ADMIN",
    "BINLOG_ADMIN",
];

/// The rights of an account, upper case, with the place each counts for.
#[derive(Debug, Default)]
pub(super) struct Rights {
    granted: Vec<(String, Scope)>,
    known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Server,
    /// A database, table, column or routine.
    Part,
}

impl Rights {
    fn has(&self, right: &str) -> bool {
        self.granted.iter().any(|(r, s)| *s == Scope::Server && (r == right || r == "ALL PRIVILEGES"))
    }

    /// Whether the account may see tables: INFORMATION_SCHEMA shows those on which it has some right.
    pub(super) fn sees_all_tables(&self) -> bool {
        !self.known || self.has("SELECT")
    }
}

/// Reads SHOW GRANTS, which covers the roles that are active. MariaDB prints password hashes in it: nothing of its text
/// goes into findings but names of rights.
pub(super) fn check(server: &Server, sql: &mut Sql, findings: &mut Findings) -> Rights {
    let account = sql.value("SELECT CURRENT_USER()").map_or_else(|| "the account".to_string(), |a| quote_account(&a));
    let rights = match sql.query("SHOW GRANTS") {
        Ok(result) => {
            let lines: Vec<String> = (0..result.rows.len()).filter_map(|row| result.text(row, 0)).collect();
            Rights { granted: lines.iter().flat_map(|l| parse_grant(l)).collect(), known: true }
        }
        Err(e) => {
            findings.warning("rights", e.message, "the list of rights", "whether they are enough cannot be told");
            return Rights::default();
        }
    };
    // MariaDB split SUPER and renamed REPLICATION CLIENT in 10.5.
    let (client, as_good) = match server.is_mariadb() && server.version_numbers() >= (10, 5, 2) {
        true => ("BINLOG MONITOR", "BINLOG MONITOR"),
        false => ("REPLICATION CLIENT", "SUPER"),
    };
    let mut enough = true;
    for (right, other, why) in [
        ("REPLICATION SLAVE", "REPLICATION SLAVE", "the server sends its log only to accounts with it"),
        (client, as_good, "without it positions and files of the log cannot be asked for"),
    ] {
        if !rights.has(right) && !rights.has(other) {
            enough = false;
            findings
                .fatal("rights", format!("{account} lacks {right}"), right, why)
                .fix(format!("GRANT {right} ON *.* TO {account};"));
        }
    }
    let full = server.variable("binlog_row_metadata") == Some("FULL");
    if !full && !rights.granted.iter().any(|(r, _)| r == "SELECT" || r == "ALL PRIVILEGES") {
        enough = false;
        let why = "binlog_row_metadata is not FULL: columns are looked up in INFORMATION_SCHEMA, which shows only tables \
                   that the account has a right on";
        findings
            .warning("rights_select", format!("{account} lacks SELECT"), "SELECT on the tables, or full metadata", why)
            .fix(format!("GRANT SELECT ON the_database.* TO {account};"));
    }
    if enough {
        findings.ok("rights", format!("{account} may read the log"));
    }
    too_much(&rights, &account, client, findings);
    rights
}

fn too_much(rights: &Rights, account: &str, client: &str, findings: &mut Findings) {
    let mut names: Vec<&str> =
        rights.granted.iter().map(|(r, _)| r.as_str()).filter(|r| TOO_MUCH.contains(r)).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        findings.ok("rights_excess", "no right to change anything");
        return;
    }
    let why = "a reader needs no right to change data or the server; whoever steals its password would have them";
    // Another than the one that is looked at.
    let reader = if account.starts_with("'binlake'@") { "binlake_reader" } else { "binlake" };
    findings.warning("rights_excess", format!("{account} has {}", names.join(", ")), "an account of its own", why).fix(
        format!(
            "CREATE USER {reader}@'%' IDENTIFIED BY '…'; GRANT REPLICATION SLAVE, {client} ON *.* TO {reader}@'%';"
        ),
    );
}

/// `repl@%` as statements want it.
fn quote_account(account: &str) -> String {
    let quote = |part: &str| format!("'{}'", part.replace('\\', "\\\\").replace('\'', "''"));
    match account.rsplit_once('@') {
        Some((user, host)) => format!("{}@{}", quote(user), quote(host)),
        None => quote(account),
    }
}

/// The rights in one line of SHOW GRANTS; none for a granted role or a revocation.
fn parse_grant(line: &str) -> Vec<(String, Scope)> {
    let Some(rest) = line.strip_prefix("GRANT ") else { return Vec::new() };
    let Some(on) = find_outside(rest, " ON ") else { return Vec::new() };
    let (list, place) = (&rest[..on], &rest[on + 4..]);
    let scope = if place.starts_with("*.* ") { Scope::Server } else { Scope::Part };
    let mut rights = Vec::new();
    let mut current = String::new();
    let mut depth = 0_u32;
    for c in list.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => rights.push(std::mem::take(&mut current)),
            _ if depth == 0 => current.push(c),
            _ => {}
        }
    }
    rights.push(current);
    rights.into_iter().map(|r| (r.trim().to_ascii_uppercase(), scope)).filter(|(r, _)| r != "USAGE").collect()
}

/// Where `what` stands outside of quoted names.
fn find_outside(text: &str, what: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        if c == '`' {
            quoted = !quoted;
        }
        if !quoted && text[at..].starts_with(what) {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_as_servers_print_them() {
        let names = |line: &str| parse_grant(line).into_iter().map(|(r, _)| r).collect::<Vec<_>>();
        let maria = "GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `repl`@`%` IDENTIFIED BY PASSWORD '*A4'";
        assert_eq!(names(maria), ["SELECT", "REPLICATION SLAVE", "BINLOG MONITOR"]);
        let columns = "GRANT SELECT (`a`, `b`), INSERT ON `shop`.`t` TO `u`@`%`";
        assert_eq!(parse_grant(columns), [("SELECT".to_string(), Scope::Part), ("INSERT".to_string(), Scope::Part)]);
        assert!(names("GRANT USAGE ON *.* TO `u`@`%`").is_empty());
        assert!(names("GRANT `role ON x`@`%` TO `u`@`%`").is_empty());
        assert!(names("REVOKE INSERT ON `shop`.* FROM `u`@`%`").is_empty());
    }

    #[test]
    fn accounts_are_quoted() {
        assert_eq!(quote_account("repl@%"), "'repl'@'%'");
        assert_eq!(quote_account("o'neil@db1"), "'o''neil'@'db1'");
    }
}
