//! What the tables of one server looked like at each position of its log, for logs whose table maps carry no names
//! (`binlog_row_metadata=MINIMAL`).
//!
//! A definition is in force from its position until the next entry of that table. A later definition counts for an
//! earlier position only if no statement in between changed the table. RENAME TABLE carries definitions on to the new
//! names, so that a table that takes the place of another is known at once.
//!
//! Invariant: entries are keyed by position and writing one again changes nothing, so a log that is read again after a
//! crash, or from an older checkpoint, finds what was in force there. Positions mean something on one server only:
//! entries of another are kept apart. Failure: an entry that this version cannot read is passed over, and so is what it
//! said; the definition is asked for again.

use std::collections::{BTreeMap, HashMap};

use binlog::position::FilePos;
use binlog::query::Renaming;
use binlog::schema::{ColumnDefinition, TableDefinition};
use coord::{CoordError, HistoryEntry, SchemaHistory, SourceId};
use pipeline::io::Failure;
use pipeline::table_name;
use serde::{Deserialize, Serialize};

use crate::coordinator::failure;

/// Database and name.
pub type Key = (String, String);
/// File number and offset.
type Place = (u64, u64);
/// None: a statement changed it, and what it looks like since has not been asked for.
type Timeline = BTreeMap<Place, Option<TableDefinition>>;

/// Definitions by position, durable in a [`SchemaHistory`].
pub struct Definitions {
    history: Box<dyn SchemaHistory>,
    source: SourceId,
    /// The server that positions belong to now.
    server: String,
    servers: HashMap<String, HashMap<Key, Timeline>>,
}

impl std::fmt::Debug for Definitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definitions")
            .field("source", &self.source)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// What the history keeps: a definition, or the news that it ended.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Stored {
    Table { server: String, columns: Vec<StoredColumn> },
    Changed { server: String },
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

impl Definitions {
    /// Loads what the history knows.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn load(source: SourceId, mut history: Box<dyn SchemaHistory>) -> Result<Self, CoordError> {
        let mut servers: HashMap<String, HashMap<Key, Timeline>> = HashMap::new();
        for entry in history.load(&source)? {
            let Some(key) = table_name::decode(&entry.table) else { continue };
            let (server, definition) = match serde_json::from_slice(&entry.payload) {
                Ok(Stored::Table { server, columns }) => {
                    let columns = columns.into_iter().map(Into::into).collect();
                    (server, Some(TableDefinition { database: key.0.clone(), name: key.1.clone(), columns }))
                }
                Ok(Stored::Changed { server }) => (server, None),
                Err(_) => continue,
            };
            let timeline = servers.entry(server).or_default().entry(key).or_default();
            timeline.insert((entry.file_number, entry.offset), definition);
        }
        Ok(Definitions { history, source, server: String::new(), servers })
    }

    /// Positions belong to this server from now on.
    pub fn connected(&mut self, server: &str) {
        self.server = server.to_string();
    }

    fn timeline(&self, key: &Key) -> Option<&Timeline> {
        self.servers.get(&self.server)?.get(key)
    }

    /// The definition in force at `at`, behind a statement that ends there.
    #[must_use]
    pub fn at(&self, key: &Key, at: &FilePos) -> Option<&TableDefinition> {
        self.timeline(key)?.range(..=place(at)).next_back()?.1.as_ref()
    }

    /// The next definition that was found behind `at`, and where.
    #[must_use]
    pub fn after(&self, key: &Key, at: &FilePos) -> Option<(FilePos, &TableDefinition)> {
        let from = (std::ops::Bound::Excluded(place(at)), std::ops::Bound::Unbounded);
        let ((number, pos), definition) = self.timeline(key)?.range(from).next()?;
        let (base, digits) = at.file.rsplit_once('.')?;
        let file = format!("{base}.{number:0width$}", width = digits.len());
        Some((FilePos { file, pos: *pos }, definition.as_ref()?))
    }

    /// Stores that `key` looks like `definition` from `at` on.
    ///
    /// # Errors
    /// The history cannot be written.
    pub fn found(&mut self, key: &Key, at: &FilePos, definition: &TableDefinition) -> Result<(), Failure> {
        self.put(key, at, Some(definition.clone()))
    }

    /// Stores that a statement, which ends at `at`, changed `tables` (all that are known, when empty).
    ///
    /// # Errors
    /// The history cannot be written.
    pub fn changed(&mut self, tables: &[Key], at: &FilePos) -> Result<(), Failure> {
        let known = self.servers.entry(self.server.clone()).or_default();
        let open = |timeline: &Timeline| {
            let before = timeline.range(..place(at)).next_back();
            before.is_some_and(|(_, definition)| definition.is_some()) && !timeline.contains_key(&place(at))
        };
        let concerned: Vec<Key> = known
            .iter()
            .filter(|(key, timeline)| (tables.is_empty() || tables.contains(key)) && open(timeline))
            .map(|(key, _)| key.clone())
            .collect();
        concerned.iter().try_for_each(|key| self.put(key, at, None))
    }

    /// Stores that RENAME TABLE, which ends at `at`, gave definitions other names.
    ///
    /// # Errors
    /// The history cannot be written.
    pub fn renamed(&mut self, renames: &[Renaming], at: &FilePos) -> Result<(), Failure> {
        let mut names: HashMap<&Key, Option<TableDefinition>> = HashMap::new();
        for (old, new) in renames {
            let definition = names.insert(old, None).unwrap_or_else(|| {
                let before = self.timeline(old).and_then(|t| t.range(..place(at)).next_back());
                before.and_then(|(_, definition)| definition.clone())
            });
            names.insert(new, definition);
        }
        for (key, definition) in names {
            if definition.is_some() || self.timeline(key).is_some() {
                let (database, name) = key.clone();
                self.put(key, at, definition.map(|d| TableDefinition { database, name, ..d }))?;
            }
        }
        Ok(())
    }

    fn put(&mut self, key: &Key, at: &FilePos, definition: Option<TableDefinition>) -> Result<(), Failure> {
        let timeline = self.servers.entry(self.server.clone()).or_default().entry(key.clone()).or_default();
        if timeline.get(&place(at)) == Some(&definition) {
            return Ok(());
        }
        let server = self.server.clone();
        let stored = match &definition {
            Some(d) => Stored::Table { server, columns: d.columns.iter().cloned().map(Into::into).collect() },
            None => Stored::Changed { server },
        };
        let entry = HistoryEntry {
            source: self.source.clone(),
            table: table_name::encode(&key.0, &key.1),
            file_number: at.file_number(),
            offset: at.pos,
            gtids: String::new(),
            payload: serde_json::to_vec(&stored).map_err(|e| unwritten(CoordError::Invalid(e.to_string())))?,
        };
        self.history.append(&entry).map_err(unwritten)?;
        // Only now: what is known here is not stored again.
        timeline.insert(place(at), definition);
        Ok(())
    }
}

