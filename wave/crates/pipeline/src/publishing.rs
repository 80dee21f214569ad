//! From committed transactions to records: decode, encode, partition, batch, count in the ledger.

mod sending;

use std::collections::HashMap;
use std::sync::Arc;

use binlog::Cell;
use binlog::event::{Event, StreamState};
use binlog::rows::RowsEvent;
use binlog::schema::Column;
use proto::header::{RecordHeader, RowId};

use crate::assembly::{Item, RowsPlace};
use crate::feed::{Format, Order};
use crate::format::row_batch::{self, BatchBuilder};
use crate::format::{DdlView, FormatError, Op, RowView, Transaction, maxwell_json, text};
use crate::instance::{Instance, Work};
use crate::io::{Now, Output, Send};
use crate::ledger::Slot;
use crate::lifecycle::State;
use crate::partition::{key_hash, partition_of};
use crate::reading::MAX_EVENT;
use crate::route::{Group, Plan, Route};
use crate::spill::HeldReader;

pub(crate) use sending::Pending;

/// A committed transaction on its way out; taken up again by each [`Instance::work`].
#[derive(Debug)]
pub(crate) struct Publishing {
    pub txn: Transaction,
    pub items: Vec<Item>,
    pub held: HeldReader,
    pub stream: Arc<StreamState>,
    pub slot: Slot,
    pub next: usize,
    /// Per feed: index of the last item that has something for it.
    pub last_item: Vec<Option<usize>>,
    /// Per feed: rows published so far.
    pub offsets: Vec<u64>,
    /// Rows seen of each table.
    pub table_rows: HashMap<(String, String), u64>,
    /// Protobuf form of `txn`, made when first needed.
    pub txn_bytes: Vec<u8>,
}

/// Buffers reused for every row of an event.
#[derive(Default)]
struct Scratch {
    value: Vec<u8>,
    key: Vec<u8>,
    hash: Vec<u8>,
}

struct Place {
    feed: usize,
    partition: u32,
    id: RowId,
    end_of_transaction: bool,
}

/// Items of a transaction in one call of [`Instance::work`]: also where nothing of them is to be sent, which fills no output,
/// the caller has to look at the clock and at a stop now and then. So many rows events take some milliseconds.
const ITEMS_PER_CALL: usize = 128;

impl Instance {
    /// Goes on with what there is: publishes committed transactions, reads the batch. Call it after each input and
    /// after sending its output, until it says [`Work::Idle`] or [`Work::Blocked`].
    pub fn work(&mut self, now: Now, out: &mut Output) -> Work {
        self.now = now.monotonic;
        let mut items = 0;
        loop {
            if out.arena.len() >= self.config.limits.output_bytes || items == ITEMS_PER_CALL {
                return Work::More;
            }
            if self.full() {
                self.flush_batches(now, out);
                return Work::Blocked;
            }
            if let Some(mut publishing) = self.publishing.take() {
                items += 1;
                if self.publish_item(&mut publishing, now, out) {
                    self.publishing = Some(publishing);
                }
                continue;
            }
            if self.finishing || self.state != State::Streaming {
                self.batch = None;
                self.flush_batches(now, out);
                self.handle(now, crate::io::Input::Tick, out);
                return Work::Idle;
            }
            if self.waiting_table.is_some() || self.log.waits() {
                self.flush_batches(now, out);
                return Work::Blocked;
            }
            if !self.read_next(now, out) {
                self.flush_batches(now, out);
                self.advance();
                return Work::Idle;
            }
        }
    }

    /// Publishes one item; false when the transaction is done, or the epoch has ended.
    fn publish_item(&mut self, p: &mut Publishing, now: Now, out: &mut Output) -> bool {
        let Some(item) = p.items.get(p.next).cloned() else {
            self.ledger.close(p.slot);
            self.advance();
            return false;
        };
        match item {
            Item::Ddl { database, sql, about, tables, event, place } => {
                let txn = p.txn.clone();
                let view = DdlView {
                    txn: &txn,
                    database: &database,
                    sql: &sql,
                    timestamp: place.timestamp,
                    event_pos: place.pos,
                    event,
                };
                self.publish_ddl(p, &view, (&about, &tables), now, out);
            }
            Item::Rows { route, at, len, op, event, place } => {
                let held = HeldRows { at, len, op, event, place };
                if !self.publish_rows(p, &route, &held, now, out) {
                    return false;
                }
            }
        }
        p.next += 1;
        true
    }

