//! From events to committed transactions: positions, table maps, statements, XA.

mod file;
mod gtids;
mod statements;
mod tables;

use std::sync::Arc;

use binlog::event::{Event, EventHeader, Query, QueryKind, Verb, XaStatement, classify_query};
use binlog::gtid::GtidSet;
use binlog::position::FilePos;
use binlog::query::Renaming;
use binlog::schema::{SchemaSource, Table};
use binlog::table_map::TableMap;

use crate::assembly::{Gtid, Item, OpenTransaction, RowsPlace};
use crate::checkpoint::OpenXa;
use crate::format::Transaction;
use crate::instance::{Instance, TableState};
use crate::io::{Cause, Command, Failure, FailureKind, IncidentCode, Input, Now, Output, Skip, Until};
use crate::progress::{End, XaChange, add_gtid};
use crate::publishing::Publishing;
use crate::route::Route;

pub(crate) use file::LogFile;

/// Largest event accepted out of a payload: `max_allowed_packet` is at most 1 GiB.
pub(crate) const MAX_EVENT: usize = (1 << 30) + 4096;

/// Tables compiled and kept between transactions; a few KiB each, more with many columns.
const TABLES_KEPT: usize = 4096;

/// What to do after an event.
enum Flow {
    Next,
    /// A table definition is needed first; the event is taken up again.
    Wait,
    /// Reading is over (failure, end of epoch or wanted end).
    Halt,
}

impl Instance {
    /// Takes the next event of the batch; false when there is none.
    pub(crate) fn read_next(&mut self, now: Now, out: &mut Output) -> bool {
        let Some((batch, mut at)) = self.batch.take() else { return false };
        while let Some(range) = batch.events.get(at) {
            let raw = batch.buf.get(range.clone()).unwrap_or_default();
            match self.on_event(raw, now, out) {
                Flow::Next => at += 1,
                Flow::Wait => {
                    self.batch = Some((batch, at));
                    return true;
                }
                Flow::Halt => return true,
            }
            if self.publishing.is_some() {
                break;
            }
        }
        if at < batch.events.len() {
            self.batch = Some((batch, at));
            return true;
        }
        self.spent = Some(batch);
        self.publishing.is_some()
    }

    /// A batch that is used up, for reuse of its memory.
    pub fn take_spent(&mut self) -> Option<crate::io::Batch> {
        self.spent.take()
    }

    fn on_event(&mut self, raw: &[u8], now: Now, out: &mut Output) -> Flow {
        self.totals.events += 1;
        self.totals.bytes += raw.len() as u64;
        let stream = Arc::clone(&self.stream);
        let (header, event) = match stream.parse_verified(raw) {
            Ok(parsed) => parsed,
            Err(e) => return self.undecodable(raw, &e, now, out),
        };
        let before = self.read.file_pos.pos;
        self.event_start = before;
        self.track_position(&header);
        let mut flow = match event {
            Event::FormatDescription(format) => {
                self.relayed |= header.relay();
                // A relay log may go on within a transaction: in its next file, and where the replica connected anew
                // (`created` tells when the source began this way: after its crash nothing goes on).
                let goes_on = header.relay() || self.relayed && format.created == 0;
                match Arc::make_mut(&mut self.stream).parse(raw) {
                    Ok(_) => {
                        if !goes_on {
                            self.cut_off(out);
                        }
                        if self.open.is_none() {
                            self.tables.clear();
                        }
                        if header.relay() { Flow::Next } else { self.begin_file(header.timestamp, now, out) }
                    }
                    Err(e) => self.undecodable(raw, &e, now, out),
                }
            }
            // To the next file of a relay log: positions are those of the source.
            Event::Rotate { .. } if header.relay() => Flow::Next,
            Event::Rotate { pos, file, .. } => {
                self.read.file_pos = FilePos { file: String::from_utf8_lossy(file).into_owned(), pos };
                Flow::Next
            }
            Event::TransactionPayload(payload) => self.on_payload(&payload, now, out),
            Event::PreviousGtids(set) => {
                self.executed_before(GtidSet::MySql(set));
                Flow::Next
            }
            Event::MariaGtidList(pos) => {
                self.executed_before(GtidSet::MariaDb(pos));
                Flow::Next
            }
            event => self.on_inner(&header, &event, raw, false, now, out),
        };
        if let Some(found) = self.log.contradiction() {
            return self.log_reset(&found, now, out);
        }
        if matches!(flow, Flow::Wait) {
            self.read.file_pos.pos = before;
            self.totals.events -= 1;
            self.totals.bytes -= raw.len() as u64;
        } else if self.open.is_none() {
            self.boundary.clone_from(&self.read.file_pos);
            // Also without a transaction: the log may end with none, or reading may begin at its end.
            if matches!(flow, Flow::Next) && self.until_reached() {
                self.finishing = true;
                flow = Flow::Halt;
            }
        }
        flow
    }

