//! The promises that `row_batch.proto` makes to hand encoders, held against the generated types.

use prost::Message;

use crate::v1::{Block, ColumnType, Op, Row, RowBatch, Value, value::Kind};

/// Bytes as a hand encoder writes them: a padded length prefix, and a schema between two blocks.
#[test]
fn padded_lengths_and_interleaved_lists_decode() {
    let row: &[u8] = &[
        0x08, 0x01, // op INSERT
        0x1a, 0x02, 0x10, 0x2a, // after[0] = int 21
        0x1a, 0x00, // after[1] absent
        0x1a, 0x02, 0x08, 0x01, // after[2] null
        0x1a, 0x04, 0x32, 0x02, b'h', b'i', // after[3] text
        0x20, 0x05, 0x28, 0x06, // event 5, row 6
    ];
    let row_len = u8::try_from(row.len()).unwrap();
    let block = [&[0x1a, 0x80 | row_len, 0x80, 0x80, 0x00][..], row].concat();
    let block_len = u8::try_from(block.len()).unwrap();
    let schema: &[u8] = &[0x0a, 0x0c, 0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0x1a, 0x01, b't'];
    let bytes = [schema, &[0x1a, 0x80 | block_len, 0x80, 0x00], &block, schema, &[0x1a, 0x02, 0x08, 0x01]].concat();

    let batch = RowBatch::decode(bytes.as_slice()).unwrap();
    assert_eq!(batch.schemas.len(), 2);
    assert_eq!((batch.schemas[0].hash, batch.schemas[0].table.as_str()), (1, "t"));
    let value = |kind| Value { kind };
    let row = Row {
        op: Op::Insert.into(),
        after: vec![
            value(Some(Kind::Int(21))),
            value(None),
            value(Some(Kind::Null(true))),
            value(Some(Kind::Text("hi".into()))),
        ],
        event: 5,
        row: 6,
        ..Row::default()
    };
    assert_eq!(batch.blocks, [Block { rows: vec![row], ..Block::default() }, Block { schema: 1, ..Block::default() }]);
}

/// Numbers are the contract with readers in other languages and with stored topics.
#[test]
fn enum_numbers_are_fixed() {
    assert_eq!((Op::Insert as i32, Op::Update as i32, Op::Delete as i32), (1, 2, 3));
    assert_eq!((ColumnType::Tinyint as i32, ColumnType::Inet4 as i32), (1, 28));
    for code in 0..=25 {
        assert!(ColumnType::try_from(code).is_ok(), "{code}");
    }
}

#[test]
fn absent_is_not_null() {
    let absent = Value::default().encode_to_vec();
    let null = Value { kind: Some(Kind::Null(true)) }.encode_to_vec();
    assert_eq!((absent.as_slice(), null.as_slice()), (&[][..], &[0x08, 0x01][..]));
    assert_eq!(Value::decode(&absent[..]).unwrap().kind, None);
    assert_eq!(Value::decode(&null[..]).unwrap().kind, Some(Kind::Null(true)));
}
