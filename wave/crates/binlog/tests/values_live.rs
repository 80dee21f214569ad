//! Every column type with its boundary values through a real server: what the row images say must be what SELECT says.
//!
//! One wide table; row k holds value k of each column (modulo their number). All rows are inserted, updated and deleted,
//! so the values pass as after-images and as before-images. SELECT gives text and bytes in hex.

#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::collections::BTreeMap;
use std::path::Path;

use binlake_binlog::cell::Cell;
use binlake_binlog::event::{Event, FileSplitter, StreamState};
use binlake_binlog::json::apply_diff;
use binlake_binlog::render::render_text;
use binlake_binlog::rows::RowsKind;
use binlake_binlog::schema::Table;

/// How SELECT is asked, which also says how to compare.
#[derive(Clone, Copy, PartialEq)]
enum As {
    Plain,
    /// Character sets: converted to UTF-8, in hex.
    Text,
    /// Bytes in hex.
    Bytes,
    /// As a number.
    Number,
    /// The exact value of a FLOAT, which its own text rounds.
    Float,
}

struct ColumnCase {
    sql_type: String,
    select: As,
    values: Vec<String>,
}

fn case(sql_type: &str, select: As, values: &[&str]) -> ColumnCase {
    ColumnCase { sql_type: sql_type.into(), select, values: values.iter().map(ToString::to_string).collect() }
}

