//! One row image (manual: `Rows_event`): bitmap of NULLs, then the values of the columns that are there and not NULL.
//!
//! The hot path writes cells where they stay and gives an `Option`; what was wrong is found out afterwards, off that path.

use super::Bitmap;
use super::plan::{Op, Plan};
use crate::cell::Cell;
use crate::decimal::Decimal;
use crate::error::{Error, Result};
use crate::read::Reader;
use crate::temporal::{Date, DateTime, Time, Timestamp};

/// Bit in the options of a partial image: JSON values may be diffs.
const PARTIAL_JSON: u64 = 1;

/// What stands before the values of an image.
pub(super) struct Head<'a> {
    pub(super) nulls: Bitmap<'a>,
    any_null: bool,
    /// Over the JSON columns, of a partial image: which values are diffs.
    diffs: Option<Bitmap<'a>>,
    /// Every column is there.
    full: bool,
}

impl<'a> Head<'a> {
    pub(super) fn read(plan: &Plan, present: Bitmap<'a>, partial: bool, rest: &mut &'a [u8]) -> Result<Self> {
        let mut r = Reader::new("row image", rest);
        let mut diffs = None;
        if partial && r.lenenc()? & PARTIAL_JSON != 0 {
            // A bit for every JSON column of the table, also for those that are not in the image.
            diffs = Some(Bitmap::read(&mut r, plan.json_columns)?);
        }
        let in_image = present.count();
        let nulls = Bitmap::read(&mut r, in_image)?;
        *rest = r.rest();
        Ok(Self { nulls, any_null: nulls.any(), diffs, full: in_image == plan.ops.len() })
    }
}

/// Reads one image from the front of `rest` into `out`, which gets one cell per column. `partial`: the after-image of
/// a PARTIAL_UPDATE_ROWS.
pub(super) fn read<'a>(
    plan: &Plan,
    present: Bitmap<'a>,
    partial: bool,
    rest: &mut &'a [u8],
    out: &mut Vec<Cell<'a>>,
) -> Result<()> {
    let head = Head::read(plan, present, partial, rest)?;
    // Cells of the row before are overwritten where they are.
    out.resize(plan.ops.len(), Cell::Absent);
    let done = match &head {
        Head { full: true, diffs: None, .. } => walk::<true>(plan, present, &head, rest, out),
        _ => walk::<false>(plan, present, &head, rest, out),
    };
    done.inspect_err(|_| out.clear())
}

/// `WHOLE`: every column is there and none is a diff.
fn walk<'a, const WHOLE: bool>(
    plan: &Plan,
    present: Bitmap<'a>,
    head: &Head<'a>,
    rest: &mut &'a [u8],
    out: &mut [Cell<'a>],
) -> Result<()> {
    let (mut ordinal, mut json, mut at) = (0, 0, *rest);
    for (index, (op, cell)) in plan.ops.iter().zip(out).enumerate() {
        let mut op = *op;
        if !WHOLE {
            if let (Some(diffs), Op::Json { prefix }) = (&head.diffs, op) {
                if diffs.get(json) {
                    op = Op::JsonDiff { prefix };
                }
                json += 1;
            }
            if !present.get(index) {
                *cell = Cell::Absent;
                continue;
            }
        }
        let null = head.any_null && head.nulls.get(ordinal);
        ordinal += 1;
        if null {
            *cell = Cell::Null;
            continue;
        }
        let start = at;
        if value(op, &mut at, cell).is_none() {
            return Err(explain(op, start, index));
        }
    }
    *rest = at;
    Ok(())
}

/// Passes over one image.
pub(super) fn pass<'a>(plan: &Plan, present: Bitmap<'a>, partial: bool, rest: &mut &'a [u8]) -> Result<()> {
    let head = Head::read(plan, present, partial, rest)?;
    let mut ordinal = 0;
    for (index, op) in plan.ops.iter().enumerate() {
        if !head.full && !present.get(index) {
            continue;
        }
        let null = head.any_null && head.nulls.get(ordinal);
        ordinal += 1;
        // A diff has the same length prefix as a whole value.
        let start = *rest;
        if !null && skip(*op, rest).is_none() {
            return Err(explain(*op, start, index));
        }
    }
    Ok(())
}

