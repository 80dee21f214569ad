//! SIGINT and SIGTERM: the first asks for a drain, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit code of a process that was told twice: 128 + SIGINT, as shells report it.
const TOLD_TWICE: i32 = 130;

/// Sets `stop` at the first signal.
///
/// # Errors
/// The handlers cannot be installed.
pub fn on_stop(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the second signal finds the flag set by the first.
        flag::register_conditional_shutdown(signal, TOLD_TWICE, Arc::clone(stop))?;
        flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}
