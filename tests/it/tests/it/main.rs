//! `binlake` on real servers, from outside: the program is run as a person or a unit would run it.
//!
//! Every scenario counts every row against the server's own SELECT. `restart` breaks things under load, `data` holds
//! what transactions may hold, `replay` keeps a copy of a server by the messages alone, `tail` the options of the command people reach for first, `bad` what goes wrong and the
//! message and exit code of it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod access;
mod bad;
mod bombs;
mod data;
mod disk;
mod files;
mod gtid_mode;
mod hostile;
mod huge;
mod old_logs;
mod replay;
mod reset;
mod restart;
mod schema;
mod schema_mariadb;
mod status;
mod support;
mod tail;
mod xa;
