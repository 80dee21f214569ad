//! What the simulated servers logged, and so what every feed has to get.
//!
//! A history is a list of transactions in commit order. Each change of a row carries a number that no other change has
//! (column `v`), so a message tells exactly which change it is and where it belongs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use binlog::gtid::Uuid;

use crate::event::{self, Body, ColumnDef, ColumnKind, Value};
use crate::rng::Rng;

/// First wall-clock moment of a history.
pub(crate) const BASE_US: u64 = 1_764_000_000_000_000;

/// Database and name; the feeds want some of them, none wants the last.
pub(crate) const TABLES: [(&str, &str); 4] = [("shop", "t0"), ("shop", "t1"), ("crm", "t2"), ("skip", "audit")];

/// Transactions at the end with a row for everyone.
pub(crate) const TAIL: usize = 4;

/// Key and number of a row's state.
pub(crate) type Image = (i32, i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Insert,
    Update,
    Delete,
}

/// One message as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Row { table: usize, op: Op, before: Option<Image>, after: Option<Image> },
    Ddl(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Txn {
    pub(crate) gtid: Option<(Uuid, u64)>,
    pub(crate) commit_us: u64,
    /// When it stands in the log, in virtual microseconds.
    pub(crate) at_us: u64,
    pub(crate) bodies: Vec<Body>,
    /// Committed changes, in order. Of an XA transaction: at its COMMIT.
    pub(crate) changes: Vec<Message>,
    /// It only prepares an XA transaction.
    pub(crate) is_prepare: bool,
    /// An XA COMMIT: where its PREPARE is.
    pub(crate) prepare: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct History {
    pub(crate) txns: Vec<Txn>,
    pub(crate) gtids: bool,
    pub(crate) uuids: [Uuid; 2],
    /// Transactions of the first server before the log begins.
    pub(crate) old: u64,
    pub(crate) xa_commits: u64,
}

/// What a feed wants, as far as the checkers must know it.
#[derive(Clone, Debug)]
pub(crate) struct Wants {
    pub(crate) tables: &'static [usize],
    pub(crate) ddl: bool,
    /// An update of the key comes as delete and insert.
    pub(crate) split_key: bool,
}

/// A message that a feed has to get.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) txn: usize,
    pub(crate) prepare: Option<usize>,
    pub(crate) message: Message,
}

type Rows = BTreeMap<(usize, i32), i64>;

struct Held {
    gtrid: Vec<u8>,
    prepare: usize,
    changes: Vec<Message>,
}

struct Generator<'a> {
    rng: &'a mut Rng,
    rows: Rows,
    locked: BTreeSet<(usize, i32)>,
    next_v: i64,
    versions: [u64; TABLES.len()],
    prepared: Vec<Held>,
    pad: usize,
}

/// Whether a statement, as [`Message::Ddl`] has it, names the table.
fn names(text: &str, table: usize) -> bool {
    let (database, name) = TABLES[table];
    text.starts_with(&format!("{database}: ALTER TABLE `{name}`"))
}

impl History {
    /// `big`: one transaction is larger than what is held in memory.
    #[must_use]
    pub(crate) fn generate(rng: &mut Rng, count: usize, gtids: bool, big: bool) -> Self {
        let uuids = [[0xa1; 16], [0xb2; 16]];
        let old = 3;
        let big_at = if big { Some(rng.range(count as u64 / 4, count as u64 / 2) as usize) } else { None };
        let failover_at = rng.index(count);
        let mut g = Generator {
            rng,
            rows: Rows::new(),
            locked: BTreeSet::new(),
            next_v: 1,
            versions: [1; TABLES.len()],
            prepared: Vec::new(),
            pad: 0,
        };
        let (mut txns, mut numbers, mut commit_us, mut at_us) = (Vec::new(), [old, 0], BASE_US, 0);
        let mut xa_commits = 0;
        for i in 0..count + TAIL {
            commit_us += g.rng.range(1, 400_000);
            at_us += if i >= count {
                2_000_000
            } else if g.rng.chance(3000) {
                0
            } else {
                g.rng.range(1_000, 90_000)
            };
            g.pad = g.rng.index(60);
            let mut txn = if i >= count {
                g.tail(i as i32)
            } else if big_at == Some(i) {
                g.big()
            } else {
                g.any(i)
            };
            let server = usize::from(i >= failover_at);
            numbers[server] += 1;
            txn.gtid = gtids.then_some((uuids[server], numbers[server]));
            txn.bodies.insert(0, event::gtid(txn.gtid, commit_us, i as u64));
            (txn.commit_us, txn.at_us) = (commit_us, at_us);
            xa_commits += u64::from(txn.prepare.is_some());
            txns.push(txn);
        }
        History { txns, gtids, uuids, old, xa_commits }
    }

