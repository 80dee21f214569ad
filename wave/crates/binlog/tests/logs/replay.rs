//! Replays a log file into tables of text, as a replica would: whoever reads every event, image and value right ends
//! with what SELECT gave on the server.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use binlake_binlog as binlog;
use binlog::Cell;
use binlog::event::{Event, FileSplitter, QueryKind, StreamState, XaStatement, classify_query};
use binlog::gtid::GtidSet;
use binlog::rows::RowsEvent;
use binlog::schema::{Column, ColumnDefinition, ColumnType, SchemaSource, Table, TableDefinition};

pub(crate) const LIMIT: usize = 1 << 24;

/// Values as SELECT prints them; `None` where an image lacks the column.
type Row = Vec<Option<String>>;

#[derive(Debug)]
struct Change {
    table: String,
    before: Option<Row>,
    after: Option<Row>,
}

/// What a file did.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) tables: BTreeMap<String, Vec<Row>>,
    pub(crate) seen: BTreeMap<String, usize>,
    pub(crate) gtids: GtidSet,
    pub(crate) sources: Vec<SchemaSource>,
    pub(crate) schemas: BTreeMap<String, Arc<Table>>,
    /// XA transactions that were prepared, then rolled back.
    pub(crate) rolled_back: usize,
    definitions: HashMap<String, TableDefinition>,
    by_id: HashMap<u64, Arc<Table>>,
    open: Vec<Change>,
    prepared: HashMap<String, Vec<Change>>,
}

impl Replay {
    pub(crate) fn new(columns: &str) -> Self {
        let mut definitions: HashMap<String, TableDefinition> = HashMap::new();
        for line in columns.lines() {
            let [table, name, column_type, nullable, charset, key, extra] =
                line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let definition = definitions.entry(table.to_owned()).or_insert_with(|| TableDefinition {
                database: "d".into(),
                name: table.into(),
                columns: Vec::new(),
            });
            definition.columns.push(ColumnDefinition {
                name: name.into(),
                column_type: column_type.into(),
                nullable: nullable == "YES",
                charset: (charset != "-").then(|| charset.into()),
                key_part: key.parse().ok(),
                extra: extra.into(),
            });
        }
        Self { definitions, ..Self::default() }
    }

    /// Reads a whole file in pieces.
    pub(crate) fn file(mut self, bytes: &[u8]) -> Result<Self, binlog::Error> {
        let (mut splitter, mut state) = (FileSplitter::new(LIMIT), StreamState::default());
        for piece in bytes.chunks(777) {
            splitter.push(piece);
            while let Some(raw) = splitter.next_event()? {
                self.raw(&mut state, raw)?;
            }
        }
        Ok(self)
    }

    /// Reads one event.
    pub(crate) fn raw(&mut self, state: &mut StreamState, raw: &[u8]) -> Result<(), binlog::Error> {
        let (header, event) = state.parse(raw)?;
        self.count(header.event_type);
        if let Event::TransactionPayload(payload) = &event {
            let mut inner = payload.events(LIMIT)?;
            while let Some(raw) = inner.next_event()? {
                let (header, event) = state.parse_inner(raw)?;
                self.count(header.event_type);
                self.event(event)?;
            }
        }
        self.event(event)
    }

    pub(crate) fn definition(&self, table: &str) -> TableDefinition {
        self.definitions[table].clone()
    }

    fn count(&mut self, event_type: binlog::event::EventType) {
        *self.seen.entry(event_type.to_string()).or_default() += 1;
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), binlog::Error> {
        let mut buffer = Vec::new();
        match event {
            Event::PreviousGtids(set) => self.gtids = GtidSet::MySql(set),
            Event::MariaGtidList(pos) => self.gtids = GtidSet::MariaDb(pos),
            Event::Gtid(gtid) => {
                if let GtidSet::MySql(set) = &mut self.gtids {
                    set.add(gtid.uuid, gtid.tag, gtid.gno);
                }
            }
            Event::MariaGtid(gtid) => {
                if let GtidSet::MariaDb(pos) = &mut self.gtids {
                    pos.update(gtid.domain, gtid.server, gtid.sequence);
                }
            }
            Event::TableMap(map) => {
                let name = String::from_utf8(map.table.to_vec()).unwrap_or_default();
                let table = Arc::new(Table::compile(&map, self.definitions.get(&name))?);
                self.sources.push(table.source);
                self.schemas.insert(name, table.clone());
                self.by_id.insert(map.table_id, table);
            }
            Event::Rows(rows) => self.rows(&rows)?,
            Event::CompressedRows(rows) => self.rows(&rows.uncompress(LIMIT, &mut buffer)?)?,
            Event::Query(query) => self.query(query.sql),
            Event::CompressedQuery(query) => {
                binlog::mariadb::uncompress(query.sql, LIMIT, &mut buffer)?;
                self.query(&buffer);
            }
            Event::Xid(_) => self.commit(),
            Event::XaPrepare(xa) if xa.one_phase => self.commit(),
            Event::XaPrepare(xa) => {
                let changes = std::mem::take(&mut self.open);
                self.prepared.insert(xa.xid.to_sql(), changes);
            }
            Event::Unknown { code, .. } => {
                return Err(binlog::Error::Unsupported { what: "event type", code: code.into() });
            }
            _ => {}
        }
        Ok(())
    }

