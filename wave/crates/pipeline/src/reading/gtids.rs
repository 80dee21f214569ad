//! What the GTIDs of the log tell of a position, and what of it was read before.
//!
//! A set is the way to resume only if it has all that was executed up to its position. On MySQL that is known where a file
//! begins (PREVIOUS_GTIDS) or the server told it, and as long as every transaction has a GTID: `gtid_mode` can be switched
//! off and on while the server runs. Otherwise the set is empty, and file and offset count. A set of the later GTIDs alone
//! would make the server give everything before them again.

use super::*;

impl Instance {
    /// Everything executed before here, as the server wrote it at the beginning of a file.
    pub(super) fn executed_before(&mut self, executed: GtidSet) {
        let again = self.skip.is_some() && self.has_checkpoint;
        if !self.read.gtids.is_empty() || self.open.is_some() || again {
            return;
        }
        self.gtids_known = true;
        self.by_file = false;
        self.read.gtids = executed.clone();
        if !self.ledger.is_empty() {
            // What came before is not settled yet.
            let end = self.end_here(None, XaChange::None);
            let slot = self.ledger.open(End { executed: Some(executed), ..end });
            self.ledger.close(slot);
        } else if self.frontier.position.gtids.is_empty() {
            self.frontier.executed(executed);
            self.parks_learn();
        }
    }

    /// The end of a transaction with this GTID, at the place that is read. Where nobody knows what was executed before
    /// it, its GTID tells nothing.
    pub(super) fn end_here(&mut self, gtid: Option<Gtid>, xa: XaChange) -> End {
        End {
            file_pos: self.read.file_pos.clone(),
            gtid: gtid.filter(|_| self.gtids_known),
            seq: self.seq,
            commit_us: 0,
            xa,
            file_begun: self.log.begun(),
            executed: None,
            by_file: !self.gtids_known,
        }
    }

    /// A transaction was read.
    pub(super) fn count_gtid(&mut self, gtid: Option<&Gtid>) {
        match gtid {
            Some(Gtid::MariaDb { .. }) => self.gtids_known = true,
            // MariaDB's every transaction has one.
            None if matches!(self.read.gtids, GtidSet::MySql(_)) => {
                self.gtids_known = false;
                self.read.gtids = GtidSet::default();
            }
            Some(Gtid::MySql { .. }) | None => {}
        }
        if let Some(gtid) = gtid.filter(|_| self.gtids_known) {
            add_gtid(&mut self.read.gtids, gtid);
        }
    }

    /// Whether the transaction that just ended lies before the wanted start.
    pub(super) fn skipping(&self, gtid: Option<&Gtid>, commit_us: u64) -> bool {
        match &self.skip {
            Some(Skip::UntilPosition(until)) => self.read.file_pos <= *until,
            Some(Skip::UntilTime(us)) => commit_us < *us,
            // Not by their order: a server that is not strict about it may give a later transaction a lower number.
            Some(Skip::Executed(pos)) => match (gtid, &self.read.gtids) {
                (Some(Gtid::MariaDb { domain, .. }), GtidSet::MariaDb(read)) => read.get(*domain) != pos.get(*domain),
                (Some(Gtid::MariaDb { domain, .. }), _) => pos.get(*domain).is_some(),
                _ => false,
            },
            None => false,
        }
    }

    /// Whether the open transaction surely lies before the wanted start; not every log tells the time of its commit here.
    pub(super) fn skipping_open(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| self.skipping(open.gtid.as_ref(), open.commit_us.unwrap_or(u64::MAX)))
    }

    /// False for what is read again only for its prepared XA transactions: the frontier has it all.
    pub(super) fn beyond_frontier(&self) -> bool {
        !matches!(self.skip, Some(Skip::Executed(_))) && self.read.file_pos > self.frontier.position.file_pos
    }

    /// All that the checkpoint has was read again.
    pub(super) fn end_rereading(&mut self) {
        if let (Some(Skip::Executed(pos)), GtidSet::MariaDb(read)) = (&self.skip, &self.read.gtids)
            && pos.iter().all(|(domain, last)| read.get(domain) == Some(last))
        {
            self.skip = None;
        }
    }
}
