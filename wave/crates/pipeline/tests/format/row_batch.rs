//! The hand encoder against the generated types, and the reader.

use binlake_pipeline::format::row_batch::{BatchBuilder, Plan, encode_ddl, encode_transaction};
use binlake_pipeline::format::row_batch_read::{Change, ReadError, changes, decode};
use binlake_pipeline::format::text::Style;
use binlake_pipeline::format::{DdlView, Op, RowView, Transaction};
use binlog::Cell;
use binlog::charset::Charset;
use binlog::schema::{Column, ColumnType, Table};
use binlog::temporal::{Date, DateTime, Time, Timestamp};
use proptest::prelude::*;
use prost::Message;
use proto::v1::{self, value::Kind};

use crate::log::{Item, visit};
use crate::tables::{DIFF, DOCUMENT, column, key, labelled, row, table, txn};
use crate::{LOG, LOG_FILE};

/// An owned cell, from which a borrowed one and the expected message member are made.
#[derive(Clone, Debug)]
enum Owned {
    Absent,
    Null,
    Int(i64),
    UInt(u64),
    Bit(u64),
    Year(u16),
    Float(f32),
    Double(f64),
    Text(String),
    BrokenText(Vec<u8>),
    Bytes(Vec<u8>),
    Binary(Vec<u8>),
    Inet4(Vec<u8>),
    Enum(u16),
    Set(u64),
    Date(Date),
    Time(Time),
    DateTime(DateTime),
    Timestamp(Timestamp),
    JsonInt(i16),
    JsonDiff(Vec<u8>),
    Geometry(Vec<u8>),
}

const BINARY_LEN: u16 = 200;

impl Owned {
    fn column(&self, name: &str) -> Column {
        let plain = |ty| column(name, ty, Charset::Binary);
        match self {
            Owned::Text(_) | Owned::BrokenText(_) => {
                column(name, ColumnType::VarChar { max_bytes: 400 }, Charset::Utf8mb4)
            }
            Owned::Bytes(_) => plain(ColumnType::Blob { length_bytes: 4 }),
            Owned::Binary(_) => plain(ColumnType::Char { max_bytes: BINARY_LEN }),
            Owned::Inet4(_) => plain(ColumnType::Inet4),
            Owned::Enum(_) => labelled(name, ColumnType::Enum { bytes: 1 }, &["a", "b"]),
            Owned::Set(_) => labelled(name, ColumnType::Set { bytes: 1 }, &["a", "b", "c"]),
            Owned::Date(_) => plain(ColumnType::Date),
            Owned::Time(_) => plain(ColumnType::Time { fsp: 6 }),
            Owned::DateTime(_) => plain(ColumnType::DateTime { fsp: 3 }),
            Owned::Timestamp(_) => plain(ColumnType::Timestamp { fsp: 0 }),
            Owned::JsonInt(_) | Owned::JsonDiff(_) => plain(ColumnType::Json { length_bytes: 4 }),
            Owned::Geometry(_) => plain(ColumnType::Geometry { length_bytes: 4 }),
            Owned::Bit(_) => plain(ColumnType::Bit { bits: 64 }),
            Owned::Year(_) => plain(ColumnType::Year),
            Owned::Float(_) => plain(ColumnType::Float),
            Owned::Double(_) => plain(ColumnType::Double),
            Owned::Absent | Owned::Null | Owned::Int(_) | Owned::UInt(_) => plain(ColumnType::LongLong),
        }
    }

