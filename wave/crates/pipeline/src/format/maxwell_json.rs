//! Messages as Maxwell 1.45 writes them: one JSON object per row.
//!
//! ```json
//! {"database":"shop","table":"orders","type":"update","ts":1795632651,"xid":684,"commit":true,
//!  "data":{"id":1,"state":"paid"},"old":{"state":"new"}}
//! ```
//!
//! Members in this order: `database`, `table`, `query`*, `type`, `ts` (seconds, time of the rows event), `xid` (where the
//! engine has one), `xoffset` (ordinal of the row in the transaction; not on the last row, which has `commit: true`
//! instead), `position`*, `gtid`*, `server_id`*, `thread_id`*, `primary_key`*, `primary_key_columns`*, `data`, `old`. Those
//! with a star are off by default, see [`Options`]. `data` is the row after an insert or update, before a delete; `old` has
//! the former values of the columns that an update changed and is left out when there are none. Columns that are not in a
//! row image (`binlog_row_image=MINIMAL`) are left out; an updated row then takes the columns that only its before-image
//! has, behind the others.
//!
//! Values: integers, YEAR and BIT as numbers; DECIMAL as a number with all its digits (`0E-10` where Java's BigDecimal
//! prints an exponent: only below 10^-6); FLOAT and DOUBLE as Java prints them (`1.0`, `1.0E7`); DATE, TIME, DATETIME and
//! TIMESTAMP (UTC) as text with the declared fractional digits; text as UTF-8; BINARY, VARBINARY and BLOB in base64; MariaDB's UUID,
//! INET6 and INET4 as text where the definition is known, else as the BINARY that the log says; ENUM as its label; SET as
//! an array of labels; JSON as the document itself; geometry as WKT; NULL as `null`.
//!
//! # Where Maxwell loses data, this does not
//! - TIME outside 00:00:00 … 23:59:59: `-838:59:59`, where Maxwell prints a time of day.
//! - Dates with a zero month or day and dates before the year 1000 as stored, where Maxwell prints `0000-00-00` or null; the
//!   zero DATETIME(n) and TIMESTAMP(n) have their fractional digits.
//! - YEAR 0000 is `0` (Maxwell: 1900). BIT(32) and wider have all bits (Maxwell: an overflowing sum).
//! - BINARY(n) has all n bytes (Maxwell: without the trailing zeros that the log leaves out).
//! - The ENUM error value is `""` (Maxwell: null, like NULL).
//! - VECTOR is an array of numbers (Maxwell stops), MariaDB's where its definition is read, else base64.
//! - ENUM and SET without known labels are numbers (Maxwell: `?` for the characters that INFORMATION_SCHEMA cannot say).
//! - Character sets that Maxwell does not know are converted as well; text with bytes that are no characters has U+FFFD.
//!   Where nothing says the set (a log file without it) what is UTF-8 is text, all else is in base64, as binary values are.
//! - `old` has a JSON column only when its document changed (Maxwell: whenever the row did).
//! - A JSON document from a partial update (`binlog_row_value_options=PARTIAL_JSON`) is written in full. Where its former
//!   state is not in the log (row images other than FULL) it is not in `data` but, as the operations that the server
//!   logged, in one more member behind `old`: `"partial":{"doc":[{"op":"replace","path":"$.a","value":1}]}`.
//!
//! The SRID of a geometry is lost here as it is there; the format `binlake` has it.
//!
//! # Keys and DDL
//! The key is Maxwell's `hash` form, `{"database":"shop","table":"orders","pk.id":1}`. Without a primary key Maxwell adds
//! a random `_uuid`; here it is derived from the row's identity (GTID or server and position, table, ordinal), so that a
//! row that is sent again has the same key. DDL messages have no `def` and `old`: no parser of statements decides what
//! consumers believe a table to be. Statements that Maxwell does not publish have type `ddl`.

use binlog::schema::Table;
use binlog::{Cell, Error};

