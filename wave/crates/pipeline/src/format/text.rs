//! Rows for a person at a terminal: one line each.
//!
//! ```text
//! 2026-11-25 18:50:51 + shop.orders id=1 state='new' note=NULL
//! 2026-11-25 18:50:52 ~ shop.orders id=1 state='new'→'paid'
//! 2026-11-25 18:50:53 - shop.orders id=1 state='paid' note=NULL
//! ── 3e11fa47-71ca-11e1-9e33-c80aa9429562:5 binlog.000007:4711
//! ```
//!
//! `+` insert, `~` update (key columns and what changed), `-` delete; times in UTC; binary values in hexadecimal, and text
//! that is not UTF-8 where nothing says its character set. A line with GTID and end position closes each transaction. Control characters are escaped wherever they come from, so that no
//! value can drive the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use binlog::charset::Charset;
use binlog::schema::Column;
use binlog::temporal::Timestamp;
use binlog::{Cell, json, render};

use super::{DdlView, FormatError, Op, RowView, Transaction, maxwell_ddl, maxwell_value, same_value, wkt};

/// How lines look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours.
    pub color: bool,
    /// Longest value in characters (binary: in hexadecimal digits); a longer one is cut and followed by its full length in
    /// characters (bytes). 0: never cut.
    pub max_value: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style { color: false, max_value: 64 }
    }
}

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// A value ready to print.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown<'a> {
    Null,
    /// As it is: numbers, dates, documents.
    Bare(Cow<'a, str>),
    /// In quotes.
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

/// Appends the line of `row`, and after the last row of a transaction the line that closes it.
///
/// # Errors
/// A value that cannot be read: text of an unknown character set, broken JSON or geometry.
pub fn encode_row(row: &RowView<'_>, style: &Style, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let mut line = Line::start(style, row.op, row.timestamp, &row.table.database, &row.table.name);
    for (index, column) in row.table.columns.iter().enumerate() {
        let wanted = row.columns.is_none_or(|columns| columns.iter().any(|c| usize::from(*c) == index));
        if !wanted {
            continue;
        }
        let error = |source| FormatError::Value { column: column.name.clone(), source };
        let unchanged = match (row.before.get(index), row.after.get(index)) {
            (Some(before), Some(after)) => *after == Cell::Absent || same_value(before, after),
            _ => false,
        };
        if unchanged && column.key_part.is_none() {
            continue;
        }
        let before = row.before.get(index).map_or(Ok(None), |cell| show_cell(cell, None, column)).map_err(error)?;
        let after = match row.after.get(index).filter(|_| !unchanged) {
            Some(cell) => show_cell(cell, row.before.get(index), column).map_err(error)?,
            None => None,
        };
        line.field(&column.name, before.as_ref(), after.as_ref());
    }
    line.end(out);
    if row.last {
        encode_commit(row.txn, style, out);
    }
    Ok(())
}

/// Appends the line of a statement; that of its transaction is [`encode_commit`].
pub fn encode_ddl(ddl: &DdlView<'_>, style: &Style, out: &mut Vec<u8>) {
    let mut text = String::new();
    write_statement(ddl.timestamp, ddl.database, ddl.sql, style, &mut text);
    out.extend_from_slice(text.as_bytes());
}

/// Appends the line that closes a transaction.
pub fn encode_commit(txn: &Transaction, style: &Style, out: &mut Vec<u8>) {
    let mut text = String::new();
    write_commit(txn.gtid.as_deref().unwrap_or(""), &txn.file, txn.end_pos, style, &mut text);
    out.extend_from_slice(text.as_bytes());
}

/// With the database that the statement is about; `database` is its default one.
pub(super) fn write_statement(seconds: u32, database: &str, sql: &str, style: &Style, text: &mut String) {
    let (on, off) = if style.color { ("\x1b[35m", RESET) } else { ("", "") };
    push_time(seconds, style, text);
    let _ = write!(text, " {on}! ");
    push_plain(&maxwell_ddl::classify(sql, database).database, text);
    text.push_str(off);
    text.push(' ');
    push_plain(sql, text);
    text.push('\n');
}

pub(super) fn write_commit(gtid: &str, file: &str, pos: u64, style: &Style, text: &mut String) {
    let (on, off) = if style.color { (DIM, RESET) } else { ("", "") };
    text.push_str(on);
    text.push_str("── ");
    if !gtid.is_empty() {
        push_plain(gtid, text);
        text.push(' ');
    }
    push_plain(file, text);
    let _ = writeln!(text, ":{pos}{off}");
}

/// One line being written.
pub(super) struct Line<'s> {
    style: &'s Style,
    text: String,
}

impl<'s> Line<'s> {
    pub(super) fn start(style: &'s Style, op: Op, seconds: u32, database: &str, table: &str) -> Self {
        let (sign, color) = match op {
            Op::Insert => ('+', "\x1b[32m"),
            Op::Update => ('~', "\x1b[33m"),
            Op::Delete => ('-', "\x1b[31m"),
        };
        let (on, off) = if style.color { (color, RESET) } else { ("", "") };
        let mut text = String::new();
        push_time(seconds, style, &mut text);
        let _ = write!(text, " {on}{sign} ");
        push_plain(database, &mut text);
        text.push('.');
        push_plain(table, &mut text);
        text.push_str(off);
        Line { style, text }
    }

