//! The promises, checked while a history runs and at its end.
//!
//! At every stored record: it decodes, `n` is dense in its epoch, rows ascend, every message was committed and is wanted
//! by the feed. At every checkpoint that lands: it came from the owner, it only grew, it is a prefix of the log, and
//! every message up to it is stored unless the feed's park entry stands beside it. At the end: nothing is missing; after
//! the dedup rule each partition has its messages once (again only after a new incarnation), in order, and the before
//! image of a change is what the change before it left.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use binlog::gtid::GtidSet;
use binlog::position::FilePos;
use pipeline::checkpoint::{Checkpoint, Stopped};
use pipeline::format::{Op as FormatOp, row_batch_read};
use proto::dedup::{Deduplicator, Gaps};
use proto::header::{RecordHeader, RowId};
use proto::v1::value::Kind;

use crate::history::{Expected, History, Image, Message, Op, TABLES, Txn, Wants, index};

/// How a feed writes its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Maxwell,
    RowBatch,
}

#[derive(Debug)]
struct Stored {
    header: RecordHeader,
    /// Rows with their places in the feed's order.
    rows: Vec<(RowId, usize)>,
}

#[derive(Debug)]
struct FeedLog {
    name: String,
    form: Form,
    expected: Vec<Expected>,
    index: HashMap<Message, usize>,
    partitions: Vec<Vec<Stored>>,
    /// Per expected message, how often it is stored; DDL counts every partition.
    stored: Vec<u32>,
    /// The epoch that stored it last.
    by: Vec<u64>,
    /// Per partition and (incarnation, epoch): the next `n`.
    next_n: Vec<BTreeMap<(u64, u64), u64>>,
    /// Raw messages that replays may have repeated.
    may_repeat: u64,
    raw: u64,
    /// Transactions before this are verified under a checkpoint.
    verified: usize,
}

impl FeedLog {
    fn copies(&self, at: usize) -> u32 {
        if matches!(self.expected[at].message, Message::Ddl(_)) { self.partitions.len() as u32 } else { 1 }
    }

    fn has(&self, at: usize) -> bool {
        self.stored[at] >= self.copies(at)
    }
}

/// What is known of the coordination's state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) epoch: u64,
    pub(crate) incarnation: u64,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) parked: BTreeMap<String, Stopped>,
}

#[derive(Debug)]
pub(crate) struct Checker {
    history: Rc<History>,
    /// Ends of the transactions on the first server; they matter only without GTIDs.
    ends: Vec<FilePos>,
    feeds: Vec<FeedLog>,
    pub(crate) known: Known,
    /// First transaction that feeds must get, and first whose PREPARE is read; None until known.
    pub(crate) start: Option<(usize, usize)>,
    /// The start has to be durable before anything is published.
    pub(crate) durable_start: bool,
    /// Consumers apply the dedup rule by record (a planted bug).
    pub(crate) dedup_by_record: bool,
    pub(crate) violations: Vec<String>,
}

impl Checker {
    #[must_use]
    pub(crate) fn new(history: Rc<History>, ends: Vec<FilePos>, feeds: Vec<(String, Form, Wants, u32)>) -> Self {
        let feeds = feeds
            .into_iter()
            .map(|(name, form, wants, partitions)| {
                let expected = history.expected(&wants);
                FeedLog {
                    name,
                    form,
                    index: index(&expected),
                    partitions: (0..partitions).map(|_| Vec::new()).collect(),
                    stored: vec![0; expected.len()],
                    by: vec![0; expected.len()],
                    next_n: vec![BTreeMap::new(); partitions as usize],
                    expected,
                    may_repeat: 0,
                    raw: 0,
                    verified: 0,
                }
            })
            .collect();
        Checker {
            history,
            ends,
            feeds,
            known: Known::default(),
            start: None,
            durable_start: false,
            dedup_by_record: false,
            violations: Vec::new(),
        }
    }

    pub(crate) fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    fn wanted(&self, e: &Expected) -> bool {
        self.start.is_some_and(|(start, read)| e.txn >= start && e.prepare.is_none_or(|p| p >= read))
    }

