//! `binlake up`: sources to topics in one process, on the embedded backends under one data folder.
//!
//! Stop and start again: it goes on where it was. The data folder is locked, so a second process cannot own the same
//! sources.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coord::file::FileCoordination;
use coord::history::file::FileHistory;
use coord::{Coordination as _, DataDir, SourceId};
use mysql_wire::Flavor;
use pipeline::instance::{InstanceConfig, Limits};
use pipeline::io::{Cause, Ended, Failure, FailureKind};
use publish::kafka::KafkaPublisher;
use publish::local::{LocalConfig, LocalPublisher, LocalStore};
use publish::{PublishError, Publisher};
use telemetry::{Registry, SourceMetrics};
use watch::{Watch, WatchOptions};

use crate::admin;
use crate::config::Config;
use crate::exit::{CommandResult, Exit, complain, printable, say};
use crate::log_end::LogEnds;
use crate::plan::{Plan, Plans, plan};
use crate::position::From;
use crate::questions::ServerQuestions;
use crate::remote::Remote;
use crate::runner::{Ends, Parts, Runner, publish_failure};
use crate::source::{Identity, Source};
use crate::spills::DiskSpills;
use crate::sql::Sql;
use crate::status::{STATES, SourceStatus, StatusCell};
use crate::target::Target;

struct Running {
    name: String,
    server: Source,
    /// Where the records go, and the topics there.
    target: Target,
    topics: Vec<String>,
    /// A start was asked for, but the checkpoint counts.
    start_unused: bool,
    runner: Option<Runner>,
    status: StatusCell,
}

/// Runs the command until `stop` is set or every source has ended.
///
/// # Errors
/// With the exit code of the cause.
pub fn run(config: &Config, stop: &AtomicBool) -> CommandResult {
    let Plans { listen, sources: plans } = plan(config, Source::new)?;
    let data = DataDir::lock(&config.up.data_dir).map_err(coordination_exit)?;
    let store = if plans.iter().any(|p| matches!(p.target, Target::Local)) {
        Some(LocalStore::open(local_config(config)).map_err(publish_exit)?)
    } else {
        None
    };
    let wave = &config.wave;
    let watch = Watch::start(WatchOptions {
        threads: wave.threads.map(|n| n as usize),
        ring_bytes: usize::try_from(wave.ring.0).unwrap_or(usize::MAX),
        connect_timeout: wave.connect_timeout,
        ..WatchOptions::default()
    })
    .map_err(|e| Exit::new(1, format!("threads cannot be started: {e}")))?;
    let coordination = FileCoordination::open(&data).map_err(coordination_exit)?;
    let shared = Shared { config, data, coordination, store, watch: Arc::new(watch), registry: Registry::new() };
    let seen = look_at(&plans);
    let any = seen.iter().any(Result::is_ok);
    let mut running = Vec::new();
    for (plan, seen) in plans.into_iter().zip(seen) {
        let flavor = match seen {
            Ok(flavor) => Some(flavor),
            // A restart must not keep the others from going on.
            Err(failure) if any && shared.has_checkpoint(&plan.name)? => {
                let message = &failure.message;
                complain(&format!("binlake: source {}: {message}; it is tried while the others go on", plan.name));
                None
            }
            Err(failure) => return Err(failure.into()),
        };
        running.push(start(&shared, plan, flavor)?);
    }
    let statuses: Vec<StatusCell> = running.iter().map(|r| r.status.clone()).collect();
    let asked = running.iter().map(|r| (r.server.clone(), r.status.clone())).collect();
    let _log_ends = LogEnds::watch(asked).map_err(|e| Exit::new(1, format!("threads cannot be started: {e}")))?;
    let admin = admin::serve(&listen, statuses, shared.registry)?;
    announce(&running, &config.up.data_dir, admin.address());
    let ended = supervise(&mut running, stop, config.up.drain);
    admin.stop();
    ended
}

/// What the sources of a process have in common.
struct Shared<'a> {
    config: &'a Config,
    data: DataDir,
    /// Opened once: opening removes what unfinished writes left, which may be those of a source that runs.
    coordination: FileCoordination,
    store: Option<Arc<LocalStore>>,
    watch: Arc<Watch>,
    registry: Registry,
}

impl Shared<'_> {
    fn has_checkpoint(&self, source: &str) -> CommandResult<bool> {
        let id = SourceId::new(source).map_err(coordination_exit)?;
        let known = self.coordination.clone().read(&id).map_err(coordination_exit)?;
        Ok(known.is_some_and(|known| known.checkpoint.is_some()))
    }
}

/// One look first: whoever starts this wants to know at once that host, login or log are not right. All at a time, since
/// a host that does not answer takes its time.
fn look_at(plans: &[Plan]) -> Vec<Result<Flavor, Failure>> {
    let look = |source: &Source| {
        let mut sql = Sql::connect(source)?;
        sql.readable_end()?;
        Ok(sql.flavor())
    };
    let panicked = |_| Err(Failure::new(FailureKind::Permanent, Cause::Internal, "a defect of this program"));
    std::thread::scope(|scope| {
        let looks: Vec<_> = plans.iter().map(|plan| scope.spawn(move || look(&plan.source))).collect();
        looks.into_iter().map(|look| look.join().unwrap_or_else(panicked)).collect()
    })
}

