//! The instance machine: from log events to records, with no clock, thread or socket.
//!
//! One event's way: [`instance::Instance`] takes batches; `reading` turns events into transactions
//! (`assembly`), routes tables to feeds (`route`); `publishing` decodes, encodes ([`mod@format`]), partitions (`partition`)
//! and counts what it hands on in the [`ledger`]; `progress` is the settled prefix, [`checkpoint`] its stored form.
//! [`lifecycle`] is the table of states.
#![forbid(unsafe_code)]

mod assembly;
mod backoff;
pub mod checkpoint;
pub mod feed;
pub mod format;
pub mod instance;
pub mod io;
pub mod ledger;
pub mod lifecycle;
mod partition;
mod progress;
mod publishing;
mod reading;
mod route;
pub mod rule;
pub mod spill;
pub mod table_name;

pub use instance::{Instance, InstanceConfig, Limits};
