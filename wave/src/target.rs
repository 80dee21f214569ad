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
        // librdkafka takes a port modulo 65536, and other words for one as none.
        if let Some(wrong) = brokers.split(',').map(str::trim).find(|b| !b.is_empty() && !is_address(b)) {
            return Err(Exit::usage(format!("{option} kafka://{brokers}: {wrong} is no host:port (port 1 to 65535)")));
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
                Some(reference) => secrets::resolve(&reference).map_err(|e| e.at(option))?.expose().to_owned(),
                None => value,
            };
            // OpenSSL's own words do not say which file it is. `probe` looks for the system's certificates.
            if name.ends_with(".location") && value != "probe" {
                std::fs::File::open(&value).map_err(|e| unreadable(name, Path::new(&value), &e).at(option))?;
            }
            config.properties.insert(name.to_string(), value);
        }
        Ok(Target::Kafka(config))
    }

    /// As people write it, without properties.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Target::Local => "local".into(),
            Target::Kafka(config) => format!("kafka://{}", config.bootstrap),
        }
    }

    /// Partitions that a topic may be made with.
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

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn is_address(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or_default())),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let fit = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    !host.is_empty() && !host.contains(['/', ' ']) && port.is_none_or(fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        for fit in ["kafka://b", "kafka://b:9092,c.d:1/", "kafka://[::1]:9092,[fe80::1]", "kafka://b:1, c:2,"] {
            assert!(Target::parse("--to", fit).is_ok(), "{fit}");
        }
        for (wrong, named) in [
            ("kafka://b:99999", "b:99999 is no host:port"),
            ("kafka://b:9092,c:port", "c:port is no"),
            ("kafka://b:0", "b:0 is no"),
            ("kafka://b:9092/topic", "b:9092/topic is no"),
            ("kafka://:9092", ":9092 is no"),
            ("kafka://[::1]9092", "[::1]9092 is no"),
        ] {
            let exit = Target::parse("--to", wrong).unwrap_err();
            assert!(exit.code == 2 && exit.message.contains(named), "{wrong}: {exit}");
        }
    }

    #[test]
    fn what_a_property_names_and_is_not_there_is_told_with_the_option() {
        for property in ["sasl.password=file:/no/such", "ssl.ca.location=/no/such"] {
            let exit = Target::parse("b.toml:3: to", &format!("kafka://b?{property}")).unwrap_err();
            assert!(exit.code == 3 && exit.message.starts_with("b.toml:3: to: "), "{exit}");
        }
    }
}
