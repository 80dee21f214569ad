//! GTIDs and sets of them, for MySQL (`uuid[:tag]:interval…`) and MariaDB (`domain-server-sequence`).
//! (contract; see the methods wanted in the tests)

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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MySqlGtidSet {}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MariaDbGtidPos {}
