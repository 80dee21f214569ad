//! What a statement does to which database or table, as far as a message of a DDL statement names it.
//!
//! The text is classified, never interpreted: tables that rows belong to come from the log's own metadata. A statement
//! that is none of the kinds below is still a message, without a table.

/// A classified statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ddl {
    /// Maxwell's names: `database-create`, `database-alter`, `database-drop`, `table-create`, `table-alter` (also for
    /// RENAME TABLE), `table-drop`; `ddl` for every other statement.
    pub kind: &'static str,
    /// From the statement where it names one, otherwise its default database.
    pub database: String,
    /// The first table named.
    pub table: Option<String>,
}

/// Classifies `sql`, executed with default database `database`.
#[must_use]
pub fn classify(sql: &str, database: &str) -> Ddl {
    let mut words = Words { rest: sql };
    parse(&mut words, database).unwrap_or_else(|| Ddl { kind: "ddl", database: database.to_string(), table: None })
}

fn parse(words: &mut Words<'_>, database: &str) -> Option<Ddl> {
    let verb = words.keyword()?;
    let mut noun = words.keyword()?;
    while matches!(noun.as_str(), "OR" | "REPLACE" | "TEMPORARY" | "ONLINE" | "OFFLINE" | "IGNORE") {
        noun = words.keyword()?;
    }
    let kind = match (verb.as_str(), noun.as_str()) {
        ("CREATE", "TABLE") => "table-create",
        ("ALTER", "TABLE") | ("RENAME", "TABLE" | "TABLES") => "table-alter",
        ("DROP", "TABLE" | "TABLES") => "table-drop",
        ("CREATE", "DATABASE" | "SCHEMA") => "database-create",
        ("ALTER", "DATABASE" | "SCHEMA") => "database-alter",
        ("DROP", "DATABASE" | "SCHEMA") => "database-drop",
        _ => return None,
    };
    let mut name = words.next()?;
    while let Word::Bare(word) = &name {
        if !["IF", "NOT", "EXISTS"].iter().any(|k| word.eq_ignore_ascii_case(k)) {
            break;
        }
        name = words.next()?;
    }
    let first = name.identifier()?;
    if kind.starts_with("database") {
        return Some(Ddl { kind, database: first, table: None });
    }
    if words.next_is_dot() {
        let table = words.next()?.identifier()?;
        return Some(Ddl { kind, database: first, table: Some(table) });
    }
    Some(Ddl { kind, database: database.to_string(), table: Some(first) })
}

enum Word {
    Bare(String),
    Quoted(String),
    Other,
}

impl Word {
    fn identifier(self) -> Option<String> {
        match self {
            Word::Bare(s) | Word::Quoted(s) => Some(s),
            Word::Other => None,
        }
    }
}

struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    fn skip_space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let after = if let Some(versioned) = self.rest.strip_prefix("/*!").or_else(|| self.rest.strip_prefix("/*M!")) {
                // Executed text in a comment: `/*!40000 TEMPORARY */`.
                Some(versioned.trim_start_matches(|c: char| c.is_ascii_digit()))
            } else if let Some(body) = self.rest.strip_prefix("/*") {
                Some(body.split_once("*/").map_or("", |(_, after)| after))
            } else if self.rest.starts_with("-- ") || self.rest.starts_with('#') {
                Some(self.rest.split_once('\n').map_or("", |(_, after)| after))
            } else {
                self.rest.strip_prefix("*/")
            };
            let Some(after) = after else { return };
            self.rest = after;
        }
    }

    fn next(&mut self) -> Option<Word> {
        self.skip_space();
        let first = self.rest.chars().next()?;
        if matches!(first, '`' | '"') {
            let mut name = String::new();
            let mut chars = self.rest.char_indices().skip(1).peekable();
            while let Some((at, c)) = chars.next() {
                if c != first {
                    name.push(c);
                } else if chars.next_if(|(_, next)| *next == first).is_some() {
                    name.push(first);
                } else {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(Word::Quoted(name));
                }
            }
            return None;
        }
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(self.rest.len());
        if end == 0 {
            self.rest = self.rest.get(first.len_utf8()..)?;
            return Some(Word::Other);
        }
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(Word::Bare(word.to_string()))
    }

    fn keyword(&mut self) -> Option<String> {
        match self.next()? {
            Word::Bare(word) => Some(word.to_ascii_uppercase()),
            Word::Quoted(_) | Word::Other => None,
        }
    }

    fn next_is_dot(&mut self) -> bool {
        self.skip_space();
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements() {
        for (sql, kind, database, table) in [
            ("CREATE TABLE t (a int)", "table-create", "d", Some("t")),
            ("create table if not exists `x y`.`a``b` (a int)", "table-create", "x y", Some("a`b")),
            ("CREATE /*!40000 TEMPORARY */ TABLE x . t2 LIKE t", "table-create", "x", Some("t2")),
            ("/* hi */ ALTER TABLE t ADD c int", "table-alter", "d", Some("t")),
            ("-- note\nRENAME TABLE a TO b, c TO e", "table-alter", "d", Some("a")),
            ("DROP TABLE `t` /* generated by server */", "table-drop", "d", Some("t")),
            ("DROP TEMPORARY TABLE IF EXISTS t", "table-drop", "d", Some("t")),
            ("CREATE DATABASE golden CHARACTER SET utf8mb4", "database-create", "golden", None),
            ("drop schema if exists \"q\"", "database-drop", "q", None),
            ("CREATE OR REPLACE TABLE größe.t SELECT 1", "table-create", "größe", Some("t")),
            ("TRUNCATE TABLE t", "ddl", "d", None),
            ("CREATE UNIQUE INDEX i ON t (a)", "ddl", "d", None),
            ("GRANT ALL ON *.* TO a", "ddl", "d", None),
            ("CREATE TABLE `unfinished", "ddl", "d", None),
            ("", "ddl", "d", None),
        ] {
            let ddl = classify(sql, "d");
            assert_eq!((ddl.kind, ddl.database.as_str(), ddl.table.as_deref()), (kind, database, table), "{sql}");
        }
    }
}
