//! What a machine talks to: coordination, start, server and broker, each with its faults.

use super::*;

impl World {
    pub(super) fn ask(&mut self, p: usize, request: Request) {
        let wait = self.rng.range(200, 40_000);
        let process = &mut self.processes[p];
        process.coordination_at = process.coordination_at.max(self.now) + wait;
        let (id, at) = (process.id, process.coordination_at - self.now);
        self.schedule(at, Event::Apply(id, request));
    }

    pub(super) fn snapshot(&mut self) -> Known {
        match self.reader.read(&self.source) {
            Ok(Some(s)) => coordination::known(s.epoch, s.incarnation, s.checkpoint.as_deref(), &s.entries),
            _ => Known::default(),
        }
    }

    /// The request reaches the service; whatever lands is seen by the checker at once.
    pub(super) fn apply(&mut self, p: usize, request: Request) {
        let unix_ms = self.now_of(p).unix_us / 1000;
        let (id, source) = (self.processes[p].id, self.source.clone());
        let write_epoch = match &request {
            Request::Write(write) => Some(write.epoch),
            Request::Take => None,
        };
        let fence_epoch = match (self.bug, write_epoch) {
            (Some(Bug::NoFence), Some(_)) => self.snapshot().epoch,
            (_, epoch) => epoch.unwrap_or_default(),
        };
        let coordination = &mut self.processes[p].coordination;
        // A late request lands with this call, or with the next read.
        let _ = coordination.read(&source);
        self.landed(write_epoch);
        let Some(p) = self.find(id) else { return };
        let coordination = &mut self.processes[p].coordination;
        let answer = match request {
            Request::Take => match coordination.take(&source, &format!("instance {id}"), unix_ms) {
                Ok(mut taken) => {
                    self.stats.epochs += 1;
                    if self.bug == Some(Bug::StartAtLatest) && self.rng.chance(3000) {
                        taken.checkpoint = None;
                    }
                    if self.bug == Some(Bug::UnparkEarly) && self.rng.chance(3000) {
                        taken.entries.retain(|name, _| !name.starts_with("parked/"));
                    }
                    coordination::taken(&taken)
                }
                Err(e) => Input::TakeFailed(coordination::failure(&e)),
            },
            Request::Write(write) => {
                let fence = Fence { source, epoch: fence_epoch };
                let batch = coordination::batch(*write);
                match coordination.write(&fence, &batch) {
                    Ok(()) => Input::CheckpointWritten,
                    Err(e) => Input::CheckpointFailed(coordination::failure(&e)),
                }
            }
        };
        if matches!(answer, Input::TakeFailed(_) | Input::CheckpointFailed(_)) {
            self.stats.coordination_faults += 1;
        }
        self.landed(write_epoch);
        let wait = self.rng.range(100, 30_000);
        if let Some(p) = self.find(id) {
            let process = &mut self.processes[p];
            process.coordination_at = self.now + wait;
            self.schedule(wait, Event::Answer(id, answer));
        }
    }

    /// Compares the stored state with the last one seen.
    pub(super) fn landed(&mut self, writer: Option<u64>) {
        let known = self.snapshot();
        if known.epoch != self.checker.known.epoch {
            self.log(|| format!("landed: epoch {}", known.epoch));
            self.checker.taken(known);
        } else if known.checkpoint != self.checker.known.checkpoint || known.parked != self.checker.known.parked {
            self.log(|| format!("landed: {:?} parked {:?}", known.checkpoint, known.parked));
            self.stats.checkpoints += 1;
            self.checker.checkpoint(writer.unwrap_or(known.epoch), known);
        }
    }

