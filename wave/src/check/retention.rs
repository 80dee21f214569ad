//! Is the wanted start still in the log, and how long do logs stay?

use std::time::{SystemTime, UNIX_EPOCH};

use binlog::event::{Event, StreamState};
use binlog::gtid::{GtidSet, MariaDbGtidPos, MySqlGtidSet};
use binlog::position::FilePos;
use pipeline::io::{Cause, Failure, FailureKind};

use super::finding::Findings;
use super::{Server, is_broken};
use crate::exit::CommandResult;
use crate::position::From;
use crate::questions::written_before;
use crate::source::Source;
use crate::sql::{LogFile, Sql};

/// Logs kept shorter than this do not outlive a weekend without a reader.
const MIN_KEPT_SECONDS: u64 = 3 * 24 * 3600;
/// The rate comes from so many of the latest files: traffic of months ago tells little.
const RATE_FILES: usize = 24;
const LOST: &str = "what was written between the wanted start and the oldest log can be read no more: take a new \
                    snapshot and start from now, or choose earliest";

/// What the beginning of a log file tells.
#[derive(Debug, Default)]
struct Beginning {
    /// Seconds since the Unix epoch; 0 when it tells none.
    begun: u64,
    /// MariaDB: the last transactions before this file.
    before: Option<MariaDbGtidPos>,
}