fn unwritten(error: CoordError) -> Failure {
    let failure = failure(error);
    Failure { message: format!("the schema history cannot be written: {}", failure.message), ..failure }
}

fn place(at: &FilePos) -> Place {
    (at.file_number(), at.pos)
}

impl From<ColumnDefinition> for StoredColumn {
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

impl From<StoredColumn> for ColumnDefinition {
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

#[cfg(test)]
mod tests {
    use super::*;
    use coord::history::memory::MemoryHistory;
    use pipeline::io::FailureKind;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    /// A history that outlives its user, on a disk that may be full.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<MemoryHistory>>, Arc<AtomicBool>);

    impl SchemaHistory for Kept {
        fn append(&mut self, entry: &HistoryEntry) -> Result<(), CoordError> {
            if self.1.load(Ordering::Relaxed) {
                return Err(CoordError::Unavailable("no space".into()));
            }
            self.0.lock().unwrap().append(entry)
        }

        fn load(&mut self, source: &SourceId) -> Result<Vec<HistoryEntry>, CoordError> {
            self.0.lock().unwrap().load(source)
        }
    }

    #[test]
    fn names_with_dots_are_found_again() {
        let history = Kept::default();
        let dotted = ("a.b".to_string(), "c".to_string());
        definitions(&history).found(&dotted, &at(100), &table("c", &["x"])).unwrap();
        let again = definitions(&history);
        assert!(again.at(&dotted, &at(100)).is_some());
        assert!(again.at(&("a".into(), "b.c".into()), &at(100)).is_none());
    }

    fn key(name: &str) -> Key {
        ("d".into(), name.into())
    }

    fn at(pos: u64) -> FilePos {
        FilePos { file: "binlog.000003".into(), pos }
    }

    fn table(name: &str, columns: &[&str]) -> TableDefinition {
        let column = |name: &&str| ColumnDefinition {
            name: (*name).to_string(),
            column_type: "int".into(),
            nullable: true,
            charset: None,
            key_part: None,
            extra: String::new(),
        };
        TableDefinition { database: "d".into(), name: name.into(), columns: columns.iter().map(column).collect() }
    }

