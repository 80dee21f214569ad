//! A program under test, above all `binlake`: its output is captured while it runs, it can be killed at any moment.
//!
//! Output goes to memory (for assertions while it runs) and to the files `stdout` and `stderr` in the process's folder.
//! The program has a process group of its own, which dies with the fixture; on a panic the end of its standard error
//! is printed, so that the test's report says what the program said.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::guard::Guard;
use crate::wait_until;

/// A spawned program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    stdout: Capture,
    stderr: Capture,
    guard: Option<Guard>,
    dir: tempfile::TempDir,
}

/// One output stream: the bytes so far, and the thread that reads them.
#[derive(Debug)]
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Capture {
    fn new(mut stream: impl Read + Send + 'static, path: &Path) -> Result<Capture> {
        let mut file = File::create(path)?;
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let memory = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                let _ = file.write_all(&buffer[..n]);
                memory.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]);
            }
        });
        Ok(Capture { bytes, reader })
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// The `binlake` program: `BINLAKE_BIN`, else the one in the build folder of the running test.
pub fn binlake_bin() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BINLAKE_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?; // <target folder>/<profile>/deps/<test>
    let bin = test.parent().and_then(Path::parent).context("the test is not in a build folder")?.join("binlake");
    ensure!(bin.exists(), "{} is missing: run `cargo build -p binlake` or set BINLAKE_BIN", bin.display());
    Ok(bin)
}

impl Process {
    /// Runs `binlake` with `args`.
    pub fn binlake<S: AsRef<OsStr>>(args: &[S]) -> Result<Process> {
        let mut command = Command::new(binlake_bin()?);
        command.args(args);
        Process::spawn(command)
    }

