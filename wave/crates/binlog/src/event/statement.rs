//! Statements and their context: QUERY, LOAD DATA, variables, annotations, incidents (manual: `Query_event`,
//! `Execute_load_query_event`, `Rows_query_event`, `Incident_event`; MariaDB knowledge base: "Annotate_rows_event").

use std::borrow::Cow;

use crate::charset::Charset;
use crate::error::{Error, Result};
use crate::read::Reader;

/// QUERY: BEGIN, COMMIT, DDL, XA statements, and changes in statement format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// Connection that ran it.
    pub thread_id: u32,
    /// Seconds.
    pub exec_time: u32,
    /// The error with which it ended on the server; 0 for none.
    pub error_code: u16,
    /// Default database, UTF-8; empty for none.
    pub schema: &'a [u8],
    /// In `charset`, but see [`Query::text`]. In a [`super::Event::CompressedQuery`] still compressed.
    pub sql: &'a [u8],
    pub status_vars: StatusVars<'a>,
    /// `character_set_client` of the session; utf8mb4 when the event does not tell it.
    pub charset: Charset,
}

impl<'a> Query<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new("QUERY", body);
        let head = Head::read(&mut r)?;
        Self::finish(r, head)
    }

    /// The statement in UTF-8; U+FFFD stands for what cannot be read.
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        if made_by_server(self.sql)
            && let Ok(text) = std::str::from_utf8(self.sql)
        {
            return Cow::Borrowed(text);
        }
        self.charset.decode(self.sql).map_or_else(|_| String::from_utf8_lossy(self.sql), |decoded| decoded.text)
    }

    fn finish(mut r: Reader<'a>, head: Head) -> Result<Self> {
        let status_vars = StatusVars(r.bytes(head.status_len)?);
        let schema = r.bytes(head.schema_len)?;
        r.skip(1)?;
        let charset = status_vars.client_collation().map_or(Charset::Utf8mb4, Charset::from_collation);
        Ok(Self {
            thread_id: head.thread_id,
            exec_time: head.exec_time,
            error_code: head.error_code,
            schema,
            sql: r.take_rest(),
            status_vars,
            charset,
        })
    }
}

/// CREATE TABLE … SELECT, and … LIKE of a temporary table, are logged in the servers' own words, as SHOW CREATE TABLE has
/// them: in UTF-8, whatever the client speaks.
fn made_by_server(sql: &[u8]) -> bool {
    let named = ["CREATE TABLE `", "CREATE TABLE IF NOT EXISTS `", "CREATE OR REPLACE TABLE `"]
        .iter()
        .any(|head| sql.starts_with(head.as_bytes()));
    named && memchr::memmem::find(sql, b"` (\n  `").is_some()
}

#[derive(Clone, Copy)]
struct Head {
    thread_id: u32,
    exec_time: u32,
    schema_len: usize,
    error_code: u16,
    status_len: usize,
}

impl Head {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            thread_id: r.u32()?,
            exec_time: r.u32()?,
            schema_len: r.u8()?.into(),
            error_code: r.u16()?,
            status_len: r.u16()?.into(),
        })
    }
}

/// EXECUTE_LOAD_QUERY: a LOAD DATA statement whose file came in BEGIN_LOAD_QUERY and APPEND_BLOCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecuteLoadQuery<'a> {
    pub query: Query<'a>,
    pub file_id: u32,
    /// Where the file's name stands in the statement.
    pub file_name: (u32, u32),
    /// 0 error, 1 IGNORE, 2 REPLACE.
    pub duplicates: u8,
}

impl<'a> ExecuteLoadQuery<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new("EXECUTE_LOAD_QUERY", body);
        let head = Head::read(&mut r)?;
        let (file_id, file_name, duplicates) = (r.u32()?, (r.u32()?, r.u32()?), r.u8()?);
        Ok(Self { query: Query::finish(r, head)?, file_id, file_name, duplicates })
    }
}

/// Session state of a QUERY, as tagged fields; read on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusVars<'a>(pub &'a [u8]);

impl<'a> StatusVars<'a> {
    /// Collation number of `character_set_client`.
    #[must_use]
    pub fn client_collation(&self) -> Option<u16> {
        self.find(4)?.first_chunk::<2>().map(|b| u16::from_le_bytes(*b))
    }

    /// Value of the field `code`. Fields behind one of unknown length are not found.
    fn find(&self, code: u8) -> Option<&'a [u8]> {
        let mut r = Reader::new("status variables", self.0);
        while !r.is_empty() {
            let found = r.u8().ok()?;
            let value = status_value(&mut r, found)?;
            if found == code {
                return Some(value);
            }
        }
        None
    }
}

