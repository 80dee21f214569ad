//! Rules: which tables, event kinds and columns a feed wants.
//!
//! Patterns are globs (`shop.*`, `shop.order_?`), exact names or regular expressions between slashes
//! (`/shop\.orders_[0-9]+/`), all matched against `database.table`. A leading `!` excludes; exclusion wins. The regex
//! engine has no backtracking and its compiled size is bounded, so no pattern can stall the source it is applied to.

use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder};

use crate::format::Op;

/// Compiled size that one pattern may have, in bytes.
const PATTERN_SIZE_LIMIT: usize = 256 * 1024;

/// Databases of the server itself: left out unless a pattern names them.
const SYSTEM_DATABASES: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

/// A pattern or column list that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}")]
pub struct RuleError {
    pub text: String,
    pub problem: String,
}

fn rule_error(text: &str, problem: impl Into<String>) -> RuleError {
    RuleError { text: text.to_string(), problem: problem.into() }
}

#[derive(Clone, Debug)]
enum Matcher {
    Glob(GlobMatcher),
    Regex(Regex),
}

impl Matcher {
    fn new(text: &str) -> Result<Matcher, RuleError> {
        if let Some(body) = text.strip_prefix('/') {
            let body = body.strip_suffix('/').filter(|b| !b.is_empty()).ok_or_else(|| {
                rule_error(text, "a regular expression stands between two slashes, as in /shop\\.o.*/")
            })?;
            let regex = RegexBuilder::new(&format!("^(?:{body})$"))
                .size_limit(PATTERN_SIZE_LIMIT)
                .build()
                .map_err(|e| rule_error(text, e.to_string()))?;
            return Ok(Matcher::Regex(regex));
        }
        let is_pair = text.split_once('.').is_some_and(|(database, table)| !database.is_empty() && !table.is_empty());
        if !is_pair {
            return Err(rule_error(text, "a table pattern is database.table, for example `shop.*` or `*.orders`"));
        }
        if text.contains('`') {
            return Err(rule_error(text, "names stand without backticks; for one in a name write ?"));
        }
        let glob = GlobBuilder::new(text)
            .literal_separator(false)
            .backslash_escape(true)
            .build()
            .map_err(|e| rule_error(text, e.kind().to_string()))?;
        Ok(Matcher::Glob(glob.compile_matcher()))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Matcher::Glob(g) => g.is_match(name),
            Matcher::Regex(r) => r.is_match(name),
        }
    }
}

/// Which tables are wanted.
#[derive(Clone, Debug, Default)]
pub struct TablePatterns {
    include: Vec<Matcher>,
    exclude: Vec<Matcher>,
}

impl TablePatterns {
    /// Compiles a list such as `["shop.*", "!shop.audit_*"]`. Without an including pattern everything but the server's
    /// own databases is included.
    ///
    /// # Errors
    /// The first pattern that cannot be read, and why.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, RuleError> {
        let mut rule = TablePatterns::default();
        for pattern in patterns.iter().map(|p| p.as_ref().trim()).filter(|p| !p.is_empty()) {
            match pattern.strip_prefix('!') {
                Some(rest) => rule.exclude.push(Matcher::new(rest)?),
                None => rule.include.push(Matcher::new(pattern)?),
            }
        }
        Ok(rule)
    }

    /// Splits a comma separated list as it is given on a command line; commas inside `/…/`, `{…}` and `[…]` belong to the
    /// pattern.
    ///
    /// # Errors
    /// As [`TablePatterns::new`].
    pub fn parse(list: &str) -> Result<Self, RuleError> {
        let mut parts = vec![String::new()];
        let mut in_regex = false;
        let mut closing = Vec::new();
        for c in list.chars() {
            let current = parts.last_mut().map_or("", |p| p.as_str());
            if c == '/' && (in_regex || matches!(current.trim(), "" | "!")) {
                in_regex = !in_regex;
            }
            match c {
                _ if in_regex => {}
                '{' => closing.push('}'),
                '[' => closing.push(']'),
                _ => drop(closing.pop_if(|closes| *closes == c)),
            }
            if c == ',' && !in_regex && closing.is_empty() {
                parts.push(String::new());
            } else if let Some(last) = parts.last_mut() {
                last.push(c);
            }
        }
        Self::new(&parts)
    }

    /// Whether rows of this table are wanted.
    #[must_use]
    pub fn matches(&self, database: &str, table: &str) -> bool {
        let name = format!("{database}.{table}");
        let included = if self.include.is_empty() {
            !SYSTEM_DATABASES.contains(&database)
        } else {
            self.include.iter().any(|m| m.matches(&name))
        };
        included && !self.exclude.iter().any(|m| m.matches(&name))
    }
}

