//! Tables and rows made by hand, for what measures decoding.

use binlog::charset::Charset;
use binlog::schema::{Column, ColumnType as C, SchemaSource, Table};

/// A table and one row of it, as it stands in a rows event behind its NULL bits.
pub(crate) struct Made {
    pub(crate) table: Table,
    pub(crate) row: Vec<u8>,
}

impl Made {
    fn new(types: &[(C, Charset)], row: Vec<u8>) -> Made {
        let columns = types.iter().enumerate().map(|(i, (ty, charset))| Column {
            unsigned: i % 2 == 1,
            key_part: (i == 0).then_some(0),
            ..Column::new(format!("c{i}"), *ty, *charset)
        });
        Made { table: Table::new("bench".into(), "t".into(), columns.collect(), SchemaSource::Log), row }
    }

    /// `id BIGINT, k INT, c CHAR(120), pad CHAR(60)`, utf8mb4.
    pub(crate) fn bulk() -> Made {
        let (text, binary) = (Charset::Utf8mb4, Charset::Binary);
        let types = [
            (C::LongLong, binary),
            (C::Long, binary),
            (C::Char { max_bytes: 480 }, text),
            (C::Char { max_bytes: 240 }, text),
        ];
        let mut row = vec![7; 12];
        row.extend([120, 0]);
        row.extend([b'c'; 120]);
        row.push(60);
        row.extend([b'p'; 60]);
        Made::new(&types, row)
    }

    /// 30 columns of ten types.
    pub(crate) fn mixed() -> Made {
        let (text, binary) = (Charset::Utf8mb4, Charset::Binary);
        let mixed = [
            (C::LongLong, binary, &[1; 8][..]),
            (C::Long, binary, &[1; 4]),
            (C::Short, binary, &[1; 2]),
            (C::Tiny, binary, &[1]),
            (C::Decimal { precision: 10, scale: 2 }, binary, &[0x80, 0, 0, 5, 0]),
            (C::DateTime { fsp: 0 }, binary, &[0x99, 0xb3, 0x46, 0x51, 0x1e]),
            (C::Timestamp { fsp: 3 }, binary, &[0x66, 0, 0, 0, 0, 10]),
            (C::VarChar { max_bytes: 80 }, text, b"\x0chello worlds"),
            (C::Double, binary, &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f]),
            (C::Date, binary, &[0x21, 0xd0, 0x0f]),
        ];
        let (mut types, mut row) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            for (ty, charset, bytes) in mixed {
                types.push((ty, charset));
                row.extend(bytes);
            }
        }
        Made::new(&types, row)
    }

    /// A WRITE_ROWS event, as servers write them, without checksum.
    pub(crate) fn event(&self, rows: usize) -> Vec<u8> {
        let columns = self.table.columns.len();
        let mut raw = vec![0; 19];
        raw[4] = 30;
        raw.extend([1, 0, 0, 0, 0, 0, 1, 0, 2, 0, columns as u8]);
        raw.resize(raw.len() + columns.div_ceil(8), 0xff);
        for _ in 0..rows {
            raw.resize(raw.len() + columns.div_ceil(8), 0);
            raw.extend(&self.row);
        }
        let size = raw.len() as u32;
        raw[9..13].copy_from_slice(&size.to_le_bytes());
        raw
    }
}
