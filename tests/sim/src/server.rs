//! Simulated servers: they hold one history each in their own files, and serve dumps of it.

use binlog::gtid::{GtidSet, MySqlGtidSet};
use binlog::position::{FilePos, Position};
use pipeline::io::{Batch, Start};

use crate::event::{self, Body};
use crate::history::{BASE_US, History};
use crate::rng::Rng;

#[derive(Debug)]
struct Placed {
    /// Transaction and its body, or an event of the file itself.
    txn: Option<(usize, usize)>,
    own: Option<Body>,
    start: u64,
    end: u64,
}

#[derive(Debug)]
struct File {
    name: String,
    events: Vec<Placed>,
    /// First transaction in it.
    first: usize,
    /// Second in which it was begun.
    begun: u32,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) uuid: String,
    id: u32,
    files: Vec<File>,
}

/// Where a dump stands.
#[derive(Debug)]
pub(crate) struct Dump {
    preface: Vec<Body>,
    file: usize,
    event: usize,
    executed: Option<MySqlGtidSet>,
    heartbeat: bool,
}

impl Server {
    /// Puts the history into files named `base.NNNNNN` from `number` on.
    #[must_use]
    pub(crate) fn new(history: &History, which: usize, base: &str, number: u64, rng: &mut Rng) -> Self {
        let mut files = Vec::new();
        let mut next = 0;
        let mut number = number;
        while next < history.txns.len() || files.is_empty() {
            let count = rng.range(8, 60) as usize;
            let until = (next + count).min(history.txns.len());
            let mut file = File { name: format!("{base}.{number:06}"), events: Vec::new(), first: next, begun: 0 };
            file.begun = begun(which, number);
            let mut at = 4;
            let mut place = |txn, own: Option<Body>, size: u64| {
                file.events.push(Placed { txn, own, start: at, end: at + size });
                at += size;
            };
            for body in [event::format_description(), event::previous_gtids(&executed(history, next))] {
                let size = body.size();
                place(None, Some(body), size);
            }
            for txn in next..until {
                for (i, body) in history.txns[txn].bodies.iter().enumerate() {
                    place(Some((txn, i)), None, body.size());
                }
            }
            number += 1;
            if until < history.txns.len() {
                let body = event::rotate(&format!("{base}.{number:06}"), 4);
                let size = body.size();
                place(None, Some(body), size);
            }
            files.push(file);
            next = until;
        }
        let uuid = binlog::gtid::format_uuid(&history.uuids[which]);
        Server { uuid, id: which as u32 + 1, files }
    }

    /// When a file was begun; None where there is none of this name.
    #[must_use]
    pub(crate) fn begun(&self, file: &str) -> Option<u32> {
        Some(self.files.iter().find(|f| f.name == file)?.begun)
    }

    /// End of transaction `txn`, or the start of the log.
    #[must_use]
    pub(crate) fn end_of(&self, txn: Option<usize>) -> FilePos {
        let Some(txn) = txn else { return FilePos { file: self.files[0].name.clone(), pos: 4 } };
        let file = self.files.iter().rfind(|f| f.first <= txn).unwrap_or(&self.files[0]);
        let end = file.events.iter().filter(|e| e.txn.is_some_and(|(t, _)| t == txn)).map(|e| e.end).max();
        FilePos { file: file.name.clone(), pos: end.unwrap_or(4) }
    }

    /// Everything before transaction `txn`.
    #[must_use]
    pub(crate) fn position_before(&self, history: &History, txn: usize) -> Position {
        let gtids = if history.gtids { executed(history, txn) } else { MySqlGtidSet::default() };
        Position { file_pos: self.end_of(txn.checked_sub(1)), gtids: GtidSet::MySql(gtids) }
    }

