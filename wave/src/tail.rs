//! `binlake tail`: streams one source, or binary log files, to standard output. Keeps no state.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use binlog::position::FilePos;
use coord::{CoordError, Fence, SourceId, Taken, Write};
use pipeline::feed::{FeedSpec, Format, MAX_RECORD_BYTES, Order};
use pipeline::format::text;
use pipeline::instance::{InstanceConfig, Limits};
use pipeline::io::{Ended, FailureKind, Incident, IncidentCode};
use pipeline::rule::Rule;
use publish::TopicSpec;
use publish::file::{FilePublisher, Framing};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use watch::{Watch, WatchOptions};

use crate::config::Reference;
use crate::coordinator::Ownable;
use crate::exit::{CommandResult, Exit, complain};
use crate::files::{self, Files};
use crate::plan::{parse_rule, together, topic_format};
use crate::position::{From, Until};
use crate::questions::{FileQuestions, ServerQuestions};
use crate::remote::Remote;
use crate::runner::{EventSource, Parts, Runner, SourceQuestions};
use crate::secrets;
use crate::source::{Identity, Source};
use crate::spills::DiskSpills;
use crate::sql::Sql;
use crate::status::{SourceStatus, StatusCell, StopLine};

/// Tables that are named at the end; all are told when they are met.
const NAMED: usize = 5;

/// Formats of `tail`, by name.
pub const FORMATS: [&str; 4] = ["text", "maxwell-json", "binlake", "none"];

/// Options of `tail`, as the command line gives them.
#[derive(Clone, Debug, Default)]
pub struct TailOptions {
    pub source: Option<String>,
    pub password: Option<Reference>,
    pub files: Vec<PathBuf>,
    pub tables: String,
    pub events: Option<String>,
    pub columns: Vec<String>,
    pub format: Option<String>,
    pub from: Option<String>,
    pub until: Option<String>,
    pub limit: Option<u64>,
    pub stats: bool,
}

/// Reads a format's name; None is the default for what stdout is.
fn parse_format(name: Option<&str>, terminal: bool) -> CommandResult<Format> {
    match name.unwrap_or(if terminal { "text" } else { "maxwell-json" }) {
        "text" => {
            let color = terminal && std::env::var_os("NO_COLOR").is_none();
            Ok(Format::Text(text::Style { color, ..text::Style::default() }))
        }
        "none" => Ok(Format::None),
        name => topic_format(name)
            .ok_or_else(|| Exit::usage(format!("--format {name}: not built; formats are {}", FORMATS.join(", ")))),
    }
}

