//! What `up` is to do: a configuration with everything that a person wrote understood.
//!
//! All that is wrong is told at once, each mistake with its place. Nothing is connected to and no folder touched; files
//! and variables that are named for passwords and certificates are looked at.

use std::collections::BTreeSet;

use coord::SourceId;
use mysql_wire::Secret;
use pipeline::feed::{FeedSpec, Format, MAX_RECORD_BYTES, Order};
use pipeline::format::maxwell_json;
use pipeline::rule::{Columns, EventKinds, Rule, RuleError, TablePatterns};
use publish::TopicSpec;
use publish::kafka::KafkaPublisher;
use publish::local::check_name;

use crate::admin::Loopback;
use crate::config::{Config, Feed, Part, SourceConfig, UP};
use crate::exit::{CommandResult, Exit};
use crate::position::From;
use crate::runner::publish_failure;
use crate::secrets;
use crate::source::Source;
use crate::target::Target;

/// Of a process.
#[derive(Debug)]
pub struct Plans {
    pub listen: Loopback,
    pub sources: Vec<Plan>,
}

/// Of one source.
#[derive(Debug)]
pub struct Plan {
    pub name: String,
    pub source: Source,
    pub from: From,
    pub target: Target,
    pub feeds: Vec<FeedSpec>,
    pub topics: Vec<TopicSpec>,
}

/// Finds what is wrong with a configuration, without a question to anybody.
///
/// # Errors
/// As [`plan`].
pub fn check(config: &Config) -> CommandResult {
    plan(config, Source::unasked).map(drop)
}

/// `make` makes a source of its URL and the password that is given beside it.
///
/// # Errors
/// Every mistake. The exit code is 2, or that of the first mistake where none is one of writing.
pub fn plan(config: &Config, make: impl Fn(&str, Option<Secret>) -> CommandResult<Source>) -> CommandResult<Plans> {
    let mut planner = Planner { config, mistakes: Vec::new(), names: Vec::new() };
    let listen = planner.kept(Loopback::parse(config.places.name(UP, "listen"), &config.up.listen));
    if config.up.data_dir.as_os_str().is_empty() {
        let name = config.places.name(UP, "data_dir");
        planner.mistakes.push(Exit::usage(format!("{name} \"\": names no folder; write a path such as binlake-data")));
    }
    if config.sources.is_empty() {
        let message =
            "no source: give --source mysql://user@host:3306/ (once per source), or --config FILE with a [[source]]";
        planner.mistakes.push(Exit::usage(message));
    }
    let sources: Vec<_> = (0..config.sources.len()).map(|i| planner.source(i, &make)).collect();
    match (listen, sources.into_iter().collect()) {
        (Some(listen), Some(sources)) if planner.mistakes.is_empty() => Ok(Plans { listen, sources }),
        _ => Err(together(planner.mistakes)),
    }
}

struct Planner<'a> {
    config: &'a Config,
    mistakes: Vec<Exit>,
    /// Of the sources until here.
    names: Vec<String>,
}

