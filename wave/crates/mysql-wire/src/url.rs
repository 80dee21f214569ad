//! Addresses of servers: `mysql://user:password@host:port/database?ssl-mode=verify_ca&ssl-ca=ca.pem`.
//!
//! User, password and database are percent-decoded. A parameter that is not known is an error that names the nearest known
//! one. Files stay paths: reading them is the caller's work. `Display` and `Debug` never show the password.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::options::{ConnectOptions, Limits, Secret, SslMode, TlsOptions};

const DEFAULT_PORT: u16 = 3306;
const SCHEMES: [&str; 2] = ["mysql", "mariadb"];
const PARAMETERS: [&str; 6] =
    ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "server-public-key", "allow-cleartext-auth"];
/// What stays as it is when a user or database is printed.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
    /// Empty when the address has none.
    pub user: String,
    /// `None` when the address has none; an empty one is `Some`.
    pub password: Option<Secret>,
    pub database: Option<String>,
    pub ssl_mode: SslMode,
    pub ssl_ca: Option<PathBuf>,
    pub ssl_cert: Option<PathBuf>,
    pub ssl_key: Option<PathBuf>,
    /// The server's RSA public key, for logins without TLS.
    pub server_public_key: Option<PathBuf>,
    pub allow_cleartext_auth: bool,
}

/// Why a text is no address. Never quotes the text, since it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("an address begins with mysql://")]
    Scheme,
    #[error("the address names no host")]
    NoHost,
    #[error("the port is not a number from 1 to 65535")]
    Port,
    #[error("a percent sign is not followed by two hexadecimal digits, or the text is not UTF-8, in the {0}")]
    Encoding(&'static str),
    #[error("{name:?} is no parameter of an address; did you mean {nearest:?}?")]
    UnknownParameter { name: String, nearest: &'static str },
    #[error("the parameter {0:?} is given twice")]
    Repeated(&'static str),
    #[error("the parameter {name:?} must be one of: {allowed}")]
    Value { name: &'static str, allowed: &'static str },
    #[error("the address has a fragment; write # as %23")]
    Fragment,
    #[error("the parameters have an @; write a ? in the password as %3F, and an @ in a parameter as %40")]
    AtInParameters,
}

impl ServerUrl {
    /// Parses an address.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(UrlError::Scheme)?;
        if !SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(UrlError::Scheme);
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // an unencoded ? in the password makes its rest look like parameters, whose names errors quote
        if query.contains('@') {
            return Err(UrlError::AtInParameters);
        }
        // an unencoded @ or / may be in the password: the host follows the last @, the database the first / after that
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password) =
            match login.map(|login| login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)))) {
                Some((user, password)) => (decode(user, "user")?, password.map(|p| decode(p, "password")).transpose()?),
                None => (String::new(), None),
            };
        let (host, port) = split_host(authority)?;
        let database = decode(database.trim_end_matches('/'), "database")?;
        let mut url = Self {
            host,
            port,
            user,
            password: password.map(Secret::new),
            database: (!database.is_empty()).then_some(database),
            ssl_mode: SslMode::default(),
            ssl_ca: None,
            ssl_cert: None,
            ssl_key: None,
            server_public_key: None,
            allow_cleartext_auth: false,
        };
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = parameter(&decode(name, "parameters")?)?;
            if seen.contains(&name) {
                return Err(UrlError::Repeated(name));
            }
            seen.push(name);
            url.set(name, &decode(value, "parameters")?)?;
        }
        Ok(url)
    }

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), UrlError> {
        let path = || Some(PathBuf::from(value)).filter(|path| !path.as_os_str().is_empty());
        let file = || path().ok_or(UrlError::Value { name, allowed: "the path of a PEM file" });
        match name {
            "ssl-mode" => {
                const ALLOWED: &str = "disabled, preferred, required, verify_ca, verify_identity";
                self.ssl_mode = SslMode::parse(value).ok_or(UrlError::Value { name, allowed: ALLOWED })?;
            }
            "ssl-ca" => self.ssl_ca = Some(file()?),
            "ssl-cert" => self.ssl_cert = Some(file()?),
            "ssl-key" => self.ssl_key = Some(file()?),
            "server-public-key" => self.server_public_key = Some(file()?),
            _ => {
                self.allow_cleartext_auth = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(UrlError::Value { name, allowed: "true, false" }),
                }
            }
        }
        Ok(())
    }

    /// Options without the contents of the files; see [`Self::options_with`].
    pub fn options(&self) -> ConnectOptions {
        ConnectOptions {
            user: self.user.clone(),
            password: self.password.clone().unwrap_or_default(),
            host: self.host.clone(),
            database: self.database.clone(),
            tls: TlsOptions { mode: self.ssl_mode, ..TlsOptions::default() },
            allow_cleartext_auth: self.allow_cleartext_auth,
            server_public_key: None,
            limits: Limits::default(),
        }
    }

    /// [`Self::options`] with every file's content, which `read` gives.
    pub fn options_with<E>(
        &self,
        mut read: impl FnMut(&std::path::Path) -> Result<Vec<u8>, E>,
    ) -> Result<ConnectOptions, E> {
        let mut options = self.options();
        let mut load = |path: &Option<PathBuf>| path.as_deref().map(&mut read).transpose();
        options.tls.ca = load(&self.ssl_ca)?;
        options.tls.client_cert = load(&self.ssl_cert)?;
        options.tls.client_key = load(&self.ssl_key)?;
        options.server_public_key = load(&self.server_public_key)?;
        Ok(options)
    }
}