/// Runs the command until its end, or until `stop` is set.
///
/// # Errors
/// With the exit code of the cause.
pub fn run(options: &TailOptions, stop: &AtomicBool) -> CommandResult {
    let terminal = std::io::stdout().is_terminal();
    let format = parse_format(options.format.as_deref(), terminal)?;
    let named = |key: &str| format!("--{key}");
    let rule = parse_rule(named, &options.tables, options.events.as_deref(), &options.columns).map_err(together)?;
    let from = options.from.as_deref().map(|f| From::parse("--from", f)).transpose()?.unwrap_or(From::Now);
    let until = options.until.as_deref().map(|u| Until::parse("--until", u)).transpose()?;
    let stats = options.stats || matches!(format, Format::None);
    let framing = if matches!(format, Format::Binlake) { Framing::Delimited } else { Framing::Lines };
    let opened =
        if options.files.is_empty() { open_server(options, from, until)? } else { open_files(options, from, until)? };
    let config = InstanceConfig {
        source: opened.name.clone(),
        feeds: vec![FeedSpec {
            name: "stdout".into(),
            rule: rule.clone(),
            format,
            order: Order::Source,
            max_record_bytes: MAX_RECORD_BYTES,
        }],
        limits: Limits::default(),
        headers: false,
        until: opened.until,
        limit: options.limit,
        definitions: opened.definitions,
        start_again: "start again from another place: --from earliest gives all that the server has".into(),
        catch_up: false,
    };
    let status = StatusCell::new(&opened.name, &opened.name, "stdout", None);
    let parts = Parts {
        config,
        topics: vec![TopicSpec { name: "stdout".into(), create_partitions: Some(1) }],
        source: opened.source,
        publisher: Box::new(FilePublisher::stdout(framing)),
        coordination: Box::new(Kept::default()),
        questions: opened.questions,
        spills: Box::new(DiskSpills::new(std::env::temp_dir())),
        status: status.clone(),
        make_ends: None,
        on_incident: Box::new(show_incident),
    };
    let started = Instant::now();
    let runner = Runner::start(parts)?;
    let (mut asked, mut gone) = (false, false);
    while !runner.is_finished() {
        if stop.load(Ordering::Relaxed) && !asked {
            asked = true;
            runner.stop();
        }
        // A pipe that nobody reads is seen at a write; an idle source writes nothing.
        if !gone && !asked && output_is_closed() {
            gone = true;
            runner.stop();
        }
        std::thread::sleep(Duration::from_millis(if stats { 2 } else { 20 }));
    }
    let ended = runner.join();
    let end = status.get();
    if stats {
        print_stats(&end, started.elapsed());
    }
    match ended {
        Ended::Done => {
            if asked {
                complain(&format!("stopped; resume with --from {}", resume_position(&end)));
            }
            left_out(&end, &rule).map_or(Ok(()), Err)
        }
        Ended::Failed(failure) if failure.kind == FailureKind::Fenced => {
            Err(Exit::from(failure).hint("another reader with the same identity took over"))
        }
        Ended::Failed(failure) => {
            let mut exit = Exit::from(failure);
            if let Some(address) = opened.address.filter(|address| !exit.message.contains(address)) {
                exit.message = format!("{address}: {}", exit.message);
            }
            Err(exit)
        }
    }
}

fn output_is_closed() -> bool {
    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}

/// Whether rows are missing that the rule wants: whoever takes the output for the whole has to know.
fn left_out(end: &SourceStatus, rule: &Rule) -> Option<Exit> {
    if !(rule.events.insert || rule.events.update || rule.events.delete) {
        return None;
    }
    // What a statement changed that names no table, nobody knows.
    let wanted = |s: &&StopLine| s.name.split_once('.').is_none_or(|(d, t)| rule.tables.matches(d, t));
    let names: Vec<&str> =
        end.quarantined.iter().chain(end.as_statements.iter().filter(wanted)).map(|s| s.name.as_str()).collect();
    let (first, rest) = names.split_at_checked(NAMED).unwrap_or((&names, &[]));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    (!names.is_empty()).then(|| {
        Exit::new(7, format!("rows that were asked for are missing, of {}{more}", first.join(", ")))
            .hint("the incidents above say where and why")
    })
}

/// What to give `--from` to go on after everything that was printed.
fn resume_position(status: &SourceStatus) -> String {
    if status.gtid_set.is_empty() {
        status.settled.clone()
    } else {
        format!("gtid:{}", status.gtid_set.replace('\n', ""))
    }
}

fn print_stats(end: &SourceStatus, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    complain(&format!(
        "rows={} transactions={} bytes={} seconds={seconds:.3} rows/s={:.0} MB/s={:.1}",
        end.rows,
        end.transactions,
        end.bytes,
        end.rows as f64 / seconds,
        end.bytes as f64 / 1e6 / seconds,
    ));
}

fn show_incident(incident: &Incident) {
    // The end of the command says these itself.
    if incident.code == IncidentCode::SourceFailed {
        return;
    }
    let subject = if incident.subject.is_empty() { String::new() } else { format!("{}: ", incident.subject) };
    complain(&format!("binlake: {}: {subject}{} (at {})", incident.code.name(), incident.message, incident.at));
}

struct Opened {
    name: String,
    /// Of the server, if it is one.
    address: Option<String>,
    source: Box<dyn EventSource>,
    questions: Arc<dyn SourceQuestions>,
    until: Option<pipeline::io::Until>,
    definitions: bool,
}

