//! One delivered value against the server's own text.

use proto::v1::value::Kind as Cell;

use crate::change::Value;
use crate::json::Json;
use crate::spec::{Kind, Type};

/// Whether `value` is what the server said; None where the form does not tell.
pub(crate) fn same(ty: &Type, fields: &[Option<String>], value: &Value) -> Option<bool> {
    let Some(first) = fields.first().and_then(Option::as_deref) else {
        return Some(match value {
            Value::Json(json) => *json == Json::Null,
            Value::Cell(cell) => matches!(cell, Cell::Null(true)),
            Value::Printed(text) => text == b"NULL",
            Value::Partial(_) => false,
        });
    };
    let second = fields.get(1).and_then(Option::as_deref).unwrap_or_default();
    match value {
        Value::Json(Json::Number(n)) if hidden_labels(ty.kind, first) => Some(n == second),
        Value::Json(json) => Some(json_same(ty.kind, first, second, json)),
        Value::Partial(Json::Array(operations)) if !operations.is_empty() => None,
        Value::Partial(_) => Some(false),
        Value::Cell(Cell::JsonDiff(_)) => None,
        // The error value and a label without characters look alike in text.
        Value::Cell(Cell::Uint(0)) if ty.kind == Kind::Enum => Some(second == "0"),
        Value::Cell(_) if ty.kind == Kind::Enum && second == "0" => Some(false),
        Value::Cell(Cell::Uint(n)) if hidden_labels(ty.kind, first) => Some(n.to_string() == second),
        Value::Cell(cell) => Some(cell_same(ty.kind, first, second, cell)),
        Value::Printed(text) => printed_same(ty, first, second, text),
    }
}

/// Whether INFORMATION_SCHEMA does not tell these labels: it says `?` for characters above U+FFFF, and for `?`.
pub(crate) fn hidden_labels(kind: Kind, first: &str) -> bool {
    matches!(kind, Kind::Enum | Kind::Set) && hex_text(first).contains(|c| c == '?' || c > '\u{ffff}')
}

/// Whether a value of ENUM or SET came as its number.
pub(crate) fn came_as_number(value: &Value) -> bool {
    matches!(value, Value::Json(Json::Number(_)) | Value::Cell(Cell::Uint(_)))
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks(2).map(|p| digit(p[0]) << 4 | p.get(1).map_or(0, |b| digit(*b))).collect()
}

fn hex_text(text: &str) -> String {
    String::from_utf8_lossy(&unhex(text)).into_owned()
}

fn cell_same(kind: Kind, first: &str, second: &str, cell: &Cell) -> bool {
    match (kind, cell) {
        (Kind::Int, Cell::Int(v)) => v.to_string() == first,
        (Kind::Int | Kind::Bit, Cell::Uint(v)) => v.to_string() == first,
        (Kind::Year, Cell::Uint(v)) => format!("{v:04}") == first,
        (Kind::Float, Cell::Float(v)) => float(first).is_some_and(|f| f64_same(f64::from(f), f64::from(*v))),
        (Kind::Double, Cell::Double(v)) => first.parse().is_ok_and(|f| f64_same(f, *v)),
        (Kind::Decimal | Kind::Temporal | Kind::Shown | Kind::FixedBinary, Cell::Text(v)) => v == first,
        (Kind::Text | Kind::Set | Kind::Enum, Cell::Text(v)) => v.as_bytes() == unhex(first),
        (Kind::Json, Cell::Text(v)) => v.as_bytes() == unhex(first) || points_same(&hex_text(first), v),
        // Bytes that are no characters of the set, for which the server says `?`.
        (Kind::Text, Cell::Bytes(v)) => *v == unhex(second) && hex_text(first).contains(['?', '\u{fffd}']),
        (Kind::Bytes | Kind::Geometry | Kind::Vector | Kind::MariaVector, Cell::Bytes(v)) => *v == unhex(first),
        (Kind::FixedBinary, Cell::Bytes(v)) => *v == unhex(second),
        _ => false,
    }
}

