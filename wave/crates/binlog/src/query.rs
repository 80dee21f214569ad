//! What kind of statement a QUERY event holds (manual: "SQL Statements", "Comments", "Schema Object Names").
//!
//! The text is classified, never trusted to rebuild a schema: tables named in DDL only tell which definitions to read
//! again. Comments count as spaces; of executable ones (`/*!50000 … */`, `/*M! … */`) the inside counts.

mod lexer;

use lexer::{Lexer, Token};

/// Kind of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryKind<'a> {
    Begin,
    Commit,
    Rollback,
    Savepoint,
    RollbackToSavepoint,
    Xa(XaStatement<'a>),
    Ddl(Ddl),
    /// A change in statement format: INSERT, UPDATE, DELETE, REPLACE, LOAD; or a statement that is logged only because
    /// it may have changed a table: WITH, SELECT and DO (of a stored function), CALL, MariaDB's SET STATEMENT.
    Dml,
    /// No statement, only a comment: what MariaDB puts in place of an event that its reader does not know.
    Nothing,
    /// Also what is about accounts and rights, in whatever words.
    Other,
}

/// An XA statement. Names are text as the server writes it (`X'6162',X'',1`), see [`crate::event::Xid::to_sql`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XaStatement<'a> {
    Start { xid: &'a [u8] },
    End { xid: &'a [u8] },
    Prepare { xid: &'a [u8] },
    Commit { xid: &'a [u8], one_phase: bool },
    Rollback { xid: &'a [u8] },
}

/// A statement that may change definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ddl {
    pub verb: Verb,
    /// Tables named, old and new names of a renaming both. Best effort; empty if one of them cannot be read, since it may be
    /// any.
    pub tables: Vec<TableName>,
    /// Of CREATE, ALTER and DROP DATABASE; and of views, triggers, routines and events, where their name has it.
    pub database: Option<String>,
    /// About a table that only its session sees.
    pub temporary: bool,
    /// CREATE TABLE IF NOT EXISTS: a table that is there stays as it is, and the statement is logged all the same.
    pub if_not_exists: bool,
}

impl Ddl {
    /// The tables named as `case` compares them, each with its database: `default` where the statement names none.
    #[must_use]
    pub fn tables_in(&self, default: &str, case: NameCase) -> Vec<(String, String)> {
        let full = |t: &TableName| case.key(t.database.as_deref().unwrap_or(default), &t.table);
        self.tables.iter().map(full).collect()
    }

    /// Old and new names of RENAME TABLE in the order they take effect; None for other statements, or if a name is
    /// missing.
    #[must_use]
    pub fn renames_in(&self, default: &str, case: NameCase) -> Option<Vec<Renaming>> {
        let tables = self.tables_in(default, case);
        let (pairs, rest) = tables.as_chunks::<2>();
        let whole = self.verb == Verb::RenameTable && rest.is_empty() && !pairs.is_empty();
        whole.then(|| pairs.iter().cloned().map(|[old, new]| (old, new)).collect())
    }
}

/// Whether a server tells upper from lower case in the names of databases and tables: `lower_case_table_names` is 0.
///
/// If it does not, its table maps have names in lower case, and its statements as somebody typed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameCase {
    #[default]
    Sensitive,
    Insensitive,
}

impl NameCase {
    /// A name in the form in which it equals all that the server takes for the same, and at times one more: the servers'
    /// tables of letters are those of Unicode 3, and leave later ones as they are. So both sides have to be brought into it.
    #[must_use]
    pub fn fold(self, name: &str) -> String {
        match self {
            Self::Sensitive => name.to_string(),
            // By letter: the servers know no other sigma for the end of a word, and make a plain `i` of `İ`.
            Self::Insensitive => name.chars().filter_map(|c| c.to_lowercase().next()).collect(),
        }
    }

    /// [`NameCase::fold`] of a table's database and name.
    #[must_use]
    pub fn key(self, database: &str, table: &str) -> (String, String) {
        (self.fold(database), self.fold(table))
    }
}

/// Old and new name of a table, each a database and a name.
pub type Renaming = ((String, String), (String, String));

/// What a statement does to what; only what the reader of a log tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    CreateTable,
    AlterTable,
    DropTable,
    RenameTable,
    TruncateTable,
    CreateIndex,
    DropIndex,
    /// CREATE, ALTER and DROP SEQUENCE of MariaDB, where a sequence is a table of one row, whose type may change.
    Sequence,
    CreateDatabase,
    AlterDatabase,
    DropDatabase,
    /// Views, triggers, routines, …: no table changes.
    Other,
}

impl Verb {
    /// True if tables may have other columns or another key afterwards. A database that is dropped, or whose defaults
    /// change, is none: its tables have to be created by name before they have rows again.
    #[must_use]
    pub fn redefines_tables(self) -> bool {
        matches!(
            self,
            Verb::CreateTable
                | Verb::AlterTable
                | Verb::DropTable
                | Verb::RenameTable
                | Verb::CreateIndex
                | Verb::DropIndex
                | Verb::Sequence
        )
    }
}

/// A table as a statement names it; without a database it is in the default one of the QUERY event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    pub database: Option<String>,
    pub table: String,
}