fn open_files(options: &TailOptions, from: From, until: Option<Until>) -> CommandResult<Opened> {
    if options.source.is_some() {
        return Err(Exit::usage("--file and --source exclude each other"));
    }
    let until = match until {
        None | Some(Until::Now) => None,
        Some(Until::Gtid(set)) => Some(pipeline::io::Until::Gtids(set)),
        Some(Until::File(pos)) => Some(pipeline::io::Until::Position(pos)),
        Some(Until::Time(us)) => Some(pipeline::io::Until::Time { us, log_end: FilePos::default() }),
    };
    for gap in files::gaps(&options.files) {
        complain(&format!("binlake: {gap}"));
    }
    Ok(Opened {
        name: "files".into(),
        address: None,
        source: Box::new(Files::new(&options.files)?),
        questions: Arc::new(FileQuestions { from }),
        until,
        definitions: false,
    })
}

fn open_server(options: &TailOptions, from: From, until: Option<Until>) -> CommandResult<Opened> {
    let Some(url) = &options.source else {
        return Err(Exit::usage("nothing to read: give --source mysql://user@host:3306/ or --file PATH"));
    };
    let source = Source::new(url, options.password.as_ref().map(secrets::resolve).transpose()?)?;
    // One look first: whoever tails wants to know at once that host, login or log are not right.
    let mut sql = Sql::connect(&source)?;
    let end = sql.readable_end()?;
    let flavor = sql.flavor();
    let until = match until {
        None => None,
        Some(Until::Now) => Some(pipeline::io::Until::Position(end.file_pos)),
        Some(Until::Gtid(set)) => Some(pipeline::io::Until::Gtids(set)),
        Some(Until::File(pos)) => Some(pipeline::io::Until::Position(pos)),
        Some(Until::Time(us)) => Some(pipeline::io::Until::Time { us, log_end: end.file_pos }),
    };
    drop(sql);
    let (name, address) = (source.default_name(), Some(source.address()));
    let watch = Watch::start(WatchOptions { threads: Some(1), ..WatchOptions::default() })
        .map_err(|e| Exit::new(1, format!("no thread can be started: {e}")))?;
    Ok(Opened {
        questions: Arc::new(server_questions(&source, &name, from)?),
        source: Box::new(Remote::new(Arc::new(watch), &name, source, Identity::random()?, Some(flavor))),
        name,
        address,
        until,
        definitions: true,
    })
}

fn server_questions(source: &Source, name: &str, from: From) -> CommandResult<ServerQuestions> {
    let id = SourceId::new(name).map_err(|e| Exit::new(1, e.to_string()))?;
    let history = Box::new(coord::history::memory::MemoryHistory::default());
    ServerQuestions::new(source.clone(), id, from, history).map_err(|e| Exit::new(1, e.to_string()))
}

/// What an instance stores, for as long as the command runs: after an epoch that ended it goes on from there.
#[derive(Debug, Default)]
struct Kept {
    epoch: u64,
    incarnation: u64,
    checkpoint: Option<Vec<u8>>,
    entries: BTreeMap<String, Vec<u8>>,
}

impl Ownable for Kept {
    fn take(&mut self, _source: &SourceId, _owner: &str, now_unix_ms: u64) -> Result<Taken, CoordError> {
        if self.epoch == 0 {
            self.incarnation = now_unix_ms;
        }
        self.epoch = (self.epoch + 1).max(now_unix_ms / 1000);
        Ok(Taken {
            epoch: self.epoch,
            incarnation: self.incarnation,
            checkpoint: self.checkpoint.clone(),
            entries: self.entries.clone(),
        })
    }

    fn write(&mut self, _fence: &Fence, batch: &[Write]) -> Result<(), CoordError> {
        for write in batch {
            match write {
                Write::Checkpoint(bytes) => self.checkpoint = Some(bytes.clone()),
                Write::Put { name, bytes } => drop(self.entries.insert(name.clone(), bytes.clone())),
                Write::Delete { name } => drop(self.entries.remove(name)),
                Write::Incarnation(new) => self.incarnation = *new,
            }
        }
        Ok(())
    }
}