    pub(super) fn resolve_start(&mut self) -> Resolved {
        let server = &self.servers[0];
        let first = server.position_before(&self.history, 0);
        let by_file = |mut start: binlog::position::Position| {
            start.gtids = binlog::gtid::GtidSet::default();
            start
        };
        let start = match self.start {
            StartKind::Beginning => Start { position: by_file(first), skip: None },
            StartKind::SkipPosition(k) => {
                let until = server.end_of(k.checked_sub(1));
                Start { position: by_file(first), skip: Some(Skip::UntilPosition(until)) }
            }
            StartKind::SkipTime(k) => {
                let until = self.history.txns[k].commit_us;
                Start { position: by_file(first), skip: Some(Skip::UntilTime(until)) }
            }
            StartKind::Latest => {
                let end = self.history.txns.iter().take_while(|t| t.at_us <= self.now).count();
                Start { position: server.position_before(&self.history, end), skip: None }
            }
        };
        Resolved { start, server_uuid: server.uuid.clone() }
    }

    pub(super) fn ask_file(&mut self, p: usize, file: String) {
        let (id, after) = (self.processes[p].id, self.rng.range(100, 30_000));
        let begun = if self.rng.chance(self.rates.disconnect) {
            Err(transient("connection refused"))
        } else {
            Ok(self.servers[self.active].begun(&file))
        };
        self.schedule(after, Event::Answer(id, Input::FileAnswered { file, begun }));
    }

    pub(super) fn open(&mut self, p: usize, epoch: u64) {
        let id = self.processes[p].id;
        let old = self.processes[p].publisher.abort();
        let feeds = self.processes[p].feeds.clone();
        self.strand(&feeds, old);
        if self.fencing {
            self.broker_epoch = self.broker_epoch.max(epoch);
        }
        let parked: Vec<String> = self.processes[p].machine.parked().map(|(name, _)| name.to_string()).collect();
        let answer = if self.rng.chance(self.rates.open) {
            Input::OpenFailed(transient("broker does not answer"))
        } else {
            self.processes[p].publisher.epoch = epoch;
            let topics = feeds.iter().map(|f| {
                let gone = parked.contains(&self.feeds[*f].name);
                if !gone && self.faults[*f] == Some(FeedFault::Missing) {
                    return Err(Failure::new(FailureKind::Permanent, Cause::NotFound, "topic does not exist"));
                }
                let partitions = if gone { 0 } else { self.partitions[*f] };
                Ok(OpenTopic { topic: *f as u32, name: self.feeds[*f].name.clone(), partitions })
            });
            Input::Opened(topics.collect())
        };
        let after = self.rng.range(10, 20_000);
        self.schedule(after, Event::Answer(id, answer));
    }

    pub(super) fn connect(&mut self, id: u64, connection: u64, start: &Start) {
        let Some(p) = self.find(id) else { return };
        if self.processes[p].connections != connection {
            return;
        }
        if self.rng.chance(self.rates.disconnect) {
            self.input(p, Input::Disconnected(transient("connection refused")));
            return self.pump(id);
        }
        match self.servers[self.active].dump(&self.history, start) {
            Ok(dump) => {
                let server = pipeline::io::Server {
                    uuid: self.servers[self.active].uuid.clone(),
                    version: "8.0.43".into(),
                    ..Default::default()
                };
                self.processes[p].connection = Some(Connection { id: connection, server: self.active, dump });
                self.input(p, Input::Connected(server));
                self.schedule(100, Event::Deliver(id, connection));
                self.pump(id);
            }
            Err(e) => self.checker.violation(format!("I4: dump from {start:?}: {e}")),
        }
    }

    pub(super) fn deliver(&mut self, id: u64, connection: u64) {
        let Some(p) = self.find(id) else { return };
        if self.processes[p].connection.as_ref().is_none_or(|c| c.id != connection) {
            return;
        }
        if self.rng.chance(self.rates.disconnect) {
            return self.cut(id, "connection reset");
        }
        let after = self.rng.range(100, 15_000);
        self.schedule(after, Event::Deliver(id, connection));
        // As in the wave: nothing is taken while a record waits for the publisher.
        if self.processes[p].sent < self.processes[p].out.sends.len() || !self.processes[p].machine.wants_batch() {
            return;
        }
        if self.rng.chance(20) && !self.healed {
            self.spills.fail.store(true, Ordering::Relaxed);
        }
        let max = self.rng.range(1, 12) as usize;
        let process = &mut self.processes[p];
        let Some(c) = process.connection.as_mut() else { return };
        if let Some(batch) = self.servers[c.server].read(&self.history, &mut c.dump, self.now, max) {
            self.input(p, Input::Events(batch));
            self.pump(id);
        }
    }

