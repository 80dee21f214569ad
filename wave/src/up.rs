//! `binlake up`: sources to topics in one process, on the embedded backends under one data folder.
//!
//! Stop and start again: it goes on where it was. The data folder is locked, so a second process cannot own the same
//! sources.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coord::file::FileCoordination;
use coord::history::file::FileHistory;
use coord::{DataDir, SourceId};
use pipeline::feed::{FeedSpec, MAX_RECORD_BYTES, Order};
use pipeline::instance::{InstanceConfig, Limits};
use pipeline::io::Ended;
use publish::kafka::{KafkaConfig, KafkaPublisher};
use publish::local::{LocalConfig, LocalPublisher, LocalStore};
use publish::{Publisher, TopicSpec};
use telemetry::{Registry, SourceMetrics};
use watch::{Watch, WatchOptions};

use crate::admin;
use crate::exit::{CommandResult, Exit};
use crate::position::From;
use crate::questions::ServerQuestions;
use crate::remote::Remote;
use crate::runner::{Parts, Runner};
use crate::source::{Identity, Source};
use crate::spills::DiskSpills;
use crate::sql::Sql;
use crate::status::{SourceStatus, StatusCell};
use crate::tail::{parse_format, parse_rule};

/// How long a drain may take before the process ends anyway; what is unsettled then is read again at the next start.
const DRAIN: Duration = Duration::from_secs(25);

/// Options of `up`, as the command line gives them.
#[derive(Clone, Debug, Default)]
pub struct UpOptions {
    pub sources: Vec<String>,
    pub password_file: Option<PathBuf>,
    pub tables: String,
    pub events: Option<String>,
    pub columns: Vec<String>,
    /// `local` or `kafka://host:port[,host:port…][?property=value&…]`.
    pub to: String,
    pub topic: Option<String>,
    pub partitions: Option<u32>,
    pub format: Option<String>,
    pub from: Option<String>,
    pub data_dir: PathBuf,
    pub listen: String,
}

/// Where records go.
#[derive(Clone, Debug)]
pub enum Target {
    Local,
    Kafka(KafkaConfig),
}

impl Target {
    /// # Errors
    /// Anything but `local` or `kafka://…`.
    pub fn parse(text: &str) -> CommandResult<Target> {
        if text == "local" {
            return Ok(Target::Local);
        }
        let Some(rest) = text.strip_prefix("kafka://") else {
            return Err(Exit::usage(format!("--to {text}: write local or kafka://host:port")));
        };
        let (brokers, query) = rest.split_once('?').unwrap_or((rest, ""));
        let brokers = brokers.trim_end_matches('/');
        if brokers.is_empty() {
            return Err(Exit::usage("--to kafka:// names no broker; write kafka://host:port[,host:port]"));
        }
        let mut config = KafkaConfig::new(brokers);
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                Exit::usage(format!("--to: `{pair}` is not a property of librdkafka: write name=value"))
            })?;
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            config.properties.insert(name.to_string(), value);
        }
        Ok(Target::Kafka(config))
    }

    fn describe(&self) -> String {
        match self {
            Target::Local => "local".into(),
            Target::Kafka(config) => format!("kafka://{}", config.bootstrap),
        }
    }

    fn default_partitions(&self) -> u32 {
        match self {
            Target::Local => 1,
            Target::Kafka(_) => 6,
        }
    }
}

struct Running {
    name: String,
    topic: String,
    runner: Option<Runner>,
    status: StatusCell,
}

