use super::*;
use crate::charset::Charset;
use crate::schema::{Column, ColumnType as C, SchemaSource};

fn table(types: &[C]) -> Table {
    let column = |(index, ty): (usize, &C)| Column::new(format!("@{index}"), *ty, Charset::Utf8mb4);
    Table::new("d".into(), "t".into(), types.iter().enumerate().map(column).collect(), SchemaSource::Unnamed)
}

fn event(kind: EventType, columns: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 2, 0, columns];
    body.extend(rest);
    // Kinds of version 1 have no extra information.
    if kind.0 < 30 {
        body.drain(8..10);
    }
    body
}

type Images<'a> = Vec<(Vec<Cell<'a>>, Vec<Cell<'a>>)>;

fn read<'a>(body: &'a [u8], kind: EventType, table: &Table) -> Result<Images<'a>> {
    let format = if kind.0 < 30 { RowsFormat::V1 } else { RowsFormat::V2 };
    let event = RowsEvent::parse(body, kind, format, 6)?;
    let (mut reader, mut rows) = (event.reader(table)?, Vec::new());
    loop {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        if !reader.next(&mut before, &mut after)? {
            return Ok(rows);
        }
        rows.push((before, after));
    }
}

#[test]
fn absent_is_not_null() {
    let table = table(&[C::Tiny, C::Short, C::Int24]);
    // Columns 0 and 2 before, 1 and 2 after; the after-image's second column is NULL.
    let body = event(EventType::UPDATE_ROWS, 3, &[0b101, 0b110, 0, 0xff, 1, 0, 0x80, 0b10, 0xfe, 0xff]);
    let rows = read(&body, EventType::UPDATE_ROWS, &table).unwrap();
    let before = vec![Cell::Int(-1), Cell::Absent, Cell::Int(-0x7f_ffff)];
    assert_eq!(rows, [(before, vec![Cell::Absent, Cell::Int(-2), Cell::Null])]);
}

#[test]
fn several_rows_of_version_one() {
    let table = table(&[C::Tiny, C::VarChar { max_bytes: 300 }]);
    let body = event(EventType::WRITE_ROWS_V1, 2, &[0b11, 0, 1, 2, 0, b'a', b'b', 0b10, 2]);
    let rows = read(&body, EventType::WRITE_ROWS_V1, &table).unwrap();
    assert_eq!(rows[0].1, [Cell::Int(1), Cell::Text(b"ab")]);
    assert_eq!(rows[1].1, [Cell::Int(2), Cell::Null]);
    assert!(rows.iter().all(|(before, _)| before.is_empty()));
}

#[test]
fn partial_images_have_a_bit_for_every_json_column() {
    let json = C::Json { length_bytes: 4 };
    let table = table(&[C::Tiny, json, json]);
    // The first JSON column is not in the after-image; the second is a diff of one byte.
    let tail = [0b111, 0b101, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 4, 1, 0b10, 0, 1, 1, 0, 0, 0, 7];
    let body = event(EventType::PARTIAL_UPDATE_ROWS, 3, &tail);
    let rows = read(&body, EventType::PARTIAL_UPDATE_ROWS, &table).unwrap();
    assert_eq!(rows[0].0, [Cell::Int(1), Cell::Json(&[]), Cell::Json(&[4])]);
    assert_eq!(rows[0].1, [Cell::Int(1), Cell::Absent, Cell::JsonDiff(&[7])]);
}

#[test]
fn rows_that_cannot_be_read_are_named() {
    let tiny = table(&[C::Tiny]);
    let short = event(EventType::WRITE_ROWS, 1, &[1, 0]);
    assert!(matches!(read(&short, EventType::WRITE_ROWS, &tiny), Err(Error::Truncated { .. })));
    // A row without columns would never end.
    let endless = event(EventType::WRITE_ROWS, 1, &[0, 0]);
    assert!(matches!(read(&endless, EventType::WRITE_ROWS, &tiny), Err(Error::Malformed { .. })));
    let two = event(EventType::WRITE_ROWS, 2, &[3, 0, 1, 1]);
    assert!(matches!(read(&two, EventType::WRITE_ROWS, &tiny), Err(Error::Malformed { .. })));
    let unknown = table(&[C::Unsupported { code: 20 }]);
    let row = event(EventType::WRITE_ROWS, 1, &[1, 0, 1]);
    let error = read(&row, EventType::WRITE_ROWS, &unknown).unwrap_err();
    assert_eq!(error.to_string(), "column type 20 is not supported");
    let compressed = table(&[C::BlobCompressed { length_bytes: 1 }]);
    let row = event(EventType::WRITE_ROWS, 1, &[1, 0, 2, 0x81, 1]);
    let error = read(&row, EventType::WRITE_ROWS, &compressed).unwrap_err();
    assert_eq!(error.to_string(), "compressed value of column 1 is not supported");
}