#[inline(always)]
fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(head)
}

#[inline(always)]
fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[inline(always)]
fn le(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, b| value << 8 | u64::from(*b))
}

#[inline(always)]
fn prefixed<'a>(rest: &mut &'a [u8], prefix: u8) -> Option<&'a [u8]> {
    let n = match prefix {
        1 => array::<1>(rest).map(|[b]| b.into())?,
        2 => array(rest).map(|b| u16::from_le_bytes(b).into())?,
        4 => array(rest).map(u32::from_le_bytes)? as usize,
        other => le(take(rest, other.into())?) as usize,
    };
    take(rest, n)
}

#[inline(always)]
pub(super) fn value<'a>(op: Op, rest: &mut &'a [u8], cell: &mut Cell<'a>) -> Option<()> {
    match op {
        Op::Int8 => *cell = Cell::Int(i8::from_le_bytes(array(rest)?).into()),
        Op::UInt8 => *cell = Cell::UInt(u8::from_le_bytes(array(rest)?).into()),
        Op::Int16 => *cell = Cell::Int(i16::from_le_bytes(array(rest)?).into()),
        Op::UInt16 => *cell = Cell::UInt(u16::from_le_bytes(array(rest)?).into()),
        Op::Int24 => {
            let [a, b, c] = array(rest)?;
            *cell = Cell::Int((i32::from_le_bytes([0, a, b, c]) >> 8).into());
        }
        Op::UInt24 => {
            let [a, b, c] = array(rest)?;
            *cell = Cell::UInt(u32::from_le_bytes([a, b, c, 0]).into());
        }
        Op::Int32 => *cell = Cell::Int(i32::from_le_bytes(array(rest)?).into()),
        Op::UInt32 => *cell = Cell::UInt(u32::from_le_bytes(array(rest)?).into()),
        Op::Int64 => *cell = Cell::Int(i64::from_le_bytes(array(rest)?)),
        Op::UInt64 => *cell = Cell::UInt(u64::from_le_bytes(array(rest)?)),
        Op::Float => *cell = Cell::Float(f32::from_le_bytes(array(rest)?)),
        Op::Double => *cell = Cell::Double(f64::from_le_bytes(array(rest)?)),
        Op::Decimal { precision, scale, bytes } => {
            *cell = Cell::Decimal(Decimal::unpack(take(rest, bytes.into())?, precision, scale)?);
        }
        Op::Bit { bytes } => {
            *cell = Cell::Bit(take(rest, bytes.into())?.iter().fold(0, |value, b| value << 8 | u64::from(*b)));
        }
        Op::Year => {
            let [year] = array(rest)?;
            *cell = Cell::Year(if year == 0 { 0 } else { 1900 + u16::from(year) });
        }
        Op::Date => *cell = Cell::Date(Date::unpack(array(rest)?)),
        Op::TimeOld => *cell = Cell::Time(Time::read_old(take(rest, 3)?).ok()?),
        Op::DateTimeOld => *cell = Cell::DateTime(DateTime::read_old(take(rest, 8)?).ok()?),
        Op::TimestampOld => *cell = Cell::Timestamp(Timestamp::read_old(take(rest, 4)?).ok()?),
        Op::Time { fsp, bytes } => *cell = Cell::Time(Time::unpack(take(rest, bytes.into())?, fsp)?),
        Op::DateTime { fsp, bytes } => *cell = Cell::DateTime(DateTime::unpack(take(rest, bytes.into())?, fsp)?),
        Op::Timestamp { fsp, bytes } => *cell = Cell::Timestamp(Timestamp::unpack(take(rest, bytes.into())?, fsp)?),
        Op::Text1 => *cell = Cell::Text(prefixed(rest, 1)?),
        Op::Text2 => *cell = Cell::Text(prefixed(rest, 2)?),
        Op::Text { prefix } => *cell = Cell::Text(prefixed(rest, prefix)?),
        Op::Bytes1 => *cell = Cell::Bytes(prefixed(rest, 1)?),
        Op::FixedBinary => *cell = Cell::FixedBinary(prefixed(rest, 1)?),
        Op::Bytes2 => *cell = Cell::Bytes(prefixed(rest, 2)?),
        Op::Bytes { prefix } => *cell = Cell::Bytes(prefixed(rest, prefix)?),
        Op::Enum1 => *cell = Cell::Enum(array::<1>(rest).map(|[b]| b.into())?),
        Op::Enum2 => *cell = Cell::Enum(u16::from_le_bytes(array(rest)?)),
        Op::Set { bytes } => *cell = Cell::Set(le(take(rest, bytes.into())?)),
        Op::Json { prefix } => *cell = Cell::Json(prefixed(rest, prefix)?),
        Op::JsonDiff { prefix } => *cell = Cell::JsonDiff(prefixed(rest, prefix)?),
        Op::Geometry { prefix } => *cell = Cell::Geometry(prefixed(rest, prefix)?),
        Op::Vector { prefix } => *cell = Cell::Vector(prefixed(rest, prefix)?),
        Op::Compressed { prefix, binary } => {
            let plain = match prefixed(rest, prefix)? {
                [] => &[],
                // Short values are stored as they are, behind this byte.
                [0, plain @ ..] => plain,
                _ => return None,
            };
            *cell = if binary { Cell::Bytes(plain) } else { Cell::Text(plain) };
        }
        Op::Unsupported { .. } => return None,
    }
    Some(())
}

