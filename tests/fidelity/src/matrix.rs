//! The type matrix: each family's table is filled, updated whole and column by column, and emptied.

use std::rc::Rc;

use crate::script::Step;
use crate::spec::{Column, Kind, Random, Server, Table, quote};
use crate::types::{Family, families};
use crate::values::value;

/// The steps of all families of `server` in `database`; `short` leaves most rows out.
pub(crate) fn steps(
    server: &Server,
    charsets: &[(String, usize)],
    database: &str,
    short: bool,
    random: &mut Random,
) -> Vec<Step> {
    families(server, charsets).iter().flat_map(|family| family_steps(family, database, short, random)).collect()
}

fn family_steps(family: &Family, database: &str, short: bool, random: &mut Random) -> Vec<Step> {
    let columns: Vec<Column> =
        family.types.iter().enumerate().map(|(i, ty)| Column { name: format!("c{i}"), ty: Rc::clone(ty) }).collect();
    let table = Rc::new(Table::new(database, family.name, columns));
    let types = &family.types;
    let rows = types.iter().map(|t| t.values.len()).max().unwrap_or(1).min(if short { 4 } else { usize::MAX });
    let at = |row: usize| -> Vec<String> { types.iter().map(|t| t.values[row % t.values.len()].clone()).collect() };
    let mut insert = table.create("");
    for row in 0..rows {
        insert += &table.insert(row as i64, &at(row));
    }
    // Rows of random values, and one of which only the key is given.
    for extra in 0..if short { 1 } else { 3 } {
        let values: Vec<String> = types.iter().map(|t| value(t, random)).collect();
        insert += &table.insert((rows + extra) as i64, &values);
    }
    insert += &format!("INSERT INTO {} (id) VALUES (1000);\n", table.path());
    let mut whole = String::new();
    for row in 0..rows {
        let sets: Vec<String> =
            at(row + 1).iter().enumerate().map(|(i, value)| format!("{} = {value}", quote(&format!("c{i}")))).collect();
        whole += &format!("UPDATE {} SET {} WHERE id = {row};\n", table.path(), sets.join(", "));
    }
    let mut steps = vec![Step::new(insert, &[&table]), Step::new(whole, &[&table])];
    let mut single = String::new();
    for (i, ty) in types.iter().enumerate() {
        let (row, new) = (random.below(rows), value(ty, random));
        single += &format!("UPDATE {} SET c{i} = {new} WHERE id = {row};\n", table.path());
        single += &format!("UPDATE {} SET c{i} = {} WHERE id = 1000;\n", table.path(), ty.values[0]);
        if !short {
            steps.push(Step::new(std::mem::take(&mut single), &[&table]));
        }
    }
    steps.push(Step::new(single, &[&table]));
    if types.iter().any(|t| t.kind == Kind::Json) {
        steps.extend(partial_updates(&table));
    }
    steps.push(Step::new(format!("UPDATE {} SET id = id + 5000 WHERE id < 2;\n", table.path()), &[&table]));
    steps.push(Step::new(format!("DELETE FROM {};\n", table.path()), &[&table]));
    steps
}

/// Updates that a server with PARTIAL_JSON logs as differences.
fn partial_updates(table: &Rc<Table>) -> Vec<Step> {
    let path = table.path();
    let mut steps = vec![Step::new(
        format!(
            r#"INSERT INTO {path} (id, c0, c1, c2) VALUES (2000, '{{"a": [1, {{"b": 2}}, 3], "k.x": "t", "n": 1}}', 'é', '[1, 2, 3]');
"#
        ),
        &[table],
    )];
    for set in [
        "c0 = JSON_SET(c0, '$.n', 12345678901)",
        "c0 = JSON_SET(c0, '$.a[1].b', 'longer than before')",
        "c0 = JSON_REPLACE(c0, '$.\"k.x\"', date'2024-02-29'), c2 = JSON_SET(c2, '$[1]', 1.5)",
        "c0 = JSON_REMOVE(c0, '$.a[0]')",
        "c0 = JSON_SET(c0, '$.new', JSON_ARRAY(1, NULL)), c1 = 'ü'",
        "c2 = JSON_ARRAY_INSERT(c2, '$[0]', 'first')",
        "c2 = JSON_REMOVE(c2, '$[3]'), c0 = NULL",
        "c2 = JSON_SET(JSON_REMOVE(c2, '$[0]'), '$[0]', 'é€😀')",
        "c0 = JSON_OBJECT('b', x'00ff', 'd', 1e22, 't', TIME'12:00:00.5', 'n', 1)",
        "c0 = JSON_SET(c0, '$.n', 2)",
        "c0 = JSON_SET(c0, '$.t', TIME'01:00:00.25')",
    ] {
        steps.push(Step::new(format!("UPDATE {path} SET {set} WHERE id = 2000;\n"), &[table]));
    }
    steps
}
