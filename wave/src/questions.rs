//! The slow questions of an instance about its server: where the wanted start is, and what a table looked like.
//!
//! Definitions matter only where the log's table maps carry no names (`binlog_row_metadata=MINIMAL`). One read from
//! INFORMATION_SCHEMA while the log's end is at R counts for an earlier position p only if no statement in (p, R]
//! changed the table, or only gave it another name: that stretch of the log is read once for its statements, and
//! what lies ahead of the reader is remembered. What was found stays in [`Definitions`].

mod changes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use binlog::event::{EventHeader, EventType};
use binlog::position::{FilePos, Position, file_number};
use binlog::query::Renaming;
use binlog::schema::{ColumnDefinition, TableDefinition};
use coord::{SchemaHistory, SourceId};
use mysql_wire::Flavor;
use pipeline::io::{Cause, Failure, FailureKind, Resolved, Server, Skip, Start};

use crate::definitions::{Definitions, Key};
use crate::hidden_columns;
use crate::position::From;
use crate::runner::SourceQuestions;
use crate::source::Source;
use crate::sql::{LogFile, Sql};
use changes::{Change, name_at_end, scan};

/// Answers for one reader of one server. All names are in the form of that server.
pub struct ServerQuestions {
    source: Source,
    from: From,
    /// Of all readers of the source. The thread of an instance waits for it, so it is not held while a server is asked.
    definitions: Arc<Mutex<Definitions>>,
    /// Whose log is read.
    server: Mutex<Server>,
    /// Held while the log is read.
    scanned: Mutex<Option<Scanned>>,
}

