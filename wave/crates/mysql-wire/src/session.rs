//! One connection to a server as a pure state machine: bytes in, bytes out, progress.
//!
//! The driver owns the socket and repeats: send [`Session::output`], read into [`Session::read_space`], tell
//! [`Session::on_read`], then call [`Session::poll`] until it gives `None`. After `poll` gave [`Progress::Events`], take
//! the batch with [`Session::take_batch`] before the next read. The life cycle is the table in `states.rs`.
//!
//! Failure: every error but a failed statement ends the session; `poll` then gives the same error for ever. Events that
//! arrived before an error are delivered before it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rustls::ClientConfig;
use zeroize::{Zeroize, Zeroizing};

use crate::auth::{Auth, Credentials};
use crate::command::{self, DumpRequest, QueryResult};
use crate::error::{ErrorKind, RESULT, ServerError, WireError};
use crate::handshake::{self, Greeting};
use crate::options::{ConnectOptions, SslMode};
use crate::packets::{EventBatch, Packets, event_size, write_packet};
use crate::reader::Reader;
use crate::rsa::SEED_LEN;
use crate::setup::{ReplicaRequest, ReplicaSetup, ServerInfo, Step};
use crate::states::{Input, State, classify, next};
use crate::tls::{Tls, client_config};

/// Largest packet before login; a server's RSA key is the longest that is needed.
const LOGIN_LIMIT: usize = 64 << 10;
/// Memory a row and a value take beside their bytes, counted against the limit of a result.
const ROW_OVERHEAD: usize = 64;
const VALUE_OVERHEAD: usize = 32;

/// What a call of [`Session::poll`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Login is through; a statement, [`Session::replicate`] or a dump may follow.
    Ready(ServerInfo),
    /// The statement succeeded.
    QueryDone(QueryResult),
    /// [`Session::replicate`] has asked for the log; events follow.
    Streaming(ServerInfo),
    /// There are events to take.
    Events,
    /// The end of the log, for a dump that was to stop there. Nothing follows.
    DumpEnded,
}

/// One connection; see the module's text.
#[derive(Debug)]
pub struct Session {
    options: Arc<ConnectOptions>,
    config: Option<Arc<ClientConfig>>,
    tls: Option<Box<Tls>>,
    state: State,
    failure: Option<WireError>,
    end_of_input: bool,
    packets: Packets,
    output: Vec<u8>,
    written: usize,
    auth: Auth,
    greeting: Option<Greeting>,
    info: Option<ServerInfo>,
    setup: Option<ReplicaSetup>,
    result: QueryResult,
    result_columns: usize,
    result_bytes: usize,
    events: Vec<Range<usize>>,
    spare_events: Vec<Range<usize>>,
    /// How the stream ended, to be told after the events before it.
    stream_end: Option<Result<(), WireError>>,
}

impl Session {
    /// A session that waits for the server's greeting.
    ///
    /// `entropy` must be random bytes used for nothing else. Errors: certificates or keys that are unusable.
    pub fn new(options: Arc<ConnectOptions>, entropy: [u8; 32]) -> Result<Self, WireError> {
        let config = match options.tls.mode {
            SslMode::Disabled => None,
            _ => Some(client_config(&options.tls)?),
        };
        let mut seed = [0; SEED_LEN];
        seed.copy_from_slice(&entropy[..SEED_LEN]);
        Ok(Self {
            config,
            tls: None,
            state: State::Greeting,
            failure: None,
            end_of_input: false,
            packets: Packets::new(LOGIN_LIMIT, options.limits.max_read_buffer),
            output: Vec::new(),
            written: 0,
            auth: Auth::new(seed),
            greeting: None,
            info: None,
            setup: None,
            result: QueryResult::default(),
            result_columns: 0,
            result_bytes: 0,
            events: Vec::new(),
            spare_events: Vec::new(),
            stream_end: None,
            options,
        })
    }