    fn cell<'a>(&'a self, json: &'a [u8]) -> Cell<'a> {
        match self {
            Owned::Absent => Cell::Absent,
            Owned::Null => Cell::Null,
            Owned::Int(v) => Cell::Int(*v),
            Owned::UInt(v) => Cell::UInt(*v),
            Owned::Bit(v) => Cell::Bit(*v),
            Owned::Year(v) => Cell::Year(*v),
            Owned::Float(v) => Cell::Float(*v),
            Owned::Double(v) => Cell::Double(*v),
            Owned::Text(v) => Cell::Text(v.as_bytes()),
            Owned::BrokenText(v) => Cell::Text(v),
            Owned::Bytes(v) | Owned::Binary(v) => Cell::Bytes(v),
            Owned::Inet4(v) => Cell::FixedBinary(v),
            Owned::Enum(v) => Cell::Enum(*v),
            Owned::Set(v) => Cell::Set(*v),
            Owned::Date(v) => Cell::Date(*v),
            Owned::Time(v) => Cell::Time(*v),
            Owned::DateTime(v) => Cell::DateTime(*v),
            Owned::Timestamp(v) => Cell::Timestamp(*v),
            Owned::JsonInt(_) => Cell::Json(json),
            Owned::JsonDiff(v) => Cell::JsonDiff(v),
            Owned::Geometry(v) => Cell::Geometry(v),
        }
    }

    fn json(&self) -> Vec<u8> {
        match self {
            Owned::JsonInt(v) => [&[5][..], &v.to_le_bytes()].concat(),
            _ => Vec::new(),
        }
    }

    fn expected(&self) -> v1::Value {
        let kind = match self {
            Owned::Absent => return v1::Value { kind: None },
            Owned::Null => Kind::Null(true),
            Owned::Int(v) => Kind::Int(*v),
            Owned::Float(v) => Kind::Float(*v),
            Owned::Double(v) => Kind::Double(*v),
            Owned::Text(v) => Kind::Text(v.clone()),
            Owned::BrokenText(v) | Owned::Bytes(v) | Owned::Geometry(v) => Kind::Bytes(v.clone()),
            Owned::Binary(v) => {
                let mut padded = v.clone();
                padded.resize(usize::from(BINARY_LEN), 0);
                Kind::Bytes(padded)
            }
            Owned::Inet4(v) => {
                let number = |i| v.get(i).copied().unwrap_or(0u8);
                Kind::Text(format!("{}.{}.{}.{}", number(0), number(1), number(2), number(3)))
            }
            Owned::Enum(1) => Kind::Text("a".into()),
            Owned::Enum(2) => Kind::Text("b".into()),
            Owned::Enum(v) | Owned::Year(v) => Kind::Uint(u64::from(*v)),
            Owned::Set(v @ 0..=7) => {
                let labels: Vec<_> =
                    ["a", "b", "c"].into_iter().enumerate().filter(|(i, _)| v >> i & 1 == 1).map(|(_, l)| l).collect();
                Kind::Text(labels.join(","))
            }
            Owned::Set(v) | Owned::UInt(v) | Owned::Bit(v) => Kind::Uint(*v),
            Owned::Date(d) => Kind::Text(format!("{:04}-{:02}-{:02}", d.year, d.month, d.day)),
            Owned::Time(t) => Kind::Text(format!(
                "{}{:02}:{:02}:{:02}.{:06}",
                if t.negative { "-" } else { "" },
                t.hour,
                t.minute,
                t.second,
                t.micros
            )),
            Owned::DateTime(d) => Kind::Text(format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}",
                d.year,
                d.month,
                d.day,
                d.hour,
                d.minute,
                d.second,
                d.micros / 1000
            )),
            Owned::Timestamp(_) => Kind::Text("0000-00-00 00:00:00".into()),
            Owned::JsonInt(v) => Kind::Text(v.to_string()),
            Owned::JsonDiff(v) => Kind::JsonDiff(v.clone()),
        };
        v1::Value { kind: Some(kind) }
    }
}

prop_compose! {
    fn any_datetime()(year in 0u16..10_000, month in 0u8..13, day in 0u8..32, hour in 0u8..24, minute in 0u8..60,
                      second in 0u8..60, micros in 0u32..1_000_000) -> DateTime {
        DateTime { year, month, day, hour, minute, second, micros }
    }
}

