//! Time from a commit to the arrival of its row at a consumer.
//!
//! Writers commit one row each at fixed times; when one falls behind it goes on with the next row at once, and the rate
//! that was reached is printed. A commit's time is when COMMIT returned to the writer, an arrival's when this program's own
//! consumer had the record: both from one clock. The consumer's fetch is within, so the figures are an upper bound of the
//! time to the acknowledgement of the row by the topic. A row that arrives before its COMMIT returned (the server sends a
//! transaction to replicas before it answers) counts as 0.
//!
//! Rows are recognised by a marker of 24 characters that is text in every format.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use publish::{Reader, Start};
use telemetry::LogLinear;

use crate::args::{Args, Wrong};
use crate::server::Server;
use crate::topic;

/// Enough for 2,000 transactions per second when one takes up to 4 ms.
const WRITERS: u64 = 8;
/// Rows before the measured ones, in seconds of the rate: connections, caches and the reader's schema are then warm.
const WARM_UP_SECONDS: u64 = 2;
/// How long the last rows may take to arrive.
const DRAIN: Duration = Duration::from_secs(20);
const PREFIX: &[u8] = b"lat:";

/// When each row was committed and when it arrived, nanoseconds since the start; 0: not yet.
struct Times {
    run: u32,
    committed: Vec<AtomicU64>,
    arrived: Vec<AtomicU64>,
    count_arrived: AtomicU64,
}

pub(crate) fn run(mut args: Args, stop: &AtomicBool) -> anyhow::Result<()> {
    let server = Server::new(&args.needed::<String>("source")?)?;
    let rate: u64 = args.needed("rate")?;
    let seconds: u64 = args.needed("seconds")?;
    let place: String = args.needed("consume")?;
    args.end()?;
    if !(1..=100_000).contains(&rate) || !(1..=3600).contains(&seconds) {
        return Err(Wrong("--rate is 1 to 100000, --seconds 1 to 3600".to_owned()).into());
    }
    let warm_up = rate * WARM_UP_SECONDS;
    let rows = warm_up + rate * seconds;
    let times = Times {
        // Markers of an earlier run in the same topic are not ours.
        run: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos() ^ d.as_secs() as u32),
        committed: (0..rows).map(|_| AtomicU64::new(0)).collect(),
        arrived: (0..rows).map(|_| AtomicU64::new(0)).collect(),
        count_arrived: AtomicU64::new(0),
    };
    let mut connection = server.connect()?;
    connection.run_all(&[
        "CREATE DATABASE IF NOT EXISTS bench",
        "DROP TABLE IF EXISTS bench.latency",
        "CREATE TABLE bench.latency (id BIGINT NOT NULL PRIMARY KEY, marker CHAR(24) NOT NULL, k INT NOT NULL, c CHAR(120) NOT NULL)",
        // The topic may be made at its first record.
        "INSERT INTO bench.latency VALUES (-1, 'first', 0, 'first')",
    ])?;
    let reader = topic::open_when_there(&place, Start::Latest, Duration::from_secs(30))?;
    let start = Instant::now();
    let finished = AtomicBool::new(false);
    let wrote = std::thread::scope(|scope| -> anyhow::Result<Duration> {
        let consumer = scope.spawn(|| consume(reader, &times, start, &finished));
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                scope.spawn({
                    let (server, times) = (&server, &times);
                    move || write(server, n, rate, rows, times, start, stop)
                })
            })
            .collect();
        let written = writers.into_iter().try_for_each(|w| w.join().ok().context("a writer panicked")?);
        let wrote = start.elapsed();
        let end = Instant::now() + DRAIN;
        while written.is_ok() && times.count_arrived.load(Relaxed) < rows && Instant::now() < end && !stop.load(Relaxed)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        finished.store(true, Relaxed);
        consumer.join().ok().context("the consumer panicked")??;
        written.map(|()| wrote)
    })?;
    report(&times, rate, wrote, usize::try_from(warm_up)?)
}

