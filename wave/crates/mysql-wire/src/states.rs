//! The life cycle of a session as a table: what each state does with each kind of packet.
//!
//! [`classify`] reads the first byte of a payload in the light of the state, [`next`] says where it leads. Everything
//! that is not in the table is a protocol violation and ends the session. `states.txt` shows the whole table; a test
//! compares it.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waiting for the server's first packet.
    Greeting,
    /// The request for TLS is sent; only TLS records may come.
    TlsHandshake,
    /// The login packet is sent.
    Auth,
    /// Logged in and idle.
    Ready,
    /// A statement is sent; the first packet of the answer is due.
    QueryHead,
    /// Column definitions are due.
    QueryColumns,
    /// Rows are due.
    QueryRows,
    /// COM_REGISTER_SLAVE is sent.
    Registering,
    /// A dump was asked for; events come.
    Streaming,
    /// The server ended a dump that was asked to end, or this side has said goodbye.
    Ended,
    /// An error ended the session.
    Failed,
}

impl State {
    #[cfg(test)]
    const ALL: [Self; 11] = [
        Self::Greeting,
        Self::TlsHandshake,
        Self::Auth,
        Self::Ready,
        Self::QueryHead,
        Self::QueryColumns,
        Self::QueryRows,
        Self::Registering,
        Self::Streaming,
        Self::Ended,
        Self::Failed,
    ];

    /// For messages: "… while logging in".
    pub(crate) fn activity(self) -> &'static str {
        match self {
            Self::Greeting => "waiting for the greeting",
            Self::TlsHandshake => "setting up TLS",
            Self::Auth => "logging in",
            Self::Ready => "idle",
            Self::QueryHead | Self::QueryColumns | Self::QueryRows => "waiting for a statement's result",
            Self::Registering => "registering as a replica",
            Self::Streaming => "streaming events",
            Self::Ended => "after the end of the dump",
            Self::Failed => "after an error",
        }
    }
}

/// Kinds of packets, as far as the state tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    Greeting,
    Ok,
    Err,
    Eof,
    AuthSwitch,
    AuthMore,
    LocalInfile,
    /// A column count, column definition or row.
    Data,
    Event,
    /// Nothing that is known here.
    Unknown,
}

impl Input {
    #[cfg(test)]
    const ALL: [Self; 10] = [
        Self::Greeting,
        Self::Ok,
        Self::Err,
        Self::Eof,
        Self::AuthSwitch,
        Self::AuthMore,
        Self::LocalInfile,
        Self::Data,
        Self::Event,
        Self::Unknown,
    ];
}

/// What kind of packet `payload` is in `state`.
#[inline]
pub(crate) fn classify(state: State, payload: &[u8]) -> Input {
    // a longer packet that starts with 0xFE is a row whose first value is huge
    const EOF_BELOW: usize = 9;
    let Some(&first) = payload.first() else { return Input::Unknown };
    match (state, first) {
        (State::Streaming, 0x00) => Input::Event,
        (_, 0xFF) => Input::Err,
        (State::Greeting, _) => Input::Greeting,
        (State::Auth, 0xFE) => Input::AuthSwitch,
        (State::QueryHead, 0xFB) => Input::LocalInfile,
        (State::QueryColumns | State::QueryRows | State::Streaming, 0xFE) if payload.len() < EOF_BELOW => Input::Eof,
        (State::QueryColumns | State::QueryRows, _) | (State::QueryHead, 0x01..=0xFA | 0xFC..=0xFE) => Input::Data,
        (_, 0x00) => Input::Ok,
        // 0x01, or anything: MariaDB marks a plugin's data only where its first byte would mean something else
        (State::Auth, _) => Input::AuthMore,
        _ => Input::Unknown,
    }
}

/// The state after `input`, or `None` where it is a violation of the protocol.
///
/// Two transitions depend on more than the packet: the greeting leads to `Auth` without TLS, and `TlsHandshake` is left
/// when the handshake is done, not by a packet.
pub(crate) fn next(state: State, input: Input) -> Option<State> {
    Some(match (state, input) {
        (State::Greeting, Input::Greeting) => State::TlsHandshake,
        (State::Auth, Input::AuthSwitch | Input::AuthMore) => State::Auth,
        (State::Auth | State::QueryHead | State::Registering, Input::Ok) | (State::QueryRows, Input::Eof) => {
            State::Ready
        }
        (State::QueryHead | State::QueryColumns, Input::Data) => State::QueryColumns,
        (State::QueryColumns, Input::Eof) | (State::QueryRows, Input::Data) => State::QueryRows,
        // a failed statement or registration leaves the connection usable
        (State::QueryHead | State::QueryColumns | State::QueryRows | State::Registering, Input::Err) => State::Ready,
        (State::Streaming, Input::Event) => State::Streaming,
        (State::Streaming, Input::Eof) => State::Ended,
        // also unasked, when the server shuts down or drops an idle connection
        (State::Greeting | State::Auth | State::Ready | State::Streaming, Input::Err) => State::Failed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_table_is_the_one_on_file() {
        let mut table = format!("{:<13}", "");
        for input in Input::ALL {
            write!(table, " {:<12}", format!("{input:?}")).unwrap();
        }
        for state in State::ALL {
            write!(table, "\n{:<13}", format!("{state:?}")).unwrap();
            for input in Input::ALL {
                let cell = next(state, input).map_or("-".to_owned(), |next| format!("{next:?}"));
                write!(table, " {cell:<12}").unwrap();
            }
        }
        let table: Vec<_> = table.lines().map(str::trim_end).collect();
        let on_file: Vec<_> = include_str!("states.txt").lines().collect();
        assert_eq!(table, on_file, "\n{}\n", table.join("\n"));
    }

    #[test]
    fn local_infile_is_fatal_everywhere() {
        assert_eq!(classify(State::QueryHead, &[0xFB, b'/', b'e', b't', b'c']), Input::LocalInfile);
        assert!(State::ALL.into_iter().all(|state| next(state, Input::LocalInfile).is_none()));
    }

    #[test]
    fn a_null_in_a_row_is_no_local_infile() {
        assert_eq!(classify(State::QueryRows, &[0xFB]), Input::Data);
    }

    #[test]
    fn an_empty_packet_fits_nowhere() {
        assert!(State::ALL.into_iter().all(|state| next(state, classify(state, &[])).is_none()));
    }
}
