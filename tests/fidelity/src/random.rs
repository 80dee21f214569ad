//! A seeded random workload: statements of every kind on two tables of random columns, with DDL in between where the log
//! describes its tables itself.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::script::Step;
use crate::spec::{Column, Kind, Random, Server, Table, Type, quote};
use crate::types::families;
use crate::values::value;

struct Workload<'r> {
    random: &'r mut Random,
    pool: Vec<Rc<Type>>,
    tables: Vec<(Rc<Table>, BTreeSet<i64>)>,
    /// Numbers ids and names, none of which is used again.
    next: i64,
    steps: Vec<Step>,
}

/// `count` random steps in `database`; `redefine`: one in so many changes a table.
pub(crate) fn steps(
    server: &Server,
    charsets: &[(String, usize)],
    database: &str,
    count: usize,
    redefine: Option<usize>,
    random: &mut Random,
) -> Vec<Step> {
    let mut pool: Vec<_> = families(server, charsets).into_iter().flat_map(|f| f.types).collect();
    if server.has_full_metadata() && !server.mariadb && !server.mysql(8, 0, 18) {
        // Labels without their character set: what DDL makes of such tables cannot be known.
        pool.retain(|ty: &Rc<Type>| !matches!(ty.kind, Kind::Enum | Kind::Set));
    }
    let mut workload = Workload { random, pool, tables: Vec::new(), next: 1, steps: Vec::new() };
    for name in ["r1", "r2"] {
        let columns: Vec<Column> = (0..8).map(|_| workload.column()).collect();
        let table = Rc::new(Table::new(database, name, columns));
        workload.steps.push(Step::new(table.create(""), &[&table]));
        workload.tables.push((table, BTreeSet::new()));
    }
    for _ in 0..count {
        if redefine.is_some_and(|n| workload.random.one_in(n)) {
            workload.change_table();
        } else {
            workload.change_rows();
        }
    }
    workload.steps
}

