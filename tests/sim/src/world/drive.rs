//! One process: moving what its machine puts out, as the wave's loop does, and carrying out its commands.

use super::*;

impl World {
    /// Sends what there is and lets the machine work, as the wave's loop does.
    pub(super) fn pump(&mut self, id: u64) {
        loop {
            let owner = self.find(id).is_some_and(|p| self.processes[p].catch_up.is_none());
            if !self.healed && owner && self.rng.chance(self.rates.crash) {
                self.crash(id);
            }
            let Some(p) = self.find(id) else { return };
            let sent = self.send(p);
            if !self.commands(id) {
                return;
            }
            let Some(p) = self.find(id) else { return };
            let process = &self.processes[p];
            if process.sent < process.out.sends.len() {
                return;
            }
            let now = self.now_of(p);
            let process = &mut self.processes[p];
            let work = process.machine.work(now, &mut process.out);
            let more = work == Work::More || !process.out.sends.is_empty() || !process.out.commands.is_empty();
            if !more && !sent {
                return;
            }
        }
    }

    /// Hands records on until the publisher is full; true when some went.
    pub(super) fn send(&mut self, p: usize) -> bool {
        let id = self.processes[p].id;
        let mut moved = false;
        while let Some(send) = self.processes[p].out.sends.get(self.processes[p].sent).cloned() {
            let full = self.rng.chance(self.rates.full);
            let process = &mut self.processes[p];
            let slice = |r: &std::ops::Range<usize>| process.out.arena.get(r.clone()).unwrap_or_default().to_vec();
            let queued = Queued { token: send.token, header: slice(&send.header), value: slice(&send.value) };
            if full || !process.publisher.accept(send.feed, send.partition as usize, queued) {
                self.stats.full += 1;
                if !process.waking {
                    process.waking = true;
                    self.schedule(1_000, Event::Wake(id));
                }
                return moved;
            }
            process.sent += 1;
            moved = true;
            if self.bug == Some(Bug::SettledBeforeStored) {
                self.schedule(10, Event::Report(id, send.token, Outcome::Settled));
            }
            if self.processes[p].publisher.start_step(send.feed, send.partition as usize) {
                let after = self.rng.range(50, 20_000);
                self.schedule(after, Event::Store(id, send.feed, send.partition as usize));
            }
        }
        let process = &mut self.processes[p];
        process.out.clear_sends();
        process.sent = 0;
        moved
    }

    /// False when the process is gone.
    pub(super) fn commands(&mut self, id: u64) -> bool {
        loop {
            let Some(p) = self.find(id) else { return false };
            let commands = std::mem::take(&mut self.processes[p].out.commands);
            if commands.is_empty() {
                return true;
            }
            for command in commands {
                if !self.command(id, command) {
                    return false;
                }
            }
        }
    }

