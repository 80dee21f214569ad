//! Whole log files of real servers (`tests/data/logs`, recorded by `record.sh` there): replayed, they give what the
//! server's own SELECT gave. Broken copies of them never panic.

#![allow(clippy::unwrap_used, reason = "a failed test")]

use binlake_binlog as binlog;

#[path = "logs/replay.rs"]
mod replay;

use binlog::event::{Event, FileSplitter, StreamState};
use binlog::schema::{SchemaSource, Table};
use replay::{LIMIT, Replay};

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("data/logs/", $name))
    };
}

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("data/logs/", $name))
    };
}

const ALL: &[&str] = &["types", "kp", "part", "doc"];
const WITHOUT_JSON: &[&str] = &["types", "kp", "part"];

/// Replays `log` and compares the tables with `wanted`.
fn check(log: &[u8], wanted: &str, columns: &str, tables: &[&str], source: SchemaSource) -> Replay {
    let replay = Replay::new(columns).file(log).unwrap();
    let mut wanted: Vec<&str> = wanted.lines().collect();
    wanted.sort_unstable();
    assert_eq!(replay.lines(tables), wanted);
    assert!(!replay.sources.is_empty() && replay.sources.iter().all(|s| *s == source), "{:?}", replay.sources);
    replay
}

fn saw(replay: &Replay, names: &[&str]) {
    for name in names {
        assert!(replay.seen.contains_key(*name), "no {name} in {:?}", replay.seen);
    }
}

#[test]
fn mysql_full_metadata() {
    let replay = check(data!("my97_full.binlog"), text!("my97.txt"), "", ALL, SchemaSource::Log);
    saw(
        &replay,
        &["GTID", "GTID_TAGGED", "PREVIOUS_GTIDS", "XA_PREPARE", "XID", "WRITE_ROWS", "UPDATE_ROWS", "DELETE_ROWS"],
    );
    assert_eq!(replay.gtids.to_string(), text!("my97_full.gtid").trim());
    assert_eq!(replay.rolled_back, 1);

    let types = &replay.schemas["types"];
    let column = |name: &str| types.columns.iter().find(|c| c.name == name).unwrap();
    for (name, sql) in [
        ("u24", "mediumint unsigned"),
        ("i64", "bigint"),
        ("n", "decimal(20,6)"),
        ("b", "bit(17)"),
        ("c4", "char(255)"),
        ("vl", "varchar(20)"),
        ("bi", "binary(5)"),
        ("bl", "mediumblob"),
        ("e", "enum('a','it''s','ü')"),
        ("po", "point"),
        ("ve", "vector(3)"),
        ("ts", "timestamp(2)"),
    ] {
        assert_eq!(column(name).sql_type, sql);
    }
    assert!(!column("inv").visible && column("id").visible);
    assert!(column("i8").nullable && !column("id").nullable);
    assert_eq!(replay.schemas["kp"].primary_key, [1, 0]);
}

#[test]
fn a_table_of_a_thousand_columns() {
    let replay = Replay::new("").file(data!("my97_full.binlog")).unwrap();
    let row = &replay.tables["wide"][0];
    assert_eq!(row.len(), 1001);
    assert!(row[1..].iter().enumerate().all(|(i, v)| v.as_deref() == Some(&*(i % 100).to_string())));
    assert_eq!(replay.schemas["wide"].columns[1000].name, "c999");
}

#[test]
fn mysql_minimal_metadata_and_image() {
    let replay =
        check(data!("my97_minimal.binlog"), text!("my97.txt"), text!("my97.columns"), ALL, SchemaSource::Definition);
    let full = Replay::new("").file(data!("my97_full.binlog")).unwrap();
    for name in ["types", "kp", "part", "doc", "mv"] {
        assert_eq!(replay.schemas[name].hash, full.schemas[name].hash, "{name}");
        assert_eq!(replay.schemas[name].primary_key, full.schemas[name].primary_key, "{name}");
    }
    assert!(replay.schemas["types"].columns.iter().any(|c| c.generated));
}

#[test]
fn mysql_noblob_images_and_partial_json() {
    let replay = check(data!("my97_partial.binlog"), text!("my97.txt"), "", ALL, SchemaSource::Log);
    saw(&replay, &["PARTIAL_UPDATE_ROWS"]);
}

#[test]
fn mysql_compressed_transactions() {
    let replay = check(data!("my97_compressed.binlog"), text!("my97.txt"), "", ALL, SchemaSource::Log);
    saw(&replay, &["TRANSACTION_PAYLOAD", "TABLE_MAP"]);
}

