//! GTIDs and sets of them, for MySQL (`uuid[:tag]:interval…`) and MariaDB (`domain-server-sequence`) (manual:
//! "GTID Format and Storage"; MariaDB knowledge base: "Global Transaction ID").
//!
//! Text (`Display`, `FromStr`) is the stored form and equal to what the servers print. Intervals are kept sorted,
//! disjoint and not adjacent, so equal sets are equal values.

mod binary;
mod maria;
mod mysql;

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

pub(crate) use binary::read_tag;
pub use maria::{MariaDbGtidPos, MariaGtidValue};
pub use mysql::{Interval, MySqlGtidSet, Uuid, format_uuid};

/// Bound on the intervals (or domains) of one parsed set: real sets have a few; this many take 16 MB.
pub const MAX_INTERVALS: usize = 1 << 20;

/// A set of executed transactions of either server family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GtidSet {
    MySql(MySqlGtidSet),
    MariaDb(MariaDbGtidPos),
}

impl Default for GtidSet {
    fn default() -> Self {
        GtidSet::MySql(MySqlGtidSet::default())
    }
}

impl GtidSet {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MySql(set) => set.is_empty(),
            Self::MariaDb(pos) => pos.is_empty(),
        }
    }

    /// Whether everything in `other` is in `self`; an empty set is in every set, of either family.
    #[must_use]
    pub fn contains_set(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MySql(a), Self::MySql(b)) => a.contains_set(b),
            (Self::MariaDb(a), Self::MariaDb(b)) => a.contains_set(b),
            (_, other) => other.is_empty(),
        }
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(pos) => pos.fmt(f),
        }
    }
}

/// MySQL's form has colons, MariaDB's has none; the empty text is MySQL's empty set.
impl FromStr for GtidSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.contains(':') || text.trim().is_empty() {
            return text.parse().map(Self::MySql);
        }
        text.parse().map(Self::MariaDb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_shows_in_the_text() {
        assert!(matches!("0-1-5,1-2-7".parse(), Ok(GtidSet::MariaDb(_))));
        assert!(matches!("".parse(), Ok(GtidSet::MySql(_))));
        let mysql: GtidSet = "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5".parse().unwrap();
        assert_eq!(mysql.to_string(), "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5");
        let error = "hello".parse::<GtidSet>().unwrap_err().to_string();
        assert_eq!(error, "GTID set: `hello` is not domain-server-sequence");
    }

    #[test]
    fn sets_of_two_families_do_not_contain_each_other() {
        let maria: GtidSet = "0-1-5".parse().unwrap();
        assert!(maria.contains_set(&GtidSet::default()));
        assert!(!GtidSet::default().contains_set(&maria));
    }
}
