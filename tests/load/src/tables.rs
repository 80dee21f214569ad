//! Tables of the database `bench`. The first write drops what an earlier run left.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use anyhow::Context;

use crate::args::{Args, Wrong};
use crate::random::Random;
use crate::server::{Connection, Server};

/// Rows of one INSERT; keeps a statement far below `max_allowed_packet` of any server.
const ROWS_PER_STATEMENT: u64 = 1000;

/// The columns of sysbench's table.
const SYSBENCH: &str = "(id BIGINT NOT NULL PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL)";

struct Common {
    server: Server,
    connection: Connection,
    rows: u64,
}

fn common(args: &mut Args, rows: Option<u64>) -> anyhow::Result<Common> {
    let server = Server::new(&args.needed::<String>("source")?)?;
    let rows = match rows {
        Some(default) => args.optional("rows")?.unwrap_or(default),
        None => args.needed("rows")?,
    };
    let mut connection = server.connect()?;
    connection.run("CREATE DATABASE IF NOT EXISTS bench")?;
    Ok(Common { server, connection, rows })
}

/// A flag that is at least 1.
fn positive(args: &mut Args, name: &str, default: u64) -> anyhow::Result<u64> {
    match args.optional(name)?.unwrap_or(default) {
        0 => Err(Wrong(format!("--{name} is at least 1")).into()),
        n => Ok(n),
    }
}

fn create(connection: &mut Connection, table: &str, columns: &str) -> anyhow::Result<()> {
    connection.run(&format!("DROP TABLE IF EXISTS bench.{table}"))?;
    connection.run(&format!("CREATE TABLE bench.{table} {columns} DEFAULT CHARSET=utf8mb4"))?;
    Ok(())
}

/// `(id,k,'c','pad')` as sysbench fills it.
fn sysbench_row(id: u64, random: &mut Random, sql: &mut String) {
    let _ = write!(sql, "({id},{},'", random.below(1_000_000));
    random.groups(10, sql);
    sql.push_str("','");
    random.groups(5, sql);
    sql.push_str("')");
}

/// Inserts rows 1 to `rows` in transactions of `per_transaction`.
fn insert(
    connection: &mut Connection,
    table: &str,
    rows: u64,
    per_transaction: u64,
    stop: &AtomicBool,
    row: impl Fn(u64, &mut Random, &mut String),
) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut random = Random::new(1);
    let mut id = 0;
    while id < rows && !stop.load(Relaxed) {
        let end = rows.min(id + per_transaction);
        connection.run("BEGIN")?;
        while id < end {
            let statement_end = end.min(id + ROWS_PER_STATEMENT);
            let mut sql = format!("INSERT INTO bench.{table} VALUES ");
            while id < statement_end {
                id += 1;
                row(id, &mut random, &mut sql);
                sql.push(if id < statement_end { ',' } else { ' ' });
            }
            connection.run(&sql)?;
        }
        connection.run("COMMIT")?;
    }
    report(table, id, started);
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // for display
fn report(table: &str, rows: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("bench.{table}: {rows} rows in {seconds:.1} s, {:.0} rows/s", rows as f64 / seconds.max(1e-9));
}

pub(crate) fn bulk(mut args: Args, stop: &AtomicBool) -> anyhow::Result<()> {
    let Common { mut connection, rows, .. } = common(&mut args, None)?;
    let per_transaction = positive(&mut args, "per-transaction", 1000)?;
    args.end()?;
    create(&mut connection, "bulk", SYSBENCH)?;
    insert(&mut connection, "bulk", rows, per_transaction, stop, sysbench_row)
}