    /// A log file ends within a transaction only if its server died there: it was never committed.
    pub(crate) fn cut_off(&mut self, out: &mut Output) {
        let Some(open) = self.open.take().filter(|open| !open.items.is_empty()) else { return };
        let message = format!(
            "the log ends within the transaction that begins at {}, which therefore was never committed; its rows are not \
             published",
            open.start
        );
        self.incident(IncidentCode::RolledBack, "", message, out);
    }

    /// All files are read.
    pub(crate) fn end_of_input(&mut self, now: Now, out: &mut Output) {
        self.cut_off(out);
        if let Some(Skip::UntilPosition(start)) = &self.skip
            && self.read.file_pos < *start
        {
            let message = format!("the wanted start {start} is not in the files, which end at {}", self.read.file_pos);
            let failure = Failure::new(FailureKind::Permanent, Cause::Conflict, message);
            return self.handle(now, Input::Disconnected(failure), out);
        }
        self.finishing = true;
        self.handle(now, Input::Tick, out);
    }

    /// Events made up for the stream carry 0, a replica's own a place in its relay log.
    fn track_position(&mut self, header: &EventHeader) {
        if header.log_pos == 0 || header.artificial() || header.relay() {
            return;
        }
        let pos = &mut self.read.file_pos.pos;
        *pos = header.end_pos(*pos);
    }

    fn on_payload(&mut self, payload: &binlog::payload::TransactionPayload<'_>, now: Now, out: &mut Output) -> Flow {
        // The payload is one whole transaction: if it has to be taken up again, it starts anew.
        let mut events = match payload.events(MAX_EVENT) {
            Ok(events) => events,
            Err(e) => return self.unreadable_payload(&e, now, out),
        };
        let stream = Arc::clone(&self.stream);
        loop {
            let raw = match events.next_event() {
                Ok(Some(raw)) => raw,
                Ok(None) => return Flow::Next,
                Err(e) => return self.unreadable_payload(&e, now, out),
            };
            let (header, event) = match stream.parse_inner(raw) {
                Ok(parsed) => parsed,
                Err(e) => return self.unreadable_payload(&e, now, out),
            };
            match self.on_inner(&header, &event, raw, true, now, out) {
                Flow::Next => {}
                Flow::Wait => {
                    if let Some(open) = self.open.as_mut() {
                        open.clear();
                    }
                    return Flow::Wait;
                }
                Flow::Halt => return Flow::Halt,
            }
        }
    }

    fn unreadable_payload(&mut self, error: &binlog::Error, now: Now, out: &mut Output) -> Flow {
        let at = FilePos { file: self.read.file_pos.file.clone(), pos: self.event_start };
        self.halt_permanent(format!("the compressed transaction at {at} cannot be read: {error}"), now, out)
    }