    /// `name=value`, or `name=old→new` when both are given; nothing when neither is.
    pub(super) fn field(&mut self, name: &str, before: Option<&Shown<'_>>, after: Option<&Shown<'_>>) {
        if before.is_none() && after.is_none() {
            return;
        }
        self.text.push(' ');
        push_plain(name, &mut self.text);
        self.text.push('=');
        if let Some(value) = before {
            self.value(value);
        }
        if before.is_some() && after.is_some() {
            self.text.push('→');
        }
        if let Some(value) = after {
            self.value(value);
        }
    }

    pub(super) fn end(mut self, out: &mut Vec<u8>) {
        self.text.push('\n');
        out.extend_from_slice(self.text.as_bytes());
    }

    fn value(&mut self, value: &Shown<'_>) {
        match value {
            Shown::Null if self.style.color => {
                let _ = write!(self.text, "{DIM}NULL{RESET}");
            }
            Shown::Null => self.text.push_str("NULL"),
            Shown::Bare(text) => self.cut(text, false),
            Shown::Text(text) => self.cut(text, true),
            Shown::Bytes(bytes) => {
                let limit = if self.style.max_value == 0 { bytes.len() } else { self.style.max_value.div_ceil(2) };
                self.text.push_str("0x");
                for byte in bytes.iter().take(limit) {
                    let _ = write!(self.text, "{byte:02x}");
                }
                if bytes.len() > limit {
                    let _ = write!(self.text, "…({})", bytes.len());
                }
            }
        }
    }

    fn cut(&mut self, text: &str, quoted: bool) {
        let quote = if quoted { "'" } else { "" };
        let cut = match self.style.max_value {
            0 => None,
            limit => text.char_indices().nth(limit).map(|(at, _)| at),
        };
        let shown = cut.and_then(|at| text.get(..at)).unwrap_or(text);
        self.text.push_str(quote);
        if quoted {
            push_quoted(shown, &mut self.text);
        } else {
            push_plain(shown, &mut self.text);
        }
        if cut.is_some() {
            let _ = write!(self.text, "…{quote}({})", text.chars().count());
        } else {
            self.text.push_str(quote);
        }
    }
}

/// None for an absent cell.
fn show_cell<'a>(cell: &Cell<'a>, base: Option<&Cell<'_>>, column: &Column) -> binlog::Result<Option<Shown<'a>>> {
    let bare = |write: &dyn Fn(&mut Vec<u8>) -> binlog::Result<()>| {
        let mut text = Vec::new();
        write(&mut text)?;
        Ok(Some(Shown::Bare(Cow::Owned(String::from_utf8_lossy(&text).into_owned()))))
    };
    match *cell {
        Cell::Absent => Ok(None),
        Cell::Null => Ok(Some(Shown::Null)),
        Cell::Text(bytes) => match column.charset.decode(bytes) {
            Ok(decoded) => Ok(Some(Shown::Text(decoded.text))),
            Err(_) if column.charset == Charset::Untold => Ok(Some(Shown::Bytes(Cow::Borrowed(bytes)))),
            Err(error) => Err(error),
        },
        Cell::Bytes(bytes) if render::stripped_zeros(bytes, column) == 0 => {
            Ok(Some(Shown::Bytes(Cow::Borrowed(bytes))))
        }
        Cell::Bytes(_) => {
            let mut padded = Vec::new();
            render::render_text(cell, column, &mut padded)?;
            Ok(Some(Shown::Bytes(Cow::Owned(padded))))
        }
        Cell::Enum(_) | Cell::Set(_) | Cell::FixedBinary(_) => {
            let mut text = Vec::new();
            render::render_text(cell, column, &mut text)?;
            Ok(Some(Shown::Text(Cow::Owned(String::from_utf8_lossy(&text).into_owned()))))
        }
        Cell::Geometry(bytes) => bare(&|out| wkt::write(bytes, out)),
        Cell::Vector(bytes) => bare(&|out| maxwell_value::write_vector(bytes, out)),
        Cell::JsonDiff(diff) => bare(&|out| match base {
            Some(Cell::Json(before)) => json::apply_diff(before, diff, out),
            _ => json::write_diff(diff, out),
        }),
        _ => bare(&|out| render::render_text(cell, column, out)),
    }
}

fn push_time(seconds: u32, style: &Style, text: &mut String) {
    let mut time = Vec::new();
    Timestamp { seconds, micros: 0 }.write(&mut time, 0);
    let time = String::from_utf8_lossy(&time);
    if style.color {
        let _ = write!(text, "{DIM}{time}{RESET}");
    } else {
        text.push_str(&time);
    }
}

fn push_quoted(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '\'' => text.push_str("\\'"),
            '\\' => text.push_str("\\\\"),
            c => push_char(c, text),
        }
    }
}

fn push_plain(value: &str, text: &mut String) {
    for c in value.chars() {
        push_char(c, text);
    }
}

/// Control characters (C0, DEL, C1) and those that turn the direction of writing are escaped.
fn push_char(c: char, text: &mut String) {
    match c {
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        c if c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}') =>
        {
            let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
        }
        c => text.push(c),
    }
}