    pub(super) fn command(&mut self, id: u64, command: Command) -> bool {
        let Some(p) = self.find(id) else { return false };
        self.log(|| match &command {
            Command::Incident(i) => format!("[{id}] -> {} {} {}", i.code.name(), i.subject, i.message),
            other => format!("[{id}] -> {other:?}"),
        });
        match command {
            Command::Take if self.processes[p].catch_up.is_some() => self.take_of_catch_up(p),
            Command::Take => self.ask(p, Request::Take),
            Command::CatchUp { feed, ownership } => self.start_catch_up(p, feed, ownership),
            Command::EndCatchUp => {
                if let Some(c) = self.catch_up_of(id) {
                    let (catch_up, after) = (self.processes[c].id, self.rng.range(10, 50_000));
                    self.schedule(after, Event::StopNow(catch_up));
                }
            }
            Command::Open { epoch } => self.open(p, epoch),
            Command::ResolveStart => {
                let resolved = self.resolve_start();
                let after = self.rng.range(100, 30_000);
                self.schedule(after, Event::Answer(id, Input::StartResolved(Box::new(resolved))));
            }
            Command::Connect { from, after } => {
                let process = &mut self.processes[p];
                process.connection = None;
                process.connections += 1;
                let connection = process.connections;
                let wait = after.as_micros() as u64 + self.rng.range(100, 20_000);
                self.schedule(wait, Event::Connect(id, connection, from));
            }
            Command::Disconnect => {
                self.processes[p].connection = None;
                self.processes[p].connections += 1;
            }
            Command::WriteCheckpoint(mut write) => {
                self.plant(p, &mut write.checkpoint);
                if self.processes[p].catch_up.is_some() {
                    self.write_of_catch_up(p, write.checkpoint, write.pin);
                } else {
                    if self.bug == Some(Bug::ParkNotInMulti) {
                        write.park.clear();
                    }
                    self.ask(p, Request::Write(write));
                }
            }
            Command::Incident(incident) => self.incident(p, incident.code, &incident.message),
            Command::Finished(how) => {
                self.finished(p, how);
                return false;
            }
            Command::LoadTable { .. } | Command::SchemaChanged { .. } => {}
            Command::AskFile { file } => self.ask_file(p, file),
        }
        true
    }

    pub(super) fn incident(&mut self, p: usize, code: IncidentCode, message: &str) {
        match code {
            IncidentCode::EpochEnded | IncidentCode::EpochTurned => self.processes[p].epoch_lost = true,
            IncidentCode::FeedRejoined => self.stats.rejoins += 1,
            IncidentCode::FeedParked => self.stats.parks += 1,
            IncidentCode::TableQuarantined | IncidentCode::StatementFormat | IncidentCode::UnknownEvent => {
                self.checker.violation(format!("{}: {message}", code.name()));
            }
            _ => {}
        }
    }

    pub(super) fn finished(&mut self, p: usize, how: Ended) {
        let mut process = self.processes.remove(p);
        if let Some(of) = &mut process.catch_up {
            of.reason = format!("{how:?}");
            return self.catch_up_finished(process);
        }
        self.drop_catch_up(process.id);
        let alone = self.owners() == 0;
        match how {
            Ended::Done => {
                if process.stopping && !process.epoch_lost && alone {
                    self.stats.clean_stops += 1;
                    self.checker.drained();
                }
            }
            Ended::Failed(failure) if failure.kind == FailureKind::Fenced => self.stats.fenced += 1,
            // Told to stop while the outcome of records was not known.
            Ended::Failed(failure) if failure.kind == FailureKind::Transient && process.stopping => {}
            // The only topic left is missing: an operator's case, and he starts it again.
            Ended::Failed(failure) if failure.cause == Cause::NotFound => {}
            Ended::Failed(failure) => self.checker.violation(format!("the instance gave up: {}", failure.message)),
        }
        self.strand(&process.feeds, process.publisher);
        self.replace();
    }

    /// Planted bugs in what is written.
    pub(super) fn plant(&mut self, p: usize, checkpoint: &mut pipeline::checkpoint::Checkpoint) {
        match self.bug {
            Some(Bug::EntryOfReadPosition) if self.processes[p].catch_up.is_some() => {
                checkpoint.position = self.processes[p].machine.read_position().clone();
            }
            Some(Bug::CheckpointOfReadPosition) => {
                checkpoint.position = self.processes[p].machine.read_position().clone();
            }
            Some(Bug::GtidEarly) => {
                if let binlog::gtid::GtidSet::MySql(set) = &mut checkpoint.position.gtids {
                    let open = |t: &&crate::history::Txn| t.gtid.is_some_and(|(u, n)| !set.contains(&u, "", n));
                    let next = self.history.txns.iter().filter(open).filter_map(|t| t.gtid).nth(1);
                    if let Some((uuid, n)) = next {
                        set.add(uuid, "", n);
                    }
                }
            }
            _ => {}
        }
    }
}