/// `flavor` is None where the server could not be looked at.
fn start(shared: &Shared<'_>, plan: Plan, flavor: Option<Flavor>) -> CommandResult<Running> {
    let Plan { name, source, from, target, feeds, topics } = plan;
    let start_unused = from != From::Now && shared.has_checkpoint(&name)?;
    let names: Vec<String> = topics.iter().map(|t| t.name.clone()).collect();
    let labels: Vec<&str> = names.iter().map(String::as_str).collect();
    let status = StatusCell::new(
        &name,
        &format!("mysql://{}", source.address()),
        &format!("{}/{}", target.describe(), names.join(",")),
        Some(SourceMetrics::new(&shared.registry, &name, &STATES, &labels)),
    );
    let id = SourceId::new(name.clone()).map_err(coordination_exit)?;
    let history = Box::new(FileHistory::open(&shared.data).map_err(coordination_exit)?);
    let questions = ServerQuestions::new(source.clone(), id, from, history).map_err(coordination_exit)?;
    let connections = Connections {
        watch: Arc::clone(&shared.watch),
        name: name.clone(),
        server: source.clone(),
        questions,
        flavor,
        target: target.clone(),
        store: shared.store.clone(),
        folder: shared.config.up.data_dir.clone(),
        heartbeat: shared.config.wave.heartbeat,
    };
    let ends = connections.make(None).map_err(publish_exit)?;
    let wave = &shared.config.wave;
    let parts = Parts {
        config: InstanceConfig {
            source: name.clone(),
            feeds,
            limits: Limits {
                in_flight_bytes: wave.in_flight.0,
                checkpoint_interval: wave.checkpoint_interval,
                park_after: wave.park_after,
                backoff_max: wave.reconnect_max,
                catch_up_max: wave.catch_up_max,
                ..Limits::default()
            },
            headers: true,
            until: None,
            limit: None,
            definitions: true,
            start_again: start_again(&shared.config.up.data_dir, &name),
            catch_up: false,
        },
        topics,
        source: ends.source,
        publisher: ends.publisher,
        coordination: Box::new(shared.coordination.clone()),
        questions: ends.questions,
        spills: ends.spills,
        status: status.clone(),
        on_incident: Box::new(|_| {}),
        make_ends: Some(Box::new(move |feed| connections.make(Some(feed)))),
    };
    let runner = Some(Runner::start(parts)?);
    Ok(Running { name, server: source, target, topics: names, start_unused, runner, status })
}

/// The way out of a position that is lost. Definitions are known by position too, so they go with the checkpoint.
fn start_again(data: &Path, name: &str) -> String {
    let (state, schemas) = (data.join(format!("coordination/{name}.state")), data.join(format!("schemas/{name}.log")));
    format!(
        "take a new snapshot, remove {} and {}, which are of this source alone, and start with --from earliest, which gives \
         all that the server has now, or --from now",
        state.display(),
        schemas.display()
    )
}

/// What an instance and the catch-ups of its feeds are connected to.
struct Connections {
    watch: Arc<Watch>,
    name: String,
    server: Source,
    questions: ServerQuestions,
    flavor: Option<Flavor>,
    target: Target,
    store: Option<Arc<LocalStore>>,
    folder: PathBuf,
    heartbeat: Duration,
}

impl Connections {
    /// For the instance, or for the catch-up of one feed: that is another reader, and another producer.
    fn make(&self, feed: Option<&str>) -> Result<Ends, PublishError> {
        let name = feed.map_or_else(|| self.name.clone(), |feed| format!("{}/{feed}", self.name));
        let publisher: Box<dyn Publisher> = match (&self.target, &self.store) {
            (Target::Kafka(kafka), _) => Box::new(KafkaPublisher::new(kafka.clone())?),
            (Target::Local, Some(store)) => Box::new(LocalPublisher::new(Arc::clone(store), name.clone())),
            (Target::Local, None) => return Err(PublishError::Config("the local store is not open".into())),
        };
        let scope = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        let identity = Identity::stable(&scope.to_string_lossy(), &name);
        let remote = Remote::new(Arc::clone(&self.watch), &name, self.server.clone(), identity, self.flavor);
        Ok(Ends {
            source: Box::new(remote.with_heartbeat(self.heartbeat)),
            questions: Arc::new(self.questions.another()),
            publisher,
            spills: Box::new(DiskSpills::new(self.folder.join("spill"))),
        })
    }
}

