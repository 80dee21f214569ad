//! The slow questions of an instance about its server: where the wanted start is, and what a table looked like.
//!
//! Definitions matter only where the log's table maps carry no names (`binlog_row_metadata=MINIMAL`). One read from
//! INFORMATION_SCHEMA while the log's end is at R counts for an earlier position p only if no statement in (p, R]
//! changed the table: that stretch of the log is read once for its statements, and remembered.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use binlog::event::{Event, QueryKind, StreamState, classify_query};
use binlog::mariadb;
use binlog::position::{FilePos, Position};
use binlog::schema::{ColumnDefinition, TableDefinition};
use coord::{HistoryEntry, SchemaHistory, SourceId};
use pipeline::io::{Cause, Failure, FailureKind, Skip, Start};
use serde::{Deserialize, Serialize};

use crate::position::From;
use crate::runner::SourceQuestions;
use crate::source::Source;
use crate::sql::Sql;

/// Answers for one server.
pub struct ServerQuestions {
    source: Source,
    id: SourceId,
    from: From,
    known: Mutex<Known>,
}

struct Known {
    history: Box<dyn SchemaHistory>,
    /// Definitions in force, each from a position on; dropped when a statement changes the table.
    tables: HashMap<(String, String), (FilePos, TableDefinition)>,
    scanned: Option<Scanned>,
}

/// Statements of a stretch of the log.
struct Scanned {
    from: FilePos,
    to: FilePos,
    changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    at: FilePos,
    /// None: the statement may concern any table.
    tables: Option<Vec<(String, String)>>,
}

/// What the history keeps: a definition, or the news that it ended.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Stored {
    Table { columns: Vec<StoredColumn> },
    Changed,
}

#[derive(Serialize, Deserialize)]
struct StoredColumn {
    name: String,
    column_type: String,
    nullable: bool,
    charset: Option<String>,
    key_part: Option<u16>,
    extra: String,
}

impl std::fmt::Debug for ServerQuestions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerQuestions").field("source", &self.source.address()).finish_non_exhaustive()
    }
}

impl ServerQuestions {
    /// Loads what the history knows.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn new(
        source: Source,
        id: SourceId,
        from: From,
        mut history: Box<dyn SchemaHistory>,
    ) -> Result<Self, coord::CoordError> {
        let mut tables = HashMap::new();
        for entry in history.load(&id)? {
            let Some((database, name)) = entry.table.split_once('.') else { continue };
            let key = (database.to_string(), name.to_string());
            match serde_json::from_slice(&entry.payload) {
                Ok(Stored::Table { columns }) => {
                    let columns = columns.into_iter().map(Into::into).collect();
                    let definition = TableDefinition { database: key.0.clone(), name: key.1.clone(), columns };
                    tables.insert(key, (position_of(&entry), definition));
                }
                // Later entries stand for later positions: what ended is not in force any more. An entry that this
                // version cannot read is not trusted either.
                Ok(Stored::Changed) | Err(_) => {
                    tables.remove(&key);
                }
            }
        }
        let known = Known { history, tables, scanned: None };
        Ok(ServerQuestions { source, id, from, known: Mutex::new(known) })
    }

    fn read_definition(&self, database: &str, table: &str) -> Result<(TableDefinition, FilePos), String> {
        const TRIES: usize = 5;
        let mut sql = Sql::connect(&self.source).map_err(|e| e.message)?;
        for _ in 0..TRIES {
            let before = sql.log_end().map_err(|e| e.message)?.file_pos;
            let definition = read_columns(&mut sql, database, table)?;
            let after = sql.log_end().map_err(|e| e.message)?.file_pos;
            // Between the two the table may have changed; the later position is the safe one to compare from.
            if before == after {
                return Ok((definition, after));
            }
            let again = read_columns(&mut sql, database, table)?;
            if again == definition {
                return Ok((definition, after));
            }
        }
        Err(format!("its definition keeps changing; {FULL_METADATA}"))
    }

    /// Reads the statements between two positions, reusing what was read before.
    fn changes_between(&self, known: &mut Known, from: &FilePos, to: &FilePos) -> Result<Vec<Change>, String> {
        let start = match &known.scanned {
            Some(s) if s.from <= *from => s.to.clone(),
            _ => {
                known.scanned = None;
                from.clone()
            }
        };
        let mut found = Vec::new();
        if start < *to {
            found = scan_statements(&self.source, &start, to)?;
        }
        let scanned =
            known.scanned.get_or_insert_with(|| Scanned { from: from.clone(), to: from.clone(), changes: Vec::new() });
        scanned.changes.append(&mut found);
        if *to > scanned.to {
            scanned.to = to.clone();
        }
        Ok(scanned.changes.iter().filter(|c| c.at > *from && c.at <= *to).cloned().collect())
    }

    fn append(&self, known: &mut Known, key: &(String, String), at: &FilePos, stored: &Stored) -> Result<(), String> {
        let entry = HistoryEntry {
            source: self.id.clone(),
            table: format!("{}.{}", key.0, key.1),
            file_number: at.file_number(),
            offset: at.pos,
            gtids: String::new(),
            payload: serde_json::to_vec(stored).map_err(|e| e.to_string())?,
        };
        known.history.append(&entry).map_err(|e| e.to_string())
    }
}