    /// False if the epoch has ended: nothing of it may follow.
    fn publish_rows(
        &mut self,
        p: &mut Publishing,
        route: &Arc<Route>,
        rows: &HeldRows,
        now: Now,
        out: &mut Output,
    ) -> bool {
        let table = &route.table;
        let key = (table.database.clone(), table.name.clone());
        if self.quarantined.contains_key(&key) {
            return true;
        }
        let mut table_row = p.table_rows.get(&key).copied().unwrap_or(0);
        // The reader is taken out so that the event's bytes and the rest of the transaction can be used side by side.
        let mut held = std::mem::take(&mut p.held);
        let result = match held.get(rows.at, rows.len) {
            Err(e) => {
                p.held = held;
                self.end_epoch(format!("spilled rows cannot be read back: {e}"), now, out);
                return false;
            }
            Ok(raw) => self.encode_event(p, route, raw, rows, &mut table_row, now, out),
        };
        p.held = held;
        if let Err(reason) = result {
            self.quarantine(&key.0, &key.1, p.txn.seq.saturating_sub(1), &reason, out);
        }
        p.table_rows.insert(key, table_row);
        true
    }

    #[allow(clippy::too_many_arguments)]
    fn encode_event(
        &mut self,
        p: &mut Publishing,
        route: &Route,
        raw: &[u8],
        held: &HeldRows,
        table_row: &mut u64,
        now: Now,
        out: &mut Output,
    ) -> Result<(), String> {
        let stream = Arc::clone(&p.stream);
        let parsed = if held.place.inner { stream.parse_inner(raw) } else { stream.parse_verified(raw) };
        let (_, event) = parsed.map_err(|e| e.to_string())?;
        let mut uncompressed = std::mem::take(&mut self.uncompressed);
        let result = match event {
            Event::Rows(rows) => self.encode_rows(p, route, &rows, held, table_row, now, out),
            Event::CompressedRows(rows) => match rows.uncompress(MAX_EVENT, &mut uncompressed) {
                Ok(rows) => self.encode_rows(p, route, &rows, held, table_row, now, out),
                Err(e) => Err(e.to_string()),
            },
            _ => Err("held event is not a rows event".to_string()),
        };
        self.uncompressed = uncompressed;
        result
    }