use super::escape::push_string;
use super::maxwell_ddl;
use super::maxwell_value::{ValuePlan, write_operations, write_patched_document, write_statement};
use super::{DdlView, FormatError, Op, RowView, Transaction, same_value};

/// What messages have. The default is Maxwell's. Whether DDL is published is part of a feed's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Options {
    /// `xid`, `xoffset` and `commit` (`output_commit_info`).
    pub commit_info: bool,
    /// `xoffset`; needs `commit_info` (`output_xoffset`).
    pub xoffset: bool,
    /// NULL columns in `data` and `old` (`output_nulls`).
    pub nulls: bool,
    /// `position`: `FILE:OFFSET` where the rows event starts (`output_binlog_position`).
    pub position: bool,
    /// `gtid` of the transaction, null on a server without GTIDs (`output_gtid_position`).
    pub gtid: bool,
    /// `output_server_id`
    pub server_id: bool,
    /// `output_thread_id`
    pub thread_id: bool,
    /// `query`: the statement, where the server logs it (`output_row_query`).
    pub query: bool,
    /// `primary_key`: the values (`output_primary_keys`).
    pub primary_keys: bool,
    /// `primary_key_columns`: the names (`output_primary_key_columns`).
    pub primary_key_columns: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            commit_info: true,
            xoffset: true,
            nulls: true,
            position: false,
            gtid: false,
            server_id: false,
            thread_id: false,
            query: false,
            primary_keys: false,
            primary_key_columns: false,
        }
    }
}

/// A table and projection prepared for encoding: everything constant is text already.
#[derive(Debug)]
pub struct Plan {
    options: Options,
    /// `{"database":"d","table":"t"`
    start: Vec<u8>,
    columns: Vec<ColumnPlan>,
    keys: Vec<ColumnPlan>,
    /// `,"primary_key_columns":["id"]`, or nothing.
    key_names: Vec<u8>,
}

#[derive(Debug)]
struct ColumnPlan {
    index: usize,
    name: String,
    /// `,"name":`; in keys `,"pk.name":`.
    prefix: Vec<u8>,
    value: ValuePlan,
}

impl ColumnPlan {
    fn new(table: &Table, index: u16, prefix: &str) -> Option<Self> {
        let column = table.columns.get(usize::from(index))?;
        let name =
            if prefix.is_empty() { column.name.clone() } else { format!("{prefix}{}", column.name.to_lowercase()) };
        let mut json = vec![b','];
        push_string(&name, &mut json);
        json.push(b':');
        let value = ValuePlan::new(column);
        Some(ColumnPlan { index: usize::from(index), name: column.name.clone(), prefix: json, value })
    }

    fn write(&self, cell: &Cell<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.value.write(cell, out).map_err(|source| self.error(source))
    }

    fn error(&self, source: Error) -> FormatError {
        FormatError::Value { column: self.name.clone(), source }
    }
}

