//! What is stopped so that the rest goes on: parked feeds and quarantined tables.
//!
//! A stop is written beside the first checkpoint that passes it; a write that failed gives it back to the next one.

use super::*;
use crate::rule::RuleError;
use crate::table_name;

/// Entries that one write may delete; a batch of the coordination is bounded.
const RELEASED_PER_WRITE: usize = 8;
/// Ticks that find a record out for too long before that is told.
pub(super) const OVERDUE: u32 = 2;

impl Instance {
    /// Whether other feeds would go on without this one: with nobody else to protect, the instance rather waits.
    pub(super) fn may_park(&self, feed: usize) -> bool {
        self.feeds.iter().enumerate().any(|(i, f)| i != feed && f.parked.is_none() && f.refused.is_none())
    }

    pub(super) fn park(&mut self, feed: usize, reason: &str, now: Now, out: &mut Output) {
        let name = self.config.feeds[feed].name.clone();
        let here = self.frontier.clone();
        // One that has just joined may have more than this epoch has settled yet.
        let stopped = match self.feeds[feed].comeback.joining.take() {
            Some(entry) if entry.covers(&here) => Stopped { reason: reason.to_string(), ..entry },
            _ => Stopped::at(here, self.incarnation, reason),
        };
        self.incident(
            IncidentCode::FeedParked,
            &name,
            format!("parked at {}:{}: {reason}", stopped.file, stopped.pos),
            out,
        );
        let parked = &mut self.feeds[feed];
        parked.parked = Some(stopped);
        parked.comeback.parked(now, &self.config.limits);
        self.dirty = true;
    }

    /// A feed wants columns that the table does not have. What it is to have instead only an operator can say: it is
    /// parked, or the instance ends where there is nobody else to protect.
    pub(crate) fn rule_fails(&mut self, feed: usize, error: &RuleError, now: Now, out: &mut Output) {
        let name = &self.config.feeds[feed].name;
        let reason = format!(
            "columns wanted for {name}: {error}; name others (`columns` of the feed, or --columns) and start again: it goes \
             on from here"
        );
        if self.may_park(feed) {
            self.feeds[feed].refused = Some(reason.clone());
            self.park(feed, &reason, now, out);
            self.end_epoch(reason, now, out);
            return;
        }
        // What comes before is settled first: another attempt would only write it again.
        self.incident(IncidentCode::SourceFailed, "", reason.clone(), out);
        self.failure = Some(Failure::new(FailureKind::Permanent, Cause::Data, reason));
        self.stop(now, out);
    }