impl std::str::FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for ServerUrl {
    /// The address without parameters, with `***` for the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mysql://")?;
        if !self.user.is_empty() || self.password.is_some() {
            write!(f, "{}", utf8_percent_encode(&self.user, PLAIN))?;
            f.write_str(if self.password.is_some() { ":***@" } else { "@" })?;
        }
        if self.host.contains(':') { write!(f, "[{}]", self.host) } else { f.write_str(&self.host) }?;
        write!(f, ":{}/", self.port)?;
        write!(f, "{}", utf8_percent_encode(self.database.as_deref().unwrap_or_default(), PLAIN))
    }
}

fn split_host(authority: &str) -> Result<(String, u16), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(UrlError::NoHost)?;
            match (port, port.strip_prefix(':')) {
                ("", _) => (host, None),
                (_, Some(port)) => (host, Some(port)),
                _ => return Err(UrlError::Port),
            }
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let host = decode(host, "host")?;
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let port = match port {
        None | Some("") => DEFAULT_PORT,
        Some(port) => port.parse().ok().filter(|&port| port != 0).ok_or(UrlError::Port)?,
    };
    Ok((host, port))
}

fn decode(text: &str, part: &'static str) -> Result<String, UrlError> {
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' && !(0..2).all(|_| rest.next().is_some_and(|digit| digit.is_ascii_hexdigit())) {
            return Err(UrlError::Encoding(part));
        }
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| UrlError::Encoding(part))?;
    Ok(decoded.into_owned())
}

fn parameter(name: &str) -> Result<&'static str, UrlError> {
    let wanted = name.to_ascii_lowercase().replace('_', "-");
    if let Some(known) = PARAMETERS.into_iter().find(|known| *known == wanted) {
        return Ok(known);
    }
    let nearest = PARAMETERS.into_iter().min_by_key(|known| distance(known, &wanted)).unwrap_or("ssl-mode");
    Err(UrlError::UnknownParameter { name: name.chars().take(40).collect(), nearest })
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let cost = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_address() {
        let url = ServerUrl::parse(
            "mysql://re%40pl:p%3Aw%2f@db.example:3307/shop?ssl-mode=VERIFY_CA&ssl-ca=%2Fetc%2Fca.pem&ssl_cert=c&ssl-key=k",
        )
        .unwrap();
        assert_eq!((url.host.as_str(), url.port, url.user.as_str()), ("db.example", 3307, "re@pl"));
        assert_eq!(url.password.as_ref().unwrap().expose(), "p:w/");
        assert_eq!((url.database.as_deref(), url.ssl_mode), (Some("shop"), SslMode::VerifyCa));
        assert_eq!(url.ssl_ca.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
        assert_eq!(url.to_string(), "mysql://re%40pl:***@db.example:3307/shop");
        assert!(!format!("{url:?}").contains("p:w"));
        let options = url.options_with(|path| Ok::<_, ()>(path.as_os_str().len().to_string().into_bytes())).unwrap();
        assert_eq!((options.tls.ca, options.tls.client_key), (Some(b"11".to_vec()), Some(b"1".to_vec())));
        assert_eq!(options.host, "db.example");
    }

    #[test]
    fn short_addresses() {
        let url = ServerUrl::parse("mysql://localhost").unwrap();
        assert_eq!((url.port, url.user.as_str(), url.password.clone(), url.database.clone()), (3306, "", None, None));
        assert_eq!(url.ssl_mode, SslMode::Preferred);
        assert_eq!(ServerUrl::parse("mariadb://u@[::1]:33/").unwrap().to_string(), "mysql://u@[::1]:33/");
        assert_eq!(ServerUrl::parse("mysql://u:a@b/c@h/").unwrap().password.unwrap().expose(), "a@b/c");
        assert_eq!(ServerUrl::parse("mysql://u:@h/").unwrap().password, Some(Secret::default()));
    }

    #[test]
    fn errors_say_what_and_nothing_secret() {
        let error = |text: &str| ServerUrl::parse(text).unwrap_err();
        assert_eq!(error("postgres://x"), UrlError::Scheme);
        assert_eq!(error("mysql://u:p@/x"), UrlError::NoHost);
        assert_eq!(error("mysql://h:0/"), UrlError::Port);
        assert_eq!(error("mysql://h:99999/"), UrlError::Port);
        assert_eq!(error("mysql://u:%2@h"), UrlError::Encoding("password"));
        assert_eq!(error("mysql://u:%zz@h"), UrlError::Encoding("password"));
        assert_eq!(
            error("mysql://h/?sslmode=required").to_string(),
            "\"sslmode\" is no parameter of an address; did you mean \"ssl-mode\"?"
        );
        assert_eq!(error("mysql://h/?ssl-mode=required&ssl_mode=disabled"), UrlError::Repeated("ssl-mode"));
        assert!(error("mysql://h/?ssl-mode=on").to_string().contains("verify_identity"));
        assert!(!error("mysql://u:hunter2#@h").to_string().contains("hunter2"));
        // found by fuzzing: what follows an unencoded ? was quoted as the name of a parameter
        for address in ["mysql://u:1?hunter2@h/d", "mysql://u:p@1?hunter2@h", "mysql://u:1?hunter2&x@h"] {
            assert_eq!(error(address), UrlError::AtInParameters);
        }
        assert_eq!(ServerUrl::parse("mysql://h?ssl-ca=a%40b").unwrap().ssl_ca, Some("a@b".into()));
    }
}