    /// Events that can stand in a transaction, directly or in a payload.
    fn on_inner(
        &mut self,
        header: &EventHeader,
        event: &Event<'_>,
        raw: &[u8],
        inner: bool,
        now: Now,
        out: &mut Output,
    ) -> Flow {
        match event {
            Event::Gtid(g) => {
                let gtid = Gtid::MySql { uuid: g.uuid, tag: g.tag.to_string(), gno: g.gno };
                self.begin(header, Some(gtid), g.immediate_commit_micros);
            }
            Event::AnonymousGtid(g) => self.begin(header, None, g.immediate_commit_micros),
            Event::MariaGtid(g) => {
                let gtid = Gtid::MariaDb { domain: g.domain, server: g.server, sequence: g.sequence };
                self.begin(header, Some(gtid), 0);
                if let Some(open) = self.open.as_mut() {
                    open.begun = !g.standalone();
                    open.alter = g.alter;
                }
            }
            Event::Query(q) => return self.on_query(header, q, out),
            Event::TableMap(map) => return self.on_table_map(map, now, out),
            Event::Rows(rows) if rows.is_dummy() => {}
            Event::Rows(rows) => return self.on_rows(header, (rows.table_id, rows.kind), raw, inner, now, out),
            Event::CompressedRows(rows) => {
                return self.on_rows(header, (rows.table_id(), rows.kind()), raw, inner, now, out);
            }
            Event::CompressedQuery(q) => {
                let mut sql = Vec::new();
                return match binlog::mariadb::uncompress(q.sql, MAX_EVENT, &mut sql) {
                    Ok(()) => self.on_query(header, &Query { sql: &sql, ..*q }, out),
                    Err(e) => self.halt_permanent(format!("compressed statement: {e}"), now, out),
                };
            }
            // LOAD DATA in statement format; it stands within a transaction.
            Event::ExecuteLoadQuery(load) => self.statement_format(&load.query, out),
            Event::Xid(xid) => return self.commit(header, Some(*xid), XaChange::None, out),
            Event::XaPrepare(x) => {
                let xid = x.xid.to_sql();
                if x.one_phase {
                    return self.commit(header, None, XaChange::None, out);
                }
                return self.prepare(&xid);
            }
            Event::Incident(incident) => {
                let message = format!(
                    "the server reports incident {} ({}): changes may be missing from its log",
                    incident.code, incident.message
                );
                self.incident(IncidentCode::ServerIncident, "", message, out);
            }
            Event::Unknown { code, ignorable: false } => {
                self.totals.unknown_events += 1;
                let message = format!("event type {code} is not known to this version and was passed over");
                self.incident(IncidentCode::UnknownEvent, "", message, out);
            }
            Event::Heartbeat { file, pos } => {
                // Sent by the server, but not of its log.
                self.totals.events -= 1;
                self.totals.bytes -= raw.len() as u64;
                self.on_heartbeat(file, *pos, now);
            }
            _ => {}
        }
        Flow::Next
    }

    /// A heartbeat names the end of the log.
    fn on_heartbeat(&mut self, file: &[u8], pos: u64, now: Now) {
        let at = FilePos { file: String::from_utf8_lossy(file).into_owned(), pos };
        if self.open.is_none() && at > self.read.file_pos {
            self.read.file_pos = at;
        }
        // Nobody commits any more: the wanted time has passed without a transaction that tells so.
        if let Some(Until::Time { us, log_end }) = &self.config.until
            && self.open.is_none()
            && now.unix_us > *us
            && self.read.file_pos >= *log_end
        {
            self.finishing = true;
        }
    }

    fn begin(&mut self, header: &EventHeader, gtid: Option<Gtid>, commit_us: u64) {
        let size = u64::from(header.event_size);
        let start = self.read.file_pos.pos.saturating_sub(size);
        self.open = Some(OpenTransaction {
            gtid,
            commit_us: Some(commit_us).filter(|us| *us != 0),
            server_id: header.server_id,
            start: FilePos { file: self.read.file_pos.file.clone(), pos: start },
            stream: Arc::clone(&self.stream),
            ..OpenTransaction::default()
        });
    }

    /// The open transaction; a server without GTID events opens it with its first statement or rows.
    fn opened_by(&mut self, header: &EventHeader) -> &mut OpenTransaction {
        if self.open.is_none() {
            self.begin(header, None, 0);
        }
        self.open.get_or_insert_default()
    }

    /// Where the present event stands.
    fn place(&self, header: &EventHeader, inner: bool) -> RowsPlace {
        let end_pos = self.read.file_pos.pos;
        RowsPlace { timestamp: header.timestamp, pos: self.event_start, end_pos, inner }
    }