impl Planner<'_> {
    /// What is right goes on; what is wrong is kept for the end.
    fn kept<T>(&mut self, result: CommandResult<T>) -> Option<T> {
        result.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }

    /// The same, and what is wrong gets the first place that is known of these values.
    fn kept_at<T>(&mut self, values: &[(Part, &str)], result: CommandResult<T>) -> Option<T> {
        self.kept(result.map_err(|e| self.config.places.at(values, e)))
    }

    /// None where something is wrong with it.
    fn source(&mut self, number: usize, make: impl Fn(&str, Option<Secret>) -> CommandResult<Source>) -> Option<Plan> {
        let (config, part) = (self.config, Part::Source(number));
        let SourceConfig { keys, feeds } = &config.sources[number];
        // Nobody is asked for a password that is written and cannot be read.
        let password = keys.password.as_ref().map(secrets::resolve).transpose();
        let password = self.kept_at(&[(part, "password")], password);
        let source = password.and_then(|password| self.kept_at(&[(part, "url")], make(&keys.url, password)));
        let name = keys.name.clone().or_else(|| source.as_ref().map(Source::default_name));
        if let Some(name) = &name {
            self.kept_at(&[(part, "name"), (part, "url")], self.new_name(name));
            self.names.push(name.clone());
        }
        let (to, at) = keys.to.as_ref().map_or((&config.up.to, UP), |to| (to, part));
        let target = self.kept(Target::parse(&config.places.name(at, "to"), to));
        if let Some(Target::Kafka(kafka)) = &target {
            // It connects only with `init`.
            let made = KafkaPublisher::new(kafka.clone()).map_err(|e| Exit::from(publish_failure(&e)));
            self.kept_at(&[(at, "to")], made);
        }
        let from = self.kept(From::parse(&config.places.name(part, "from"), &keys.from));
        let mut topics: Vec<TopicSpec> = Vec::new();
        let mut specs = Vec::new();
        for (i, feed) in feeds.iter().enumerate() {
            let at = Part::Feed(number, i);
            let topic = |feed: &Feed| feed.topic.clone().or(name.clone());
            if let Some(twice) = topic(feed).filter(|t| feeds[..i].iter().any(|f| topic(f).as_ref() == Some(t))) {
                let message = format!("two feeds of one source have the topic {twice}");
                self.kept_at::<()>(&[(at, "topic"), (part, "url")], Err(Exit::usage(message)));
            }
            if let Some((spec, topic)) = self.feed((part, at), feed, name.as_deref(), target.as_ref()) {
                specs.push(spec);
                topics.push(topic);
            }
        }
        Some(Plan { name: name?, source: source?, from: from?, target: target?, feeds: specs, topics })
    }

    fn new_name(&self, name: &str) -> CommandResult {
        SourceId::new(name).map_err(|e| Exit::usage(format!("the source's name: {e}")))?;
        if self.names.iter().any(|known| known == name) {
            let message = format!("two sources are named {name}");
            return Err(Exit::usage(message).hint("one source may have many feeds"));
        }
        Ok(())
    }

    /// Its topic is named like the source where it says nothing else.
    fn feed(
        &mut self,
        (of, part): (Part, Part),
        feed: &Feed,
        source: Option<&str>,
        target: Option<&Target>,
    ) -> Option<(FeedSpec, TopicSpec)> {
        let places = &self.config.places;
        let option = |key: &str| places.name(part, key);
        let rule = parse_rule(option, &feed.tables, Some(&feed.events), &feed.columns);
        let rule = rule.map_err(|mistakes| self.mistakes.extend(mistakes)).ok();
        let format = self.kept(topic_format(&feed.format).ok_or_else(|| {
            Exit::usage(format!("{} {}: topics take maxwell-json or binlake", option("format"), feed.format))
        }));
        let topic = match &feed.topic {
            Some(topic) => {
                let fit = check_name(topic).map_err(|e| Exit::usage(format!("{} {topic:?}: {e}", option("topic"))));
                self.kept(fit.map(|()| topic.clone()))
            }
            None => source.and_then(|name| {
                let fit = check_name(name).map_err(|e| Exit::usage(format!("a topic named {name:?}: {e}")));
                self.kept_at(&[(of, "name"), (of, "url")], fit.map(|()| name.to_string()))
            }),
        };
        let partitions = target.and_then(|target| {
            let (wanted, most) = (feed.partitions.unwrap_or(target.default_partitions()), target.most_partitions());
            let target = target.describe();
            self.kept(if (1..=most).contains(&wanted) {
                Ok(wanted)
            } else {
                Err(Exit::usage(format!("{} {wanted}: {target} takes 1 to {most}", option("partitions"))))
            })
        });
        let (name, rule, format) = (topic?, rule?, format?);
        Some((
            FeedSpec { name: name.clone(), rule, format, order: Order::RowKey, max_record_bytes: MAX_RECORD_BYTES },
            TopicSpec { name, create_partitions: Some(partitions?) },
        ))
    }
}

