//! Checks of the clock, packets and connections.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::finding::Findings;
use super::{Server, is_broken};
use crate::exit::CommandResult;
use crate::position::parse_time;
use crate::sql::Sql;

/// Clocks further apart make lags and start times misleading.
const MAX_SKEW_US: u64 = 2_000_000;
/// A few for BinLake (one stream and its questions per source) and for a person to look what is wrong.
const MIN_CONNECTIONS: u64 = 10;

pub(super) fn check(server: &Server, sql: &mut Sql, findings: &mut Findings) -> CommandResult {
    clock(sql, findings)?;
    let packet = server.number("max_allowed_packet").unwrap_or(u64::MAX);
    let event = server.number("binlog_row_event_max_size").unwrap_or(8192);
    if packet <= event {
        let wanted = format!("more than binlog_row_event_max_size ({event})");
        let why = "the server cannot send events that it may write";
        findings
            .warning("max_allowed_packet", packet.to_string(), &wanted, why)
            .fix(server.set("max_allowed_packet", "67108864"));
    } else {
        findings.ok("max_allowed_packet", format!("{packet} bytes, the largest value a row can have"));
    }
    connections(server, sql, findings);
    Ok(())
}

fn clock(sql: &mut Sql, findings: &mut Findings) -> CommandResult {
    let asked = Instant::now();
    let local = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let answer = match sql.query("SELECT UTC_TIMESTAMP(6)") {
        Err(e) if is_broken(&e) => return Err(e.into()),
        // MySQL 5.5 knows no fractions.
        Err(_) => sql.query("SELECT UTC_TIMESTAMP()")?,
        Ok(answer) => answer,
    };
    let took = asked.elapsed();
    let time = answer.text(0, 0).map(|t| format!("{}Z", t.replace(' ', "T"))).unwrap_or_default();
    match parse_time(&time) {
        Ok(server) => skew(server, local, took, findings),
        Err(why) => {
            findings.warning("clock_skew", time, "the server's time", why);
        }
    }
    Ok(())
}

/// Compares microseconds since the epoch as the server says with the time here before asking. The answer may have been
/// made at any moment of the round trip: what that can explain does not count.
fn skew(server_us: u64, local: Duration, round_trip: Duration, findings: &mut Findings) {
    let before = u64::try_from(local.as_micros()).unwrap_or(u64::MAX);
    let after = before.saturating_add(u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX));
    let off = before.saturating_sub(server_us).max(server_us.saturating_sub(after));
    let seconds = off as f64 / 1e6;
    if off <= MAX_SKEW_US {
        findings.ok("clock_skew", format!("{seconds:.1} s"));
        return;
    }
    let side = if server_us < before { "behind" } else { "ahead of" };
    let why = "lags and start times (--from time:) are wrong by as much; synchronise both clocks (NTP)";
    findings.warning(
        "clock_skew",
        format!("the server's clock is {seconds:.1} s {side} this machine's"),
        "below 2 s",
        why,
    );
}

fn connections(server: &Server, sql: &mut Sql, findings: &mut Findings) {
    let Some(most) = server.number("max_connections") else { return };
    let status = sql.query("SHOW GLOBAL STATUS LIKE 'Threads_connected'").ok();
    let Some(used) = status.and_then(|r| r.text(0, 1)?.parse::<u64>().ok()) else { return };
    let left = most.saturating_sub(used);
    let found = format!("{left} of {most} left");
    if left < MIN_CONNECTIONS {
        let why = "BinLake needs one connection for the stream and some for questions; without them it waits";
        let fix = server.set("max_connections", &(most + 50).to_string());
        findings.warning("connections", found, "10 or more left", why).fix(fix);
    } else {
        findings.ok("connections", found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;

    #[test]
    fn skew_counts_beyond_the_round_trip() {
        let found = |server_us: u64| {
            let mut findings = Findings::default();
            skew(server_us, Duration::from_secs(100), Duration::from_secs(1), &mut findings);
            let finding = findings.sorted().remove(0);
            (finding.severity, finding.found)
        };
        assert_eq!(found(100_500_000), (Severity::Ok, "0.0 s".into()));
        assert_eq!(found(103_000_000), (Severity::Ok, "2.0 s".into()));
        assert_eq!(found(98_000_000), (Severity::Ok, "2.0 s".into()));
        let behind = (Severity::Warning, "the server's clock is 2.5 s behind this machine's".into());
        assert_eq!(found(97_500_000), behind);
        let ahead = (Severity::Warning, "the server's clock is 9.0 s ahead of this machine's".into());
        assert_eq!(found(110_000_000), ahead);
    }
}
