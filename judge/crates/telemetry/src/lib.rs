//! Logging and metrics of every binary.
//!
//! [`logging::init_logging`] sets up log lines on standard error. [`names`] is the one table of metric names;
//! [`Registry`] holds the series and renders them for Prometheus. A handle ([`Counter`], [`Gauge`], [`Histogram`]) is
//! looked up once, when a source or feed starts; using it is one or two relaxed atomic operations and never fails.
//!
//! Label values may be anything (they are escaped on output); label names and metric names come from the table only,
//! and a handle of the wrong kind or with a missing label does not compile.
#![forbid(unsafe_code)]

pub mod histogram;
pub mod logging;
pub mod names;
mod registry;

pub use histogram::LogLinear;
pub use logging::init_logging;
pub use names::SourceMetrics;
pub use registry::{Counter, Def, Gauge, Handle, Histogram, Registry};
