//! What goes into the instance machine and what comes out. All of it is plain data.

use std::ops::Range;
use std::time::Duration;

use binlog::gtid::MariaDbGtidPos;
use binlog::position::{FilePos, Position};
use binlog::query::{NameCase, Renaming};
use binlog::schema::TableDefinition;

use crate::checkpoint::{Checkpoint, Stopped};
use crate::ledger::Token;

/// The time of an input. The machine has no clock of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed moment; never goes back.
    pub monotonic: Duration,
    /// Wall clock, microseconds since the Unix epoch. Data only: no timer depends on it.
    pub unix_us: u64,
}

/// Whole events in one buffer, as they came from a server or a file: header to checksum.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub buf: Vec<u8>,
    pub events: Vec<Range<usize>>,
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Used when the executed set is empty (no GTIDs, or not known yet).
    pub position: Position,
    /// Transactions that end at or before this are counted into the executed set but not published.
    pub skip: Option<Skip>,
}

/// What the wanted start means, and on which server; its uuid is empty where files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub start: Start,
    pub server_uuid: String,
}

/// What lies before the wanted start when reading has to begin earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    UntilPosition(FilePos),
    /// Transactions committed before this many microseconds since the Unix epoch.
    UntilTime(u64),
    /// Transactions that this MariaDB position has, read again for prepared XA transactions among them.
    Executed(MariaDbGtidPos),
}

/// Where the instance ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    Position(FilePos),
    /// All of these are executed.
    Gtids(binlog::gtid::GtidSet),
    /// The first transaction committed after this many microseconds since the Unix epoch is not published.
    /// Without any such transaction it ends when that time is over and the server, read at least to where its log ended
    /// at the start, has nothing more to send.
    Time {
        us: u64,
        log_end: FilePos,
    },
}

/// Answer of the coordination to a take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    pub epoch: u64,
    pub incarnation: u64,
    pub checkpoint: Option<Checkpoint>,
    /// By feed name.
    pub parked: Vec<(String, Stopped)>,
    /// By `database.table`.
    pub quarantined: Vec<(String, Stopped)>,
    /// How many partitions are in use, by topic.
    pub pinned: Vec<(String, u32)>,
}

/// A topic of a feed, open for writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenTopic {
    pub topic: u32,
    pub name: String,
    /// As many as it has; 0 when its feed is parked.
    pub partitions: u32,
}

/// Which server is being read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    pub uuid: String,
    pub version: String,
    pub names: NameCase,
}

/// Why something outside failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub kind: FailureKind,
    pub cause: Cause,
}

impl Failure {
    #[must_use]
    pub fn new(kind: FailureKind, cause: Cause, message: impl Into<String>) -> Self {
        Failure { message: message.into(), kind, cause }
    }
}

/// Whose business a failure is; the command line's exit codes follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A defect of this program or its machine.
    Internal,
    /// A rule or option does not fit.
    Usage,
    /// A topic, table or file does not exist.
    NotFound,
    /// Wrong password, missing right, TLS refused.
    Denied,
    /// Another owner or reader took over, or a start that the server does not have was asked for.
    Conflict,
    /// The server's log does not hold what follows the position: nothing but a new start is left.
    Gone,
    /// The server gives its log by file and offset only.
    NoGtids,
    /// A host or broker does not answer.
    Unavailable,
    /// The log or the stored data cannot be read.
    Data,
}

/// Whether a failure goes away by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Worth a retry.
    Transient,
    /// Nobody but an operator can help: the position is purged, a right is missing, data is damaged.
    Permanent,
    /// Another owner took over.
    Fenced,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Settled,
    /// The feed's topic refuses; other feeds are not concerned.
    Feed(String),
    /// The record is larger than its topic takes; it would be the next time, too.
    TooLarge(String),
    /// The feed's topic may not be written until somebody grants the right.
    Denied(String),
    /// Nothing is known: the epoch ends.
    Unknown(String),
}

