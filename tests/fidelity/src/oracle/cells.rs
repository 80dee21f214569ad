//! One cell of ours against one value of mysql_common.

use anyhow::{Context, Result};
use binlog::Cell;
use binlog::json::{Operation, diffs, write_text};
use binlog::schema::{Column, ColumnType};
use mysql_common::Value;
use mysql_common::binlog::jsonb;
use mysql_common::binlog::jsondiff::{JsonDiff, JsonDiffOperation};
use mysql_common::binlog::value::BinlogValue;

use super::Excluded;
use crate::json::Json;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Same,
    Differs,
    Excluded(Excluded),
}

impl From<bool> for Outcome {
    fn from(same: bool) -> Outcome {
        if same { Outcome::Same } else { Outcome::Differs }
    }
}

/// # Errors
/// A broken document.
pub(super) fn compare(column: &Column, ours: &Cell<'_>, theirs: &BinlogValue<'_>) -> Result<Outcome> {
    if let Some(why) = excluded(column, ours) {
        return Ok(Outcome::Excluded(why));
    }
    Ok(match theirs {
        BinlogValue::Value(value) => plain(ours, value).into(),
        BinlogValue::Jsonb(value) => match *ours {
            Cell::Json(bytes) => document(bytes, value)?,
            _ => Outcome::Differs,
        },
        BinlogValue::JsonDiff(operations) => match *ours {
            Cell::JsonDiff(bytes) => partial(bytes, operations)?,
            _ => Outcome::Differs,
        },
    })
}

fn excluded(column: &Column, ours: &Cell<'_>) -> Option<Excluded> {
    match (column.ty, ours) {
        (ColumnType::Int24, Cell::Int(..0)) => Some(Excluded::NegativeMediumInt),
        (ColumnType::Time { fsp: 1..=2 }, Cell::Time(time)) if time.negative && time.micros > 0 => {
            Some(Excluded::NegativeTimeWithFraction)
        }
        (ColumnType::TimeOld, Cell::Time(time)) if time.negative => Some(Excluded::NegativeOldTime),
        (_, Cell::Timestamp(t)) if i32::try_from(t.seconds).is_err() => Some(Excluded::TimestampAfter2038),
        (_, Cell::Year(0)) => Some(Excluded::YearZero),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Int(n) => Some((*n).into()),
        Value::UInt(n) => Some((*n).into()),
        _ => None,
    }
}

/// Seconds and microseconds of a TIMESTAMP, which comes as a number, or as text with its fraction unless that is zero.
fn timestamp(value: &Value) -> Option<(u64, u32)> {
    let Value::Bytes(text) = value else { return Some((integer(value)?.try_into().ok()?, 0)) };
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, micros) = text.split_once('.').unwrap_or((text, "0"));
    Some((seconds.parse().ok()?, micros.parse().ok()?))
}

/// All that is no JSON. Text comes as it is stored, ENUM, SET and BIT as numbers or their bytes.
fn plain(ours: &Cell<'_>, theirs: &Value) -> bool {
    let bytes = |wanted: &[u8]| matches!(theirs, Value::Bytes(bytes) if bytes == wanted);
    match *ours {
        Cell::Absent | Cell::Json(_) | Cell::JsonDiff(_) => false,
        Cell::Null => *theirs == Value::NULL,
        Cell::Int(n) => integer(theirs) == Some(n.into()),
        Cell::UInt(n) => integer(theirs) == Some(n.into()),
        Cell::Enum(n) => integer(theirs) == Some(n.into()),
        Cell::Float(n) => matches!(theirs, Value::Float(m) if m.to_bits() == n.to_bits()),
        Cell::Double(n) => matches!(theirs, Value::Double(m) if m.to_bits() == n.to_bits()),
        Cell::Decimal(decimal) => {
            let mut text = Vec::new();
            decimal.write(&mut text);
            bytes(&text)
        }
        Cell::Bit(bits) => {
            matches!(theirs, Value::Bytes(b) if b.iter().fold(0, |n, b| n << 8 | u64::from(*b)) == bits)
        }
        Cell::Set(bits) => {
            matches!(theirs, Value::Bytes(b) if b.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)) == bits)
        }
        Cell::Year(year) => bytes(year.to_string().as_bytes()),
        Cell::Date(d) => *theirs == Value::Date(d.year, d.month, d.day, 0, 0, 0, 0),
        Cell::DateTime(d) => *theirs == Value::Date(d.year, d.month, d.day, d.hour, d.minute, d.second, d.micros),
        Cell::Time(t) => match *theirs {
            Value::Time(negative, days, hours, minutes, seconds, micros) => {
                (negative, days * 24 + u32::from(hours), minutes, seconds, micros)
                    == (t.negative, t.hour.into(), t.minute, t.second, t.micros)
            }
            _ => false,
        },
        Cell::Timestamp(t) => timestamp(theirs) == Some((t.seconds.into(), t.micros)),
        Cell::Text(b) | Cell::Bytes(b) | Cell::FixedBinary(b) | Cell::Geometry(b) | Cell::Vector(b) => bytes(b),
    }
}

fn document(ours: &[u8], theirs: &jsonb::Value<'_>) -> Result<Outcome> {
    let mut text = Vec::new();
    write_text(ours, &mut text)?;
    let ours = Json::parse(std::str::from_utf8(&text)?)?;
    Ok(match serde_json::Value::try_from(theirs.clone()) {
        Ok(theirs) => json(&ours, &theirs).into(),
        Err(jsonb::JsonbToJsonError::Opaque) => Outcome::Excluded(Excluded::JsonWithSqlValue),
        Err(_) => Outcome::Differs,
    })
}

/// Theirs has the members of an object in another order.
fn json(ours: &Json, theirs: &serde_json::Value) -> bool {
    use serde_json::Value as V;
    match (ours, theirs) {
        (Json::Null, V::Null) => true,
        (Json::Bool(a), V::Bool(b)) => a == b,
        (Json::Text(a), V::String(b)) => a == b,
        (Json::Number(a), V::Number(b)) if b.is_f64() => {
            a.parse::<f64>().ok().map(f64::to_bits) == b.as_f64().map(f64::to_bits)
        }
        (Json::Number(a), V::Number(b)) => *a == b.to_string(),
        (Json::Array(a), V::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| json(a, b)),
        (Json::Object(a), V::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| json(a, b)))
        }
        _ => false,
    }
}

/// The operations of a partial update.
fn partial(ours: &[u8], theirs: &[JsonDiff<'_>]) -> Result<Outcome> {
    let ours = diffs(ours).collect::<Result<Vec<_>, _>>()?;
    if ours.len() != theirs.len() {
        return Ok(Outcome::Differs);
    }
    for (a, b) in ours.iter().zip(theirs) {
        let operation = match b.operation() {
            JsonDiffOperation::REPLACE => Operation::Replace,
            JsonDiffOperation::INSERT => Operation::Insert,
            JsonDiffOperation::REMOVE => Operation::Remove,
        };
        let value = match a.operation {
            Operation::Remove => b.value().is_none().into(),
            _ => document(a.value, b.value().context("no value")?)?,
        };
        if a.operation != operation || a.path.as_bytes() != b.path() || value == Outcome::Differs {
            return Ok(Outcome::Differs);
        }
        if value != Outcome::Same {
            return Ok(value);
        }
    }
    Ok(Outcome::Same)
}
