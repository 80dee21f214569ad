//! Load for the demo and the benchmarks, on a MySQL or MariaDB server.
//!
//! `shop` writes a few mixed transactions per second until it is told to stop. `bulk`, `small`, `mixed` and `many` fill a
//! log with known rows: the same arguments give the same rows. `latency` writes at an even rate and reads its own rows
//! back from a topic. `count` counts what a topic holds.
//!
//! Only the databases `shop` and `bench` are touched, and `shop` only when this program made it.
//!
//! Exit codes: 0 done or ended by SIGINT or SIGTERM, 1 the server or the topic failed, 2 wrong arguments.
#![forbid(unsafe_code)]

mod args;
mod latency;
mod random;
mod server;
mod shop;
mod tables;
mod topic;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

use args::Args;

const HELP: &str = "\
binlake-load: writes known rows to a MySQL or MariaDB server

  shop    --source URL [--rate 3] [--seconds S]   a small shop in its own database `shop`; transactions per second
  bulk    --source URL --rows N [--per-transaction 1000]   table bench.bulk, rows as sysbench writes them
  small   --source URL --rows N [--connections 4]   table bench.small, one row per transaction
  mixed   --source URL --rows N [--per-transaction 100]   table bench.mixed, 30 columns of most types
  many    --source URL [--tables 50] [--rows 100]   tables bench.many_0, bench.many_1, … with N rows each
  latency --source URL --rate N --seconds S --consume kafka://HOST:PORT/TOPIC|local:DIR/TOPIC
          table bench.latency, one row per transaction at an even rate; prints the time from COMMIT's return to the
          arrival of the row at a consumer of the topic: an upper bound of the time to its acknowledgement
  count   --consume kafka://HOST:PORT/TOPIC|local:DIR/TOPIC [--quiet-seconds 3]
          records and rows in the topic, once nothing more has come for this time

bulk, small, mixed and many drop their tables first.
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    if matches!(command.as_str(), "" | "help" | "-h" | "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let args = match Args::parse(words) {
        Ok(args) => args,
        Err(error) => return wrong(&error),
    };
    match run(&command, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<args::Wrong>() => wrong(&error),
        Err(error) => {
            eprintln!("binlake-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn wrong(error: &anyhow::Error) -> ExitCode {
    eprintln!("binlake-load: {error}; see binlake-load --help");
    ExitCode::from(2)
}

fn run(command: &str, args: Args) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the program at once.
        signal_hook::flag::register_conditional_default(signal, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .context("signals")?;
    }
    match command {
        "shop" => shop::run(args, &stop),
        "bulk" => tables::bulk(args, &stop),
        "small" => tables::small(args, &stop),
        "mixed" => tables::mixed(args, &stop),
        "many" => tables::many(args, &stop),
        "latency" => latency::run(args, &stop),
        "count" => topic::count(args, &stop),
        other => Err(args::Wrong(format!("no command {other:?}")).into()),
    }
}
