//! Runs the scripts of `deploy/servers`: one script, the folder of one server, its environment.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::guard::Guard;

/// A server's folder and the script that rules it. Dropping it kills the server and removes the folder.
#[derive(Debug)]
pub(crate) struct Server {
    script: PathBuf,
    env: Vec<(&'static str, String)>,
    dir: PathBuf,
    _guard: Guard,
}

impl Server {
    /// Makes the folder and its guard; starts nothing yet. `name` is the script's without `.sh`.
    pub(crate) fn new(name: &str, env: Vec<(&'static str, String)>) -> Result<Server> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/servers").join(format!("{name}.sh"));
        let script = script.canonicalize().with_context(|| script.display().to_string())?;
        let dir = tempfile::Builder::new().prefix(&format!("binlake-{name}-")).tempdir()?.keep();
        let (script_arg, dir_arg) = (script.to_string_lossy(), dir.to_string_lossy());
        // `kill` waits for a start that is under way, so that it cannot miss the server.
        let guard = Guard::arm(r#""$1" kill "$2"; rm -rf "$2""#, &[script_arg.as_ref(), dir_arg.as_ref()])?;
        Ok(Server { script, env, dir, _guard: guard })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The script with `verb`, the server's folder and `args`, not yet run.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, verb: &str, args: &[S]) -> Command {
        let mut command = self.bare(verb);
        command.arg(&self.dir).args(args);
        command
    }

    /// The script with `verb` alone, for `run`.
    pub(crate) fn bare(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.script);
        command.arg(verb).envs(self.env.iter().map(|(key, value)| (key, value))).stdin(Stdio::null());
        command
    }

    /// Runs `verb` on the server's folder.
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(&self, verb: &str, args: &[S]) -> Result<Vec<u8>> {
        output(self.command(verb, args))
    }
}

/// Runs `command` to its end: its standard output, or an error with its standard error.
pub(crate) fn output(mut command: Command) -> Result<Vec<u8>> {
    let run = command.output().with_context(|| format!("{command:?}"))?;
    checked(&command, run)
}

/// Like [`output`], with `input` as standard input.
pub(crate) fn output_with_input(mut command: Command, input: &[u8]) -> Result<Vec<u8>> {
    let mut file: File = tempfile::tempfile()?;
    file.write_all(input)?;
    std::io::Seek::rewind(&mut file)?;
    command.stdin(file);
    output(command)
}

fn checked(command: &Command, run: Output) -> Result<Vec<u8>> {
    let stderr = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "{}: {}: {}", command.get_program().display(), run.status, stderr.trim());
    Ok(run.stdout)
}
