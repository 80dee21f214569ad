//! A seeded random workload of several connections: rows of many types, keys that change, transactions with savepoints
//! and rollbacks, XA, and definitions that change in between.
//!
//! Each writer has tables of its own, whose definitions it changes, and its share of the keys of one table that all
//! write. What a statement does is not predicted: the server's tables are the truth, so a statement may fail (a lock, a
//! duplicate key) and its transaction is rolled back. The first letter of a column's name tells its type.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kit::{Database, Session};

use crate::support::Up;

/// A generator of pseudo-random numbers (splitmix64): the same seed gives the same writer.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Letter, and the forms that its type may take; MODIFY goes from the first to the second.
const TYPES: [(char, [&str; 2]); 16] = [
    ('i', ["INT", "BIGINT"]),
    ('u', ["BIGINT UNSIGNED", "BIGINT UNSIGNED NULL"]),
    ('v', ["VARCHAR(60) CHARACTER SET utf8mb4", "TEXT CHARACTER SET utf8mb4"]),
    ('l', ["VARCHAR(40) CHARACTER SET latin1", "VARCHAR(300) CHARACTER SET latin1"]),
    ('d', ["DECIMAL(30,10)", "DECIMAL(40,10)"]),
    ('f', ["DOUBLE", "DOUBLE NULL"]),
    ('b', ["VARBINARY(40)", "BLOB"]),
    ('n', ["BINARY(8)", "BINARY(8) NULL"]),
    ('t', ["DATETIME(6)", "DATETIME(6) NULL"]),
    ('s', ["TIMESTAMP(3) NULL", "TIMESTAMP(3) NULL"]),
    ('h', ["TIME(2)", "TIME(3)"]),
    ('q', ["DATE", "DATETIME(6)"]),
    ('y', ["YEAR", "INT"]),
    ('e', ["ENUM('a','b','ü','')", "ENUM('a','b','ü','','new')"]),
    ('m', ["SET('x','y','z')", "SET('x','y','z','w')"]),
    ('j', ["JSON", "JSON NULL"]),
];

fn value(letter: char, dice: &mut Dice) -> String {
    if letter != 'k' && dice.one_in(8) {
        return "NULL".into();
    }
    let n = dice.next();
    match letter {
        'i' => (n as i32).to_string(),
        'u' => n.to_string(),
        'v' => format!("'{}ä€😀\\'\\\"\\n\\\\{}'", n % 1000, "y".repeat((n % 20) as usize)),
        'k' => format!("'k{}'", n % 3),
        'l' => format!("'é{}'", n % 100_000),
        'd' => format!("{}{}.{:010}", if n & 1 == 0 { "-" } else { "" }, u128::from(n) * 7, n % 10_000_000_000),
        'f' => format!("{}e{}", n as i64, (n % 200) as i64 - 120),
        'b' | 'n' => format!("x'{:0width$x}'", n, width = if letter == 'n' { 16 } else { 2 * (8 + (n % 10) as usize) }),
        't' => format!("'20{:02}-0{}-1{} 0{}:59:0{}.{:06}'", n % 70, 1 + n % 9, n % 10, n % 10, n % 9, n % 1_000_000),
        's' => format!("'20{:02}-06-1{} 0{}:00:00.{:03}'", n % 37, n % 10, n % 10, n % 1000),
        'h' => format!("'{}{}:{:02}:{:02}.{:02}'", if n & 1 == 0 { "-" } else { "" }, n % 838, n % 60, n % 59, n % 100),
        'q' => format!("'{:04}-12-{:02}'", 1000 + n % 8000, 1 + n % 31),
        'y' => (1901 + n % 200).to_string(),
        'e' => ["'a'", "'b'", "'ü'", "''"][(n % 4) as usize].into(),
        'm' => ["''", "'x'", "'y,z'", "'x,y,z'"][(n % 4) as usize].into(),
        _ => format!(
            r#"'{{"n": {}, "list": [1, "ä", null, {{"t": true}}], "k": "{}"}}'"#,
            n as i64,
            "w".repeat((n % 30) as usize)
        ),
    }
}

struct Table {
    name: String,
    columns: Vec<String>,
    /// Two columns make the key; no key at all in tables named so.
    pair: bool,
    next_column: u32,
    modified: Vec<String>,
}

impl Table {
    fn keyless(&self) -> bool {
        self.name.contains("nokey")
    }

    fn create(name: &str, letters: &str, pair: bool) -> (Table, String) {
        let mut table = Table { name: name.into(), columns: Vec::new(), pair, next_column: 0, modified: Vec::new() };
        let mut sql = format!("CREATE TABLE it.{name} (id BIGINT NOT NULL");
        if pair {
            sql += ", k VARCHAR(5) NOT NULL";
        }
        for letter in letters.chars() {
            let column = table.new_column(letter);
            let _ = write!(sql, ", {column} {}", type_of(&column, 0));
            table.columns.push(column);
        }
        if !table.keyless() {
            sql += if pair { ", PRIMARY KEY (id, k)" } else { ", PRIMARY KEY (id)" };
        }
        (table, sql + ") DEFAULT CHARSET utf8mb4")
    }