/// Several connections, each with its own ids, because one waits for the server most of the time.
pub(crate) fn small(mut args: Args, stop: &AtomicBool) -> anyhow::Result<()> {
    let Common { server, mut connection, rows } = common(&mut args, None)?;
    let connections = positive(&mut args, "connections", 4)?;
    args.end()?;
    create(&mut connection, "small", SYSBENCH)?;
    let started = Instant::now();
    let counts = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..connections)
            .map(|n| {
                let server = &server;
                scope.spawn(move || -> anyhow::Result<u64> {
                    let mut connection = server.connect()?;
                    let (mut random, mut id, mut count) = (Random::new(n + 1), n + 1, 0);
                    let mut sql = String::new();
                    while id <= rows && !stop.load(Relaxed) {
                        sql.clear();
                        sql.push_str("INSERT INTO bench.small VALUES ");
                        sysbench_row(id, &mut random, &mut sql);
                        connection.run(&sql)?;
                        id += connections;
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        writers.into_iter().map(|w| w.join().ok().context("a writer panicked")?).collect::<Result<Vec<_>, _>>()
    })?;
    report("small", counts.iter().sum(), started);
    Ok(())
}

const MIXED: &str = "(id BIGINT UNSIGNED NOT NULL PRIMARY KEY, t TINYINT, tu TINYINT UNSIGNED, s SMALLINT, m MEDIUMINT, \
    i INT, iu INT UNSIGNED, b BIGINT, f FLOAT, d DOUBLE, n DECIMAL(12,2), nn DECIMAL(40,10), flag TINYINT(1), bits BIT(12), \
    day DATE, y YEAR, at TIME(3), dt DATETIME, dt6 DATETIME(6), ts TIMESTAMP(3) NULL, e ENUM('new','paid','shipped'), \
    st SET('red','green','blue'), v VARCHAR(80), v2 VARCHAR(400), latin VARCHAR(40) CHARACTER SET latin1, txt TEXT, \
    bin BINARY(16), vb VARBINARY(40), bl BLOB, js JSON)";

fn mixed_row(id: u64, random: &mut Random, sql: &mut String) {
    let r = random.next();
    let signed = r.cast_signed();
    let (month, day, hour, second) = (r % 12 + 1, r % 28 + 1, r % 24, r % 60);
    let year = 1970 + r % 60;
    let _ = write!(
        sql,
        "({id},{},{},{},{},{},{},{signed},{}.5,{signed}.25,{}.37,{signed}.0123456789,{},{},'{year}-{month:02}-{day:02}',{},\
         '{hour:02}:10:{second:02}.125','{year}-{month:02}-{day:02} {hour:02}:10:{second:02}',\
         '{year}-{month:02}-{day:02} {hour:02}:10:{second:02}.654321','2024-{month:02}-{day:02} {hour:02}:10:{second:02}.5',\
         {},'{}',",
        signed % 128,
        r % 256,
        signed % 32768,
        signed % 8_388_608,
        signed % 2_147_483_648,
        r % 4_294_967_296,
        signed % 10_000,
        signed % 1_000_000_000,
        r & 1,
        r & 0xFFF,
        1901 + r % 250,
        r % 3 + 1,
        random.pick(&["", "red", "red,blue", "red,green,blue"]),
    );
    let word = random.pick(&["Grün", "Ærø", "東京", "naïve", "\\'quoted\\'", "plain"]);
    let _ = write!(sql, "'{word} {r:x}',");
    if r & 7 == 0 {
        sql.push_str("NULL");
    } else {
        sql.push('\'');
        random.groups(12, sql);
        sql.push('\'');
    }
    let _ = write!(
        sql,
        ",'café {second}','{}',UNHEX('{:016x}{r:016x}'),UNHEX('{r:016x}'),UNHEX('{:0>128x}'),\
         '{{\"id\":{id},\"tags\":[\"{word}\",{second}],\"price\":{}.25,\"nested\":{{\"ok\":true,\"none\":null}}}}')",
        "lorem ipsum ".repeat((r % 8) as usize),
        random.next(),
        r,
        r % 1000,
    );
}

pub(crate) fn mixed(mut args: Args, stop: &AtomicBool) -> anyhow::Result<()> {
    let Common { mut connection, rows, .. } = common(&mut args, None)?;
    let per_transaction = positive(&mut args, "per-transaction", 100)?;
    args.end()?;
    // The same rows whatever the server's zone; ? as é in a strict mode would end the load.
    connection.run_all(&["SET NAMES utf8mb4", "SET time_zone = '+00:00'"])?;
    create(&mut connection, "mixed", MIXED)?;
    insert(&mut connection, "mixed", rows, per_transaction, stop, mixed_row)
}

/// A table after the other, so that a reader meets a new table every `rows` rows.
pub(crate) fn many(mut args: Args, stop: &AtomicBool) -> anyhow::Result<()> {
    let Common { mut connection, rows, .. } = common(&mut args, Some(100))?;
    let tables = positive(&mut args, "tables", 50)?;
    args.end()?;
    for n in 0..tables {
        let table = format!("many_{n}");
        create(&mut connection, &table, SYSBENCH)?;
        insert(&mut connection, &table, rows, 10, stop, sysbench_row)?;
    }
    Ok(())
}
