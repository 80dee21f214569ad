//! MySQL's binary JSON.
