//! Cleaning up, whatever happens to the test.
//!
//! A guard is a `sh` process that waits for the end of its standard input, then runs its cleaning script. The test
//! holds the other end of that pipe and nobody else does (it is close-on-exec), so the input ends when the test drops
//! the guard and also when the test process dies of any cause, SIGKILL included. Because both ways are one way, it is
//! exercised by every test. The guard has a process group of its own: Ctrl-C or `timeout` on the tests spares it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
}

impl Guard {
    /// Arms a guard that will run `script` (for `sh`), whose `$1`, `$2`, … are `args`.
    pub(crate) fn arm(script: &str, args: &[&str]) -> io::Result<Guard> {
        let shell = Command::new("sh")
            .args(["-c", &format!("read -r _; {script}"), "guard"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        Ok(Guard { shell })
    }

    /// Ends the guard without cleaning: there is nothing left to clean.
    pub(crate) fn disarm(mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // `wait` closes the pipe first, which starts the cleaning; after `disarm` it returns at once.
        let _ = self.shell.wait();
    }
}