fn any_owned() -> impl Strategy<Value = Owned> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        Just(Owned::Absent),
        Just(Owned::Null),
        any::<i64>().prop_map(Owned::Int),
        any::<u64>().prop_map(Owned::UInt),
        any::<u64>().prop_map(Owned::Bit),
        any::<u16>().prop_map(Owned::Year),
        prop::num::f32::NORMAL.prop_map(Owned::Float),
        prop::num::f64::NORMAL.prop_map(Owned::Double),
        ".{0,200}".prop_map(Owned::Text),
        bytes().prop_map(|mut b| {
            b.push(0xff);
            Owned::BrokenText(b)
        }),
        bytes().prop_map(Owned::Bytes),
        prop::collection::vec(any::<u8>(), 0..=usize::from(BINARY_LEN)).prop_map(Owned::Binary),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(Owned::Inet4),
        (0u16..5).prop_map(Owned::Enum),
        (0u64..20).prop_map(Owned::Set),
        any_datetime().prop_map(|d| Owned::Date(d.date())),
        (any::<bool>(), 0u16..839, any_datetime()).prop_map(|(negative, hour, d)| {
            Owned::Time(Time { negative, hour, minute: d.minute, second: d.second, micros: d.micros })
        }),
        any_datetime().prop_map(Owned::DateTime),
        Just(Owned::Timestamp(Timestamp::default())),
        any::<i16>().prop_map(Owned::JsonInt),
        bytes().prop_map(Owned::JsonDiff),
        bytes().prop_map(Owned::Geometry),
    ]
}

#[derive(Clone, Debug)]
struct Ids {
    event: u32,
    row: u32,
    part: u16,
    table_row: u64,
    seq: u64,
}

prop_compose! {
    fn any_ids()(event in prop_oneof![Just(0), any::<u32>()], row in prop_oneof![Just(0), any::<u32>()],
                 part in 0u16..3, table_row in prop_oneof![Just(0), any::<u64>()], seq in any::<u64>()) -> Ids {
        Ids { event, row, part, table_row, seq }
    }
}