/// Codes and lengths: MySQL's `Query_event::Query_event_status_vars`, MariaDB's `Q_HRNOW`, `Q_XID`.
fn status_value<'a>(r: &mut Reader<'a>, code: u8) -> Option<&'a [u8]> {
    let mut text = |extra: usize| {
        let start = r.rest();
        let n = usize::from(r.u8().ok()?);
        r.skip(n + extra).ok()?;
        start.get(1..=n)
    };
    let n = match code {
        2 => return text(1),
        5 | 6 => return text(0),
        11 => {
            text(0)?;
            return text(0);
        }
        12 => {
            let count = r.u8().ok()?;
            // 254: more than the statement may list; then none follows.
            for _ in 0..if count == 254 { 0 } else { count } {
                r.until_nul().ok()?;
            }
            return Some(&[]);
        }
        16 | 19 | 20 => 1,
        7 | 8 | 18 => 2,
        13 | 128 => 3,
        0 | 3 | 10 => 4,
        4 => 6,
        1 | 9 | 14 | 17 | 129 => 8,
        _ => return None,
    };
    r.bytes(n).ok()
}

/// USER_VAR: a user variable that the next statement reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserVar<'a> {
    pub name: &'a [u8],
    pub value: Option<UserValue<'a>>,
}

/// Value of a user variable in the server's own form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserValue<'a> {
    /// 0 text, 1 double, 2 integer, 4 decimal.
    pub kind: u8,
    pub collation: u32,
    pub bytes: &'a [u8],
    pub unsigned: bool,
}

impl<'a> UserVar<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut r = Reader::new("USER_VAR", body);
        let n = r.u32()? as usize;
        let name = r.bytes(n)?;
        if r.u8()? != 0 {
            return Ok(Self { name, value: None });
        }
        let (kind, collation, n) = (r.u8()?, r.u32()?, r.u32()? as usize);
        let bytes = r.bytes(n)?;
        let unsigned = r.u8().is_ok_and(|flags| flags & 1 != 0);
        Ok(Self { name, value: Some(UserValue { kind, collation, bytes, unsigned }) })
    }
}

/// INCIDENT: the server lost events; what is in the log is not all that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// 1: lost events.
    pub code: u16,
    pub message: String,
}

impl Incident {
    pub(super) fn parse(body: &[u8]) -> Result<Self> {
        let mut r = Reader::new("INCIDENT", body);
        let code = r.u16()?;
        let message = if r.is_empty() {
            String::new()
        } else {
            let n = r.u8()?.into();
            String::from_utf8_lossy(r.bytes(n)?).into_owned()
        };
        Ok(Self { code, message })
    }
}

/// INTVAR: 1 is LAST_INSERT_ID, 2 is INSERT_ID.
pub(super) fn parse_intvar(body: &[u8]) -> Result<(u8, u64)> {
    let mut r = Reader::new("INTVAR", body);
    Ok((r.u8()?, r.u64()?))
}

/// RAND: the two seeds.
pub(super) fn parse_rand(body: &[u8]) -> Result<(u64, u64)> {
    let mut r = Reader::new("RAND", body);
    Ok((r.u64()?, r.u64()?))
}

/// ROWS_QUERY: a length byte that is wrong above 255, then the text up to the end.
pub(super) fn parse_rows_query(body: &[u8]) -> Result<&[u8]> {
    match body {
        [_, sql @ ..] => Ok(sql),
        [] => Err(Error::Truncated { what: "ROWS_QUERY", need: 1, have: 0 }),
    }
}

/// Bodies captured from MySQL 9.7.4 with `binlog_format=STATEMENT`, without header and checksum.
#[cfg(test)]
mod tests {
    use super::*;

    /// Status variables of the statements below: sql_mode, catalog, character sets, updated databases, and more.
    const STATUS: &[u8] =
        b"\0\0\0\0\0\x01\x20\0\xa0\x45\0\0\0\0\x06\x03std\x04\xff\0\xff\0\xff\0\x0c\x01sv\0\x12\xff\0";

    #[test]
    fn a_statement_and_its_session() {
        let head = b"\x0e\0\0\0\0\0\0\0\x02\0\0\x22\0";
        let body = [&head[..], STATUS, b"sv\0BEGIN"].concat();
        let query = Query::parse(&body).unwrap();
        assert_eq!((query.thread_id, query.exec_time, query.error_code), (14, 0, 0));
        assert_eq!((query.schema, query.sql, query.charset), (&b"sv"[..], &b"BEGIN"[..], Charset::Utf8mb4));
        assert_eq!(query.status_vars.client_collation(), Some(255));
        for cut in 0..body.len() - 5 {
            assert!(Query::parse(&body[..cut]).is_err(), "{cut}");
        }
    }