    /// A record is appended to a partition.
    pub(crate) fn store(&mut self, feed: usize, partition: usize, header: &[u8], value: &[u8]) {
        if self.durable_start && self.known.checkpoint.is_none() {
            self.violation("I4: a record is stored before the start is durable".into());
        }
        let log = &mut self.feeds[feed];
        let place = format!("{}/{partition}", log.name);
        let header = match RecordHeader::decode(header) {
            Ok(header) => header,
            Err(e) => return self.violations.push(format!("{place}: {e}")),
        };
        let messages = match decode(log.form, &header, value) {
            Ok(messages) => messages,
            Err(e) => return self.violations.push(format!("{place}: {e}")),
        };
        let next = log.next_n[partition].entry((header.incarnation, header.epoch)).or_default();
        if header.n != *next {
            self.violations.push(format!("I2: {place} epoch {}: n is {}, not {next}", header.epoch, header.n));
        }
        *next = header.n + 1;
        let mut rows = Vec::new();
        let last = log.partitions[partition]
            .iter()
            .rev()
            .find(|s| (s.header.incarnation, s.header.epoch) == (header.incarnation, header.epoch))
            .and_then(|s| s.rows.last());
        let mut last = last.map(|(id, _)| *id);
        for (id, message) in messages {
            if last.is_some_and(|last| id <= last) {
                self.violations.push(format!("I3: {place}: {id:?} stands behind {last:?} of the same epoch"));
            }
            last = Some(id);
            match log.index.get(&message) {
                Some(at) => {
                    log.stored[*at] += 1;
                    log.by[*at] = header.epoch;
                    log.raw += 1;
                    rows.push((id, *at));
                }
                None => self.violations.push(format!("I1: {place}: {message:?} was never committed or is not wanted")),
            }
        }
        if header.epoch < self.known.epoch || header.incarnation < self.known.incarnation {
            log.may_repeat += rows.len() as u64;
        }
        if header.rows as usize != rows.len() || Some(header.end) != rows.last().map(|r| r.0) {
            self.violations.push(format!("{place}: header {header:?} does not fit its rows"));
        }
        log.partitions[partition].push(Stored { header, rows });
    }

    /// A take of the source landed.
    pub(crate) fn taken(&mut self, known: Known) {
        let history = Rc::clone(&self.history);
        if known.epoch <= self.known.epoch {
            self.violation(format!("I6: epoch {} follows {}", known.epoch, self.known.epoch));
        }
        self.known = known;
        for feed in &mut self.feeds {
            let beyond = feed.expected.iter().enumerate().filter(|(i, e)| {
                feed.stored[*i] > 0
                    && !self
                        .known
                        .checkpoint
                        .as_ref()
                        .is_some_and(|c| covers(c, &history.txns[e.txn], &self.ends[e.txn]))
            });
            feed.may_repeat += beyond.map(|(i, _)| u64::from(feed.copies(i))).sum::<u64>();
        }
    }

    /// A catch-up begins: what it finds stored behind its start it repeats.
    pub(crate) fn catch_up(&mut self, feed: usize, from: Option<&Checkpoint>) {
        let (history, feed) = (Rc::clone(&self.history), &mut self.feeds[feed]);
        let beyond = feed.expected.iter().enumerate().filter(|(i, e)| {
            feed.stored[*i] > 0 && !from.is_some_and(|c| covers(c, &history.txns[e.txn], &self.ends[e.txn]))
        });
        feed.may_repeat += beyond.map(|(i, _)| u64::from(feed.copies(i))).sum::<u64>();
    }