    fn new_column(&mut self, letter: char) -> String {
        self.next_column += 1;
        format!("{letter}{}", self.next_column)
    }

    fn row(&self, id: u64, dice: &mut Dice) -> String {
        let mut sql = format!("({id}");
        if self.pair {
            let _ = write!(sql, ", {}", value('k', dice));
        }
        for column in &self.columns {
            let _ = write!(sql, ", {}", value(letter(column), dice));
        }
        sql + ")"
    }

    fn names(&self) -> String {
        let mut names = String::from(if self.pair { "id, k" } else { "id" });
        for column in &self.columns {
            let _ = write!(names, ", {column}");
        }
        names
    }
}

fn letter(column: &str) -> char {
    column.chars().next().unwrap()
}

fn type_of(column: &str, form: usize) -> &'static str {
    TYPES.iter().find(|(l, _)| *l == letter(column)).unwrap().1[form]
}

/// One connection's share of the workload.
pub(crate) struct Writer<'a> {
    db: &'a Database,
    session: Session,
    dice: Dice,
    number: u64,
    writers: u64,
    tables: Vec<Table>,
    /// The programs that have to read what there is before a definition changes, if the log does not describe tables.
    readers: Option<&'a Mutex<Vec<Up>>>,
    last_ddl: Instant,
    xid: u64,
    prepared: Vec<String>,
    detach: bool,
    generation: u32,
    /// Rows written, as far as the writer knows.
    pub(crate) changes: u64,
}

/// Letters of the table that all write.
const SHARED: &str = "ivdbtj";

/// Makes the table that all write.
pub(crate) fn create_shared(db: &Database) {
    db.sql(&Table::create("shared", SHARED, false).1).unwrap();
}