    /// Runs `command`, with no standard input and its output captured.
    pub fn spawn(mut command: Command) -> Result<Process> {
        let dir = tempfile::Builder::new().prefix("binlake-process-").tempdir()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let pid = child.id().to_string();
        let guard = Guard::arm(
            r#"kill -s KILL -- "-$1"; rm -rf "$2""#,
            &[pid.as_str(), dir.path().to_string_lossy().as_ref()],
        )?;
        let stdout = Capture::new(child.stdout.take().context("no stdout")?, &dir.path().join("stdout"))?;
        let stderr = Capture::new(child.stderr.take().context("no stderr")?, &dir.path().join("stderr"))?;
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Process { child, name, stdout, stderr, guard: Some(guard), dir })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder with the files `stdout` and `stderr`; removed on drop.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Standard output so far, as text.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Standard output so far, as bytes.
    pub fn stdout_bytes(&self) -> Vec<u8> {
        self.stdout.bytes()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits till `condition` holds of standard output; else an error with the end of both streams.
    pub fn wait_stdout(&mut self, timeout: Duration, mut condition: impl FnMut(&str) -> bool) -> Result<()> {
        let held = wait_until(timeout, || condition(&self.stdout()));
        ensure!(held, "{} did not print it in {timeout:?}\n{}", self.name, self.tail());
        Ok(())
    }

    /// Waits till `condition` holds of standard error; else an error with the end of both streams.
    pub fn wait_stderr(&mut self, timeout: Duration, mut condition: impl FnMut(&str) -> bool) -> Result<()> {
        let held = wait_until(timeout, || condition(&self.stderr()));
        ensure!(held, "{} did not report it in {timeout:?}\n{}", self.name, self.tail());
        Ok(())
    }

    fn tail(&self) -> String {
        let end = |text: String| {
            text.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!("--- stdout\n{}\n--- stderr\n{}", end(self.stdout()), end(self.stderr()))
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        self.wait(Duration::from_secs(10))
    }

    /// Sends SIGTERM; [`Process::wait`] waits for the end.
    pub fn term(&self) -> Result<()> {
        self.signal("TERM")
    }

    /// Sends a signal by its name, such as `INT`, `STOP` or `CONT`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let sent =
            Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &self.pid().to_string()]).status()?;
        ensure!(sent.success(), "cannot send {name} to {} ({})", self.name, self.pid());
        Ok(())
    }

    /// True if the program has not ended.
    pub fn is_running(&mut self) -> bool {
        let running = matches!(self.child.try_wait(), Ok(None));
        if !running && let Some(guard) = self.guard.take() {
            guard.disarm(); // from now on the pid may become someone else's
        }
        running
    }

    /// Waits for the end and for the last of the output; an error with the end of both streams when `timeout` is over.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if !wait_until(timeout, || !self.is_running()) {
            bail!("{} still runs after {timeout:?}\n{}", self.name, self.tail());
        }
        // A grandchild may hold the streams open; it shall not hold up the test.
        wait_until(Duration::from_secs(1), || self.stdout.reader.is_finished() && self.stderr.reader.is_finished());
        Ok(self.child.wait()?)
    }

    /// Like [`Process::wait`]; also the most memory that was resident at once, in KiB, looked at every millisecond.
    pub fn wait_measured(&mut self, timeout: Duration) -> Result<(ExitStatus, u64)> {
        let (end, mut peak) = (Instant::now() + timeout, 0);
        while self.is_running() && Instant::now() < end {
            // The last reading, not the largest: the first may still be that of the test, before the program is executed.
            peak = self.peak_kib().unwrap_or(peak);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok((self.wait(Duration::ZERO)?, peak))
    }

    /// The most memory that was resident at once up to now, in KiB.
    pub fn peak_kib(&self) -> Result<u64> {
        let peak = self.proc_status("VmHWM")?;
        Ok(peak.trim_end_matches(" kB").parse()?)
    }

    /// A line of `/proc/PID/status` without its name, such as `VmHWM` (peak memory, `12345 kB`) or `Threads`.
    pub fn proc_status(&self, field: &str) -> Result<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(line.with_context(|| format!("no {field} in the status of {}", self.name))?.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} ({})\n{}", self.name, self.pid(), self.tail());
        }
        drop(self.guard.take()); // kills it, unless it has ended
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    const SOON: Duration = Duration::from_secs(10);

    fn sh(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn(command).unwrap()
    }

    fn exists(pid: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        state.contains("State:") && !state.contains("State:\tZ")
    }

    #[test]
    fn output_is_seen_while_the_program_runs_and_kept_in_files() {
        let mut process = sh("echo one; echo two >&2; sleep 60");
        process.wait_stdout(SOON, |out| out == "one\n").unwrap();
        process.wait_stderr(SOON, |err| err == "two\n").unwrap();
        assert!(process.is_running());
        assert_eq!(std::fs::read_to_string(process.dir().join("stdout")).unwrap(), "one\n");
        assert_eq!(process.proc_status("Threads").unwrap(), "1");
        let error = process.wait(Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("still runs") && error.contains("two"), "{error}");
    }

    #[test]
    fn signals_and_exit_codes() {
        let mut trapped = sh("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done");
        trapped.wait_stdout(SOON, |out| out == "up\n").unwrap();
        trapped.term().unwrap();
        assert_eq!(trapped.wait(SOON).unwrap().code(), Some(7));
        assert_eq!(trapped.stdout(), "up\nbye\n");
        assert_eq!(sh("sleep 60").kill9().unwrap().signal(), Some(9));
    }

    #[test]
    fn drop_kills_the_program_and_its_children_and_removes_the_folder() {
        let mut process = sh("sleep 1000 & echo $!; wait");
        process.wait_stdout(SOON, |out| out.ends_with('\n')).unwrap();
        let (pid, grandchild, dir) = (process.pid().to_string(), process.stdout(), process.dir().to_owned());
        assert!(exists(&pid) && exists(grandchild.trim()) && dir.exists());
        drop(process);
        assert!(wait_until(SOON, || !exists(&pid) && !exists(grandchild.trim())));
        assert!(!dir.exists());
    }
}
