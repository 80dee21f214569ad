//! Writers of binary log events, byte for byte as MySQL 8 writes them (manual: "Binary Log Event", v4 with CRC32).
//!
//! A body does not depend on where it stands; [`frame`] adds header and checksum when a server sends it.

use binlog::gtid::{MySqlGtidSet, Uuid};

pub(crate) const HEADER: usize = 19;
pub(crate) const CHECKSUM: usize = 4;

pub(crate) const QUERY: u8 = 2;
pub(crate) const ROTATE: u8 = 4;
pub(crate) const FORMAT_DESCRIPTION: u8 = 15;
pub(crate) const XID: u8 = 16;
pub(crate) const TABLE_MAP: u8 = 19;
pub(crate) const HEARTBEAT: u8 = 27;
pub(crate) const WRITE_ROWS: u8 = 30;
pub(crate) const UPDATE_ROWS: u8 = 31;
pub(crate) const DELETE_ROWS: u8 = 32;
pub(crate) const GTID: u8 = 33;
pub(crate) const ANONYMOUS_GTID: u8 = 34;
pub(crate) const PREVIOUS_GTIDS: u8 = 35;
pub(crate) const XA_PREPARE: u8 = 38;

const ARTIFICIAL: u16 = 0x20;

/// Type code and body of an event.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) code: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Body {
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        (HEADER + self.bytes.len() + CHECKSUM) as u64
    }
}

/// One cell of a row image.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Int(i32),
    BigInt(i64),
    Text(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Int,
    BigInt,
    LongText,
}

#[derive(Clone, Debug)]
pub(crate) struct ColumnDef {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
}

/// A whole event; `end` is the offset after it, 0 for one that is made up for a connection.
pub(crate) fn frame(body: &Body, timestamp: u32, server_id: u32, end: u64, into: &mut Vec<u8>) {
    let start = into.len();
    let flags = if end == 0 && body.code != HEARTBEAT { ARTIFICIAL } else { 0 };
    into.extend_from_slice(&timestamp.to_le_bytes());
    into.push(body.code);
    into.extend_from_slice(&server_id.to_le_bytes());
    into.extend_from_slice(&(body.size() as u32).to_le_bytes());
    into.extend_from_slice(&(end as u32).to_le_bytes());
    into.extend_from_slice(&flags.to_le_bytes());
    into.extend_from_slice(&body.bytes);
    let crc = crc32fast::hash(&into[start..]);
    into.extend_from_slice(&crc.to_le_bytes());
}

#[must_use]
pub(crate) fn format_description() -> Body {
    const POST_HEADERS: [u8; 41] = [
        0, 13, 0, 8, 0, 0, 0, 0, 4, 0, 4, 0, 0, 0, 98, 0, 4, 26, 8, 0, 0, 0, 8, 8, 8, 2, 0, 0, 0, 10, 10, 10, 42, 42,
        0, 18, 52, 0, 10, 40, 0,
    ];
    let mut version = [0u8; 50];
    version[..6].copy_from_slice(b"8.0.43");
    let mut bytes = vec![4, 0];
    bytes.extend_from_slice(&version);
    bytes.extend_from_slice(&0u32.to_le_bytes());
    bytes.push(HEADER as u8);
    bytes.extend_from_slice(&POST_HEADERS);
    bytes.push(1); // CRC32
    Body { code: FORMAT_DESCRIPTION, bytes }
}

#[must_use]
pub(crate) fn rotate(file: &str, pos: u64) -> Body {
    let mut bytes = pos.to_le_bytes().to_vec();
    bytes.extend_from_slice(file.as_bytes());
    Body { code: ROTATE, bytes }
}

#[must_use]
pub(crate) fn previous_gtids(set: &MySqlGtidSet) -> Body {
    Body { code: PREVIOUS_GTIDS, bytes: set.encode() }
}

#[must_use]
pub(crate) fn heartbeat(file: &str) -> Body {
    Body { code: HEARTBEAT, bytes: file.as_bytes().to_vec() }
}

/// GTID, or ANONYMOUS_GTID without one.
#[must_use]
pub(crate) fn gtid(gtid: Option<(Uuid, u64)>, commit_us: u64, ordinal: u64) -> Body {
    let (uuid, gno) = gtid.unwrap_or_default();
    let mut bytes = vec![1];
    bytes.extend_from_slice(&uuid);
    bytes.extend_from_slice(&gno.to_le_bytes());
    bytes.push(2);
    bytes.extend_from_slice(&ordinal.to_le_bytes());
    bytes.extend_from_slice(&(ordinal + 1).to_le_bytes());
    bytes.extend_from_slice(&commit_us.to_le_bytes()[..7]);
    bytes.push(200);
    bytes.extend_from_slice(&80_043u32.to_le_bytes());
    Body { code: if gno == 0 { ANONYMOUS_GTID } else { GTID }, bytes }
}