/// Which kinds of events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKinds {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub ddl: bool,
}

impl Default for EventKinds {
    /// Rows of every kind, no DDL.
    fn default() -> Self {
        EventKinds { insert: true, update: true, delete: true, ddl: false }
    }
}

impl EventKinds {
    /// Reads `insert,update,delete,ddl`.
    ///
    /// # Errors
    /// A word that is none of the four, or an empty list.
    pub fn parse(list: &str) -> Result<Self, RuleError> {
        let mut kinds = EventKinds { insert: false, update: false, delete: false, ddl: false };
        for word in list.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match word {
                "insert" => kinds.insert = true,
                "update" => kinds.update = true,
                "delete" => kinds.delete = true,
                "ddl" => kinds.ddl = true,
                _ => return Err(rule_error(word, "event kinds are insert, update, delete and ddl")),
            }
        }
        if kinds == (EventKinds { insert: false, update: false, delete: false, ddl: false }) {
            return Err(rule_error(list, "names no event kind; use insert, update, delete, ddl"));
        }
        Ok(kinds)
    }

    /// Whether rows of this operation are wanted.
    #[must_use]
    pub fn wants(self, op: Op) -> bool {
        match op {
            Op::Insert => self.insert,
            Op::Update => self.update,
            Op::Delete => self.delete,
        }
    }
}

/// Columns kept of some tables; tables not named keep all of theirs.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    entries: Vec<(Matcher, Vec<String>)>,
}

impl Columns {
    /// Each item is `db.table:column,column`; the table part may be a pattern. Of a table that several match, the columns
    /// of all are kept.
    ///
    /// # Errors
    /// An item without a colon or without columns.
    pub fn new<S: AsRef<str>>(items: &[S]) -> Result<Self, RuleError> {
        let mut entries = Vec::new();
        for item in items {
            let item = item.as_ref();
            let (table, columns) = item
                .rsplit_once(':')
                .ok_or_else(|| rule_error(item, "write table:column,column, for example shop.orders:id,total"))?;
            let columns: Vec<String> =
                columns.split(',').map(|c| c.trim().to_string()).filter(|c| !c.is_empty()).collect();
            if columns.is_empty() {
                return Err(rule_error(item, "names no column"));
            }
            entries.push((Matcher::new(table.trim())?, columns));
        }
        Ok(Columns { entries })
    }

    /// Indices to keep of a table with these columns, ascending; None to keep all. Hidden columns are kept only by name. A
    /// name that the table does not have is an error, so that a typo does not silently drop a column.
    ///
    /// # Errors
    /// A column that is not in the table.
    pub fn select(&self, table: &binlog::schema::Table) -> Result<Option<Vec<u16>>, RuleError> {
        let name = format!("{}.{}", table.database, table.name);
        let mut wanted =
            self.entries.iter().filter(|(m, _)| m.matches(&name)).flat_map(|(_, columns)| columns).peekable();
        if wanted.peek().is_none() {
            let shown = || (0u16..).zip(&table.columns).filter(|(_, c)| !c.hidden).map(|(index, _)| index).collect();
            return Ok(table.columns.iter().any(|c| c.hidden).then(shown));
        }
        let mut indices = Vec::new();
        for column in wanted {
            let index = table
                .columns
                .iter()
                .position(|c| c.name.eq_ignore_ascii_case(column))
                .and_then(|i| u16::try_from(i).ok())
                .ok_or_else(|| rule_error(column, format!("table {name} has no such column")))?;
            indices.push(index);
        }
        indices.sort_unstable();
        indices.dedup();
        Ok(Some(indices))
    }
}

/// What a feed wants of a source.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub tables: TablePatterns,
    pub events: EventKinds,
    pub columns: Columns,
}