/// Whether a value of [`Kind::FixedBinary`] came as text; the texts have a sign that base64 lacks. None for NULL.
pub(crate) fn came_as_text(value: &Value) -> Option<bool> {
    match value {
        Value::Json(Json::Text(text)) => Some(text.contains(['-', ':', '.'])),
        Value::Cell(Cell::Text(_)) => Some(true),
        Value::Cell(Cell::Bytes(_)) => Some(false),
        _ => None,
    }
}

/// Bit for bit, but MariaDB prints the negative zero without its sign.
fn f64_same(wanted: f64, ours: f64) -> bool {
    wanted.to_bits() == ours.to_bits() || (wanted.to_bits() == 0 && ours == 0.0)
}

/// The server gives a FLOAT's value as a DOUBLE.
fn float(text: &str) -> Option<f32> {
    let value: f64 = text.parse().ok()?;
    Some(value as f32)
}

fn json_same(kind: Kind, first: &str, second: &str, json: &Json) -> bool {
    match (kind, json) {
        (Kind::Int | Kind::Bit, Json::Number(n)) => n == first,
        (Kind::Year, Json::Number(n)) => format!("{n:0>4}") == first,
        (Kind::Float, Json::Number(n)) => {
            let ours = n.parse::<f32>().ok();
            float(first).zip(ours).is_some_and(|(a, b)| f64_same(f64::from(a), f64::from(b)))
        }
        (Kind::Double, Json::Number(n)) => {
            let ours = n.parse::<f64>().ok();
            first.parse().ok().zip(ours).is_some_and(|(a, b)| f64_same(a, b))
        }
        (Kind::Decimal, Json::Number(n)) => plain(n) == first,
        (Kind::Temporal | Kind::Shown, Json::Text(t)) => t == first,
        (Kind::Text | Kind::Enum, Json::Text(t)) => {
            // What is no character is `?` or U+FFFD to the server, by the set.
            t.replace('\u{fffd}', "?") == hex_text(first).replace('\u{fffd}', "?")
        }
        (Kind::Bytes | Kind::MariaVector, Json::Text(t)) => base64(t) == Some(unhex(first)),
        (Kind::FixedBinary, Json::Text(t)) => t == first || base64(t) == Some(unhex(second)),
        (Kind::Set, Json::Array(labels)) => {
            let labels: Option<Vec<&str>> = labels.iter().map(Json::text).collect();
            labels.is_some_and(|l| l.join(",") == hex_text(first))
        }
        (Kind::Json, json) => Json::parse(&hex_text(first)).is_ok_and(|wanted| document_same(&wanted, json)),
        (Kind::Geometry, Json::Text(t)) => wkt(t) == wkt(&hex_text(second)),
        (Kind::Vector | Kind::MariaVector, Json::Array(numbers)) => {
            let wanted: Vec<u32> =
                unhex(first).chunks(4).filter_map(|c| Some(u32::from_le_bytes(c.try_into().ok()?))).collect();
            let ours = numbers.iter().map(|n| match n {
                Json::Number(n) => n.parse::<f32>().map(f32::to_bits).unwrap_or_default(),
                _ => u32::MAX,
            });
            ours.collect::<Vec<_>>() == wanted
        }
        _ => false,
    }
}

/// 5.7 prints a DOUBLE in a document without fraction as `1`; later servers, and we, as `1.0`.
fn points_same(wanted: &str, ours: &str) -> bool {
    let (Ok(wanted), Ok(ours)) = (Json::parse(wanted), Json::parse(ours)) else { return false };
    fn same(wanted: &Json, ours: &Json) -> bool {
        match (wanted, ours) {
            (Json::Number(a), Json::Number(b)) => a == b || b.strip_suffix(".0") == Some(a),
            (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Json::Object(a), Json::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((m, a), (n, b))| m == n && same(a, b))
            }
            (a, b) => a == b,
        }
    }
    same(&wanted, &ours)
}

