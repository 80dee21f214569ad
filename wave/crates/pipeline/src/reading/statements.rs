//! Statements in the log: what begins and ends transactions, DDL, XA, and changes in statement format.

use super::*;

impl Instance {
    pub(super) fn on_query(&mut self, header: &EventHeader, q: &Query<'_>, out: &mut Output) -> Flow {
        let place = self.place(header, false);
        let open = self.opened_by(header);
        open.thread_id = Some(q.thread_id);
        match classify_query(q.sql) {
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
            QueryKind::Savepoint => open.savepoint(&savepoint_name(q.sql)),
            QueryKind::RollbackToSavepoint => open.rollback_to(&savepoint_name(q.sql)),
            QueryKind::Ddl(ddl) => {
                let database = text(q.schema);
                let sql = q.charset.decode_to_string(q.sql).unwrap_or_else(|_| text(q.sql));
                let ends = !open.begun;
                if !ddl.temporary {
                    let (tables, renames) = (ddl.tables_in(&database), ddl.renames_in(&database));
                    let about = ddl.database.clone().unwrap_or(database);
                    let item = Item::Ddl { database: about, sql, tables: tables.clone(), event: open.events, place };
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

    /// A change logged as a statement cannot be turned into rows: what it changed is missing from here on.
    pub(super) fn statement_format(&mut self, q: &Query<'_>, out: &mut Output) {
        let database = text(q.schema);
        let message = format!(
            "a change in database `{database}` was logged as a statement, so its rows are unknown and were not published; \
             set binlog_format=ROW for every session"
        );
        self.incident(IncidentCode::StatementFormat, &database, message, out);
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
        self.unreadable.retain(|table, _| !(tables.is_empty() || tables.contains(table)));
        let at = self.read.file_pos.clone();
        // A compressed transaction is read anew when a definition had to be asked for: what was given for its position
        // is behind this statement.
        self.definitions.retain(|table, (_, since)| *since >= at || !(tables.is_empty() || tables.contains(table)));
        if self.config.definitions {
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
        };
        self.prepared.insert(xid.to_string(), open);
        if let Some(gtid) = &gtid {
            add_gtid(&mut self.read.gtids, gtid);
        }
        if self.frontier.has_open_xa(&record) {
            return Flow::Next; // read again after a restart: the checkpoint knows it
        }
        if self.skipping(0) {
            if self.beyond_frontier() {
                self.frontier.open_xa.push(record);
            }
            return self.after_transaction();
        }
        let slot = self.ledger.open(End {
            file_pos: self.read.file_pos.clone(),
            gtid,
            seq: self.seq,
            commit_us: 0,
            xa: XaChange::Prepared(record),
        });
        self.ledger.close(slot);
        self.after_transaction()
    }

    pub(super) fn xa_commit(&mut self, header: &EventHeader, xid: String, out: &mut Output) -> Flow {
        if let Some(prepared) = self.prepared.remove(&xid) {
            if let Some(open) = self.open.as_mut() {
                open.adopt(prepared);
            }
        } else if !self.skipping(0) {
            let message =
                format!("XA COMMIT {xid}: its PREPARE lies before the start of reading; its rows are not published");
            self.incident(IncidentCode::ServerIncident, "", message, out);
        }
        self.commit(header, None, XaChange::Decided(xid), out)
    }
}

/// The name in `SAVEPOINT name` or `ROLLBACK TO name`, which the server writes last and quoted.
fn savepoint_name(sql: &[u8]) -> String {
    let sql = text(sql);
    let sql = sql.trim();
    match sql.strip_suffix('`').and_then(|s| s.split_once('`')) {
        Some((_, name)) => name.replace("``", "`"),
        None => sql.rsplit(char::is_whitespace).next().unwrap_or_default().to_string(),
    }
}