#[test]
fn mysql_before_metadata() {
    let columns = text!("my5729.columns");
    check(data!("my5729_full.binlog"), text!("my5729.txt"), columns, WITHOUT_JSON, SchemaSource::Definition);
    check(data!("my5624_full.binlog"), text!("my5624.txt"), columns, WITHOUT_JSON, SchemaSource::Definition);
    let columns = text!("my5534.columns");
    let replay =
        check(data!("my5534_full.binlog"), text!("my5534.txt"), columns, WITHOUT_JSON, SchemaSource::Definition);
    saw(&replay, &["WRITE_ROWS_V1", "UPDATE_ROWS_V1", "DELETE_ROWS_V1"]);
    let column = |name: &str| replay.schemas["types"].columns.iter().find(|c| c.name == name).unwrap().ty;
    use binlog::schema::ColumnType::{DateTimeOld, TimeOld, TimestampOld};
    assert_eq!(["ti", "dt", "ts"].map(column), [TimeOld, DateTimeOld, TimestampOld]);
}

#[test]
fn mariadb() {
    let replay = check(data!("ma1011_full.binlog"), text!("ma1011.txt"), "", ALL, SchemaSource::Log);
    saw(
        &replay,
        &[
            "MARIA_GTID",
            "MARIA_GTID_LIST",
            "MARIA_ANNOTATE_ROWS",
            "MARIA_BINLOG_CHECKPOINT",
            "XA_PREPARE",
            "WRITE_ROWS_V1",
        ],
    );
    assert_eq!(replay.gtids.to_string(), text!("ma1011_full.gtid").trim());
    assert_eq!(replay.rolled_back, 1);
    let columns = text!("ma1011.columns");
    check(data!("ma1011_nolog.binlog"), text!("ma1011.txt"), columns, ALL, SchemaSource::Definition);
}

#[test]
fn mariadb_compressed_events_and_columns() {
    let replay = check(data!("ma1011_compressed.binlog"), text!("ma1011.txt"), "", ALL, SchemaSource::Log);
    saw(&replay, &["MARIA_QUERY_COMPRESSED", "MARIA_WRITE_ROWS_COMPRESSED_V1", "MARIA_UPDATE_ROWS_COMPRESSED_V1"]);
    assert_eq!(replay.lines(&["comp"]), ["comp\t1\tshort\t00FF\té\tx", "comp\t2\tNULL\t\t\t"]);
}

/// The TABLE_MAP of `name` in a file, compiled with `definition`.
fn compile(log: &[u8], name: &str, definition: Option<&binlog::schema::TableDefinition>) -> binlog::Result<Table> {
    let (mut splitter, mut state) = (FileSplitter::new(LIMIT), StreamState::default());
    splitter.push(log);
    while let Some(raw) = splitter.next_event().unwrap() {
        if let Event::TableMap(map) = state.parse(raw).unwrap().1
            && map.table == name.as_bytes()
        {
            return Table::compile(&map, definition);
        }
    }
    panic!("no TABLE_MAP of {name}");
}

#[test]
fn without_names_columns_are_numbered() {
    let table = compile(data!("my97_minimal.binlog"), "kp", None).unwrap();
    assert_eq!(table.source, SchemaSource::Unnamed);
    assert_eq!(table.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["@1", "@2", "@3"]);
    assert_eq!(table.columns[0].charset, binlog::charset::Charset::Utf8mb4);
}

#[test]
fn a_definition_of_another_time_is_refused() {
    let log = data!("my97_minimal.binlog");
    let good = Replay::new(text!("my97.columns")).definition("kp");
    assert!(compile(log, "kp", Some(&good)).is_ok());
    let refused = |change: &dyn Fn(&mut binlog::schema::TableDefinition)| {
        let mut definition = good.clone();
        change(&mut definition);
        let error = compile(log, "kp", Some(&definition)).unwrap_err();
        assert!(matches!(error, binlog::Error::DefinitionMismatch { .. }), "{error}");
        error.to_string()
    };
    refused(&|d| d.columns[2].column_type = "bigint".into());
    refused(&|d| d.columns[2].column_type = "int unsigned".into());
    refused(&|d| d.columns[2].nullable = false);
    refused(&|d| d.columns[0].column_type = "varchar(21)".into());
    refused(&|d| d.columns[0].charset = Some("latin1".into()));
    let text = refused(&|d| drop(d.columns.pop()));
    assert!(
        text.starts_with("definition of table d.kp does not fit the log: 3 columns in the log, 2 defined; with "),
        "{text}"
    );
}