    /// Where the socket's next bytes go; never empty.
    pub fn read_space(&mut self) -> &mut [u8] {
        match &mut self.tls {
            Some(tls) => tls.space(),
            None => self.packets.space(),
        }
    }

    /// The socket put `n` bytes at the start of the last [`Self::read_space`]; 0 is its end.
    ///
    /// Errors: TLS failed. There may be an alert in [`Self::output`] that tells the server why.
    pub fn on_read(&mut self, n: usize) -> Result<(), WireError> {
        if n == 0 {
            self.end_of_input = true;
            return Ok(());
        }
        let Some(tls) = &mut self.tls else {
            self.packets.filled(n);
            return Ok(());
        };
        let received = tls.received(n, &mut self.packets);
        tls.flush(&mut self.output);
        received.inspect_err(|error| self.fail(error))
    }

    /// Bytes for the socket.
    pub fn output(&self) -> &[u8] {
        self.output.get(self.written..).unwrap_or_default()
    }

    /// The socket took `n` bytes of [`Self::output`].
    pub fn on_written(&mut self, n: usize) {
        self.written = (self.written + n).min(self.output.len());
        if self.written == self.output.len() {
            // may have held a password
            self.output.zeroize();
            self.written = 0;
        }
    }

    /// Works on what has arrived, until there is something to tell; `None` when more bytes are needed.
    ///
    /// An error [`WireError::Server`] for a statement leaves the session usable ([`Self::is_ready`]); any other ends it.
    pub fn poll(&mut self) -> Result<Option<Progress>, WireError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let progress = self.advance();
        if let Err(error) = &progress
            && (self.state != State::Ready || !matches!(error, WireError::Server(_)))
        {
            self.fail(error);
        }
        progress
    }

    /// True when a statement or a dump may be sent.
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready && self.setup.is_none()
    }

    /// What the session is doing, for messages: "logging in".
    pub fn activity(&self) -> &'static str {
        self.state.activity()
    }

    /// Sends a statement; the answer comes as [`Progress::QueryDone`].
    pub fn query(&mut self, sql: &str) -> Result<(), WireError> {
        let payload = command::query(sql)?;
        self.command(payload, State::QueryHead)?;
        self.result = QueryResult::default();
        self.result_columns = 0;
        self.result_bytes = 0;
        Ok(())
    }

    /// COM_QUIT: the server closes without counting the client as aborted. Once it is written the session has ended; there
    /// is no answer.
    pub fn quit(&mut self) -> Result<(), WireError> {
        self.command(vec![command::COM_QUIT], State::Ended)
    }

    /// Asks for the log, without any set-up before it; see [`Self::replicate`].
    pub fn dump(&mut self, request: &DumpRequest) -> Result<(), WireError> {
        let payload = command::dump(request)?;
        self.command(payload, State::Streaming)?;
        // one byte of status comes before the event
        self.packets.limit = self.options.limits.max_event.saturating_add(1);
        self.packets.events = true;
        Ok(())
    }

    /// Walks through the whole sequence from a fresh login to the stream of events: reads the server's variables, sets the
    /// session up, registers and asks for the log. [`Progress::Streaming`] tells that it is through.
    pub fn replicate(&mut self, request: ReplicaRequest) -> Result<(), WireError> {
        let Some(info) = self.info.clone().filter(|_| self.is_ready()) else { return Err(self.busy()) };
        self.setup = Some(ReplicaSetup::new(info, request)?);
        self.run_setup().map(|_| ())
    }

    /// The events that have arrived; `None` when there are none, or before streaming.
    ///
    /// A batch is bounded by [`crate::Limits::max_read_buffer`], or is one larger event and what came with it.
    pub fn take_batch(&mut self) -> Option<EventBatch> {
        if self.events.is_empty() {
            return None;
        }
        let events = std::mem::replace(&mut self.events, std::mem::take(&mut self.spare_events));
        Some(self.packets.take_batch(events))
    }

    /// Gives a batch back, so that its memory is used again.
    pub fn recycle(&mut self, batch: EventBatch) {
        self.packets.recycle(batch.buf);
        self.spare_events = batch.events;
        self.spare_events.clear();
    }

    /// COM_REGISTER_SLAVE: appear in `SHOW REPLICAS`.
    fn register_replica(&mut self, server_id: u32) -> Result<(), WireError> {
        self.command(command::register_replica(server_id, "binlake"), State::Registering)
    }

    fn advance(&mut self) -> Result<Option<Progress>, WireError> {
        loop {
            match self.state {
                State::TlsHandshake => {
                    if self.tls.as_ref().is_none_or(|tls| tls.handshaking()) {
                        return self.starved();
                    }
                    self.log_in(true)?;
                }
                State::Streaming => return self.advance_stream(),
                State::Ended => return Ok(None),
                _ => {}
            }
            let Some(range) = self.packets.next_packet(self.state.activity()).map_err(|e| self.no_server(e))? else {
                return self.starved();
            };
            if let Some(progress) = self.on_packet(range)? {
                return Ok(Some(progress));
            }
        }
    }

    /// Before login nothing that large comes from a server of MySQL's protocol.
    fn no_server(&self, error: WireError) -> WireError {
        match error {
            WireError::TooLarge { limit, .. } if self.info.is_none() => {
                self.violation(format!("a packet of more than {limit} bytes"))
            }
            other => other,
        }
    }

    fn starved(&mut self) -> Result<Option<Progress>, WireError> {
        if !self.end_of_input {
            return Ok(None);
        }
        let closed = WireError::Closed { at: self.state.activity() };
        self.fail(&closed);
        Err(closed)
    }

    fn on_packet(&mut self, range: Range<usize>) -> Result<Option<Progress>, WireError> {
        let state = self.state;
        let payload = self.packets.payload(range.clone());
        let input = classify(state, payload);
        let Some(next) = next(state, input) else {
            let first = payload.first().map_or("an empty packet".to_owned(), |b| format!("a packet of type 0x{b:02X}"));
            let what = if input == Input::LocalInfile { "the server asks for a local file".to_owned() } else { first };
            return Err(self.violation(what));
        };
        match (state, input) {
            (_, Input::Err) => {
                let error = command::server_error(payload);
                return self.on_server_error(error, next).map(|()| None);
            }
            (State::Greeting, _) => self.on_greeting(range)?,
            (State::Auth, Input::Ok) => return self.on_logged_in(next),
            (State::Auth, _) => self.on_auth(range, input)?,
            (State::QueryHead | State::Registering, Input::Ok) => {
                let affected_rows = command::affected_rows(payload).unwrap_or(0);
                self.state = next;
                return self.on_done(QueryResult { affected_rows, ..QueryResult::default() });
            }
            (State::QueryRows, Input::Eof) => {
                self.state = next;
                let result = std::mem::take(&mut self.result);
                return self.on_done(result);
            }
            _ => {
                self.on_result_packet(range, state, input)?;
                self.state = next;
            }
        }
        Ok(None)
    }

    fn on_result_packet(&mut self, range: Range<usize>, state: State, input: Input) -> Result<(), WireError> {
        let limit = self.options.limits.max_result;
        self.result_bytes += range.len() + ROW_OVERHEAD + VALUE_OVERHEAD * self.result.columns.len();
        if self.result_bytes > limit {
            return Err(self.broken(WireError::TooLarge { what: RESULT, limit }));
        }
        let payload = self.packets.payload(range);
        let done = match (state, input) {
            (State::QueryHead, _) => command::column_count(payload).and_then(|n| usize::try_from(n).ok()).map(|n| {
                self.result_columns = n;
            }),
            (State::QueryColumns, Input::Data) => command::column_name(payload)
                .filter(|_| self.result.columns.len() < self.result_columns)
                .map(|name| self.result.columns.push(name)),
            (State::QueryColumns, _) => (self.result.columns.len() == self.result_columns).then_some(()),
            _ => command::row(payload, self.result_columns).map(|row| self.result.rows.push(row)),
        };
        done.ok_or_else(|| self.violation("a broken result".to_owned()))
    }

    fn on_server_error(&mut self, error: ServerError, next: State) -> Result<(), WireError> {
        let logging_in = self.state == State::Auth;
        // outside of a set-up a failed statement leaves the connection usable
        self.state = if self.setup.is_some() { State::Failed } else { next };
        let error = WireError::Server(error);
        Err(match error {
            WireError::Server(server)
                if logging_in && WireError::Server(server.clone()).kind() == ErrorKind::Denied =>
            {
                WireError::AuthFailed(server)
            }
            other => other,
        })
    }

    fn on_greeting(&mut self, range: Range<usize>) -> Result<(), WireError> {
        let greeting = Greeting::parse(self.packets.payload(range)).map_err(|what| self.violation(what.to_owned()))?;
        let mode = self.options.tls.mode;
        let offers_tls = greeting.offers_tls();
        let request = handshake::ssl_request(&greeting, &self.options);
        self.greeting = Some(greeting);
        let Some(config) = self.config.take().filter(|_| offers_tls) else {
            if !matches!(mode, SslMode::Disabled | SslMode::Preferred) {
                return Err(WireError::TlsRefused(mode.name()));
            }
            return self.log_in(false);
        };
        // bytes that somebody put in before encryption begins must not be taken for the server's
        if self.packets.unread() > 0 {
            return Err(self.violation("bytes after the greeting".to_owned()));
        }
        self.send(&request)?;
        let mut tls = Box::new(Tls::new(config, &self.options)?);
        tls.flush(&mut self.output);
        self.tls = Some(tls);
        self.state = State::TlsHandshake;
        Ok(())
    }

    fn log_in(&mut self, tls: bool) -> Result<(), WireError> {
        let Some(greeting) = self.greeting.take() else { return Err(self.violation("no greeting".to_owned())) };
        let options = self.options.clone();
        let (plugin, answer) = self.auth.begin(&greeting.plugin, &greeting.nonce, credentials(&options, tls))?;
        let response = handshake::response(&greeting, &options, tls, &plugin, &answer).map(Zeroizing::new);
        self.greeting = Some(greeting);
        self.state = State::Auth;
        self.send(&response.map_err(|what| WireError::Config(what.into()))?)
    }

    fn on_auth(&mut self, range: Range<usize>, input: Input) -> Result<(), WireError> {
        let options = self.options.clone();
        let with = credentials(&options, self.tls.is_some());
        let payload = self.packets.payload(range).to_vec();
        let mut reader = Reader::new(&payload);
        let answer = if input == Input::AuthSwitch {
            reader.u8();
            if reader.is_empty() {
                return Err(WireError::AuthUnsupported("the account uses mysql_old_password".into()));
            }
            let plugin = reader.until_nul().ok_or_else(|| self.violation("a cut plugin name".to_owned()))?;
            Some(self.auth.switch(plugin, reader.rest(), with)?)
        } else {
            self.auth.more(payload.strip_prefix(&[1]).unwrap_or(&payload), with)?
        };
        match answer {
            Some(answer) => self.send(&answer),
            None => Ok(()),
        }
    }

    fn on_logged_in(&mut self, next: State) -> Result<Option<Progress>, WireError> {
        let Some(greeting) = self.greeting.take() else { return Err(self.violation("no greeting".to_owned())) };
        let info = ServerInfo {
            version: greeting.version,
            flavor: greeting.flavor,
            connection_id: greeting.connection_id,
            encrypted: self.tls.is_some(),
            variables: BTreeMap::new(),
        };
        self.info = Some(info.clone());
        self.state = next;
        self.packets.limit = self.options.limits.max_result;
        Ok(Some(Progress::Ready(info)))
    }

    fn on_done(&mut self, result: QueryResult) -> Result<Option<Progress>, WireError> {
        let Some(setup) = &mut self.setup else { return Ok(Some(Progress::QueryDone(result))) };
        setup.on_result(&result);
        self.run_setup()
    }

    fn run_setup(&mut self) -> Result<Option<Progress>, WireError> {
        let Some(mut setup) = self.setup.take() else { return Ok(None) };
        match setup.next() {
            Some(Step::Query(sql)) => self.query(&sql)?,
            Some(Step::Register { server_id }) => self.register_replica(server_id)?,
            Some(Step::Dump(request)) => {
                self.dump(&request)?;
                self.info = Some(setup.info.clone());
                return Ok(Some(Progress::Streaming(setup.info)));
            }
            None => return Ok(None),
        }
        self.setup = Some(setup);
        Ok(None)
    }

    fn advance_stream(&mut self) -> Result<Option<Progress>, WireError> {
        while self.stream_end.is_none() {
            let range = match self.packets.next_packet(self.state.activity()) {
                Ok(Some(range)) => range,
                Ok(None) => break,
                Err(error) => {
                    self.stream_end = Some(Err(error));
                    break;
                }
            };
            let payload = self.packets.payload(range.clone());
            match classify(State::Streaming, payload) {
                Input::Event if event_size(payload) == Some(payload.len() - 1) => {
                    self.events.push(range.start + 1..range.end);
                }
                Input::Event => {
                    let size = event_size(payload).map_or("no size".to_owned(), |size| format!("{size} bytes"));
                    let what = format!("an event of {} bytes whose header says {size}", payload.len() - 1);
                    self.stream_end = Some(Err(self.violation(what)));
                }
                Input::Eof => self.stream_end = Some(Ok(())),
                Input::Err => self.stream_end = Some(Err(WireError::Server(command::server_error(payload)))),
                _ => self.stream_end = Some(Err(self.violation("what is neither event, end nor error".to_owned()))),
            }
        }
        if !self.events.is_empty() {
            self.packets.pinned = true;
            return Ok(Some(Progress::Events));
        }
        match self.stream_end.take() {
            Some(Ok(())) => {
                self.state = State::Ended;
                Ok(Some(Progress::DumpEnded))
            }
            Some(Err(error)) => Err(error),
            None => self.starved(),
        }
    }

    fn command(&mut self, payload: Vec<u8>, next: State) -> Result<(), WireError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if self.state != State::Ready || self.setup.is_some() {
            return Err(self.busy());
        }
        self.packets.seq = 0;
        self.state = next;
        self.send(&Zeroizing::new(payload))
    }

    fn send(&mut self, payload: &[u8]) -> Result<(), WireError> {
        let Some(tls) = &mut self.tls else {
            write_packet(&mut self.output, &mut self.packets.seq, payload);
            return Ok(());
        };
        let mut plain = Zeroizing::new(Vec::with_capacity(payload.len() + 4));
        write_packet(&mut plain, &mut self.packets.seq, payload);
        tls.send(&plain)?;
        tls.flush(&mut self.output);
        Ok(())
    }

    fn busy(&self) -> WireError {
        WireError::Config(format!("the session cannot take a command while {}", self.activity()))
    }

    fn violation(&self, what: String) -> WireError {
        WireError::Protocol { what, at: self.state.activity() }
    }

    fn broken(&mut self, error: WireError) -> WireError {
        self.fail(&error);
        error
    }

    fn fail(&mut self, error: &WireError) {
        self.state = State::Failed;
        self.setup = None;
        self.failure.get_or_insert_with(|| error.clone());
    }
}

fn credentials(options: &ConnectOptions, tls: bool) -> Credentials<'_> {
    Credentials {
        password: options.password.expose().as_bytes(),
        tls,
        allow_cleartext: options.allow_cleartext_auth,
        server_key: options.server_public_key.as_deref(),
    }
}
