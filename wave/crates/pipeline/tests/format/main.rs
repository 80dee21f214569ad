//! Formats, on the log of a real server and on cells that no such log has.
//!
//! `golden/maxwell.binlog` is the log that MySQL 8.0.12 wrote for `golden/maxwell.sql`; `golden/maxwell*.jsonl` is what
//! Maxwell itself printed while it read that server: `maxwell.jsonl` with its defaults, `maxwell-all-options.jsonl` with
//! `output_binlog_position output_gtid_position output_server_id output_thread_id output_row_query output_primary_keys
//! output_primary_key_columns output_ddl` on and `output_nulls` off. It was Maxwell 1.22.6, the newest in a package
//! registry; what its later sources write differently is said where a test expects it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod log;
mod maxwell;
mod row_batch;
mod tables;
mod text;

pub(crate) const LOG: &[u8] = include_bytes!("../golden/maxwell.binlog");
pub(crate) const LOG_FILE: &str = "binlog.000002";
