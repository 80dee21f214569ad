//! Many seeded histories with faults; see the crate. `SIM_HISTORIES` of them from `SIM_SEED` on; a failing seed is
//! played alone with `SIM_SEED=… SIM_HISTORIES=1`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use binlake_sim::{Bug, Stats, run};

const THREADS: usize = 2;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn promises_hold_in_every_history() {
    let (first, count) = (setting("SIM_SEED", 1_000), setting("SIM_HISTORIES", 1_000));
    let (next, total, failures) = (AtomicU64::new(0), Mutex::new(Stats::default()), Mutex::new(Vec::new()));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count || failures.lock().unwrap().len() >= 3 {
                        return;
                    }
                    match run(first + n, None) {
                        Ok(stats) => *total.lock().unwrap() += stats,
                        Err(e) => failures.lock().unwrap().push(e),
                    }
                }
            });
        }
    });
    let (total, seconds) = (total.into_inner().unwrap(), started.elapsed().as_secs_f64());
    println!("{count} histories from seed {first}: {:.0} a second", count as f64 / seconds);
    for (name, n) in total.named() {
        println!("{n:>10} {name}");
    }
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if count >= 500 {
        let never: Vec<_> = total.named().into_iter().filter(|(_, n)| *n == 0).map(|(name, _)| name).collect();
        assert!(never.is_empty(), "these never happened, so nothing is proven about them: {never:?}");
    }
}

#[test]
fn planted_bugs_are_found() {
    let first = setting("SIM_SEED", 1_000);
    thread::scope(|scope| {
        for half in 0..THREADS {
            scope.spawn(move || {
                for bug in Bug::ALL.into_iter().skip(half).step_by(THREADS) {
                    let found = (0..200).find_map(|n| run(first + n, Some(bug)).err().map(|e| (n, e)));
                    let (n, e) = found.unwrap_or_else(|| panic!("{bug:?} was not found in 200 histories"));
                    println!("{bug:?}: history {n}: {}", e.lines().next().unwrap_or_default());
                }
            });
        }
    });
}
