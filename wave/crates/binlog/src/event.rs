//! Events: from the bytes of one event to its meaning (server source: `binlog_event.h` and its neighbours; MariaDB
//! knowledge base: "Replication Protocol").
//!
//! [`StreamState`] holds what earlier events said about the form of later ones (checksums, header lengths, server
//! family) and is all the state there is. [`StreamState::parse`] takes one whole event, verifies and removes its
//! checksum, and gives an [`Event`] that borrows the bytes. Decoding of rows needs the [`crate::schema::Table`] that
//! the TABLE_MAP of their `table_id` compiled to; table ids count until the next FORMAT_DESCRIPTION.

mod format;
mod header;
mod split;
mod statement;
mod transaction;

pub use format::FormatDescription;
pub use header::{EventHeader, EventType, HEADER_LEN};
pub use split::FileSplitter;
pub use statement::{ExecuteLoadQuery, Incident, Query, StatusVars, UserValue, UserVar};
pub use transaction::{AlterPhase, Gtid, MariaGtid, XaPrepare, Xid};

pub use crate::query::{Ddl, QueryKind, TableName, Verb, XaStatement, classify_query};

use crate::checksum::{self, ChecksumAlg};
use crate::error::{Error, Result};
use crate::gtid::{MariaDbGtidPos, MySqlGtidSet};
use crate::payload::TransactionPayload;
use crate::read::Reader;
use crate::rows::{CompressedRows, RowsEvent, RowsFormat};
use crate::table_map::TableMap;

