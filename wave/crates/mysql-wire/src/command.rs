//! Commands after login and their answers in the text protocol (protocol manual, "Command Phase").

use std::collections::BTreeMap;

use crate::error::{ServerError, WireError};
use crate::reader::Reader;

pub(crate) const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_SLAVE: u8 = 0x15;
const COM_BINLOG_DUMP_GTID: u8 = 0x1E;
/// The server ends the dump at the end of the log instead of waiting for more.
const FLAG_NON_BLOCK: u16 = 1;
/// MySQL 8.0.26: heartbeats of version 2, whose positions are 64 bits wide; older servers ignore the bit. MariaDB: send
/// ANNOTATE_ROWS events.
const FLAG_HEARTBEAT_V2_OR_ANNOTATE: u16 = 2;
/// MySQL: start after the GTID set.
const FLAG_THROUGH_GTID: u16 = 4;
/// Longest statement: one packet.
const MAX_STATEMENT: usize = 16 << 20;
/// Most of an error message that is kept.
const MAX_MESSAGE: usize = 4096;
/// MySQL's own limit on columns of a table is 4096; a result may have a few more.
const MAX_COLUMNS: u64 = 1 << 16;

/// One value of the text protocol; `None` is NULL.
pub type Value = Option<Vec<u8>>;

/// The answer to a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryResult {
    /// Names of the columns; empty when the statement gives no rows.
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    pub affected_rows: u64,
}

impl QueryResult {
    /// The value of `column` (case does not matter) in the first row as text; `None` for no row, no such column or NULL.
    pub fn first(&self, column: &str) -> Option<String> {
        let index = self.columns.iter().position(|name| name.eq_ignore_ascii_case(column))?;
        self.text(0, index)
    }

    /// A value as text, invalid UTF-8 replaced.
    pub fn text(&self, row: usize, column: usize) -> Option<String> {
        let value = self.rows.get(row)?.get(column)?.as_deref()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Rows of a name and a value, as SHOW VARIABLES gives them: by name in lower case, without those that are NULL.
    pub fn named(&self) -> BTreeMap<String, String> {
        (0..self.rows.len())
            .filter_map(|row| Some((self.text(row, 0)?.to_ascii_lowercase(), self.text(row, 1)?)))
            .collect()
    }
}

/// Where and how to read the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpRequest {
    /// The reader's server id; must differ from that of every other replica of this server.
    pub server_id: u32,
    pub start: DumpStart,
    /// End at the end of the log instead of waiting for more.
    pub stop_at_end: bool,
}

/// Where a dump begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DumpStart {
    /// COM_BINLOG_DUMP: the file's name (empty: the oldest, or for MariaDB by `@slave_connect_state`) and the position of
    /// an event in it (4 is the first).
    File { file: String, pos: u64 },
    /// COM_BINLOG_DUMP_GTID: everything that is not in `set`, which is encoded as that command wants it.
    Gtid { set: Vec<u8> },
}

pub(crate) fn query(sql: &str) -> Result<Vec<u8>, WireError> {
    if sql.len() >= MAX_STATEMENT {
        return Err(WireError::TooLarge { what: "the statement", limit: MAX_STATEMENT });
    }
    let mut out = Vec::with_capacity(sql.len() + 1);
    out.push(COM_QUERY);
    out.extend_from_slice(sql.as_bytes());
    Ok(out)
}

/// `host` is what `SHOW REPLICAS` displays.
pub(crate) fn register_replica(server_id: u32, host: &str) -> Vec<u8> {
    let mut out = vec![COM_REGISTER_SLAVE];
    out.extend_from_slice(&server_id.to_le_bytes());
    let host: String = host.chars().filter(char::is_ascii_graphic).take(60).collect();
    for text in [host.as_str(), "", ""] {
        out.push(u8::try_from(text.len()).unwrap_or(0));
        out.extend_from_slice(text.as_bytes());
    }
    // port, rank and source id: not used by any server
    out.extend_from_slice(&[0; 2 + 4 + 4]);
    out
}

