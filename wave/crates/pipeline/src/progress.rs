//! How far everything is settled, and what the next checkpoint says.

use binlog::gtid::GtidSet;
use binlog::position::FilePos;

use crate::assembly::Gtid;
use crate::checkpoint::{Checkpoint, OpenXa};

/// What is known at the end of a transaction; applied to the frontier when the transaction leaves the ledger.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub file_pos: FilePos,
    pub gtid: Option<Gtid>,
    pub seq: u64,
    pub commit_us: u64,
    pub xa: XaChange,
    /// When its file was begun, see [`Checkpoint::file_begun`].
    pub file_begun: u32,
    /// The executed set here, where none was known before.
    pub executed: Option<GtidSet>,
    /// The set does not tell this position: there are transactions without GTID, or it is not known what was executed.
    pub by_file: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum XaChange {
    None,
    Prepared(OpenXa),
    /// COMMIT or ROLLBACK of this xid.
    Decided(String),
}

/// The frontier: the longest settled prefix of the log, which the next checkpoint stores.
impl Checkpoint {
    /// Moves over one settled transaction.
    pub(crate) fn apply(&mut self, end: End) {
        if end.file_pos > self.position.file_pos {
            self.position.file_pos = end.file_pos;
            self.file_begun = end.file_begun;
        }
        self.seq = self.seq.max(end.seq);
        self.commit_us = end.commit_us.max(self.commit_us);
        if end.by_file {
            self.position.gtids = GtidSet::default();
        }
        if let Some(executed) = end.executed {
            self.executed(executed);
        }
        match end.xa {
            XaChange::None => {}
            // The GTID of a PREPARE stays out of the set, so that the server sends it again to the next owner.
            XaChange::Prepared(open) => {
                self.open_xa.push(open);
                return;
            }
            XaChange::Decided(xid) => {
                if let Some(i) = self.open_xa.iter().position(|x| x.xid == xid) {
                    let open = self.open_xa.remove(i);
                    if !end.by_file
                        && let Some(Ok(prepare)) = open.gtid.map(|g| g.parse::<GtidSet>())
                    {
                        union(&mut self.position.gtids, &prepare);
                    }
                }
            }
        }
        if let Some(gtid) = &end.gtid {
            add_gtid(&mut self.position.gtids, gtid);
        }
    }

    /// All of this is settled, but for what is prepared only.
    pub(crate) fn executed(&mut self, executed: GtidSet) {
        self.position.gtids = executed;
        if let GtidSet::MySql(set) = &mut self.position.gtids {
            for open in self.open_xa.iter().filter_map(|x| x.gtid.as_ref()) {
                if let Ok(GtidSet::MySql(prepare)) = open.parse() {
                    set.subtract(&prepare);
                }
            }
        }
    }

    /// Whether this PREPARE is among the open ones. The xid alone does not tell: it may be used again as soon as it is
    /// decided, before that decision is settled.
    #[must_use]
    pub(crate) fn has_open_xa(&self, prepare: &OpenXa) -> bool {
        self.open_xa.iter().any(|x| {
            let same_place = match (&x.gtid, &prepare.gtid) {
                (Some(a), Some(b)) => a == b,
                _ => (&x.file, x.pos) == (&prepare.file, prepare.pos),
            };
            x.xid == prepare.xid && same_place
        })
    }
}

/// Adds one GTID to a set; a set of the other server family is replaced only when it is empty.
pub(crate) fn add_gtid(set: &mut GtidSet, gtid: &Gtid) {
    match gtid {
        Gtid::MySql { uuid, tag, gno } => {
            if let GtidSet::MySql(s) = set {
                s.add(*uuid, tag, *gno);
            }
        }
        Gtid::MariaDb { domain, server, sequence } => {
            if set.is_empty() && !matches!(set, GtidSet::MariaDb(_)) {
                *set = GtidSet::MariaDb(binlog::gtid::MariaDbGtidPos::default());
            }
            if let GtidSet::MariaDb(s) = set {
                s.update(*domain, *server, *sequence);
            }
        }
    }
}

/// Adds all of `other`.
pub(crate) fn union(set: &mut GtidSet, other: &GtidSet) {
    match (set, other) {
        (GtidSet::MySql(a), GtidSet::MySql(b)) => a.union(b),
        (set, other) if set.is_empty() => *set = other.clone(),
        _ => {}
    }
}