/// Classifies the text of a QUERY event, which has to be UTF-8: [`crate::event::Query::text`].
#[must_use]
pub fn classify_query(sql: &[u8]) -> QueryKind<'_> {
    let mut lexer = Lexer::new(sql);
    let first = loop {
        match lexer.next() {
            // MariaDB: SET STATEMENT variable = value, … FOR statement.
            Token::Word(first) if first.eq_ignore_ascii_case(b"SET") && lexer.word("STATEMENT") => {
                while !lexer.word("FOR") {
                    if matches!(lexer.next(), Token::End) {
                        return QueryKind::Other;
                    }
                }
            }
            Token::Word(first) => break first,
            Token::End => return QueryKind::Nothing,
            _ => return QueryKind::Other,
        }
    };
    match first.to_ascii_uppercase().as_slice() {
        b"BEGIN" => QueryKind::Begin,
        b"START" if lexer.word("TRANSACTION") => QueryKind::Begin,
        b"COMMIT" => QueryKind::Commit,
        b"ROLLBACK" => {
            let _ = lexer.word("WORK");
            if lexer.word("TO") { QueryKind::RollbackToSavepoint } else { QueryKind::Rollback }
        }
        b"SAVEPOINT" => QueryKind::Savepoint,
        b"XA" => xa(lexer).map_or(QueryKind::Other, QueryKind::Xa),
        b"CREATE" | b"ALTER" | b"DROP" | b"RENAME" if of_the_server(lexer.clone()) => QueryKind::Other,
        b"CREATE" => QueryKind::Ddl(create(lexer).if_readable()),
        b"ALTER" => QueryKind::Ddl(alter(lexer).if_readable()),
        b"DROP" => QueryKind::Ddl(drop_object(lexer).if_readable()),
        b"RENAME" => QueryKind::Ddl(rename(lexer).if_readable()),
        b"TRUNCATE" => {
            let _ = lexer.word("TABLE");
            QueryKind::Ddl(Ddl::tables(Verb::TruncateTable, lexer.name().into_iter().collect()))
        }
        b"DELETE" if let Some(table) = emptied(lexer) => QueryKind::Ddl(Ddl::tables(Verb::TruncateTable, vec![table])),
        b"INSERT" | b"UPDATE" | b"DELETE" | b"REPLACE" | b"LOAD" | b"WITH" | b"SELECT" | b"DO" | b"CALL" => {
            QueryKind::Dml
        }
        _ => QueryKind::Other,
    }
}

/// What MySQL 5.7 logs when it first opens a MEMORY table after its start; later versions log TRUNCATE TABLE.
const EMPTIED: &[u8] = b"/* generated by server, implicitly emptying in-memory table */";

/// The table that the server emptied, behind the DELETE of such a statement.
fn emptied(mut lexer: Lexer<'_>) -> Option<TableName> {
    let table = if lexer.word("FROM") { lexer.name() } else { None };
    table.filter(|_| lexer.rest().trim_ascii() == EMPTIED)
}

/// The first table or view that a changing statement names behind its verb. The tables that it changed are others where
/// that is a view, and more where there are triggers, cascades or several tables.
#[must_use]
pub fn written_table(sql: &[u8]) -> Option<TableName> {
    let mut lexer = Lexer::new(sql);
    let Token::Word(verb) = lexer.next() else { return None };
    match verb.to_ascii_uppercase().as_slice() {
        b"INSERT" | b"REPLACE" => {
            for word in ["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"] {
                lexer.word(word);
            }
            lexer.name()
        }
        b"UPDATE" => {
            for word in ["LOW_PRIORITY", "IGNORE"] {
                lexer.word(word);
            }
            lexer.name()
        }
        b"DELETE" => lexer.name_after("FROM"),
        b"LOAD" => lexer.name_after("TABLE"),
        _ => None,
    }
}