proptest! {
    #[test]
    fn hand_encoder_equals_generated_types(
        cells in prop::collection::vec((any_owned(), any_owned()), 0..8),
        op in prop_oneof![Just(Op::Insert), Just(Op::Update), Just(Op::Delete)],
        rows in prop::collection::vec(any_ids(), 1..6),
        with_gtid in any::<bool>(),
    ) {
        // Each pair makes two columns, so that before and after images hold cells of their column's type.
        let owned: Vec<Owned> = cells.into_iter().flat_map(|(a, b)| [a, b]).collect();
        let columns: Vec<Column> = owned.iter().enumerate().map(|(i, o)| o.column(&format!("c{i}"))).collect();
        let table = table(columns);
        let json: Vec<Vec<u8>> = owned.iter().map(Owned::json).collect();
        let image: Vec<Cell<'_>> = owned.iter().zip(&json).map(|(o, j)| o.cell(j)).collect();
        let expected: Vec<v1::Value> = owned.iter().map(Owned::expected).collect();
        let (before, after): (&[Cell<'_>], &[Cell<'_>]) = match op {
            Op::Insert => (&[], &image),
            Op::Update => (&image, &image),
            Op::Delete => (&image, &[]),
        };
        let plan = Plan::new(&table, None);
        let mut builder = BatchBuilder::default();
        let mut batch = v1::RowBatch {
            schemas: vec![v1::Schema::decode(plan.schema().bytes()).unwrap()],
            ..v1::RowBatch::default()
        };
        for ids in &rows {
            let mut txn = Transaction { seq: ids.seq, ..txn() };
            if !with_gtid {
                txn.gtid = None;
                txn.xid = None;
            }
            let view = RowView {
                event: ids.event, row: ids.row, part: ids.part, table_row: ids.table_row,
                ..row(&txn, &table, op, before, after)
            };
            let mut row_bytes = Vec::new();
            plan.encode_row(&view, &mut row_bytes).unwrap();
            let message = v1::Row {
                op: match op { Op::Insert => 1, Op::Update => 2, Op::Delete => 3 },
                before: if op == Op::Insert { vec![] } else { expected.clone() },
                after: if op == Op::Delete { vec![] } else { expected.clone() },
                event: ids.event, row: ids.row, part: u32::from(ids.part), table_row: ids.table_row,
            };
            prop_assert_eq!(&v1::Row::decode(&row_bytes[..]).unwrap(), &message);
            prop_assert_eq!(&row_bytes, &message.encode_to_vec());

            let mut txn_bytes = Vec::new();
            encode_transaction(&txn, &mut txn_bytes);
            builder.push(plan.schema(), txn.seq, &txn_bytes, &row_bytes);
            let transaction = v1::Transaction {
                seq: txn.seq,
                gtid: txn.gtid.clone().unwrap_or_default(),
                file: "binlog.000007".into(),
                pos: 4000,
                commit_time_us: 1_477_053_217_000_123,
                server_id: 1,
                xid: txn.xid.unwrap_or(0),
                server_uuid: if with_gtid { String::new() } else { txn.server_uuid.clone() },
            };
            if batch.transactions.last() != Some(&transaction) {
                batch.transactions.push(transaction);
                let transaction = batch.transactions.len() as u32 - 1;
                batch.blocks.push(v1::Block { schema: 0, transaction, ..v1::Block::default() });
            }
            batch.blocks.last_mut().unwrap().rows.push(message);
        }
        prop_assert_eq!(builder.rows() as usize, rows.len());
        let bound = builder.len();
        let mut out = Vec::new();
        builder.finish(&mut out);
        prop_assert!(out.len() <= bound, "{} > {}", out.len(), bound);
        prop_assert!(builder.is_empty());
        prop_assert_eq!(&decode(&out).unwrap(), &batch);
        prop_assert_eq!(&batch.encode_to_vec(), &out);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(batch) = decode(&bytes) {
            for change in changes(&batch).into_iter().flatten() {
                change.print_text(&Style::default(), &mut Vec::new());
                change.print_json(&mut Vec::new());
            }
        }
    }
}

fn orders() -> Table {
    let mut id = key("id", 0);
    id.sql_type = "int".into();
    table(vec![id, column("state", ColumnType::VarChar { max_bytes: 80 }, Charset::Utf8mb4)])
}

fn transaction_bytes(txn: &Transaction) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_transaction(txn, &mut bytes);
    bytes
}

#[test]
fn blocks_follow_tables_transactions_and_statements() {
    let (first, second) = (txn(), Transaction { seq: 43, ..txn() });
    let (a, b) = (orders(), table(vec![key("x", 0)]));
    let (plan_a, plan_b) = (Plan::new(&a, None), Plan::new(&b, None));
    let cells = [Cell::Int(1), Cell::Text(b"new")];
    let mut builder = BatchBuilder::default();
    let mut push = |txn: &Transaction, plan: &Plan, table: &Table| {
        let mut bytes = Vec::new();
        plan.encode_row(&row(txn, table, Op::Insert, &[], &cells[..table.columns.len()]), &mut bytes).unwrap();
        builder.push(plan.schema(), txn.seq, &transaction_bytes(txn), &bytes);
    };
    push(&first, &plan_a, &a);
    push(&first, &plan_a, &a);
    push(&first, &plan_b, &b);
    push(&first, &plan_a, &a);
    push(&second, &plan_a, &a);
    let ddl = DdlView { txn: &second, database: "d", sql: "DROP TABLE t", timestamp: 1, event_pos: 2, event: 3 };
    let mut ddl_bytes = Vec::new();
    encode_ddl(&ddl, &mut ddl_bytes);
    builder.push_ddl(43, &transaction_bytes(&second), &ddl_bytes);
    let mut out = b"kept".to_vec();
    builder.finish(&mut out);
    let batch = decode(out.strip_prefix(b"kept").unwrap()).unwrap();
    assert_eq!((batch.schemas.len(), batch.transactions.len()), (2, 2));
    let blocks: Vec<_> = batch.blocks.iter().map(|b| (b.schema, b.transaction, b.rows.len())).collect();
    assert_eq!(blocks, [(0, 0, 2), (1, 0, 1), (0, 0, 1), (0, 1, 1), (0, 1, 0)]);
    assert_eq!(batch.blocks[4].ddl, Some(v1::Ddl { database: "d".into(), sql: "DROP TABLE t".into(), event: 3 }));
    assert_eq!(changes(&batch).unwrap().len(), 6);
    assert_eq!(batch.encode_to_vec(), out[4..]);

    // A second record from the same builder names everything again.
    let mut bytes = Vec::new();
    plan_b.encode_row(&row(&second, &b, Op::Insert, &[], &cells[..1]), &mut bytes).unwrap();
    builder.push(plan_b.schema(), 43, &transaction_bytes(&second), &bytes);
    let mut again = Vec::new();
    builder.finish(&mut again);
    let batch = decode(&again).unwrap();
    assert_eq!(
        (batch.schemas[0].columns[0].name.as_str(), batch.transactions[0].seq, batch.blocks.len()),
        ("x", 43, 1)
    );
}

