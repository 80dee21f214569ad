//! Where records go, as people write it: `local` or `kafka://…`.

use std::path::Path;

use publish::kafka::KafkaConfig;
use publish::local::MAX_PARTITIONS;

use crate::config::Reference;
use crate::exit::{CommandResult, Exit, unreadable};
use crate::secrets::{self, hide, is_secret};

/// Where records go.
#[derive(Clone, Debug)]
pub enum Target {
    Local,
    Kafka(KafkaConfig),
}

impl Target {
    /// # Errors
    /// Anything but `local` or `kafka://…`.
    pub fn parse(option: &str, text: &str) -> CommandResult<Target> {
        if text == "local" {
            return Ok(Target::Local);
        }
        let Some(rest) = text.strip_prefix("kafka://") else {
            let shown = hide(text, &[text.to_owned()]);
            return Err(Exit::usage(format!("{option} {shown}: write local or kafka://host:port")));
        };
        let (brokers, query) = rest.split_once('?').unwrap_or((rest, ""));
        let brokers = brokers.trim_end_matches('/');
        if brokers.is_empty() {
            return Err(Exit::usage(format!("{option} kafka:// names no broker; write kafka://host:port[,host:port]")));
        }
        if brokers.contains('@') {
            let login = "?security.protocol=SASL_SSL&sasl.mechanism=PLAIN&sasl.username=NAME&sasl.password=file:PATH";
            return Err(Exit::usage(format!("{option} kafka:// takes no user@host"))
                .hint(format!("write the login as {login}")));
        }
        let mut config = KafkaConfig::new(brokers);
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            // It may be the rest of a password, so it is not repeated.
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                Exit::usage(format!("{option}: a property of librdkafka is written name=value"))
                    .hint("percent-encode special characters: & is %26")
            })?;
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            let value = match Reference::of(&value).filter(|_| is_secret(name)) {
                Some(reference) => secrets::resolve(&reference)?.expose().to_owned(),
                None => value,
            };
            // OpenSSL's own words do not say which file it is. `probe` looks for the system's certificates.
            if name.ends_with(".location") && value != "probe" {
                std::fs::File::open(&value).map_err(|e| unreadable(name, Path::new(&value), &e))?;
            }
            config.properties.insert(name.to_string(), value);
        }
        Ok(Target::Kafka(config))
    }

    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Target::Local => "local".into(),
            Target::Kafka(config) => format!("kafka://{}", config.bootstrap),
        }
    }

    #[must_use]
    pub fn most_partitions(&self) -> u32 {
        match self {
            Target::Local => MAX_PARTITIONS,
            Target::Kafka(_) => 10_000,
        }
    }

    /// Of a topic that has to be created.
    #[must_use]
    pub fn default_partitions(&self) -> u32 {
        match self {
            Target::Local => 1,
            Target::Kafka(_) => 6,
        }
    }
}
