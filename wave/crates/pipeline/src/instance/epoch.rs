//! From a take to the end of an epoch: open, find the start, connect, and what every failure leads to.
//!
//! An epoch reads from the checkpoint; one that ends drops everything unsettled, and the next begins after a back-off.
//! A failure that only an operator can mend ends the instance.

use binlog::gtid::GtidSet;

use super::*;

/// A connection that lasted so long was a good one, also when nothing new was logged meanwhile.
const STEADY: Duration = Duration::from_secs(10);

impl Instance {
    pub(super) fn taken(&mut self, ownership: Ownership, now: Now, out: &mut Output) {
        if !self.go(Event::Taken) {
            return;
        }
        self.epoch = ownership.epoch;
        self.incarnation = ownership.incarnation;
        self.totals.epochs += 1;
        self.has_checkpoint = ownership.checkpoint.is_some();
        self.stored.clone_from(&ownership.checkpoint);
        self.frontier = ownership.checkpoint.unwrap_or_default();
        self.seq = self.frontier.seq;
        if self.by_file && !self.frontier.position.file_pos.file.is_empty() {
            self.frontier.position.gtids = GtidSet::default();
        }
        self.restore_stops();
        self.pins.taken(&ownership.pinned);
        self.unwritten = false;
        if let Some(uuid) = self.switch_to.take() {
            // File and offset mean nothing on the new server; the first transaction read sets them anew.
            self.frontier.server_uuid = uuid;
            self.frontier.position.file_pos = FilePos::default();
            self.frontier.file_begun = 0;
            self.new_incarnation(now);
        }
        self.come_back(&ownership.parked, now, out);
        // A quarantine that lies beyond the checkpoint is found again when its position is read again; until then the
        // table's rows are wanted.
        self.quarantined.clear();
        self.unreadable.clear();
        self.beyond.clear();
        for (name, stopped) in ownership.quarantined {
            match crate::table_name::decode(&name) {
                Some(table) if stopped.seq < self.frontier.seq => drop(self.quarantined.insert(table, stopped)),
                Some(_) => self.beyond.push((name, stopped)),
                None => {}
            }
        }
        self.to_quarantine.clear();
        out.command(Command::Open { epoch: self.epoch });
    }

    /// Consumers compare no ordinal across it.
    pub(super) fn new_incarnation(&mut self, now: Now) {
        self.incarnation = (self.incarnation + 1).max(now.unix_us / 1000);
        // Were it published before it is stored, the next owner might go on below it and be dropped by consumers.
        self.unwritten = true;
        self.dirty = true;
    }

    /// Feeds whose topics cannot be opened are parked, all at once: one after the other would hold up the rest.
    pub(super) fn opened(&mut self, topics: Vec<Result<OpenTopic, Failure>>, now: Now, out: &mut Output) {
        let event = if self.has_checkpoint { Event::OpenedWithCheckpoint } else { Event::OpenedWithout };
        if !self.go(event) {
            return;
        }
        for (feed, topic) in self.feeds.iter_mut().zip(&topics) {
            feed.refused = topic.as_ref().err().map(|failure| failure.message.clone());
        }
        for (i, topic) in topics.into_iter().enumerate().take(self.feeds.len()) {
            let topic = match topic {
                Ok(topic) => topic,
                Err(failure) if self.may_park(i) => {
                    self.park(i, &failure.message, now, out);
                    OpenTopic::default()
                }
                Err(failure) => return self.failed(failure, now, out),
            };
            self.open_topic(i, topic, out);
        }
        if self.pins.unstored() {
            self.dirty = true;
            // Without a checkpoint its first one goes before the first row anyway.
            self.unwritten |= self.has_checkpoint;
        }
        self.last_progress = now.monotonic;
        if !self.has_checkpoint {
            out.command(Command::ResolveStart);
            return;
        }
        let start = self.start_from_frontier();
        self.begin_reading(start, Duration::ZERO, out);
    }

    fn open_topic(&mut self, feed: usize, mut topic: OpenTopic, out: &mut Output) {
        if topic.partitions > 0 {
            let (partitions, changed) = self.pins.open(&topic);
            topic.partitions = partitions;
            if let Some(message) = changed {
                let name = self.config.feeds[feed].name.clone();
                self.incident(IncidentCode::PartitionsChanged, &name, message, out);
            }
        }
        let feed = &mut self.feeds[feed];
        feed.counters = vec![0; topic.partitions as usize];
        feed.pending = (0..topic.partitions).map(|_| None).collect();
        feed.topic = topic;
    }

    /// Where a new epoch reads: the frontier, or before it where prepared XA transactions have to be read again and the
    /// server cannot be told to leave out the rest.
    pub(super) fn start_from_frontier(&self) -> Start {
        let position = self.frontier.position.clone();
        if let (GtidSet::MariaDb(executed), Some(first)) = (&position.gtids, self.frontier.open_xa.first())
            && let Some(Ok(gtids)) = first.after.as_ref().map(|after| after.parse::<GtidSet>())
        {
            let known = !position.file_pos.file.is_empty();
            let file_pos = if known { first.place() } else { FilePos::default() };
            return Start { skip: Some(Skip::Executed(executed.clone())), position: Position { file_pos, gtids } };
        }
        let by_set = matches!(&position.gtids, GtidSet::MySql(s) if !s.is_empty());
        let earliest = self.frontier.open_xa.iter().map(OpenXa::place).min();
        match earliest {
            Some(first) if !by_set && first < position.file_pos => Start {
                skip: Some(Skip::UntilPosition(position.file_pos)),
                position: Position { file_pos: first, gtids: GtidSet::default() },
            },
            _ => Start { position, skip: None },
        }
    }