/// Laid out as 5.1.17 logged rows of (INT, CHAR(50)): 0xf9 has the bit of a table with rows of fixed length, those of the
/// two columns, and unused ones. An update has one bitmap of columns; a NULL has a value, too.
#[test]
fn version_zero() {
    let fixed = table(&[C::Long, C::Char { max_bytes: 50 }]);
    let body = b"\x10\0\0\0\0\0\x01\0\x02\xff\xf9\x07\0\0\0\x02ab\xfb\0\0\0\0\x03abc";
    let read = |body, kind, table| -> Result<_> {
        let event = RowsEvent::parse(body, kind, RowsFormat::V0, 6)?;
        let (mut reader, mut skipper) = (event.reader(table)?, event.reader(table)?);
        let (mut before, mut after, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        while reader.next(&mut before, &mut after)? {
            assert_eq!(skipper.skip(), Ok(true));
            rows.push((before.clone(), after.clone()));
        }
        assert_eq!(skipper.skip(), Ok(false));
        Ok(rows)
    };
    let (old, new) = (vec![Cell::Int(7), Cell::Text(b"ab")], vec![Cell::Null, Cell::Text(b"abc")]);
    let two = [(vec![], old.clone()), (vec![], new.clone())];
    assert_eq!(read(body, EventType::WRITE_ROWS_V0, &fixed).unwrap(), two);
    assert_eq!(read(body, EventType::UPDATE_ROWS_V0, &fixed).unwrap(), [(old.clone(), new)]);
    assert_eq!(read(&body[..18], EventType::DELETE_ROWS_V0, &fixed).unwrap(), [(old, vec![])]);
    for cut in 11..18 {
        assert!(read(&body[..cut], EventType::DELETE_ROWS_V0, &fixed).is_err());
    }
    // Rows of no fixed length have no bit of their own, columns that are never NULL none at all.
    let variable = table(&[C::Tiny, C::VarChar { max_bytes: 9 }]);
    let body = b"\x10\0\0\0\0\0\x01\0\x02\xff\xfe\x07\0\xfd\x08\x01x";
    let rows = read(body, EventType::WRITE_ROWS_V0, &variable).unwrap();
    assert_eq!([&rows[0].1[..], &rows[1].1], [[Cell::Int(7), Cell::Null], [Cell::Null, Cell::Text(b"x")]]);
    let mut columns = variable.columns.clone();
    columns.iter_mut().for_each(|column| column.nullable = false);
    let never = Table::new("d".into(), "t".into(), columns, SchemaSource::Unnamed);
    let body = b"\x10\0\0\0\0\0\x01\0\x02\xff\x07\x01x";
    assert_eq!(read(body, EventType::WRITE_ROWS_V0, &never).unwrap()[0].1, [Cell::Int(7), Cell::Text(b"x")]);
    assert!(read(body, EventType::WRITE_ROWS_V0, &table(&[C::Tiny, C::Bit { bits: 9 }])).is_err());
}

#[test]
fn extra_information() {
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 9, 0, 0, 3, 1, 9, 1, 5, 0];
    // NDB part of 3 bytes with its length, then partition 5.
    body[11..14].copy_from_slice(&[3, 1, 9]);
    body.extend([1, 1, 0, 1]);
    body[8] = (2 + 7) as u8;
    let event = RowsEvent::parse(&body, EventType::WRITE_ROWS, RowsFormat::V2, 6).unwrap();
    assert!(event.columns.len() == 1 && !event.is_dummy());
}

#[test]
fn bitmaps_ignore_unused_bits() {
    let bitmap = Bitmap { bits: &[0xff, 0xff], len: 9 };
    assert_eq!((bitmap.count(), bitmap.get(8), bitmap.get(9)), (9, true, false));
    assert_eq!(Bitmap { bits: &[], len: 0 }.count(), 0);
}

#[test]
fn a_cell_is_small() {
    assert_eq!(size_of::<Option<Cell<'_>>>(), 32);
}
