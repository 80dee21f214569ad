//! Flags and help texts; each command's work is in `wave`.
#![allow(rustdoc::broken_intra_doc_links, reason = "help texts, whose brackets are no links")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand};
use wave::check::CheckOptions;
use wave::config::{Config, Feed, Reference, SourceConfig, SourceKeys};
use wave::exit::{CommandResult, Exit, say};
use wave::read::ReadOptions;
use wave::tail::TailOptions;

const NEWCOMER: &str = "\
Start here:
  binlake tail  --source mysql://user@host:3306/     see a server's changes
  binlake check --source mysql://user@host:3306/     is the server fit for it?
  binlake up    --source mysql://user@host:3306/     keep them in topics, go on after a restart";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 internal, 2 usage, 3 not found, 4 denied, 5 conflict, 6 unavailable, 7 checks or data failed.
`binlake COMMAND --help` lists the options of a command.";

#[derive(Parser, Debug)]
#[command(
    name = "binlake",
    version,
    about = "Reads the binary log of MySQL and MariaDB servers once, serves it to many."
)]
#[command(before_help = NEWCOMER, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log on stderr: error, warn, info, debug, trace, or per module.
    #[arg(
        long,
        global = true,
        env = "BINLAKE_LOG",
        value_name = "LEVEL",
        hide_env_values = true,
        help_heading = "Logging"
    )]
    log: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Stream one source, or binary log files, to stdout; keeps no state
    Tail(TailArgs),
    /// Is a server fit to be read? Every finding with the SQL to fix it
    Check(CheckArgs),
    /// Publish sources to topics, local or Kafka; goes on where it was after a restart
    Up(UpArgs),
    /// Print the rows of a topic, local or Kafka, each once
    Read(ReadArgs),
    /// Check a configuration file of `up`, or print every key with its default
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Every mistake of a file with its line; nothing is started or connected
    Check {
        /// The configuration file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the commented reference: all keys, their meaning, range and default
    Defaults,
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
    /// Tables: globs or /regex/ on the whole database.table, `!` excludes; default all but the server's own
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
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// End with one line on stderr: rows, transactions, bytes, seconds, rows/s, MB/s
    #[arg(long)]
    stats: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  binlake check --source mysql://repl@db1/ --tables 'shop.*'
  binlake check --source mysql://repl@db1/ --from binlog.000042:4 --json

Exit code 0: nothing fatal; 7: something is; 4 and 6: the server could not be looked at.")]
struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Tables that will be read: globs or /regex/ on the whole database.table, `!` excludes; default all but the server's own
    #[arg(long, value_name = "PATTERNS", default_value = "", hide_default_value = true)]
    tables: String,
    /// Is this start still there? earliest, gtid:SET, FILE:POS or time:RFC3339
    #[arg(long, value_name = "POSITION")]
    from: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  binlake up --source mysql://repl@db1/
  binlake up --source mysql://repl@db1/ --tables 'shop.*' --to kafka://broker:9092 --topic shop --format binlake
  binlake up --config binlake.toml

--source takes the place of the sources of a configuration file; --tables, --topic and the like belong to it.")]
struct UpArgs {
    /// A server to read: mysql://user[:password]@host[:3306]/[?ssl-mode=…] (may be repeated)
    #[arg(long = "source", value_name = "URL", required_unless_present = "config")]
    sources: Vec<String>,
    /// Configuration file: several feeds per source, limits, retention (see `binlake config defaults`)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File with the password; otherwise from the URL, BINLAKE_PASSWORD, or a prompt
    #[arg(long, value_name = "PATH", requires = "sources")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    rule: RuleArgs,
    /// local, or kafka://host:port[,host:port…][?librdkafka.property=value&…] [default: local]
    #[arg(long, value_name = "TARGET")]
    to: Option<String>,
    /// Topic; several sources may share one [default: the source's host and port]
    #[arg(long, value_name = "NAME", requires = "sources")]
    topic: Option<String>,
    /// Partitions of a topic that has to be created [default: local 1, Kafka 6]
    #[arg(long, value_name = "COUNT", requires = "sources")]
    partitions: Option<u32>,
    /// maxwell-json or binlake [default: maxwell-json]
    #[arg(long, value_name = "FORMAT", requires = "sources")]
    format: Option<String>,
    /// Only for a source without a checkpoint: now, earliest, gtid:SET, FILE:POS or time:RFC3339 [default: now]
    #[arg(long, value_name = "POSITION", requires = "sources")]
    from: Option<String>,
    /// Folder of checkpoints, local topics and spills; one process at a time [default: binlake-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Status page, health and metrics; loopback only [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  binlake read --topic db1-3306
  binlake read --from kafka://broker:9092 --topic shop --offset latest")]
struct ReadArgs {
    /// Where the topic is: local, or kafka://host:port[,host:port…][?librdkafka.property=value&…]
    #[arg(long, value_name = "TARGET", default_value = "local")]
    from: String,
    /// Folder of local topics, as given to `binlake up`
    #[arg(long, value_name = "DIR", default_value = "binlake-data")]
    data_dir: PathBuf,
    /// The topic, as `binlake up` printed it at its start
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// earliest, latest, or an offset (in every partition)
    #[arg(long, value_name = "OFFSET", default_value = "earliest")]
    offset: String,
    /// End after this many rows
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// End once nothing more has come for two seconds, instead of waiting for more
    #[arg(long)]
    until_end: bool,
    /// Print all messages, also those delivered twice
    #[arg(long)]
    raw: bool,
    /// text or json, for topics of format binlake [default: text on a terminal, else json]
    #[arg(long, value_name = "FORM")]
    output: Option<String>,
}

/// Parses the command line and runs the command.
///
/// # Errors
/// With message and exit code.
pub(crate) fn run(arguments: &[OsString]) -> CommandResult {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) if !e.use_stderr() => {
            let _ = e.print();
            return Ok(());
        }
        Err(e) => {
            let text = e.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            let arguments: Vec<String> = arguments.iter().map(|a| a.to_string_lossy().into_owned()).collect();
            return Err(Exit::usage(wave::secrets::hide(text, &arguments)));
        }
    };
    let filter = cli.log.as_deref().unwrap_or(match cli.command {
        // What a person must see is printed by the command itself.
        Command::Tail(_) | Command::Read(_) | Command::Check(_) | Command::Config(_) => "error",
        Command::Up(_) => "info,actix_server=warn",
    });
    telemetry::init_logging(filter).map_err(|e| Exit::usage(format!("--log: {e}")))?;
    let stop = stop_flag()?;
    match cli.command {
        Command::Tail(args) => wave::tail::run(&tail_options(args), &stop),
        Command::Check(args) => wave::check::run(&check_options(args)),
        Command::Up(args) => {
            let config = up_config(args)?;
            // Two of an idle source's three and a half megabytes are the unused rest of huge pages; without them
            // encoding costs up to 4 % more. A kernel that does not know the call has no huge pages to give up.
            let _ = rustix::thread::disable_transparent_huge_pages(true);
            wave::up::run(&config, &stop)
        }
        Command::Read(args) => wave::read::run(&read_options(args), &stop),
        Command::Config(ConfigCommand::Check { file }) => {
            wave::plan::check(&Config::load(Some(&file), std::env::vars())?)?;
            say(&format!("{}: no mistake found\n", file.display()));
            Ok(())
        }
        Command::Config(ConfigCommand::Defaults) => {
            say(&Config::reference());
            Ok(())
        }
    }
}