pub(super) fn skip(op: Op, rest: &mut &[u8]) -> Option<()> {
    let n = match op {
        Op::Int8 | Op::UInt8 | Op::Year | Op::Enum1 => 1,
        Op::Int16 | Op::UInt16 | Op::Enum2 => 2,
        Op::Int24 | Op::UInt24 | Op::Date | Op::TimeOld => 3,
        Op::Int32 | Op::UInt32 | Op::Float | Op::TimestampOld => 4,
        Op::Int64 | Op::UInt64 | Op::Double | Op::DateTimeOld => 8,
        Op::Decimal { bytes, .. }
        | Op::Bit { bytes }
        | Op::Time { bytes, .. }
        | Op::DateTime { bytes, .. }
        | Op::Timestamp { bytes, .. }
        | Op::Set { bytes } => bytes.into(),
        Op::Text1 | Op::Bytes1 | Op::FixedBinary => return prefixed(rest, 1).map(|_| ()),
        Op::Text2 | Op::Bytes2 => return prefixed(rest, 2).map(|_| ()),
        Op::Text { prefix }
        | Op::Bytes { prefix }
        | Op::Json { prefix }
        | Op::JsonDiff { prefix }
        | Op::Geometry { prefix }
        | Op::Vector { prefix }
        | Op::Compressed { prefix, .. } => return prefixed(rest, prefix).map(|_| ()),
        Op::Unsupported { .. } => return None,
    };
    take(rest, n).map(|_| ())
}

/// Why the value at the front of `rest` could not be read.
#[cold]
pub(super) fn explain(op: Op, rest: &[u8], index: usize) -> Error {
    let mut after = rest;
    if skip(op, &mut after).is_none() {
        return Error::Truncated { what: "value in a row image", need: rest.len() + 1, have: rest.len() };
    }
    if matches!(op, Op::Compressed { .. }) {
        return Error::Unsupported { what: "compressed value of column", code: index as u64 + 1 };
    }
    Error::Malformed { what: "row image", detail: format!("impossible value in column {} ({op:?})", index + 1) }
}
