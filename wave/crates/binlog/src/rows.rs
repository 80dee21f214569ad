//! Rows events: the images of inserted, updated and deleted rows (manual: "Rows_event"; 5.1.18 to 5.5, MariaDB and
//! `log_bin_use_v1_row_events` wrote v1, MySQL 5.6 and later v2; WL#2955 for partial JSON updates; v0: see `rows/old.rs`).
//!
//! [`RowReader::next`] fills two vectors with one [`Cell`] per column of the [`Table`]; they borrow the event, so that
//! a row takes no memory once the vectors have grown ([`crate::cell::recycle`] keeps them over events). A column that the image does not hold is [`Cell::Absent`].

mod expand;
mod image;
mod old;
mod plan;

use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::event::EventType;
use crate::read::Reader;
use crate::schema::Table;

pub(crate) use plan::Plan;

/// What a rows event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowsKind {
    Insert,
    Update,
    Delete,
}

/// Version of a rows event's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowsFormat {
    /// Before 5.1.18.
    V0,
    V1,
    /// With extra row information.
    V2,
}

/// One bit per column, least significant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bitmap<'a> {
    bits: &'a [u8],
    len: usize,
}

impl<'a> Bitmap<'a> {
    fn read(r: &mut Reader<'a>, len: usize) -> Result<Self> {
        Ok(Self { bits: r.bytes(len.div_ceil(8))?, len })
    }

    /// Number of columns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bit of column `index` (from 0); false beyond the last.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> bool {
        index < self.len && self.bits.get(index / 8).is_some_and(|b| b >> (index % 8) & 1 == 1)
    }

    /// Some bit is set.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        let Some((last, head)) = self.bits.split_last() else { return false };
        head.iter().any(|b| *b != 0) || last << self.unused() != 0
    }

    /// Bits of the last byte that stand for nothing; servers set them or not.
    #[inline]
    fn unused(&self) -> usize {
        (8 - self.len % 8) % 8
    }

    /// Number of bits set.
    #[must_use]
    pub fn count(&self) -> usize {
        let Some((last, head)) = self.bits.split_last() else { return 0 };
        let whole: u32 = head.iter().map(|b| b.count_ones()).sum();
        (whole + (last << self.unused()).count_ones()) as usize
    }
}

/// A rows event of any version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsEvent<'a> {
    pub table_id: u64,
    pub kind: RowsKind,
    pub flags: u16,
    /// Columns of the only image, or of the before-image of an update.
    pub columns: Bitmap<'a>,
    /// Columns of the after-image of an update; otherwise equal to `columns`.
    pub columns_after: Bitmap<'a>,
    /// PARTIAL_UPDATE_ROWS: after-images may hold JSON diffs.
    pub partial: bool,
    /// Of version 0, whose images have another form.
    old: bool,
    body: &'a [u8],
}

impl<'a> RowsEvent<'a> {
    pub(crate) fn parse(
        body: &'a [u8],
        event_type: EventType,
        format: RowsFormat,
        table_id_len: usize,
    ) -> Result<Self> {
        use EventType as T;
        let mut r = Reader::new("rows event", body);
        let kind = match event_type {
            T::WRITE_ROWS_V0
            | T::WRITE_ROWS_V1
            | T::WRITE_ROWS
            | T::MARIA_WRITE_ROWS_COMPRESSED_V1
            | T::MARIA_WRITE_ROWS_COMPRESSED => RowsKind::Insert,
            T::DELETE_ROWS_V0
            | T::DELETE_ROWS_V1
            | T::DELETE_ROWS
            | T::MARIA_DELETE_ROWS_COMPRESSED_V1
            | T::MARIA_DELETE_ROWS_COMPRESSED => RowsKind::Delete,
            _ => RowsKind::Update,
        };
        let table_id = r.le(table_id_len)?;
        let flags = r.u16()?;
        if format == RowsFormat::V2 {
            // Extra information, such as the partition; the length counts its own two bytes.
            let n = usize::from(r.u16()?);
            r.skip(n.checked_sub(2).ok_or_else(|| r.malformed(format!("extra information of {n} bytes")))?)?;
        }
        let width = r.lenenc_len()?;
        let columns = Bitmap::read(&mut r, width)?;
        // v0 has one bitmap also for updates.
        let two = kind == RowsKind::Update && format != RowsFormat::V0;
        let columns_after = if two { Bitmap::read(&mut r, width)? } else { columns };
        let partial = event_type == T::PARTIAL_UPDATE_ROWS;
        let old = format == RowsFormat::V0;
        Ok(Self { table_id, kind, flags, columns, columns_after, partial, old, body: r.take_rest() })
    }

    /// Whether this is the event without rows and table that a server writes only to end a statement.
    #[must_use]
    pub fn is_dummy(&self) -> bool {
        self.body.is_empty() && matches!(self.table_id, 0xff_ffff | 0xffff_ffff | 0xffff_ffff_ffff)
    }

