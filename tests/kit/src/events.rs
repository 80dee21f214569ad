//! Events of a MySQL log made by hand, for what no server writes. They have no checksums; [`format_description`] says so.

pub const QUERY: u8 = 2;
pub const ROTATE: u8 = 4;
pub const FORMAT_DESCRIPTION: u8 = 15;
pub const XID: u8 = 16;
pub const TABLE_MAP: u8 = 19;
pub const WRITE_ROWS: u8 = 30;
pub const TRANSACTION_PAYLOAD: u8 = 40;

/// What a log file begins with.
pub const MAGIC: &[u8] = b"\xfebin";

/// An event, its size in its header.
pub fn event(kind: u8, flags: u16, log_pos: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.push(kind);
    out.extend_from_slice(&7_u32.to_le_bytes());
    out.extend_from_slice(&(19 + body.len() as u32).to_le_bytes());
    out.extend_from_slice(&log_pos.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(body);
    out
}

/// The ROTATE that a server makes up at the start of a dump.
pub fn rotate(file: &str) -> Vec<u8> {
    const ARTIFICIAL: u16 = 0x20;
    event(ROTATE, ARTIFICIAL, 0, &[&4_u64.to_le_bytes()[..], file.as_bytes()].concat())
}

/// MySQL 9.7's, as the first event of a file.
pub fn format_description() -> Vec<u8> {
    let mut body = vec![4, 0];
    let mut version = b"9.7.4".to_vec();
    version.resize(50, 0);
    body.extend_from_slice(&version);
    body.extend_from_slice(&[0, 0, 0, 0, 19]);
    body.extend_from_slice(&[
        0, 13, 0, 8, 0, 0, 0, 0, 4, 0, 4, 0, 0, 0, 98, 0, 4, 26, 8, 0, 0, 0, 8, 8, 8, 2, 0, 0, 0, 10, 10, 10, 42, 42,
        0, 18, 52, 0, 10, 40, 0, 0,
    ]);
    body.extend_from_slice(&[0; 5]);
    let end = 4 + 19 + body.len() as u32;
    event(FORMAT_DESCRIPTION, 0, end, &body)
}

/// `BEGIN`.
pub fn begin() -> Vec<u8> {
    query("BEGIN")
}

/// A statement, without a database of its session.
pub fn query(sql: &str) -> Vec<u8> {
    event(QUERY, 0, 0, &[&[0; 14][..], sql.as_bytes()].concat())
}

/// Gives a table map or rows event another table id.
pub fn of_table(id: u32, mut event: Vec<u8>) -> Vec<u8> {
    event[19..23].copy_from_slice(&id.to_le_bytes());
    event
}

/// Of `it.t (id INT PRIMARY KEY, pad LONGBLOB)`, with names; its table id is 9.
pub fn table_map() -> Vec<u8> {
    let mut body = b"\x09\0\0\0\0\0\x01\0\x02it\0\x01t\0".to_vec();
    // Two columns, their types, four length bytes of the second, which may be NULL.
    body.extend_from_slice(&[2, 3, 252, 1, 4, 0b10]);
    // The first is signed; the second binary; names; the primary key.
    body.extend_from_slice(b"\x01\x01\0\x02\x01\x3f\x04\x07\x02id\x03pad\x08\x01\0");
    event(TABLE_MAP, 0, 0, &body)
}

/// Rows of [`table_map`]'s table, all with the same id and pad.
pub fn write_rows(rows: usize, id: u32, pad: &[u8]) -> Vec<u8> {
    let mut body = b"\x09\0\0\0\0\0\x01\0\x02\0\x02\xff".to_vec();
    for _ in 0..rows {
        body.push(0);
        body.extend_from_slice(&id.to_le_bytes());
        body.extend_from_slice(&(pad.len() as u32).to_le_bytes());
        body.extend_from_slice(pad);
    }
    event(WRITE_ROWS, 0, 0, &body)
}

/// The commit.
pub fn xid() -> Vec<u8> {
    event(XID, 0, 0, &[1; 8])
}

/// A transaction compressed by zstd to `data`, that claims to be of `size` bytes.
pub fn payload(data: &[u8], size: u64) -> Vec<u8> {
    let mut body = vec![2, 1, 0, 3, 9, 0xFE];
    body.extend_from_slice(&size.to_le_bytes());
    body.extend_from_slice(&[1, 9, 0xFE]);
    body.extend_from_slice(&(data.len() as u64).to_le_bytes());
    body.push(0);
    body.extend_from_slice(data);
    event(TRANSACTION_PAYLOAD, 0, 0, &body)
}