impl<'a> Writer<'a> {
    pub(crate) fn start(
        db: &'a Database,
        seed: u64,
        number: u64,
        writers: u64,
        readers: Option<&'a Mutex<Vec<Up>>>,
    ) -> Writer<'a> {
        let mut session = db.session().unwrap();
        let setup = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET innodb_lock_wait_timeout = 2, \
                     lock_wait_timeout = 2, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'; SET NAMES utf8mb4";
        session.sql(setup).unwrap();
        let mut tables = vec![Table::create("shared", SHARED, false).0];
        let all: String = TYPES.iter().map(|(l, _)| *l).collect();
        for (what, letters, pair) in
            [("all", all.as_str(), false), ("pair", "vfle", true), ("nokey", "ivu", false), ("wide", "jbnmsh", false)]
        {
            let (table, sql) = Table::create(&format!("w{number}_{what}"), letters, pair);
            session.sql(&sql).unwrap();
            tables.push(table);
        }
        // A prepared transaction stays with its MariaDB session.
        let detach = !db.sql("SELECT VERSION()").unwrap().contains("MariaDB");
        let dice = Dice(seed.wrapping_mul(1000) + number);
        Writer {
            db,
            session,
            dice,
            number,
            writers,
            tables,
            readers,
            last_ddl: Instant::now(),
            xid: 0,
            prepared: Vec::new(),
            detach,
            generation: 0,
            changes: 0,
        }
    }

    /// Writes until about `changes` rows are changed, and ends what is prepared.
    pub(crate) fn run(&mut self, changes: u64) {
        while self.changes < changes {
            match self.dice.below(40) {
                0 => self.definition(),
                1 => self.swap(),
                2..=4 => self.xa(),
                5 => self.decide(),
                _ => self.transaction(),
            }
        }
        while !self.prepared.is_empty() {
            self.decide();
        }
    }

    fn id(&mut self, table: usize) -> u64 {
        let space = if self.tables[table].name == "shared" { 4000 } else { 1500 };
        self.dice.below(space) * self.writers + self.number
    }

    /// A statement that changes rows, and about how many.
    fn change(&mut self, table: usize) -> (String, u64) {
        let id = self.id(table);
        let other = self.id(table);
        let dice = &mut self.dice;
        let t = &self.tables[table];
        let (name, names) = (&t.name, t.names());
        let rows = |n: u64, dice: &mut Dice| {
            let rows: Vec<String> = (0..n).map(|i| t.row(id + i * self.writers, dice)).collect();
            rows.join(", ")
        };
        let column = (!t.columns.is_empty()).then(|| t.columns[dice.below(t.columns.len() as u64) as usize].clone());
        let many = 1 + dice.below(12);
        match (dice.below(12), column) {
            (0..=3, _) => (format!("INSERT IGNORE INTO it.{name} ({names}) VALUES {}", rows(many, dice)), many),
            (4, _) if !t.keyless() => (format!("REPLACE INTO it.{name} ({names}) VALUES {}", rows(many, dice)), many),
            (5, Some(c)) if !t.keyless() => {
                let set = value(letter(&c), dice);
                let sql = format!(
                    "INSERT INTO it.{name} ({names}) VALUES {} ON DUPLICATE KEY UPDATE {c} = {set}",
                    rows(many, dice)
                );
                (sql, many)
            }
            // Keys move: to a free one, or the statement does nothing.
            (6, _) => (format!("UPDATE IGNORE it.{name} SET id = {other} WHERE id = {id}"), 1),
            (7, _) => (format!("DELETE FROM it.{name} WHERE id = {id}"), 1),
            (8, Some(c)) => {
                let set = value(letter(&c), dice);
                let end = id + many * self.writers;
                let mine = format!("MOD(id, {}) = {}", self.writers, self.number);
                (format!("UPDATE it.{name} SET {c} = {set} WHERE id BETWEEN {id} AND {end} AND {mine}"), many)
            }
            (_, Some(c)) => {
                let set = value(letter(&c), dice);
                (format!("UPDATE it.{name} SET {c} = {set} WHERE id = {id}"), 1)
            }
            (_, None) => (format!("INSERT IGNORE INTO it.{name} ({names}) VALUES {}", rows(1, dice)), 1),
        }
    }

    /// Several changes; inside, a savepoint and perhaps a way back to it.
    fn changes(&mut self, table: Option<usize>) -> (Vec<String>, u64) {
        let (mut sql, mut count) = (Vec::new(), 0);
        for _ in 0..=self.dice.below(6) {
            let table = table.unwrap_or_else(|| self.dice.below(self.tables.len() as u64) as usize);
            let (statement, rows) = self.change(table);
            sql.push(statement);
            count += rows;
        }
        (sql, count)
    }

    fn transaction(&mut self) {
        if self.dice.one_in(3) {
            let table = self.dice.below(self.tables.len() as u64) as usize;
            let (sql, rows) = self.change(table);
            if self.session.sql(&sql).is_ok() {
                self.changes += rows;
            }
            return;
        }
        let (mut sql, mut rows) = self.changes(None);
        if self.dice.one_in(4) {
            let (inner, more) = self.changes(None);
            sql.push("SAVEPOINT `s p`".into());
            sql.extend(inner);
            if self.dice.one_in(2) {
                sql.push("ROLLBACK TO SAVEPOINT `s p`".into());
            } else {
                rows += more;
            }
        }
        let ok = self.session.sql(&format!("BEGIN; {}", sql.join("; "))).is_ok();
        let commit = ok && !self.dice.one_in(10);
        self.session.sql(if commit { "COMMIT" } else { "ROLLBACK" }).unwrap();
        self.changes += if commit { rows } else { 0 };
    }

    fn xa(&mut self) {
        self.xid += 1;
        let xid = format!("'w{}','b{}',{}", self.number, self.xid, self.number);
        // What stays prepared holds locks: only in the table whose definition nobody changes.
        let (sql, rows) = self.changes(Some(0));
        let ok = self.session.sql(&format!("XA START {xid}; {}", sql.join("; "))).is_ok();
        let end = self.session.sql(&format!("XA END {xid}"));
        if !ok || end.is_err() {
            let _ = self.session.sql(&format!("XA ROLLBACK {xid}"));
            return;
        }
        if self.dice.one_in(4) {
            self.session.sql(&format!("XA COMMIT {xid} ONE PHASE")).unwrap();
            self.changes += rows;
            return;
        }
        // A transaction that changed nothing may end with its PREPARE.
        self.session.sql(&format!("XA PREPARE {xid}")).unwrap();
        self.prepared.push(xid);
        if !self.detach || self.dice.one_in(2) || self.prepared.len() > 3 {
            self.decide();
        }
    }

    fn decide(&mut self) {
        if self.prepared.is_empty() {
            return;
        }
        let xid = self.prepared.remove(self.dice.below(self.prepared.len() as u64) as usize);
        let verb = if self.dice.one_in(4) { "ROLLBACK" } else { "COMMIT" };
        let _ = self.session.sql(&format!("XA {verb} {xid}"));
        self.changes += 5;
    }

    /// True if a definition may change now; at most some times a second, so that a run is about rows.
    fn ddl_time(&mut self) -> bool {
        let pause = if self.readers.is_some() { Duration::from_millis(700) } else { Duration::from_millis(40) };
        let due = self.last_ddl.elapsed() >= pause;
        if due {
            self.last_ddl = Instant::now();
        }
        due
    }

    /// Waits until the readers have seen all there is now; they stay up while the result lives.
    fn caught_up(&self) -> Option<MutexGuard<'a, Vec<Up>>> {
        let readers = self.readers?.lock().unwrap();
        readers.iter().for_each(|up| up.wait_passed(self.db));
        Some(readers)
    }

    fn definition(&mut self) {
        if !self.ddl_time() {
            return;
        }
        let readers = self.caught_up();
        let at = 1 + self.dice.below(self.tables.len() as u64 - 1) as usize;
        let dice = &mut self.dice;
        let table = &mut self.tables[at];
        let name = table.name.clone();
        let place = dice.below(table.columns.len().max(1) as u64) as usize;
        let chosen = table.columns.get(place).cloned();
        match (dice.below(8), chosen) {
            (0 | 1, _) if table.columns.len() < 24 => {
                // Rows of a table without key are found by all their values: no type that compares in its own way.
                let types: &[(char, [&str; 2])] = if table.keyless() { &TYPES[..3] } else { &TYPES };
                let letter = types[dice.below(types.len() as u64) as usize].0;
                let column = table.new_column(letter);
                let after = if dice.one_in(2) { " FIRST" } else { "" };
                let sql = format!("ALTER TABLE it.{name} ADD COLUMN {column} {}{after}", type_of(&column, 0));
                if self.session.sql(&sql).is_ok() {
                    table.columns.push(column);
                }
            }
            (2, Some(column)) if table.columns.len() > 2 => {
                if self.session.sql(&format!("ALTER TABLE it.{name} DROP COLUMN {column}")).is_ok() {
                    table.columns.remove(place);
                }
            }
            (3, Some(column)) if !table.modified.contains(&column) => {
                let sql = format!("ALTER TABLE it.{name} MODIFY COLUMN {column} {}", type_of(&column, 1));
                if self.session.sql(&sql).is_ok() {
                    table.modified.push(column);
                }
            }
            (4, Some(column)) => {
                let new = table.new_column(letter(&column));
                if self.session.sql(&format!("ALTER TABLE it.{name} RENAME COLUMN {column} TO {new}")).is_ok() {
                    if let Some(m) = table.modified.iter_mut().find(|m| **m == column) {
                        m.clone_from(&new);
                    }
                    table.columns[place] = new;
                }
            }
            (5, _) => {
                let _ = self.session.sql(&format!("TRUNCATE TABLE it.{name}"));
            }
            (6, _) => {
                self.generation += 1;
                let new =
                    format!("{}_{}", name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_'), self.generation);
                let new = if table.keyless() && !new.contains("nokey") { format!("{new}_nokey") } else { new };
                if self.session.sql(&format!("RENAME TABLE it.{name} TO it.{new}")).is_ok() {
                    table.name = new;
                }
            }
            _ => {
                // A table that comes with its rows, and goes.
                let copy = format!("w{}_copy", self.number);
                let _ = self.session.sql(&format!(
                    "CREATE TABLE it.{copy} (PRIMARY KEY (id)) AS SELECT id, 'c' AS v FROM it.shared LIMIT 20"
                ));
                let _ = self.session.sql(&format!("UPDATE it.{copy} SET v = 'd' WHERE id < 1000"));
                if self.dice.one_in(2) {
                    drop(readers);
                    let _readers = self.caught_up();
                    let _ = self.session.sql(&format!("DROP TABLE it.{copy}"));
                }
            }
        }
    }

    /// A new shape by a shadow table that takes the place of the old one.
    fn swap(&mut self) {
        if !self.ddl_time() {
            return;
        }
        let _readers = self.caught_up();
        let at = 1 + self.dice.below(self.tables.len() as u64 - 1) as usize;
        let table = &mut self.tables[at];
        if table.keyless() || table.columns.len() > 20 {
            return;
        }
        let (name, column, names) = (table.name.clone(), table.new_column('v'), table.names());
        let (shadow, old) = (format!("_{name}_new"), format!("_{name}_old"));
        let mut sql = |text: String| self.session.sql(&text).is_ok();
        let swapped = sql(format!("CREATE TABLE it.{shadow} LIKE it.{name}"))
            && sql(format!("ALTER TABLE it.{shadow} ADD COLUMN {column} VARCHAR(60) CHARACTER SET utf8mb4 FIRST"))
            && sql(format!("INSERT IGNORE INTO it.{shadow} ({names}) SELECT {names} FROM it.{name}"))
            && sql(format!("RENAME TABLE it.{name} TO it.{old}, it.{shadow} TO it.{name}"))
            && sql(format!("DROP TABLE it.{old}"));
        if swapped {
            table.columns.push(column);
        } else {
            // Whatever of it was done: what the table looks like now is asked for.
            self.db.sql(&format!("DROP TABLE IF EXISTS it.{shadow}")).unwrap();
        }
    }
}
