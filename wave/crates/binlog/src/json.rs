//! MySQL's binary JSON (JSONB): values, their exact text, and partial updates.
//!
//! The format is the one documented in the server's `json_binary.h` (MySQL worklog 8132); the text is that of
//! `SELECT json_column` on MySQL 9.7. A document is read in place. Offsets inside it come from outside, so: a value lies
//! behind its container's header and within its container (no loops), nesting ends at 100 as on the server, and the
//! values and text visited may not exceed the document's size (overlapping values cannot multiply). MariaDB's JSON is
//! text and never comes here.

mod binary;
mod diff;
mod path;
mod text;
mod tree;

pub use binary::{Opaque, Visitor, walk};
pub use diff::{Diff, Operation, apply_diff, diffs, walk_diff, walk_patched, write_diff};
pub use text::write_text;