    /// A checkpoint landed.
    pub(crate) fn checkpoint(&mut self, writer: u64, known: Known) {
        let history = Rc::clone(&self.history);
        if writer != self.known.epoch {
            self.violation(format!("I6: epoch {writer} wrote a checkpoint, the owner is {}", self.known.epoch));
        }
        let Some(new) = known.checkpoint.clone() else { return };
        let covered: Vec<bool> = history.txns.iter().enumerate().map(|(i, t)| covers(&new, t, &self.ends[i])).collect();
        if let Some(old) = &self.known.checkpoint {
            let same_server = old.server_uuid == new.server_uuid;
            let back = !new.position.gtids.contains_set(&old.position.gtids)
                || (same_server
                    && !new.position.file_pos.file.is_empty()
                    && new.position.file_pos < old.position.file_pos)
                || (known.incarnation == self.known.incarnation && new.seq < old.seq);
            if back {
                self.violation(format!("I5: the checkpoint went back from {old:?} to {new:?}"));
            }
        }
        let first_open =
            covered.iter().zip(&history.txns).position(|(c, t)| !c && !t.is_prepare).unwrap_or(covered.len());
        if let Some(hole) = (first_open..covered.len()).find(|i| covered[*i] && !history.txns[*i].is_prepare) {
            self.violation(format!("I5: the checkpoint has transaction {hole} but not {first_open}"));
        }
        if self.start.is_none() {
            let first_unread = covered.iter().position(|c| !c).unwrap_or(covered.len());
            self.start = Some((first_open, first_unread));
        }
        for (name, old) in &self.known.parked {
            let moved_back =
                known.parked.get(name).is_some_and(|new| old.checkpoint().is_some_and(|c| !new.covers(&c)));
            if moved_back {
                let text = format!("I5: the entry of {name} went back from {old:?} to {:?}", known.parked.get(name));
                self.violations.push(text);
            }
        }
        self.known = known;
        for f in 0..self.feeds.len() {
            let feed = &self.feeds[f];
            let stop = self.known.parked.get(&feed.name);
            let due = |e: &Expected| {
                let txn = &history.txns[e.txn];
                stop.map_or(covered[e.txn], |s| stop_covers(s, txn, &self.ends[e.txn]))
            };
            let unverified = feed.expected.iter().enumerate().skip_while(|(_, e)| e.txn < feed.verified);
            let missing = unverified.into_iter().find(|(i, e)| self.wanted(e) && due(e) && !feed.has(*i));
            if let Some((_, e)) = missing {
                let text = format!("the checkpoint passes {e:?}, which {} does not have (parked: {stop:?})", feed.name);
                self.violation(format!("I1: {text}"));
            }
            // What lies behind a park entry has to be seen once more when the feed is back.
            if !self.known.parked.contains_key(&self.feeds[f].name) {
                self.feeds[f].verified = first_open;
            }
        }
    }

    /// The instance drained by itself and nothing failed: a new one must repeat nothing.
    pub(crate) fn drained(&mut self) {
        let history = Rc::clone(&self.history);
        let Some(checkpoint) = self.known.checkpoint.clone() else { return };
        let mut beyond = Vec::new();
        for feed in self.feeds.iter().filter(|f| !self.known.parked.contains_key(&f.name)) {
            let found = feed.expected.iter().enumerate().find(|(i, e)| {
                feed.by[*i] == self.known.epoch && !covers(&checkpoint, &history.txns[e.txn], &self.ends[e.txn])
            });
            beyond.extend(found.map(|(_, e)| format!("{}: {e:?}", feed.name)));
        }
        for text in beyond {
            self.violation(format!("clean stop: the next owner repeats {text}"));
        }
    }

    /// Whether the checkpoint is at the end of the history, with all feeds but the broken one.
    #[must_use]
    pub(crate) fn complete(&self, broken: Option<usize>) -> bool {
        if self.known.parked.keys().any(|name| broken.is_none_or(|b| self.feeds[b].name != *name)) {
            return false;
        }
        let history = Rc::clone(&self.history);
        self.known
            .checkpoint
            .as_ref()
            .is_some_and(|c| history.txns.iter().enumerate().all(|(i, t)| t.is_prepare || covers(c, t, &self.ends[i])))
    }

    /// Messages stored more than once, over all feeds.
    #[must_use]
    pub(crate) fn repeated(&self) -> u64 {
        self.feeds.iter().map(|f| f.raw - f.distinct()).sum()
    }

    #[must_use]
    pub(crate) fn messages(&self) -> u64 {
        self.feeds.iter().map(FeedLog::distinct).sum()
    }

