//! Configuration of `up`: a TOML file, environment variables above it, flags above both.
//!
//! The structs here are the one definition of what can be set: reading, ranges, the environment's names
//! (`BINLAKE_SECTION__KEY`) and the commented reference of `binlake config defaults` are made from them. A key that is
//! not known is an error that names the nearest known one; all errors of a file are found in one pass.

mod places;
mod section;
mod setting;

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::exit::{CommandResult, Exit, unreadable};
pub use places::{Part, Places};
use section::{Key, Section, section};
use setting::Raw;
pub use setting::{Reference, Size};

section! {
    /// The process.
    pub struct Up {
        /// Folder of checkpoints, local topics and spills; one process at a time.
        data_dir: PathBuf = PathBuf::from("binlake-data");
        /// Status page, health and metrics: address:port, the address one of loopback.
        listen: String = "127.0.0.1:8080".to_string();
        /// Where records go: local, or kafka://host:port[,host:port…][?librdkafka.property=value&…]. For sources that
        /// say nothing else.
        to: String = "local".to_string();
        /// How long a stop may wait for what is on its way; what is not settled then is read again at the next start.
        drain: Duration = Duration::from_secs(25), in Duration::ZERO => Duration::from_secs(3600);
    }
}

section! {
    /// Reading and publishing, per source.
    pub struct Wave {
        /// Threads that serve the sources' sockets, however many sources there are. none: one per core.
        threads: Option<u32> = None, in Some(1) => Some(256);
        /// Bytes of log that may wait between a socket and its source's thread; reading stops there.
        ring: Size = Size::mib(8), in Size::mib(1) => Size::mib(1024);
        /// Bytes handed to the publisher and not settled; reading stops there, and at 2 MiB while something is settled every
        /// 25 ms.
        in_flight: Size = Size::mib(24), in Size::mib(1) => Size::mib(28);
        /// Time without an event after which a source has to say that it is still there. After three of it without a word
        /// the connection counts as dead, and another one is made.
        heartbeat: Duration = Duration::from_secs(1), in Duration::from_millis(100) => Duration::from_secs(600);
        /// Time between two checkpoints: about what is read and delivered again after a crash.
        checkpoint_interval: Duration = Duration::from_millis(500), in Duration::from_millis(10) => Duration::from_secs(60);
        /// A feed that settles nothing for this long while others do is parked, so that it does not stop them. Where nobody
        /// is parked for it, a record that is out for so long is a problem of the source.
        park_after: Duration = Duration::from_secs(10), in Duration::from_secs(1) => Duration::from_secs(3600);
        /// A parked feed is tried again after 5 s, then after pauses that grow to this.
        catch_up_max: Duration = Duration::from_secs(300), in Duration::from_secs(1) => Duration::from_secs(86_400);
        /// For the TCP connection to a source, and again for TLS and login together.
        connect_timeout: Duration = Duration::from_secs(10), in Duration::from_millis(100) => Duration::from_secs(600);
        /// Pauses between attempts grow from 100 ms to this.
        reconnect_max: Duration = Duration::from_secs(30), in Duration::from_millis(100) => Duration::from_secs(3600);
    }
}

section! {
    /// Local topics.
    pub struct Local {
        /// A segment file that has reached this size is followed by a new one, which begins with the next record.
        segment: Size = Size::mib(64), in Size::mib(1) => Size::mib(2048);
        /// Per partition: while its segments are larger together, the oldest is deleted, read or not. The segment that is
        /// written always stays, so that a partition may hold up to `segment` and one record where this is less. none: no
        /// limit.
        retention_size: Option<Size> = None, in Some(Size::mib(1)) => Some(Size::mib(1 << 30));
        /// Segments whose last write is longer ago are deleted, read or not, except the one that is written. none: no
        /// limit.
        retention_age: Option<Duration> = None, in Some(Duration::from_secs(1)) => Some(Duration::from_secs(86_400 * 36_500));
        /// Larger records (key, header and value together) are refused, which parks the feed, or ends the source where it is
        /// the only one.
        max_record: Size = Size::mib(64), in Size(1024) => Size::mib(64);
    }
}

section! {
    /// A server to read.
    pub struct SourceKeys {
        /// mysql://user@host[:3306]/[?ssl-mode=…&ssl-ca=…&ssl-cert=…&ssl-key=…]. Required.
        url: String = String::new();
        /// "file:PATH" or "env:NAME". none: from the URL, BINLAKE_PASSWORD, or a prompt.
        password: Option<Reference> = None;
        /// Checkpoints are kept under this name. none: the URL's host and port.
        name: Option<String> = None;
        /// Only for a source without a checkpoint: now, earliest, gtid:SET, FILE:POS or time:RFC3339.
        from: String = "now".to_string();
        /// As `to` of [up], for this source alone. none: that of [up].
        to: Option<String> = None;
    }
}

