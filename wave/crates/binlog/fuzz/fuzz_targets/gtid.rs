//! Two sets of GTIDs, as text (with a line end between them) or in binary form (the first behind a length of two bytes):
//! both forms read back to the same set, and the operations on sets keep their laws.
#![no_main]

use binlog::gtid::{GtidSet, MySqlGtidSet};
use binlog_fuzz::counted;
use libfuzzer_sys::fuzz_target;

fn text(bytes: &[u8]) -> Option<MySqlGtidSet> {
    let set: GtidSet = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    let printed = set.to_string();
    assert!(set.is_empty() == printed.is_empty());
    match set {
        GtidSet::MariaDb(pos) => {
            assert_eq!(printed.parse(), Ok(pos.clone()));
            assert!(pos.contains_set(&pos));
            None
        }
        GtidSet::MySql(set) => {
            assert_eq!(printed.parse(), Ok(set.clone()));
            Some(set)
        }
    }
}

fn binary(bytes: &[u8]) -> Option<MySqlGtidSet> {
    let set = MySqlGtidSet::decode(bytes).ok()?;
    assert_eq!(set.to_string().parse(), Ok(set.clone()));
    Some(set)
}

fuzz_target!(|data: &[u8]| {
    let Some((form, rest)) = data.split_first() else { return };
    let (a, b) = if form & 1 == 0 {
        let (a, b) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
        (text(a), text(b))
    } else {
        let (a, b) = counted(rest);
        (binary(a), binary(b))
    };
    for set in a.iter().chain(&b) {
        assert_eq!(MySqlGtidSet::decode(&set.encode()).as_ref(), Ok(set));
    }
    let (Some(a), Some(b)) = (a, b) else { return };
    let (mut union, mut without) = (a.clone(), a.clone());
    union.union(&b);
    without.subtract(&b);
    // What both have.
    let mut common = a.clone();
    common.subtract(&without);
    assert!(union.contains_set(&a) && union.contains_set(&b));
    assert!(a.contains_set(&common) && b.contains_set(&common) && a.contains_set(&without));
    let mut apart = without.clone();
    apart.subtract(&b);
    assert_eq!(apart, without);
    without.union(&common);
    assert_eq!(without, a);
    assert_eq!(a.contains_set(&b), union == a);
});