    /// Everything that can be said only at the end.
    pub(crate) fn finish(&mut self) {
        let history = Rc::clone(&self.history);
        let mut found = Vec::new();
        for feed in &self.feeds {
            let stop = self.known.parked.get(&feed.name);
            for (i, e) in feed.expected.iter().enumerate() {
                let due = stop.is_none_or(|s| stop_covers(s, &history.txns[e.txn], &self.ends[e.txn]));
                if self.wanted(e) && due && !feed.has(i) {
                    found.push(format!("I1: {} never got {e:?}", feed.name));
                }
                if !self.wanted(e) && feed.stored[i] > 0 {
                    found.push(format!("I4: {} got {e:?}, which lies before the start {:?}", feed.name, self.start));
                }
            }
            let repeated = feed.raw - feed.distinct();
            if repeated > feed.may_repeat {
                found.push(format!(
                    "{}: {repeated} messages repeated, at most {} were unsettled",
                    feed.name, feed.may_repeat
                ));
            }
            // XA transactions prepared before the start are not published: what they did to a key is not seen.
            let unseen = feed.expected.iter().any(|e| !self.wanted(e) && self.start.is_some_and(|s| e.txn >= s.0));
            // What a parked feed got behind its park may be dropped again: it is due later.
            let due = |at: usize| {
                let e = &feed.expected[at];
                stop.is_none_or(|s| stop_covers(s, &history.txns[e.txn], &self.ends[e.txn]))
            };
            consume(feed, self.dedup_by_record, !unseen, due, &mut found);
        }
        self.violations.extend(found);
    }
}

impl FeedLog {
    fn distinct(&self) -> u64 {
        (0..self.stored.len()).map(|i| u64::from(self.stored[i].min(self.copies(i)))).sum()
    }
}

/// Reads a feed as a consumer with the dedup rule does.
fn consume(feed: &FeedLog, by_record: bool, chained: bool, due: impl Fn(usize) -> bool, found: &mut Vec<String>) {
    let mut dedup = Deduplicator::new(Gaps::Loss);
    for (partition, records) in feed.partitions.iter().enumerate() {
        let place = format!("{}/{partition}", feed.name);
        // What this partition has, in the order of the log.
        let mut own: Vec<usize> = records.iter().flat_map(|r| r.rows.iter().map(|(_, at)| *at)).collect();
        own.sort_unstable();
        own.dedup();
        let rank: HashMap<usize, usize> = own.iter().enumerate().map(|(rank, at)| (*at, rank)).collect();
        // Accepted so far: up to here, without a gap.
        let mut reached = 0;
        let mut expect = None;
        let mut incarnation = 0;
        let mut images: HashMap<(usize, i32), Option<i64>> = HashMap::new();
        for record in records {
            let mut rows = dedup.record(partition as u32, &record.header);
            let whole = by_record.then(|| rows.accept(record.header.first));
            for (id, at) in &record.rows {
                if !whole.unwrap_or_else(|| rows.accept(*id)) {
                    continue;
                }
                if record.header.incarnation != incarnation {
                    // A new incarnation may repeat, never skip; what a key was is open again.
                    incarnation = record.header.incarnation;
                    expect = None;
                    images.clear();
                }
                let rank = rank[at];
                let fits = expect.map_or(rank <= reached, |expect| rank == expect);
                if !fits {
                    found.push(format!("I3: {place}: after the dedup rule message {rank} of the partition follows {expect:?} (reached {reached})"));
                    return;
                }
                expect = Some(rank + 1);
                reached = reached.max(rank + 1);
                if let Message::Row { table, before, after, .. } = &feed.expected[*at].message
                    && chained
                    && !chain(&mut images, *table, *before, *after)
                {
                    found.push(format!("I3: {place}: {:?} does not follow what its key was", feed.expected[*at]));
                    return;
                }
            }
        }
        if let Some(at) = own[reached..].iter().find(|at| due(**at)) {
            found.push(format!("I1: {place}: the dedup rule drops all of {:?}", feed.expected[*at]));
        }
    }
    if dedup.after_gap() > 0 {
        found.push(format!("I2: {}: {} records after a gap in n", feed.name, dedup.after_gap()));
    }
}