impl Plan {
    /// Prepares `table`; `columns` are the indices to write, ascending, None for all. The primary key is always known.
    #[must_use]
    pub fn new(table: &Table, columns: Option<&[u16]>, options: &Options) -> Self {
        let plan = |index: u16| ColumnPlan::new(table, index, "");
        let mut start = b"{\"database\":".to_vec();
        push_string(&table.database, &mut start);
        start.extend_from_slice(b",\"table\":");
        push_string(&table.name, &mut start);
        let keys: Vec<_> = table.primary_key.iter().filter_map(|i| ColumnPlan::new(table, *i, "pk.")).collect();
        let mut key_names = Vec::new();
        if options.primary_key_columns {
            key_names.extend_from_slice(b",\"primary_key_columns\":[");
            for (i, key) in keys.iter().enumerate() {
                if i > 0 {
                    key_names.push(b',');
                }
                push_string(&key.name, &mut key_names);
            }
            key_names.push(b']');
        }
        Plan {
            options: options.clone(),
            start,
            columns: match columns {
                Some(columns) => columns.iter().copied().filter_map(plan).collect(),
                None => (0..u16::try_from(table.columns.len()).unwrap_or(u16::MAX)).filter_map(plan).collect(),
            },
            keys,
            key_names,
        }
    }

    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Appends the message of `row`, which must be of the table of this plan.
    ///
    /// # Errors
    /// A value that cannot be written; `out` may have a part of the message then.
    pub fn encode_row(&self, row: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(&self.start);
        if let Some(query) = row.query.filter(|_| self.options.query) {
            out.extend_from_slice(b",\"query\":");
            write_statement(query, out);
        }
        out.extend_from_slice(match row.op {
            Op::Insert => b",\"type\":\"insert\",\"ts\":",
            Op::Update => b",\"type\":\"update\",\"ts\":",
            Op::Delete => b",\"type\":\"delete\",\"ts\":",
        });
        number(u64::from(row.timestamp), out);
        if self.options.commit_info {
            if let Some(xid) = row.txn.xid {
                out.extend_from_slice(b",\"xid\":");
                number(xid, out);
            }
            if row.last {
                out.extend_from_slice(b",\"commit\":true");
            } else if self.options.xoffset {
                out.extend_from_slice(b",\"xoffset\":");
                number(row.offset, out);
            }
        }
        write_place(&self.options, row.txn, row.event_pos, out);
        if self.options.server_id {
            out.extend_from_slice(b",\"server_id\":");
            number(u64::from(row.txn.server_id), out);
        }
        if let Some(thread) = row.txn.thread_id.filter(|_| self.options.thread_id) {
            out.extend_from_slice(b",\"thread_id\":");
            number(u64::from(thread), out);
        }
        if self.options.primary_keys {
            self.write_key_values(row, out)?;
        }
        out.extend_from_slice(&self.key_names);
        self.write_data(row, out)?;
        if row.op == Op::Update {
            self.write_old(row, out)?;
            self.write_partial(row, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// Appends the key of `row`'s message.
    ///
    /// # Errors
    /// As [`Plan::encode_row`].
    pub fn encode_key(&self, row: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(&self.start);
        for key in &self.keys {
            out.extend_from_slice(&key.prefix);
            key.write(&key_cell(row, key.index), out)?;
        }
        if self.keys.is_empty() {
            out.extend_from_slice(b",\"_uuid\":\"");
            write_identity(row, out);
            out.push(b'"');
        }
        out.push(b'}');
        Ok(())
    }

    fn write_key_values(&self, row: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(b",\"primary_key\":[");
        for (i, key) in self.keys.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            key.write(&key_cell(row, key.index), out)?;
        }
        out.push(b']');
        Ok(())
    }

    fn write_data(&self, row: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(b",\"data\":{");
        let start = out.len();
        let image = row.image();
        let mut missing = false;
        for column in &self.columns {
            let cell = image.get(column.index).unwrap_or(&Cell::Absent);
            match cell {
                Cell::Absent => missing = true,
                Cell::Null if !self.options.nulls => {}
                Cell::JsonDiff(diff) => {
                    // Without its document it goes into `partial`.
                    let Some(Cell::Json(before)) = row.before.get(column.index) else { continue };
                    push_prefix(&column.prefix, start, out);
                    write_patched_document(before, diff, out).map_err(|source| column.error(source))?;
                }
                _ => {
                    push_prefix(&column.prefix, start, out);
                    column.write(cell, out)?;
                }
            }
        }
        if missing && row.op == Op::Update {
            for column in &self.columns {
                let is_absent = |cells: &[Cell<'_>]| matches!(cells.get(column.index), None | Some(Cell::Absent));
                let Some(cell) = row.before.get(column.index) else { continue };
                if !is_absent(row.after) || is_absent(row.before) || (*cell == Cell::Null && !self.options.nulls) {
                    continue;
                }
                push_prefix(&column.prefix, start, out);
                column.write(cell, out)?;
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// JSON columns of which only the difference is known.
    fn write_partial(&self, row: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut open = None;
        for column in &self.columns {
            let Some(Cell::JsonDiff(diff)) = row.after.get(column.index) else { continue };
            if diff.is_empty() || matches!(row.before.get(column.index), Some(Cell::Json(_))) {
                continue;
            }
            let start = *open.get_or_insert_with(|| {
                out.extend_from_slice(b",\"partial\":{");
                out.len()
            });
            push_prefix(&column.prefix, start, out);
            write_operations(diff, out).map_err(|source| column.error(source))?;
        }
        if open.is_some() {
            out.push(b'}');
        }
        Ok(())
    }

    fn write_old(&self, row: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut open = None;
        for column in &self.columns {
            let (Some(before), Some(after)) = (row.before.get(column.index), row.after.get(column.index)) else {
                continue;
            };
            if *before == Cell::Absent || *after == Cell::Absent || same_value(before, after) {
                continue;
            }
            let start = *open.get_or_insert_with(|| {
                out.extend_from_slice(b",\"old\":{");
                out.len()
            });
            if *before == Cell::Null && !self.options.nulls {
                continue;
            }
            push_prefix(&column.prefix, start, out);
            column.write(before, out)?;
        }
        if open.is_some() {
            out.push(b'}');
        }
        Ok(())
    }
}

/// Appends the message of a statement; see the module for its members.
pub fn encode_ddl(ddl: &DdlView<'_>, options: &Options, out: &mut Vec<u8>) {
    let what = maxwell_ddl::classify(ddl.sql, ddl.database);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(what.kind.as_bytes());
    out.extend_from_slice(b"\",\"database\":");
    push_string(&what.database, out);
    if let Some(table) = &what.table {
        out.extend_from_slice(b",\"table\":");
        push_string(table, out);
    }
    out.extend_from_slice(b",\"ts\":");
    number(u64::from(ddl.timestamp) * 1000, out);
    out.extend_from_slice(b",\"sql\":");
    push_string(ddl.sql, out);
    write_place(options, ddl.txn, ddl.event_pos, out);
    out.push(b'}');
}

fn write_place(options: &Options, txn: &Transaction, position: u64, out: &mut Vec<u8>) {
    if options.position {
        out.extend_from_slice(b",\"position\":\"");
        super::escape::push_escaped(&txn.file, out);
        out.push(b':');
        number(position, out);
        out.push(b'"');
    }
    if options.gtid {
        out.extend_from_slice(b",\"gtid\":");
        match &txn.gtid {
            Some(gtid) => push_string(gtid, out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

/// The cell of a key column that identifies the row in its message: from `data`, so of the after-image where it has it.
fn key_cell<'a>(row: &RowView<'a>, index: usize) -> Cell<'a> {
    let at = |cells: &[Cell<'a>]| cells.get(index).copied().unwrap_or(Cell::Absent);
    match (row.op, at(row.after)) {
        (Op::Delete, _) | (_, Cell::Absent) => at(row.before),
        (_, cell) => cell,
    }
}

/// A UUID (version 8) made from the identity of the row in the log.
fn write_identity(row: &RowView<'_>, out: &mut Vec<u8>) {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    match &row.txn.gtid {
        Some(gtid) => hash.update(gtid.as_bytes()),
        None => {
            hash.update(row.txn.server_uuid.as_bytes());
            hash.update(row.txn.file.as_bytes());
            hash.update(&row.txn.start_pos.to_le_bytes());
        }
    }
    hash.update(row.table.database.as_bytes());
    hash.update(&[0]);
    hash.update(row.table.name.as_bytes());
    hash.update(&row.table_row.to_le_bytes());
    hash.update(&row.part.to_le_bytes());
    let bits = hash.digest128() & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    for (i, byte) in hex.bytes().enumerate() {
        if matches!(i, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        out.push(byte);
    }
}

/// `,"name":`, without the comma right behind the opening bracket.
#[inline]
fn push_prefix(prefix: &[u8], start: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(prefix.get(usize::from(out.len() == start)..).unwrap_or(&[]));
}

fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