    fn query(&mut self, sql: &[u8]) {
        match classify_query(sql) {
            QueryKind::Commit => self.commit(),
            QueryKind::Rollback => self.open.clear(),
            QueryKind::Xa(XaStatement::Commit { xid, .. }) => {
                self.open = self.prepared.remove(std::str::from_utf8(xid).unwrap_or_default()).unwrap_or_default();
                self.commit();
            }
            QueryKind::Xa(XaStatement::Rollback { xid }) => {
                let rolled_back = self.prepared.remove(std::str::from_utf8(xid).unwrap_or_default());
                self.rolled_back += usize::from(rolled_back.is_some());
            }
            _ => {}
        }
    }

    fn rows(&mut self, event: &RowsEvent<'_>) -> Result<(), binlog::Error> {
        let Some(table) = self.by_id.get(&event.table_id).cloned() else {
            return Err(binlog::Error::Unsupported { what: "table id without TABLE_MAP", code: event.table_id });
        };
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let (mut reader, mut skipper) = (event.reader(&table)?, event.reader(&table)?);
        while reader.next(&mut before, &mut after)? {
            assert_eq!(skipper.skip(), Ok(true));
            let image = |cells: &[Cell<'_>]| -> Result<Option<Row>, binlog::Error> {
                if cells.is_empty() {
                    return Ok(None);
                }
                cells
                    .iter()
                    .zip(&table.columns)
                    .zip(before.iter().map(Some).chain(std::iter::repeat(None)))
                    .map(|((cell, column), old)| value(cell, column, old))
                    .collect::<Result<Row, _>>()
                    .map(Some)
            };
            let change = Change { table: table.name.clone(), before: image(&before)?, after: image(&after)? };
            self.open.push(change);
        }
        assert_eq!(skipper.skip(), Ok(false));
        Ok(())
    }

    /// Applies what the transaction did; images are found by all the values they hold.
    fn commit(&mut self) {
        for change in std::mem::take(&mut self.open) {
            let rows = self.tables.entry(change.table).or_default();
            let Some(before) = change.before else {
                // A column that an inserted image lacks has its default, which is NULL in all these tables.
                let default = |v: Option<String>| v.or_else(|| Some("NULL".into()));
                rows.extend(change.after.map(|row| row.into_iter().map(default).collect()));
                continue;
            };
            let same = |row: &Row| row.iter().zip(&before).all(|(have, image)| image.is_none() || have == image);
            let Some(at) = rows.iter().position(same) else { continue };
            let Some(after) = change.after else {
                rows.remove(at);
                continue;
            };
            for (have, new) in rows[at].iter_mut().zip(after) {
                if new.is_some() {
                    *have = new;
                }
            }
        }
    }

    /// The lines of SELECT over all tables of `like`, sorted.
    pub(crate) fn lines(&self, like: &[&str]) -> Vec<String> {
        let mut lines: Vec<String> = like
            .iter()
            .flat_map(|name| self.tables.get(*name).into_iter().flatten().map(move |row| (name, row)))
            .map(|(name, row)| {
                let text = row.iter().map(|v| v.as_deref().unwrap_or("ABSENT"));
                std::iter::once(*name).chain(text).collect::<Vec<_>>().join("\t")
            })
            .collect();
        lines.sort();
        lines
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

fn value(cell: &Cell<'_>, column: &Column, before: Option<&Cell<'_>>) -> Result<Option<String>, binlog::Error> {
    let text = match *cell {
        Cell::Absent => return Ok(None),
        Cell::Null => "NULL".into(),
        Cell::Bit(bits) => bits.to_string(),
        Cell::Geometry(bytes) | Cell::Vector(bytes) => hex(bytes),
        Cell::Bytes(bytes) => match column.ty {
            ColumnType::Char { max_bytes } => format!("{:0<width$}", hex(bytes), width = 2 * usize::from(max_bytes)),
            _ => hex(bytes),
        },
        Cell::Json(bytes) => json_text(bytes)?,
        Cell::JsonDiff(diff) => {
            let Some(Cell::Json(old)) = before else {
                return Err(binlog::Error::Unsupported { what: "JSON diff without a before-image", code: 0 });
            };
            let mut text = Vec::new();
            binlog::json::apply_diff(old, diff, &mut text)?;
            String::from_utf8_lossy(&text).into_owned()
        }
        ref other => {
            let mut out = Vec::new();
            binlog::render::render_text(other, column, &mut out)?;
            String::from_utf8_lossy(&out).into_owned()
        }
    };
    Ok(Some(text))
}

fn json_text(bytes: &[u8]) -> Result<String, binlog::Error> {
    let mut out = Vec::new();
    binlog::json::write_text(bytes, &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}