/// What a driver tells the machine.
#[derive(Debug)]
pub enum Input {
    Start,
    Taken(Box<Ownership>),
    TakeFailed(Failure),
    /// The publisher is ready for this epoch; one topic per feed, in feed order, or why it cannot be opened until somebody
    /// mends it.
    Opened(Vec<Result<OpenTopic, Failure>>),
    /// It is not, for any feed.
    OpenFailed(Failure),
    /// Answer to [`Command::ResolveStart`].
    StartResolved(Box<Resolved>),
    StartFailed(Failure),
    Connected(Server),
    Disconnected(Failure),
    Events(Batch),
    Report {
        token: Token,
        outcome: Outcome,
    },
    CheckpointWritten,
    CheckpointFailed(Failure),
    /// The catch-up of a parked feed has settled everything up to here.
    CaughtUp {
        feed: usize,
        checkpoint: Box<Checkpoint>,
        /// How many partitions it uses, by topic, where that was not known.
        pinned: Vec<(String, u32)>,
    },
    /// The catch-up of a feed is over; nothing more comes of it.
    CatchUpEnded {
        feed: usize,
        /// It handed records to its publisher.
        published: bool,
        reason: String,
    },
    /// Answer to [`Command::LoadTable`], with the position that it was asked for. A permanent failure stops the table, any
    /// other ends the epoch.
    TableLoaded {
        database: String,
        table: String,
        at: FilePos,
        result: Result<Box<TableDefinition>, Failure>,
    },
    /// Answer to [`Command::SchemaChanged`]: the history has it.
    SchemaStored(Result<(), Failure>),
    /// Answer to [`Command::AskFile`]: when the file was begun, in seconds since the Unix epoch; None where the server
    /// has it no more.
    FileAnswered {
        file: String,
        begun: Result<Option<u32>, Failure>,
    },
    Tick,
    /// Drain: stop reading, settle what is out, write the checkpoint, finish.
    Stop,
    /// The log has no more (a file was read to its end).
    EndOfInput,
}

/// One record to hand to the publisher; ranges are into [`Output::arena`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    pub feed: usize,
    pub topic: u32,
    pub partition: u32,
    pub key: Option<Range<usize>>,
    pub value: Range<usize>,
    pub header: Range<usize>,
    /// Commit time of its first row's transaction, microseconds since the Unix epoch.
    pub commit_us: u64,
    pub token: Token,
}

/// A checkpoint, and what is stored with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointWrite {
    pub epoch: u64,
    pub incarnation: u64,
    pub checkpoint: Checkpoint,
    pub park: Vec<(String, Stopped)>,
    /// Feeds that have caught up: their entries go with this checkpoint.
    pub unpark: Vec<String>,
    pub quarantine: Vec<(String, Stopped)>,
    /// Tables that could be read where they stopped before: their entries go with this checkpoint, which passes that.
    pub release: Vec<String>,
    /// How many partitions are in use, by topic. Of no effect without the checkpoint, so they may be stored before it.
    pub pin: Vec<(String, u32)>,
}