/// The name in SAVEPOINT and ROLLBACK TO, which the server writes in UTF-8 whatever the session's character set.
#[must_use]
pub fn savepoint_name(sql: &[u8]) -> Option<String> {
    let mut lexer = Lexer::new(sql);
    if lexer.word("ROLLBACK") {
        lexer.word("WORK");
        if !lexer.word("TO") {
            return None;
        }
    }
    lexer.word("SAVEPOINT");
    lexer.identifier()
}

/// False for a name with characters that could not be read.
#[must_use]
pub fn readable(name: &str) -> bool {
    !name.contains(char::REPLACEMENT_CHARACTER)
}

impl Ddl {
    fn tables(verb: Verb, tables: Vec<TableName>) -> Self {
        Self { verb, tables, database: None, temporary: false, if_not_exists: false }
    }

    /// Names no table where a name has characters that could not be read.
    fn if_readable(mut self) -> Self {
        if !self.tables.iter().all(|t| readable(&t.table) && t.database.as_deref().is_none_or(readable)) {
            self.tables.clear();
        }
        self
    }

    fn database(verb: Verb, database: Option<TableName>) -> Self {
        Self { database: database.map(|d| d.table), ..Self::tables(verb, Vec::new()) }
    }
}

fn xa(mut lexer: Lexer<'_>) -> Option<XaStatement<'_>> {
    let Token::Word(verb) = lexer.next() else { return None };
    let rest = lexer.rest().trim_ascii().trim_suffix_ascii(b";");
    Some(match verb.to_ascii_uppercase().as_slice() {
        b"START" | b"BEGIN" => XaStatement::Start { xid: rest },
        b"END" => XaStatement::End { xid: rest },
        b"PREPARE" => XaStatement::Prepare { xid: rest },
        b"ROLLBACK" => XaStatement::Rollback { xid: rest },
        b"COMMIT" => {
            let xid = rest.trim_suffix_ascii(b"ONE PHASE");
            XaStatement::Commit { xid, one_phase: xid.len() < rest.len() }
        }
        _ => return None,
    })
}

trait TrimSuffix {
    /// Without `suffix` of any case, and without spaces before it.
    fn trim_suffix_ascii(&self, suffix: &[u8]) -> &[u8];
}

impl TrimSuffix for [u8] {
    fn trim_suffix_ascii(&self, suffix: &[u8]) -> &[u8] {
        match self.len().checked_sub(suffix.len()).and_then(|at| self.split_at_checked(at)) {
            Some((head, tail)) if tail.eq_ignore_ascii_case(suffix) => head.trim_ascii_end(),
            _ => self,
        }
    }
}

/// Accounts, and the logins of FEDERATED tables: of no table or database, whatever the session's default one is. Their
/// text may hold passwords, so it goes to nobody who asked for the DDL of tables.
fn of_the_server(mut lexer: Lexer<'_>) -> bool {
    lexer.words(&["OR", "REPLACE"]);
    ["USER", "ROLE", "SERVER"].into_iter().any(|what| lexer.word(what))
}

fn create(mut lexer: Lexer<'_>) -> Ddl {
    if lexer.word("OR") {
        lexer.word("REPLACE");
    }
    let temporary = lexer.word("TEMPORARY");
    if lexer.word("TABLE") {
        let if_not_exists = lexer.words(&["IF", "NOT", "EXISTS"]);
        let tables = lexer.name().into_iter().collect();
        return Ddl { temporary, if_not_exists, ..Ddl::tables(Verb::CreateTable, tables) };
    }
    if lexer.word("SEQUENCE") {
        lexer.words(&["IF", "NOT", "EXISTS"]);
        return Ddl { temporary, ..Ddl::tables(Verb::Sequence, lexer.name().into_iter().collect()) };
    }
    if lexer.word("DATABASE") || lexer.word("SCHEMA") {
        lexer.words(&["IF", "NOT", "EXISTS"]);
        return Ddl::database(Verb::CreateDatabase, lexer.name());
    }
    for kind in ["UNIQUE", "FULLTEXT", "SPATIAL"] {
        lexer.word(kind);
    }
    if lexer.word("INDEX") {
        return Ddl::tables(Verb::CreateIndex, lexer.name_after("ON").into_iter().collect());
    }
    stored_object(lexer)
}

/// Views, triggers, routines and events; what else there is has no database.
fn stored_object(mut lexer: Lexer<'_>) -> Ddl {
    // Who defined it and how stands before what it is.
    loop {
        if lexer.word("DEFINER") {
            lexer.symbol(b'=');
            lexer.next();
            if lexer.symbol(b'@') || lexer.symbol(b'(') {
                lexer.next();
            }
        } else if lexer.word("ALGORITHM") {
            lexer.symbol(b'=');
            lexer.next();
        } else if lexer.word("SQL") {
            lexer.word("SECURITY");
            lexer.next();
        } else if !lexer.word("AGGREGATE") {
            break;
        }
    }
    let mut database = None;
    if ["VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"].into_iter().any(|kind| lexer.word(kind)) {
        lexer.words(&["IF", "NOT", "EXISTS"]);
        lexer.words(&["IF", "EXISTS"]);
        database = lexer.name().and_then(|name| name.database);
    }
    Ddl { database, ..Ddl::tables(Verb::Other, Vec::new()) }
}

fn alter(mut lexer: Lexer<'_>) -> Ddl {
    if lexer.word("DATABASE") || lexer.word("SCHEMA") {
        return Ddl::database(Verb::AlterDatabase, lexer.name());
    }
    if lexer.word("SEQUENCE") {
        lexer.words(&["IF", "EXISTS"]);
        return Ddl::tables(Verb::Sequence, lexer.name().into_iter().collect());
    }
    lexer.word("ONLINE");
    lexer.word("IGNORE");
    if !lexer.word("TABLE") {
        return stored_object(lexer);
    }
    lexer.words(&["IF", "EXISTS"]);
    let mut tables: Vec<_> = lexer.name().into_iter().collect();
    loop {
        match lexer.next() {
            Token::End => return Ddl::tables(Verb::AlterTable, tables),
            Token::Word(w) if w.eq_ignore_ascii_case(b"RENAME") => {
                if ["COLUMN", "INDEX", "KEY"].into_iter().any(|what| lexer.peek_word(what)) {
                    continue;
                }
                let _ = lexer.word("TO") || lexer.word("AS") || lexer.symbol(b'=');
                tables.extend(lexer.name());
            }
            Token::Word(w) if w.eq_ignore_ascii_case(b"EXCHANGE") && lexer.word("PARTITION") => {
                tables.extend(lexer.name_after("TABLE"));
            }
            // MariaDB: CONVERT PARTITION p TO TABLE t, CONVERT TABLE t TO PARTITION p.
            Token::Word(w)
                if w.eq_ignore_ascii_case(b"CONVERT") && (lexer.word("PARTITION") || lexer.peek_word("TABLE")) =>
            {
                tables.extend(lexer.name_after("TABLE"));
            }
            _ => {}
        }
    }
}

fn drop_object(mut lexer: Lexer<'_>) -> Ddl {
    let temporary = lexer.word("TEMPORARY");
    let table = lexer.word("TABLE") || lexer.word("TABLES");
    if table || lexer.word("SEQUENCE") {
        lexer.words(&["IF", "EXISTS"]);
        let mut tables = Vec::new();
        while let Some(table) = lexer.name() {
            tables.push(table);
            if !lexer.symbol(b',') {
                break;
            }
        }
        let verb = if table { Verb::DropTable } else { Verb::Sequence };
        return Ddl { temporary, ..Ddl::tables(verb, tables) };
    }
    if lexer.word("DATABASE") || lexer.word("SCHEMA") {
        lexer.words(&["IF", "EXISTS"]);
        return Ddl::database(Verb::DropDatabase, lexer.name());
    }
    if lexer.word("INDEX") {
        return Ddl::tables(Verb::DropIndex, lexer.name_after("ON").into_iter().collect());
    }
    stored_object(lexer)
}

fn rename(mut lexer: Lexer<'_>) -> Ddl {
    if !lexer.word("TABLE") && !lexer.word("TABLES") {
        return Ddl::tables(Verb::Other, Vec::new());
    }
    lexer.words(&["IF", "EXISTS"]);
    let mut tables = Vec::new();
    while let Some(table) = lexer.name() {
        tables.push(table);
        tables.extend(lexer.name_after("TO"));
        if !lexer.symbol(b',') {
            break;
        }
    }
    Ddl::tables(Verb::RenameTable, tables)
}

#[cfg(test)]
mod tests;
