//! Our decoder against another one, that of the crate mysql_common: logs of the type matrix and of random changes,
//! recorded from real servers under several settings, are decoded by both, event by event, and compared row by row and
//! cell by cell.
//!
//! Where the other decoder is known to be wrong, or says less than the log, stands in [`Excluded`], each with its reason;
//! everything else must be equal. Beside it the comparison with the servers' own word goes over all cells.

mod cells;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail};
use binlog::Cell;
use binlog::event::{Event, FileSplitter, StreamState};
use binlog::rows::RowsEvent;
use binlog::schema::{ColumnType, Table};
use mysql_common::binlog::EventStreamReader;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{Event as TheirEvent, EventData};
use mysql_common::binlog::row::BinlogRow;

use crate::run::{Running, log_files};
use crate::script::text;
use crate::settings::Settings;
use crate::spec::{Random, Server};

use cells::Outcome;

/// The largest event of these logs.
const LIMIT: usize = 1 << 26;

/// What of mysql_common is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Excluded {
    /// A negative MEDIUMINT: its sign is not extended, -5 comes as 16777211.
    NegativeMediumInt,
    /// A negative TIME(1) or TIME(2) with a fraction: the borrow of the fraction is computed without a sign.
    NegativeTimeWithFraction,
    /// A negative TIME of a table made before 5.6: its 24 bits are read without a sign.
    NegativeOldTime,
    /// A TIMESTAMP after 2038, which MariaDB has since 11.5: its seconds are read with a sign.
    TimestampAfter2038,
    /// The YEAR 0000: comes as 1900.
    YearZero,
    /// A JSON document with a value of a SQL type in it: it cannot be turned into JSON.
    JsonWithSqlValue,
    /// Rows of MariaDB's compressed events (`log_bin_compress`): these events are not known.
    CompressedEvent,
    /// Rows of a table with MariaDB's compressed columns: their types are not known.
    CompressedColumn,
}

/// What both decoders gave for some logs.
#[derive(Debug, Default)]
struct Compared {
    cells: u64,
    rows: u64,
    excluded: BTreeMap<Excluded, u64>,
    wrong: Vec<String>,
}

impl Compared {
    fn exclude(&mut self, why: Excluded) {
        *self.excluded.entry(why).or_default() += 1;
    }
}

/// Both decoders in the same place of the same log.
struct Both<'c> {
    ours: StreamState,
    theirs: EventStreamReader,
    tables: HashMap<u64, Table>,
    compared: &'c mut Compared,
}

impl Both<'_> {
    fn file(path: &Path, compared: &mut Compared) -> Result<()> {
        let (mut splitter, bytes) = (FileSplitter::new(LIMIT), std::fs::read(path)?);
        let theirs = EventStreamReader::new(BinlogVersion::Version4);
        let mut both = Both { ours: StreamState::default(), theirs, tables: HashMap::new(), compared };
        splitter.push(&bytes);
        while let Some(raw) = splitter.next_event()? {
            let (_, event) = both.ours.parse(raw)?;
            let their_event = both.theirs.read(raw)?.context("no event")?;
            if let Event::TransactionPayload(payload) = &event {
                let mut inner = payload.events(LIMIT)?;
                while let Some(raw) = inner.next_event()? {
                    let (_, event) = both.ours.parse_inner(raw)?;
                    let their_event = both.theirs.read_decompressed(raw)?.context("no event")?;
                    both.event(&event, &their_event)?;
                }
            }
            both.event(&event, &their_event)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>, their_event: &TheirEvent) -> Result<()> {
        match event {
            Event::TableMap(map) => drop(self.tables.insert(map.table_id, Table::compile(map, None)?)),
            Event::CompressedRows(_) => self.compared.exclude(Excluded::CompressedEvent),
            Event::Rows(rows) if rows.is_dummy() => {}
            Event::Rows(rows) => return self.rows(rows, their_event),
            _ => {}
        }
        Ok(())
    }

    fn rows(&mut self, rows: &RowsEvent<'_>, their_event: &TheirEvent) -> Result<()> {
        let table = self.tables.get(&rows.table_id).context("rows without their table map")?;
        let compressed = |ty| matches!(ty, ColumnType::VarCharCompressed { .. } | ColumnType::BlobCompressed { .. });
        if table.columns.iter().any(|column| compressed(column.ty)) {
            self.compared.exclude(Excluded::CompressedColumn);
            return Ok(());
        }
        let Some(EventData::RowsEvent(data)) = their_event.read_data()? else { bail!("no rows event") };
        let map = self.theirs.get_tme(data.table_id()).context("no table map")?;
        let mut their_rows = data.rows(map);
        let (mut reader, mut before, mut after) = (rows.reader(table)?, Vec::new(), Vec::new());
        while reader.next(&mut before, &mut after)? {
            let (their_before, their_after) =
                their_rows.next().context("a row less")?.with_context(|| format!("table {}", table.name))?;
            image(table, &before, their_before.as_ref(), self.compared)?;
            image(table, &after, their_after.as_ref(), self.compared)?;
            self.compared.rows += 1;
        }
        if their_rows.next().is_some() {
            bail!("a row more");
        }
        Ok(())
    }
}

