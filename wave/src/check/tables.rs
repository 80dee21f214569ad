//! Checks of the tables that the rule matches.

use std::collections::HashSet;

use pipeline::rule::TablePatterns;

use super::finding::Findings;
use super::rights::Rights;
use super::{Server, is_broken};
use crate::exit::CommandResult;
use crate::sql::Sql;

/// So many names stand in a finding.
const MAX_LISTED: usize = 20;
/// So many definitions are read to find cascades, each by a statement of its own.
const MAX_DEFINITIONS: usize = 1000;
const SYSTEM: &str = "('mysql', 'sys', 'information_schema', 'performance_schema')";
/// Engines whose changes belong to transactions.
const TRANSACTIONAL: [&str; 5] = ["InnoDB", "ROCKSDB", "TokuDB", "ndbcluster", "PERCONA-XTRADB"];

type Name = (String, String);

pub(super) fn check(
    server: &Server,
    sql: &mut Sql,
    patterns: &TablePatterns,
    rights: &Rights,
    findings: &mut Findings,
) -> CommandResult {
    sql.plain_session()?;
    let all = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' \
         AND TABLE_SCHEMA NOT IN {SYSTEM} ORDER BY TABLE_SCHEMA, TABLE_NAME"
    );
    let Some(all) = ask(sql, &all, findings)? else { return Ok(()) };
    let tables: Vec<(Name, String)> = all
        .into_iter()
        .filter_map(|row| Some(((row.first()?.clone(), row.get(1)?.clone()), row.get(2)?.clone())))
        .filter(|((database, table), _)| patterns.matches(database, table))
        .collect();
    if tables.is_empty() {
        let why = if rights.sees_all_tables() {
            "nothing would be read; tables that are made later are matched then"
        } else {
            "nothing would be read, or this account may not see the tables (it has no right on them): the log shows them \
             all the same, but their keys and engines cannot be checked"
        };
        findings.warning("tables", "no table is matched", "some", why);
        return Ok(());
    }
    let unseen = if rights.sees_all_tables() { "" } else { ", of those this account may see" };
    findings.ok("tables", format!("{} tables are matched{unseen}", tables.len()));
    primary_keys(server, sql, &tables, findings)?;
    engines(&tables, findings);
    cascades(server, sql, &tables, findings)
}

/// Rows as text, NULL as empty; None (and a finding) when the server does not answer this question.
fn ask(sql: &mut Sql, question: &str, findings: &mut Findings) -> CommandResult<Option<Vec<Vec<String>>>> {
    match sql.query(question) {
        Ok(result) => {
            let columns = result.columns.len();
            let row = |i| (0..columns).map(|c| result.text(i, c).unwrap_or_default()).collect();
            Ok(Some((0..result.rows.len()).map(row).collect()))
        }
        Err(e) if is_broken(&e) => Err(e.into()),
        Err(e) => {
            findings.warning("tables", e.message, "the list of tables", "the tables could not be checked");
            Ok(None)
        }
    }
}

fn primary_keys(server: &Server, sql: &mut Sql, tables: &[(Name, String)], findings: &mut Findings) -> CommandResult {
    // With SELECT alone MariaDB shows this view, but not TABLE_CONSTRAINTS.
    let question = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.STATISTICS \
         WHERE INDEX_NAME = 'PRIMARY' AND SEQ_IN_INDEX = 1 AND TABLE_SCHEMA NOT IN {SYSTEM}"
    );
    let Some(keyed) = ask(sql, &question, findings)? else { return Ok(()) };
    let keyed: HashSet<Name> = keyed.into_iter().filter_map(pair).collect();
    let without: Vec<&Name> = tables.iter().map(|(name, _)| name).filter(|name| !keyed.contains(*name)).collect();
    if without.is_empty() {
        findings.ok("primary_key", "every table has one");
        return Ok(());
    }
    let why = "their rows have no key: consumers cannot tell which row an update or delete is about, and changes of one \
               row may be in different partitions, with no order between them";
    let invisible = if server.is_mariadb() {
        server.version_numbers() >= (10, 3, 0)
    } else {
        server.version_numbers() >= (8, 0, 23)
    };
    let column = format!(
        "my_row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT {}PRIMARY KEY FIRST",
        if invisible { "INVISIBLE " } else { "" }
    );
    let fix = without
        .iter()
        .take(MAX_LISTED)
        .map(|name| format!("ALTER TABLE {} ADD COLUMN {column};", quoted(name)))
        .collect::<Vec<_>>()
        .join(" ");
    let found = format!("{} tables without: {}", without.len(), list(&without));
    findings.warning("primary_key", found, "a primary key on every table", why).fix(fix);
    Ok(())
}