    /// Logged by MySQL 5.7.29 and MariaDB 10.11 after SET NAMES latin1.
    #[test]
    fn a_statement_in_the_clients_character_set() {
        let text = |charset, sql: &'static [u8]| {
            let head = Head { thread_id: 1, exec_time: 0, schema_len: 0, error_code: 0, status_len: 7 };
            let body = [&[4, charset, 0, charset, 0, 8, 0, 0][..], sql].concat();
            Query::finish(Reader::new("QUERY", &body), head).unwrap().text().into_owned()
        };
        let (latin1, sjis, cp1251, unknown) = (8, 13, 51, 200);
        assert_eq!(
            text(latin1, b"DROP TABLE `t\xe9` /* generated by server */"),
            "DROP TABLE `té` /* generated by server */"
        );
        assert_eq!(text(latin1, b"alter table t\xf6 rename t\xf62"), "alter table tö rename tö2");
        assert_eq!(text(cp1251, b"drop table \xf2\xee\xea"), "drop table ток");
        // Second bytes that are a backtick and a backslash.
        assert_eq!(text(sjis, b"alter table `\x83\x60\x83\x5c` add c int"), "alter table `チソ` add c int");
        // The server's own words.
        for sql in [
            "CREATE TABLE `té` (\n  `b` int(1) NOT NULL\n)",
            "CREATE OR REPLACE TABLE `té3` (\n  `b` int(1) NOT NULL\n)",
            "CREATE TABLE `té` (\n  `b` int NOT NULL DEFAULT '0'\n) START TRANSACTION",
        ] {
            assert_eq!(text(latin1, sql.as_bytes()), sql);
        }
        assert_eq!(text(latin1, b"CREATE TABLE `t\xe9` (\n  `b` int\n)"), "CREATE TABLE `té` (\n  `b` int\n)");
        assert_eq!(text(unknown, b"drop table t\xe9, t"), "drop table t\u{fffd}, t");
    }

    #[test]
    fn load_data() {
        let head = b"\x10\0\0\0\0\0\0\0\x02\0\0\x22\0\x02\0\0\0\x09\0\0\0\x2d\0\0\0\x01";
        let sql = b"LOAD DATA LOCAL INFILE 'rows.txt' IGNORE INTO TABLE `t` FIELDS TERMINATED BY '\\t' ENCLOSED BY '' \
                    ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' (`id`, `v`)";
        let body = [&head[..], STATUS, b"sv\0", sql].concat();
        let load = ExecuteLoadQuery::parse(&body).unwrap();
        assert_eq!((load.file_id, load.file_name, load.duplicates), (2, (9, 45), 1));
        assert_eq!((load.query.schema, load.query.sql), (&b"sv"[..], &sql[..]));
    }

    #[test]
    fn variables_that_a_statement_reads() {
        assert_eq!(parse_intvar(b"\x02\x02\0\0\0\0\0\0\0"), Ok((2, 2)));
        assert_eq!(parse_rand(b"\x5a\x1e\x63\x0b\0\0\0\0\x53\xc2\x5b\x10\0\0\0\0"), Ok((0x0b63_1e5a, 0x105b_c253)));
        let value = |body| UserVar::parse(body).unwrap();
        let some = |kind, bytes| Some(UserValue { kind, collation: 255, bytes, unsigned: false });
        let text = value(b"\x01\0\0\0v\0\0\xff\0\0\0\x02\0\0\0\xc3\xa9");
        assert_eq!((text.name, text.value), (&b"v"[..], some(0, "é".as_bytes())));
        let seven = (-7_i64).to_le_bytes();
        let integer = value(b"\x01\0\0\0n\0\x02\xff\0\0\0\x08\0\0\0\xf9\xff\xff\xff\xff\xff\xff\xff\0");
        assert_eq!((integer.name, integer.value), (&b"n"[..], some(2, &seven)));
        // Precision 2, scale 1, then 1.5 as in a column.
        assert_eq!(value(b"\x01\0\0\0d\0\x04\xff\0\0\0\x04\0\0\0\x02\x01\x81\x05").value, some(4, b"\x02\x01\x81\x05"));
        assert_eq!(value(b"\x01\0\0\0z\x01"), UserVar { name: b"z", value: None });
    }
}