/// A number as Java's BigDecimal prints it, without its exponent.
fn plain(number: &str) -> String {
    let Some((mantissa, exponent)) = number.split_once('E') else { return number.to_owned() };
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let places = fraction.len() as i64 - exponent.parse::<i64>().unwrap_or(0);
    let all = format!("{whole}{fraction}");
    let Ok(places) = usize::try_from(places) else { return number.to_owned() };
    let padded = format!("{all:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}

/// `ours` has to say values of SQL types as Maxwell does, whether the log has the document or what changed in it.
fn document_same(wanted: &Json, ours: &Json) -> bool {
    match (wanted, ours) {
        (Json::Number(a), Json::Number(b)) => {
            let inexact = a.contains(['.', 'e', 'E']) || b.contains('.');
            !b.contains(['e', 'E']) && (a == b || inexact && a.parse::<f64>().ok() == b.parse::<f64>().ok())
        }
        (Json::Text(a), Json::Text(b)) => in_maxwell(a) == *b,
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| document_same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((m, a), (n, b))| m == n && document_same(a, b))
        }
        (a, b) => a == b,
    }
}

/// A string of a document of SELECT: base64 comes without its type and line ends, times without zeros at the end.
fn in_maxwell(text: &str) -> String {
    if let Some((_, base64)) = text.strip_prefix("base64:type").and_then(|rest| rest.split_once(':')) {
        return base64.replace('\n', "");
    }
    match text.rsplit_once('.') {
        Some((time, micros)) if micros.len() == 6 && time.split(':').count() == 3 => {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => text.to_owned(),
    }
}

/// Words and coordinates, whatever the spelling of the rest.
fn wkt(text: &str) -> Vec<String> {
    text.split(['(', ')', ',', ' '])
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.parse::<f64>().map_or_else(|_| word.replace("GEOMCOLLECTION", "GEOMETRYCOLLECTION"), |n| n.to_string())
        })
        .collect()
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// `mysqlbinlog -vv`: FLOAT comes with six digits, SET as bits, JSON as a call: these are not compared.
fn printed_same(ty: &Type, first: &str, second: &str, text: &[u8]) -> Option<bool> {
    let ascii = std::str::from_utf8(text).ok().map(str::trim_end);
    let bare = ascii.map(|t| t.trim_matches('\''));
    if ty.sql.contains(" compressed") {
        return None; // printed as it is stored
    }
    match ty.kind {
        // `-1 (255)` where the sign is not known to the tool.
        Kind::Int => {
            let (signed, unsigned) = ascii?.split_once(" (").unwrap_or((ascii?, ""));
            Some(signed == first || unsigned.trim_end_matches(')') == first)
        }
        Kind::Bit => {
            Some(u64::from_str_radix(ascii?.strip_prefix("b'")?.trim_end_matches('\''), 2).ok()?.to_string() == first)
        }
        Kind::Double => Some(ascii?.parse::<f64>().ok()?.to_bits() == first.parse::<f64>().ok()?.to_bits()),
        // The tool of 5.5 prints the groups of nine digits as they are stored.
        Kind::Decimal if ascii?.split(['-', '.']).all(|group| group.len() % 9 == 0) => None,
        Kind::Decimal => Some(ascii? == first),
        Kind::Year => (first != "0000").then(|| bare == Some(first)),
        Kind::Temporal if ty.sql.starts_with("timestamp") => Some(epoch(first)? == bare?),
        Kind::Temporal if ty.sql == "date" => Some(bare?.replace(':', "-") == first),
        // The tool of some versions loses the sign or the fraction of a negative TIME.
        Kind::Temporal if first.starts_with('-') => None,
        Kind::Temporal => Some(bare? == first),
        Kind::Text => Some(quoted_same(text, &unhex(second))),
        Kind::Bytes | Kind::FixedBinary if ty.sql.starts_with("binary") || ty.kind == Kind::FixedBinary => {
            // Zeros at the end are not in the log.
            let whole = unhex(if ty.kind == Kind::FixedBinary { second } else { first });
            let end = whole.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
            Some(quoted_same(text, &whole[..end]))
        }
        Kind::Bytes | Kind::Geometry => Some(quoted_same(text, &unhex(first))),
        Kind::Enum => Some(ascii? == second),
        Kind::Float | Kind::Set | Kind::Json | Kind::Vector | Kind::MariaVector | Kind::Shown | Kind::FixedBinary => {
            None
        }
    }
}

