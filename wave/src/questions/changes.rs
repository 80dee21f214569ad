//! Statements of a stretch of the log that changed tables, and what became of a table through them.

use binlog::event::{AlterPhase, Event, Query, QueryKind, StreamState, Verb, classify_query};
use binlog::mariadb;
use binlog::position::FilePos;
use binlog::query::{NameCase, Renaming, readable};
use pipeline::io::Failure;

use super::{FULL_METADATA, unknown};
use crate::definitions::Key;
use crate::source::Source;
use crate::sql::Sql;

/// A statement that changed tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Where it ends.
    pub(super) at: FilePos,
    /// Empty: it may concern any table of `database`.
    pub(super) tables: Vec<Key>,
    /// None: of any.
    pub(super) database: Option<String>,
    pub(super) renames: Option<Vec<Renaming>>,
    pub(super) dropped: bool,
}

impl Change {
    pub(super) fn unknown(at: &FilePos) -> Change {
        Change { at: at.clone(), tables: Vec::new(), database: None, renames: None, dropped: false }
    }

    pub(super) fn concerns(&self, key: &Key) -> bool {
        if self.tables.is_empty() {
            return self.database.as_ref().is_none_or(|database| *database == key.0);
        }
        self.tables.contains(key)
    }
}

/// Follows `key` through `changes`: the name it has behind them, if all that happened to it is another name.
pub(super) fn name_at_end(key: &Key, at: &FilePos, changes: &[Change]) -> Result<Key, Failure> {
    let mut name = key.clone();
    for change in changes {
        if !change.concerns(&name) {
            continue;
        }
        match &change.renames {
            Some(renames) if renames.iter().any(|(old, _)| *old == name) => {
                for (old, new) in renames {
                    if *old == name {
                        name.clone_from(new);
                    }
                }
            }
            _ => {
                let what = if change.dropped { "it was dropped since, by the" } else { "it was changed since, by the" };
                return Err(unknown(format!(
                    "the log does not name its columns, and how they were at {at} is not known: {what} statement that \
                     ends at {}; {FULL_METADATA}",
                    change.at
                )));
            }
        }
    }
    Ok(name)
}

/// What changed tables between two places of a server's log.
///
/// # Errors
/// The log cannot be read there.
pub(super) fn scan(source: &Source, from: &FilePos, to: &FilePos, names: NameCase) -> Result<Vec<Change>, Failure> {
    let mut statements = Statements::new(from.clone(), names);
    let mut problem = None;
    Sql::scan(source, from, |raw| {
        if statements.at >= *to {
            return false;
        }
        problem = statements.event(raw).err().map(|e| format!("the log after {} cannot be read: {e}", statements.at));
        problem.is_none()
    })?;
    problem.map_or(Ok(statements.changes), |problem| Err(unknown(problem)))
}

/// Takes the events of a log one by one.
struct Statements {
    stream: StreamState,
    names: NameCase,
    /// Where the last event ended.
    at: FilePos,
    /// Of the transaction, if it is an ALTER in two phases.
    alter: Option<AlterPhase>,
    changes: Vec<Change>,
}

impl Statements {
    fn new(at: FilePos, names: NameCase) -> Self {
        Statements { stream: StreamState::default(), names, at, alter: None, changes: Vec::new() }
    }

    fn event(&mut self, raw: &[u8]) -> Result<(), binlog::Error> {
        let (header, event) = self.stream.parse(raw)?;
        if header.log_pos != 0 && !header.artificial() {
            self.at.pos = header.end_pos(self.at.pos);
        }
        match event {
            Event::Rotate { pos, file, .. } => {
                self.at = FilePos { file: String::from_utf8_lossy(file).into_owned(), pos };
            }
            Event::MariaGtid(gtid) => self.alter = gtid.alter,
            _ if self.alter.is_some_and(|phase| !phase.is_done()) => {}
            Event::Query(q) => self.changes.extend(change(&q, self.names, &self.at)),
            Event::CompressedQuery(q) => {
                let mut sql = Vec::new();
                match mariadb::uncompress(q.sql, MAX_STATEMENT, &mut sql) {
                    Ok(()) => self.changes.extend(change(&Query { sql: &sql, ..q }, self.names, &self.at)),
                    Err(_) => self.changes.push(Change::unknown(&self.at)),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Longest statement that is uncompressed; a longer one may concern any table.
const MAX_STATEMENT: usize = 64 << 20;

/// What the statement in the log at `at` does to tables, if it does something to their definitions.
fn change(query: &Query<'_>, names: NameCase, at: &FilePos) -> Option<Change> {
    let text = query.text();
    let QueryKind::Ddl(ddl) = classify_query(text.as_bytes()) else { return None };
    let default = String::from_utf8_lossy(query.schema);
    let dropped = ddl.verb == Verb::DropDatabase;
    // A table that was there before is there still, unless another of these statements took it away.
    let nothing = !ddl.verb.redefines_tables() || ddl.if_not_exists;
    (dropped || !nothing && !ddl.temporary).then(|| Change {
        tables: ddl.tables_in(&default, names),
        renames: ddl.renames_in(&default, names),
        dropped: dropped || ddl.verb == Verb::DropTable,
        database: ddl.database.filter(|_| dropped).filter(|name| readable(name)).map(|name| names.fold(&name)),
        ..Change::unknown(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::events::{ROTATE, XID, event, query};

    fn statement(log_pos: u32, sql: &str) -> Vec<u8> {
        let mut event = query(sql);
        event[13..17].copy_from_slice(&log_pos.to_le_bytes());
        event
    }

    #[test]
    fn a_table_that_is_there_is_not_made_again() {
        let key = |database: &str| (database.to_string(), "t".to_string());
        for (sql, of_d, of_e) in [
            ("CREATE TABLE IF NOT EXISTS d.t (a INT)", false, false),
            ("CREATE TABLE d.t (a INT)", true, false),
            ("DROP DATABASE d", true, false),
            ("DROP SCHEMA IF EXISTS `e`", false, true),
            ("DROP DATABASE `\u{fffd}`", true, true),
            ("ALTER DATABASE d CHARACTER SET latin1", false, false),
        ] {
            let mut statements = Statements::new(FilePos::default(), NameCase::Sensitive);
            statements.event(&statement(90, sql)).unwrap();
            let concerns = |database| statements.changes.iter().any(|change| change.concerns(&key(database)));
            assert_eq!((concerns("d"), concerns("e")), (of_d, of_e), "{sql}");
        }
    }

    #[test]
    fn a_change_beyond_4_gib_of_a_file_has_its_place() {
        const GIB_4: u64 = 1 << 32;
        let mut statements =
            Statements::new(FilePos { file: "b.000001".into(), pos: GIB_4 - 100 }, NameCase::Sensitive);
        for raw in
            [statement(u32::MAX - 9, "BEGIN"), statement(50, "ALTER TABLE d.t ADD c INT"), event(XID, 0, 90, &[0; 8])]
        {
            statements.event(&raw).unwrap();
        }
        assert_eq!((statements.changes[0].at.pos, statements.at.pos), (GIB_4 + 50, GIB_4 + 90));
        statements.event(&event(ROTATE, 0, 0, &[&4_u64.to_le_bytes()[..], b"b.000002"].concat())).unwrap();
        statements.event(&statement(300, "DROP TABLE d.t")).unwrap();
        assert_eq!(statements.changes[1].at, FilePos { file: "b.000002".into(), pos: 300 });
    }
}
