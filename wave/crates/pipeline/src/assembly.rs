//! Transactions out of events: rows are held to their commit.
//!
//! A rollback, also a partial one to a savepoint, can still follow rows in the log; XA rows arrive at PREPARE and may be
//! decided hours later by another session. So nothing is published before the event that commits it. Held rows are raw
//! event bytes ([`crate::spill::Held`]); decoding happens once, at publishing.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use binlog::event::{AlterPhase, StreamState};
use binlog::position::FilePos;

use crate::format::Op;
use crate::route::Route;
use crate::spill::{Held, SpillStore};

/// GTID of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gtid {
    MySql { uuid: [u8; 16], tag: String, gno: u64 },
    MariaDb { domain: u32, server: u32, sequence: u64 },
}

/// Where a rows event or statement stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowsPlace {
    /// Header time, seconds.
    pub timestamp: u32,
    /// Offset where the event (or the payload it came in) starts.
    pub pos: u64,
    /// Offset where it ends.
    pub end_pos: u64,
    /// The event came out of a payload: it has no checksum.
    pub inner: bool,
}

/// One thing to publish, in log order.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Rows {
        route: Arc<Route>,
        /// Place of the raw event in [`OpenTransaction::held`].
        at: u64,
        len: usize,
        op: Op,
        /// Ordinal of the rows event in its transaction, skipped ones counted.
        event: u32,
        place: RowsPlace,
    },
    /// With its default database. `tables` are those the statement names; without any it is about the database `about`.
    Ddl { database: String, sql: String, about: String, tables: Vec<(String, String)>, event: u32, place: RowsPlace },
}

/// A transaction being read, or read and waiting.
#[derive(Debug, Default)]
pub(crate) struct OpenTransaction {
    pub gtid: Option<Gtid>,
    /// From the GTID event, microseconds since the Unix epoch.
    pub commit_us: Option<u64>,
    pub server_id: u32,
    pub thread_id: Option<u32>,
    pub start: FilePos,
    /// BEGIN, XA START or a MariaDB group start was seen: the next statement does not end it.
    pub begun: bool,
    /// Of an ALTER in two phases, which takes effect with the second.
    pub alter: Option<AlterPhase>,
    pub items: Vec<Item>,
    pub held: Held,
    /// Rows events and statements so far, wanted or not.
    pub events: u32,
    /// The log format that the held events are in.
    pub stream: Arc<StreamState>,
    /// By the weights of their names.
    pub(crate) savepoints: Vec<(Vec<u16>, usize, u64)>,
    /// Tables whose rows are missing here, and why: while the wanted start is searched for, nothing is known to be wrong
    /// before the transaction turns out to be wanted.
    pub(crate) unreadable: Vec<((String, String), String)>,
}

impl OpenTransaction {
    /// Holds one wanted rows event.
    ///
    /// # Errors
    /// The spill fails.
    pub(crate) fn hold_rows(
        &mut self,
        route: &Arc<Route>,
        op: Op,
        raw: &[u8],
        place: RowsPlace,
        spills: &mut dyn SpillStore,
    ) -> io::Result<()> {
        let at = self.held.push(raw, spills)?;
        let item = Item::Rows { route: Arc::clone(route), at, len: raw.len(), op, event: self.events, place };
        self.items.push(item);
        Ok(())
    }

    /// Forgets everything held: it was rolled back, or is read again.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.held = Held::default();
        self.savepoints.clear();
        self.events = 0;
    }

    /// Takes over the rows of a prepared XA transaction, which this one commits.
    pub(crate) fn adopt(&mut self, prepared: OpenTransaction) {
        self.items = prepared.items;
        self.held = prepared.held;
        self.events = prepared.events;
        self.stream = prepared.stream;
        self.thread_id = prepared.thread_id;
        self.unreadable = prepared.unreadable;
    }

    /// Sets a savepoint, in place of one of the same name.
    pub(crate) fn savepoint(&mut self, name: Vec<u16>) {
        self.savepoints.retain(|(known, ..)| *known != name);
        self.savepoints.push((name, self.items.len(), self.held.len()));
    }

    /// Drops what came after the savepoint; false, and nothing is dropped, if there is none of this name.
    #[must_use]
    pub(crate) fn rollback_to(&mut self, name: &[u16]) -> bool {
        let Some(at) = self.savepoints.iter().position(|(known, ..)| known == name) else { return false };
        self.savepoints.truncate(at + 1);
        let (_, items, held) = self.savepoints[at];
        self.items.truncate(items);
        self.held.truncate(held);
        true
    }
}

/// Prepared XA transactions by xid.
pub(crate) type Prepared = HashMap<String, OpenTransaction>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spill::MemorySpills;

    #[test]
    fn partial_rollback_drops_the_tail_only() {
        let mut txn = OpenTransaction::default();
        let table = binlog::schema::Table::new("d".into(), "t".into(), Vec::new(), binlog::schema::SchemaSource::Log);
        let route = Arc::new(Route::new(table, b"", &[], |_| true).unwrap());
        txn.hold_rows(&route, Op::Insert, b"one", RowsPlace::default(), &mut MemorySpills).unwrap();
        txn.savepoint(vec![1]);
        txn.hold_rows(&route, Op::Insert, b"two", RowsPlace::default(), &mut MemorySpills).unwrap();
        txn.savepoint(vec![2]);
        txn.hold_rows(&route, Op::Insert, b"three", RowsPlace::default(), &mut MemorySpills).unwrap();
        assert!(txn.rollback_to(&[1]));
        assert_eq!((txn.items.len(), txn.held.len()), (1, 3));
        assert!(!txn.rollback_to(&[2]), "gone with what came after the first");
        assert_eq!((txn.items.len(), txn.held.len()), (1, 3));
    }
}