/// What the machine wants of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Take,
    /// Drop what the publisher has not settled, prepare it for `epoch` and open the topics of all live feeds.
    Open {
        epoch: u64,
    },
    /// There is no checkpoint: turn the wanted start into a position.
    ResolveStart,
    /// Connect (after a while) and read from here.
    Connect {
        from: Start,
        after: Duration,
    },
    Disconnect,
    WriteCheckpoint(Box<CheckpointWrite>),
    /// Publish a parked feed alone, from its own checkpoint, until told to end: an instance of its own with this
    /// ownership, a publisher and a connection. What it settles comes back as [`Input::CaughtUp`]. It may quarantine the
    /// tables that are quarantined here, no others, and takes this epoch only once.
    CatchUp {
        feed: usize,
        ownership: Box<Ownership>,
    },
    /// The epoch is over, and with it the catch-up under way.
    EndCatchUp,
    /// Read the definition of a table that is valid at this position, behind its TABLE_MAP (see `SchemaHistory`).
    /// `again`: what was given before does not fit the TABLE_MAP, so what is stored is not to be used.
    LoadTable {
        database: String,
        table: String,
        at: FilePos,
        again: bool,
    },
    /// When did the server begin this log file? Reading waits for the answer.
    AskFile {
        file: String,
    },
    /// A statement, which ends at this position, changed these tables (all, when empty). Carried out before any later
    /// command; no checkpoint is written until it is answered.
    SchemaChanged {
        tables: Vec<(String, String)>,
        /// Of RENAME TABLE: definitions go on under other names.
        renames: Option<Vec<Renaming>>,
        at: FilePos,
    },
    Incident(Incident),
    /// The instance has ended; nothing is outstanding.
    Finished(Ended),
}

/// How an instance ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Stop, limit, until or the end of a file.
    Done,
    /// Cannot go on without an operator.
    Failed(Failure),
}

/// Something that a person must be able to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    pub code: IncidentCode,
    /// Feed or `database.table` concerned; empty for the source as a whole.
    pub subject: String,
    pub message: String,
    pub at: FilePos,
}

/// Kinds of incidents; logs, metrics and `/healthz` call them by [`IncidentCode::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentCode {
    TableQuarantined,
    TableReleased,
    FeedParked,
    FeedFailing,
    FeedRejoined,
    EpochEnded,
    /// By intent: nothing failed.
    EpochTurned,
    SourceDisconnected,
    SourceFailed,
    UnknownEvent,
    StatementFormat,
    RolledBack,
    ServerIncident,
    ServerChanged,
    LogReset,
    LogPurged,
    GtidsOff,
    PartitionsChanged,
    CheckpointFailed,
}

impl IncidentCode {
    /// Something came right; nobody has to do anything.
    #[must_use]
    pub fn good(self) -> bool {
        matches!(self, IncidentCode::FeedRejoined | IncidentCode::TableReleased | IncidentCode::EpochTurned)
    }

    /// Stable name for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IncidentCode::TableQuarantined => "table_quarantined",
            IncidentCode::TableReleased => "table_released",
            IncidentCode::FeedParked => "feed_parked",
            IncidentCode::FeedFailing => "feed_failing",
            IncidentCode::FeedRejoined => "feed_rejoined",
            IncidentCode::EpochEnded => "epoch_ended",
            IncidentCode::EpochTurned => "epoch_turned",
            IncidentCode::SourceDisconnected => "source_disconnected",
            IncidentCode::SourceFailed => "source_failed",
            IncidentCode::UnknownEvent => "unknown_event",
            IncidentCode::StatementFormat => "statement_format",
            IncidentCode::RolledBack => "rolled_back",
            IncidentCode::ServerIncident => "server_incident",
            IncidentCode::ServerChanged => "server_changed",
            IncidentCode::LogReset => "log_reset",
            IncidentCode::LogPurged => "log_purged",
            IncidentCode::GtidsOff => "gtids_off",
            IncidentCode::PartitionsChanged => "partitions_changed",
            IncidentCode::CheckpointFailed => "checkpoint_failed",
        }
    }
}

/// Where the machine puts its outputs; the driver takes them out and clears it.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes of keys, values and headers.
    pub arena: Vec<u8>,
    pub sends: Vec<Send>,
    pub commands: Vec<Command>,
}

impl Output {
    /// Empties sends and arena once they are handed on; keeps their memory unless it has grown large.
    pub fn clear_sends(&mut self) {
        const KEEP: usize = 8 << 20;
        self.sends.clear();
        self.arena.clear();
        if self.arena.capacity() > KEEP {
            self.arena.shrink_to(KEEP);
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.commands.push(command);
    }
}