#[must_use]
pub(crate) fn query(database: &str, sql: &str) -> Body {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&7u32.to_le_bytes());
    bytes.extend_from_slice(&0u32.to_le_bytes());
    bytes.push(database.len() as u8);
    bytes.extend_from_slice(&0u16.to_le_bytes());
    bytes.extend_from_slice(&0u16.to_le_bytes());
    bytes.extend_from_slice(database.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(sql.as_bytes());
    Body { code: QUERY, bytes }
}

#[must_use]
pub(crate) fn xid(id: u64) -> Body {
    Body { code: XID, bytes: id.to_le_bytes().to_vec() }
}

#[must_use]
pub(crate) fn xa_prepare(gtrid: &[u8]) -> Body {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&(gtrid.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&0u32.to_le_bytes());
    bytes.extend_from_slice(gtrid);
    Body { code: XA_PREPARE, bytes }
}

/// The xid as QUERY events write it.
#[must_use]
pub(crate) fn xid_text(gtrid: &[u8]) -> String {
    let hex: String = gtrid.iter().map(|b| format!("{b:02x}")).collect();
    format!("X'{hex}',X'',1")
}

/// With full metadata: signs, character set, names, primary key (column 0).
#[must_use]
pub(crate) fn table_map(id: u64, database: &str, table: &str, columns: &[ColumnDef]) -> Body {
    let mut b = id.to_le_bytes()[..6].to_vec();
    b.extend_from_slice(&1u16.to_le_bytes());
    for name in [database, table] {
        b.push(name.len() as u8);
        b.extend_from_slice(name.as_bytes());
        b.push(0);
    }
    b.push(columns.len() as u8);
    let mut metadata = Vec::new();
    for column in columns {
        b.push(match column.kind {
            ColumnKind::Int => 3,
            ColumnKind::BigInt => 8,
            ColumnKind::LongText => {
                metadata.push(4);
                252
            }
        });
    }
    b.push(metadata.len() as u8);
    b.extend_from_slice(&metadata);
    let mut nullable = vec![0xffu8; columns.len().div_ceil(8)];
    nullable[0] &= !1;
    b.extend_from_slice(&nullable);
    let numeric = columns.iter().filter(|c| c.kind != ColumnKind::LongText).count();
    let mut field = |kind: u8, bytes: &[u8]| {
        b.push(kind);
        b.push(bytes.len() as u8);
        b.extend_from_slice(bytes);
    };
    field(1, &vec![0; numeric.div_ceil(8)]);
    field(2, &[252, 255, 0]); // utf8mb4_0900_ai_ci is 255, beyond one byte
    let mut names = Vec::new();
    for column in columns {
        names.push(column.name.len() as u8);
        names.extend_from_slice(column.name.as_bytes());
    }
    field(4, &names);
    field(8, &[0]);
    Body { code: TABLE_MAP, bytes: b }
}

/// A v2 rows event; per row the images that its kind has.
#[must_use]
pub(crate) fn rows(code: u8, table_id: u64, columns: usize, images: &[Vec<Value>]) -> Body {
    let mut b = table_id.to_le_bytes()[..6].to_vec();
    b.extend_from_slice(&1u16.to_le_bytes());
    b.extend_from_slice(&2u16.to_le_bytes());
    b.push(columns as u8);
    let mut present = vec![0u8; columns.div_ceil(8)];
    for i in 0..columns {
        present[i / 8] |= 1 << (i % 8);
    }
    b.extend_from_slice(&present);
    if code == UPDATE_ROWS {
        b.extend_from_slice(&present);
    }
    for image in images {
        let mut nulls = vec![0u8; columns.div_ceil(8)];
        for (i, value) in image.iter().enumerate() {
            if matches!(value, Value::Null) {
                nulls[i / 8] |= 1 << (i % 8);
            }
        }
        b.extend_from_slice(&nulls);
        for value in image {
            match value {
                Value::Null => {}
                Value::Int(v) => b.extend_from_slice(&v.to_le_bytes()),
                Value::BigInt(v) => b.extend_from_slice(&v.to_le_bytes()),
                Value::Text(v) => {
                    b.extend_from_slice(&(v.len() as u32).to_le_bytes());
                    b.extend_from_slice(v);
                }
            }
        }
    }
    Body { code, bytes: b }
}