const FULL_METADATA: &str =
    "with SET GLOBAL binlog_row_metadata=FULL the log itself describes its tables and none of this is needed";

impl SourceQuestions for ServerQuestions {
    fn resolve_start(&self) -> Result<Start, Failure> {
        resolve(&self.source, &self.from)
    }

    fn load_table(&self, database: &str, table: &str, at: &FilePos) -> Result<TableDefinition, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (database.to_string(), table.to_string());
        if let Some((since, definition)) = known.tables.get(&key)
            && since <= at
        {
            return Ok(definition.clone());
        }
        let (definition, read_at) = self.read_definition(database, table)?;
        let changes = self.changes_between(&mut known, at, &read_at)?;
        let concerns = |c: &Change| c.tables.as_ref().is_none_or(|t| t.contains(&key));
        if let Some(change) = changes.iter().find(|c| concerns(c)) {
            return Err(format!(
                "its definition at {at} is not known: a statement at {} changed it since; {FULL_METADATA}",
                change.at
            ));
        }
        let stored = Stored::Table { columns: definition.columns.iter().cloned().map(Into::into).collect() };
        self.append(&mut known, &key, at, &stored)?;
        known.tables.insert(key, (at.clone(), definition.clone()));
        Ok(definition)
    }

    fn schema_changed(&self, tables: &[(String, String)], at: &FilePos) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned: Vec<(String, String)> =
            known.tables.keys().filter(|k| tables.is_empty() || tables.contains(k)).cloned().collect();
        for key in concerned {
            known.tables.remove(&key);
            if let Err(error) = self.append(&mut known, &key, at, &Stored::Changed) {
                tracing::error!(error, "schema history cannot be written");
            }
        }
    }
}

fn position_of(entry: &HistoryEntry) -> FilePos {
    FilePos { file: format!(".{}", entry.file_number), pos: entry.offset }
}

impl std::convert::From<ColumnDefinition> for StoredColumn {
    fn from(c: ColumnDefinition) -> Self {
        StoredColumn {
            name: c.name,
            column_type: c.column_type,
            nullable: c.nullable,
            charset: c.charset,
            key_part: c.key_part,
            extra: c.extra,
        }
    }
}

