//! What is stopped so that the rest goes on: parked feeds and quarantined tables.
//!
//! A stop is written beside the first checkpoint that passes it; a write that failed gives it back to the next one.

use super::*;
use crate::table_name;

impl Instance {
    /// Whether other feeds would go on without this one: with nobody else to protect, the instance rather waits.
    pub(super) fn may_park(&self, feed: usize) -> bool {
        self.feeds.iter().enumerate().any(|(i, f)| i != feed && f.parked.is_none() && f.refused.is_none())
    }

    pub(super) fn park(&mut self, feed: usize, reason: &str, out: &mut Output) {
        let name = self.config.feeds[feed].name.clone();
        let stopped = self.frontier.stopped(reason);
        self.incident(
            IncidentCode::FeedParked,
            &name,
            format!("parked at {}:{}: {reason}", stopped.file, stopped.pos),
            out,
        );
        self.feeds[feed].parked = Some(stopped.clone());
        self.to_park.push((name, stopped));
        self.dirty = true;
    }

    /// A feed that settles nothing while others do holds back the common checkpoint: it is parked.
    pub(super) fn park_stalled(&mut self, now: Now, out: &mut Output) {
        if self.state != State::Streaming {
            return;
        }
        let after = self.config.limits.park_after;
        for i in 0..self.feeds.len() {
            let o = self.ledger.outstanding(i as u16);
            let stalled = o.records > 0 && now.monotonic.saturating_sub(o.since) >= after;
            if !stalled || !self.may_park(i) {
                continue;
            }
            let others = now.monotonic.saturating_sub(self.last_progress) < after;
            // Where it stopped all reading, the others have nothing left to show that the broker lives. The next epoch
            // asks it again: what they settle there, and this feed does not, decides.
            let alone = self.full() && self.last_progress > o.since;
            if alone && !others && !self.feeds[i].suspect {
                self.feeds[i].suspect = true;
                self.end_epoch(format!("nothing was acknowledged for {} s", after.as_secs()), now, out);
                return;
            }
            if others || alone {
                let reason = format!("no record was acknowledged for {} s while other feeds went on", after.as_secs());
                self.feeds[i].refused = Some(reason.clone());
                self.park(i, &reason, out);
                self.end_epoch(reason, now, out);
                return;
            }
        }
    }

    pub(super) fn restore_stops(&mut self) {
        if let Some(stops) = self.writing.take() {
            self.to_park.extend(stops.park);
            self.to_quarantine.extend(stops.quarantine);
            self.dirty = true;
        }
    }

    /// Stops a table; but while the wanted start is searched for, only if it turns out to matter.
    pub(crate) fn table_unreadable(&mut self, key: (String, String), reason: String, out: &mut Output) {
        if self.skip.is_some() {
            self.unreadable.insert(key, reason);
        } else {
            self.quarantine(&key.0, &key.1, self.seq, &reason, out);
        }
    }

    /// Stops a table; `complete` is the last transaction whose rows of it are all published.
    pub(crate) fn quarantine(&mut self, database: &str, table: &str, complete: u64, reason: &str, out: &mut Output) {
        let key = (database.to_string(), table.to_string());
        if self.quarantined.contains_key(&key) {
            return;
        }
        let name = format!("{database}.{table}");
        let mut stopped = self.frontier.stopped(reason);
        stopped.seq = complete;
        self.quarantined.insert(key, stopped.clone());
        self.to_quarantine.push((table_name::encode(database, table), stopped));
        self.dirty = true;
        self.incident(
            IncidentCode::TableQuarantined,
            &name,
            format!("rows of this table are not published: {reason}"),
            out,
        );
    }

    pub(super) fn table_loaded(
        &mut self,
        database: String,
        table: String,
        result: Result<Box<TableDefinition>, String>,
        out: &mut Output,
    ) {
        let key = (database, table);
        let Some((_, at)) = self.waiting_table.take_if(|(waiting, _)| *waiting == key) else { return };
        match result {
            Ok(definition) => {
                self.definitions.insert(key, (Arc::new(*definition), at));
            }
            Err(reason) => self.table_unreadable(key, reason, out),
        }
    }
}