fn integers() -> Vec<ColumnCase> {
    let mut cases = Vec::new();
    for (name, bits) in [("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64)] {
        let half = 1i128 << (bits - 1);
        let values = [-half, half - 1, -1, 0, 1].map(|v| v.to_string());
        cases.push(ColumnCase { sql_type: name.into(), select: As::Plain, values: values.to_vec() });
        let values = [0, 1, half - 1, half, 2 * half - 1].map(|v| v.to_string());
        cases.push(ColumnCase { sql_type: format!("{name} unsigned"), select: As::Plain, values: values.to_vec() });
    }
    cases
}

fn numbers() -> Vec<ColumnCase> {
    let nines = "'".to_owned() + &"9".repeat(35) + "." + &"9".repeat(30) + "'";
    vec![
        case("float", As::Float, &["0", "1.1", "-0.1", "16777216", "3.40282e38", "1.17549e-38", "1e15", "-123456.789"]),
        case(
            "double",
            As::Plain,
            &["0", "-1.1", "1e14", "1e15", "1234567890123456.7", "1e-15", "1e-16", "5e-324", "1.7976931348623157e308"],
        ),
        case(
            "decimal(65,30)",
            As::Plain,
            &[&nines, &nines.replacen('\'', "'-", 1), "0", "-0.000000000000000000000000000001"],
        ),
        case("decimal(10,2) unsigned", As::Plain, &["0", "99999999.99", "0.5"]),
        case("bit(1)", As::Number, &["0", "1"]),
        case("bit(10)", As::Number, &["0", "1023", "512", "1"]),
        case("bit(64)", As::Number, &["18446744073709551615", "9223372036854775808", "0", "258"]),
        case("year", As::Plain, &["0", "1901", "2155", "2024"]),
    ]
}

fn temporal() -> Vec<ColumnCase> {
    let mut cases = vec![case(
        "date",
        As::Plain,
        &["'0000-00-00'", "'2024-00-00'", "'2024-02-31'", "'0003-01-01'", "'9999-12-31'"],
    )];
    for fsp in ["", "(1)", "(3)", "(4)", "(6)"] {
        cases.push(case(
            &format!("time{fsp}"),
            As::Plain,
            &[
                "'838:59:59'",
                "'-838:59:59'",
                "'-00:00:00.4'",
                "'-00:00:01.25'",
                "'12:34:56.789012'",
                "'00:00:00'",
                "'-100:00:00.000009'",
            ],
        ));
        cases.push(case(
            &format!("datetime{fsp}"),
            As::Plain,
            &[
                "'0000-00-00 00:00:00'",
                "'2024-02-29 12:34:56.789012'",
                "'0003-01-01 23:59:59'",
                "'2024-02-31 00:00:00.4'",
                "'9999-12-31 00:00:00'",
            ],
        ));
        cases.push(case(
            &format!("timestamp{fsp} null"),
            As::Plain,
            &[
                "'0000-00-00 00:00:00'",
                "'1970-01-01 00:00:01'",
                "'2038-01-19 03:14:07'",
                "'2024-02-29 12:34:56.789012'",
            ],
        ));
    }
    cases
}

fn strings() -> Vec<ColumnCase> {
    let labels: Vec<String> = (0..300).map(|n| format!("'label{n}'")).collect();
    let members: Vec<String> = (0..64).map(|n| format!("'m{n}'")).collect();
    let text = "'aé€中文'";
    let mut cases = vec![
        case("char(10) character set latin1", As::Text, &["''", "'é€'", "'abc  '"]),
        case("char(255) character set utf8mb4", As::Text, &["''", "'é€😀'", "repeat('😀', 255)"]),
        case("varchar(20) character set utf8mb4", As::Text, &["''", "'😀'", "repeat('é', 20)"]),
        case("varchar(300) character set gbk", As::Text, &["'中文'", "repeat('中', 300)", "''"]),
        case("binary(5)", As::Bytes, &["x'0100'", "''", "x'ffffffffff'", "x'2020'"]),
        case("binary(255)", As::Bytes, &["repeat('x', 255)", "x'00'"]),
        case("varbinary(300)", As::Bytes, &["x'0100'", "''", "repeat(x'ff', 300)"]),
        case("tinytext character set latin1", As::Text, &["'é'", "repeat('x', 255)", "''"]),
        case("text character set ucs2", As::Text, &["'é€'", "repeat('€', 1000)"]),
        case("mediumtext character set utf8mb4", As::Text, &["repeat('x', 70000)", "'😀'"]),
        case("longtext character set sjis", As::Text, &["'日本'", "''"]),
        case("tinyblob", As::Bytes, &["x'00ff'", "''"]),
        case("blob", As::Bytes, &["repeat(x'80', 300)", "x'00'"]),
        case("mediumblob", As::Bytes, &["repeat(x'80', 70000)"]),
        case("longblob", As::Bytes, &["x'fe'", "''"]),
        case("enum('x','中','é') character set gbk", As::Text, &["'x'", "'中'", "'é'", "'no such label'"]),
        case(&format!("enum({})", labels.join(",")), As::Text, &["'label0'", "'label299'", "'label255'"]),
        case("set('a','é','c') character set latin1", As::Text, &["''", "'a'", "'a,c'", "'a,é,c'"]),
        case(&format!("set({})", members.join(",")), As::Text, &["''", "'m63'", "'m0,m8,m63'"]),
        case("geometry", As::Bytes, &["st_geomfromtext('POINT(1 2)')", "st_geomfromtext('LINESTRING(0 0,1 1)', 4326)"]),
    ];
    for charset in
        ["big5", "gb2312", "ujis", "eucjpms", "cp932", "utf16", "utf16le", "utf32", "utf8mb3", "koi8r", "cp850", "swe7"]
    {
        cases.push(case(&format!("varchar(9) character set {charset}"), As::Text, &[text, "'abc'"]));
    }
    cases
}

fn mysql_only() -> Vec<ColumnCase> {
    let numbers: Vec<String> = (0..30_000).map(|n| n.to_string()).collect();
    let large = format!("'[{}]'", numbers.join(","));
    vec![
        // Counts among the character columns of the metadata: the text column behind it must keep its own set.
        case("vector(3)", As::Bytes, &["string_to_vector('[1,-2.5,3e10]')"]),
        case("varchar(9) character set gb18030", As::Text, &["'aé€😀㐀'"]),
        case(
            "json",
            As::Plain,
            &[
                r#"'{"b": [1, 2.50, "x\\"y", null, true], "a": {"": 1e20}}'"#,
                "'[]'",
                "'null'",
                "json_array(1.10, date'2024-02-29', time'-01:02:03.5', x'00ff', point(1, 2))",
                "cast(18446744073709551615 as json)",
                &large,
                "concat(repeat('[', 100), repeat(']', 100))",
                r#"'"\\u0000\\u001f\\t€😀"'"#,
            ],
        ),
    ]
}

/// What one operation on one row gave, by the row's id: the text of each column.
type Images = BTreeMap<(String, i64), Vec<Option<Vec<u8>>>>;

fn render_row(cells: &[Cell<'_>], table: &Table, cases: &[ColumnCase]) -> (i64, Vec<Option<Vec<u8>>>) {
    let Cell::Int(id) = cells[0] else { panic!("{:?}", cells[0]) };
    let values = cells[1..].iter().zip(&table.columns[1..]).zip(cases).map(|((cell, column), case)| {
        assert_ne!(*cell, Cell::Absent, "{}", case.sql_type);
        let mut out = Vec::new();
        render_text(cell, column, &mut out).unwrap_or_else(|e| panic!("{}: {e}", case.sql_type));
        (*cell != Cell::Null).then_some(out)
    });
    (id, values.collect())
}

/// Calls `row` for each row of table `name` in the server's log files: kind, table, before and after.
fn read_log(dir: &Path, name: &str, mut row: impl FnMut(RowsKind, &Table, &[Cell<'_>], &[Cell<'_>])) {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("data")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| {
        file.file_stem().is_some_and(|s| s == "binlog") && file.extension().is_some_and(|e| e != "index")
    });
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let mut splitter = FileSplitter::new(1 << 30);
        splitter.push(&std::fs::read(file).unwrap());
        let mut state = StreamState::default();
        let mut tables = BTreeMap::new();
        while let Some(raw) = splitter.next_event().unwrap() {
            match state.parse(raw).unwrap().1 {
                Event::TableMap(map) => {
                    tables.insert(map.table_id, Table::compile(&map, None).unwrap());
                }
                Event::Rows(rows) => {
                    let table = &tables[&rows.table_id];
                    let mut reader = rows.reader(table).unwrap();
                    let (mut before, mut after) = (Vec::new(), Vec::new());
                    while reader.next(&mut before, &mut after).unwrap() {
                        if table.name == name {
                            row(rows.kind, table, &before, &after);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn unescape(field: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = field.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next().unwrap() {
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                other => other,
            },
            other => other,
        });
    }
    out
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|b| format!("{b:02X}").into_bytes()).collect()
}

fn compare(server: &kit::Database, cases: &[ColumnCase]) {
    let rows = cases.iter().map(|case| case.values.len()).max().unwrap();
    let definitions: Vec<String> =
        cases.iter().enumerate().map(|(i, case)| format!("c{i} {}", case.sql_type)).collect();
    let mut sql = format!(
        "SET NAMES utf8mb4; SET time_zone='+00:00', sql_mode='ALLOW_INVALID_DATES'; SET innodb_strict_mode=OFF;
         CREATE DATABASE v; USE v; CREATE TABLE v (id INT PRIMARY KEY, {}) ROW_FORMAT=DYNAMIC;\n",
        definitions.join(", ")
    );
    for row in 0..rows {
        let values: Vec<&str> = cases.iter().map(|case| case.values[row % case.values.len()].as_str()).collect();
        sql += &format!("INSERT INTO v VALUES ({row}, {});\n", values.join(", "));
    }
    sql += &format!("INSERT INTO v (id) VALUES ({rows}); UPDATE v SET id = id + 1000 ORDER BY id DESC;\n");
    server.sql(&sql).unwrap();
    let expressions: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(i, case)| match case.select {
            As::Plain => format!("c{i}"),
            As::Text => format!("HEX(CONVERT(c{i} USING utf8mb4))"),
            As::Bytes => format!("HEX(c{i})"),
            As::Number => format!("c{i}+0"),
            As::Float => format!("c{i}+0e0"),
        })
        .collect();
    let select = format!(
        "SET NAMES utf8mb4; SET time_zone='+00:00'; SELECT id - 1000, {} FROM v.v ORDER BY id",
        expressions.join(", ")
    );
    let selected = server.sql(&select).unwrap();
    server.sql("DELETE FROM v.v").unwrap();

    let mut images = Images::new();
    read_log(server.dir(), "v", |kind, table, before, after| {
        for (image, cells, offset) in [
            ("before", before, if kind == RowsKind::Delete { 1000 } else { 0 }),
            ("after", after, if kind == RowsKind::Update { 1000 } else { 0 }),
        ] {
            if !cells.is_empty() {
                let (id, values) = render_row(cells, table, cases);
                images.insert((format!("{kind:?} {image}"), id - offset), values);
            }
        }
    });
    let mut compared = 0;
    for line in selected.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let id: i64 = fields[0].parse().unwrap();
        for image in ["Insert after", "Update before", "Update after", "Delete before"] {
            let values = images.get(&(image.to_owned(), id)).unwrap_or_else(|| panic!("no {image} of row {id}"));
            for ((field, value), case) in fields[1..].iter().zip(values).zip(cases) {
                check(
                    field,
                    value.as_deref(),
                    case,
                    &format!("{image} {id} {}", case.sql_type.chars().take(40).collect::<String>()),
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, (rows + 1) * 4 * cases.len());
}

fn check(field: &str, value: Option<&[u8]>, case: &ColumnCase, context: &str) {
    let Some(value) = value else {
        assert_eq!(field, "NULL", "{context}");
        return;
    };
    match case.select {
        As::Text | As::Bytes => assert_eq!(String::from_utf8(hex(value)).unwrap(), field, "{context}"),
        As::Float => {
            let ours: f32 = std::str::from_utf8(value).unwrap().parse().unwrap();
            assert_eq!(f64::from(ours).to_string(), field.parse::<f64>().unwrap().to_string(), "{context}");
        }
        As::Plain | As::Number => {
            let wanted = String::from_utf8(unescape(field)).unwrap();
            let ours = String::from_utf8(value.to_vec()).unwrap();
            assert!(ours == wanted, "{context}: {ours:.200} instead of {wanted:.200}");
        }
    }
}

#[test]
fn mysql_9_7_every_type() {
    let server = kit::MySql::start().unwrap();
    let cases: Vec<ColumnCase> =
        [integers(), numbers(), temporal(), strings(), mysql_only()].into_iter().flatten().collect();
    compare(&server, &cases);
}

#[test]
fn mariadb_10_11_every_type() {
    let server = kit::MariaDb::with("10.11", &["--binlog-row-metadata=FULL"]).unwrap();
    let cases: Vec<ColumnCase> = [integers(), numbers(), temporal(), strings()].into_iter().flatten().collect();
    compare(&server, &cases);
}

/// Random doubles and JSON documents, and a chain of partial updates, by one seed that is printed.
#[test]
fn mysql_9_7_random_doubles_and_partial_updates() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let server = kit::MySql::start().unwrap();
    let mut sql = "CREATE DATABASE r; USE r; CREATE TABLE d (id INT PRIMARY KEY, v DOUBLE, j JSON);".to_owned();
    sql += "CREATE TABLE p (id INT PRIMARY KEY, v JSON); SET binlog_row_value_options='PARTIAL_JSON';";
    for id in 0..2000 {
        let bits = f64::from_bits(random());
        // Half of them around the places where the layout changes.
        let value = if id % 2 == 0 && bits.is_finite() {
            bits
        } else {
            (random() % 100_000_000) as f64 * 10f64.powi((random() % 40) as i32 - 26)
        };
        sql += &format!("INSERT INTO d VALUES ({id}, {value:e}, CAST({value:e} AS JSON));\n");
    }
    sql += "INSERT INTO p VALUES (1, JSON_OBJECT('pad', REPEAT('x', 2000), 'a', JSON_ARRAY(), 'o', JSON_OBJECT()));\n";
    for step in 0..300 {
        let key = random() % 12;
        let value = ["1", "'text'", "2.50", "JSON_OBJECT('k', 1)", "NULL", "1e20", "JSON_ARRAY(1, 2)", "TRUE"]
            [(random() % 8) as usize];
        sql += &match random() % 5 {
            0 => format!("UPDATE p SET v = JSON_SET(v, '$.o.k{key}', {value});\n"),
            1 => format!("UPDATE p SET v = JSON_SET(v, '$.a[{key}]', {value});\n"),
            2 => format!("UPDATE p SET v = JSON_REMOVE(v, '$.a[{key}]');\n"),
            3 => format!("UPDATE p SET v = JSON_REMOVE(v, '$.o.k{key}');\n"),
            _ => format!("UPDATE p SET v = JSON_REPLACE(v, '$.o.k{key}', {value}, '$.a[last]', {step});\n"),
        };
    }
    server.sql(&sql).unwrap();

    let mut ours = Vec::new();
    read_log(server.dir(), "d", |_, table, _, after| {
        let texts = after.iter().zip(&table.columns).map(|(cell, column)| {
            let mut out = Vec::new();
            render_text(cell, column, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        });
        ours.push(texts.collect::<Vec<_>>().join("\t"));
    });
    let theirs = server.sql("SELECT id, v, j FROM r.d ORDER BY id").unwrap();
    for (ours, theirs) in ours.iter().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!((ours.len(), theirs.lines().count()), (2000, 2000));

    // Each update's result must be the next one's before-image, the last one's what SELECT gives.
    let (mut result, mut diffs) = (None, 0);
    read_log(server.dir(), "p", |kind, table, before, after| {
        let mut text = Vec::new();
        if kind == RowsKind::Update {
            render_text(&before[1], &table.columns[1], &mut text).unwrap();
            assert_eq!(result.as_ref(), Some(&text));
            text.clear();
        }
        match (before.get(1), after[1]) {
            (Some(Cell::Json(before)), Cell::JsonDiff(diff)) => {
                apply_diff(before, diff, &mut text).unwrap();
                diffs += 1;
            }
            (_, cell) => render_text(&cell, &table.columns[1], &mut text).unwrap(),
        }
        result = Some(text);
    });
    assert_eq!(String::from_utf8(result.unwrap()).unwrap(), server.sql("SELECT v FROM r.p").unwrap().trim_end());
    assert!(diffs > 100, "only {diffs} of the updates were partial");
}