/// Follows a key; false when the before image is not what the last change of the key left.
fn chain(
    images: &mut HashMap<(usize, i32), Option<i64>>,
    table: usize,
    before: Option<Image>,
    after: Option<Image>,
) -> bool {
    let mut fits = true;
    if let Some((id, v)) = before {
        fits &= images.get(&(table, id)).is_none_or(|now| *now == Some(v));
        images.insert((table, id), None);
    }
    if let Some((id, v)) = after {
        fits &= images.get(&(table, id)).is_none_or(Option::is_none);
        images.insert((table, id), Some(v));
    }
    fits
}

fn covers(checkpoint: &Checkpoint, txn: &Txn, end: &FilePos) -> bool {
    match (&checkpoint.position.gtids, txn.gtid) {
        (GtidSet::MySql(set), Some((uuid, n))) => set.contains(&uuid, "", n),
        _ => txn.gtid.is_none() && *end <= checkpoint.position.file_pos,
    }
}

fn stop_covers(stop: &Stopped, txn: &Txn, end: &FilePos) -> bool {
    let Some((uuid, n)) = txn.gtid else { return *end <= FilePos { file: stop.file.clone(), pos: stop.pos } };
    matches!(stop.gtid_set.parse::<GtidSet>(), Ok(GtidSet::MySql(set)) if set.contains(&uuid, "", n))
}

fn decode(form: Form, header: &RecordHeader, value: &[u8]) -> Result<Vec<(RowId, Message)>, String> {
    match form {
        Form::Maxwell => Ok(vec![(header.first, maxwell(value)?)]),
        Form::RowBatch => row_batch(value),
    }
}

fn table_number(database: &str, table: &str) -> Result<usize, String> {
    TABLES.iter().position(|t| *t == (database, table)).ok_or_else(|| format!("no table {database}.{table}"))
}

fn maxwell(value: &[u8]) -> Result<Message, String> {
    let json: serde_json::Value = serde_json::from_slice(value).map_err(|e| e.to_string())?;
    let text = |name: &str| json[name].as_str().unwrap_or_default();
    let table = table_number(text("database"), text("table"))?;
    let image = |id: &serde_json::Value, v: &serde_json::Value| Some((id.as_i64()? as i32, v.as_i64()?));
    let (data, old) = (&json["data"], &json["old"]);
    let now = image(&data["id"], &data["v"]).ok_or("no id and v in data")?;
    let was = (old["id"].as_i64().map_or(now.0, |id| id as i32), old["v"].as_i64().unwrap_or(now.1));
    Ok(match text("type") {
        "insert" => Message::Row { table, op: Op::Insert, before: None, after: Some(now) },
        "update" => Message::Row { table, op: Op::Update, before: Some(was), after: Some(now) },
        "delete" => Message::Row { table, op: Op::Delete, before: Some(now), after: None },
        other => return Err(format!("type {other}")),
    })
}

fn row_batch(value: &[u8]) -> Result<Vec<(RowId, Message)>, String> {
    let batch = row_batch_read::decode(value).map_err(|e| e.to_string())?;
    let changes = row_batch_read::changes(&batch).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    for change in changes {
        let seq = change.transaction().seq;
        out.push(match change {
            row_batch_read::Change::Row { schema, op, row, .. } => {
                let image = |values: &[proto::v1::Value]| {
                    let int = |i: usize| match values.get(i).and_then(|v| v.kind.as_ref()) {
                        Some(Kind::Int(v)) => Some(*v),
                        _ => None,
                    };
                    Some((int(0)? as i32, int(1)?))
                };
                let op = match op {
                    FormatOp::Insert => Op::Insert,
                    FormatOp::Update => Op::Update,
                    FormatOp::Delete => Op::Delete,
                };
                let table = table_number(&schema.database, &schema.table)?;
                let message = Message::Row { table, op, before: image(&row.before), after: image(&row.after) };
                (RowId { seq, event: row.event, row: row.row, part: row.part as u16 }, message)
            }
            row_batch_read::Change::Ddl { ddl, .. } => {
                let id = RowId { seq, event: ddl.event, row: 0, part: 0 };
                (id, Message::Ddl(format!("{}: {}", ddl.database, ddl.sql)))
            }
        });
    }
    Ok(out)
}
