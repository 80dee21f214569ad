//! TABLE_MAP and rows events: which tables are wanted, and their rows held until the commit.

use super::*;

impl Instance {
    pub(super) fn on_table_map(&mut self, map: &TableMap<'_>, now: Now, out: &mut Output) -> Flow {
        let body = map.definition_bytes();
        let known = match self.tables.get(&map.table_id) {
            Some(TableState::Wanted(route)) => route.map == body,
            Some(TableState::Unwanted(b) | TableState::Quarantined(b)) => b == body,
            None => false,
        };
        if known {
            return Flow::Next;
        }
        let database = String::from_utf8_lossy(map.database).into_owned();
        let name = String::from_utf8_lossy(map.table).into_owned();
        let any = self
            .config
            .feeds
            .iter()
            .enumerate()
            .any(|(i, f)| self.feeds[i].parked.is_none() && f.rule.tables.matches(&database, &name));
        if !any {
            self.tables.insert(map.table_id, TableState::Unwanted(body.to_vec()));
            return Flow::Next;
        }
        let key = (database, name);
        if self.quarantined.contains_key(&key) {
            self.tables.insert(map.table_id, TableState::Quarantined(body.to_vec()));
            return Flow::Next;
        }
        if let Some(reason) = self.unreadable.get(&key) {
            if let Some(open) = self.open.as_mut() {
                open.unreadable.push((key, reason.clone()));
            }
            self.tables.insert(map.table_id, TableState::Quarantined(body.to_vec()));
            return Flow::Next;
        }
        let definition = self.definitions.get(&key).map(|(definition, _)| Arc::clone(definition));
        let table = match Table::compile(map, definition.as_deref()) {
            Ok(table) => table,
            Err(e) => {
                // A definition that does not fit is stale; without one there is nothing to read again.
                if definition.is_some() {
                    self.definitions.remove(&key);
                    self.mismatches += 1;
                    if self.mismatches <= 2 {
                        return self.load_table(key, true, out);
                    }
                }
                self.table_unreadable(key, e.to_string(), out);
                return self.on_table_map(map, now, out);
            }
        };
        self.mismatches = 0;
        if table.source == SchemaSource::Unnamed && self.config.definitions {
            return self.load_table(key, false, out);
        }
        let feeds = &self.feeds;
        match Route::new(table, body, &self.config.feeds, |i| feeds[i].parked.is_none()) {
            Ok(route) if route.wanted() => {
                self.tables.insert(map.table_id, TableState::Wanted(Arc::new(route)));
            }
            Ok(_) => {
                self.tables.insert(map.table_id, TableState::Unwanted(body.to_vec()));
            }
            Err((feed, error)) => {
                self.rule_fails(feed, &error, now, out);
                return Flow::Halt;
            }
        }
        Flow::Next
    }

    pub(super) fn load_table(&mut self, key: (String, String), again: bool, out: &mut Output) -> Flow {
        let at = self.read.file_pos.clone();
        out.command(Command::LoadTable { database: key.0.clone(), table: key.1.clone(), at: at.clone(), again });
        self.waiting_table = Some((key, at));
        Flow::Wait
    }

    pub(super) fn on_rows(
        &mut self,
        header: &EventHeader,
        (table_id, kind): (u64, binlog::rows::RowsKind),
        raw: &[u8],
        inner: bool,
        now: Now,
        out: &mut Output,
    ) -> Flow {
        let place = self.place(header, inner);
        let route = match self.tables.get(&table_id) {
            Some(TableState::Wanted(route)) => Some(Arc::clone(route)),
            Some(TableState::Unwanted(_) | TableState::Quarantined(_)) => None,
            None => {
                return self.halt_permanent(
                    format!("rows of table id {table_id} come without its table map"),
                    now,
                    out,
                );
            }
        };
        self.opened_by(header);
        let Some(open) = self.open.as_mut() else { return Flow::Next };
        match route {
            Some(route) => {
                if let Err(e) = open.hold_rows(&route, kind.into(), raw, place, self.spills.as_mut()) {
                    let message = format!("a large transaction cannot be kept on disk: {e}");
                    self.end_epoch(message, now, out);
                    return Flow::Halt;
                }
            }
            None => self.totals.skipped_events += 1,
        }
        open.events += 1;
        Flow::Next
    }
}
