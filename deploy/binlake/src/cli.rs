//! Flags and help texts; each command's work is in `wave`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand};
use wave::exit::{CommandResult, Exit};
use wave::tail::TailOptions;

const NEWCOMER: &str = "\
Start here:
  binlake tail  --source mysql://user@host:3306/     see a server's changes
  binlake check --source mysql://user@host:3306/     is the server fit for it?
  binlake up    --source mysql://user@host:3306/     keep them in topics, go on after a restart";

#[derive(Parser, Debug)]
#[command(name = "binlake", version, about = "Reads the binary log of MySQL and MariaDB servers once, serves it to many.")]
#[command(before_help = NEWCOMER, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log on stderr: error, warn, info, debug, trace, or per module.
    #[arg(long, global = true, env = "BINLAKE_LOG", value_name = "LEVEL", hide_env_values = true)]
    log: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Stream one source, or binary log files, to stdout; keeps no state
    Tail(TailArgs),
}

#[derive(Args, Debug)]
struct SourceArgs {
    /// The server: mysql://user[:password]@host[:3306]/[?ssl-mode=…&ssl-ca=…&ssl-cert=…&ssl-key=…]
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// File with the password; otherwise from the URL, BINLAKE_PASSWORD, or a prompt
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct RuleArgs {
    /// Tables: globs or /regex/ on database.table, `!` excludes; default all but the server's own
    #[arg(long, value_name = "PATTERNS", default_value = "", hide_default_value = true)]
    tables: String,
    /// Kinds of events: insert, update, delete, ddl [default: insert,update,delete]
    #[arg(long, value_name = "KINDS")]
    events: Option<String>,
    /// Keep only these columns of a table, as in shop.orders:id,total (may be repeated)
    #[arg(long, value_name = "TABLE:COLUMNS")]
    columns: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  binlake tail --source mysql://repl@db1/ --tables 'shop.*,!shop.audit_*'
  binlake tail --source mysql://repl@db1/ --from earliest --until now --format maxwell-json > changes.json
  binlake tail --file /var/lib/mysql/binlog.000042 --events update,delete")]
struct TailArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Read a binary log file instead of a server (may be repeated; read in this order)
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    rule: RuleArgs,
    /// text, maxwell-json, binlake or none (decode all, print nothing) [default: text on a terminal, else maxwell-json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// now, earliest, gtid:SET, FILE:POS or time:RFC3339 [default: now]
    #[arg(long, value_name = "POSITION")]
    from: Option<String>,
    /// now (the end of the log as it is at the start), gtid:SET, FILE:POS or time:RFC3339
    #[arg(long, value_name = "POSITION")]
    until: Option<String>,
    /// End after this many rows
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// End with one line on stderr: rows, transactions, bytes, seconds, rows/s, MB/s
    #[arg(long)]
    stats: bool,
}

/// Parses the command line and runs the command.
///
/// # Errors
/// With message and exit code.
pub(crate) fn run() -> CommandResult {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if !e.use_stderr() => {
            let _ = e.print();
            return Ok(());
        }
        Err(e) => {
            let text = e.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            return Err(Exit::usage(text.to_string()));
        }
    };
    let filter = cli.log.as_deref().unwrap_or(match cli.command {
        // What a person must see is printed by the command itself.
        Command::Tail(_) => "error",
    });
    telemetry::init_logging(telemetry::Format::Auto, Some(filter)).map_err(|e| Exit::usage(format!("--log: {e}")))?;
    let stop = stop_flag()?;
    match cli.command {
        Command::Tail(args) => wave::tail::run(&tail_options(args), &stop),
    }
}

fn tail_options(args: TailArgs) -> TailOptions {
    TailOptions {
        source: args.source.source,
        password_file: args.source.password_file,
        files: args.files,
        tables: args.rule.tables,
        events: args.rule.events,
        columns: args.rule.columns,
        format: args.format,
        from: args.from,
        until: args.until,
        limit: args.limit,
        stats: args.stats,
    }
}

/// Set by the first SIGINT or SIGTERM: drain. The second one ends the process at once.
fn stop_flag() -> CommandResult<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    wave::signals::on_stop(&flag).map_err(|e| Exit::new(1, format!("signals cannot be handled: {e}")))?;
    Ok(flag)
}
