//! MySQL's GTID sets (manual: "GTID Sets", "GTID Format and Storage"; tags since 8.3).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::MAX_INTERVALS;
use super::binary::too_many;
use crate::error::{Error, Result};

/// A server's UUID as its 16 bytes.
pub type Uuid = [u8; 16];

/// A tag is a letter or underscore and up to 31 more of these or digits.
const MAX_TAG: usize = 32;
/// The server's largest transaction number.
const MAX_GNO: u64 = i64::MAX as u64 - 1;

/// Transaction numbers `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    pub first: u64,
    pub last: u64,
}

/// Per UUID and tag (empty: none) the sorted, disjoint, not adjacent intervals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MySqlGtidSet {
    sources: BTreeMap<Uuid, Tags>,
}

/// The intervals of one UUID, of which there are some. Those without a tag, nearly always all, are found without
/// comparing text: glibc's `memcmp` of two empty ones costs a hundred cycles where it uses masked loads (Rust's pointers to
/// nothing are no addresses).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tags {
    untagged: Vec<Interval>,
    /// No empty lists.
    tagged: BTreeMap<Box<str>, Vec<Interval>>,
}

impl Tags {
    /// Tag and intervals in the order of tags.
    fn iter(&self) -> impl Iterator<Item = (&str, &[Interval])> + '_ {
        let untagged = (!self.untagged.is_empty()).then_some(("", self.untagged.as_slice()));
        untagged.into_iter().chain(self.tagged.iter().map(|(tag, list)| (&**tag, list.as_slice())))
    }

    fn get(&self, tag: &str) -> &[Interval] {
        if tag.is_empty() { &self.untagged } else { self.tagged.get(tag).map_or(&[], Vec::as_slice) }
    }

    /// Changes the list of a tag, which shall not be empty afterwards.
    fn change(&mut self, tag: &str, change: impl FnOnce(&mut Vec<Interval>)) {
        if tag.is_empty() {
            change(&mut self.untagged);
        } else if let Some(list) = self.tagged.get_mut(tag) {
            change(list);
        } else {
            change(self.tagged.entry(tag.into()).or_default());
        }
    }
}

impl MySqlGtidSet {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// UUID, tag and intervals, in the order of UUID, then tag.
    pub fn iter(&self) -> impl Iterator<Item = (&Uuid, &str, &[Interval])> + '_ {
        self.sources.iter().flat_map(|(uuid, tags)| tags.iter().map(move |(tag, list)| (uuid, tag, list)))
    }

    pub(super) fn interval_count(&self) -> usize {
        self.iter().map(|(_, _, list)| list.len()).sum()
    }

    /// Adds one transaction. The usual case, the number after the last, costs two look-ups and no memory.
    pub fn add(&mut self, uuid: Uuid, tag: &str, gno: u64) {
        let interval = Interval { first: gno, last: gno };
        self.sources.entry(uuid).or_default().change(tag, |list| insert(list, interval));
    }

    /// Appends without order; [`MySqlGtidSet::settle`] has to follow. Keeps bulk input linear, whatever its order.
    pub(super) fn push_unordered(&mut self, uuid: Uuid, tag: &str, interval: Interval) {
        self.sources.entry(uuid).or_default().change(tag, |list| list.push(interval));
    }

    pub(super) fn settle(&mut self) {
        for tags in self.sources.values_mut() {
            normalize(&mut tags.untagged);
            tags.tagged.values_mut().for_each(normalize);
        }
    }

    fn intervals(&self, uuid: &Uuid, tag: &str) -> &[Interval] {
        self.sources.get(uuid).map_or(&[], |tags| tags.get(tag))
    }

    /// Whether this transaction is in the set; `tag` is empty for none.
    #[must_use]
    pub fn contains(&self, uuid: &Uuid, tag: &str, gno: u64) -> bool {
        covers(self.intervals(uuid, tag), Interval { first: gno, last: gno })
    }

    /// Whether every transaction of `other` is in `self`.
    #[must_use]
    pub fn contains_set(&self, other: &Self) -> bool {
        other.iter().all(|(uuid, tag, list)| {
            let mine = self.intervals(uuid, tag);
            list.iter().all(|interval| covers(mine, *interval))
        })
    }

    /// Adds all transactions of `other`.
    pub fn union(&mut self, other: &Self) {
        for (uuid, tag, list) in other.iter() {
            self.sources.entry(*uuid).or_default().change(tag, |mine| {
                if list.len() < 8 {
                    for interval in list {
                        insert(mine, *interval);
                    }
                } else {
                    mine.extend_from_slice(list);
                    normalize(mine);
                }
            });
        }
    }

    /// Removes all transactions of `other`.
    pub fn subtract(&mut self, other: &Self) {
        self.sources.retain(|uuid, tags| {
            tags.untagged = difference(&tags.untagged, other.intervals(uuid, ""));
            tags.tagged.retain(|tag, list| {
                *list = difference(list, other.intervals(uuid, tag));
                !list.is_empty()
            });
            !(tags.untagged.is_empty() && tags.tagged.is_empty())
        });
    }
}

