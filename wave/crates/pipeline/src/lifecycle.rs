//! The life of an instance as a table: state × event → state.
//!
//! The order of an epoch is: own the source (take), make the publisher ready (open), know where to start, connect,
//! stream. Whatever makes the outcome of a record unknown leads back to `Taking`, never to a resend.

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Idle,
    /// Waiting for the coordination to give ownership and checkpoint.
    Taking,
    /// Waiting for the publisher.
    Opening,
    /// No checkpoint yet: waiting for the start to become a position.
    Resolving,
    Connecting,
    Streaming,
    /// Something failed; waiting before `Taking` again.
    BackingOff,
    /// Reading has stopped; what is out is being settled.
    Draining,
    /// Ended; terminal.
    Ended,
}

/// What moves an instance from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Start,
    Taken,
    OpenedWithCheckpoint,
    OpenedWithout,
    Resolved,
    Connected,
    Disconnected,
    /// A retryable failure of coordination or publisher, or a record of unknown outcome: the epoch is over.
    EpochLost,
    BackoffOver,
    StopAsked,
    Drained,
    /// Fenced, or a failure that only an operator can mend.
    Fatal,
}

/// All states, for snapshots of the table.
pub const STATES: [State; 9] = [
    State::Idle,
    State::Taking,
    State::Opening,
    State::Resolving,
    State::Connecting,
    State::Streaming,
    State::BackingOff,
    State::Draining,
    State::Ended,
];

/// All events, for the same.
pub const EVENTS: [Event; 12] = [
    Event::Start,
    Event::Taken,
    Event::OpenedWithCheckpoint,
    Event::OpenedWithout,
    Event::Resolved,
    Event::Connected,
    Event::Disconnected,
    Event::EpochLost,
    Event::BackoffOver,
    Event::StopAsked,
    Event::Drained,
    Event::Fatal,
];

/// The next state; None where the event means nothing in this state (a late answer of an epoch that is over) and is
/// dropped.
#[must_use]
#[allow(clippy::match_same_arms, reason = "the table reads by meaning, not by target")]
pub fn next(state: State, event: Event) -> Option<State> {
    use State as S;
    Some(match (state, event) {
        (S::Ended, _) => return None,
        (_, Event::Fatal) | (S::Draining, Event::Drained) => S::Ended,
        (S::Idle, Event::Start) | (S::BackingOff, Event::BackoffOver) => S::Taking,
        (S::Taking, Event::Taken) => S::Opening,
        (S::Opening, Event::OpenedWithCheckpoint)
        | (S::Resolving, Event::Resolved)
        | (S::Streaming, Event::Disconnected) => S::Connecting,
        // A failed connection attempt is tried again from the same position.
        (S::Connecting, Event::Disconnected) => S::Connecting,
        (S::Opening, Event::OpenedWithout) => S::Resolving,
        (S::Connecting, Event::Connected) => S::Streaming,
        (S::Taking | S::Opening | S::Resolving | S::Connecting | S::Streaming, Event::EpochLost) => S::BackingOff,
        // What is unsettled when the publisher fails during a drain is read again by the next owner.
        (S::Draining, Event::EpochLost) => S::Ended,
        (S::Idle | S::Taking | S::Opening | S::Resolving | S::BackingOff, Event::StopAsked) => S::Ended,
        (S::Connecting | S::Streaming, Event::StopAsked) => S::Draining,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_as_committed() {
        let mut table = String::new();
        for s in STATES {
            for e in EVENTS {
                let to = next(s, e).map_or("-".to_string(), |t| format!("{t:?}"));
                table.push_str(&format!("{s:?} + {e:?} = {to}\n"));
            }
        }
        let golden = include_str!("../tests/golden/lifecycle.txt");
        assert_eq!(table, golden, "the life cycle changed; if it is meant to, write this into lifecycle.txt:\n{table}");
    }

    #[test]
    fn every_state_but_the_last_can_end() {
        for s in STATES.into_iter().filter(|s| *s != State::Ended) {
            assert_eq!(next(s, Event::Fatal), Some(State::Ended));
        }
    }
}