/// Runs the command until `stop` is set or every source has ended.
///
/// # Errors
/// With the exit code of the cause.
pub fn run(options: &UpOptions, stop: &AtomicBool) -> CommandResult {
    if options.sources.is_empty() {
        return Err(Exit::usage("no source: give --source mysql://user@host:3306/ (once per source)"));
    }
    let target = Target::parse(&options.to)?;
    let rule = parse_rule(&options.tables, options.events.as_deref(), &options.columns)?;
    let format = parse_format(Some(options.format.as_deref().unwrap_or("maxwell-json")), false)?;
    if matches!(format, pipeline::feed::Format::Text(_) | pipeline::feed::Format::None) {
        return Err(Exit::usage("--format: topics take maxwell-json or binlake"));
    }
    let from = options.from.as_deref().map(|f| From::parse("--from", f)).transpose()?.unwrap_or(From::Now);
    let mut sources = Vec::new();
    for url in &options.sources {
        sources.push(Source::new(url, options.password_file.as_deref())?);
    }
    let coordination_failed = |e: coord::CoordError| match e {
        coord::CoordError::Locked { .. } => Exit::new(5, e.to_string()),
        coord::CoordError::Corrupt { .. } => Exit::new(7, e.to_string()),
        _ => Exit::new(1, e.to_string()),
    };
    let data = DataDir::lock(&options.data_dir).map_err(coordination_failed)?;
    let store = match target {
        Target::Local => {
            Some(LocalStore::open(LocalConfig::new(options.data_dir.join("topics"))).map_err(publish_exit)?)
        }
        Target::Kafka(_) => None,
    };
    let watch =
        Watch::start(WatchOptions::default()).map_err(|e| Exit::new(1, format!("threads cannot be started: {e}")))?;
    let watch = Arc::new(watch);
    let registry = Registry::new();
    let mut running = Vec::new();
    for source in sources {
        let name = source.default_name();
        let topic = options.topic.clone().unwrap_or_else(|| name.clone());
        // One look first: whoever starts this wants to know at once that host, login or log are not right.
        let mut sql = Sql::connect(&source)?;
        sql.readable_end()?;
        let flavor = sql.flavor();
        drop(sql);
        let origin = format!("mysql://{}", source.address());
        let status = StatusCell::new(
            &name,
            &origin,
            &format!("{}/{topic}", target.describe()),
            Some(SourceMetrics::new(&registry, &name)),
        );
        let id = SourceId::new(name.clone()).map_err(coordination_failed)?;
        let history = Box::new(FileHistory::open(&data).map_err(coordination_failed)?);
        let questions = ServerQuestions::new(source.clone(), id, from.clone(), history).map_err(coordination_failed)?;
        let publisher: Box<dyn Publisher> = match (&target, &store) {
            (Target::Kafka(config), _) => Box::new(KafkaPublisher::new(config.clone()).map_err(publish_exit)?),
            (Target::Local, Some(store)) => Box::new(LocalPublisher::new(Arc::clone(store), name.clone())),
            (Target::Local, None) => return Err(Exit::new(1, "the local store is not open")),
        };
        let scope = options.data_dir.canonicalize().unwrap_or_else(|_| options.data_dir.clone());
        let identity = Identity::stable(&scope.to_string_lossy(), &name);
        let parts = Parts {
            config: InstanceConfig {
                source: name.clone(),
                feeds: vec![FeedSpec {
                    name: topic.clone(),
                    rule: rule.clone(),
                    format: format.clone(),
                    order: Order::RowKey,
                    max_record_bytes: MAX_RECORD_BYTES,
                }],
                limits: Limits::default(),
                headers: true,
                until: None,
                limit: None,
                definitions: true,
            },
            topics: vec![TopicSpec {
                name: topic.clone(),
                create_partitions: Some(options.partitions.unwrap_or_else(|| target.default_partitions())),
            }],
            source: Box::new(Remote::new(Arc::clone(&watch), &name, source, identity, flavor)),
            publisher,
            coordination: Box::new(FileCoordination::open(&data).map_err(coordination_failed)?),
            questions: Arc::new(questions),
            spills: Box::new(DiskSpills::new(options.data_dir.join("spill"))),
            status: status.clone(),
            on_incident: Box::new(|_| {}),
        };
        running.push(Running { name, topic, runner: Some(Runner::start(parts)?), status });
    }
    let statuses: Vec<StatusCell> = running.iter().map(|r| r.status.clone()).collect();
    let admin = admin::serve(&options.listen, statuses, registry)?;
    announce(&running, &target, options, admin.address());
    let ended = supervise(&mut running, stop);
    admin.stop();
    ended
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn publish_exit(error: publish::PublishError) -> Exit {
    use publish::PublishError as E;
    let code = match error {
        E::Unavailable(_) => 6,
        E::Topic { .. } => 3,
        E::Config(_) => 2,
        E::Fenced => 5,
    };
    Exit::new(code, error.to_string())
}

fn announce(running: &[Running], target: &Target, options: &UpOptions, address: std::net::SocketAddr) {
    println!("status page  http://{address}/");
    for r in running {
        let read = match target {
            Target::Local => format!("binlake read --data-dir {} --topic {}", options.data_dir.display(), r.topic),
            Target::Kafka(config) => format!("binlake read --from kafka://{} --topic {}", config.bootstrap, r.topic),
        };
        println!("source       {}  ->  {}/{}", r.name, target.describe(), r.topic);
        println!("read it      {read}");
    }
    let _ = std::io::stdout().flush();
}

/// Waits for the stop or the end of all sources, showing a status line; then drains.
fn supervise(running: &mut [Running], stop: &AtomicBool) -> CommandResult {
    let mut lines = StatusLines::new();
    let mut first_failure = None;
    let mut told = None;
    loop {
        for r in running.iter_mut() {
            if r.runner.as_ref().is_some_and(Runner::is_finished)
                && let Some(runner) = r.runner.take()
                && let Ended::Failed(failure) = runner.join()
            {
                lines.clear();
                eprintln!("binlake: source {}: {}", r.name, failure.message);
                first_failure.get_or_insert(failure);
            }
        }
        if running.iter().all(|r| r.runner.is_none()) {
            lines.finish(running);
            return first_failure.map_or(Ok(()), |f| Err(f.into()));
        }
        if stop.load(Ordering::Relaxed) && told.is_none() {
            told = Some(Instant::now());
            for r in running.iter() {
                if let Some(runner) = &r.runner {
                    runner.stop();
                }
            }
        }
        if told.is_some_and(|t: Instant| t.elapsed() > DRAIN) {
            lines.finish(running);
            return Err(Exit::new(6, format!("not everything was settled within {} s", DRAIN.as_secs()))
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
            println!("{}", line(&status, rate));
        }
        let _ = std::io::stdout().flush();
        self.shown = running.len();
    }

    /// Takes the lines back, so that the next ones replace them.
    fn clear(&mut self) {
        if self.terminal && self.shown > 0 {
            print!("\x1b[{}A\x1b[J", self.shown);
        }
        self.shown = 0;
    }

    fn finish(&mut self, running: &[Running]) {
        self.print(running);
    }
}

fn line(s: &SourceStatus, rate: f64) -> String {
    let trouble = match (s.parked.first(), s.quarantined.len()) {
        (Some(p), _) => format!("  PARKED {p}"),
        (None, 0) => String::new(),
        (None, n) => format!("  {n} table(s) QUARANTINED"),
    };
    format!(
        "{}  {}  {rate:.0} rows/s  {} rows  lag {:.1} s  settled {}{trouble}",
        s.source, s.state, s.rows, s.lag_seconds, s.settled
    )
}
