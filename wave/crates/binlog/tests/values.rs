//! Values as real servers wrote them into their logs, against the text that their SELECT gave for the same rows
//! (recorded by `data/record.py`).
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::collections::BTreeMap;

use binlake_binlog::cell::Cell;
use binlake_binlog::charset::Charset;
use binlake_binlog::decimal::Decimal;
use binlake_binlog::render::render_text;
use binlake_binlog::schema::{Column, ColumnType};
use binlake_binlog::temporal::{Date, DateTime, Time, Timestamp, datetime2_len, time2_len, timestamp2_len};

const MYSQL: &str = include_str!("data/values-mysql-9.7.tsv");
const MARIADB: &str = include_str!("data/values-mariadb-10.11.tsv");
const MARIADB_OLD: &str = include_str!("data/values-mariadb-10.11-old.tsv");

fn unhex(text: &str) -> Vec<u8> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty());
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn column(ty: ColumnType, charset: Charset) -> Column {
    Column::new("v", ty, charset)
}

/// The numbers in the parentheses of a column type.
fn arguments(kind: &str) -> Vec<u8> {
    let Some((_, rest)) = kind.split_once('(') else { return vec![] };
    let (inside, _) = rest.split_once(')').unwrap();
    inside.split(',').map(|n| n.parse().unwrap()).collect()
}

/// The cell in the bytes of one value, which it must use up, and its column.
fn read<'a>(kind: &str, wire: &'a [u8]) -> (Cell<'a>, Column) {
    let arguments = arguments(kind);
    let fsp = arguments.first().copied().unwrap_or(0);
    let plain = |ty| column(ty, Charset::Binary);
    let (cell, column, length) = match kind.split(['(', ' ']).next().unwrap() {
        "date" | "old:date" => (Cell::Date(Date::read(wire).unwrap()), plain(ColumnType::Date), 3),
        "time" => (Cell::Time(Time::read(wire, fsp).unwrap()), plain(ColumnType::Time { fsp }), time2_len(fsp)),
        "datetime" => (
            Cell::DateTime(DateTime::read(wire, fsp).unwrap()),
            plain(ColumnType::DateTime { fsp }),
            datetime2_len(fsp),
        ),
        "timestamp" => (
            Cell::Timestamp(Timestamp::read(wire, fsp).unwrap()),
            plain(ColumnType::Timestamp { fsp }),
            timestamp2_len(fsp),
        ),
        "old:time" => (Cell::Time(Time::read_old(wire).unwrap()), plain(ColumnType::TimeOld), 3),
        "old:datetime" => (Cell::DateTime(DateTime::read_old(wire).unwrap()), plain(ColumnType::DateTimeOld), 8),
        "old:timestamp" => (Cell::Timestamp(Timestamp::read_old(wire).unwrap()), plain(ColumnType::TimestampOld), 4),
        "decimal" => {
            let [precision, scale] = arguments[..] else { panic!("{kind}") };
            let decimal = Decimal::read(wire, precision, scale).unwrap();
            let length = Decimal::encoded_len(precision, scale);
            (Cell::Decimal(decimal), plain(ColumnType::Decimal { precision, scale }), length)
        }
        "double" => (Cell::Double(f64::from_le_bytes(wire.try_into().unwrap())), plain(ColumnType::Double), 8),
        "float" => (Cell::Float(f32::from_le_bytes(wire.try_into().unwrap())), plain(ColumnType::Float), 4),
        "json" => (Cell::Json(&wire[4..]), plain(ColumnType::Json { length_bytes: 4 }), wire.len()),
        "varchar" => {
            let charset = Charset::from_name(kind.rsplit(' ').next().unwrap());
            (Cell::Text(&wire[1..]), column(ColumnType::VarChar { max_bytes: 80 }, charset), wire.len())
        }
        other => panic!("{other}"),
    };
    assert_eq!(wire.len(), length, "{kind}");
    (cell, column)
}

/// Compares every recorded value; gives how many of each type there were.
fn compare(recording: &str) -> BTreeMap<&str, usize> {
    let mut seen = BTreeMap::new();
    for line in recording.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, wire, text] = fields[..] else { panic!("{line}") };
        let wire = unhex(wire);
        let (cell, column) = read(kind, &wire);
        let mut out = Vec::new();
        render_text(&cell, &column, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let text = String::from_utf8(unhex(text)).unwrap();
        if let Cell::Float(value) = cell {
            // The server rounds to six digits; we do not.
            assert_eq!(out.parse::<f32>().unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!(out, text, "{kind} {}", fields[1]);
        *seen.entry(kind.split(['(', ' ']).next().unwrap()).or_insert(0) += 1;
    }
    seen
}

#[test]
fn mysql_values_read_as_select_prints_them() {
    let seen = compare(MYSQL);
    assert_eq!(seen["varchar"], 40, "every character set but binary");
    assert_eq!(
        seen.keys().copied().collect::<Vec<_>>(),
        ["date", "datetime", "decimal", "double", "float", "json", "time", "timestamp", "varchar"]
    );
}

#[test]
fn mariadb_values_read_as_select_prints_them() {
    let seen = compare(MARIADB);
    assert_eq!(seen["varchar"], 39, "every character set but binary and gb18030");
}

#[test]
fn values_of_the_formats_before_5_6() {
    let seen = compare(MARIADB_OLD);
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ["old:date", "old:datetime", "old:time", "old:timestamp"]);
}

/// Every prefix of every value is an error, never a panic or a value.
#[test]
fn cut_values_are_errors() {
    for line in MYSQL.lines().chain(MARIADB_OLD.lines()).filter(|line| line.len() < 2000) {
        let fields: Vec<&str> = line.split('\t').collect();
        let wire = unhex(fields[1]);
        let arguments = arguments(fields[0]);
        let fsp = arguments.first().copied().unwrap_or(0);
        for length in 0..wire.len() {
            let cut = &wire[..length];
            let is_error = match fields[0].split(['(', ' ']).next().unwrap() {
                "date" | "old:date" => Date::read(cut).is_err(),
                "time" => Time::read(cut, fsp).is_err(),
                "datetime" => DateTime::read(cut, fsp).is_err(),
                "timestamp" => Timestamp::read(cut, fsp).is_err(),
                "old:time" => Time::read_old(cut).is_err(),
                "old:datetime" => DateTime::read_old(cut).is_err(),
                "old:timestamp" => Timestamp::read_old(cut).is_err(),
                "decimal" => Decimal::read(cut, arguments[0], arguments[1]).is_err(),
                // No bytes at all are null.
                "json" if length > 4 => binlake_binlog::json::write_text(&cut[4..], &mut Vec::new()).is_err(),
                _ => true,
            };
            assert!(is_error, "{} cut to {length} bytes", fields[0]);
        }
    }
}