    /// Starts a dump as the server would: by set where one is given, else by file and offset.
    ///
    /// # Errors
    /// The position is no event's start: the server would refuse or send garbage.
    pub(crate) fn dump(&self, history: &History, from: &Start) -> Result<Dump, String> {
        if let GtidSet::MySql(set) = &from.position.gtids
            && !set.is_empty()
        {
            let file = self
                .files
                .iter()
                .rposition(|f| set.contains_set(&executed(history, f.first)))
                .ok_or_else(|| format!("GTID set {set:?} lacks transactions that are purged"))?;
            let preface = vec![event::rotate(&self.files[file].name, 4)];
            return Ok(Dump { preface, file, event: 0, executed: Some(set.clone()), heartbeat: false });
        }
        let at = &from.position.file_pos;
        let file = self.files.iter().position(|f| f.name == at.file).ok_or_else(|| format!("no file for {at}"))?;
        let events = &self.files[file].events;
        let event = events
            .iter()
            .position(|e| e.start == at.pos)
            .or_else(|| (events.last().map(|e| e.end) == Some(at.pos)).then_some(events.len()))
            .ok_or_else(|| format!("{at} is not the start of an event"))?;
        let mut preface = vec![event::rotate(&at.file, at.pos)];
        if event > 0 {
            preface.push(event::format_description());
        }
        Ok(Dump { preface, file, event, executed: None, heartbeat: false })
    }

    /// Up to `max` events of the dump that are in the log at `now_us`; None when there are none.
    pub(crate) fn read(&self, history: &History, dump: &mut Dump, now_us: u64, max: usize) -> Option<Batch> {
        let mut batch = Batch::default();
        let seconds = |us: u64| (us / 1_000_000) as u32;
        while batch.events.len() < max {
            let start = batch.buf.len();
            if dump.preface.is_empty() {
                let events = &self.files[dump.file].events;
                let Some(placed) = events.get(dump.event) else {
                    if dump.file + 1 == self.files.len() {
                        break;
                    }
                    dump.file += 1;
                    dump.event = 0;
                    dump.preface.push(event::rotate(&self.files[dump.file].name, 4));
                    continue;
                };
                if let Some((t, i)) = placed.txn {
                    let txn = &history.txns[t];
                    if txn.at_us > now_us {
                        break;
                    }
                    dump.event += 1;
                    let sent = txn
                        .gtid
                        .is_none_or(|(uuid, n)| dump.executed.as_ref().is_none_or(|set| !set.contains(&uuid, "", n)));
                    if !sent {
                        continue;
                    }
                    event::frame(&txn.bodies[i], seconds(txn.commit_us), self.id, placed.end, &mut batch.buf);
                } else {
                    dump.event += 1;
                    let Some(body) = &placed.own else { continue };
                    event::frame(body, self.files[dump.file].begun, self.id, placed.end, &mut batch.buf);
                }
                dump.heartbeat = true;
            } else {
                let body = dump.preface.remove(0);
                let format = body.code == event::FORMAT_DESCRIPTION;
                let begun = if format { self.files[dump.file].begun } else { 0 };
                event::frame(&body, begun, self.id, 0, &mut batch.buf);
            }
            batch.events.push(start..batch.buf.len());
        }
        if batch.events.is_empty() {
            if !std::mem::take(&mut dump.heartbeat) {
                return None;
            }
            let file = &self.files[dump.file];
            let end = dump.event.checked_sub(1).and_then(|i| file.events.get(i)).map_or(4, |e| e.end);
            event::frame(&event::heartbeat(&file.name), 0, self.id, end, &mut batch.buf);
            batch.events.push(0..batch.buf.len());
        }
        Some(batch)
    }
}

/// Servers begin files of one number at different times.
fn begun(server: usize, number: u64) -> u32 {
    (BASE_US / 1_000_000) as u32 + (number * 2) as u32 + server as u32
}

/// The executed set before transaction `until`.
#[must_use]
pub(crate) fn executed(history: &History, until: usize) -> MySqlGtidSet {
    let mut set = MySqlGtidSet::default();
    if !history.gtids {
        return set;
    }
    for n in 1..=history.old {
        set.add(history.uuids[0], "", n);
    }
    for txn in history.txns.iter().take(until) {
        if let Some((uuid, n)) = txn.gtid {
            set.add(uuid, "", n);
        }
    }
    set
}
