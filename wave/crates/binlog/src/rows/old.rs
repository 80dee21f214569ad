//! Row images of version 0, which MySQL 5.1 wrote before 5.1.18 (server source: `rpl_record_old.cc`, `log_event_old.cc`; MySQL
//! BUG#22583 brought the images of today): the NULL bits of the row as it lay in memory, then a value for every column
//! that is there, also for one that is NULL.
//!
//! The bits are those of the columns that may be NULL, behind a bit of its own in a table whose rows have a fixed length.
//! A BIT column keeps some of its bits among them; such tables, and types that came later, are refused.

use super::Bitmap;
use super::image::{explain, value};
use super::plan::{Op, Plan};
use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::read::Reader;

/// Whether tables of such logs could have these columns.
pub(super) fn check(plan: &Plan) -> Result<()> {
    let column = plan.ops.iter().position(|op| {
        matches!(op, Op::Bit { .. } | Op::Json { .. } | Op::Vector { .. } | Op::FixedBinary | Op::Compressed { .. })
    });
    match column {
        Some(column) => Err(Error::Unsupported { what: "in a rows event of version 0, column", code: column as u64 }),
        None => Ok(()),
    }
}

/// Reads one image from the front of `rest` into `out`, which gets one cell per column.
pub(super) fn read<'a>(plan: &Plan, present: Bitmap<'a>, rest: &mut &'a [u8], out: &mut Vec<Cell<'a>>) -> Result<()> {
    let own = usize::from(!plan.variable);
    let mut r = Reader::new("row image", rest);
    let nulls = Bitmap::read(&mut r, own + plan.nullable.iter().filter(|n| **n).count())?;
    let mut at = r.rest();
    let mut bit = own;
    out.clear();
    for (index, (op, nullable)) in plan.ops.iter().zip(&plan.nullable).enumerate() {
        let mut cell = Cell::Absent;
        if present.get(index) {
            let start = at;
            value(*op, &mut at, &mut cell).ok_or_else(|| explain(*op, start, index))?;
            if *nullable && nulls.get(bit) {
                cell = Cell::Null;
            }
        }
        bit += usize::from(*nullable);
        out.push(cell);
    }
    *rest = at;
    Ok(())
}