section! {
    /// What is published of a source, and where.
    pub struct Feed {
        /// none: the source's name.
        topic: Option<String> = None;
        /// Partitions of a topic that has to be created; a local one has at most 1024. none: local 1, Kafka 6.
        partitions: Option<u32> = None, in Some(1) => Some(10_000);
        /// Globs or /regex/ on the whole database.table, `!` excludes. Empty: all but the server's own.
        tables: String = String::new();
        /// Kinds of events: insert, update, delete, ddl.
        events: String = "insert,update,delete".to_string();
        /// Keep only these columns of a table: ["shop.orders:id,total"].
        columns: Vec<String> = Vec::new();
        /// maxwell-json or binlake.
        format: String = "maxwell-json".to_string();
    }
}

/// One `[[source]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceConfig {
    pub keys: SourceKeys,
    pub feeds: Vec<Feed>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub up: Up,
    pub wave: Wave,
    pub local: Local,
    pub sources: Vec<SourceConfig>,
    pub places: Places,
}

/// The process itself.
pub const UP: Part = Part::Section("up");
const WAVE: Part = Part::Section("wave");
const LOCAL: Part = Part::Section("local");
const TOP: [&str; 4] = ["up", "wave", "local", "source"];

impl Config {
    /// Reads a file, and the environment's variables above it.
    ///
    /// # Errors
    /// Exit code 3: no such file. 2: everything that is wrong in it, one per line, with file and line.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> CommandResult<Config> {
        let mut config = Config::default();
        let mut errors = Vec::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|e| unreadable("the configuration", path, &e))?;
            config.read(&path.display().to_string(), &text, &mut errors);
        }
        config.read_environment(environment, &mut errors);
        if errors.is_empty() {
            return Ok(config);
        }
        Err(Exit::usage(errors.join("\n"))
            .hint("`binlake config defaults` prints every key with its meaning and default"))
    }

    fn read(&mut self, name: &str, text: &str, errors: &mut Vec<String>) {
        let mut file = File { name, text, places: &mut self.places, errors: Vec::new() };
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(e) => {
                file.error(e.span().map_or(0, |s| s.start), e.message());
                DeTable::new()
            }
        };
        for (key, value) in &table {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("up", DeValue::Table(t)) => file.section(&mut self.up, UP, t, &[]),
                ("wave", DeValue::Table(t)) => file.section(&mut self.wave, WAVE, t, &[]),
                ("local", DeValue::Table(t)) => file.section(&mut self.local, LOCAL, t, &[]),
                ("source", DeValue::Array(list)) => {
                    for source in list {
                        if let DeValue::Table(t) = source.get_ref() {
                            let source = file.source(self.sources.len(), at, t);
                            self.sources.push(source);
                        } else {
                            file.error(source.span().start, "a source is a table: write [[source]]");
                        }
                    }
                }
                ("source", _) => file.error(at, "sources are a list: write [[source]]"),
                (known, _) if TOP.contains(&known) => file.error(at, &format!("{known} is a table: write [{known}]")),
                (other, _) => file.error(at, &unknown(other, "the file", TOP.into_iter())),
            }
        }
        file.errors.sort();
        errors.extend(file.errors.into_iter().map(|(line, message)| format!("{name}:{line}: {message}")));
    }

    fn read_environment(&mut self, variables: impl Iterator<Item = (String, String)>, errors: &mut Vec<String>) {
        for (name, value) in variables {
            let Some((section, key)) = name.strip_prefix("BINLAKE_").and_then(|n| n.split_once("__")) else { continue };
            let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
            let raw = Raw::Text(&value);
            let done = match section.as_str() {
                "up" => set(&mut self.up, UP, &key, &raw, &[]).map(|()| UP),
                "wave" => set(&mut self.wave, WAVE, &key, &raw, &[]).map(|()| WAVE),
                "local" => set(&mut self.local, LOCAL, &key, &raw, &[]).map(|()| LOCAL),
                other => Err(unknown(other, "BINLAKE_SECTION__KEY", ["up", "wave", "local"].into_iter())),
            };
            let place = format!("environment variable {name}");
            match done {
                Ok(part) => self.places.put(part, &key, place),
                Err(e) => errors.push(format!("{place}: {e}")),
            }
        }
    }

    /// The commented reference: every key with its meaning and default.
    #[must_use]
    pub fn reference() -> String {
        let mut out = String::from(
            "# Configuration of `binlake up --config FILE`. Flags count more than environment variables\n\
             # (BINLAKE_UP__LISTEN=…), those more than this file, and that more than the defaults, which stand here.\n",
        );
        describe::<Up>(&mut out, "up", "", "");
        describe::<Wave>(&mut out, "wave", "", "");
        describe::<Local>(&mut out, "local", "", "");
        describe::<SourceKeys>(&mut out, "[source]", "# ", "Once per server. Only the URL is needed.");
        let about =
            "Once per topic of the source above it; left out: one feed of all tables. A table may be in several.";
        describe::<Feed>(&mut out, "[source.feed]", "# ", about);
        out
    }
}

