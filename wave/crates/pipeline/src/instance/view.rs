//! What drivers, status and metrics may see of an instance.

use super::*;

impl Instance {
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    #[must_use]
    pub fn config(&self) -> &InstanceConfig {
        &self.config
    }

    /// The parked feed that is being caught up.
    #[must_use]
    pub fn catching_up(&self) -> Option<&str> {
        self.catch_up.as_ref().and_then(|run| self.feed_name(run.feed()))
    }

    #[must_use]
    pub fn feed_name(&self, feed: usize) -> Option<&str> {
        self.config.feeds.get(feed).map(|f| f.name.as_str())
    }

    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Everything up to here is settled: with nothing out also what ends no transaction, as the log may.
    #[must_use]
    pub fn settled(&self) -> &FilePos {
        let at = &self.frontier.position.file_pos;
        if self.nothing_out() && self.boundary > *at { &self.boundary } else { at }
    }

    /// Where the next checkpoint lets reading begin.
    #[must_use]
    pub fn frontier(&self) -> &Checkpoint {
        &self.frontier
    }

    /// Everything up to here is read.
    #[must_use]
    pub fn read_position(&self) -> &Position {
        &self.read
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Commit time of the last transaction read, microseconds since the Unix epoch; 0 before the first.
    #[must_use]
    pub fn last_event_us(&self) -> u64 {
        self.last_event_us
    }

    /// Commit time of the oldest transaction that is read and not settled, microseconds since the Unix epoch.
    #[must_use]
    pub fn unsettled_us(&self) -> Option<u64> {
        self.ledger.first().map(|end| end.commit_us).filter(|us| *us > 0)
    }

    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.ledger.in_flight_bytes()
    }

    /// Names of parked feeds with the reasons.
    pub fn parked(&self) -> impl Iterator<Item = (&str, &Stopped)> {
        self.config.feeds.iter().zip(&self.feeds).filter_map(|(c, f)| f.parked.as_ref().map(|s| (c.name.as_str(), s)))
    }

    /// The feed whose record waits for its acknowledgement for too long, and how long.
    #[must_use]
    pub fn silent(&self) -> Option<(&str, Duration)> {
        let (feed, since) = self.ledger.oldest_feed().zip(self.ledger.oldest())?;
        let name = self.feed_name(feed).filter(|_| self.overdue >= stops::OVERDUE)?;
        Some((name, self.now.saturating_sub(since)))
    }

    /// Changes that were logged as statements since this machine began, by the table or database they name.
    #[must_use]
    pub fn statements(&self) -> &BTreeMap<String, AsStatements> {
        &self.statements
    }

    /// Names of the tables whose rows are not published, with the reasons.
    pub fn quarantined_tables(&self) -> impl ExactSizeIterator<Item = (String, &Stopped)> {
        self.quarantined.iter().map(|((d, t), stopped)| (format!("{d}.{t}"), stopped))
    }
}