    pub(super) fn start_resolved(&mut self, resolved: Resolved, now: Now, out: &mut Output) {
        if !self.go(Event::Resolved) {
            return;
        }
        let start = resolved.start;
        // Its file may be of another server by the time of the connection, or of the next take.
        self.frontier.server_uuid = resolved.server_uuid;
        self.frontier.position = start.position.clone();
        // The start is durable before the first row: a crash must not move it. One that is reached by skipping is found
        // again the same way.
        self.unwritten = start.skip.is_none();
        self.dirty = true;
        if start.skip.is_none() {
            self.parks_begin_here();
        }
        self.begin_reading(start, Duration::ZERO, out);
        self.tick(now, out);
    }

    pub(super) fn begin_reading(&mut self, start: Start, after: Duration, out: &mut Output) {
        self.read = start.position.clone();
        self.gtids_known = !self.read.gtids.is_empty();
        self.boundary.clone_from(&self.read.file_pos);
        if matches!(start.skip, Some(Skip::UntilPosition(_))) && self.has_checkpoint {
            // Re-read for prepared XA only: the executed set is known.
            self.read.gtids = self.frontier.position.gtids.clone();
        }
        self.skip = start.skip.clone();
        self.reset_reading();
        self.expect_file();
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
                     on it; point the source back, or else",
                    server.uuid
                );
                self.failed(Failure::new(FailureKind::Permanent, Cause::Gone, message), now, out);
            } else {
                // Another server may have another commit order: what is unsettled is read again from the checkpoint,
                // as a new incarnation, so that no consumer compares ordinals across the switch.
                self.switch_to = Some(server.uuid);
                self.end_epoch("reading goes on by GTID on another server".to_string(), now, out);
            }
            return;
        }
        // Written also where nothing is new: of a catch-up it says that the topic is open and the source readable.
        self.dirty = true;
        self.server = server;
        self.connected_at = Some((now.monotonic, self.boundary.clone()));
    }

    pub(super) fn disconnected(&mut self, failure: Failure, now: Now, out: &mut Output) {
        match failure.kind {
            FailureKind::Transient => {
                if !self.go(Event::Disconnected) {
                    return;
                }
                self.incident(IncidentCode::SourceDisconnected, "", failure.message, out);
                self.totals.reconnects += 1;
                // A server that lets us in and then fails each time must not be asked again and again without a pause.
                if let Some((at, from)) = self.connected_at.take()
                    && (self.boundary > from || now.monotonic.saturating_sub(at) >= STEADY)
                {
                    self.connecting.reset();
                }
                let after = self.connecting.next_pause();
                // The part of a transaction that was read is forgotten: all of it has to come again.
                self.read.file_pos.clone_from(&self.boundary);
                let mut resume = Start { position: self.read.clone(), skip: self.skip.clone() };
                if matches!(self.skip, Some(Skip::UntilPosition(_))) && self.has_checkpoint {
                    // Still before the frontier, on the way to prepared XA transactions: a GTID would jump over them.
                    resume.position.gtids = GtidSet::default();
                }
                self.reset_reading();
                self.log.resume();
                out.command(Command::Connect { from: resume, after });
            }
            // The server is the one that was read, or its name would have ended the epoch before.
            _ if failure.cause == Cause::NoGtids
                && !self.by_file
                && !self.frontier.position.file_pos.file.is_empty() =>
            {
                self.by_file = true;
                let message = format!(
                    "{}; reading goes on from the checkpoint by file and offset, and cannot follow a failover until \
                     gtid_mode is ON",
                    failure.message
                );
                self.incident(IncidentCode::GtidsOff, "", message.clone(), out);
                self.end_epoch(message, now, out);
            }
            _ => self.failed(failure, now, out),
        }
    }

    pub(super) fn failed(&mut self, mut failure: Failure, now: Now, out: &mut Output) {
        match failure.kind {
            FailureKind::Transient => self.end_epoch(failure.message, now, out),
            FailureKind::Permanent | FailureKind::Fenced => {
                if self.go(Event::Fatal) {
                    if failure.cause == Cause::Gone {
                        failure.message = format!("{}; {}", failure.message, self.config.start_again);
                    }
                    self.incident(IncidentCode::SourceFailed, "", failure.message.clone(), out);
                    self.failure = Some(failure);
                    self.drop_unsettled(out);
                    out.command(Command::Disconnect);
                    self.tell_end(out);
                }
            }
        }
    }

    /// A record's outcome is unknown, or a dependency failed: everything unsettled is read again in a new epoch.
    pub(crate) fn end_epoch(&mut self, reason: String, now: Now, out: &mut Output) {
        self.leave_epoch(IncidentCode::EpochEnded, reason, now, out);
    }

    pub(super) fn leave_epoch(&mut self, code: IncidentCode, reason: String, now: Now, out: &mut Output) {
        if !self.go(Event::EpochLost) {
            return;
        }
        self.incident(code, "", reason.clone(), out);
        self.drop_unsettled(out);
        out.command(Command::Disconnect);
        if self.state == State::Ended {
            // What it was ending for counts first.
            self.failure.get_or_insert(Failure::new(FailureKind::Transient, Cause::Unavailable, reason));
            self.tell_end(out);
            return;
        }
        self.retry_at = now.monotonic + self.epochs.next_pause();
    }

    pub(super) fn drop_unsettled(&mut self, out: &mut Output) {
        out.clear_sends();
        self.end_catch_up(out);
        self.reset_reading();
        self.boundary.clone_from(&self.frontier.position.file_pos);
        // The next epoch may begin before a change of a definition that was read behind it.
        self.definitions.clear();
        self.schema_unstored = 0;
        self.prepared.clear();
        self.publishing = None;
        self.ledger.clear();
        for feed in &mut self.feeds {
            feed.pending.iter_mut().for_each(|p| *p = None);
        }
    }
}