impl Rule {
    /// Whether a statement is wanted: it names a wanted table, or it is about a whole database of which all tables are.
    #[must_use]
    pub fn wants_ddl(&self, database: &str, named: &[(String, String)]) -> bool {
        let of_table = named.iter().any(|(d, t)| self.tables.matches(d, t));
        let of_database = named.is_empty() && self.tables.matches(database, "*");
        self.events.ddl && (of_table || of_database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_then_exclude() {
        let t = TablePatterns::parse("shop.*, !shop.audit_*, /crm\\.c[0-9]{1,3}/").unwrap();
        assert!(t.matches("shop", "orders"));
        assert!(!t.matches("shop", "audit_log"));
        assert!(t.matches("crm", "c42"));
        assert!(!t.matches("crm", "c4242"));
        assert!(!t.matches("other", "orders"));
    }

    #[test]
    fn default_leaves_out_system_databases() {
        let t = TablePatterns::parse("").unwrap();
        assert!(t.matches("shop", "orders"));
        assert!(!t.matches("mysql", "user"));
        assert!(!t.matches("performance_schema", "x"));
        let only_exclude = TablePatterns::parse("!shop.a").unwrap();
        assert!(only_exclude.matches("shop", "b") && !only_exclude.matches("shop", "a"));
        assert!(TablePatterns::parse("mysql.*").unwrap().matches("mysql", "user"));
    }

    #[test]
    fn unreadable_patterns_say_why() {
        assert!(TablePatterns::parse("orders").unwrap_err().problem.contains("database.table"));
        assert!(TablePatterns::parse("/a(b/").unwrap_err().problem.contains("unclosed"));
        assert!(TablePatterns::parse("/ab").unwrap_err().problem.contains("between two slashes"));
        assert!(TablePatterns::parse("shop.[a").is_err());
        for nothing in ["shop.", ".orders", "!shop."] {
            assert!(TablePatterns::parse(nothing).unwrap_err().problem.contains("database.table"), "{nothing}");
        }
        assert!(TablePatterns::parse("`shop`.`orders`").unwrap_err().problem.contains("backticks"));
        assert!(TablePatterns::parse("shop.{a,b").is_err());
    }

    #[test]
    fn commas_of_a_pattern_do_not_end_it() {
        let t = TablePatterns::parse("shop.{a,b},crm.[c,d],!shop.b_{x,y}, /x\\.[{]/").unwrap();
        for (database, table, wanted) in
            [("shop", "a", true), ("shop", "b", true), ("shop", "c", false), ("crm", "d", true), ("x", "{", true)]
        {
            assert_eq!(t.matches(database, table), wanted, "{database}.{table}");
        }
    }

    #[test]
    fn statements_follow_the_tables_they_name() {
        let rule = |tables: &str| Rule {
            tables: TablePatterns::parse(tables).unwrap(),
            events: EventKinds::parse("ddl").unwrap(),
            columns: Columns::default(),
        };
        let named = [("secret".to_string(), "t".to_string())];
        assert!(!rule("shop.*").wants_ddl("shop", &named), "a statement about somebody else's table");
        assert!(rule("shop.*,secret.t").wants_ddl("shop", &named));
        assert!(rule("shop.*").wants_ddl("shop", &[]));
        assert!(!rule("shop.orders").wants_ddl("shop", &[]) && !rule("shop.*").wants_ddl("secret", &[]));
        assert!(rule("").wants_ddl("shop", &[]));
    }

    #[test]
    fn columns_of_all_that_match_are_kept() {
        use binlog::schema::{Column, ColumnType, SchemaSource, Table};
        let column = |name: &str| Column::new(name, ColumnType::Int24, binlog::charset::Charset::Binary);
        let columns = ["id", "total", "note"].map(column).to_vec();
        let orders = Table::new("shop".into(), "orders".into(), columns, SchemaSource::Log);
        let kept = |items: &[&str]| Columns::new(items).unwrap().select(&orders).unwrap();
        assert_eq!(kept(&["shop.orders:note", "shop.orders:id", "shop.*:id"]), Some(vec![0, 2]));
        assert_eq!(kept(&["shop.other:id"]), None);
    }

    #[test]
    fn event_kinds() {
        let k = EventKinds::parse("insert, ddl").unwrap();
        assert!(k.insert && k.ddl && !k.update && !k.delete);
        assert!(EventKinds::parse("inserts").unwrap_err().problem.contains("insert, update"));
        assert!(EventKinds::parse(" ").is_err());
    }
}
