//! Applies messages, as `binlake read` prints them, to another server: what a subscriber that keeps a copy would do.
//!
//! Numbers are never parsed: their digits go from the message into the statement. The first letter of a column's name
//! tells how its text becomes a value (see `workload`).

use std::fmt::Write as _;
use std::io::Write as _;

use kit::Database;

/// Members of a JSON object, values as they stand in the text.
fn members(object: &str) -> Vec<(String, &str)> {
    let bytes = object.as_bytes();
    assert_eq!((bytes.first(), bytes.last()), (Some(&b'{'), Some(&b'}')), "{object}");
    let (mut found, mut at) = (Vec::new(), 1);
    while at < bytes.len() - 1 {
        let colon = value_end(bytes, at);
        let end = value_end(bytes, colon + 1);
        found.push((string(&object[at..colon]), &object[colon + 1..end]));
        at = end + 1;
    }
    found
}

/// Where the value that begins at `at` ends.
fn value_end(bytes: &[u8], mut at: usize) -> usize {
    let (mut depth, mut quoted) = (0, false);
    loop {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b',' | b':' | b'}' | b']' if !quoted && depth == 0 => return at,
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

fn string(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n"))
}

/// A value of the column `name` as SQL.
fn sql_value(name: &str, raw: &str) -> String {
    match (name.as_bytes()[0], raw.as_bytes()[0]) {
        _ if raw == "null" => "NULL".into(),
        (b'b' | b'n', b'"') => format!("FROM_BASE64({raw})"),
        (_, b'"') => quoted(&string(raw)),
        (b'm', b'[') => {
            let labels: Vec<String> = serde_json::from_str(raw).unwrap();
            quoted(&labels.join(","))
        }
        // As text: a DECIMAL literal with an exponent would be a DOUBLE.
        (b'j', b'{') | (b'd', _) => quoted(raw),
        _ => raw.to_owned(),
    }
}

/// One message.
struct Message<'a> {
    members: Vec<(String, &'a str)>,
}

impl<'a> Message<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.members.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).map_or(0, |v| v.parse().unwrap())
    }

    /// Place in the source: transaction, event, row; of an update of the key the deletion first.
    fn place(&self) -> (u64, u64, u64, bool) {
        let deletes = self.get("type") == Some("\"delete\"");
        (self.number("seq"), self.number("event"), self.number("row"), !deletes)
    }

    fn statement(&self) -> String {
        if let Some(sql) = self.get("sql") {
            // Written by the server for a table that comes with its rows, in one transaction.
            let sql = string(sql);
            return sql.strip_suffix(" START TRANSACTION").unwrap_or(&sql).to_owned();
        }
        let table = string(self.get("table").unwrap());
        let data = members(self.get("data").unwrap());
        let pairs = |columns: &[(String, &str)], between: &str| {
            let mut sql = String::new();
            for (i, (name, raw)) in columns.iter().enumerate() {
                let comma = if i == 0 {
                    ""
                } else if between == "=" {
                    ", "
                } else {
                    " AND "
                };
                let _ = write!(sql, "{comma}{name} {between} {}", sql_value(name, raw));
            }
            sql
        };
        let before: Vec<(String, &str)> = {
            let old = self.get("old").map(members).unwrap_or_default();
            let was = |name: &String| old.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
            data.iter().map(|(name, raw)| (name.clone(), was(name).unwrap_or(raw))).collect()
        };
        let key: Vec<(String, &str)> =
            before.into_iter().filter(|(n, _)| table.contains("nokey") || n == "id" || n == "k").collect();
        let which = pairs(&key, "<=>");
        match self.get("type").unwrap() {
            "\"insert\"" => {
                let names: Vec<&str> = data.iter().map(|(n, _)| n.as_str()).collect();
                let values: Vec<String> = data.iter().map(|(n, v)| sql_value(n, v)).collect();
                format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "))
            }
            "\"update\"" => format!("UPDATE {table} SET {} WHERE {which} LIMIT 1", pairs(&data, "=")),
            "\"delete\"" => format!("DELETE FROM {table} WHERE {which} LIMIT 1"),
            other => panic!("unknown type {other}"),
        }
    }
}

/// Applies `lines` to the database `it` of `to`, which is made anew. `sorted`: they come from several partitions and are
/// put in the order of the source; a statement, which each partition has, counts once. Gives the number of rows.
pub(crate) fn apply(lines: &[String], sorted: bool, to: &Database) -> usize {
    let mut messages: Vec<Message> = lines.iter().map(|line| Message { members: members(line) }).collect();
    // Made here already; and what triggers did comes as rows.
    messages.retain(|m| {
        let trigger = m.get("sql").is_some_and(|sql| sql.contains(" TRIGGER "));
        !trigger && m.get("type") != Some("\"database-create\"")
    });
    if sorted {
        messages.sort_by_key(Message::place);
        messages.dedup_by(|a, b| a.get("sql").is_some() && b.get("sql").is_some() && a.place() == b.place());
    }
    to.sql("DROP DATABASE IF EXISTS it; CREATE DATABASE it").unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "SET NAMES utf8mb4; SET time_zone = '+00:00', sql_mode = '', sql_log_bin = 0; USE it; BEGIN;")
        .unwrap();
    for (i, message) in messages.iter().enumerate() {
        writeln!(file, "{};", message.statement()).unwrap();
        if i % 1000 == 999 {
            writeln!(file, "COMMIT; BEGIN;").unwrap();
        }
    }
    writeln!(file, "COMMIT;").unwrap();
    file.flush().unwrap();
    if let Err(error) = to.sql_file(file.path()) {
        let kept = file.into_temp_path().keep().unwrap();
        panic!("{error}: statements in {}", kept.display());
    }
    messages.iter().filter(|m| m.get("sql").is_none()).count()
}

/// Every table of `it` with rows, checksum and columns.
pub(crate) fn tables(db: &Database) -> Vec<String> {
    let names =
        db.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'it' ORDER BY 1").unwrap();
    let describe = |name: &str| {
        let sql = format!(
            "CHECKSUM TABLE it.{name}; SELECT COUNT(*) FROM it.{name}; SELECT GROUP_CONCAT(column_name, ' ', column_type \
             ORDER BY ordinal_position) FROM information_schema.columns WHERE table_schema = 'it' AND table_name = '{name}'"
        );
        db.sql(&sql).unwrap().replace('\n', " | ")
    };
    names.lines().map(describe).collect()
}
