use binlake_pipeline::format::text::{Style, encode_ddl, encode_row};
use binlake_pipeline::format::{DdlView, Op, RowView};
use binlog::Cell;
use binlog::charset::Charset;
use binlog::schema::ColumnType;

use crate::log::{Item, visit};
use crate::tables::{DIFF, DOCUMENT, column, key, row, table, txn};
use crate::{LOG, LOG_FILE};

fn line(row: &RowView<'_>, style: &Style) -> String {
    let mut out = Vec::new();
    encode_row(row, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_real_log() {
    let mut lines = Vec::new();
    visit(LOG, LOG_FILE, "golden", |item| match item {
        Item::Row(row) => encode_row(&row, &Style { max_value: 20, ..Style::default() }, &mut lines).unwrap(),
        Item::Ddl(ddl) => encode_ddl(&ddl, &Style::default(), &mut lines),
    });
    let lines = String::from_utf8(lines).unwrap();
    for expected in [
        "2026-11-25 19:16:42 + golden.two_keys b=1 A='x' v=1 w='w'\n",
        "2026-11-25 19:16:42 ~ golden.two_keys b=2 A='y' v=2→NULL w=NULL→'now'\n",
        "2026-11-25 19:16:42 ~ golden.two_keys b=2→3 A='y'\n",
        "2026-11-25 19:16:42 - golden.two_keys b=1 A='x' v=10 w='w'\n\
         ── b562169c-e904-11f1-9b65-02fc00000001:83 binlog.000002:11498\n",
        "2026-11-25 19:16:42 ~ golden.two_keys b=3 A='y' w='min'\n",
        "2026-11-25 19:16:42 ! golden CREATE TABLE no_key (x INT, y VARCHAR(10))\n",
        "bin=0x61620000 vb=0x78797a bl=0x00ff10 e='two' s='a,c' j={\"a\": [1, \"x\", null,…(57)\n",
        "t='long long long long …'(500)",
        " v='it\\'s \"q\" \\\\ / \\t\\n\\r\\u{8}' t='tab\\tnew\\nnul\\u{0}bell\\u{1a}' l='caf€é' g='中文' ",
        " p=POINT (1 2) l=LINESTRING (0 0, 1.5…(32) ",
        " t=12:34:56 t1=12:34:56.7 t6=23:59:59.000001\n",
        " f=0.1 d=0.1 d10=0.10 d20=0.0000010000 ",
    ] {
        assert!(lines.contains(expected), "{expected}\nis not in\n{lines}");
    }
    assert!(lines.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn values_are_cut_and_cannot_drive_the_terminal() {
    let txn = txn();
    let table = table(vec![
        key("id", 0),
        column("c", ColumnType::VarChar { max_bytes: 100 }, Charset::Utf8mb4),
        column("a", ColumnType::Inet6, Charset::Binary),
        column("b\x1b[2J", ColumnType::Blob { length_bytes: 2 }, Charset::Binary),
    ]);
    let text = "\x1b]0;evil\x07\u{202e}é";
    let cells = [Cell::Int(7), Cell::Text(text.as_bytes()), Cell::FixedBinary(&[0xfe, 0x80]), Cell::Bytes(&[0xab; 5])];
    let view = RowView { last: false, ..row(&txn, &table, Op::Insert, &[], &cells) };
    assert_eq!(
        line(&view, &Style { color: false, max_value: 0 }),
        "2016-10-21 12:33:37 + d.t id=7 c='\\u{1b}]0;evil\\u{7}\\u{202e}é' a='fe80::' b\\u{1b}[2J=0xababababab\n"
    );
    assert_eq!(
        line(&view, &Style { color: false, max_value: 4 }),
        "2016-10-21 12:33:37 + d.t id=7 c='\\u{1b}]0;…'(11) a='fe80…'(6) b\\u{1b}[2J=0xabab…(5)\n"
    );
    let projected = RowView { columns: Some(&[0]), ..view };
    assert_eq!(line(&projected, &Style::default()), "2016-10-21 12:33:37 + d.t id=7\n");
}

#[test]
fn a_partial_json_update() {
    let (txn, table) = (txn(), table(vec![column("j", ColumnType::Json { length_bytes: 4 }, Charset::Binary)]));
    let (document, absent, diff) = ([Cell::Json(DOCUMENT)], [Cell::Absent], [Cell::JsonDiff(DIFF)]);
    let whole = RowView { last: false, ..row(&txn, &table, Op::Update, &document, &diff) };
    assert_eq!(line(&whole, &Style::default()), "2016-10-21 12:33:37 ~ d.t j={\"k\": 1}→{\"k\": 2}\n");
    let alone = RowView { before: &absent, ..whole };
    assert_eq!(
        line(&alone, &Style::default()),
        "2016-10-21 12:33:37 ~ d.t j=[{\"op\": \"replace\", \"path\": \"$.k\", \"value\": 2}]\n"
    );
}

#[test]
fn colours_and_the_end_of_a_transaction() {
    let txn = txn();
    let table = table(vec![key("id", 0), column("n", ColumnType::Long, Charset::Binary)]);
    let cells = [Cell::Int(7), Cell::Null];
    let style = Style { color: true, ..Style::default() };
    assert_eq!(
        line(&row(&txn, &table, Op::Delete, &cells, &[]), &style),
        "\x1b[2m2016-10-21 12:33:37\x1b[0m \x1b[31m- d.t\x1b[0m id=7 n=\x1b[2mNULL\x1b[0m\n\
         \x1b[2m── 3e11fa47-71ca-11e1-9e33-c80aa9429562:5 binlog.000007:4711\x1b[0m\n"
    );
    for (sql, shown) in [("DROP\nTABLE t", "d DROP\\nTABLE t"), ("ALTER TABLE q.t FORCE", "q ALTER TABLE q.t FORCE")] {
        let ddl = DdlView { txn: &txn, database: "d", sql, timestamp: 1_477_053_217, event_pos: 0, event: 0 };
        let mut out = Vec::new();
        encode_ddl(&ddl, &Style::default(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("2016-10-21 12:33:37 ! {shown}\n"));
    }
}