impl std::convert::From<StoredColumn> for ColumnDefinition {
    fn from(c: StoredColumn) -> Self {
        ColumnDefinition {
            name: c.name,
            column_type: c.column_type,
            nullable: c.nullable,
            charset: c.charset,
            key_part: c.key_part,
            extra: c.extra,
        }
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn read_columns(sql: &mut Sql, database: &str, table: &str) -> Result<TableDefinition, String> {
    let (db, name) = (quote(database), quote(table));
    let statement = format!(
        "SELECT c.COLUMN_NAME, c.COLUMN_TYPE, c.IS_NULLABLE, c.CHARACTER_SET_NAME, c.EXTRA, k.ORDINAL_POSITION \
         FROM information_schema.COLUMNS c LEFT JOIN information_schema.KEY_COLUMN_USAGE k \
         ON k.TABLE_SCHEMA = c.TABLE_SCHEMA AND k.TABLE_NAME = c.TABLE_NAME AND k.COLUMN_NAME = c.COLUMN_NAME \
         AND k.CONSTRAINT_NAME = 'PRIMARY' \
         WHERE c.TABLE_SCHEMA = {db} AND c.TABLE_NAME = {name} ORDER BY c.ORDINAL_POSITION"
    );
    let result = sql.query(&statement).map_err(|e| e.message)?;
    let columns: Option<Vec<ColumnDefinition>> = (0..result.rows.len())
        .map(|i| {
            Some(ColumnDefinition {
                name: result.text(i, 0)?,
                column_type: result.text(i, 1)?,
                nullable: result.text(i, 2)? == "YES",
                charset: result.text(i, 3),
                extra: result.text(i, 4).unwrap_or_default(),
                key_part: result.text(i, 5).and_then(|p| p.parse::<u16>().ok()).and_then(|p| p.checked_sub(1)),
            })
        })
        .collect();
    match columns {
        Some(columns) if !columns.is_empty() => {
            Ok(TableDefinition { database: database.to_string(), name: table.to_string(), columns })
        }
        _ => Err(format!(
            "the log does not name its columns and INFORMATION_SCHEMA does not show it: it was dropped since, or this \
             account has no right on it (GRANT SELECT ON {database}.{table}); {FULL_METADATA}"
        )),
    }
}

/// Longest statement that is uncompressed; a longer one may concern any table.
const MAX_STATEMENT: usize = 64 << 20;

/// What the statement `sql` in the log at `at` does to tables, if it does something to them.
fn change(sql: &[u8], database: &[u8], at: &FilePos) -> Option<Change> {
    let QueryKind::Ddl(ddl) = classify_query(sql) else { return None };
    let tables = ddl.tables_in(&String::from_utf8_lossy(database));
    Some(Change { at: at.clone(), tables: Some(tables).filter(|t| !t.is_empty()) })
}

fn scan_statements(source: &Source, from: &FilePos, to: &FilePos) -> Result<Vec<Change>, String> {
    let mut stream = StreamState::default();
    let mut at = from.clone();
    let mut changes = Vec::new();
    let mut problem = None;
    Sql::scan(source, from, |raw| {
        if at >= *to {
            return false;
        }
        let (header, event) = match stream.parse(raw) {
            Ok(parsed) => parsed,
            Err(e) => {
                problem = Some(format!("the log after {at} cannot be read: {e}"));
                return false;
            }
        };
        if header.log_pos != 0 && !header.artificial() {
            at.pos = u64::from(header.log_pos);
        }
        match event {
            Event::Rotate { pos, file, .. } => {
                at = FilePos { file: String::from_utf8_lossy(file).into_owned(), pos };
            }
            Event::Query(q) => changes.extend(change(q.sql, q.schema, &at)),
            Event::CompressedQuery(q) => {
                let mut sql = Vec::new();
                match mariadb::uncompress(q.sql, MAX_STATEMENT, &mut sql) {
                    Ok(()) => changes.extend(change(&sql, q.schema, &at)),
                    Err(_) => changes.push(Change { at: at.clone(), tables: None }),
                }
            }
            _ => {}
        }
        true
    })
    .map_err(|e| e.message)?;
    problem.map_or(Ok(changes), Err)
}

/// Turns a wanted start into a position on a server.
///
/// # Errors
/// The server is away or keeps no such position.
pub fn resolve(source: &Source, from: &From) -> Result<Start, Failure> {
    let mut sql = Sql::connect(source)?;
    let conflict = |message: String| Failure::new(FailureKind::Permanent, Cause::Conflict, message);
    Ok(match from {
        From::Now => Start { position: sql.log_end()?, skip: None },
        From::Earliest => {
            let files = sql.log_files()?;
            Start { position: at_file(&files[0].name), skip: None }
        }
        From::Gtid(set) => {
            Start { position: Position { file_pos: FilePos::default(), gtids: set.clone() }, skip: None }
        }
        From::File(wanted) => {
            let files = sql.log_files()?;
            let names = || files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>();
            let Some(file) = files.iter().find(|f| f.name == wanted.file) else {
                let names = names();
                return Err(conflict(format!(
                    "{}: the server has no log {} (any more); it has {} to {}",
                    source.address(),
                    wanted.file,
                    names.first().unwrap_or(&"none"),
                    names.last().unwrap_or(&"none"),
                )));
            };
            if wanted.pos > file.size {
                return Err(conflict(format!(
                    "{}: log {} ends at {}, before the wanted offset {}",
                    source.address(),
                    file.name,
                    file.size,
                    wanted.pos
                )));
            }
            let skip = (wanted.pos > 4).then(|| Skip::UntilPosition(wanted.clone()));
            Start { position: at_file(&file.name), skip }
        }
        From::Time(us) => {
            let files = sql.log_files()?;
            // The last file that was begun before the wanted time holds its first transaction.
            let (mut low, mut high) = (0, files.len());
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                match file_time(source, &files[middle].name)? {
                    // Whole seconds: it was begun at any moment of that second.
                    Some(begun) if begun + 1_000_000 <= *us => low = middle,
                    _ => high = middle,
                }
            }
            Start { position: at_file(&files[low].name), skip: Some(Skip::UntilTime(*us)) }
        }
    })
}

fn at_file(name: &str) -> Position {
    Position { file_pos: FilePos { file: name.to_string(), pos: 4 }, gtids: binlog::gtid::GtidSet::default() }
}

/// When a log file was begun, microseconds since the Unix epoch: the time of its FORMAT_DESCRIPTION.
fn file_time(source: &Source, name: &str) -> Result<Option<u64>, Failure> {
    const FORMAT_DESCRIPTION: u8 = 15;
    let mut time = None;
    Sql::scan(source, &FilePos { file: name.to_string(), pos: 4 }, |raw| {
        let Some((head, rest)) = raw.split_first_chunk::<4>() else { return true };
        if rest.first() == Some(&FORMAT_DESCRIPTION) {
            time = Some(u64::from(u32::from_le_bytes(*head)) * 1_000_000);
            return false;
        }
        true
    })?;
    Ok(time)
}

/// Questions about files: they begin at their beginning, and nobody knows more than the log says.
#[derive(Debug)]
pub struct FileQuestions {
    pub from: From,
}

impl SourceQuestions for FileQuestions {
    fn resolve_start(&self) -> Result<Start, Failure> {
        let skip = match &self.from {
            From::Now | From::Earliest => None,
            From::Time(us) => Some(Skip::UntilTime(*us)),
            From::File(pos) => Some(Skip::UntilPosition(pos.clone())),
            From::Gtid(_) => {
                let message = "--from gtid: needs a server; with --file use FILE:POS or time:";
                return Err(Failure::new(FailureKind::Permanent, Cause::Usage, message));
            }
        };
        Ok(Start { position: Position::default(), skip })
    }

    fn load_table(&self, _database: &str, _table: &str, _at: &FilePos) -> Result<TableDefinition, String> {
        Err("a file has no definitions".to_string())
    }

    fn schema_changed(&self, _tables: &[(String, String)], _at: &FilePos) {}
}