    fn definitions(history: &Kept) -> Definitions {
        let mut loaded = Definitions::load(SourceId::new("s").unwrap(), Box::new(history.clone())).unwrap();
        loaded.connected("one");
        loaded
    }

    /// The names of the columns at `pos`.
    fn columns(d: &Definitions, name: &str, pos: u64) -> String {
        let found = d.at(&key(name), &at(pos));
        found.map_or("?".into(), |t| t.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn each_position_has_its_own_definition_also_when_read_again() {
        let history = Kept::default();
        let mut d = definitions(&history);
        let read = |d: &mut Definitions| {
            d.found(&key("t"), &at(100), &table("t", &["a"])).unwrap();
            d.changed(&[key("t"), key("never seen")], &at(200)).unwrap();
            d.found(&key("t"), &at(300), &table("t", &["a", "b"])).unwrap();
        };
        read(&mut d);
        read(&mut d);
        let entries = history.clone().load(&SourceId::new("s").unwrap()).unwrap().len();
        assert_eq!(entries, 3, "reading again stores nothing again");
        for d in [&d, &definitions(&history)] {
            let seen: Vec<_> = [99, 100, 199, 200, 299, 300, 999].iter().map(|p| columns(d, "t", *p)).collect();
            assert_eq!(seen, ["?", "a", "a", "?", "?", "a,b", "a,b"]);
            assert_eq!(d.after(&key("t"), &at(200)).unwrap().0, at(300));
            assert!(d.after(&key("t"), &at(100)).is_none(), "a statement is next");
        }
        let mut other = definitions(&history);
        other.connected("another server");
        assert_eq!(columns(&other, "t", 300), "?");
    }

    #[test]
    fn what_could_not_be_stored_is_not_known_and_stored_when_it_comes_again() {
        let history = Kept::default();
        let full = |yes| history.1.store(yes, Ordering::Relaxed);
        let mut d = definitions(&history);
        let t = table("t", &["a"]);
        full(true);
        let failed = d.found(&key("t"), &at(100), &t).unwrap_err();
        assert_eq!((failed.kind, columns(&d, "t", 100)), (FailureKind::Transient, "?".into()), "{}", failed.message);
        full(false);
        d.found(&key("t"), &at(100), &t).unwrap();

        d.found(&key("u"), &at(150), &table("u", &["b"])).unwrap();
        let altered = |d: &mut Definitions| d.changed(&[key("t")], &at(200));
        let renamed = |d: &mut Definitions| d.renamed(&[(key("u"), key("t"))], &at(250));
        full(true);
        altered(&mut d).unwrap_err();
        full(false);
        altered(&mut d).unwrap();
        full(true);
        renamed(&mut d).unwrap_err();
        full(false);
        renamed(&mut d).unwrap();
        for d in [&d, &definitions(&history)] {
            assert_eq!([199, 200, 250].map(|pos| columns(d, "t", pos)), ["a", "?", "b"]);
        }
    }

    #[test]
    fn a_swap_of_names_carries_definitions_on() {
        let mut d = definitions(&Kept::default());
        d.found(&key("t"), &at(100), &table("t", &["old"])).unwrap();
        d.found(&key("shadow"), &at(150), &table("shadow", &["new"])).unwrap();
        let swap = [(key("t"), key("gone")), (key("shadow"), key("t"))];
        for _ in 0..2 {
            d.renamed(&swap, &at(200)).unwrap();
            let seen = ["t", "gone", "shadow"].map(|name| columns(&d, name, 200));
            assert_eq!(seen, ["new", "old", "?"]);
            assert_eq!(columns(&d, "t", 199), "old");
        }
        assert_eq!(d.at(&key("t"), &at(200)).unwrap().name, "t");
        // Names that were not known stay so.
        d.renamed(&[(key("x"), key("y")), (key("y"), key("t"))], &at(300)).unwrap();
        assert_eq!(["x", "y", "t"].map(|name| columns(&d, name, 300)), ["?", "?", "?"]);
    }

    #[test]
    fn a_definition_stands_behind_a_statement_at_its_own_position() {
        // A compressed CREATE TABLE … SELECT: statement and rows have one position, and are read twice.
        let mut d = definitions(&Kept::default());
        d.changed(&[key("t")], &at(100)).unwrap();
        d.found(&key("t"), &at(100), &table("t", &["a"])).unwrap();
        d.changed(&[key("t")], &at(100)).unwrap();
        assert_eq!(columns(&d, "t", 100), "a");
    }
}
