//! `tail --file` on logs of old servers and old events: of MySQL before 5.6, without checksums, with the times of then;
//! rows events of versions 0 and 1; none of them says names, signs and character sets.

use std::path::Path;

use kit::{MySql, events};
use serde_json::{Value, json};

use crate::support::{binlake, lines};

/// A log recorded from a real server, whose statements are in `work.sql` beside it.
fn recorded(name: &str) -> String {
    format!("{}/../../wave/crates/binlog/tests/data/logs/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The number of each event type in a log file.
fn event_types(file: &Path) -> [usize; 256] {
    let bytes = std::fs::read(file).unwrap();
    let (mut counts, mut at) = ([0; 256], 4);
    while at < bytes.len() {
        counts[usize::from(bytes[at + 4])] += 1;
        at += u32::from_le_bytes(bytes[at + 9..at + 13].try_into().unwrap()) as usize;
    }
    counts
}

/// The rows of `d.types` with these times, but for its two DECIMALs. Nothing says that a number has no sign, that text is
/// in latin1, or labels; CHAR and BINARY are not told apart.
fn types_rows(times: [[&str; 3]; 2]) -> Vec<Value> {
    let row = |values: Vec<Value>| {
        let numbered = (1..).zip(values).filter(|(n, _)| ![14, 15].contains(n));
        Value::Object(numbered.map(|(n, value)| (format!("@{n}"), value)).collect())
    };
    let mut nulls = vec![Value::Null; 31];
    nulls[0] = json!(0);
    let [[t1, d1, s1], [t2, d2, s2]] = times;
    #[rustfmt::skip]
    let low = json!([
        -1, -128, -1, -32768, -1, -8388608, -1, -2147483648_i64, -1, i64::MIN, 1901, -1.5, 1e300, 0, 0, 65537,
        "0000-00-00", t1, d1, s1, "abc", "x€", "6Q==", "", "t".repeat(300), "\u{1}", "AP8=", "", 1, 257, null
    ]);
    #[rustfmt::skip]
    let high = json!([
        1, 127, 0, 32767, 0, 8388607, 0, 2147483647, 0, i64::MAX, 2155, 0.25, -0.1, 0, 0, 0, "2024-02-29", t2, d2,
        s2, "", "€".repeat(255), "", "y", null, "", "", "bl", 3, [], null
    ]);
    [Value::Array(nulls), low, high].map(|values| row(values.as_array().unwrap().clone())).to_vec()
}

#[test]
fn recordings_of_5_5_5_6_and_5_7() {
    let new = [
        ["-838:59:59.000", "9999-12-31 23:59:59.999999", "2038-01-19 03:14:07.99"],
        ["-00:00:00.001", "0000-00-00 00:00:00.000000", "1970-01-01 00:00:01.00"],
    ];
    let old = [
        ["-838:59:59", "9999-12-31 23:59:59", "2038-01-19 03:14:07"],
        ["00:00:00", "0000-00-00 00:00:00", "1970-01-01 00:00:01"],
    ];
    for (name, times) in [("my5534_full.binlog", old), ("my5624_full.binlog", new), ("my5729_full.binlog", new)] {
        let file = recorded(name);
        let run = binlake(&["tail", "--file", &file, "--tables", "d.types"]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{name}");
        let decimals = [
            ",\"@14\":-99999999999999.999999,\"@15\":12345678901234567890123456789012345.012345678901234567890123456789,",
            ",\"@14\":0.000000,\"@15\":-1.000000000000000000000000000000,",
        ];
        for (line, decimals) in run.stdout.lines().skip(1).zip(decimals) {
            assert!(line.contains(decimals), "{name}: {line}");
        }
        let rows: Vec<Value> = run
            .stdout
            .lines()
            .map(|line| {
                let mut data = serde_json::from_str::<Value>(line).unwrap()["data"].take();
                data.as_object_mut().unwrap().retain(|column, _| !["@14", "@15"].contains(&column.as_str()));
                data
            })
            .collect();
        assert_eq!(rows, types_rows(times), "{name}");
        let text = lines(&["tail", "--file", &file, "--tables", "d.types", "--format", "text"]).join(" ");
        assert!(text.contains("@21='abc' @22='x€' @23=0xe9 "), "{text}");
        let keys = binlake(&["tail", "--file", &file, "--tables", "d.kp,d.part"]);
        assert_eq!((keys.code, keys.stdout.lines().count()), (0, 12), "{}", keys.stderr);
    }
}

#[test]
fn version_one_of_a_server_that_writes_two() {
    let mysql = MySql::with("5.7.29", &["--log-bin-use-v1-row-events=ON"]).unwrap();
    mysql.sql("CREATE DATABASE it; CREATE TABLE it.t (id INT PRIMARY KEY, v VARCHAR(300) CHARACTER SET utf8, n DECIMAL(9,3))").unwrap();
    mysql.sql("SET NAMES utf8; INSERT INTO it.t VALUES (1, 'one', -1.5), (2, NULL, NULL), (3, 'é', 0)").unwrap();
    mysql.sql("UPDATE it.t SET v = 'two' WHERE id = 2; UPDATE it.t SET id = 4 WHERE id = 1; DELETE FROM it.t WHERE id = 3").unwrap();
    let end = mysql.log_end().unwrap();
    let file = mysql.dir().join("data").join(end.split(':').next().unwrap());
    let types = event_types(&file);
    assert_eq!((&types[23..=25], &types[30..=32]), (&[1, 2, 1][..], &[0, 0, 0][..]));
    let changes = |args: &[&str]| -> Vec<Value> {
        let told = |line: &String| {
            let row: Value = serde_json::from_str(line).unwrap();
            json!([row["type"], row["data"], row["old"]])
        };
        lines(&[&["tail", "--tables", "it.t"], args].concat()).iter().map(told).collect()
    };
    let url = mysql.url();
    let named = changes(&["--source", &url, "--from", "earliest", "--until", "now"]);
    let wanted = json!([
        ["insert", {"id": 1, "v": "one", "n": -1.5}, null],
        ["insert", {"id": 2, "v": null, "n": null}, null],
        ["insert", {"id": 3, "v": "é", "n": 0.0}, null],
        ["update", {"id": 2, "v": "two", "n": null}, {"v": null}],
        ["update", {"id": 4, "v": "one", "n": -1.5}, {"id": 1}],
        ["delete", {"id": 3, "v": "é", "n": 0.0}, null],
    ]);
    assert_eq!(json!(named), wanted);
    let numbered = serde_json::to_string(&wanted).unwrap();
    let numbered = [("\"id\"", "\"@1\""), ("\"v\"", "\"@2\""), ("\"n\"", "\"@3\"")]
        .iter()
        .fold(numbered, |text, (name, number)| text.replace(name, number));
    let by_file = changes(&["--file", file.to_str().unwrap()]);
    assert_eq!(json!(by_file), serde_json::from_str::<Value>(&numbered).unwrap());
}

/// The FORMAT_DESCRIPTION of 5.1.17: 22 event types, no checksum algorithm. `table_map` is the length of the fixed part of
/// TABLE_MAP and rows events: 6 before 5.1.4, whose table ids take 4 bytes.
fn format_description(table_map: u8) -> Vec<u8> {
    let mut body = vec![4, 0];
    let mut version = b"5.1.17-beta-debug-log".to_vec();
    version.resize(50, 0);
    body.extend(version);
    body.extend([0, 0, 0, 0, 19, 56, 13, 0, 8, 0, 18, 0, 4, 4, 4, 4, 18, 0, 0, 79, 0, 4, 26]);
    body.extend([table_map; 4]);
    let end = 4 + 19 + body.len() as u32;
    events::event(events::FORMAT_DESCRIPTION, 0, end, &body)
}

/// No server before 5.1.18 described its tables in the log, so that real rows of version 0 are of tables that nothing is
/// known of: these are named and passed over, all else goes on. Rows of a described table are read as the servers wrote
/// them (`rpl_record_old.cc`).
#[test]
fn version_zero() {
    let folder = tempfile::tempdir().unwrap();
    for (table_map, id) in [(8, &b"\x10\0\0\0\0\0"[..]), (6, b"\x10\0\0\0")] {
        let other_id = [&b"\x11"[..], &id[1..]].concat();
        let event = |kind: u8, id: &[u8], body: &[u8]| events::event(kind, 0, 0, &[id, body].concat());
        let file = [
            events::MAGIC.to_vec(),
            format_description(table_map),
            events::begin(),
            // INT and CHAR, as the log of 5.1.17 has it.
            event(events::TABLE_MAP, id, b"\0\0\x02it\0\x03old\0\x02\x03\xfe"),
            event(20, id, b"\x01\0\x02\xff\xf9\x07\0\0\0\x02ab"),
            // TINYINT NOT NULL, VARCHAR(300), SMALLINT, with lengths.
            event(events::TABLE_MAP, &other_id, b"\0\0\x02it\0\x01t\0\x03\x01\x0f\x02\x02\x2c\x01\x06"),
            event(20, &other_id, b"\x01\0\x03\xff\xfc\x01\x02\0ab\x05\0\xfd\x02\0\0\xff\xff"),
            event(21, &other_id, b"\x01\0\x03\xff\xfc\x01\x02\0ab\x05\0\xfe\x01\x02\0ab\0\0"),
            event(22, &other_id, b"\x01\0\x03\xff\xfd\x02\0\0\xff\xff"),
            events::xid(),
        ]
        .concat();
        let path = folder.path().join("mysql-bin.000001");
        std::fs::write(&path, file).unwrap();
        let run = binlake(&["tail", "--file", path.to_str().unwrap()]);
        assert_eq!(run.code, 7, "{}", run.stderr);
        assert!(run.stderr.contains("it.old") && run.stderr.contains("early versions of MySQL 5.1"), "{}", run.stderr);
        let rows: Vec<Value> = run
            .stdout
            .lines()
            .map(|line| {
                let row: Value = serde_json::from_str(line).unwrap();
                json!([row["type"], row["data"], row["old"]])
            })
            .collect();
        let wanted = json!([
            ["insert", {"@1": 1, "@2": "ab", "@3": 5}, null],
            ["insert", {"@1": 2, "@2": null, "@3": -1}, null],
            ["update", {"@1": 1, "@2": "ab", "@3": null}, {"@3": 5}],
            ["delete", {"@1": 2, "@2": null, "@3": -1}, null],
        ]);
        assert_eq!(json!(rows), wanted);
    }
}
