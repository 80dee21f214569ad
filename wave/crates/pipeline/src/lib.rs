//! The instance machine: from log events to records, with no clock, thread or socket.
#![forbid(unsafe_code)]

pub mod format;
