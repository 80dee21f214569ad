//! The common header of all events and the event types (manual: "Event Header", "Event Types"; MariaDB knowledge
//! base: "Replication protocol").

use std::fmt;

use crate::error::{Error, Result};

/// Length of the v4 header, which every server since 5.0 writes.
pub const HEADER_LEN: usize = 19;

/// v4 event header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since 1970 when the statement began; 0 in events that the server makes for the stream only.
    pub timestamp: u32,
    pub event_type: EventType,
    pub server_id: u32,
    /// Whole event in bytes, with header and checksum.
    pub event_size: u32,
    /// Offset of the next event in the file, modulo 2³²; 0 in made-up events and inside a TRANSACTION_PAYLOAD.
    pub log_pos: u32,
    pub flags: u16,
}

impl EventHeader {
    /// Reads the header from the front of an event.
    ///
    /// # Errors
    /// Fewer than 19 bytes, or a size that cannot hold the header.
    #[inline]
    pub fn parse(raw: &[u8]) -> Result<Self> {
        // As one piece: what is written in parts and read as a whole, as a cursor's result is, stalls at every event.
        let Some([t0, t1, t2, t3, kind, i0, i1, i2, i3, s0, s1, s2, s3, p0, p1, p2, p3, f0, f1]) = raw.first_chunk()
        else {
            return Err(Error::Truncated { what: "event header", need: HEADER_LEN, have: raw.len() });
        };
        let event_size = u32::from_le_bytes([*s0, *s1, *s2, *s3]);
        if (event_size as usize) < HEADER_LEN {
            return Err(Error::Malformed { what: "event header", detail: format!("event of {event_size} bytes") });
        }
        Ok(Self {
            timestamp: u32::from_le_bytes([*t0, *t1, *t2, *t3]),
            event_type: EventType(*kind),
            server_id: u32::from_le_bytes([*i0, *i1, *i2, *i3]),
            event_size,
            log_pos: u32::from_le_bytes([*p0, *p1, *p2, *p3]),
            flags: u16::from_le_bytes([*f0, *f1]),
        })
    }

    /// LOG_EVENT_IGNORABLE_F: who does not know the type may skip the event.
    #[must_use]
    pub fn ignorable(&self) -> bool {
        self.flags & 0x80 != 0
    }

    /// LOG_EVENT_ARTIFICIAL_F: made for this stream, stands in no file.
    #[must_use]
    pub fn artificial(&self) -> bool {
        self.flags & 0x20 != 0
    }

    /// LOG_EVENT_RELAY_LOG_F: made by the replica for its relay log; its position is one there, not in the source's log.
    #[must_use]
    pub fn relay(&self) -> bool {
        self.flags & 0x40 != 0
    }

    /// Offset in the file where the event ends, of which `log_pos` has only 32 bits: files may be larger. `before` is a place
    /// in the file at or before the end, by less than 4 GiB. Not for events whose `log_pos` is no place of this file: those
    /// made up, or made by a replica.
    #[must_use]
    pub fn end_pos(&self, before: u64) -> u64 {
        let end = before & !0xffff_ffff | u64::from(self.log_pos);
        if end < before { end + (1 << 32) } else { end }
    }
}

/// Type byte of an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(pub u8);

macro_rules! event_types {
    ($($name:ident = $code:literal,)*) => {
        impl EventType {
            $(pub const $name: Self = Self($code);)*

            /// The server's name of the type, if it is one of those known.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

event_types! {
    UNKNOWN = 0,
    START_V3 = 1,
    QUERY = 2,
    STOP = 3,
    ROTATE = 4,
    INTVAR = 5,
    LOAD = 6,
    SLAVE = 7,
    CREATE_FILE = 8,
    APPEND_BLOCK = 9,
    EXEC_LOAD = 10,
    DELETE_FILE = 11,
    NEW_LOAD = 12,
    RAND = 13,
    USER_VAR = 14,
    FORMAT_DESCRIPTION = 15,
    XID = 16,
    BEGIN_LOAD_QUERY = 17,
    EXECUTE_LOAD_QUERY = 18,
    TABLE_MAP = 19,
    WRITE_ROWS_V0 = 20,
    UPDATE_ROWS_V0 = 21,
    DELETE_ROWS_V0 = 22,
    WRITE_ROWS_V1 = 23,
    UPDATE_ROWS_V1 = 24,
    DELETE_ROWS_V1 = 25,
    INCIDENT = 26,
    HEARTBEAT = 27,
    IGNORABLE = 28,
    ROWS_QUERY = 29,
    WRITE_ROWS = 30,
    UPDATE_ROWS = 31,
    DELETE_ROWS = 32,
    GTID = 33,
    ANONYMOUS_GTID = 34,
    PREVIOUS_GTIDS = 35,
    TRANSACTION_CONTEXT = 36,
    VIEW_CHANGE = 37,
    XA_PREPARE = 38,
    PARTIAL_UPDATE_ROWS = 39,
    TRANSACTION_PAYLOAD = 40,
    HEARTBEAT_V2 = 41,
    GTID_TAGGED = 42,
    MARIA_ANNOTATE_ROWS = 160,
    MARIA_BINLOG_CHECKPOINT = 161,
    MARIA_GTID = 162,
    MARIA_GTID_LIST = 163,
    MARIA_START_ENCRYPTION = 164,
    MARIA_QUERY_COMPRESSED = 165,
    MARIA_WRITE_ROWS_COMPRESSED_V1 = 166,
    MARIA_UPDATE_ROWS_COMPRESSED_V1 = 167,
    MARIA_DELETE_ROWS_COMPRESSED_V1 = 168,
    MARIA_WRITE_ROWS_COMPRESSED = 169,
    MARIA_UPDATE_ROWS_COMPRESSED = 170,
    MARIA_DELETE_ROWS_COMPRESSED = 171,
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "event type {}", self.0),
        }
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
