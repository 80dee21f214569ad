//! Records on their way out: batches per feed and partition, the header, the count in the ledger.

use super::*;

/// An unfinished batch record of one feed and partition.
#[derive(Debug)]
pub(crate) struct Pending {
    builder: BatchBuilder,
    slot: Slot,
    first: RowId,
    last: RowId,
    end_of_transaction: bool,
    commit_us: u64,
    /// Hash of the table of all rows, 0 when there are several.
    schema: u64,
}

impl Instance {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn batch_row(
        &mut self,
        plan: &row_batch::Plan,
        txn: &Transaction,
        txn_bytes: &mut Vec<u8>,
        place: &Place,
        slot: Slot,
        row: &[u8],
        now: Now,
        out: &mut Output,
    ) {
        if txn_bytes.is_empty() {
            row_batch::encode_transaction(txn, txn_bytes);
        }
        let limit = self.config.feeds[place.feed].max_record_bytes;
        let at = place.partition as usize;
        let grown = self.feeds[place.feed].pending[at]
            .as_ref()
            .is_some_and(|b| b.builder.len() + row.len() + txn_bytes.len() + plan.schema().bytes().len() + 64 > limit);
        if grown {
            self.flush_partition(place.feed, at, now, out);
        }
        let pending = &mut self.feeds[place.feed].pending[at];
        if pending.is_none() {
            self.ledger.hold(slot);
        }
        let batch = pending.get_or_insert_with(|| Pending {
            builder: BatchBuilder::default(),
            slot,
            first: place.id,
            last: place.id,
            end_of_transaction: false,
            commit_us: txn.commit_us,
            schema: plan.schema().hash(),
        });
        if batch.schema != plan.schema().hash() {
            batch.schema = 0;
        }
        batch.last = place.id;
        batch.end_of_transaction = place.end_of_transaction;
        batch.builder.push(plan.schema(), txn.seq, txn_bytes, row);
    }

    /// Hands all unfinished batches on.
    pub(crate) fn flush_batches(&mut self, now: Now, out: &mut Output) {
        for feed in 0..self.feeds.len() {
            self.flush_feed(feed, now, out);
        }
    }

    pub(super) fn flush_feed(&mut self, feed: usize, now: Now, out: &mut Output) {
        for partition in 0..self.feeds[feed].pending.len() {
            self.flush_partition(feed, partition, now, out);
        }
    }

    pub(super) fn flush_partition(&mut self, feed: usize, partition: usize, now: Now, out: &mut Output) {
        let Some(mut batch) = self.feeds[feed].pending[partition].take() else { return };
        let rows = batch.builder.rows();
        let value = out.arena.len();
        batch.builder.finish(&mut out.arena);
        let header = RecordHeader {
            first: batch.first,
            end: batch.last,
            end_of_transaction: batch.end_of_transaction,
            rows,
            schema: batch.schema,
            ..RecordHeader::default()
        };
        self.push_send(feed, partition as u32, None, value, header, batch.commit_us, batch.slot, now, out);
        self.ledger.release(batch.slot);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn send_one(
        &mut self,
        place: &Place,
        key: Option<&[u8]>,
        value: &[u8],
        schema: u64,
        txn: &Transaction,
        slot: Slot,
        now: Now,
        out: &mut Output,
    ) {
        let key = key.map(|k| {
            let at = out.arena.len();
            out.arena.extend_from_slice(k);
            at..out.arena.len()
        });
        let at = out.arena.len();
        out.arena.extend_from_slice(value);
        let header = RecordHeader {
            first: place.id,
            end: place.id,
            end_of_transaction: place.end_of_transaction,
            rows: 1,
            schema,
            ..RecordHeader::default()
        };
        self.push_send(place.feed, place.partition, key, at, header, txn.commit_us, slot, now, out);
    }

    /// The value is the arena from `value` on.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn push_send(
        &mut self,
        feed: usize,
        partition: u32,
        key: Option<std::ops::Range<usize>>,
        value: usize,
        header: RecordHeader,
        commit_us: u64,
        slot: Slot,
        now: Now,
        out: &mut Output,
    ) {
        let value = value..out.arena.len();
        let header_at = out.arena.len();
        let state = &mut self.feeds[feed];
        if self.config.headers {
            let n = &mut state.counters[partition as usize];
            let header = RecordHeader {
                source: self.source_id,
                incarnation: self.incarnation,
                epoch: self.epoch,
                rule: 1,
                n: *n,
                ..header
            };
            *n += 1;
            out.arena.extend_from_slice(&header.encode());
        }
        let header = header_at..out.arena.len();
        let bytes = value.len() + header.len() + key.as_ref().map_or(0, ExactSizeIterator::len);
        self.totals.records += 1;
        self.totals.record_bytes += bytes as u64;
        let token = self.ledger.sent(feed as u16, slot, u32::try_from(bytes).unwrap_or(u32::MAX), now.monotonic);
        out.sends.push(Send { feed, topic: state.topic.topic, partition, key, value, header, commit_us, token });
    }
}
