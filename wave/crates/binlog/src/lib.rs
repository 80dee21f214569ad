//! Decoder of MySQL and MariaDB binary logs, without I/O.
//!
//! Bytes come in, borrowed values go out: this crate opens no file or socket, reads no clock and starts no thread. The
//! way of one row: [`event`] splits and parses events, [`table_map`] reads a TABLE_MAP, [`schema`] compiles it once into
//! a [`schema::Table`], [`rows`] walks the row images of a rows event and gives [`cell::Cell`]s that borrow the event,
//! [`render`] prints a cell as exact text.
//!
//! `examples/rows.rs` is that way in a few lines.
//!
//! Invariants: no byte sequence from outside panics or takes memory beyond its bound; a type or event that is not
//! understood is a named [`Error`], never a wrong value.
#![forbid(unsafe_code)]

pub mod cell;
pub mod charset;
pub mod checksum;
pub mod decimal;
pub mod error;
pub mod event;
pub mod gtid;
pub mod json;
pub mod mariadb;
pub mod payload;
pub mod position;
pub mod query;
mod read;
pub mod render;
pub mod rows;
pub mod schema;
pub mod table_map;
pub mod temporal;

pub use cell::Cell;
pub use error::{Error, Result};
