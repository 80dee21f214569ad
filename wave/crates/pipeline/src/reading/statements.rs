//! Statements in the log: what begins and ends transactions, DDL, XA, and changes in statement format.

use binlog::charset::Charset;
use binlog::charset::names::NameCollation;
use binlog::event::{AlterPhase, FormatDescription, StreamState};
use binlog::query::{savepoint_name, written_table};

use super::*;

/// Names of tables kept for display; the changes of more are counted together.
const STATEMENTS_KEPT: usize = 100;

impl Instance {
    pub(super) fn on_query(&mut self, header: &EventHeader, q: &Query<'_>, out: &mut Output) -> Flow {
        let place = self.place(header, false);
        let names = self.server.names;
        let (sql, logged) = (q.text(), q.sql);
        let q = &Query { sql: sql.as_bytes(), charset: Charset::Utf8mb4, ..*q };
        let kind = classify_query(q.sql);
        if kind == QueryKind::Begin && self.open.as_ref().is_some_and(|open| open.begun && open.gtid.is_none()) {
            // A relay log, whose replica has begun the transaction anew; GTID events do so by themselves.
            self.begin(header, None, 0);
        }
        let open = self.opened_by(header);
        open.thread_id = Some(q.thread_id);
        match kind {
            QueryKind::Begin | QueryKind::Xa(XaStatement::Start { .. }) => open.begun = true,
            QueryKind::Xa(XaStatement::End { .. }) => {}
            QueryKind::Xa(XaStatement::Prepare { xid }) => return self.prepare(&text(xid)),
            QueryKind::Xa(XaStatement::Commit { xid, .. }) => return self.xa_commit(header, text(xid), out),
            QueryKind::Xa(XaStatement::Rollback { xid }) => {
                let xid = text(xid);
                open.clear();
                self.prepared.remove(&xid);
                return self.commit(header, None, XaChange::Decided(xid), out);
            }
            QueryKind::Commit => return self.commit(header, None, XaChange::None, out),
            QueryKind::Rollback => {
                let lost = !open.items.is_empty();
                open.clear();
                if lost {
                    let message = "a logged transaction was rolled back by the server; its rows are not published";
                    self.incident(IncidentCode::RolledBack, "", message.to_string(), out);
                }
                return self.commit(header, None, XaChange::None, out);
            }
            QueryKind::Savepoint => open.savepoint(savepoint_weights(&open.stream, logged)),
            QueryKind::RollbackToSavepoint => self.rollback_to(logged, out),
            QueryKind::Ddl(ddl) => {
                let database = text(q.schema);
                let ends = !open.begun;
                if !ddl.temporary && open.alter.is_none_or(AlterPhase::is_done) {
                    let (tables, renames) = (ddl.tables_in(&database, names), ddl.renames_in(&database, names));
                    let about = names.fold(ddl.database.as_ref().unwrap_or(&database));
                    let (sql, event) = (sql.into_owned(), open.events);
                    let item = Item::Ddl { database, sql, about, tables: tables.clone(), event, place };
                    open.items.push(item);
                    self.schema_changed(ddl.verb, tables, renames, out);
                }
                if let Some(open) = self.open.as_mut() {
                    open.events += 1;
                }
                if ends {
                    return self.commit(header, None, XaChange::None, out);
                }
            }
            kind @ (QueryKind::Dml | QueryKind::Nothing | QueryKind::Other) => {
                let ends = !open.begun;
                // Within a transaction the server logs no statement that changes no table.
                if kind == QueryKind::Dml || open.begun && kind == QueryKind::Other {
                    self.statement_format(q, out);
                }
                if ends {
                    return self.commit(header, None, XaChange::None, out);
                }
            }
        }
        Flow::Next
    }

    /// A change logged as a statement cannot be turned into rows: what it changed is missing from here on. The table that
    /// it names is not stopped: it need not be the one that was changed (a view), nor the only one (triggers, cascades,
    /// joins), and nothing may have been changed at all.
    pub(super) fn statement_format(&mut self, q: &Query<'_>, out: &mut Output) {
        if self.skipping_open() {
            return;
        }
        let (verb, named) = (verb_of(q.sql), written_table(q.sql));
        let name = named.map_or_else(
            || text(q.schema),
            |t| format!("{}.{}", t.database.unwrap_or_else(|| text(q.schema)), t.table),
        );
        let at = self.read.file_pos.clone();
        let known = self.statements.len();
        let seen = match self.statements.get_mut(&name) {
            Some(seen) => seen,
            None if known < STATEMENTS_KEPT => self.statements.entry(name.clone()).or_default(),
            None => self.statements.entry("(others)".to_string()).or_default(),
        };
        if at <= seen.last {
            return; // read again
        }
        if seen.count == 0 {
            seen.first.clone_from(&at);
        }
        seen.last.clone_from(&at);
        seen.count += 1;
        let count = seen.count;
        // A session that works like this must not fill the log.
        if !power_of_ten(count) {
            return;
        }
        let begin = self.open.as_ref().map_or(at.pos, |open| open.start.pos);
        let message = format!(
            "{verb} on {name} was logged as a statement (number {count} on it), because its session's binlog_format is not \
             ROW: the rows that it changed are unknown and not published, nor those of triggers, views and cascades. See it \
             with SHOW BINLOG EVENTS IN '{}' FROM {begin} LIMIT 10; SET GLOBAL binlog_format = 'ROW', let sessions reconnect \
             that have another, and take a new snapshot of the tables concerned",
            at.file
        );
        self.incident(IncidentCode::StatementFormat, &name, message, out);
    }

