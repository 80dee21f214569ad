//! From a take to the end of an epoch: open, find the start, connect, and what every failure leads to.
//!
//! An epoch reads from the checkpoint; one that ends drops everything unsettled, and the next begins after a back-off.
//! A failure that only an operator can mend ends the instance.

use super::*;

impl Instance {
    pub(super) fn taken(&mut self, ownership: Ownership, now: Now, out: &mut Output) {
        if !self.go(Event::Taken) {
            return;
        }
        self.epoch = ownership.epoch;
        self.incarnation = ownership.incarnation;
        self.totals.epochs += 1;
        self.has_checkpoint = ownership.checkpoint.is_some();
        self.frontier = ownership.checkpoint.map_or_else(Frontier::default, Frontier::from);
        self.seq = self.frontier.seq;
        self.restore_stops();
        self.unwritten = false;
        if let Some(uuid) = self.switch_to.take() {
            // File and offset mean nothing on the new server; the first transaction read sets them anew.
            self.frontier.server_uuid = uuid;
            self.frontier.position.file_pos = FilePos::default();
            self.incarnation = (self.incarnation + 1).max(now.unix_us / 1000);
            // Were it published before it is stored, the next owner might go on below it and be dropped by consumers.
            self.unwritten = true;
            self.dirty = true;
        }
        for (name, stopped) in ownership.parked.into_iter().chain(self.to_park.iter().cloned()) {
            if let Some(i) = self.config.feeds.iter().position(|f| f.name == name) {
                self.feeds[i].parked = Some(stopped);
            }
        }
        // A quarantine that lies beyond the checkpoint is found again when its position is read again; until then the
        // table's rows are wanted.
        self.quarantined.clear();
        self.unreadable.clear();
        for (name, stopped) in ownership.quarantined {
            if let Some(table) = crate::table_name::decode(&name)
                && stopped.seq < self.frontier.seq
            {
                self.quarantined.insert(table, stopped);
            }
        }
        self.to_quarantine.clear();
        out.command(Command::Open { epoch: self.epoch });
    }

    pub(super) fn opened(&mut self, topics: &[OpenTopic], now: Now, out: &mut Output) {
        let event = if self.has_checkpoint { Event::OpenedWithCheckpoint } else { Event::OpenedWithout };
        if !self.go(event) {
            return;
        }
        for (feed, topic) in self.feeds.iter_mut().zip(topics) {
            feed.topic = *topic;
            feed.counters = vec![0; topic.partitions as usize];
            feed.pending = (0..topic.partitions).map(|_| None).collect();
            feed.refused = None;
        }
        self.last_progress = now.monotonic;
        if !self.has_checkpoint {
            out.command(Command::ResolveStart);
            return;
        }
        let start = self.start_from_frontier();
        self.begin_reading(start, Duration::ZERO, out);
    }

    /// Where a new epoch reads: the frontier, or before it where prepared XA transactions have to be read again and the
    /// server cannot be told to leave out the rest.
    pub(super) fn start_from_frontier(&self) -> Start {
        let position = self.frontier.position.clone();
        let by_set = matches!(&position.gtids, binlog::gtid::GtidSet::MySql(s) if !s.is_empty());
        let earliest = self.frontier.open_xa.iter().map(|x| FilePos { file: x.file.clone(), pos: x.pos }).min();
        match earliest {
            Some(first) if !by_set && first < position.file_pos => Start {
                skip: Some(Skip::UntilPosition(position.file_pos)),
                position: Position { file_pos: first, gtids: binlog::gtid::GtidSet::default() },
            },
            _ => Start { position, skip: None },
        }
    }

    pub(super) fn start_resolved(&mut self, start: Start, now: Now, out: &mut Output) {
        if !self.go(Event::Resolved) {
            return;
        }
        self.frontier.position = start.position.clone();
        // The start is durable before the first row: a crash must not move it. One that is reached by skipping is found
        // again the same way.
        self.unwritten = start.skip.is_none();
        self.dirty = true;
        self.begin_reading(start, Duration::ZERO, out);
        self.tick(now, out);
    }

    pub(super) fn begin_reading(&mut self, start: Start, after: Duration, out: &mut Output) {
        self.read = start.position.clone();
        self.boundary.clone_from(&self.read.file_pos);
        if start.skip.is_some() && self.has_checkpoint {
            // Re-read for prepared XA only: the executed set is known.
            self.read.gtids = self.frontier.position.gtids.clone();
        }
        self.skip = start.skip.clone();
        self.reset_reading();
        out.command(Command::Connect { from: start, after });
    }

