//! The client side of the MySQL and MariaDB protocol for a reader of binary logs, without any socket, clock or thread:
//! bytes go in, bytes come out.
//!
//! - [`Session`] is the state machine: greeting, TLS, login, statements, registration, dump.
//! - [`EventBatch`] carries whole binlog events in one buffer; ordinary events are never copied on the way.
//! - [`Session::replicate`] walks through everything from login to the stream of events.
//! - [`WireError`] says what happened, of what [`ErrorKind`] it is, and what to do about it.
//! - [`url`] parses `mysql://…` addresses.
//!
//! Invariants: no byte from the network is trusted (every length is bounded before memory is taken, nothing panics); no
//! password appears in an error or in `Debug`; LOCAL INFILE is never offered and a request for it ends the session.
#![forbid(unsafe_code)]

mod auth;
mod command;
mod error;
mod handshake;
pub mod options;
mod packets;
mod reader;
mod rsa;
mod session;
mod setup;
mod states;
mod tls;
pub mod url;

pub use command::{DumpRequest, DumpStart, QueryResult, Value};
pub use error::{ErrorKind, ServerError, TlsProblem, WireError};
pub use handshake::Flavor;
pub use options::{ConnectOptions, Limits, Secret, SslMode, TlsOptions};
pub use packets::EventBatch;
pub use session::{Progress, Session};
pub use setup::{ReplicaRequest, ServerInfo, StartPosition};