    /// To a savepoint that was set before the first logged change, the server logs the rollback of the whole: so every
    /// name here is known. `sql` is as logged, which is UTF-8 whatever the session's character set.
    fn rollback_to(&mut self, sql: &[u8], out: &mut Output) {
        let Some(open) = self.open.as_mut() else { return };
        if open.rollback_to(&savepoint_weights(&open.stream, sql)) {
            return;
        }
        let start = open.start.clone();
        if self.skipping_open() {
            return;
        }
        let message = format!(
            "the transaction that begins at {start} goes back to a savepoint that it did not set ({}): rows of it that were \
             rolled back may be published; compare its tables with the server",
            text(sql)
        );
        self.incident(IncidentCode::ServerIncident, "", message, out);
    }

    pub(super) fn schema_changed(
        &mut self,
        verb: Verb,
        tables: Vec<(String, String)>,
        renames: Option<Vec<Renaming>>,
        out: &mut Output,
    ) {
        if !verb.redefines_tables() {
            return;
        }
        let names = self.server.names;
        let named =
            |(database, table): &(String, String)| tables.is_empty() || tables.contains(&names.key(database, table));
        self.unreadable.retain(|table, _| !named(table));
        let at = self.read.file_pos.clone();
        // A compressed transaction is read anew when a definition had to be asked for: what was given for its position
        // is behind this statement.
        self.definitions.retain(|table, (_, since)| *since >= at || !named(table));
        if self.config.definitions {
            self.schema_unstored += 1;
            out.command(Command::SchemaChanged { tables, renames, at });
        }
    }

    pub(super) fn prepare(&mut self, xid: &str) -> Flow {
        let Some(open) = self.open.take() else { return Flow::Next };
        if !open.unreadable.is_empty() {
            self.tables.clear();
        }
        let gtid = open.gtid.clone();
        let record = OpenXa {
            xid: xid.to_string(),
            gtid: gtid.as_ref().map(gtid_text),
            file: open.start.file.clone(),
            pos: open.start.pos,
            after: matches!(gtid, Some(Gtid::MariaDb { .. })).then(|| self.read.gtids.to_string()),
        };
        let skipping = self.skipping(gtid.as_ref(), 0);
        if !self.belongs_here(gtid.as_ref(), skipping, Some(&record)) {
            return Flow::Halt;
        }
        self.prepared.insert(xid.to_string(), open);
        self.count_gtid(gtid.as_ref());
        if self.frontier.has_open_xa(&record) {
            self.end_rereading();
            return Flow::Next; // read again after a restart: the checkpoint knows it
        }
        if skipping {
            if self.beyond_frontier() {
                self.frontier.open_xa.push(record);
            }
            self.end_rereading();
            return self.after_transaction();
        }
        let end = self.end_here(gtid, XaChange::Prepared(record));
        let slot = self.ledger.open(end);
        self.ledger.close(slot);
        self.after_transaction()
    }

    pub(super) fn xa_commit(&mut self, header: &EventHeader, xid: String, out: &mut Output) -> Flow {
        if let Some(prepared) = self.prepared.remove(&xid) {
            if let Some(open) = self.open.as_mut() {
                open.adopt(prepared);
            }
        } else if !self.skipping(self.open.as_ref().and_then(|open| open.gtid.as_ref()), 0) {
            let message =
                format!("XA COMMIT {xid}: its PREPARE lies before the start of reading; its rows are not published");
            self.incident(IncidentCode::ServerIncident, "", message, out);
        }
        self.commit(header, None, XaChange::Decided(xid), out)
    }
}

/// The first word, which holds no data.
fn verb_of(sql: &[u8]) -> String {
    let sql = String::from_utf8_lossy(sql);
    let verb: String = sql.trim_start().chars().take_while(char::is_ascii_alphabetic).take(16).collect();
    if verb.is_empty() { "a change".to_string() } else { verb.to_ascii_uppercase() }
}

fn power_of_ten(n: u64) -> bool {
    n.checked_ilog10().is_some_and(|digits| n == 10_u64.pow(digits))
}

fn savepoint_weights(stream: &StreamState, sql: &[u8]) -> Vec<u16> {
    let collation = stream.format().map_or(NameCollation::General, FormatDescription::name_collation);
    collation.weights(&savepoint_name(sql).unwrap_or_default())
}
