use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "de0a0bb8-5a9b-11ef-b5fe-0242ac120002";

fn set(text: &str) -> MySqlGtidSet {
    text.parse().unwrap()
}

#[test]
fn text_is_canonical() {
    let cases = [
        (format!("{A}:1-5:7"), format!("{A}:1-5:7")),
        (format!(" {A}:7:1-3: 4-5 ,\n"), format!("{A}:1-5:7")),
        (format!("{B}:1,{A}:1,{A}:2"), format!("{A}:1-2,{B}:1")),
        (format!("{A}:Tag_1:3-4:2:1-9:other:1"), format!("{A}:other:1:tag_1:1-9")),
        (format!("{A}:1-5:tag:1-2"), format!("{A}:1-5:tag:1-2")),
        ("3E11FA4771CA11E19E33C80AA9429562:1".into(), format!("{A}:1")),
        (String::new(), String::new()),
    ];
    for (text, want) in cases {
        assert_eq!(set(&text).to_string(), want, "{text}");
    }
}

#[test]
fn bad_text() {
    for text in [
        "x:1".to_owned(),
        A.to_owned(),
        format!("{A}:0"),
        format!("{A}:5-1"),
        format!("{A}:1-"),
        format!("{A}:tag"),
        format!("{A}:1:tag"),
        format!("{A}:1tag:1"),
        format!("{A}:{}:1", "t".repeat(33)),
        format!("{A}:9223372036854775807"),
        format!("{A}:99999999999999999999"),
        format!("{A}::1"),
        "é11fa47-71ca-11e1-9e33-c80aa9429562:1".to_owned(),
    ] {
        assert!(text.parse::<MySqlGtidSet>().is_err(), "{text}");
    }
}

#[test]
fn binary_forms() {
    // One UUID, intervals 1..6 and 7..8, as in the manual's layout.
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(parse_uuid(A).unwrap());
    for n in [2u64, 1, 6, 7, 8] {
        bytes.extend(n.to_le_bytes());
    }
    assert_eq!(set(&format!("{A}:1-5:7")).encode(), bytes);
    assert_eq!(MySqlGtidSet::decode(&bytes).unwrap(), set(&format!("{A}:1-5:7")));
    let tagged = set(&format!("{A}:1-5:tag:9,{B}:2"));
    assert_eq!(tagged.encode()[..8], [1, 3, 0, 0, 0, 0, 0, 1]);
    assert_eq!(MySqlGtidSet::decode(&tagged.encode()).unwrap(), tagged);
    for cut in 0..bytes.len() {
        assert!(MySqlGtidSet::decode(&bytes[..cut]).is_err());
    }
}

#[test]
fn a_count_that_lies_takes_no_memory() {
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([7; 16]);
    bytes.extend(u64::MAX.to_le_bytes());
    assert!(matches!(MySqlGtidSet::decode(&bytes), Err(Error::TooLarge { .. })));
    let endless = u64::MAX >> 8;
    assert!(MySqlGtidSet::decode(&endless.to_le_bytes()).is_err());
}

type Model = BTreeSet<(u8, u8, u64)>;

fn of_model(model: &Model) -> MySqlGtidSet {
    let mut set = MySqlGtidSet::default();
    for (uuid, tag, gno) in model {
        set.add([*uuid; 16], ["", "a", "b"][usize::from(*tag)], *gno);
    }
    set
}

fn model() -> impl Strategy<Value = Model> {
    proptest::collection::btree_set((0u8..2, 0u8..3, 1u64..40), 0..80)
}

proptest! {
    #[test]
    fn algebra_is_that_of_sets(a in model(), b in model()) {
        let (sa, sb) = (of_model(&a), of_model(&b));
        let mut union = sa.clone();
        union.union(&sb);
        prop_assert_eq!(&union, &of_model(&(&a | &b)));
        let mut rest = sa.clone();
        rest.subtract(&sb);
        prop_assert_eq!(&rest, &of_model(&(&a - &b)));
        prop_assert_eq!(sa.contains_set(&sb), b.is_subset(&a));
        prop_assert_eq!(sa.is_empty(), a.is_empty());
        for gno in 0..42 {
            prop_assert_eq!(sa.contains(&[0; 16], "a", gno), a.contains(&(0, 1, gno)));
        }
    }

    #[test]
    fn text_and_bytes_come_back(a in model()) {
        let set = of_model(&a);
        prop_assert_eq!(&set.to_string().parse::<MySqlGtidSet>().unwrap(), &set);
        prop_assert_eq!(&MySqlGtidSet::decode(&set.encode()).unwrap(), &set);
    }

    #[test]
    fn insertion_order_does_not_matter(numbers in proptest::collection::vec(1u64..60, 0..60)) {
        let mut shuffled = MySqlGtidSet::default();
        for n in &numbers {
            shuffled.add([1; 16], "", *n);
        }
        let sorted = numbers.iter().map(|n| (1, 0, *n)).collect();
        prop_assert_eq!(shuffled, of_model(&sorted));
    }

    #[test]
    fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = MySqlGtidSet::decode(&bytes);
        let _ = String::from_utf8_lossy(&bytes).parse::<crate::gtid::GtidSet>();
    }
}