/// Appends a section of the reference; `off` comments its lines out.
fn describe<S: Section>(out: &mut String, header: &str, off: &str, about: &str) {
    let defaults = S::default();
    out.push('\n');
    if !about.is_empty() {
        out.push_str(&format!("# {about}\n"));
    }
    out.push_str(&format!("{off}[{header}]\n"));
    for key in S::KEYS {
        for line in key.about {
            out.push_str(&format!("#{line}\n"));
        }
        if let Some(range) = S::range(key.name) {
            out.push_str(&format!("# Range: {range}.\n"));
        }
        out.push_str(&format!("{off}{} = {}\n", key.name, defaults.show(key.name)));
    }
}

/// A file while it is read.
struct File<'a> {
    name: &'a str,
    text: &'a str,
    places: &'a mut Places,
    /// With their lines.
    errors: Vec<(usize, String)>,
}

impl File<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|b| *b == b'\n').count()
    }

    fn error(&mut self, at: usize, message: &str) {
        self.errors.push((self.line(at), message.to_string()));
    }

    /// Sets the keys of a table; `tables` are the keys that hold tables and are read elsewhere.
    fn section<S: Section>(&mut self, section: &mut S, part: Part, table: &DeTable<'_>, tables: &[&str]) {
        for (key, value) in table {
            if tables.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let at = key.span().start;
            match set(section, part, key.get_ref(), &raw(value.get_ref()), tables) {
                Ok(()) => self.places.put(part, key.get_ref(), format!("{}:{}", self.name, self.line(at))),
                Err(e) => self.error(at, &e),
            }
        }
    }

    fn source(&mut self, number: usize, at: usize, table: &DeTable<'_>) -> SourceConfig {
        let mut source = SourceConfig::default();
        self.section(&mut source.keys, Part::Source(number), table, &["feed"]);
        let at = table.iter().map(|(key, _)| key.span().start).min().unwrap_or(at);
        if source.keys.url.is_empty() {
            self.error(at, "this [[source]] has no url");
        }
        match table.get("feed").map(toml::Spanned::get_ref) {
            None => source.feeds.push(Feed::default()),
            // Read and published nowhere.
            Some(DeValue::Array(list)) if list.is_empty() => {
                self.error(at, "`feed` is empty: leave it out for one feed of all tables");
            }
            Some(DeValue::Array(list)) if list.iter().all(|f| f.get_ref().is_table()) => {
                for table in list.iter().filter_map(|f| f.get_ref().as_table()) {
                    let mut feed = Feed::default();
                    self.section(&mut feed, Part::Feed(number, source.feeds.len()), table, &[]);
                    source.feeds.push(feed);
                }
            }
            Some(_) => self.error(at, "feeds are a list: write [[source.feed]]"),
        }
        source
    }
}

fn raw<'a>(value: &'a DeValue<'_>) -> Raw<'a> {
    match value {
        DeValue::String(text) => Raw::Text(text),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Raw::Other("integer, too large"), Raw::Integer)
        }
        DeValue::Array(list) if list.iter().all(|v| v.get_ref().is_str()) => {
            Raw::List(list.iter().filter_map(|v| v.get_ref().as_str()).map(str::to_string).collect())
        }
        other => Raw::Other(other.type_str()),
    }
}

/// Sets one key, or says what was wrong with it.
fn set<S: Section>(section: &mut S, part: Part, key: &str, raw: &Raw<'_>, tables: &[&str]) -> Result<(), String> {
    if !S::KEYS.iter().any(|k| k.name == key) {
        return Err(unknown(
            key,
            &part.to_string(),
            S::KEYS.iter().map(|k: &Key| k.name).chain(tables.iter().copied()),
        ));
    }
    section.set(key, raw).map_err(|e| format!("`{key}` of {part} {e}"))
}

fn unknown<'a>(key: &str, place: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let nearest = known
        .clone()
        .map(|k| (strsim::damerau_levenshtein(k, key), k))
        .min()
        .filter(|(distance, k)| *distance <= k.len().max(key.len()) / 2);
    match nearest {
        Some((_, nearest)) => format!("unknown key `{key}` in {place}; the nearest known one is `{nearest}`"),
        None => format!("unknown key `{key}` in {place}; known are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests;