pub(super) fn check(
    source: &Source,
    server: &Server,
    sql: &mut Sql,
    from: Option<&From>,
    findings: &mut Findings,
) -> CommandResult {
    let files = match sql.log_files() {
        Ok(files) => files,
        Err(e) if is_broken(&e) => return Err(e.into()),
        Err(e) => {
            let why = "how long logs are kept, and whether a start is still there, cannot be told";
            findings.warning("retention", e.message, "the list of logs", why);
            return Ok(());
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let mut wanted = None;
    let lost = match from {
        None | Some(From::Now) => None,
        Some(From::Earliest) => {
            wanted = Some(0);
            Some(Ok(None))
        }
        Some(From::File(pos)) => {
            wanted = files.iter().position(|f| f.name == pos.file);
            Some(Ok(file_start(&files, pos)))
        }
        Some(From::Gtid(set)) => Some(gtid_start(source, server, sql, &files, set)),
        Some(From::Time(us)) => Some(written_before(source, &files, *us)),
    };
    match lost {
        None => {}
        Some(Ok(None)) => {
            findings.ok("start_position", format!("still in the log, whose oldest file is {}", files[0].name));
        }
        Some(Ok(Some(found))) => {
            findings.fatal("start_position", found, "a start that the log still holds", LOST);
        }
        Some(Err(e)) if is_broken(&e) => return Err(e.into()),
        // A right that is missing is a finding of its own.
        Some(Err(e)) => {
            let why = "whether the start is still in the log cannot be told";
            findings.warning("start_position", e.message, "a look into the oldest log", why);
        }
    }
    headroom(source, server, &files, wanted, now, findings)
}

/// None: logs are never purged by age.
fn kept_seconds(server: &Server) -> Option<u64> {
    if server.variable("binlog_expire_logs_auto_purge").is_some() && !server.is_on("binlog_expire_logs_auto_purge") {
        return None;
    }
    let seconds = server.number("binlog_expire_logs_seconds").filter(|s| *s > 0);
    // MariaDB prints days with fractions.
    let days = || server.variable("expire_logs_days")?.parse::<f64>().ok().filter(|d| *d > 0.0);
    seconds.or_else(|| days().map(|d| (d * 86_400.0) as u64))
}

/// Why a file position is lost; None when it is there.
fn file_start(files: &[LogFile], wanted: &FilePos) -> Option<String> {
    let Some(file) = files.iter().find(|f| f.name == wanted.file) else {
        let (first, last) = (&files[0].name, &files[files.len() - 1].name);
        return Some(format!("there is no {} (any more), but {first} to {last}", wanted.file));
    };
    (wanted.pos > file.size).then(|| format!("{} ends at {}, before {}", wanted.file, file.size, wanted.pos))
}

/// Why an executed set cannot be gone on from.
fn gtid_start(
    source: &Source,
    server: &Server,
    sql: &mut Sql,
    files: &[LogFile],
    wanted: &GtidSet,
) -> Result<Option<String>, Failure> {
    match wanted {
        GtidSet::MySql(wanted) if !server.is_mariadb() => {
            if server.variable("gtid_mode") != Some("ON") {
                let mode = server.variable("gtid_mode").unwrap_or("not known");
                return Ok(Some(format!("gtid_mode is {mode}: the server finds no start by GTID")));
            }
            let mut set_of = |name: &str| -> Result<MySqlGtidSet, Failure> {
                let text = sql.query(&format!("SELECT @@GLOBAL.{name}"))?.text(0, 0).unwrap_or_default();
                text.replace('\n', "").parse().map_err(|e| unreadable(name, &e))
            };
            let mut missing = set_of("gtid_purged")?;
            missing.subtract(wanted);
            if !missing.is_empty() {
                return Ok(Some(format!("purged and not in the wanted set: {missing}")));
            }
            let mut foreign = wanted.clone();
            foreign.subtract(&set_of("gtid_executed")?);
            Ok((!foreign.is_empty()).then(|| format!("this server never had {foreign}")))
        }
        GtidSet::MariaDb(wanted) if server.is_mariadb() => {
            let end = sql.query("SELECT @@GLOBAL.gtid_binlog_pos")?.text(0, 0).unwrap_or_default();
            let end: MariaDbGtidPos = end.parse().map_err(|e| unreadable("gtid_binlog_pos", &e))?;
            let before = beginning(source, &files[0].name)?.before.unwrap_or_default();
            Ok(mariadb_gap(wanted, &before, &end))
        }
        _ => Ok(Some("the set is of the other server family (MySQL has uuid:1-5, MariaDB 0-1-5)".to_string())),
    }
}

fn unreadable(name: &str, error: &binlog::Error) -> Failure {
    Failure::new(FailureKind::Permanent, Cause::Data, format!("{name} of the server: {error}"))
}

/// Per domain, what lies between the wanted position and the oldest log, and what the log's end does not have.
fn mariadb_gap(wanted: &MariaDbGtidPos, before: &MariaDbGtidPos, end: &MariaDbGtidPos) -> Option<String> {
    let gaps: Vec<String> = before
        .iter()
        .filter_map(|(domain, last)| {
            let have = wanted.get(domain).map_or(0, |w| w.sequence);
            (have < last.sequence).then(|| format!("domain {domain} sequences {} to {}", have + 1, last.sequence))
        })
        .collect();
    if !gaps.is_empty() {
        return Some(format!("purged and not in the wanted set: {}", gaps.join(", ")));
    }
    let foreign: Vec<String> = wanted
        .iter()
        .filter(|(domain, want)| !end.contains(*domain, want.sequence))
        .map(|(domain, want)| format!("{domain}-{}-{}", want.server, want.sequence))
        .collect();
    (!foreign.is_empty()).then(|| format!("this server never had {}", foreign.join(", ")))
}

/// How long logs are kept, at which rate they grow, and how long the wanted start will still be there.
fn headroom(
    source: &Source,
    server: &Server,
    files: &[LogFile],
    wanted: Option<usize>,
    now: u64,
    findings: &mut Findings,
) -> CommandResult {
    let kept = kept_seconds(server);
    let since = files.len().saturating_sub(RATE_FILES);
    let begun = match beginning(source, &files[since].name) {
        Ok(beginning) => beginning.begun,
        Err(e) if is_broken(&e) => return Err(e.into()),
        // Without the right to read the log, which is a finding of its own, the rate stays unknown.
        Err(_) => 0,
    };
    let mut found = match kept {
        Some(seconds) => format!("logs are kept {}", hours(seconds)),
        None => "logs are never purged by age".to_string(),
    };
    let recent: u64 = files[since..].iter().map(|f| f.size).sum();
    let span = now.saturating_sub(begun).max(1);
    if begun > 0 {
        let rate = recent as f64 / span as f64;
        found += &format!(
            "; the last {} of {} logs hold {} of {}",
            files.len() - since,
            files.len(),
            hours(span),
            bytes(recent as f64)
        );
        // A minute says nothing of an hour.
        if span >= 60 {
            found += &format!(", {} per hour", bytes(rate * 3600.0));
            if let Some(seconds) = kept {
                found += &format!(", {} when full", bytes(rate * seconds as f64));
            }
        }
    }
    // A file is purged when its end, the beginning of the next one, is older than the limit.
    if let (Some(seconds), Some(index)) = (kept, wanted) {
        let ended = match files.get(index + 1).map(|next| beginning(source, &next.name)) {
            None => Some(now),
            Some(Ok(next)) => Some(next.begun),
            Some(Err(e)) if is_broken(&e) => return Err(e.into()),
            Some(Err(_)) => None,
        };
        if let Some(ended) = ended {
            found += &format!("; the start stays for {}", hours((ended + seconds).saturating_sub(now)));
        }
    }
    match kept {
        Some(seconds) if seconds < MIN_KEPT_SECONDS => {
            let fix = if server.number("binlog_expire_logs_seconds").is_some() {
                server.set("binlog_expire_logs_seconds", "604800")
            } else {
                server.set("expire_logs_days", "7")
            };
            let why = "a reader that stands still for longer loses its place, and rows with it";
            findings.warning("retention", found, "3 days or more", why).fix(fix);
        }
        _ => {
            findings.ok("retention", found);
        }
    }
    Ok(())
}

/// Reads the first events of a log file.
fn beginning(source: &Source, file: &str) -> Result<Beginning, Failure> {
    let mut stream = StreamState::default();
    let mut told = Beginning::default();
    Sql::scan(source, &FilePos { file: file.to_string(), pos: 4 }, |raw| {
        let Ok((header, event)) = stream.parse(raw) else { return false };
        match event {
            Event::Rotate { .. } => true,
            Event::FormatDescription(_) => {
                told.begun = u64::from(header.timestamp);
                true
            }
            Event::MariaGtidList(list) => {
                told.before = Some(list);
                false
            }
            // MariaDB's list of GTIDs comes directly after the description, or after the key of an encrypted log.
            other => matches!(other, Event::StartEncryption { .. }),
        }
    })?;
    Ok(told)
}

fn hours(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=259_199 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn bytes(n: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pos(text: &str) -> MariaDbGtidPos {
        text.parse().unwrap()
    }

    #[test]
    fn a_gap_names_the_missing_sequences() {
        let (before, end) = (pos("0-1-10,7-1-3"), pos("0-1-50,7-1-3"));
        let gap = |wanted: &str| mariadb_gap(&pos(wanted), &before, &end);
        assert_eq!(gap("0-1-10,7-1-3"), None);
        assert_eq!(
            gap("0-1-4"),
            Some("purged and not in the wanted set: domain 0 sequences 5 to 10, domain 7 sequences 1 to 3".into())
        );
        assert_eq!(gap("0-1-60,7-1-3"), Some("this server never had 0-1-60".into()));
    }

    #[test]
    fn sizes_and_times_are_readable() {
        assert_eq!((bytes(512.0), bytes(1536.0), bytes(3.5e12)), ("512 B".into(), "1.5 KiB".into(), "3.2 TiB".into()));
        assert_eq!(
            (hours(90), hours(600), hours(90_000), hours(2_592_000)),
            ("90 s".into(), "10 min".into(), "25 h".into(), "30 days".into())
        );
    }
}