#[test]
fn a_projection_has_its_own_schema() {
    let (txn, table) = (txn(), orders());
    let (all, some) = (Plan::new(&table, None), Plan::new(&table, Some(&[1])));
    assert_eq!(all.schema().hash(), table.hash);
    assert_ne!(some.schema().hash(), table.hash);
    assert_eq!(Plan::new(&table, Some(&[0, 1])).schema(), all.schema());
    let schema = v1::Schema::decode(some.schema().bytes()).unwrap();
    assert_eq!(schema.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["state"]);
    let id = v1::Schema::decode(all.schema().bytes()).unwrap().columns.remove(0);
    assert_eq!((id.key_part, id.sql_type.as_str(), id.charset.as_str(), id.nullable), (1, "int", "", false));
    let cells = [Cell::Int(1), Cell::Text(b"new")];
    let mut bytes = Vec::new();
    some.encode_row(&row(&txn, &table, Op::Insert, &[], &cells), &mut bytes).unwrap();
    let after = v1::Row::decode(&bytes[..]).unwrap().after;
    assert_eq!(after, [v1::Value { kind: Some(Kind::Text("new".into())) }]);
}

/// Every row of the real log, printed from the record, has the values that Maxwell printed.
#[test]
fn a_real_log_survives_the_record() {
    let mut builder = BatchBuilder::default();
    let mut bytes = Vec::new();
    visit(LOG, LOG_FILE, "golden", |item| {
        if let Item::Row(row) = item {
            bytes.clear();
            let plan = Plan::new(row.table, None);
            plan.encode_row(&row, &mut bytes).unwrap();
            builder.push(plan.schema(), row.txn.seq, &transaction_bytes(row.txn), &bytes);
        }
    });
    assert_eq!(builder.rows(), 34);
    let mut out = Vec::new();
    builder.finish(&mut out);
    let batch = decode(&out).unwrap();
    let changes = changes(&batch).unwrap();
    let theirs: Vec<serde_json::Value> =
        include_str!("../golden/maxwell.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(changes.len(), theirs.len());
    for (change, theirs) in changes.iter().zip(&theirs) {
        let mut line = Vec::new();
        change.print_json(&mut line);
        let mut ours: serde_json::Value = serde_json::from_slice(&line).unwrap();
        for member in ["database", "table", "type", "xid"] {
            assert_eq!(ours[member], theirs[member]);
        }
        if let Some(bin) = ours["data"].get_mut("bin") {
            // Padded here, not in what this Maxwell printed.
            let theirs = theirs["data"]["bin"].as_str().unwrap_or("null");
            assert!(bin.is_null() || bin.as_str().unwrap().starts_with(theirs.trim_end_matches('=')));
            *bin = theirs.into();
            if theirs == "null" {
                *bin = serde_json::Value::Null;
            }
        }
        assert_eq!(ours["data"], theirs["data"]);
        if ours["type"] == "update" {
            let old = theirs.get("old").cloned().unwrap_or_else(|| serde_json::json!({}));
            assert_eq!(ours["old"], old);
        }
    }
}

#[test]
fn printed_for_people() {
    let (txn, table) = (txn(), orders());
    let plan = Plan::new(&table, None);
    let (old, new) = ([Cell::Int(1), Cell::Text(b"new")], [Cell::Int(1), Cell::Text(b"paid")]);
    let mut bytes = Vec::new();
    plan.encode_row(&row(&txn, &table, Op::Update, &old, &new), &mut bytes).unwrap();
    let mut builder = BatchBuilder::default();
    builder.push(plan.schema(), txn.seq, &transaction_bytes(&txn), &bytes);
    let mut out = Vec::new();
    builder.finish(&mut out);
    let batch = decode(&out).unwrap();
    let change = changes(&batch).unwrap()[0];
    assert!(matches!(change, Change::Row { op: Op::Update, .. }));
    let mut text = Vec::new();
    change.print_text(&Style::default(), &mut text);
    assert_eq!(String::from_utf8(text).unwrap(), "2016-10-21 12:33:37 ~ d.t id=1 state='new'→'paid'\n");
    let mut json = Vec::new();
    change.print_json(&mut json);
    assert_eq!(
        String::from_utf8(json).unwrap(),
        "{\"database\":\"d\",\"table\":\"t\",\"type\":\"update\",\"ts\":1477053217,\"xid\":23396,\
         \"gtid\":\"3e11fa47-71ca-11e1-9e33-c80aa9429562:5\",\"position\":\"binlog.000007:4000\",\"seq\":42,\
         \"event\":0,\"row\":0,\"data\":{\"id\":1,\"state\":\"paid\"},\"old\":{\"state\":\"new\"}}\n"
    );
}

#[test]
fn a_partial_json_update_is_written_in_full() {
    let (txn, table) = (txn(), table(vec![column("j", ColumnType::Json { length_bytes: 4 }, Charset::Binary)]));
    let (before, after) = ([Cell::Json(DOCUMENT)], [Cell::JsonDiff(DIFF)]);
    let mut bytes = Vec::new();
    let view = row(&txn, &table, Op::Update, &before, &after);
    Plan::new(&table, None).encode_row(&view, &mut bytes).unwrap();
    let text = |values: &[v1::Value]| values[0].kind.clone();
    let message = v1::Row::decode(&bytes[..]).unwrap();
    assert_eq!(text(&message.before), Some(Kind::Text("{\"k\": 1}".into())));
    assert_eq!(text(&message.after), Some(Kind::Text("{\"k\": 2}".into())));
}

#[test]
fn broken_records_are_refused() {
    assert!(matches!(decode(b"\x0a\xff"), Err(ReadError::Decode(_))));
    let row = v1::Row { op: 1, ..v1::Row::default() };
    let mut batch =
        v1::RowBatch { blocks: vec![v1::Block { rows: vec![row], ..v1::Block::default() }], ..v1::RowBatch::default() };
    assert_eq!(changes(&batch).unwrap_err(), ReadError::Missing { block: 0, what: "transaction", index: 0 });
    batch.transactions.push(v1::Transaction::default());
    assert_eq!(changes(&batch).unwrap_err(), ReadError::Missing { block: 0, what: "schema", index: 0 });
    batch.schemas.push(v1::Schema::default());
    assert_eq!(changes(&batch).unwrap().len(), 1);
    batch.blocks[0].rows[0].op = 9;
    assert_eq!(changes(&batch).unwrap_err(), ReadError::UnknownOp { block: 0, op: 9 });
}