const FILES: &[(&[u8], &str)] = &[
    (data!("my97_full.binlog"), ""),
    (data!("my97_minimal.binlog"), text!("my97.columns")),
    (data!("my97_partial.binlog"), ""),
    (data!("my97_compressed.binlog"), ""),
    (data!("my5624_full.binlog"), text!("my5624.columns")),
    (data!("ma1011_compressed.binlog"), ""),
    (data!("ma1011_nolog.binlog"), text!("ma1011.columns")),
];

/// A generator of numbers that is the same everywhere.
fn next_random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

/// The file with checksums switched off, so that changes reach the parsers behind them.
fn without_checksums(log: &[u8]) -> Vec<u8> {
    let (mut out, mut splitter, mut first) = (log[..4].to_vec(), FileSplitter::new(LIMIT), true);
    splitter.push(log);
    while let Some(raw) = splitter.next_event().unwrap() {
        let mut event = raw.to_vec();
        if first {
            let at = event.len() - 5;
            event[at] = 0;
        } else {
            event.truncate(raw.len() - 4);
            let size = event.len() as u32;
            event[9..13].copy_from_slice(&size.to_le_bytes());
        }
        first = false;
        out.extend(event);
    }
    out
}

#[test]
fn files_cut_anywhere_do_not_panic() {
    for (log, columns) in FILES {
        for cut in (0..log.len()).step_by(61) {
            let _ = Replay::new(columns).file(&log[..cut]);
        }
    }
}

#[test]
fn every_event_cut_at_every_byte_does_not_panic() {
    for (log, columns) in FILES {
        let plain = without_checksums(log);
        let (mut splitter, mut state) = (FileSplitter::new(LIMIT), StreamState::default());
        splitter.push(&plain);
        let mut tables = Replay::new(columns);
        while let Some(raw) = splitter.next_event().unwrap() {
            for cut in 0..raw.len() {
                let mut event = raw[..cut].to_vec();
                if let Some(size) = event.get_mut(9..13) {
                    size.copy_from_slice(&(cut as u32).to_le_bytes());
                }
                let _ = tables.raw(&mut state.clone(), &event);
            }
            tables.raw(&mut state, raw).unwrap();
        }
    }
}

#[test]
fn flipped_bits_do_not_panic() {
    for (log, columns) in FILES {
        let plain = without_checksums(log);
        let mut seed = 0x1234_5678_9abc_def1;
        for _ in 0..500 {
            let mut broken = plain.clone();
            for _ in 0..1 + next_random(&mut seed) % 3 {
                // The format description and event sizes stay, else little is read.
                let at = 130 + next_random(&mut seed) % (broken.len() - 130);
                broken[at] ^= 1 << (next_random(&mut seed) % 8);
            }
            let _ = Replay::new(columns).file(&broken);
        }
        let mut wrong = log.to_vec();
        let at = log.len() / 2;
        wrong[at] ^= 0x10;
        assert!(Replay::new(columns).file(&wrong).is_err(), "the checksum finds a flipped bit");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_as_an_event(kind: u8, mut body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let mut raw = vec![0; 19];
        raw.append(&mut body);
        raw[4] = kind;
        let size = raw.len() as u32;
        raw[9..13].copy_from_slice(&size.to_le_bytes());
        let _ = Replay::new("").raw(&mut StreamState::default(), &raw);
    }
}

/// The lists of the optional metadata go over columns of one kind each; which kinds count as one differs by server.
#[test]
fn attributes_reach_their_columns() {
    for log in [&data!("my97_kinds.binlog")[..], data!("ma1011_kinds.binlog")] {
        let replay = Replay::new("").file(log).unwrap();
        let table = &replay.schemas["kinds"];
        let row = &replay.tables["kinds"][0];
        let text = |name: &str| {
            let index = table.columns.iter().position(|c| c.name == name).unwrap();
            (table.columns[index].sql_type.as_str(), row[index].as_deref().unwrap())
        };
        assert_eq!(text("u"), ("int unsigned", "4294967295"));
        assert_eq!(text("i"), ("int", "-1"));
        assert_eq!(text("n"), ("decimal(5,2) unsigned", "1.50"));
        assert_eq!(text("a"), ("varchar(5)", "é"));
        assert_eq!(text("c"), ("varchar(5)", "é"));
        assert_eq!(text("d"), ("varchar(5)", "中"));
        assert_eq!(text("z"), ("varchar(6)", "я"));
        assert_eq!(text("e"), ("enum('é')", "é"));
        assert_eq!(text("s"), ("set('中')", "中"));
        assert_eq!(text("ln"), ("linestring", "NULL"));
        assert_eq!(text("bl"), ("blob", "NULL"));
    }
}
