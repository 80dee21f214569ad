//! The data plane: runs instances, and the commands that people run them with.
//!
//! [`runner`] is the thread around one instance machine; [`remote`] and [`files`] feed it, [`coordinator`] and
//! [`questions`] answer it, [`status`] shows it. [`tail`], [`check`], [`up`] and [`read`] are the commands.

pub mod admin;
pub mod check;
pub mod config;
pub mod coordinator;
pub mod definitions;
pub mod exit;
pub mod files;
mod hidden_columns;
mod log_end;
mod outstanding;
pub mod plan;
pub mod position;
pub mod questions;
pub mod read;
pub mod remote;
pub mod runner;
pub mod secrets;
pub mod signals;
pub mod source;
pub mod spills;
pub mod sql;
pub mod status;
pub mod tail;
pub mod target;
pub mod up;