fn engines(tables: &[(Name, String)], findings: &mut Findings) {
    let odd: Vec<&(Name, String)> = tables
        .iter()
        .filter(|(_, engine)| !engine.is_empty() && !TRANSACTIONAL.iter().any(|t| t.eq_ignore_ascii_case(engine)))
        .collect();
    if odd.is_empty() {
        findings.ok("engine", "every table is transactional");
        return;
    }
    let why = "a statement that fails half way leaves its rows, and a crash can lose rows that the log has (or the other \
               way round)";
    let named: Vec<String> = odd.iter().take(MAX_LISTED).map(|((d, t), e)| format!("{d}.{t} ({e})")).collect();
    let found = format!("{} tables not transactional: {}{}", odd.len(), named.join(", "), more(odd.len()));
    let fix = odd.iter().take(MAX_LISTED).map(|(name, _)| format!("ALTER TABLE {} ENGINE = InnoDB;", quoted(name)));
    findings.warning("engine", found, "InnoDB", why).fix(fix.collect::<Vec<_>>().join(" "));
}

/// InnoDB carries out cascades below the SQL layer, which writes the log: child rows change without a trace. From
/// MySQL 9.6 on the SQL layer does it, unless `innodb_native_foreign_keys` is ON.
fn cascades(server: &Server, sql: &mut Sql, tables: &[(Name, String)], findings: &mut Findings) -> CommandResult {
    if server.variable("innodb_native_foreign_keys").is_some() && !server.is_on("innodb_native_foreign_keys") {
        findings.ok("foreign_key_cascade", "this server logs cascaded changes");
        return Ok(());
    }
    // With SELECT alone MariaDB shows this view, but not REFERENTIAL_CONSTRAINTS, which has the rules.
    let question = format!(
        "SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE \
         WHERE REFERENCED_TABLE_NAME IS NOT NULL AND TABLE_SCHEMA NOT IN {SYSTEM} ORDER BY 1, 2"
    );
    let Some(rows) = ask(sql, &question, findings)? else { return Ok(()) };
    let matched: HashSet<&Name> = tables.iter().map(|(name, _)| name).collect();
    let candidates: Vec<Name> = rows.into_iter().filter_map(pair).filter(|name| matched.contains(name)).collect();
    let mut children = Vec::new();
    for name in candidates.iter().take(MAX_DEFINITIONS) {
        let Some(rows) = ask(sql, &format!("SHOW CREATE TABLE {}", quoted(name)), findings)? else { continue };
        if rows.first().and_then(|row| row.get(1)).is_some_and(|text| has_cascade(text)) {
            children.push(name.clone());
        }
    }
    if candidates.len() > MAX_DEFINITIONS {
        let found = format!("{MAX_DEFINITIONS} of {} tables with foreign keys looked at", candidates.len());
        findings.warning("foreign_key_cascade", found, "all", "narrow --tables to check the others");
    }
    if children.is_empty() {
        findings.ok("foreign_key_cascade", "none");
        return Ok(());
    }
    let found =
        format!("{} tables are changed by cascades: {}", children.len(), list(&children.iter().collect::<Vec<_>>()));
    let why = "the server does not log rows that a foreign key's CASCADE or SET NULL changes: only the parent's change is \
               seen. Delete and update the children by statements, with rules of RESTRICT";
    findings.warning("foreign_key_cascade", found, "no cascades", why);
    Ok(())
}

/// Whether a foreign key of SHOW CREATE TABLE changes its child rows; servers print one constraint a line.
fn has_cascade(definition: &str) -> bool {
    definition.lines().any(|line| {
        let line = line.trim();
        let rule = ["DELETE", "UPDATE"].iter().any(|on| {
            ["CASCADE", "SET NULL", "SET DEFAULT"].iter().any(|what| line.contains(&format!(" ON {on} {what}")))
        });
        line.starts_with("CONSTRAINT ") && line.contains(" FOREIGN KEY (") && rule
    })
}

fn pair(row: Vec<String>) -> Option<Name> {
    let mut row = row.into_iter();
    Some((row.next()?, row.next()?))
}

fn quoted((database, table): &Name) -> String {
    format!("`{}`.`{}`", database.replace('`', "``"), table.replace('`', "``"))
}

fn list(names: &[&Name]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_LISTED).map(|(d, t)| format!("{d}.{t}")).collect();
    format!("{}{}", shown.join(", "), more(names.len()))
}

fn more(count: usize) -> String {
    if count > MAX_LISTED { format!(" and {} more", count - MAX_LISTED) } else { String::new() }
}