/// Statements of a stretch of the log.
struct Scanned {
    /// Its uuid.
    server: String,
    from: FilePos,
    to: FilePos,
    changes: Vec<Change>,
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
        history: Box<dyn SchemaHistory>,
    ) -> Result<Self, coord::CoordError> {
        let definitions = Arc::new(Mutex::new(Definitions::load(id, history)?));
        Ok(ServerQuestions { source, from, definitions, server: Mutex::default(), scanned: Mutex::default() })
    }

    /// For another reader of this source: it knows the same, and neither waits while the other asks.
    #[must_use]
    pub fn another(&self) -> Self {
        ServerQuestions {
            source: self.source.clone(),
            from: self.from.clone(),
            definitions: Arc::clone(&self.definitions),
            server: Mutex::default(),
            scanned: Mutex::default(),
        }
    }

    fn server(&self) -> Server {
        lock(&self.server).clone()
    }

    /// Those of this server: another reader may be at another one.
    fn definitions(&self, server: &Server) -> MutexGuard<'_, Definitions> {
        let mut definitions = lock(&self.definitions);
        definitions.connected(&server.uuid);
        definitions
    }

    /// What `key` looked like at `at`, by what the server says now. The name may have become another since.
    fn read_definition(&self, server: &Server, key: &Key, at: &FilePos) -> Result<TableDefinition, Failure> {
        const TRIES: usize = 5;
        let mut sql = Sql::connect(&self.source)?;
        if !server.uuid.is_empty() && sql.identity()? != server.uuid {
            return Err(Failure::new(
                FailureKind::Transient,
                Cause::Unavailable,
                "another server answers at its address",
            ));
        }
        sql.plain_session()?;
        hidden_columns::show_generated_keys(&mut sql);
        let mut end = sql.log_end()?.file_pos;
        for _ in 0..TRIES {
            let name = name_at_end(key, at, &self.changes_between(server, at, &end)?)?;
            let definition = read_columns(&mut sql, &name.0, &name.1);
            // While it was read the table may have changed; then the statement that did it is in the log by now.
            let after = sql.log_end()?.file_pos;
            if after == end || name_at_end(key, at, &self.changes_between(server, at, &after)?)? == name {
                return Ok(TableDefinition { database: key.0.clone(), name: key.1.clone(), ..definition? });
            }
            end = after;
        }
        Err(unknown(format!("its name keeps changing; {FULL_METADATA}")))
    }

    /// A definition found further on in the log, where it holds for `at` too.
    fn read_later(&self, server: &Server, key: &Key, at: &FilePos) -> Option<TableDefinition> {
        let (later, definition) = self.definitions(server).after(key, at).map(|(later, d)| (later, d.clone()))?;
        let changes = self.changes_between(server, at, &later).ok()?;
        (!changes.iter().any(|c| c.concerns(key))).then_some(definition)
    }

    /// Reads the statements between two positions, reusing what was read before.
    fn changes_between(&self, server: &Server, from: &FilePos, to: &FilePos) -> Result<Vec<Change>, Failure> {
        let mut scanned = lock(&self.scanned);
        scanned.take_if(|s| s.server != server.uuid || *from < s.from || s.to < *from);
        let scanned = scanned.get_or_insert_with(|| Scanned {
            server: server.uuid.clone(),
            from: from.clone(),
            to: from.clone(),
            changes: Vec::new(),
        });
        // Reading goes on from here. Only a new epoch may ask for what lies before, which then is read again.
        scanned.changes.retain(|c| c.at > *from);
        scanned.from.clone_from(from);
        if scanned.to < *to {
            scanned.changes.append(&mut scan(&self.source, &scanned.to, to, server.names)?);
            scanned.to = to.clone();
        }
        // At `from` stands also the statement of the transaction that is read: a CREATE TABLE … SELECT, before its rows.
        // MariaDB's events in a transaction do not all tell where they end.
        Ok(scanned.changes.iter().filter(|c| *from < c.at && c.at <= *to).cloned().collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A definition that cannot be known: the table has to stop.
fn unknown(message: String) -> Failure {
    Failure::new(FailureKind::Permanent, Cause::Conflict, message)
}

/// How often a server may fail with an error of its own at the same question; with the pauses, half a minute.
const ERRORS_OF_SERVER: usize = 10;

const FULL_METADATA: &str =
    "with SET GLOBAL binlog_row_metadata=FULL the log itself describes its tables and none of this is needed";

impl SourceQuestions for ServerQuestions {
    fn resolve_start(&self) -> Result<Resolved, Failure> {
        resolve(&self.source, &self.from)
    }

    fn connected(&self, server: &Server) {
        lock(&self.server).clone_from(server);
    }

    fn load_table(&self, database: &str, table: &str, at: &FilePos, again: bool) -> Result<TableDefinition, Failure> {
        let server = self.server();
        let key = server.names.key(database, table);
        if !again {
            let known = self.definitions(&server).at(&key, at).cloned();
            if let Some(definition) = known {
                return Ok(definition);
            }
            if let Some(definition) = self.read_later(&server, &key, at) {
                self.definitions(&server).found(&key, at, &definition)?;
                return Ok(definition);
            }
        }
        let (mut pause, mut errors) = (Duration::from_millis(100), 0);
        let definition = loop {
            match self.read_definition(&server, &key, at) {
                Ok(definition) => break definition,
                // The reader has gone to another server, where the position means something else: it asks anew.
                Err(failure) if self.server().uuid != server.uuid => {
                    return Err(Failure { kind: FailureKind::Transient, ..failure });
                }
                // A server that is away, or fails for a while at what it should be able to do, is no reason to stop a
                // table for good.
                Err(failure)
                    if failure.kind == FailureKind::Transient
                        || (failure.cause == Cause::Data && errors < ERRORS_OF_SERVER) =>
                {
                    errors += usize::from(failure.kind != FailureKind::Transient);
                    tracing::warn!("the definition of {database}.{table} is asked for again: {}", failure.message);
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(failure) => return Err(failure),
            }
        };
        self.definitions(&server).found(&key, at, &definition)?;
        Ok(definition)
    }

    fn file_begun(&self, file: &str) -> Result<Option<u32>, Failure> {
        let mut sql = Sql::connect(&self.source)?;
        let listed = sql.log_files()?.iter().any(|f| f.name == file);
        sql.close();
        if listed { file_time(&self.source, file) } else { Ok(None) }
    }

    fn schema_changed(&self, tables: &[Key], renames: Option<&[Renaming]>, at: &FilePos) -> Result<(), Failure> {
        let mut definitions = self.definitions(&self.server());
        match renames {
            Some(renames) => definitions.renamed(renames, at),
            None => definitions.changed(tables, at),
        }
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn read_columns(sql: &mut Sql, database: &str, table: &str) -> Result<TableDefinition, Failure> {
    let (db, name) = (quote(database), quote(table));
    // Two statements: joined, the servers go through the columns of the table for each of them.
    let of_table = format!("TABLE_SCHEMA = {db} AND TABLE_NAME = {name}");
    let keys = sql.query(&format!(
        "SELECT COLUMN_NAME, ORDINAL_POSITION FROM information_schema.KEY_COLUMN_USAGE \
         WHERE {of_table} AND CONSTRAINT_NAME = 'PRIMARY'"
    ))?;
    let key_parts: HashMap<String, u16> = (0..keys.rows.len())
        .filter_map(|i| Some((keys.text(i, 0)?, keys.text(i, 1)?.parse::<u16>().ok()?.checked_sub(1)?)))
        .collect();
    let result = sql.query(&format!(
        "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, EXTRA FROM information_schema.COLUMNS \
         WHERE {of_table} ORDER BY ORDINAL_POSITION"
    ))?;
    let columns: Option<Vec<ColumnDefinition>> = (0..result.rows.len())
        .map(|i| {
            let name = result.text(i, 0)?;
            Some(ColumnDefinition {
                column_type: result.text(i, 1)?,
                nullable: result.text(i, 2)? == "YES",
                charset: result.text(i, 3),
                extra: result.text(i, 4).unwrap_or_default(),
                key_part: key_parts.get(&name).copied(),
                name,
            })
        })
        .collect();
    match columns {
        Some(mut columns) if !columns.is_empty() => {
            columns.extend(hidden_columns::behind(sql, &of_table)?);
            Ok(TableDefinition { database: database.to_string(), name: table.to_string(), columns })
        }
        _ => Err(unknown(format!(
            "the log does not name its columns and INFORMATION_SCHEMA does not show it: it was dropped since, or this \
             account has no right on it (GRANT SELECT ON {database}.{table}); {FULL_METADATA}"
        ))),
    }
}

/// Turns a wanted start into a position on a server.
///
/// # Errors
/// The server is away or keeps no such position.
pub fn resolve(source: &Source, from: &From) -> Result<Resolved, Failure> {
    let mut sql = Sql::connect(source)?;
    let conflict = |message: String| Failure::new(FailureKind::Permanent, Cause::Conflict, message);
    let start = match from {
        From::Now => {
            let mut position = sql.log_end()?;
            // A server whose gtid_mode is not ON may have a set of before, but gives no log by it.
            if sql.flavor() == Flavor::MySql && sql.variable("gtid_mode").is_some_and(|mode| mode != "ON") {
                position.gtids = binlog::gtid::GtidSet::default();
            }
            Start { position, skip: None }
        }
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
                    "{}: log {} ends at {}, before the wanted offset {}; write {1}:4 for all of it, or now",
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
            if let Some(lost) = written_before(source, &files, *us)? {
                let address = source.address();
                return Err(conflict(format!(
                    "{address}: {lost}; choose a later time, or earliest for all that is there"
                )));
            }
            // The last file that was begun before the wanted time holds its first transaction.
            let (mut low, mut high) = (0, files.len());
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                match file_time(source, &files[middle].name)? {
                    // Whole seconds: it was begun at any moment of that second.
                    Some(begun) if (u64::from(begun) + 1) * 1_000_000 <= *us => low = middle,
                    _ => high = middle,
                }
            }
            Start { position: at_file(&files[low].name), skip: Some(Skip::UntilTime(*us)) }
        }
    };
    Ok(Resolved { start, server_uuid: sql.identity()? })
}

/// Why not all that was logged since a time can still be there; None when it is. Only the file that a server ever began
/// with has nothing before it.
///
/// # Errors
/// The server is away.
pub(crate) fn written_before(source: &Source, files: &[LogFile], us: u64) -> Result<Option<String>, Failure> {
    let Some(oldest) = files.first().filter(|f| file_number(&f.name) > 1) else { return Ok(None) };
    // Whole seconds: it was begun at any moment of that second.
    let whole = file_time(source, &oldest.name)?.map_or(0, |begun| u64::from(begun) + 1);
    if whole * 1_000_000 <= us {
        return Ok(None);
    }
    let whole = jiff::Timestamp::from_second(i64::try_from(whole).unwrap_or(0)).unwrap_or_default();
    Ok(Some(format!("the oldest log, {}, begins later: all is there since {whole}", oldest.name)))
}

fn at_file(name: &str) -> Position {
    Position { file_pos: FilePos { file: name.to_string(), pos: 4 }, gtids: binlog::gtid::GtidSet::default() }
}

/// When a log file was begun, seconds since the Unix epoch: the time of its FORMAT_DESCRIPTION.
fn file_time(source: &Source, name: &str) -> Result<Option<u32>, Failure> {
    let mut time = None;
    Sql::scan(source, &FilePos { file: name.to_string(), pos: 4 }, |raw| {
        let description = EventHeader::parse(raw).ok().filter(|h| h.event_type == EventType::FORMAT_DESCRIPTION);
        time = description.map(|header| header.timestamp);
        time.is_none()
    })?;
    Ok(time)
}

/// Questions about files: they begin at their beginning, and nobody knows more than the log says.
#[derive(Debug)]
pub struct FileQuestions {
    pub from: From,
}

impl SourceQuestions for FileQuestions {
    fn resolve_start(&self) -> Result<Resolved, Failure> {
        let skip = match &self.from {
            From::Now | From::Earliest => None,
            From::Time(us) => Some(Skip::UntilTime(*us)),
            From::File(pos) => Some(Skip::UntilPosition(pos.clone())),
            From::Gtid(_) => {
                let message = "--from gtid: needs a server; with --file use FILE:POS or time:";
                return Err(Failure::new(FailureKind::Permanent, Cause::Usage, message));
            }
        };
        let start = Start { position: Position::default(), skip };
        Ok(Resolved { start, server_uuid: String::new() })
    }

    fn load_table(
        &self,
        _database: &str,
        _table: &str,
        _at: &FilePos,
        _again: bool,
    ) -> Result<TableDefinition, Failure> {
        Err(unknown("a file has no definitions".to_string()))
    }
}

#[cfg(test)]
mod tests;
