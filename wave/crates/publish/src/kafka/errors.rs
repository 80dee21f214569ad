//! What the errors of brokers and of librdkafka mean for who sent: one table, and the last thing that was told.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Whom an error concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Given up by this side; nobody refused it.
    Purged,
    /// Too large for the topic: refused again however often it is sent.
    TooLarge,
    /// A right or a valid login is missing.
    Denied,
    /// The topic, or the record for reasons of the topic.
    Topic,
    /// The cluster as a whole, or nobody knows: worth another try.
    Backend,
}

/// The class of an error of a delivery report or of a broker's answer.
pub(super) fn class(code: Code) -> Class {
    match code {
        Code::PurgeQueue | Code::PurgeInflight => Class::Purged,
        // 18 is the limit of a batch, the topic's `segment.bytes`. The queue is only told of as full when it is empty.
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize | Code::QueueFull => {
            Class::TooLarge
        }
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::DelegationTokenAuthorizationFailed
        | Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        // Certificate or protocol; a handshake that was cut off is a transport error.
        | Code::SSL => Class::Denied,
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::UnknownPartition
        // Not this client's end, which comes after its last report: the partition went while this was queued for it.
        | Code::BrokerDestroy
        | Code::InvalidTopic
        | Code::InvalidRecord
        // Another record of its batch was invalid.
        | Code::InvalidDifferentRecord
        // Older or newer than `message.timestamp.before.max.ms` and `…after.max.ms` of the topic.
        | Code::InvalidTimestamp
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat
        | Code::PolicyViolation => Class::Topic,
        _ => Class::Backend,
    }
}

/// What librdkafka told on the side: why a broker does not answer.
#[derive(Debug, Default)]
pub(super) struct LastError(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<String>,
    /// The last refusal of a login or of TLS, whatever came after it: another broker may merely be away.
    denied: Option<String>,
}

impl LastError {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        let code = error.rdkafka_error_code();
        let mut told = self.told();
        if code.map(class) == Some(Class::Denied) {
            told.denied = Some(reason.to_owned());
        }
        // This one follows from the others and says less.
        if told.last.is_none() || code != Some(Code::AllBrokersDown) {
            told.last = Some(reason.to_owned());
        }
    }

    pub(super) fn log(level: impl fmt::Debug, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    /// Why the cluster does not let this client in, if it does not.
    pub(super) fn denied(&self) -> Option<String> {
        self.told().denied.clone()
    }

    /// `what`, with the reason where one is known.
    pub(super) fn explain(&self, what: &str) -> String {
        match &self.told().last {
            Some(reason) => format!("{what}: {reason}"),
            None => what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_that_matters_has_its_class() {
        use Class::{Backend, Denied, Purged, TooLarge, Topic};
        let table = [
            (Purged, &[Code::PurgeQueue, Code::PurgeInflight][..]),
            (
                TooLarge,
                &[Code::MessageSizeTooLarge, Code::MessageBatchTooLarge, Code::InvalidMessageSize, Code::QueueFull],
            ),
            (
                Denied,
                &[
                    Code::TopicAuthorizationFailed,
                    Code::ClusterAuthorizationFailed,
                    Code::GroupAuthorizationFailed,
                    Code::TransactionalIdAuthorizationFailed,
                    Code::DelegationTokenAuthorizationFailed,
                    Code::Authentication,
                    Code::SaslAuthenticationFailed,
                    Code::UnsupportedSASLMechanism,
                    Code::IllegalSASLState,
                    Code::SSL,
                ],
            ),
            (
                Topic,
                &[
                    Code::UnknownTopic,
                    Code::UnknownTopicOrPartition,
                    Code::UnknownTopicId,
                    Code::UnknownPartition,
                    Code::BrokerDestroy,
                    Code::InvalidTopic,
                    Code::InvalidRecord,
                    Code::InvalidDifferentRecord,
                    Code::InvalidTimestamp,
                    Code::UnsupportedCompressionType,
                    Code::UnsupportedForMessageFormat,
                    Code::PolicyViolation,
                ],
            ),
            (
                Backend,
                &[
                    Code::Fatal,
                    Code::GaplessGuarantee,
                    Code::Fenced,
                    Code::InvalidProducerEpoch,
                    Code::ProducerFenced,
                    Code::OutOfOrderSequenceNumber,
                    Code::DuplicateSequenceNumber,
                    Code::UnknownProducerId,
                    Code::InvalidProducerIdMapping,
                    Code::BrokerTransportFailure,
                    Code::AllBrokersDown,
                    Code::Resolve,
                    Code::OperationTimedOut,
                    Code::MessageTimedOut,
                    Code::RequestTimedOut,
                    Code::NotLeaderForPartition,
                    Code::LeaderNotAvailable,
                    Code::NotEnoughReplicas,
                    Code::NotEnoughReplicasAfterAppend,
                    Code::KafkaStorageError,
                    Code::ThrottlingQuotaExceeded,
                    Code::InvalidMessage,
                    Code::UnsupportedVersion,
                    Code::Unknown,
                ],
            ),
        ];
        for (wanted, codes) in table {
            for code in codes {
                assert_eq!(class(*code), wanted, "{code:?}");
            }
        }
    }

    #[test]
    fn a_refused_login_is_remembered_though_other_brokers_are_away() {
        let told = LastError::default();
        assert_eq!((told.denied(), told.explain("no answer")), (None, "no answer".to_owned()));
        told.set(&KafkaError::Global(Code::Authentication), "b1: wrong password");
        told.set(&KafkaError::Global(Code::AllBrokersDown), "2/2 brokers are down");
        assert_eq!(told.explain("no answer"), "no answer: b1: wrong password");
        told.set(&KafkaError::Global(Code::BrokerTransportFailure), "b2: refused");
        assert_eq!(told.denied().as_deref(), Some("b1: wrong password"));
        assert_eq!(told.explain("no answer"), "no answer: b2: refused");
    }
}