fn tail_options(args: TailArgs) -> TailOptions {
    TailOptions {
        source: args.source.source,
        password: args.source.password_file.map(Reference::File),
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

fn check_options(args: CheckArgs) -> CheckOptions {
    CheckOptions {
        source: args.source.source,
        password: args.source.password_file.map(Reference::File),
        tables: args.tables,
        from: args.from,
        json: args.json,
    }
}

/// Flags above the environment and the file.
fn up_config(args: UpArgs) -> CommandResult<Config> {
    let mut config = Config::load(args.config.as_deref(), std::env::vars())?;
    if args.sources.is_empty()
        && (args.rule.events.is_some() || !args.rule.tables.is_empty() || !args.rule.columns.is_empty())
    {
        return Err(Exit::usage("--tables, --events and --columns belong to --source; in a file, to [[source.feed]]"));
    }
    if let Some(to) = args.to {
        config.up.to = to;
        config.places.overruled("up", "to");
    }
    if let Some(folder) = args.data_dir {
        config.up.data_dir = folder;
        config.places.overruled("up", "data_dir");
    }
    if let Some(address) = args.listen {
        config.up.listen = address;
        config.places.overruled("up", "listen");
    }
    if !args.sources.is_empty() {
        let plain = Feed::default();
        let feed = Feed {
            topic: args.topic,
            partitions: args.partitions,
            tables: args.rule.tables,
            events: args.rule.events.unwrap_or(plain.events),
            columns: args.rule.columns,
            format: args.format.unwrap_or(plain.format),
        };
        let source = |url| SourceConfig {
            keys: SourceKeys {
                url,
                password: args.password_file.clone().map(Reference::File),
                from: args.from.clone().unwrap_or(SourceKeys::default().from),
                ..SourceKeys::default()
            },
            feeds: vec![feed.clone()],
        };
        config.sources = args.sources.into_iter().map(source).collect();
        config.places.sources_overruled();
    }
    Ok(config)
}

fn read_options(args: ReadArgs) -> ReadOptions {
    ReadOptions {
        from: args.from,
        data_dir: args.data_dir,
        topic: args.topic,
        offset: args.offset,
        limit: args.limit,
        until_end: args.until_end,
        raw: args.raw,
        output: args.output,
    }
}

/// Set by the first SIGINT or SIGTERM: drain. The second one ends the process at once.
fn stop_flag() -> CommandResult<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    wave::signals::on_stop(&flag).map_err(|e| Exit::new(1, format!("signals cannot be handled: {e}")))?;
    Ok(flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn helps_say_what_every_option_is() {
        let mut cli = Cli::command();
        cli.build();
        let first = cli.render_help().to_string();
        assert!(first.starts_with("Start here:\n  binlake tail"), "{first}");
        assert!(first.contains("Exit codes:") && first.lines().count() <= 40, "{first}");
        for command in cli.get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for option in command.get_arguments() {
                let positional = option.is_positional();
                assert!(positional || option.get_help().is_some(), "{} {}", command.get_name(), option.get_id());
            }
        }
    }
}