/// Builds a rule of what a person asks for; `option` is how he finds a value of this name.
///
/// # Errors
/// Every pattern, event kind or column list that cannot be read.
pub(crate) fn parse_rule(
    option: impl Fn(&str) -> String,
    tables: &str,
    events: Option<&str>,
    columns: &[String],
) -> Result<Rule, Vec<Exit>> {
    let wrong = |key: &str, e: &RuleError| Exit::usage(format!("{} {e}", option(key)));
    let tables = TablePatterns::parse(tables).map_err(|e| wrong("tables", &e));
    let events = events.map_or(Ok(EventKinds::default()), EventKinds::parse).map_err(|e| wrong("events", &e));
    let columns = Columns::new(columns).map_err(|e| wrong("columns", &e));
    match (tables, events, columns) {
        (Ok(tables), Ok(events), Ok(columns)) => Ok(Rule { tables, events, columns }),
        (tables, events, columns) => Err([tables.err(), events.err(), columns.err()].into_iter().flatten().collect()),
    }
}

/// A format of topics, by its name.
pub(crate) fn topic_format(name: &str) -> Option<Format> {
    match name {
        "maxwell-json" => Some(Format::MaxwellJson(maxwell_json::Options::default())),
        "binlake" => Some(Format::Binlake),
        _ => None,
    }
}

/// One end of a command for all mistakes, each told once: what several sources have in common is wrong for each of them.
pub(crate) fn together(mut mistakes: Vec<Exit>) -> Exit {
    let mut told = BTreeSet::new();
    mistakes.retain(|mistake| told.insert(mistake.message.clone()));
    let code = mistakes.iter().find(|e| e.code == 2).or(mistakes.first()).map_or(1, |e| e.code);
    if mistakes.len() == 1
        && let Some(only) = mistakes.pop()
    {
        return only;
    }
    let line = |e: Exit| e.hint.map_or(e.message.clone(), |hint| format!("{}; {hint}", e.message));
    Exit::new(code, mistakes.into_iter().map(line).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(file: &str) -> Exit {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.toml");
        std::fs::write(&path, file).unwrap();
        let config = Config::load(Some(&path), std::iter::empty()).unwrap();
        let mut exit = check(&config).unwrap_err();
        exit.message = exit.message.replace(&format!("{}/", folder.path().display()), "");
        exit
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_line() {
        let exit = mistakes(
            r#"[up]
listen = "0.0.0.0:1"
data_dir = ""
to = "nowhere"
[[source]]
url = "postgres://u@h/"
from = "yesterday"
[[source.feed]]
topic = "a/b"
tables = "shop."
events = "insert,upsert"
columns = ["no colon"]
format = "text"
[[source]]
url = "mysql://u@h/"
to = "local"
[[source.feed]]
partitions = 2000
[[source]]
url = "mysql://u@h/"
password = "file:/no/such"
[[source]]
name = "h-3306"
url = "mysql://u@other/"
[[source.feed]]
topic = "t"
[[source.feed]]
topic = "t"
"#,
        );
        let begins = [
            "b.toml:2: listen 0.0.0.0:1: only loopback",
            "b.toml:3: data_dir \"\": names no folder",
            "b.toml:6: the source's address cannot be read",
            "b.toml:4: to nowhere: write local or kafka://",
            "b.toml:7: from yesterday: ",
            "b.toml:10: tables ",
            "b.toml:11: events ",
            "b.toml:12: columns ",
            "b.toml:13: format text: topics take maxwell-json or binlake",
            "b.toml:9: topic \"a/b\": ",
            "b.toml:18: partitions 2000: local takes 1 to 1024",
            "b.toml:21: the password file /no/such cannot be read",
            "b.toml:23: two sources are named h-3306; one source may have many feeds",
            "b.toml:28: two feeds of one source have the topic t",
        ];
        let told: Vec<&str> = exit.message.lines().collect();
        assert!(
            told.len() == begins.len() && told.iter().zip(begins).all(|(told, begin)| told.starts_with(begin)),
            "{told:#?}"
        );
        assert_eq!(exit.code, 2);
    }

    #[test]
    fn a_single_mistake_keeps_its_code_and_its_advice() {
        let exit = mistakes("[[source]]\nurl = \"mysql://u@h/?ssl-ca=/no/such.pem\"\n");
        assert!(exit.code == 3 && exit.message.starts_with("b.toml:2: the file /no/such.pem"), "{exit}");
        let exit = mistakes("[[source]]\nurl = \"mysql://h/\"\n");
        assert_eq!((exit.code, exit.hint.as_deref()), (2, Some("write mysql://user@host:3306/")));
    }
}
