//! `binlake check`: is a server fit to be read, before anybody depends on it?
//!
//! Asks the server by SQL and by a look at its oldest logs, and gives a [`Finding`] per check, worst first. It changes
//! nothing: what has to be set is shown, never done. A check that the account may not see says so instead of passing
//! silently. Only what stops the checks themselves (host, login, TLS, a broken connection) ends the command otherwise
//! than by findings.

mod finding;
mod identity;
mod limits;
mod log;
mod retention;
mod rights;
mod tables;

use std::collections::BTreeMap;
use std::io::Write;

use mysql_wire::Flavor;
use pipeline::io::{Cause, Failure};
use pipeline::rule::TablePatterns;

use crate::config::Reference;
use crate::exit::{CommandResult, Exit, printable};
use crate::position::From;
use crate::secrets;
use crate::source::Source;
use crate::sql::Sql;

pub use finding::{Finding, Severity};
use finding::{Findings, render};

/// Options of `check`, as the command line gives them.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    pub source: Option<String>,
    pub password: Option<Reference>,
    /// Patterns as of `tail --tables`; the tables that the checks are about.
    pub tables: String,
    /// Where reading shall start: is it still there?
    pub from: Option<String>,
    /// Print the findings as a JSON array.
    pub json: bool,
}

/// What a server said of itself before the checks.
#[derive(Debug)]
struct Server {
    address: String,
    flavor: Flavor,
    version: String,
    /// Global variables, names in lower case. The server cuts values at 1024 bytes: ask for long ones by name.
    variables: BTreeMap<String, String>,
}

impl Server {
    fn read(source: &Source, sql: &mut Sql) -> Result<Server, Failure> {
        let variables = sql.query("SHOW GLOBAL VARIABLES")?.named();
        Ok(Server { address: source.address(), flavor: sql.flavor(), version: sql.version(), variables })
    }

    /// None when this version has no such variable.
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.variable(name)?.parse().ok()
    }

    fn is_on(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|v| v.eq_ignore_ascii_case("ON") || v == "1")
    }

    fn is_mariadb(&self) -> bool {
        self.flavor == Flavor::MariaDb
    }

    /// `(major, minor, patch)`; what cannot be read counts as 0.
    fn version_numbers(&self) -> (u32, u32, u32) {
        let mut parts = self.version.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        (next(), next(), next())
    }

    /// The statement that sets a variable so that it outlives a restart, or says what else to do for that.
    fn set(&self, name: &str, value: &str) -> String {
        // Came with SET PERSIST, MySQL 8.0.
        if self.variable("persisted_globals_load").is_some() {
            return format!("SET PERSIST {name} = {value};");
        }
        format!("SET GLOBAL {name} = {value}; -- and {name}={} under [mysqld]", value.trim_matches('\''))
    }

    fn name(&self) -> String {
        let family = if self.is_mariadb() { "MariaDB" } else { "MySQL" };
        format!("{}, {family} {}", self.address, self.version)
    }
}

/// Checks a server and prints what was found to standard output.
///
/// # Errors
/// Code 7 when a finding is fatal; 2, 3, 4, 6 when the checks cannot be made (options, files, login, host).
pub fn run(options: &CheckOptions) -> CommandResult {
    let checked = inspect(options);
    let findings = match &checked {
        Ok((_, findings)) => findings.clone(),
        // A program that reads the array is told the reason in it as well.
        Err(exit) if matches!(exit.code, 4 | 6 | 7) => vec![Finding::unreachable(exit)],
        Err(_) => Vec::new(),
    };
    if options.json {
        let array = serde_json::to_string_pretty(&findings).map_err(|e| Exit::new(1, e.to_string()))?;
        print(&format!("{array}\n"))?;
    } else if let Ok((name, findings)) = &checked {
        print(&printable(&render(name, findings)))?;
    }
    let (name, findings) = checked?;
    let fatal = findings.iter().filter(|f| f.severity == Severity::Fatal).count();
    if fatal > 0 {
        let checks = if fatal == 1 { "1 check is" } else { &format!("{fatal} checks are") };
        return Err(Exit::new(7, format!("{name}: {checks} fatal")));
    }
    Ok(())
}

/// Checks a server: its name with version, and the findings, worst first.
///
/// # Errors
/// When the checks cannot be made: usage, files, host, login, TLS.
pub fn inspect(options: &CheckOptions) -> CommandResult<(String, Vec<Finding>)> {
    let Some(url) = &options.source else {
        return Err(Exit::usage("nothing to check: give --source mysql://user@host:3306/"));
    };
    let patterns = TablePatterns::parse(&options.tables).map_err(|e| Exit::usage(format!("--tables {e}")))?;
    let from = options.from.as_deref().map(|f| From::parse("--from", f)).transpose()?;
    let source = Source::new(url, options.password.as_ref().map(secrets::resolve).transpose()?)?;
    let mut sql = Sql::connect(&source)?;
    let server = Server::read(&source, &mut sql)?;
    let mut findings = Findings::default();
    log::reach(&source, &server, &mut sql, &mut findings);
    let rights = rights::check(&server, &mut sql, &mut findings);
    if log::check(&server, &mut sql, &mut findings) {
        retention::check(&source, &server, &mut sql, from.as_ref(), &mut findings)?;
    }
    identity::check(&source, &server, &mut sql, &mut findings);
    tables::check(&server, &mut sql, &patterns, &rights, &mut findings)?;
    limits::check(&server, &mut sql, &mut findings)?;
    Ok((server.name(), findings.sorted()))
}

/// Whether a question failed for a reason that ends the checks, not one that only hides the answer.
fn is_broken(failure: &Failure) -> bool {
    failure.cause == Cause::Unavailable
}

fn print(text: &str) -> CommandResult {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Exit::new(1, format!("standard output cannot be written: {e}")))
        }
        _ => Ok(()),
    }
}