fn write(
    server: &Server,
    writer: u64,
    rate: u64,
    rows: u64,
    times: &Times,
    start: Instant,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut connection = server.connect()?;
    let filler = "0123456789-".repeat(10);
    for id in (writer..rows).step_by(WRITERS as usize) {
        if stop.load(Relaxed) {
            bail!("stopped before the end");
        }
        let due = Duration::from_nanos(id * 1_000_000_000 / rate);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let marker = format!("lat:{:08x}:{id:08x}", times.run);
        connection.run(&format!("INSERT INTO bench.latency VALUES ({id},'{marker}',{},'{filler}')", id % 1000))?;
        times.committed[usize::try_from(id)?].store(nanos(start), Relaxed);
    }
    Ok(())
}

fn consume(
    mut reader: Box<dyn Reader + Send>,
    times: &Times,
    start: Instant,
    finished: &AtomicBool,
) -> anyhow::Result<()> {
    let finder = memchr::memmem::Finder::new(PREFIX);
    while !finished.load(Relaxed) {
        let Some(record) = reader.next(Duration::from_millis(100)).context("reading the topic")? else { continue };
        let now = nanos(start);
        for at in finder.find_iter(&record.value) {
            let row = marker(&record.value[at..], times.run).and_then(|id| times.arrived.get(id));
            // A row that is sent again arrived at its first time.
            if row.is_some_and(|row| row.compare_exchange(0, now, Relaxed, Relaxed).is_ok()) {
                times.count_arrived.fetch_add(1, Relaxed);
            }
        }
    }
    Ok(())
}

/// The id in `lat:RRRRRRRR:IIIIIIII`, when it is of this run.
fn marker(bytes: &[u8], run: u32) -> Option<usize> {
    let text = std::str::from_utf8(bytes.get(PREFIX.len()..PREFIX.len() + 17)?).ok()?;
    let (found, id) = text.split_once(':')?;
    (u32::from_str_radix(found, 16).ok()? == run).then(|| usize::from_str_radix(id, 16).ok())?
}

fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[allow(clippy::cast_precision_loss)] // for display
fn report(times: &Times, rate: u64, wrote: Duration, warm_up: usize) -> anyhow::Result<()> {
    let histogram = LogLinear::new();
    let mut missing = 0_u64;
    for (committed, arrived) in times.committed.iter().zip(&times.arrived).skip(warm_up) {
        match (committed.load(Relaxed), arrived.load(Relaxed)) {
            (_, 0) => missing += 1,
            (committed, arrived) => histogram.record(arrived.saturating_sub(committed) / 1000),
        }
    }
    if missing > 0 {
        bail!("{missing} of {} rows did not arrive within {} s", times.committed.len() - warm_up, DRAIN.as_secs());
    }
    let ms = |q: f64| histogram.quantile(q) as f64 / 1000.0;
    println!(
        "rate={rate} reached={:.0} rows={} p50_ms={:.2} p99_ms={:.2} p99.9_ms={:.2} max_ms={:.2}",
        times.committed.len() as f64 / wrote.as_secs_f64(),
        histogram.count(),
        ms(0.5),
        ms(0.99),
        ms(0.999),
        histogram.max() as f64 / 1000.0,
    );
    eprintln!("from COMMIT's return to the consumer: an upper bound of the time to the acknowledgement");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_of_this_run_only() {
        assert_eq!(marker(b"lat:0000abcd:00000010\",\"k\":1", 0xABCD), Some(16));
        assert_eq!(marker(b"lat:0000abcd:00000010", 0xABCE), None);
        assert_eq!(marker(b"lat:0000abcd:0000001", 0xABCD), None);
        assert_eq!(marker(b"lat:0000abcd 00000010", 0xABCD), None);
        assert_eq!(marker(b"lat:\xff\xff\xff\xff\xff\xff\xff\xff:00000010", 0xABCD), None);
    }
}
