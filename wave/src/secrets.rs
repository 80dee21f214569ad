//! Secrets that people write: where one is to be had when only a reference was written, and how one that stands in an
//! argument is kept out of messages and of what `ps` shows.

use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;

use mysql_wire::Secret;

use crate::config::Reference;
use crate::exit::{CommandResult, Exit, unreadable};

/// Reads a file or a variable.
///
/// # Errors
/// It is not there, or may not be read.
pub fn resolve(reference: &Reference) -> CommandResult<Secret> {
    match reference {
        Reference::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| unreadable("the password file", path, &e))?;
            Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
        }
        Reference::Variable(name) => std::env::var(name)
            .map(Secret::new)
            .map_err(|e| Exit::new(3, format!("the environment variable {name} with the password: {e}"))),
    }
}

/// Whether the property of librdkafka of this name is a secret.
#[must_use]
pub fn is_secret(property: &str) -> bool {
    ["password", "passphrase", "secret", "key.pem"].iter().any(|word| property.ends_with(word))
}

/// `text` without the secrets of the arguments that it quotes.
#[must_use]
pub fn hide(text: &str, arguments: &[String]) -> String {
    let mut text = text.to_owned();
    for argument in arguments {
        let mut shown = argument.clone();
        for span in spans(argument).into_iter().rev() {
            shown.replace_range(span, "xxx");
        }
        text = text.replace(argument.as_str(), &shown);
    }
    text
}

/// Overwrites secrets in this process's own command line, as `ps` shows it. Best effort: where the system has no
/// `/proc`, nothing happens.
pub fn hide_in_title() {
    let Ok(line) = std::fs::read("/proc/self/cmdline") else { return };
    let Some(start) = argument_start() else { return };
    let Ok(mut memory) = std::fs::OpenOptions::new().write(true).open("/proc/self/mem") else { return };
    let mut at = 0;
    for argument in line.split(|b| *b == 0) {
        for span in std::str::from_utf8(argument).map(spans).unwrap_or_default() {
            if memory.seek(SeekFrom::Start(start + (at + span.start) as u64)).is_ok() {
                let _ = memory.write_all(&vec![b'x'; span.len()]);
            }
        }
        at += argument.len() + 1;
    }
}

/// Address of the first argument: field 48 (`arg_start`) of /proc/self/stat, proc(5).
fn argument_start() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(45)?.parse().ok()
}

/// Where secrets stand in an argument: the password of `scheme://user:password@host`, and those properties of
/// `kafka://host?name=value&…` that are secrets and not references.
fn spans(argument: &str) -> Vec<Range<usize>> {
    let Some(begin) = argument.find("://").map(|at| at + 3) else { return Vec::new() };
    let mut found = Vec::new();
    let query = argument[begin..].find('?').map_or(argument.len(), |at| begin + at);
    if let Some(at) = argument[begin..query].rfind('@')
        && let Some(colon) = argument[begin..begin + at].find(':')
    {
        found.push(begin + colon + 1..begin + at);
    }
    let mut at = query + 1;
    for pair in argument.get(at..).unwrap_or_default().split('&') {
        let value = pair.find('=').map_or(0, |equals| equals + 1);
        // Without a name it is the rest of a secret that has an `&`.
        let secret = value == 0 || is_secret(&pair[..value - 1]);
        if secret && !pair[value..].starts_with("file:") && !pair[value..].starts_with("env:") {
            found.push(at + value..at + pair.len());
        }
        at += pair.len() + 1;
    }
    found.retain(|span| !span.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_an_argument() {
        let find = |s: &str| spans(s).into_iter().map(|span| s[span].to_string()).collect::<Vec<_>>();
        assert_eq!(find("mysql://u:p%40w@h:3306/?a=b@c"), ["p%40w"]);
        assert_eq!(find("--source=mysql://u:secret@h/"), ["secret"]);
        let kafka = "kafka://b:9092?sasl.username=u&sasl.password=s1&ssl.key.password=s2&linger.ms=5&x&ssl.key.pem=s3";
        assert_eq!(find(kafka), ["s1", "s2", "x", "s3"]);
        for none in [
            "mysql://u@h:3306/",
            "tail",
            "a?b&c=d",
            "kafka://b,c:1?",
            "kafka://b?sasl.password=file:/p&ssl.key.pem=env:K",
        ] {
            assert!(find(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_message_that_quotes_arguments_shows_no_secret() {
        let arguments = ["tail", "mysql://u:s1@h/", "--to=kafka://b?sasl.password=s2"].map(str::to_owned);
        let said = hide("'mysql://u:s1@h/' and --to=kafka://b?sasl.password=s2: no", &arguments);
        assert_eq!(said, "'mysql://u:xxx@h/' and --to=kafka://b?sasl.password=xxx: no");
    }
}