impl Workload<'_> {
    fn number(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    fn column(&mut self) -> Column {
        let ty = Rc::clone(self.random.pick(&self.pool));
        Column { name: format!("c{}", self.number()), ty }
    }

    /// A column of a table behind `id`, as SQL, with a value for it.
    fn assignment(&mut self, table: &Table) -> (String, String) {
        let column = &table.columns[1 + self.random.below(table.columns.len() - 1)];
        (quote(&column.name), value(&column.ty, self.random))
    }

    /// Without text that the column's character set lacks, which such a statement refuses.
    fn plain_assignment(&mut self, table: &Table) -> (String, String) {
        let (column, value) = self.assignment(table);
        let value = if value.is_ascii() { value } else { "NULL".into() };
        (column, value)
    }

    fn row(&mut self, table: &Table, id: i64) -> String {
        let columns: Vec<&Column> = table.columns.iter().collect();
        let values: Vec<String> =
            columns.iter().map(|c| if c.name == "id" { id.to_string() } else { value(&c.ty, self.random) }).collect();
        format!("({})", values.join(", "))
    }

    fn some_id(&mut self, at: usize) -> Option<i64> {
        let ids: Vec<i64> = self.tables[at].1.iter().copied().collect();
        (!ids.is_empty()).then(|| *self.random.pick(&ids))
    }

    fn insert(&mut self, at: usize) -> String {
        let table = Rc::clone(&self.tables[at].0);
        let rows: Vec<String> = (0..1 + self.random.below(3))
            .map(|_| {
                let id = self.number();
                self.tables[at].1.insert(id);
                self.row(&table, id)
            })
            .collect();
        format!("INSERT INTO {} VALUES {};\n", table.path(), rows.join(", "))
    }

    /// One statement on the rows of one table.
    fn statement(&mut self, at: usize) -> String {
        let Some(id) = self.some_id(at) else { return self.insert(at) };
        let table = Rc::clone(&self.tables[at].0);
        let path = table.path();
        let (column, new) = self.assignment(&table);
        match self.random.below(9) {
            0..=2 => self.insert(at),
            3 => {
                let (other, value) = self.assignment(&table);
                format!("UPDATE {path} SET {column} = {new}, {other} = {value} WHERE id = {id};\n")
            }
            4 => format!("UPDATE {path} SET {column} = {new} WHERE id <= {id};\n"),
            5 => {
                let row = self.row(&table, id);
                format!("REPLACE INTO {path} VALUES {row};\n")
            }
            6 => {
                let row = self.row(&table, id);
                format!("INSERT INTO {path} VALUES {row} ON DUPLICATE KEY UPDATE {column} = {new};\n")
            }
            7 => {
                let to = self.number();
                self.tables[at].1.remove(&id);
                self.tables[at].1.insert(to);
                format!("UPDATE {path} SET id = {to}, {column} = {new} WHERE id = {id};\n")
            }
            _ => {
                self.tables[at].1.remove(&id);
                format!("DELETE FROM {path} WHERE id = {id};\n")
            }
        }
    }

    fn change_rows(&mut self) {
        let at = self.random.below(2);
        let sql = match self.random.below(8) {
            0 => format!("BEGIN;\n{}{}{}COMMIT;\n", self.statement(0), self.statement(1), self.statement(at)),
            1 => {
                let before = self.tables.clone();
                let undone = format!("BEGIN;\n{}{}ROLLBACK;\n", self.statement(0), self.statement(1));
                self.tables = before;
                undone
            }
            2 => {
                let kept = self.statement(at);
                let before = self.tables.clone();
                let undone = self.statement(1 - at);
                self.tables = before;
                format!("BEGIN;\n{kept}SAVEPOINT s;\n{undone}ROLLBACK TO s;\n{}COMMIT;\n", self.statement(at))
            }
            3 => {
                let (a, b) = (Rc::clone(&self.tables[0].0), Rc::clone(&self.tables[1].0));
                let ((x, v), (y, w)) = (self.plain_assignment(&a), self.plain_assignment(&b));
                format!("UPDATE {} a, {} b SET a.{x} = {v}, b.{y} = {w} WHERE a.id < b.id;\n", a.path(), b.path())
            }
            _ => self.statement(at),
        };
        self.push(sql);
    }

    fn push(&mut self, sql: String) {
        let after = self.tables.iter().map(|(table, _)| Rc::clone(table)).collect();
        self.steps.push(Step { sql, after, gone: Vec::new() });
    }

    fn change_table(&mut self) {
        let at = self.random.below(2);
        let mut table = (*self.tables[at].0).clone();
        let path = table.path();
        let last = table.columns.len() - 1;
        let which = 1 + self.random.below(last);
        let mut gone = Vec::new();
        let sql = match self.random.below(6) {
            0 => {
                let column = self.column();
                // `id` stays first: the log tool knows columns by their place only.
                table.columns.insert(1, column.clone());
                format!("ALTER TABLE {path} ADD COLUMN {} {} AFTER id;\n", quote(&column.name), column.ty.sql)
            }
            1 if last > 3 => {
                let dropped = table.columns.remove(which);
                format!("ALTER TABLE {path} DROP COLUMN {};\n", quote(&dropped.name))
            }
            2 => {
                let column = self.column();
                let old = std::mem::replace(&mut table.columns[which], column.clone());
                let before = quote(&table.columns[which - 1].name);
                let (name, ty) = (quote(&column.name), &column.ty.sql);
                format!("ALTER TABLE {path} DROP COLUMN {}, ADD COLUMN {name} {ty} AFTER {before};\n", quote(&old.name))
            }
            3 => {
                let new = format!("renamed {}", self.number());
                let column = &mut table.columns[which];
                let old = std::mem::replace(&mut column.name, new.clone());
                format!("ALTER TABLE {path} CHANGE COLUMN {} {} {};\n", quote(&old), quote(&new), column.ty.sql)
            }
            4 => {
                gone.push((table.database.clone(), table.name.clone()));
                table.name = format!("t{}", self.number());
                format!("RENAME TABLE {path} TO {};\n", table.path())
            }
            _ => {
                self.tables[at].1.clear();
                format!("TRUNCATE TABLE {path};\n")
            }
        };
        self.tables[at].0 = Rc::new(table);
        self.push(sql);
        if let Some(step) = self.steps.last_mut() {
            step.gone = gone;
        }
    }
}