    /// The broker takes the first record of a partition's queue.
    pub(super) fn store(&mut self, id: u64, feed: usize, partition: usize) {
        let Some(p) = self.find(id) else { return };
        let again = self.rng.range(50, 20_000);
        let Some(size) = self.processes[p].publisher.head(feed, partition) else { return };
        let live = self.feeds.len() - self.checker.known.parked.len() > 1 && self.broken.is_none();
        let failed = self.processes[p].publisher.failed[feed].clone();
        let number = self.processes[p].feeds[feed];
        let own = match self.faults[number] {
            Some(FeedFault::Hangs) => return self.schedule(again, Event::Store(id, feed, partition)),
            Some(FeedFault::Refuses | FeedFault::Missing) => Some("authorization failed"),
            Some(FeedFault::TooLarge(limit)) if size > limit => Some("record is too large"),
            _ if live && self.rng.chance(self.rates.refuse) => Some("topic was deleted"),
            _ => None,
        };
        let fenced = self.fencing && self.processes[p].publisher.epoch < self.broker_epoch;
        let unknown = self.rng.chance(self.rates.unknown);
        let lost = live && self.rng.chance(self.rates.lost_report);
        let stored = failed.is_none() && own.is_none() && !fenced && (!unknown || self.rng.chance(5000));
        let outcome = if let Some(outcome) = failed {
            outcome
        } else if fenced {
            Outcome::Unknown("fenced by a newer owner".into())
        } else if let Some(why) = own {
            Outcome::Feed(why.into())
        } else if unknown {
            self.stats.unknown += 1;
            Outcome::Unknown("connection to the broker lost".into())
        } else {
            Outcome::Settled
        };
        let publisher = &mut self.processes[p].publisher;
        let Some(queued) = publisher.pop(feed, partition) else { return };
        if outcome != Outcome::Settled {
            let resend = self.bug == Some(Bug::ResendSingle) && matches!(outcome, Outcome::Unknown(_)) && !fenced;
            if resend {
                if !stored {
                    let publisher = &mut self.processes[p].publisher;
                    publisher.push_back(feed, partition, queued);
                }
                return self.next_step(id, feed, partition, again);
            }
            if self.bug != Some(Bug::IgnoreDeliveryError) {
                publisher.failed[feed] = Some(outcome.clone());
            }
        }
        if stored {
            self.log(|| format!("[{id}] stored {number}/{partition} token {}", queued.token.0));
            self.checker.store(number, partition, &queued.header, &queued.value);
        }
        // Reports of different partitions overtake each other; some come only when everything is well again.
        let mut after = self.rng.range(10, 30_000);
        if lost && stored {
            self.stats.lost_reports += 1;
            after += self.heal_at.saturating_sub(self.now);
        }
        self.schedule(after, Event::Report(id, queued.token, outcome));
        self.next_step(id, feed, partition, again);
    }

    pub(super) fn next_step(&mut self, id: u64, feed: usize, partition: usize, after: u64) {
        let Some(p) = self.find(id) else { return };
        if self.processes[p].publisher.head(feed, partition).is_some() {
            self.schedule(after, Event::Store(id, feed, partition));
        }
        if !self.processes[p].waking {
            self.processes[p].waking = true;
            self.schedule(500, Event::Wake(id));
        }
    }

    pub(super) fn store_late(&mut self, feed: usize, partition: usize, queued: &Queued) {
        let epoch = proto::RecordHeader::decode(&queued.header).map_or(0, |h| h.epoch);
        if self.fencing && epoch < self.broker_epoch {
            return;
        }
        self.stats.late_records += 1;
        self.log(|| format!("stored late {feed}/{partition} of epoch {epoch}"));
        self.checker.store(feed, partition, &queued.header, &queued.value);
    }
}