    fn commit(&mut self, header: &EventHeader, xid: Option<u64>, xa: XaChange, out: &mut Output) -> Flow {
        let open = match self.open.take() {
            Some(open) => open,
            None => return Flow::Next,
        };
        let commit_us = open.commit_us.unwrap_or(u64::from(header.timestamp) * 1_000_000);
        let skipping = self.skipping(open.gtid.as_ref(), commit_us);
        if !self.belongs_here(open.gtid.as_ref(), skipping, None) {
            return Flow::Halt;
        }
        self.count_gtid(open.gtid.as_ref());
        self.last_event_us = self.last_event_us.max(commit_us);
        let end = End { commit_us, ..self.end_here(open.gtid.clone(), xa) };
        // Every statement begins with its table maps, so that what is forgotten here comes again.
        if !open.unreadable.is_empty() || self.tables.len() > TABLES_KEPT {
            self.tables.clear();
        }
        if skipping {
            if self.beyond_frontier() {
                self.frontier.apply(end);
            }
            self.end_rereading();
            return self.after_transaction();
        }
        // Other domains may still have what is to be skipped.
        if !matches!(self.skip, Some(Skip::Executed(_))) && self.skip.take().is_some() {
            self.parks_begin_here();
        }
        self.unreadable.clear();
        for ((database, table), reason) in &open.unreadable {
            self.quarantine(database, table, self.seq, reason, out);
        }
        if let Some(Until::Time { us, .. }) = self.config.until
            && commit_us > us
        {
            self.finishing = true;
            return Flow::Halt;
        }
        self.seq += 1;
        self.totals.transactions += 1;
        let slot = self.ledger.open(End { seq: self.seq, ..end });
        if open.items.is_empty() {
            self.ledger.close(slot);
            return self.after_transaction();
        }
        let txn = Transaction {
            gtid: open.gtid.as_ref().map(gtid_text),
            server_uuid: self.server.uuid.clone(),
            file: self.file_name(),
            start_pos: open.start.pos,
            end_pos: self.read.file_pos.pos,
            xid,
            server_id: open.server_id,
            thread_id: open.thread_id,
            timestamp: header.timestamp,
            commit_us,
            seq: self.seq,
        };
        let last_item = self.last_items(&open.items);
        self.publishing = Some(Box::new(Publishing {
            txn,
            items: open.items,
            held: open.held.into_reader(),
            stream: open.stream,
            slot,
            next: 0,
            last_item,
            offsets: vec![0; self.feeds.len()],
            table_rows: std::collections::HashMap::new(),
            txn_bytes: Vec::new(),
        }));
        self.after_transaction()
    }

    fn file_name(&mut self) -> Arc<str> {
        if *self.file != *self.read.file_pos.file {
            self.file = Arc::from(self.read.file_pos.file.as_str());
        }
        Arc::clone(&self.file)
    }

    /// Per feed, the last item that has something for it.
    fn last_items(&self, items: &[Item]) -> Vec<Option<usize>> {
        let mut last = vec![None; self.feeds.len()];
        for (i, item) in items.iter().enumerate() {
            if let Item::Rows { route, op, .. } = item {
                for member in route.groups.iter().flat_map(|g| &g.members).filter(|m| m.events.wants(*op)) {
                    last[member.feed] = Some(i);
                }
            }
        }
        last
    }

    fn after_transaction(&mut self) -> Flow {
        if self.publishing.is_none() {
            self.advance();
        }
        Flow::Next
    }

    fn until_reached(&self) -> bool {
        match &self.config.until {
            Some(Until::Position(p)) => self.read.file_pos >= *p,
            Some(Until::Gtids(set)) => self.read.gtids.contains_set(set),
            Some(Until::Time { .. }) | None => false,
        }
    }

    /// An event that cannot be read: nothing after it can be trusted.
    fn undecodable(&mut self, raw: &[u8], error: &binlog::Error, now: Now, out: &mut Output) -> Flow {
        let code = raw.get(4).copied().unwrap_or(0);
        self.halt_permanent(
            format!("event of type {code} after {} cannot be read: {error}", self.read.file_pos),
            now,
            out,
        )
    }

    fn halt_permanent(&mut self, message: String, now: Now, out: &mut Output) -> Flow {
        let failure = Failure::new(FailureKind::Permanent, Cause::Data, message);
        self.handle(now, Input::Disconnected(failure), out);
        Flow::Halt
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn gtid_text(gtid: &Gtid) -> String {
    match gtid {
        Gtid::MySql { uuid, tag, gno } => {
            let mut text = binlog::gtid::format_uuid(uuid);
            if !tag.is_empty() {
                text.push(':');
                text.push_str(tag);
            }
            format!("{text}:{gno}")
        }
        Gtid::MariaDb { domain, server, sequence } => format!("{domain}-{server}-{sequence}"),
    }
}