    /// The messages of a feed, in log order.
    #[must_use]
    pub(crate) fn expected(&self, wants: &Wants) -> Vec<Expected> {
        let mut out = Vec::new();
        for (i, txn) in self.txns.iter().enumerate() {
            let mut push = |message| out.push(Expected { txn: i, prepare: txn.prepare, message });
            for change in &txn.changes {
                match change {
                    Message::Ddl(text) if wants.ddl && wants.tables.iter().any(|t| names(text, *t)) => {
                        push(change.clone());
                    }
                    Message::Row { table, op: Op::Update, before: Some(b), after: Some(a) }
                        if wants.split_key && b.0 != a.0 && wants.tables.contains(table) =>
                    {
                        push(Message::Row { table: *table, op: Op::Delete, before: Some(*b), after: None });
                        push(Message::Row { table: *table, op: Op::Insert, before: None, after: Some(*a) });
                    }
                    Message::Row { table, .. } if wants.tables.contains(table) => push(change.clone()),
                    _ => {}
                }
            }
        }
        out
    }
}

impl Txn {
    fn new(bodies: Vec<Body>, changes: Vec<Message>) -> Self {
        Txn { gtid: None, commit_us: 0, at_us: 0, bodies, changes, is_prepare: false, prepare: None }
    }
}

