//! A source as a person names it: a URL, a password from somewhere, an identity on the server.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use mysql_wire::url::ServerUrl;
use mysql_wire::{ConnectOptions, Secret};
use watch::blocking::Endpoint;

use crate::exit::{CommandResult, Exit, unreadable};
use pipeline::io::{Cause, Failure, FailureKind};

/// A MySQL or MariaDB server to read from.
#[derive(Clone, Debug)]
pub struct Source {
    pub url: ServerUrl,
    pub options: Arc<ConnectOptions>,
}

/// Environment variable with the password of sources whose URL has none.
pub const PASSWORD_VARIABLE: &str = "BINLAKE_PASSWORD";

impl Source {
    /// Reads a URL, the files it names and the password: the one given, or that of the URL, of the environment, or of a
    /// prompt on a terminal, in this order.
    ///
    /// # Errors
    /// A URL that cannot be read, a file that is not there.
    pub fn new(text: &str, password: Option<Secret>) -> CommandResult<Source> {
        Source::with(text, password, ask)
    }

    /// As [`Source::new`], but nobody is asked for a password: where none is found, the source has an empty one. For
    /// looking at what was written, not for connecting.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn unasked(text: &str, password: Option<Secret>) -> CommandResult<Source> {
        Source::with(text, password, |_| Ok(Secret::default()))
    }

    fn with(
        text: &str,
        password: Option<Secret>,
        ask: impl Fn(&ServerUrl) -> CommandResult<Secret>,
    ) -> CommandResult<Source> {
        let mut url = ServerUrl::parse(text).map_err(|e| {
            Exit::usage(format!("the source's address cannot be read: {e}")).hint(
                "write mysql://user@host:3306/?ssl-mode=required; percent-encode special characters in the password",
            )
        })?;
        if url.user.is_empty() {
            return Err(Exit::usage("the source's address names no user").hint("write mysql://user@host:3306/"));
        }
        let password = match (password, url.password.take()) {
            (Some(password), _) | (None, Some(password)) => password,
            (None, None) => std::env::var(PASSWORD_VARIABLE).map_or_else(|_| ask(&url), |p| Ok(Secret::new(p)))?,
        };
        url.password = Some(password);
        if let Some(database) = &url.database {
            return Err(Exit::usage(format!(
                "the source's address names the database {database:?}, which chooses nothing"
            ))
            .hint(format!("end the address with a slash, and choose tables with --tables '{database}.*'")));
        }
        let options =
            url.options_with(|path: &Path| std::fs::read(path).map_err(|e| unreadable("the file", path, &e)))?;
        options.tls.check().map_err(|e| {
            let files = [("ssl-ca", &url.ssl_ca), ("ssl-cert", &url.ssl_cert), ("ssl-key", &url.ssl_key)];
            let named = files.iter().filter_map(|(name, path)| Some(format!("{name}={}", path.as_ref()?.display())));
            Exit::usage(format!("the source's address: {e} ({})", named.collect::<Vec<_>>().join(", ")))
        })?;
        Ok(Source { url, options: Arc::new(options) })
    }

    /// `host:port`, or the host alone on the usual port.
    #[must_use]
    pub fn address(&self) -> String {
        if self.url.port == 3306 { self.url.host.clone() } else { format!("{}:{}", self.url.host, self.url.port) }
    }

    /// Host and port of the URL.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { host: self.url.host.clone(), port: self.url.port }
    }

    /// Name of the source when nobody gives one: unique and stable per server address, fit for paths.
    #[must_use]
    pub fn default_name(&self) -> String {
        let mut name: String = format!("{}-{}", self.url.host, self.url.port)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '_' })
            .collect();
        name.make_ascii_lowercase();
        name
    }
}

/// On a terminal by a prompt; elsewhere nobody is there to ask, and an account may do without.
fn ask(url: &ServerUrl) -> CommandResult<Secret> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return prompt(&format!("password of {} at {}: ", url.user, url.host));
    }
    Ok(Secret::default())
}

/// Asks on the terminal, with echo off.
fn prompt(text: &str) -> CommandResult<Secret> {
    let failed = |e: std::io::Error| Exit::new(1, format!("the terminal cannot be read: {e}"));
    let echo = |on: bool| std::process::Command::new("stty").arg(if on { "echo" } else { "-echo" }).status();
    eprint!("{text}");
    std::io::stderr().flush().map_err(failed)?;
    let _ = echo(false);
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    let _ = echo(true);
    eprintln!();
    read.map_err(failed)?;
    Ok(Secret::new(line.trim_end_matches(['\n', '\r'])))
}

/// How a reader appears to the server. A second reader with the same uuid (MySQL) or server id (MariaDB) ends the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub server_id: u32,
    pub uuid: String,
}

impl Identity {
    /// Random per process: a person looking can never end a production reader.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn random() -> Result<Identity, Failure> {
        let bits = watch::blocking::entropy()
            .map_err(|e| Failure::new(FailureKind::Permanent, Cause::Internal, e.to_string()))?;
        Ok(Identity::from_bits(bits))
    }

    /// The same for every process that reads this source for the same data folder or cluster.
    #[must_use]
    pub fn stable(scope: &str, source: &str) -> Identity {
        let half = |salt: &str| proto::header::source_id(&format!("{salt}/{scope}/{source}")).to_le_bytes();
        let mut bits = [0; 32];
        bits[..8].copy_from_slice(&half("a"));
        bits[8..16].copy_from_slice(&half("b"));
        Identity::from_bits(bits)
    }

    fn from_bits(b: [u8; 32]) -> Identity {
        // High ids are the least likely to be taken by configured replicas.
        let server_id = u32::from_le_bytes([b[12], b[13], b[14], b[15]]) | 0x8000_0000;
        let hex: String = b[..16].iter().map(|x| format!("{x:02x}")).collect();
        let uuid = format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32]);
        Identity { server_id, uuid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reference;
    use crate::secrets;

    #[test]
    fn stable_identity_is_stable_and_distinct() {
        let a = Identity::stable("scope", "s1");
        assert_eq!(a, Identity::stable("scope", "s1"));
        assert_ne!(a, Identity::stable("scope", "s2"));
        assert_ne!(Identity::random().unwrap(), Identity::random().unwrap());
        assert_eq!(a.uuid.len(), 36);
        assert!(a.server_id >= 0x8000_0000);
    }

    #[test]
    fn a_password_that_is_pointed_to_goes_before_that_of_the_url() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "of-the-file\n").unwrap();
        let reference = Reference::File(file.path().to_path_buf());
        for (url, reference, password) in [
            ("mysql://u:of-the-url@h/", Some(&reference), "of-the-file"),
            ("mysql://u@h/", Some(&reference), "of-the-file"),
            ("mysql://u:of-the-url@h/", None, "of-the-url"),
        ] {
            let given = reference.map(|r| secrets::resolve(r).unwrap());
            assert_eq!(Source::unasked(url, given).unwrap().options.password.expose(), password);
        }
    }

    #[test]
    fn a_url_without_user_says_so() {
        assert_eq!(Source::new("mysql://h/", None).unwrap_err().code, 2);
        assert_eq!(Source::new("postgres://u@h/", None).unwrap_err().code, 2);
        assert_eq!(Source::new("mysql://u:p@h/?ssl-ca=/no/such/file", None).unwrap_err().code, 3);
    }
}
