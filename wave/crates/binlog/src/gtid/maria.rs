//! MariaDB's position: the last GTID of every replication domain (manual: "Global Transaction ID").

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::MAX_INTERVALS;
use crate::error::{Error, Result};

/// What a [`MariaDbGtidPos`] holds of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MariaGtidValue {
    pub server: u32,
    pub sequence: u64,
}

/// Domain → last transaction. Within a domain, sequences grow: everything up to it is executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MariaDbGtidPos {
    domains: BTreeMap<u32, MariaGtidValue>,
}

impl MariaDbGtidPos {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Sets the last transaction of `domain`, also to a lower sequence: the log's order counts.
    pub fn update(&mut self, domain: u32, server: u32, sequence: u64) {
        self.domains.insert(domain, MariaGtidValue { server, sequence });
    }

    /// The last transaction of `domain`; None when it has none.
    #[must_use]
    pub fn get(&self, domain: u32) -> Option<MariaGtidValue> {
        self.domains.get(&domain).copied()
    }

    /// Whether a transaction of this sequence is at or before the position of its domain.
    #[must_use]
    pub fn contains(&self, domain: u32, sequence: u64) -> bool {
        self.get(domain).is_some_and(|last| sequence <= last.sequence)
    }

    /// Whether every domain of `other` is at or before its position here.
    #[must_use]
    pub fn contains_set(&self, other: &Self) -> bool {
        other.iter().all(|(domain, last)| self.contains(domain, last.sequence))
    }

    /// Domains in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, MariaGtidValue)> + '_ {
        self.domains.iter().map(|(domain, value)| (*domain, *value))
    }
}

impl fmt::Display for MariaDbGtidPos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (domain, last)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{}-{}", last.server, last.sequence)?;
        }
        Ok(())
    }
}

impl FromStr for MariaDbGtidPos {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut pos = Self::default();
        if text.trim().is_empty() {
            return Ok(pos);
        }
        for item in text.split(',').map(str::trim) {
            let (domain, server, sequence) = parse_one(item).ok_or_else(|| Error::Malformed {
                what: "GTID set",
                detail: format!("`{item}` is not domain-server-sequence"),
            })?;
            if pos.get(domain).is_some() {
                return Err(Error::Malformed { what: "GTID set", detail: format!("domain {domain} stands twice") });
            }
            if pos.domains.len() == MAX_INTERVALS {
                return Err(super::binary::too_many());
            }
            pos.update(domain, server, sequence);
        }
        Ok(pos)
    }
}

fn parse_one(item: &str) -> Option<(u32, u32, u64)> {
    let mut parts = item.split('-');
    let one = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_updates() {
        let mut pos: MariaDbGtidPos = " 1-2-7, 0-1-5".parse().unwrap();
        assert_eq!(pos.to_string(), "0-1-5,1-2-7");
        pos.update(0, 3, 6);
        assert_eq!(pos.to_string(), "0-3-6,1-2-7");
        assert!(pos.contains(0, 6) && !pos.contains(0, 7) && !pos.contains(2, 1));
        assert!(pos.contains_set(&"1-9-7".parse().unwrap()));
        assert!(!pos.contains_set(&"1-9-8".parse().unwrap()));
    }

    #[test]
    fn bad_text() {
        for text in ["0-1", "0-1-2-3", "x-1-2", "0-1-5,0-2-6", "0-1-5,", "-1-1-1"] {
            assert!(text.parse::<MariaDbGtidPos>().is_err(), "{text}");
        }
    }
}