impl Generator<'_> {
    fn any(&mut self, index: usize) -> Txn {
        match self.rng.below(100) {
            0..=5 => Txn::new(vec![event::query("shop", "BEGIN"), event::query("shop", "COMMIT")], Vec::new()),
            6..=11 => self.rolled_back(),
            12..=19 => self.savepoint(),
            20..=25 => self.alter(),
            26..=39 => self.xa_begin(index),
            40..=51 if !self.prepared.is_empty() => self.xa_decide(),
            _ => self.plain(),
        }
    }

    fn plain(&mut self) -> Txn {
        let mut bodies = vec![event::query("shop", "BEGIN")];
        let mut rows = self.rows.clone();
        let changes = self.statements(&mut rows, &mut bodies, true);
        self.rows = rows;
        bodies.push(if self.rng.chance(1500) {
            event::query("shop", "COMMIT")
        } else {
            event::xid(self.next_v as u64)
        });
        Txn::new(bodies, changes)
    }

    fn rolled_back(&mut self) -> Txn {
        let mut bodies = vec![event::query("shop", "BEGIN")];
        let mut rows = self.rows.clone();
        self.statements(&mut rows, &mut bodies, false);
        bodies.push(event::query("shop", "ROLLBACK"));
        Txn::new(bodies, Vec::new())
    }

    fn savepoint(&mut self) -> Txn {
        let mut bodies = vec![event::query("shop", "BEGIN")];
        let mut rows = self.rows.clone();
        let mut changes = self.statements(&mut rows, &mut bodies, true);
        bodies.push(event::query("shop", "SAVEPOINT `s1`"));
        self.statements(&mut rows.clone(), &mut bodies, false);
        bodies.push(event::query("shop", "ROLLBACK TO `s1`"));
        changes.extend(self.statements(&mut rows, &mut bodies, true));
        self.rows = rows;
        bodies.push(event::xid(self.next_v as u64));
        Txn::new(bodies, changes)
    }

    fn alter(&mut self) -> Txn {
        let table = self.rng.index(TABLES.len());
        if self.versions[table] >= 6 || self.locked.iter().any(|(t, _)| *t == table) {
            return self.plain();
        }
        self.versions[table] += 1;
        let (database, name) = TABLES[table];
        let sql = format!("ALTER TABLE `{name}` ADD COLUMN `c{}` int", self.versions[table]);
        let change = Message::Ddl(format!("{database}: {sql}"));
        Txn::new(vec![event::query(database, &sql)], vec![change])
    }

    fn xa_begin(&mut self, index: usize) -> Txn {
        // Few names, so that they are used again.
        let free: Vec<Vec<u8>> =
            (b'a'..=b'd').map(|c| vec![c]).filter(|x| self.prepared.iter().all(|p| p.gtrid != *x)).collect();
        let Some(gtrid) = self.rng.pick(&free).cloned() else { return self.xa_decide() };
        let xid = event::xid_text(&gtrid);
        let mut bodies = vec![event::query("shop", &format!("XA START {xid}"))];
        let mut rows = self.rows.clone();
        let commits = self.rng.chance(7000);
        let changes = self.statements(&mut rows, &mut bodies, commits);
        bodies.push(event::query("shop", &format!("XA END {xid}")));
        bodies.push(event::xa_prepare(&gtrid));
        for change in &changes {
            if let Message::Row { table, before, after, .. } = change {
                self.locked.extend([before, after].into_iter().flatten().map(|(id, _)| (*table, *id)));
            }
        }
        let changes = if commits { changes } else { Vec::new() };
        self.prepared.push(Held { gtrid, prepare: index, changes });
        Txn { is_prepare: true, ..Txn::new(bodies, Vec::new()) }
    }

    fn xa_decide(&mut self) -> Txn {
        let held = self.prepared.swap_remove(self.rng.index(self.prepared.len()));
        let commits = !held.changes.is_empty();
        for change in &held.changes {
            if let Message::Row { table, before, after, .. } = change {
                if let Some((id, _)) = before {
                    self.rows.remove(&(*table, *id));
                }
                if let Some((id, v)) = after {
                    self.rows.insert((*table, *id), *v);
                }
            }
        }
        self.locked.clear();
        for held in &self.prepared {
            for change in &held.changes {
                if let Message::Row { table, before, after, .. } = change {
                    self.locked.extend([before, after].into_iter().flatten().map(|(id, _)| (*table, *id)));
                }
            }
        }
        let verb = if commits { "COMMIT" } else { "ROLLBACK" };
        let bodies = vec![event::query("", &format!("XA {verb} {}", event::xid_text(&held.gtrid)))];
        Txn { prepare: commits.then_some(held.prepare), ..Txn::new(bodies, held.changes) }
    }

    /// 17 events of a megabyte: more than the machine holds in memory.
    fn big(&mut self) -> Txn {
        let mut bodies = vec![event::query("shop", "BEGIN")];
        let mut changes = Vec::new();
        self.pad = 1_000_000;
        for id in 100..117 {
            let v = self.v();
            let change = Message::Row { table: 0, op: Op::Insert, before: None, after: Some((id, v)) };
            self.rows.insert((0, id), v);
            self.event(0, Op::Insert, std::slice::from_ref(&change), &mut bodies);
            changes.push(change);
        }
        bodies.push(event::xid(self.next_v as u64));
        Txn::new(bodies, changes)
    }

    /// A row for every feed, so that one that hangs is seen to be the only one.
    fn tail(&mut self, index: i32) -> Txn {
        let mut bodies = vec![event::query("shop", "BEGIN")];
        let mut changes = Vec::new();
        for table in 0..3 {
            let after = Some((1_000 + index, self.v()));
            let change = Message::Row { table, op: Op::Insert, before: None, after };
            self.event(table, Op::Insert, std::slice::from_ref(&change), &mut bodies);
            changes.push(change);
        }
        bodies.push(event::xid(self.next_v as u64));
        Txn::new(bodies, changes)
    }

    fn v(&mut self) -> i64 {
        self.next_v += 1;
        self.next_v
    }

    /// Some rows events; without `deletes` every change has a number of its own that nothing committed has.
    fn statements(&mut self, rows: &mut Rows, bodies: &mut Vec<Body>, deletes: bool) -> Vec<Message> {
        let mut changes = Vec::new();
        for _ in 0..self.rng.range(1, 3) {
            let table = if self.rng.chance(1500) { 3 } else { self.rng.index(3) };
            let op = match self.rng.below(10) {
                0..=3 => Op::Insert,
                4..=7 => Op::Update,
                _ if deletes => Op::Delete,
                _ => Op::Update,
            };
            let mut event = Vec::new();
            for _ in 0..self.rng.range(1, 4) {
                if let Some(change) = self.change(table, op, rows) {
                    event.push(change);
                }
            }
            if !event.is_empty() {
                self.event(table, op, &event, bodies);
                changes.extend(event);
            }
        }
        changes
    }

    fn change(&mut self, table: usize, op: Op, rows: &mut Rows) -> Option<Message> {
        let ids: Vec<i32> = (1..=12).filter(|id| !self.locked.contains(&(table, *id))).collect();
        let (present, absent): (Vec<i32>, Vec<i32>) = ids.into_iter().partition(|id| rows.contains_key(&(table, *id)));
        let from = if op == Op::Insert { None } else { Some(*self.rng.pick(&present)?) };
        let to = match (op, from) {
            (Op::Delete, _) => None,
            (_, Some(id)) if absent.is_empty() || !self.rng.chance(2500) => Some(id),
            _ => Some(*self.rng.pick(&absent)?),
        };
        let before = from.and_then(|id| Some((id, rows.remove(&(table, id))?)));
        let after = to.map(|id| (id, self.v()));
        rows.extend(after.map(|(id, v)| ((table, id), v)));
        Some(Message::Row { table, op, before, after })
    }

    fn event(&mut self, table: usize, op: Op, changes: &[Message], bodies: &mut Vec<Body>) {
        let mut columns = vec![
            ColumnDef { name: "id".into(), kind: ColumnKind::Int },
            ColumnDef { name: "v".into(), kind: ColumnKind::BigInt },
            ColumnDef { name: "pad".into(), kind: ColumnKind::LongText },
        ];
        columns.extend((2..=self.versions[table]).map(|i| ColumnDef { name: format!("c{i}"), kind: ColumnKind::Int }));
        let id = table as u64 * 100 + self.versions[table];
        let (database, name) = TABLES[table];
        bodies.push(event::table_map(id, database, name, &columns));
        let mut images = Vec::new();
        for change in changes {
            let Message::Row { before, after, .. } = change else { continue };
            for (key, v) in [before, after].into_iter().flatten() {
                let mut image = vec![Value::Int(*key), Value::BigInt(*v), Value::Text(vec![b'x'; self.pad])];
                image.resize(columns.len(), Value::Null);
                images.push(image);
            }
        }
        let code = match op {
            Op::Insert => event::WRITE_ROWS,
            Op::Update => event::UPDATE_ROWS,
            Op::Delete => event::DELETE_ROWS,
        };
        bodies.push(event::rows(code, id, columns.len(), &images));
    }
}

/// Where messages stand in the order of a feed.
#[must_use]
pub(crate) fn index(expected: &[Expected]) -> HashMap<Message, usize> {
    expected.iter().enumerate().map(|(i, e)| (e.message.clone(), i)).collect()
}