/// MySQL's tool escapes backslashes and quotes, too, MariaDB's does not.
fn quoted_same(text: &[u8], wanted: &[u8]) -> bool {
    let escaped = wanted.iter().flat_map(|b| if *b < 0x20 { format!("\\x{b:02x}").into_bytes() } else { vec![*b] });
    unquote(text).is_some_and(|t| t == wanted) || text == [b"'", escaped.collect::<Vec<_>>().as_slice(), b"'"].concat()
}

fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = text.strip_prefix(b"'")?.strip_suffix(b"'")?;
    let mut out = Vec::new();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'\\' if tail.first() == Some(&b'x') => {
                out.extend(unhex(std::str::from_utf8(tail.get(1..3)?).ok()?));
                rest = &tail[3..];
            }
            b'\\' => {
                out.push(match tail.first()? {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'f' => 12,
                    b'v' => 11,
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = &tail[1..];
            }
            _ => out.push(byte),
        }
    }
    Some(out)
}

/// Seconds since 1970 of a date and time in UTC, with its fraction; 0 for the zero date.
fn epoch(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').map_or((text, String::new()), |(w, f)| (w, format!(".{f}")));
    let parts: Vec<i64> = whole.split(['-', ' ', ':']).map_while(|p| p.parse().ok()).collect();
    let &[year, month, day, hour, minute, second] = parts.as_slice() else { return None };
    if year == 0 {
        return Some(format!("0{fraction}"));
    }
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719_468;
    Some(format!("{}{fraction}", ((days * 24 + hour) * 60 + minute) * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_same_value() {
        assert_eq!([plain("0E-10"), plain("-1.5E-7"), plain("12.30")], ["0.0000000000", "-0.00000015", "12.30"]);
        assert_eq!(base64("AP8=").unwrap(), [0, 255]);
        assert_eq!(epoch("2024-02-29 12:34:56.789").unwrap(), "1709210096.789");
        assert_eq!(unquote(b"'a\\x27\\\\\xff'").unwrap(), b"a'\\\xff");
        assert_eq!(wkt("MULTIPOINT ((1 1), (2 2))"), wkt("MULTIPOINT(1.0 1,2 2)"));
        let document = |text| Json::parse(text).unwrap();
        assert!(document_same(
            &document(r#"[1e20, "base64:type15:AP8="]"#),
            &document(r#"[100000000000000000000,"AP8="]"#)
        ));
        for (wanted, ours) in [
            ("1e20", "1e20"),
            (r#""base64:type15:AP8=""#, r#""base64:type15:AP8=""#),
            (r#""12:00:00.500000""#, r#""12:00:00.500000""#),
        ] {
            assert!(!document_same(&document(wanted), &document(ours)), "{ours}");
        }
        assert!(!document_same(&document("[18446744073709551615]"), &document("[18446744073709551614]")));
    }

    #[test]
    fn another_value_is_seen() {
        let ty = |kind, sql: &str| Type { sql: sql.into(), kind, values: vec![], random: crate::spec::Gen::Listed };
        let text = |t: &str| Some(t.to_owned());
        for (kind, sql, wanted, right, wrong) in [
            (Kind::Int, "int", "-1", Cell::Int(-1), Cell::Int(1)),
            (Kind::Double, "double", "-0", Cell::Double(-0.0), Cell::Double(0.0)),
            (Kind::Bytes, "blob", "00FF", Cell::Bytes(vec![0, 255]), Cell::Bytes(vec![0])),
            (Kind::Enum, "enum", "61", Cell::Text("a".into()), Cell::Uint(1)),
        ] {
            assert_eq!(same(&ty(kind, sql), &[text(wanted), text("1")], &Value::Cell(right)), Some(true), "{sql}");
            assert_eq!(same(&ty(kind, sql), &[text(wanted)], &Value::Cell(wrong)), Some(false), "{sql}");
        }
        assert_eq!(same(&ty(Kind::Int, "int"), &[None], &Value::Cell(Cell::Int(0))), Some(false));
    }
}