/// Adds one interval to a normalized list.
fn insert(list: &mut Vec<Interval>, new: Interval) {
    if let Some(last) = list.last_mut().filter(|last| new.first > last.last) {
        if new.first == last.last + 1 {
            last.last = new.last;
        } else {
            list.push(new);
        }
        return;
    }
    // Those from `from` up to `to` touch the new one.
    let from = list.partition_point(|i| i.last.saturating_add(1) < new.first);
    let to = list.partition_point(|i| i.first <= new.last.saturating_add(1));
    let touched = list.get(from..to).unwrap_or_default();
    let merged = Interval {
        first: touched.first().map_or(new.first, |i| i.first.min(new.first)),
        last: touched.last().map_or(new.last, |i| i.last.max(new.last)),
    };
    list.splice(from..to.max(from), [merged]);
}

/// What of one normalized list is not in another.
fn difference(mine: &[Interval], theirs: &[Interval]) -> Vec<Interval> {
    let mut out = Vec::new();
    let mut theirs = theirs.iter().peekable();
    for interval in mine {
        let mut first = interval.first;
        while theirs.next_if(|cut| cut.last < first).is_some() {}
        while let Some(cut) = theirs.peek().filter(|cut| cut.first <= interval.last) {
            if cut.first > first {
                out.push(Interval { first, last: cut.first - 1 });
            }
            if cut.last >= interval.last {
                first = interval.last.saturating_add(1);
                break;
            }
            first = cut.last + 1;
            theirs.next();
        }
        if first <= interval.last {
            out.push(Interval { first, last: interval.last });
        }
    }
    out
}

fn normalize(list: &mut Vec<Interval>) {
    list.sort_unstable();
    list.dedup_by(|next, kept| {
        let touches = next.first <= kept.last.saturating_add(1);
        if touches {
            kept.last = kept.last.max(next.last);
        }
        touches
    });
}

fn covers(list: &[Interval], wanted: Interval) -> bool {
    let at = list.partition_point(|i| i.last < wanted.first);
    list.get(at).is_some_and(|i| i.first <= wanted.first && wanted.last <= i.last)
}

/// The usual text form, lower case.
#[must_use]
pub fn format_uuid(uuid: &Uuid) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    out
}

/// 32 hexadecimal digits with or without the four hyphens, of either case.
fn parse_uuid(text: &str) -> Option<Uuid> {
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let bytes = text.as_bytes();
    let hyphens = bytes.len() == 36;
    if !hyphens && bytes.len() != 32 {
        return None;
    }
    let (mut uuid, mut at) = ([0; 16], 0);
    for (i, byte) in uuid.iter_mut().enumerate() {
        if hyphens && matches!(i, 4 | 6 | 8 | 10) {
            if bytes.get(at) != Some(&b'-') {
                return None;
            }
            at += 1;
        }
        for _ in 0..2 {
            let digit = char::from(*bytes.get(at)?).to_digit(16)?;
            *byte = *byte << 4 | digit as u8;
            at += 1;
        }
    }
    Some(uuid)
}

/// Whether `tag` may stand in a GTID (in lower case, as the server stores it).
pub(super) fn is_tag(tag: &str) -> bool {
    let valid = |b: u8| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit();
    !tag.is_empty() && tag.len() <= MAX_TAG && tag.bytes().all(valid) && !tag.starts_with(|c: char| c.is_ascii_digit())
}

/// As the server prints `gtid_executed`, but without the newline after commas.
impl fmt::Display for MySqlGtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (uuid, tags)) in self.sources.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "," }, format_uuid(uuid))?;
            for (tag, list) in tags.iter() {
                if !tag.is_empty() {
                    write!(f, ":{tag}")?;
                }
                for Interval { first, last } in list {
                    write!(f, ":{first}")?;
                    if last > first {
                        write!(f, "-{last}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// `uuid[:tag]:interval[:interval…][:tag:interval…][,uuid…]`; whitespace anywhere between the parts, as the server
/// allows it; intervals in any order.
impl FromStr for MySqlGtidSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut set = Self::default();
        let mut count = 0;
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let malformed = |detail: String| Error::Malformed { what: "GTID set", detail };
            let mut parts = item.split(':').map(str::trim);
            let first = parts.next().unwrap_or_default();
            let uuid = parse_uuid(first).ok_or_else(|| malformed(format!("`{first}` is not a server UUID")))?;
            let (mut tag, mut any) = (String::new(), false);
            for part in parts {
                if part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    tag = part.to_ascii_lowercase();
                    if !is_tag(&tag) {
                        return Err(malformed(format!("`{part}` is not a tag")));
                    }
                    any = false;
                    continue;
                }
                let interval = parse_interval(part)
                    .ok_or_else(|| malformed(format!("`{part}` is not a transaction number or interval")))?;
                count += 1;
                if count > MAX_INTERVALS {
                    return Err(too_many());
                }
                set.push_unordered(uuid, &tag, interval);
                any = true;
            }
            if !any {
                return Err(malformed(format!("`{item}` has no transaction number")));
            }
        }
        set.settle();
        Ok(set)
    }
}

fn parse_interval(text: &str) -> Option<Interval> {
    let number = |text: &str| text.trim().parse::<u64>().ok().filter(|n| (1..=MAX_GNO).contains(n));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some(Interval { first, last })
}

#[cfg(test)]
mod tests;