/// Theirs has no place for a column that the image does not hold.
fn image(table: &Table, ours: &[Cell<'_>], theirs: Option<&BinlogRow>, compared: &mut Compared) -> Result<()> {
    let present = || table.columns.iter().zip(ours).filter(|(_, cell)| !matches!(cell, Cell::Absent));
    let count = theirs.map_or(0, BinlogRow::len);
    if present().count() != count {
        bail!("{}: {} values, theirs {count}", table.name, present().count());
    }
    for (index, (column, cell)) in present().enumerate() {
        let value = theirs.and_then(|row| row.as_ref(index)).context("no value")?;
        match cells::compare(column, cell, value)? {
            Outcome::Same => compared.cells += 1,
            Outcome::Excluded(why) => compared.exclude(why),
            Outcome::Differs => {
                let (name, ty) = (&column.name, &column.sql_type);
                compared.wrong.push(format!("{}.{name} {ty}: {cell:.200?}, theirs {value:.200?}", table.name));
            }
        }
    }
    Ok(())
}

/// Records workloads on a server, each under other settings, and compares what both decoders make of its log.
fn recorded(label: &str, workloads: usize) -> Compared {
    let running = Running::start(label).unwrap();
    let db = running.database();
    let server = Server::new(label, db.sql("SELECT VERSION()").unwrap().trim());
    let charsets = crate::charsets(db).unwrap();
    let (mut random, mut compared) = (Random::new(1), Compared::default());
    for (number, settings) in Settings::all(&server).into_iter().take(workloads).enumerate() {
        db.sql(&format!("{}FLUSH BINARY LOGS", settings.global(&server))).unwrap();
        let from = db.log_end().unwrap();
        let (matrix, changes) = (format!("o{number}"), format!("o{number}r"));
        let workloads = [
            (crate::matrix::steps(&server, &charsets, &matrix, true, &mut random), matrix),
            (
                crate::random::steps(
                    &server,
                    &charsets,
                    &changes,
                    30,
                    settings.full_metadata.then_some(8),
                    &mut random,
                ),
                changes,
            ),
        ];
        for (steps, database) in workloads {
            db.sql(&text(&steps, &database, &settings.session(&server), &server)).unwrap();
        }
        for file in log_files(db, from.split(':').next().unwrap()).unwrap() {
            Both::file(&file, &mut compared).unwrap();
        }
    }
    println!("{label}: {} rows, {} cells equal; not compared: {:?}", compared.rows, compared.cells, compared.excluded);
    compared
}

/// `floor`: cells that are compared at least.
fn equal(label: &str, workloads: usize, floor: u64) {
    let compared = recorded(label, workloads);
    let wrong = &compared.wrong;
    assert!(wrong.is_empty(), "{} cells differ:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
    assert!(compared.cells >= floor, "{} cells", compared.cells);
}

#[test]
fn both_decoders_say_the_same_of_mysql() {
    equal("mysql-9.7", 6, 45_000);
    equal("mysql-5.7.29", 2, 20_000);
}

#[test]
fn both_decoders_say_the_same_of_mariadb() {
    equal("mariadb-11.8", 4, 27_000);
}
