//! Between the machine and its publisher: records out, reports back, topics opened for an epoch.

use super::*;

impl Loop {
    /// Hands records on until all are taken or the publisher is full.
    pub(super) fn send_records(&mut self) -> bool {
        let before = self.sent;
        while let Some(send) = self.out.sends.get(self.sent) {
            let arena = &self.out.arena;
            let record = Record {
                topic: self.ids.get(send.feed).copied().unwrap_or(TopicId(0)),
                partition: send.partition,
                key: send.key.as_ref().and_then(|r| arena.get(r.clone())),
                value: arena.get(send.value.clone()).unwrap_or_default(),
                header: arena.get(send.header.clone()).unwrap_or_default(),
                timestamp_ms: (send.commit_us / 1000) as i64,
                token: send.token.0,
            };
            match self.publisher.send(record) {
                Ok(SendOutcome::Accepted) => {
                    let bytes = send.value.len() + send.header.len() + send.key.as_ref().map_or(0, Range::len);
                    self.outstanding.sent(send.token.0, Sent { commit_us: send.commit_us, feed: send.feed, bytes });
                    self.sent += 1;
                }
                Ok(SendOutcome::Full) => break,
                Err(e) => {
                    let token = send.token;
                    self.clear_sends();
                    self.feed(Input::Report { token, outcome: Outcome::Unknown(e.to_string()) });
                    return true;
                }
            }
        }
        let moved = self.sent > before;
        if self.sent >= self.out.sends.len() {
            self.clear_sends();
        }
        moved
    }

    pub(super) fn clear_sends(&mut self) {
        self.out.clear_sends();
        self.sent = 0;
    }

    pub(super) fn collect_reports(&mut self, wait: Duration) {
        if self.ids.is_empty() {
            return; // not open yet
        }
        let mut reports = std::mem::take(&mut self.reports);
        if let Err(e) = self.publisher.poll(wait, &mut reports) {
            tracing::warn!(error = %e, "publisher failed");
        }
        // One clock read for all: a read per report was 11 % of the CPU time of `tail --format maxwell-json`.
        let now = self.now();
        for report in reports.drain(..) {
            let token = pipeline::ledger::Token(report.token);
            let outcome = match report.result {
                Ok(_) => {
                    if let Some(sent) = self.outstanding.settled(report.token) {
                        self.status.settled(sent.feed, sent.bytes, now.unix_us.saturating_sub(sent.commit_us));
                    }
                    Outcome::Settled
                }
                Err(DeliveryError::Topic { topic, reason }) => Outcome::Feed(format!("topic {topic}: {reason}")),
                Err(e @ DeliveryError::TooLarge { .. }) => {
                    Outcome::TooLarge(format!("{e}: it goes on from its checkpoint"))
                }
                Err(e @ DeliveryError::Denied { .. }) => {
                    Outcome::Denied(format!("{e}: it goes on from its checkpoint"))
                }
                Err(DeliveryError::Closed) => {
                    self.closed = true;
                    return;
                }
                Err(e) => Outcome::Unknown(e.to_string()),
            };
            self.status.reported(&outcome);
            self.machine.handle(now, Input::Report { token, outcome }, &mut self.out);
        }
        self.reports = reports;
    }

    /// Prepares the publisher for an epoch and opens the topics of all feeds.
    pub(super) fn open(&mut self, epoch: u64) {
        self.clear_sends();
        // What was outstanding is never reported as settled.
        self.outstanding.clear();
        let mut dropped = Vec::new();
        if let Err(e) = self.publisher.abort(&mut dropped).and_then(|()| self.publisher.init(epoch)) {
            self.feed(Input::OpenFailed(publish_failure(&e)));
            return;
        }
        let (mut ids, mut opened) = (Vec::new(), Vec::new());
        let parked: Vec<String> = self.machine.parked().map(|(name, _)| name.to_string()).collect();
        for (feed, topic) in self.topics.clone().iter().enumerate() {
            if self.machine.feed_name(feed).is_some_and(|n| parked.iter().any(|p| p == n)) {
                ids.push(TopicId(u32::MAX));
                opened.push(Ok(OpenTopic::default()));
                continue;
            }
            match self.publisher.open(topic) {
                Ok((id, partitions)) => {
                    ids.push(id);
                    opened.push(Ok(OpenTopic { topic: id.0, name: topic.name.clone(), partitions }));
                }
                Err(e) => {
                    let failure = publish_failure(&e);
                    if failure.kind != FailureKind::Permanent {
                        return self.feed(Input::OpenFailed(failure));
                    }
                    ids.push(TopicId(u32::MAX));
                    opened.push(Err(failure));
                }
            }
        }
        self.ids = ids;
        self.feed(Input::Opened(opened));
    }
}

pub(crate) fn publish_failure(error: &PublishError) -> Failure {
    let (kind, cause) = match error {
        PublishError::Unavailable(_) => (FailureKind::Transient, Cause::Unavailable),
        PublishError::Topic { .. } => (FailureKind::Permanent, Cause::NotFound),
        PublishError::Denied(_) => (FailureKind::Permanent, Cause::Denied),
        PublishError::Damaged(_) => (FailureKind::Permanent, Cause::Data),
        PublishError::Config(_) => (FailureKind::Permanent, Cause::Usage),
        PublishError::Fenced => (FailureKind::Fenced, Cause::Conflict),
        PublishError::Lost(_) => (FailureKind::Permanent, Cause::Unavailable),
    };
    Failure::new(kind, cause, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_of_publishers() {
        let topic = || PublishError::Topic { topic: "t".into(), reason: "does not exist".into() };
        for (error, code, kind) in [
            (PublishError::Config("k".into()), 2, FailureKind::Permanent),
            (topic(), 3, FailureKind::Permanent),
            (PublishError::Denied("d".into()), 4, FailureKind::Permanent),
            (PublishError::Fenced, 5, FailureKind::Fenced),
            (PublishError::Damaged("d".into()), 7, FailureKind::Permanent),
            (PublishError::Unavailable("u".into()), 6, FailureKind::Transient),
            (PublishError::Lost("l".into()), 6, FailureKind::Permanent),
        ] {
            let failure = publish_failure(&error);
            assert_eq!((crate::exit::code_of(failure.cause), failure.kind), (code, kind), "{error}");
        }
    }
}
