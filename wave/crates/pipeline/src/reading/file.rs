//! Whether the log is still the one that was read. RESET (and a server that was restored) begins it anew under the names
//! and GTIDs of before: a position of the old log then lies anywhere in the new one, and the server gives what follows it.
//!
//! A file is told by its name and the second in which it was begun, which its FORMAT_DESCRIPTION bears also when reading
//! begins in its middle. A checkpoint holds both. Of the file that a connection begins with:
//! - the expected one: it must have been begun at the same time;
//! - a later one (by GTID, where nothing after the checkpoint is in the expected one): the server is asked for the
//!   expected one;
//! - an earlier one (by GTID, where it has the PREPARE of an open XA transaction): nothing else of it may be new.

use binlog::position::file_number;

use super::*;

/// The file being read, over the connections of an epoch.
#[derive(Debug, Default)]
pub(crate) struct LogFile {
    name: String,
    begun: u32,
    /// Of the checkpoint that the epoch began at.
    expected: (String, u32),
    connection: Connection,
    /// Reading from the first open PREPARE on: nothing else is there.
    prepare: Option<OpenXa>,
    /// What was found that cannot be in the log that was read before.
    contradiction: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Connection {
    /// Its first file has not come yet.
    #[default]
    Fresh,
    /// That file is later than the expected one, of which the server is asked.
    Asking,
    Checked,
}

impl LogFile {
    pub(crate) fn waits(&self) -> bool {
        self.connection == Connection::Asking
    }

    pub(super) fn begun(&self) -> u32 {
        self.begun
    }

    pub(super) fn contradiction(&mut self) -> Option<String> {
        self.contradiction.take()
    }

    /// Goes on with a new connection.
    pub(crate) fn resume(&mut self) {
        self.connection = Connection::Fresh;
    }
}

impl Instance {
    /// Before an epoch's first connection: what the checkpoint says of its file.
    pub(crate) fn expect_file(&mut self) {
        let (name, begun) = (self.frontier.position.file_pos.file.clone(), self.frontier.file_begun);
        // On another server transactions of other domains may stand before it.
        let again = self.has_checkpoint && self.skip.is_some() && !name.is_empty();
        self.log = LogFile {
            expected: (name.clone(), begun),
            prepare: self.frontier.open_xa.iter().min_by_key(|x| x.place()).filter(|_| again).cloned(),
            name,
            begun,
            ..LogFile::default()
        };
    }

    /// A FORMAT_DESCRIPTION, of a file begun at this second.
    pub(super) fn begin_file(&mut self, begun: u32, now: Now, out: &mut Output) -> Flow {
        let file = self.read.file_pos.file.clone();
        let fresh = self.log.connection == Connection::Fresh;
        let last = (file == self.log.name && fresh).then_some(self.log.begun);
        let expected = (file == self.log.expected.0).then_some(self.log.expected.1);
        if [last, expected].into_iter().flatten().any(|known| known != 0 && begun != 0 && known != begun) {
            return self.log_reset(&another(&file), now, out);
        }
        let later = self.log.begun != 0 && file_number(&file) > file_number(&self.log.name);
        match self.log.connection {
            Connection::Fresh if later => {
                self.log.connection = Connection::Asking;
                out.command(Command::AskFile { file: self.log.name.clone() });
                return Flow::Wait;
            }
            Connection::Asking => return Flow::Wait,
            Connection::Fresh | Connection::Checked => {}
        }
        self.log.connection = Connection::Checked;
        (self.log.name, self.log.begun) = (file, begun);
        self.pass_file();
        Flow::Next
    }

    /// Nothing of the files before is left to do: a checkpoint need not keep a name that may be purged.
    fn pass_file(&mut self) {
        let idle = self.open.is_none() && self.nothing_out();
        let at = &mut self.frontier.position.file_pos;
        if at.file == self.log.name {
            if self.frontier.file_begun != self.log.begun {
                self.frontier.file_begun = self.log.begun;
                self.dirty = true;
            }
            return;
        }
        if idle && !at.file.is_empty() && file_number(&self.log.name) > at.file_number() {
            *at = FilePos { file: self.log.name.clone(), pos: 4 };
            self.frontier.file_begun = self.log.begun;
            self.dirty = true;
        }
    }

    pub(crate) fn file_answered(
        &mut self,
        file: &str,
        begun: Result<Option<u32>, Failure>,
        now: Now,
        out: &mut Output,
    ) {
        if !self.log.waits() || file != self.log.name {
            return;
        }
        let unknown = match begun {
            Ok(Some(begun)) if begun == self.log.begun => None,
            Ok(Some(_)) => {
                self.log_reset(&another(file), now, out);
                return;
            }
            Err(failure) if failure.kind == FailureKind::Transient => {
                self.handle(now, Input::Disconnected(failure), out);
                return;
            }
            Ok(None) => Some(format!("the server no longer has {file}, in which reading stopped")),
            Err(failure) => Some(format!("whether {file} is still the file that was read: {}", failure.message)),
        };
        if let Some(unknown) = unknown {
            let message = format!(
                "{unknown}. By the GTIDs all of it was read; but if the server's logs were reset meanwhile, what was logged \
                 before the present file is missing, and then: {}",
                self.config.start_again
            );
            self.incident(IncidentCode::LogPurged, "", message, out);
        }
        self.log.connection = Connection::Checked;
        self.log.name.clear();
    }

    /// False if a transaction that ends here cannot stand in the log that was read before. `skipping`: that had it;
    /// `prepare`: what it prepares.
    pub(super) fn belongs_here(&mut self, gtid: Option<&Gtid>, skipping: bool, prepare: Option<&OpenXa>) -> bool {
        let known = prepare.is_some_and(|p| self.frontier.has_open_xa(p));
        let (file, settled) = (&self.read.file_pos.file, &self.frontier.position.file_pos);
        if let Some(first) = self.log.prepare.take_if(|first| !known || prepare.is_none_or(|p| p.xid != first.xid)) {
            let text = format!("XA transaction {} is no longer prepared at {}:{}", first.xid, first.file, first.pos);
            self.log.contradiction = Some(text);
        } else if !skipping && !known && self.frontier.file_begun != 0 && file_number(file) < settled.file_number() {
            let text = format!("{file} has transactions that were not there when {} was read", settled.file);
            self.log.contradiction = Some(text);
        } else if let (Some(Gtid::MariaDb { domain, sequence, .. }), Some(Skip::Executed(pos))) = (gtid, &self.skip)
            && let Some(last) = pos.get(*domain).filter(|last| skipping && *sequence > last.sequence)
        {
            let text = format!("{domain}-{}-{}, which was read before, is not in it", last.server, last.sequence);
            self.log.contradiction = Some(text);
        }
        self.log.prepare = None;
        self.log.contradiction.is_none()
    }

    pub(super) fn log_reset(&mut self, found: &str, now: Now, out: &mut Output) -> Flow {
        let message = format!(
            "the server's log is not the one that was read (RESET BINARY LOGS AND GTIDS, RESET MASTER, a restored server, or \
             one that lost transactions at a failover): {found}"
        );
        self.incident(IncidentCode::LogReset, "", message.clone(), out);
        let message = format!(
            "{message}; nothing of this log was published, and what the other one had after {} cannot be read any more",
            self.frontier.position.file_pos
        );
        self.handle(now, Input::Disconnected(Failure::new(FailureKind::Permanent, Cause::Gone, message)), out);
        Flow::Halt
    }
}

fn another(file: &str) -> String {
    format!("{file} is not the file of this name that was read before")
}