pub(crate) fn dump(request: &DumpRequest) -> Result<Vec<u8>, WireError> {
    let mut flags = FLAG_HEARTBEAT_V2_OR_ANNOTATE;
    if request.stop_at_end {
        flags |= FLAG_NON_BLOCK;
    }
    let mut out = Vec::new();
    match &request.start {
        DumpStart::File { file, pos } => {
            let pos = u32::try_from(*pos).map_err(|_| {
                WireError::Config(format!(
                    "position {pos} of {file}: a dump by file cannot start beyond 4 GiB; use a GTID set"
                ))
            })?;
            out.push(COM_BINLOG_DUMP);
            out.extend_from_slice(&pos.to_le_bytes());
            out.extend_from_slice(&flags.to_le_bytes());
            out.extend_from_slice(&request.server_id.to_le_bytes());
            out.extend_from_slice(file.as_bytes());
        }
        DumpStart::Gtid { set } => {
            out.push(COM_BINLOG_DUMP_GTID);
            out.extend_from_slice(&(flags | FLAG_THROUGH_GTID).to_le_bytes());
            out.extend_from_slice(&request.server_id.to_le_bytes());
            out.extend_from_slice(&0_u32.to_le_bytes());
            out.extend_from_slice(&4_u64.to_le_bytes());
            let len =
                u32::try_from(set.len()).map_err(|_| WireError::TooLarge { what: "the GTID set", limit: 1 << 24 })?;
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(set);
        }
    }
    if out.len() >= MAX_STATEMENT {
        return Err(WireError::TooLarge { what: "the dump command", limit: MAX_STATEMENT });
    }
    Ok(out)
}

/// An ERR packet; before login it has no SQL state.
pub(crate) fn server_error(payload: &[u8]) -> ServerError {
    let mut reader = Reader::new(payload);
    reader.u8();
    let code = reader.u16().unwrap_or(0);
    let mut sqlstate = String::new();
    if reader.rest().first() == Some(&b'#') {
        sqlstate = reader.take(6).map(|state| lossy(&state[1..])).unwrap_or_default();
    }
    let message = reader.rest();
    let message = lossy(message.get(..MAX_MESSAGE).unwrap_or(message));
    ServerError { code, sqlstate, message }
}

/// Affected rows of an OK packet.
pub(crate) fn affected_rows(payload: &[u8]) -> Option<u64> {
    let mut reader = Reader::new(payload);
    reader.u8()?;
    reader.lenenc_int()
}

/// The number of columns announced by the first packet of a result.
pub(crate) fn column_count(payload: &[u8]) -> Option<u64> {
    let mut reader = Reader::new(payload);
    let count = reader.lenenc_int()?;
    (reader.is_empty() && (1..=MAX_COLUMNS).contains(&count)).then_some(count)
}

/// The name in a column definition.
pub(crate) fn column_name(payload: &[u8]) -> Option<String> {
    let mut reader = Reader::new(payload);
    for _catalog_schema_table_orgtable in 0..4 {
        reader.lenenc_bytes()?;
    }
    reader.lenenc_bytes().map(lossy)
}

/// One row of `columns` values.
pub(crate) fn row(payload: &[u8], columns: usize) -> Option<Vec<Value>> {
    const NULL: u8 = 0xFB;
    let mut reader = Reader::new(payload);
    let mut values = Vec::with_capacity(columns);
    for _ in 0..columns {
        values.push(if reader.rest().first() == Some(&NULL) {
            reader.u8();
            None
        } else {
            Some(reader.lenenc_bytes()?.to_vec())
        });
    }
    reader.is_empty().then_some(values)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dump_by_file() {
        let start = DumpStart::File { file: "binlog.000003".into(), pos: 4 };
        let bytes = dump(&DumpRequest { server_id: 0x0102_0304, start, stop_at_end: true }).unwrap();
        assert_eq!(bytes, b"\x12\x04\0\0\0\x03\0\x04\x03\x02\x01binlog.000003");
    }

    #[test]
    fn dump_by_gtid() {
        let start = DumpStart::Gtid { set: vec![0; 8] };
        let bytes = dump(&DumpRequest { server_id: 9, start, stop_at_end: false }).unwrap();
        assert_eq!(bytes, b"\x1e\x06\0\x09\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn a_position_beyond_32_bits_is_not_cut_silently() {
        let start = DumpStart::File { file: "binlog.000003".into(), pos: 1 << 32 };
        assert!(matches!(
            dump(&DumpRequest { server_id: 1, start, stop_at_end: false }),
            Err(WireError::Config(message)) if message.contains("4 GiB")
        ));
    }

    #[test]
    fn errors_with_and_without_sqlstate() {
        let denied = server_error(b"\xff\x15\x04#28000Access denied for user 'x'");
        assert_eq!((denied.code, denied.sqlstate.as_str()), (1045, "28000"));
        assert_eq!(denied.message, "Access denied for user 'x'");
        let full = server_error(b"\xff\x10\x04Too many connections");
        assert_eq!((full.code, full.sqlstate.as_str(), full.message.as_str()), (1040, "", "Too many connections"));
        assert_eq!(server_error(b"\xff").code, 0);
    }

    #[test]
    fn rows_must_fit_exactly() {
        assert_eq!(row(b"\x01a\xfb\x00", 3), Some(vec![Some(b"a".to_vec()), None, Some(Vec::new())]));
        assert_eq!(row(b"\x01a\xfb", 3), None);
        assert_eq!(row(b"\x01a\xfb\x00", 2), None);
        assert_eq!(row(b"\x05a", 1), None);
    }
}