    #[allow(clippy::too_many_arguments)]
    fn encode_rows(
        &mut self,
        p: &mut Publishing,
        route: &Route,
        rows: &RowsEvent<'_>,
        held: &HeldRows,
        table_row: &mut u64,
        now: Now,
        out: &mut Output,
    ) -> Result<(), String> {
        let op = held.op;
        // Compressed columns are put in plain form first, in memory for this event only.
        let (mut plain, expanded);
        let rows = if route.table.has_compressed_columns() {
            plain = Vec::new();
            expanded = rows.expand(&route.table, MAX_EVENT, &mut plain).map_err(|e| e.to_string())?;
            &expanded
        } else {
            rows
        };
        let mut reader = rows.reader(&route.table).map_err(|e| e.to_string())?;
        let (mut before, mut after): (Vec<Cell<'_>>, Vec<Cell<'_>>) = (Vec::new(), Vec::new());
        let mut scratch = Scratch::default();
        let mut row = 0u32;
        while reader.next(&mut before, &mut after).map_err(|e| format!("row {row}: {e}"))? {
            match op {
                Op::Insert => self.totals.inserts += 1,
                Op::Update => self.totals.updates += 1,
                Op::Delete => self.totals.deletes += 1,
            }
            let end_of_event = reader.is_done();
            let view = RowView {
                txn: &p.txn,
                table: &route.table,
                op,
                before: &before,
                after: &after,
                columns: None,
                timestamp: held.place.timestamp,
                event_pos: held.place.pos,
                event_end_pos: held.place.end_pos,
                event: held.event,
                row,
                part: 0,
                table_row: *table_row,
                offset: 0,
                last: false,
                query: None,
            };
            let progress = FeedProgress { next: p.next, end_of_event, last_item: &p.last_item };
            for group in &route.groups {
                let mut offsets = std::mem::take(&mut p.offsets);
                let result = self.encode_row(
                    group,
                    &view,
                    &progress,
                    &mut offsets,
                    &mut p.txn_bytes,
                    p.slot,
                    &mut scratch,
                    now,
                    out,
                );
                p.offsets = offsets;
                result?;
            }
            row += 1;
            *table_row += 1;
            if self.rows_left == Some(0) {
                // The limit is reached: nothing more of this transaction is wanted.
                p.items.truncate(p.next + 1);
                self.finishing = true;
                return Ok(());
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn encode_row(
        &mut self,
        group: &Group,
        view: &RowView<'_>,
        progress: &FeedProgress<'_>,
        offsets: &mut [u64],
        txn_bytes: &mut Vec<u8>,
        slot: Slot,
        scratch: &mut Scratch,
        now: Now,
        out: &mut Output,
    ) -> Result<(), String> {
        // What the bytes in `scratch.value` were encoded for; members that differ in nothing share them.
        let mut encoded: Option<(u64, bool, u16, Op)> = None;
        for member in &group.members {
            let feed = member.feed;
            if !member.events.wants(view.op) || self.feeds[feed].parked.is_some() {
                continue;
            }
            if matches!(group.plan, Plan::None) {
                self.count_row();
                continue;
            }
            let key_cells = if view.op == Op::Insert { view.after } else { view.before };
            let partitions = self.feeds[feed].topic.partitions;
            let by_key = self.config.feeds[feed].order == Order::RowKey;
            let hash =
                |cells: &[Cell<'_>], buf: &mut Vec<u8>| if by_key { key_hash(view.table, cells, buf) } else { 0 };
            let from = hash(key_cells, &mut scratch.hash);
            let split = member.split_key && view.op == Op::Update && key_changed(view);
            let last = progress.end_of_event && progress.last_item.get(feed).copied().flatten() == Some(progress.next);
            let filled = if split { filled(view) } else { Vec::new() };
            let halves: [Option<(RowView<'_>, u64)>; 2] = if !split {
                [Some((*view, from)), None]
            } else if filled.contains(&Cell::Absent) {
                // The log does not hold the whole row (row image MINIMAL or NOBLOB): an insert would claim that it
                // does. Both partitions get the update itself.
                let to = hash(&filled, &mut scratch.hash);
                let again = RowView { part: 1, ..*view };
                let elsewhere = partition_of(from, partitions) != partition_of(to, partitions);
                [Some((*view, from)), elsewhere.then_some((again, to))]
            } else {
                let to = hash(&filled, &mut scratch.hash);
                let delete = RowView { op: Op::Delete, after: &[], part: 0, ..*view };
                let insert = RowView { op: Op::Insert, before: &[], after: &filled, part: 1, ..*view };
                [Some((delete, from)), Some((insert, to))]
            };
            let count = halves.iter().flatten().count();
            for (i, (half, hash)) in halves.into_iter().flatten().enumerate() {
                let half = RowView {
                    offset: offsets[feed],
                    last: last && i + 1 == count,
                    columns: group.columns.as_deref(),
                    ..half
                };
                offsets[feed] += 1;
                let wanted = (half.offset, half.last, half.part, half.op);
                let same = match group.plan {
                    Plan::Binlake(_) => encoded.is_some_and(|e| (e.2, e.3) == (wanted.2, wanted.3)),
                    _ => encoded == Some(wanted),
                };
                if !same {
                    scratch.value.clear();
                    encode(&group.plan, &half, &mut scratch.value)?;
                    if matches!(group.plan, Plan::Text(_)) {
                        drop_newline(&mut scratch.value);
                    }
                    encoded = Some(wanted);
                }
                let id = RowId { seq: view.txn.seq, event: view.event, row: view.row, part: half.part };
                let place =
                    Place { feed, partition: partition_of(hash, partitions), id, end_of_transaction: half.last };
                match &group.plan {
                    Plan::Binlake(plan) => {
                        self.batch_row(plan, view.txn, txn_bytes, &place, slot, &scratch.value, now, out);
                    }
                    plan => {
                        scratch.key.clear();
                        if let Plan::MaxwellJson(plan) = plan {
                            plan.encode_key(&half, &mut scratch.key).map_err(|e| e.to_string())?;
                        }
                        let key = (!scratch.key.is_empty()).then_some(&scratch.key[..]);
                        let schema = view.table.hash;
                        self.send_one(&place, key, &scratch.value, schema, view.txn, slot, now, out);
                    }
                }
            }
            self.count_row();
        }
        Ok(())
    }

    fn count_row(&mut self) {
        if let Some(left) = self.rows_left.as_mut() {
            *left = left.saturating_sub(1);
        }
    }

    fn publish_ddl(
        &mut self,
        p: &mut Publishing,
        view: &DdlView<'_>,
        (about, named): (&str, &[(String, String)]),
        now: Now,
        out: &mut Output,
    ) {
        let mut value = Vec::new();
        for feed in 0..self.feeds.len() {
            let rule = &self.config.feeds[feed].rule;
            if self.feeds[feed].parked.is_some() || !rule.wants_ddl(about, named) {
                continue;
            }
            value.clear();
            // Behind a CREATE TABLE … SELECT come its rows.
            let end_of_transaction = p.last_item[feed].is_none_or(|last| last < p.next)
                && !p.items.iter().skip(p.next + 1).any(|item| matches!(item, Item::Ddl { .. }));
            match &self.config.feeds[feed].format {
                Format::None => continue,
                Format::Text(style) => {
                    text::encode_ddl(view, style, &mut value);
                    if end_of_transaction {
                        text::encode_commit(view.txn, style, &mut value);
                    }
                    drop_newline(&mut value);
                }
                Format::MaxwellJson(options) => maxwell_json::encode_ddl(view, options, &mut value),
                Format::Binlake => {
                    let (mut ddl, mut builder) = (Vec::new(), BatchBuilder::default());
                    row_batch::encode_ddl(view, &mut ddl);
                    if p.txn_bytes.is_empty() {
                        row_batch::encode_transaction(&p.txn, &mut p.txn_bytes);
                    }
                    builder.push_ddl(p.txn.seq, &p.txn_bytes, &ddl);
                    builder.finish(&mut value);
                }
            }
            // A barrier: rows before it leave first, and every partition gets it.
            self.flush_feed(feed, now, out);
            for partition in 0..self.feeds[feed].topic.partitions {
                let id = RowId { seq: p.txn.seq, event: view.event, row: 0, part: 0 };
                let place = Place { feed, partition, id, end_of_transaction };
                self.send_one(&place, None, &value, 0, &p.txn, p.slot, now, out);
            }
        }
    }
}

/// An [`Item::Rows`] without its route.
struct HeldRows {
    at: u64,
    len: usize,
    op: Op,
    event: u32,
    place: RowsPlace,
}

struct FeedProgress<'a> {
    next: usize,
    end_of_event: bool,
    last_item: &'a [Option<usize>],
}

fn encode(plan: &Plan, view: &RowView<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    match plan {
        Plan::None => Ok(()),
        Plan::Text(style) => text::encode_row(view, style, out),
        Plan::MaxwellJson(plan) => plan.encode_row(view, out),
        Plan::Binlake(plan) => plan.encode_row(view, out),
    }
    .map_err(|error| {
        let FormatError::Value { column, .. } = &error;
        let reason = view.table.columns.iter().find(|c| c.name == *column).and_then(Column::unreadable_text);
        reason.unwrap_or_else(|| error.to_string())
    })
}

/// Lines of text end with the newline that the sink puts between values.
fn drop_newline(value: &mut Vec<u8>) {
    if value.last() == Some(&b'\n') {
        value.pop();
    }
}

/// The row after an update: what its image leaves out stays as it was before.
fn filled<'a>(view: &RowView<'a>) -> Vec<Cell<'a>> {
    let pair = |(i, after): (usize, &Cell<'a>)| match view.before.get(i) {
        Some(before) if *after == Cell::Absent => *before,
        _ => *after,
    };
    view.after.iter().enumerate().map(pair).collect()
}

/// Whether an update changes its primary key. A key column that is absent from the after image did not change.
fn key_changed(view: &RowView<'_>) -> bool {
    view.table.primary_key.iter().any(|i| {
        let i = usize::from(*i);
        match (view.before.get(i), view.after.get(i)) {
            (Some(b), Some(a)) => *a != Cell::Absent && *b != Cell::Absent && a != b,
            _ => false,
        }
    })
}