    /// The event with MariaDB's compressed column values in plain form, in `buffer`, which is cleared first and does not
    /// grow beyond `limit` bytes. Wanted before [`RowsEvent::reader`] when [`Table::has_compressed_columns`].
    ///
    /// # Errors
    /// As [`RowReader::next`]; broken compressed values, and more than `limit` bytes.
    pub fn expand<'b>(&self, table: &Table, limit: usize, buffer: &'b mut Vec<u8>) -> Result<RowsEvent<'b>>
    where
        'a: 'b,
    {
        self.reader(table)?;
        buffer.clear();
        expand::images(self, &table.plan, limit, buffer)?;
        Ok(RowsEvent { body: buffer, ..*self })
    }

    /// A reader of the rows as `table` has them.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the table has another number of columns; [`Error::Unsupported`] when it has a column
    /// whose type is not known.
    pub fn reader<'t>(&self, table: &'t Table) -> Result<RowReader<'t, 'a>> {
        if self.columns.len() != table.columns.len() {
            return Err(Error::Malformed {
                what: "rows event",
                detail: format!("{} columns for a table of {}", self.columns.len(), table.columns.len()),
            });
        }
        if let Some(code) = table.plan.unsupported() {
            return Err(Error::Unsupported { what: "column type", code: code.into() });
        }
        if self.old {
            old::check(&table.plan)?;
        }
        Ok(RowReader { plan: &table.plan, event: *self, rest: self.body })
    }
}

/// A rows event of MariaDB whose images are compressed (`log_bin_compress`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedRows<'a>(pub(crate) RowsEvent<'a>);

impl<'a> CompressedRows<'a> {
    /// Of the TABLE_MAP that describes the rows.
    #[must_use]
    pub fn table_id(&self) -> u64 {
        self.0.table_id
    }

    /// What the event does.
    #[must_use]
    pub fn kind(&self) -> RowsKind {
        self.0.kind
    }

    /// The event with its images uncompressed into `buffer`, which is cleared first.
    ///
    /// # Errors
    /// As [`crate::mariadb::uncompress`].
    pub fn uncompress<'b>(&self, limit: usize, buffer: &'b mut Vec<u8>) -> Result<RowsEvent<'b>>
    where
        'a: 'b,
    {
        crate::mariadb::uncompress(self.0.body, limit, buffer)?;
        Ok(RowsEvent { body: buffer, ..self.0 })
    }
}

/// Walks the rows of one event.
#[derive(Clone, Debug)]
pub struct RowReader<'t, 'a> {
    plan: &'t Plan,
    event: RowsEvent<'a>,
    rest: &'a [u8],
}

impl<'a> RowReader<'_, 'a> {
    /// Reads the next row: `before` of an update or delete, `after` of an update or insert; a vector without image is
    /// left empty. False when there is none.
    ///
    /// # Errors
    /// Images that are truncated or hold impossible values; the reader does not move, the vectors mean nothing.
    #[allow(clippy::should_implement_trait, reason = "it fills vectors of the caller instead of giving a row")]
    pub fn next(&mut self, before: &mut Vec<Cell<'a>>, after: &mut Vec<Cell<'a>>) -> Result<bool> {
        self.step(|event, plan, rest| {
            match event.kind {
                RowsKind::Insert => before.clear(),
                _ if event.old => old::read(plan, event.columns, rest, before)?,
                _ => image::read(plan, event.columns, false, rest, before)?,
            }
            match event.kind {
                RowsKind::Delete => after.clear(),
                _ if event.old => old::read(plan, event.columns_after, rest, after)?,
                _ => image::read(plan, event.columns_after, event.partial, rest, after)?,
            }
            Ok(())
        })
    }

    /// No row is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Passes over the next row without decoding its values. False when there is none.
    ///
    /// # Errors
    /// Images that are truncated.
    pub fn skip(&mut self) -> Result<bool> {
        self.step(|event, plan, rest| {
            if event.old {
                let images = if event.kind == RowsKind::Update { 2 } else { 1 };
                return (0..images).try_for_each(|_| old::read(plan, event.columns, rest, &mut Vec::new()));
            }
            if event.kind != RowsKind::Insert {
                image::pass(plan, event.columns, false, rest)?;
            }
            if event.kind != RowsKind::Delete {
                image::pass(plan, event.columns_after, event.partial, rest)?;
            }
            Ok(())
        })
    }

    #[inline]
    fn step(&mut self, row: impl FnOnce(&RowsEvent<'a>, &Plan, &mut &'a [u8]) -> Result<()>) -> Result<bool> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        let mut rest = self.rest;
        row(&self.event, self.plan, &mut rest)?;
        if rest.len() == self.rest.len() {
            return Err(Error::Malformed { what: "rows event", detail: "rows without any column".into() });
        }
        self.rest = rest;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