    /// Forgets what belongs to one connection.
    pub(super) fn reset_reading(&mut self) {
        self.stream = Arc::default();
        self.batch = None;
        self.tables.clear();
        self.waiting_table = None;
        self.open = None;
    }

    pub(super) fn connected(&mut self, server: Server, now: Now, out: &mut Output) {
        if !self.go(Event::Connected) {
            return;
        }
        let known = self.frontier.server_uuid.clone();
        if !known.is_empty() && known != server.uuid && !server.uuid.is_empty() {
            self.incident(
                IncidentCode::ServerChanged,
                "",
                format!("the server is now {}, it was {known}", server.uuid),
                out,
            );
            if self.frontier.position.gtids.is_empty() {
                let message = format!(
                    "the server {} is not the one that was read ({known}), and there is no GTID set to find the position \
                     on it; point the source back or rewind it explicitly",
                    server.uuid
                );
                self.failed(Failure::new(FailureKind::Permanent, Cause::Conflict, message), now, out);
            } else {
                // Another server may have another commit order: what is unsettled is read again from the checkpoint,
                // as a new incarnation, so that no consumer compares ordinals across the switch.
                self.switch_to = Some(server.uuid);
                self.end_epoch("reading goes on by GTID on another server".to_string(), now, out);
            }
            return;
        }
        if known != server.uuid {
            self.frontier.server_uuid.clone_from(&server.uuid);
            self.dirty = true;
        }
        self.server = server;
        self.connect_failures = 0;
    }

    pub(super) fn disconnected(&mut self, failure: Failure, now: Now, out: &mut Output) {
        match failure.kind {
            FailureKind::Transient => {
                if !self.go(Event::Disconnected) {
                    return;
                }
                self.incident(IncidentCode::SourceDisconnected, "", failure.message, out);
                self.totals.reconnects += 1;
                let after = self.backoff(self.connect_failures);
                self.connect_failures = self.connect_failures.saturating_add(1);
                // The part of a transaction that was read is forgotten: all of it has to come again.
                self.read.file_pos.clone_from(&self.boundary);
                let mut resume = Start { position: self.read.clone(), skip: self.skip.clone() };
                if self.skip.is_some() && self.has_checkpoint {
                    // Still before the frontier, on the way to prepared XA transactions: a GTID would jump over them.
                    resume.position.gtids = binlog::gtid::GtidSet::default();
                }
                self.reset_reading();
                out.command(Command::Connect { from: resume, after });
            }
            _ => self.failed(failure, now, out),
        }
    }

    /// Exponential, from the minimum to the maximum.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        let limits = &self.config.limits;
        limits.backoff_min.saturating_mul(1 << failures.min(16)).min(limits.backoff_max)
    }

    pub(super) fn failed(&mut self, failure: Failure, now: Now, out: &mut Output) {
        match failure.kind {
            FailureKind::Transient => self.end_epoch(failure.message, now, out),
            FailureKind::Permanent | FailureKind::Fenced => {
                if self.go(Event::Fatal) {
                    self.incident(IncidentCode::SourceFailed, "", failure.message.clone(), out);
                    self.failure = Some(failure);
                    self.drop_unsettled(out);
                    out.command(Command::Disconnect);
                    self.tell_end(out);
                }
            }
        }
    }

    pub(super) fn open_failed(&mut self, feed: Option<usize>, failure: Failure, now: Now, out: &mut Output) {
        if let (Some(i), FailureKind::Permanent) = (feed, failure.kind)
            && self.may_park(i)
        {
            self.park(i, &failure.message, out);
            self.end_epoch(failure.message, now, out);
            return;
        }
        self.failed(failure, now, out);
    }

    /// A record's outcome is unknown, or a dependency failed: everything unsettled is read again in a new epoch.
    pub(crate) fn end_epoch(&mut self, reason: String, now: Now, out: &mut Output) {
        if !self.go(Event::EpochLost) {
            return;
        }
        self.incident(IncidentCode::EpochEnded, "", reason, out);
        self.drop_unsettled(out);
        out.command(Command::Disconnect);
        if self.state == State::Ended {
            self.tell_end(out);
            return;
        }
        self.retry_at = now.monotonic + self.backoff(self.epoch_failures);
        self.epoch_failures = self.epoch_failures.saturating_add(1);
    }

    pub(super) fn drop_unsettled(&mut self, out: &mut Output) {
        out.clear_sends();
        self.reset_reading();
        // The next epoch may begin before a change of a definition that was read behind it.
        self.definitions.clear();
        self.prepared.clear();
        self.publishing = None;
        self.ledger.clear();
        for feed in &mut self.feeds {
            feed.pending.iter_mut().for_each(|p| *p = None);
        }
    }
}
