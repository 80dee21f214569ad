//! Prints the rows of a log file whose events carry names (`binlog_row_metadata=FULL`): `rows FILE`.

use std::collections::HashMap;
use std::io::Read;

use binlake_binlog::event::{Event, FileSplitter, StreamState};
use binlake_binlog::schema::Table;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut file = std::fs::File::open(std::env::args().nth(1).ok_or("usage: rows FILE")?)?;
    let (mut splitter, mut state, mut tables) = (FileSplitter::new(1 << 30), StreamState::default(), HashMap::new());
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            n => splitter.push(&piece[..n]),
        }
        while let Some(raw) = splitter.next_event()? {
            match state.parse(raw)?.1 {
                Event::TableMap(map) => drop(tables.insert(map.table_id, Table::compile(&map, None)?)),
                Event::Rows(rows) => {
                    let Some(table) = tables.get(&rows.table_id) else { continue };
                    let (mut reader, mut before, mut after) = (rows.reader(table)?, Vec::new(), Vec::new());
                    while reader.next(&mut before, &mut after)? {
                        println!("{:?} {}.{} {before:?} -> {after:?}", rows.kind, table.database, table.name);
                    }
                }
                _ => {}
            }
        }
    }
}