fn local_config(config: &Config) -> LocalConfig {
    let local = &config.local;
    LocalConfig {
        segment_bytes: local.segment.0,
        retention_bytes: local.retention_size.map(|s| s.0),
        retention_age: local.retention_age,
        max_record_bytes: usize::try_from(local.max_record.0).unwrap_or(usize::MAX),
        ..LocalConfig::new(config.up.data_dir.join("topics"))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn coordination_exit(error: coord::CoordError) -> Exit {
    let code = match error {
        coord::CoordError::Locked { .. } => 5,
        coord::CoordError::Corrupt { .. } => 7,
        coord::CoordError::Unavailable(what) => {
            return Exit::new(4, format!("the data folder: {what}"))
                .hint("give --data-dir a folder in which this user may write and where there is room");
        }
        _ => 1,
    };
    Exit::new(code, error.to_string())
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn publish_exit(error: PublishError) -> Exit {
    publish_failure(&error).into()
}

fn announce(running: &[Running], data_dir: &Path, address: std::net::SocketAddr) {
    say(&format!("status page  http://{address}/\n"));
    for r in running.iter().filter(|r| r.start_unused) {
        say(&format!("start        {} goes on from its checkpoint; --from is only for a source without one\n", r.name));
    }
    for (r, topic) in running.iter().flat_map(|r| r.topics.iter().map(move |topic| (r, topic))) {
        let read = match &r.target {
            Target::Local => format!("binlake read --data-dir {} --topic {topic}", data_dir.display()),
            Target::Kafka(config) => format!("binlake read --from kafka://{} --topic {topic}", config.bootstrap),
        };
        say(&format!("source       {}  ->  {}/{topic}\nread it      {read}\n", r.name, r.target.describe()));
    }
}

/// Waits for the stop or the end of all sources, showing a status line; then drains.
fn supervise(running: &mut [Running], stop: &AtomicBool, drain: Duration) -> CommandResult {
    let mut lines = StatusLines::new();
    let mut first_failure = None;
    // Others may go on for long; of a single one the end of the command tells.
    let several = running.len() > 1;
    let mut told = None;
    loop {
        for r in running.iter_mut() {
            if r.runner.as_ref().is_some_and(Runner::is_finished)
                && let Some(runner) = r.runner.take()
                && let Ended::Failed(failure) = runner.join()
            {
                let mut exit = Exit::from(failure);
                exit.message = format!("source {}: {}", r.name, exit.message);
                if several {
                    lines.clear();
                    complain(&format!("binlake: {}", exit.message));
                }
                first_failure.get_or_insert(exit);
            }
        }
        if running.iter().all(|r| r.runner.is_none()) {
            lines.finish(running);
            return first_failure.map_or(Ok(()), Err);
        }
        if stop.load(Ordering::Relaxed) && told.is_none() {
            told = Some(Instant::now());
            for r in running.iter() {
                if let Some(runner) = &r.runner {
                    runner.stop();
                }
            }
        }
        if told.is_some_and(|t: Instant| t.elapsed() > drain) {
            lines.finish(running);
            return Err(Exit::new(6, format!("not everything was settled within {} s", drain.as_secs()))
                .hint("nothing is lost: what is unsettled is read again at the next start"));
        }
        lines.show(running);
        std::thread::sleep(Duration::from_millis(if told.is_some() { 10 } else { 100 }));
    }
}

/// One updating line per source on a terminal; a plain line now and then elsewhere.
struct StatusLines {
    terminal: bool,
    shown: usize,
    last: Instant,
    rows: Vec<u64>,
}

impl StatusLines {
    fn new() -> Self {
        StatusLines { terminal: std::io::stdout().is_terminal(), shown: 0, last: Instant::now(), rows: Vec::new() }
    }

    fn interval(&self) -> Duration {
        if self.terminal { Duration::from_millis(500) } else { Duration::from_secs(10) }
    }

    fn show(&mut self, running: &[Running]) {
        if self.last.elapsed() < self.interval() {
            return;
        }
        self.print(running);
    }

    fn print(&mut self, running: &[Running]) {
        let seconds = self.last.elapsed().as_secs_f64().max(1e-9);
        self.last = Instant::now();
        self.clear();
        self.rows.resize(running.len(), 0);
        for (r, before) in running.iter().zip(&mut self.rows) {
            let status = r.status.get();
            let rate = (status.rows - *before) as f64 / seconds;
            *before = status.rows;
            say(&format!("{}\n", printable(&line(&status, rate))));
        }
        self.shown = running.len();
    }

    /// Takes the lines back, so that the next ones replace them.
    fn clear(&mut self) {
        if self.terminal && self.shown > 0 {
            say(&format!("\x1b[{}A\x1b[J", self.shown));
        }
        self.shown = 0;
    }

    fn finish(&mut self, running: &[Running]) {
        self.print(running);
    }
}

fn line(s: &SourceStatus, rate: f64) -> String {
    let trouble = match (s.parked.first(), s.quarantined.len(), s.as_statements.len()) {
        (Some(p), _, _) => format!("  PARKED {p}"),
        (None, 0, 0) => s.silent.as_ref().map_or_else(String::new, |silent| format!("  TROUBLE: {silent}")),
        (None, 0, n) => format!("  ROWS MISSING of {n} table(s), logged as statements"),
        (None, n, _) => format!("  {n} table(s) QUARANTINED"),
    };
    format!(
        "{}  {}  {rate:.0} rows/s  {} rows  lag {:.1} s  settled {}{trouble}",
        s.source, s.state, s.rows, s.lag_seconds, s.settled
    )
}
