//! `binlake tail`: where it starts and ends, what it leaves out, its forms, and how it stops.

use std::process::Command;

use kit::{Database, MySql, Process, binlake_bin};
use prost::Message;
use proto::v1::RowBatch;

use crate::support::{
    LOAD_TABLE, SOON, Up, assert_exact, binlake, ids, lines, load_for, log_end, topic_of, under_load,
};

const TABLES: &str = "CREATE DATABASE it; CREATE DATABASE other; CREATE TABLE it.t (id BIGINT PRIMARY KEY, a INT, b VARCHAR(20)); \
                      CREATE TABLE it.u (id BIGINT PRIMARY KEY); CREATE TABLE other.t (id BIGINT PRIMARY KEY)";

fn gtids(db: &Database) -> String {
    format!("gtid:{}", db.sql("SELECT @@gtid_executed").unwrap().replace("\\n", "").trim())
}

#[test]
fn a_transaction_ends_once_behind_all_that_is_shown_of_it() {
    let mysql = MySql::start().unwrap();
    mysql.sql(TABLES).unwrap();
    let (url, from) = (mysql.url(), log_end(&mysql));
    mysql.sql("USE it; CREATE TABLE made SELECT 1 AS id UNION SELECT 2; DROP TABLE made").unwrap();
    let kinds = |events: &str| -> String {
        let args =
            ["tail", "--source", &url, "--from", &from, "--until", "now", "--format", "text", "--events", events];
        // Behind date and time; the line of an end begins otherwise.
        lines(&args).iter().map(|line| if line.starts_with('─') { "." } else { &line[20..21] }).collect()
    };
    assert_eq!([kinds("insert,ddl"), kinds("ddl"), kinds("insert")], ["!++.!.", "!.!.", "++."]);
}

#[test]
fn starts_ends_and_choices() {
    let mysql = MySql::start().unwrap();
    mysql.sql(TABLES).unwrap();
    let url = mysql.url();
    let tail = |more: &[&str]| lines(&[&["tail", "--source", &url], more].concat());
    mysql.sql("INSERT INTO it.t VALUES (1, 1, 'one'); INSERT INTO it.u VALUES (2)").unwrap();
    let (gtid, place) = (gtids(&mysql), log_end(&mysql));
    mysql.sql("INSERT INTO other.t VALUES (3)").unwrap();
    mysql.sql("FLUSH BINARY LOGS; UPDATE it.t SET a = 2 WHERE id = 1; INSERT INTO it.t VALUES (4, 4, 'four'), (5, 5, 'five')").unwrap();
    // Times in the log's headers are whole seconds.
    load_for(1100);
    let time = mysql.sql("SELECT DATE_FORMAT(UTC_TIMESTAMP(6), 'time:%Y-%m-%dT%H:%i:%s.%fZ')").unwrap();
    let (later_gtid, later_place, time) = (gtids(&mysql), log_end(&mysql), time.trim());
    load_for(100);
    mysql.sql("DELETE FROM it.t WHERE id = 4; INSERT INTO it.u VALUES (6); FLUSH BINARY LOGS").unwrap();

    let all = [1, 2, 3, 1, 4, 5, 4, 6];
    let ends_now = ["--from", "earliest", "--until", "now"];
    let source = tail(&ends_now);
    assert_eq!(ids(&source), all);
    assert_eq!(ids(&tail(&["--from", &gtid, "--until", "now"])), all[2..]);
    assert_eq!(ids(&tail(&["--from", &place, "--until", "now"])), all[2..]);
    assert_eq!(ids(&tail(&["--from", time, "--until", "now"])), all[6..]);
    assert_eq!(ids(&tail(&["--from", "earliest", "--until", &later_gtid])), all[..6]);
    assert_eq!(ids(&tail(&["--from", "earliest", "--until", &later_place])), all[..6]);
    assert_eq!(ids(&tail(&["--from", "earliest", "--until", time])), all[..6]);
    assert_eq!(ids(&tail(&["--from", &gtid, "--until", &later_place])), all[2..6]);
    assert_eq!(ids(&tail(&["--from", "earliest", "--limit", "5"])), all[..5], "within a multi-row insert");
    // Nothing is left to read: it ends at once.
    assert!(tail(&["--from", &log_end(&mysql), "--until", "now"]).is_empty());
    assert!(tail(&["--until", "now"]).is_empty());

    let chosen = |more: &[&str]| ids(&tail(&[&ends_now[..], more].concat()));
    assert_eq!(chosen(&["--tables", "it.*,!it.u"]), [1, 1, 4, 5, 4]);
    assert_eq!(chosen(&["--tables", "/^(other|it)\\.t$/"]), [1, 3, 1, 4, 5, 4]);
    assert_eq!(chosen(&["--tables", "!it.*"]), [3]);
    assert_eq!(chosen(&["--events", "update,delete"]), [1, 4]);
    let columns = tail(&[&ends_now[..], &["--columns", "it.t:id,b", "--tables", "it.t", "--limit", "1"]].concat());
    let message: serde_json::Value = serde_json::from_str(&columns[0]).unwrap();
    assert_eq!(message["data"], serde_json::json!({"id": 1, "b": "one"}));

    // Files say the same as the server.
    let files = ["binlog.000001", "binlog.000002", "binlog.000003"].map(|f| mysql.dir().join("data").join(f));
    let mut by_files = vec!["tail"];
    by_files.extend(files.iter().flat_map(|f| ["--file", f.to_str().unwrap()]));
    assert_eq!(lines(&by_files), source);
    assert_eq!(ids(&lines(&[&by_files[..], &["--from", time]].concat())), all[6..]);
    assert_eq!(ids(&lines(&[&by_files[..], &["--until", &later_place]].concat())), all[..6]);

    // Also when the first begins or ends in the middle of the wanted stretch.
    assert_eq!(ids(&lines(&[&by_files[..], &["--from", &place]].concat())), all[2..]);
    assert_eq!(ids(&lines(&[&by_files[..], &["--until", &place]].concat())), all[..2]);
    assert_eq!(ids(&lines(&[&by_files[..], &["--from", &place, "--until", &later_place]].concat())), all[2..6]);
    let nowhere = binlake(&[&by_files[..], &["--from", "binlog.000009:4"]].concat());
    assert!(nowhere.code == 5 && nowhere.stderr.contains("binlog.000009:4 is not in the files"), "{nowhere:?}");
    assert_eq!(binlake(&["tail", "--source", &url, "--limit", "0"]).code, 2);
    assert_eq!(binlake(&["read", "--topic", "t", "--limit", "0"]).code, 2);

    let delimited = binlake(&[&["tail", "--source", &url, "--format", "binlake"], &ends_now[..]].concat());
    assert_eq!(delimited.code, 0, "{}", delimited.stderr);
    let (mut rest, mut rows) = (&delimited.stdout_bytes[..], 0);
    while !rest.is_empty() {
        let batch = RowBatch::decode_length_delimited(&mut rest).unwrap();
        assert!(batch.schemas.iter().all(|s| s.table == "t" || s.table == "u"));
        rows += batch.blocks.iter().map(|b| b.rows.len()).sum::<usize>();
    }
    assert_eq!(rows, all.len());

    let none = binlake(&[&["tail", "--source", &url, "--format", "none"], &ends_now[..]].concat());
    assert!(none.stdout.is_empty() && none.stderr.starts_with("rows=8 transactions="), "{none:?}");
    let text = tail(&[&ends_now[..], &["--format", "text"]].concat());
    let rows: Vec<_> = text.iter().filter(|l| !l.starts_with("──")).collect();
    assert!(rows.len() == 8 && rows.iter().any(|l| l.contains("it.t") && l.contains("four")), "{text:#?}");
}