    pub(super) fn stopped_here(&self, reason: &str) -> Stopped {
        Stopped::at(self.frontier.clone(), self.incarnation, reason)
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
            if stalled && self.config.catch_up {
                return self.end_epoch(format!("no record was acknowledged for {} s", after.as_secs()), now, out);
            }
            if !stalled || !self.may_park(i) {
                continue;
            }
            let others = now.monotonic.saturating_sub(self.last_progress) < after;
            // Where it stopped all reading, the others have nothing left to show that the broker lives. The next epoch
            // asks it again: what they settle there, and this feed does not, decides.
            let nobody_else = (0..self.feeds.len()).all(|j| j == i || self.ledger.outstanding(j as u16).records == 0);
            let alone = self.full() && (nobody_else || self.last_progress > o.since);
            if alone && !others && !self.feeds[i].suspect {
                self.feeds[i].suspect = true;
                self.end_epoch(format!("nothing was acknowledged for {} s", after.as_secs()), now, out);
                return;
            }
            if others || alone {
                let reason = format!("no record was acknowledged for {} s while other feeds went on", after.as_secs());
                self.feeds[i].refused = Some(reason.clone());
                self.park(i, &reason, now, out);
                self.end_epoch(reason, now, out);
                return;
            }
        }
    }

    /// Where nobody is parked for it (the only feed, or all of them), a target that does not answer is told.
    pub(super) fn tell_silence(&mut self, now: Now, out: &mut Output) {
        let after = self.config.limits.park_after;
        let age = self.ledger.oldest().map_or(Duration::ZERO, |oldest| now.monotonic.saturating_sub(oldest));
        if age < after {
            // One that is only slow is told once, not at each record.
            if age < after / 2 {
                self.overdue = 0;
            }
            return;
        }
        self.overdue = self.overdue.saturating_add(1);
        // The reports that a driver was kept from collecting come behind its first tick.
        if self.overdue == OVERDUE
            && let Some((name, _)) = self.silent()
        {
            let message = format!(
                "a record is not acknowledged for {} s: the target is away or too slow; nothing is given up, the checkpoint \
                 waits and reading stops when too much is out",
                after.as_secs()
            );
            self.incident(IncidentCode::FeedFailing, name, message, out);
        }
    }

    /// What the next write holds.
    pub(super) fn stops_to_write(&mut self) -> Writing {
        let of = |wanted: fn(&FeedState) -> bool| {
            self.feeds.iter().enumerate().filter(|(_, f)| wanted(f)).map(|(i, _)| i).collect::<Vec<_>>()
        };
        let release: Vec<String> = self.released().map(|(name, _)| name.clone()).take(RELEASED_PER_WRITE).collect();
        let writing = Writing {
            release,
            checkpoint: self.frontier.clone(),
            park: of(|f| f.parked.is_some() && f.comeback.unsaved),
            unpark: of(|f| f.comeback.joining.is_some()),
            quarantine: std::mem::take(&mut self.to_quarantine),
            pin: self.pins.take_unstored(),
        };
        for i in &writing.park {
            self.feeds[*i].comeback.unsaved = false;
        }
        writing
    }

    /// Quarantines whose position the frontier has passed without meeting what stopped the table before. Were such an
    /// entry left, the next start would take it for one of this pass.
    fn released(&self) -> impl Iterator<Item = &(String, Stopped)> {
        self.beyond.iter().filter(|(name, stopped)| {
            let again = table_name::decode(name).is_some_and(|table| self.quarantined.contains_key(&table));
            stopped.seq < self.frontier.seq && !again
        })
    }

    /// The name and entry of a parked feed.
    pub(super) fn stop_of(&self, feed: usize) -> Option<(String, Stopped)> {
        Some((self.config.feeds[feed].name.clone(), self.feeds[feed].parked.clone()?))
    }

    /// What stood in the write under way is durable.
    pub(super) fn written(&mut self, now: Now, out: &mut Output) {
        let Some(writing) = self.writing.take() else { return };
        for i in writing.unpark {
            self.feeds[i].comeback.joining = None;
        }
        let (gone, kept) = std::mem::take(&mut self.beyond).into_iter().partition(|(n, _)| writing.release.contains(n));
        self.beyond = kept;
        for (name, stopped) in gone as Vec<(String, Stopped)> {
            let table = table_name::decode(&name).map_or(name, |(database, table)| format!("{database}.{table}"));
            let message = format!("it could be read this time, and is published again: {}", stopped.reason);
            self.incident(IncidentCode::TableReleased, &table, message, out);
        }
        let more = self.released().next().is_some();
        self.dirty |= more;
        self.stored = Some(writing.checkpoint);
        self.join_if_met(now, out);
    }

    pub(super) fn restore_stops(&mut self) {
        if let Some(writing) = self.writing.take() {
            for feed in writing.park {
                self.feeds[feed].comeback.unsaved = true;
            }
            self.to_quarantine.extend(writing.quarantine);
            self.pins.give_back(&writing.pin);
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
        let mut stopped = self.stopped_here(reason);
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
        key: (String, String),
        at: FilePos,
        result: Result<Box<TableDefinition>, Failure>,
        now: Now,
        out: &mut Output,
    ) {
        // An answer to what an epoch before asked may be about another definition.
        if self.waiting_table.take_if(|(waiting, place)| *waiting == key && *place == at).is_none() {
            return;
        }
        match result {
            Ok(definition) => {
                self.definitions.insert(key, (Arc::new(*definition), at));
            }
            Err(failure) if failure.kind == FailureKind::Permanent => self.table_unreadable(key, failure.message, out),
            Err(failure) => self.failed(failure, now, out),
        }
    }
}