/// What an event says.
#[derive(Debug)]
pub enum Event<'a> {
    FormatDescription(FormatDescription),
    /// The log goes on in `file` at `pos`. `fake`: the server says where the stream begins; nothing ends here.
    Rotate {
        pos: u64,
        file: &'a [u8],
        fake: bool,
    },
    Query(Query<'a>),
    /// MariaDB, `log_bin_compress`: `sql` is still compressed, see [`crate::mariadb::uncompress`].
    CompressedQuery(Query<'a>),
    /// Commit of a transaction.
    Xid(u64),
    Gtid(Gtid<'a>),
    AnonymousGtid(Gtid<'a>),
    MariaGtid(MariaGtid<'a>),
    /// MariaDB: last GTIDs before this file.
    MariaGtidList(MariaDbGtidPos),
    /// MySQL: all GTIDs before this file.
    PreviousGtids(MySqlGtidSet),
    TableMap(TableMap<'a>),
    Rows(RowsEvent<'a>),
    /// MariaDB, `log_bin_compress`.
    CompressedRows(CompressedRows<'a>),
    TransactionPayload(TransactionPayload<'a>),
    XaPrepare(XaPrepare<'a>),
    /// The server has nothing to send; its position.
    Heartbeat {
        file: &'a [u8],
        pos: u64,
    },
    /// The statement behind the rows events that follow (`binlog_rows_query_log_events`).
    RowsQuery(&'a [u8]),
    /// The same from MariaDB.
    MariaAnnotate(&'a [u8]),
    Incident(Incident),
    /// The server shut down; the next file continues.
    Stop,
    /// LAST_INSERT_ID (`kind` 1) or INSERT_ID (2) of the next statement.
    IntVar {
        kind: u8,
        value: u64,
    },
    /// Seeds of RAND() in the next statement.
    Rand {
        seed1: u64,
        seed2: u64,
    },
    UserVar(UserVar<'a>),
    /// First piece of the file of a LOAD DATA, which an EXECUTE_LOAD_QUERY names.
    BeginLoadQuery {
        file_id: u32,
        data: &'a [u8],
    },
    /// Its next piece.
    AppendBlock {
        file_id: u32,
        data: &'a [u8],
    },
    /// The LOAD DATA failed.
    DeleteFile {
        file_id: u32,
    },
    ExecuteLoadQuery(ExecuteLoadQuery<'a>),
    /// MariaDB: what follows in this file is encrypted; readers of the stream never see more of it.
    StartEncryption {
        scheme: u8,
        key_version: u32,
    },
    /// MariaDB: oldest file that crash recovery needs.
    BinlogCheckpoint {
        file: &'a [u8],
    },
    /// Group replication: membership changed.
    ViewChange,
    /// Group replication: certification data of the transaction.
    TransactionContext,
    /// A type that is not known, or one that servers before 5.0 wrote.
    Unknown {
        code: u8,
        ignorable: bool,
    },
}

/// What is known about the form of the events of one stream or file.
#[derive(Clone, Debug, Default)]
pub struct StreamState {
    format: Option<FormatDescription>,
}

impl StreamState {
    /// The FORMAT_DESCRIPTION in force.
    #[must_use]
    pub fn format(&self) -> Option<&FormatDescription> {
        self.format.as_ref()
    }

    /// Trailer of the events in force; none before the first FORMAT_DESCRIPTION.
    #[must_use]
    pub fn checksum(&self) -> ChecksumAlg {
        self.format.as_ref().map_or(ChecksumAlg::None, |f| f.checksum)
    }

    /// Of the FORMAT_DESCRIPTION in force; false before the first.
    #[must_use]
    pub fn is_mariadb(&self) -> bool {
        self.format.as_ref().is_some_and(|f| f.mariadb)
    }

    /// Parses one whole event, with its header and trailer, and takes over a FORMAT_DESCRIPTION.
    ///
    /// # Errors
    /// A wrong checksum or size, or contents that are malformed; the state is unchanged then.
    pub fn parse<'a>(&mut self, raw: &'a [u8]) -> Result<(EventHeader, Event<'a>)> {
        let header = Self::header(raw)?;
        if header.event_type == EventType::FORMAT_DESCRIPTION {
            let format = FormatDescription::parse(raw)?;
            self.format = Some(format.clone());
            return Ok((header, Event::FormatDescription(format)));
        }
        let raw = match &self.format {
            Some(format) => checksum::verify(raw, format.checksum)?,
            // The made-up ROTATE at the start of a stream has a trailer if the events of the log have one, which is
            // not known yet.
            None if header.event_type == EventType::ROTATE => checksum::verify(raw, ChecksumAlg::Crc32).unwrap_or(raw),
            None => raw,
        };
        let event = self.parse_body(&header, raw)?;
        Ok((header, event))
    }

    /// Parses an event whose checksum was verified before (by the thread that read it); it is cut off unseen. A
    /// FORMAT_DESCRIPTION is parsed but not taken over: give it to [`StreamState::parse`].
    ///
    /// # Errors
    /// A wrong size, or contents that are malformed.
    pub fn parse_verified<'a>(&self, raw: &'a [u8]) -> Result<(EventHeader, Event<'a>)> {
        let header = Self::header(raw)?;
        if header.event_type == EventType::FORMAT_DESCRIPTION {
            return Ok((header, Event::FormatDescription(FormatDescription::parse(raw)?)));
        }
        let raw = match (&self.format, header.event_type) {
            (Some(format), _) => checksum::strip(raw, format.checksum)?,
            (None, EventType::ROTATE) => checksum::verify(raw, ChecksumAlg::Crc32).unwrap_or(raw),
            (None, _) => raw,
        };
        let event = self.parse_body(&header, raw)?;
        Ok((header, event))
    }

    /// Parses an event out of a TRANSACTION_PAYLOAD: those have no checksum.
    ///
    /// # Errors
    /// As [`StreamState::parse`]; also an event that may not stand in a payload.
    pub fn parse_inner<'a>(&self, raw: &'a [u8]) -> Result<(EventHeader, Event<'a>)> {
        let header = Self::header(raw)?;
        if matches!(header.event_type, EventType::FORMAT_DESCRIPTION | EventType::TRANSACTION_PAYLOAD) {
            return Err(Error::Malformed {
                what: "TRANSACTION_PAYLOAD",
                detail: format!("{} inside", header.event_type),
            });
        }
        let event = self.parse_body(&header, raw)?;
        Ok((header, event))
    }

    #[inline]
    fn header(raw: &[u8]) -> Result<EventHeader> {
        let header = EventHeader::parse(raw)?;
        if header.event_size as usize != raw.len() {
            return Err(Error::Malformed {
                what: "event header",
                detail: format!("size {} in an event of {} bytes", header.event_size, raw.len()),
            });
        }
        Ok(header)
    }

    /// Table ids take 4 bytes in the logs of servers before 5.1.4.
    fn table_id_len(&self, event_type: EventType) -> usize {
        if self.format.as_ref().and_then(|f| f.post_header_len(event_type)) == Some(6) { 4 } else { 6 }
    }

    /// Inlined, or its result is copied once more, as a whole of parts just written: each event would stall.
    #[inline(always)]
    fn parse_body<'a>(&self, header: &EventHeader, raw: &'a [u8]) -> Result<Event<'a>> {
        use EventType as T;
        let body = raw.get(HEADER_LEN..).unwrap_or_default();
        let mut r = Reader::new("event", body);
        let rows = |format| RowsEvent::parse(body, header.event_type, format, self.table_id_len(header.event_type));
        Ok(match header.event_type {
            T::WRITE_ROWS | T::UPDATE_ROWS | T::DELETE_ROWS | T::PARTIAL_UPDATE_ROWS => {
                Event::Rows(rows(RowsFormat::V2)?)
            }
            T::WRITE_ROWS_V1 | T::UPDATE_ROWS_V1 | T::DELETE_ROWS_V1 => Event::Rows(rows(RowsFormat::V1)?),
            T::WRITE_ROWS_V0 | T::UPDATE_ROWS_V0 | T::DELETE_ROWS_V0 => Event::Rows(rows(RowsFormat::V0)?),
            T::MARIA_WRITE_ROWS_COMPRESSED_V1
            | T::MARIA_UPDATE_ROWS_COMPRESSED_V1
            | T::MARIA_DELETE_ROWS_COMPRESSED_V1 => Event::CompressedRows(CompressedRows(rows(RowsFormat::V1)?)),
            T::MARIA_WRITE_ROWS_COMPRESSED | T::MARIA_UPDATE_ROWS_COMPRESSED | T::MARIA_DELETE_ROWS_COMPRESSED => {
                Event::CompressedRows(CompressedRows(rows(RowsFormat::V2)?))
            }
            T::TABLE_MAP => Event::TableMap(TableMap::parse(body, self.table_id_len(T::TABLE_MAP), self.is_mariadb())?),
            T::QUERY => Event::Query(Query::parse(body)?),
            T::MARIA_QUERY_COMPRESSED => Event::CompressedQuery(Query::parse(body)?),
            T::XID => Event::Xid(r.u64()?),
            T::GTID => Event::Gtid(Gtid::parse(body)?),
            T::GTID_TAGGED => Event::Gtid(Gtid::parse_tagged(body)?),
            T::ANONYMOUS_GTID => Event::AnonymousGtid(Gtid::parse(body)?),
            T::PREVIOUS_GTIDS => Event::PreviousGtids(MySqlGtidSet::decode(body)?),
            T::MARIA_GTID => Event::MariaGtid(MariaGtid::parse(body, header.server_id)?),
            T::MARIA_GTID_LIST => Event::MariaGtidList(transaction::parse_maria_gtid_list(body)?),
            T::ROTATE => {
                let pos = r.u64()?;
                Event::Rotate { pos, file: r.take_rest(), fake: header.artificial() || header.timestamp == 0 }
            }
            T::TRANSACTION_PAYLOAD => Event::TransactionPayload(TransactionPayload::parse(body)?),
            T::XA_PREPARE => Event::XaPrepare(XaPrepare::parse(body)?),
            T::HEARTBEAT => Event::Heartbeat { file: body, pos: header.log_pos.into() },
            T::HEARTBEAT_V2 => heartbeat_v2(body)?,
            T::ROWS_QUERY => Event::RowsQuery(statement::parse_rows_query(body)?),
            T::MARIA_ANNOTATE_ROWS => Event::MariaAnnotate(body),
            T::INCIDENT => Event::Incident(Incident::parse(body)?),
            T::STOP => Event::Stop,
            T::INTVAR => {
                let (kind, value) = statement::parse_intvar(body)?;
                Event::IntVar { kind, value }
            }
            T::RAND => {
                let (seed1, seed2) = statement::parse_rand(body)?;
                Event::Rand { seed1, seed2 }
            }
            T::USER_VAR => Event::UserVar(UserVar::parse(body)?),
            T::BEGIN_LOAD_QUERY => Event::BeginLoadQuery { file_id: r.u32()?, data: r.take_rest() },
            T::APPEND_BLOCK => Event::AppendBlock { file_id: r.u32()?, data: r.take_rest() },
            T::DELETE_FILE => Event::DeleteFile { file_id: r.u32()? },
            T::EXECUTE_LOAD_QUERY => Event::ExecuteLoadQuery(ExecuteLoadQuery::parse(body)?),
            T::MARIA_START_ENCRYPTION => Event::StartEncryption { scheme: r.u8()?, key_version: r.u32()? },
            T::MARIA_BINLOG_CHECKPOINT => {
                let n = r.u32()? as usize;
                Event::BinlogCheckpoint { file: r.bytes(n)? }
            }
            T::VIEW_CHANGE => Event::ViewChange,
            T::TRANSACTION_CONTEXT => Event::TransactionContext,
            other => Event::Unknown { code: other.0, ignorable: header.ignorable() },
        })
    }
}

/// HEARTBEAT_V2 (8.0.26): tagged fields, because positions past 4 GiB do not fit the header.
fn heartbeat_v2(body: &[u8]) -> Result<Event<'_>> {
    let mut r = Reader::new("HEARTBEAT_V2", body);
    let (mut file, mut pos) = (&[][..], 0);
    loop {
        match r.lenenc()? {
            0 => return Ok(Event::Heartbeat { file, pos }),
            1 => file = r.lenenc_bytes()?,
            2 => pos = Reader::new("HEARTBEAT_V2", r.lenenc_bytes()?).lenenc()?,
            _ => {
                r.lenenc_bytes()?;
            }
        }
    }
}