/// Runs a script to its end; its `$0` is the program.
fn shell(script: &str, args: &[&str]) -> (Option<i32>, Process) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(binlake_bin().unwrap()).args(args);
    let mut process = Process::spawn(command).unwrap();
    let code = process.wait(SOON).unwrap().code();
    (code, process)
}

#[test]
fn a_broken_pipe_ends_it_quietly() {
    let mysql = MySql::start().unwrap();
    mysql.sql(LOAD_TABLE).unwrap();
    under_load(&mysql, || {
        // The code of the program itself, not of `head`.
        let script = r#"{ "$0" tail --source "$1" --from earliest; echo "code $?" >&2; } | head -1"#;
        let (_, process) = shell(script, &[&mysql.url()]);
        assert_eq!(process.stderr(), "code 0\n");
        assert_eq!(process.stdout().lines().count(), 1);
    });
    // Nothing more is written that could find the pipe closed.
    let (_, process) = shell(r#"{ "$0" tail --source "$1"; echo "code $?" >&2; } | true"#, &[&mysql.url()]);
    assert_eq!(process.stderr(), "code 0\n");
}

/// What cannot be written was not printed: no good end, and nothing of it is behind the place to go on from.
#[test]
fn an_output_that_is_full_ends_it_with_the_cause() {
    let mysql = MySql::start().unwrap();
    mysql.sql(TABLES).unwrap();
    mysql.sql("INSERT INTO it.t VALUES (1, 1, 'one')").unwrap();
    let (url, file) = (mysql.url(), mysql.dir().join("data/binlog.000001"));
    let file = file.to_str().unwrap();
    for more in [
        &["--file", file][..],
        &["--source", &url, "--from", "earliest", "--until", "now"],
        &["--file", file, "--limit", "1"],
    ] {
        let (code, process) = shell(r#""$0" tail "$@" > /dev/full"#, more);
        let said = process.stderr();
        assert!(
            code == Some(6) && said.contains("No space left") && !said.contains("resume"),
            "{more:?}: {code:?} {said}"
        );
    }
    let (folder, topic) = (tempfile::tempdir().unwrap(), topic_of(mysql.port()));
    let data = folder.path().to_str().unwrap();
    let mut up = Up::start(&["--source", &url, "--from", "earliest", "--data-dir", data]);
    up.wait_settled(&mysql);
    up.stop();
    for more in [&["--until-end"][..], &["--limit", "1"]] {
        let (code, process) =
            shell(r#""$0" read "$@" > /dev/full"#, &[&["--data-dir", data, "--topic", &topic], more].concat());
        assert!(code == Some(1) && process.stderr().contains("No space left"), "{code:?} {}", process.stderr());
    }
}

#[test]
fn a_listing_for_a_reader_that_goes_ends_quietly() {
    let (_, process) = shell(r#"{ "$0" config defaults; echo "code $?" >&2; } | true"#, &[]);
    assert_eq!(process.stderr(), "code 0\n");
}

#[test]
fn interrupts_name_the_place_to_go_on_from() {
    let mysql = MySql::start().unwrap();
    let mut from = gtids(&mysql);
    mysql.sql(LOAD_TABLE).unwrap();
    let url = mysql.url();
    let mut all = Vec::new();
    under_load(&mysql, || {
        for _ in 0..3 {
            let mut tail = Process::binlake(&["tail", "--source", &url, "--tables", "it.*", "--from", &from]).unwrap();
            load_for(700);
            tail.signal("INT").unwrap();
            assert_eq!(tail.wait(SOON).unwrap().code(), Some(0), "{}", tail.stderr());
            let said = tail.stderr();
            from = said.trim().split("resume with --from ").nth(1).unwrap_or_else(|| panic!("{said}")).to_owned();
            all.extend(tail.stdout().lines().map(str::to_owned));
        }
    });
    assert!(from.starts_with("gtid:"), "{from}");
    all.extend(lines(&["tail", "--source", &url, "--tables", "it.*", "--from", &from, "--until", "now"]));
    assert_exact(&all, &mysql);
}

#[test]
fn a_server_whose_tls_is_not_ours_is_read_in_clear_text() {
    let mysql = MySql::start().unwrap();
    mysql.sql(LOAD_TABLE).unwrap();
    let alien = "SET GLOBAL tls_version = 'TLSv1.3', GLOBAL tls_ciphersuites = 'TLS_AES_128_CCM_SHA256'";
    mysql.sql(&format!("INSERT INTO it.t (id) VALUES (1); {alien}; ALTER INSTANCE RELOAD TLS")).unwrap();
    let tail = |mode: &str| {
        let url = format!("{}?ssl-mode={mode}", mysql.url());
        binlake(&["tail", "--source", &url, "--from", "earliest", "--until", "now", "--events", "insert"])
    };
    let preferred = tail("preferred");
    assert_eq!((preferred.code, preferred.stdout.lines().count()), (0, 1), "{}", preferred.stderr);
    assert!(tail("required").stderr.contains("no TLS version or cipher in common"));
}

/// What its server was writing when it died: the file ends within a transaction, another begins.
#[test]
fn a_file_that_ends_within_a_transaction() {
    // With GTIDs each transaction says where it begins; the old way there is only BEGIN.
    for (mode, name) in [("ON", "gtids"), ("OFF", "none")] {
        let mysql =
            MySql::with("9.7", &[&format!("--gtid-mode={mode}"), &format!("--enforce-gtid-consistency={mode}")])
                .unwrap();
        mysql.sql(TABLES).unwrap();
        mysql.sql("INSERT INTO it.u VALUES (1)").unwrap();
        let last = log_end(&mysql);
        mysql.sql("BEGIN; INSERT INTO it.u VALUES (2); INSERT INTO it.u VALUES (3); COMMIT").unwrap();
        mysql.sql("FLUSH BINARY LOGS; INSERT INTO it.u VALUES (4)").unwrap();
        let whole = std::fs::read(mysql.dir().join("data").join("binlog.000001")).unwrap();
        // Up to the COMMIT: without its last two events, XID and ROTATE.
        let mut ends = vec![4_usize];
        while let Some(size) = whole.get(ends[ends.len() - 1] + 9..).and_then(|rest| rest.first_chunk::<4>()) {
            ends.push(ends[ends.len() - 1] + u32::from_le_bytes(*size) as usize);
        }
        let cut = ends[ends.len() - 3];
        assert!(cut as u64 > last.rsplit(':').next().unwrap().parse::<u64>().unwrap(), "{ends:?}");
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join("binlog.000001");
        std::fs::write(&first, &whole[..cut]).unwrap();
        let second = mysql.dir().join("data").join("binlog.000002");
        let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
        for (files, wanted) in [(&[first, second][..], &[1, 4][..]), (&[first], &[1]), (&[second], &[4])] {
            let args: Vec<&str> = ["tail"].into_iter().chain(files.iter().flat_map(|f| ["--file", f])).collect();
            let run = binlake(&args);
            assert_eq!(run.code, 0, "{name}: {}", run.stderr);
            assert_eq!(ids(&run.stdout.lines().map(str::to_owned).collect::<Vec<_>>()), wanted, "{name}");
            let told = run.stderr.contains(&format!("ends within the transaction that begins at {last}"));
            assert_eq!(told, files.contains(&first), "{name}: {}", run.stderr);
        }
    }
}
