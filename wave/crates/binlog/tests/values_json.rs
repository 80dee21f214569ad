//! Binary JSON: partial updates as a real MySQL 9.7 logged them, and documents made to do harm.
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

use std::borrow::Cow;

use binlake_binlog::json::{Opaque, Operation, Visitor, apply_diff, diffs, walk, write_diff, write_text};
use binlake_binlog::{Error, Result};
use proptest::prelude::*;

/// Document before, operations, text after; recorded by `data/record_diffs.py`.
const DIFFS: &str = include_str!("data/json-diffs.tsv");

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap())
        .collect()
}

fn recorded() -> impl Iterator<Item = [Vec<u8>; 3]> {
    DIFFS.lines().map(|line| <[Vec<u8>; 3]>::try_from(line.split('\t').map(unhex).collect::<Vec<_>>()).unwrap())
}

fn text(document: &[u8]) -> Result<String> {
    let mut out = b"kept ".to_vec();
    let written = write_text(document, &mut out);
    let out = String::from_utf8(out).unwrap();
    if written.is_err() {
        assert_eq!(out, "kept ", "a failed document leaves nothing behind");
    }
    written.map(|()| out["kept ".len()..].to_owned())
}

#[test]
fn partial_updates_give_the_text_of_select() {
    let mut seen = Vec::new();
    for [before, diff, after] in recorded() {
        let mut out = Vec::new();
        apply_diff(&before, &diff, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(after).unwrap());
        seen.extend(diffs(&diff).map(|diff| diff.unwrap().operation));
    }
    for operation in [Operation::Replace, Operation::Insert, Operation::Remove] {
        assert!(seen.contains(&operation), "{operation:?}");
    }
}

#[test]
fn operations_are_readable_without_a_before_image() {
    let find = |path: &str| recorded().find(|[_, diff, _]| diffs(diff).any(|d| d.unwrap().path == path)).unwrap();
    let mut out = Vec::new();
    write_diff(&find("$.n")[1], &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), r#"[{"op": "replace", "path": "$.n", "value": "2024-02-29"}]"#);
    for [_, diff, _] in recorded() {
        let mut out = Vec::new();
        write_diff(&diff, &mut out).unwrap();
        serde_json::from_slice::<serde_json::Value>(&out).unwrap();
    }
}

#[test]
fn an_operation_that_does_not_fit_is_an_error() {
    // A number, which has neither members nor other elements than itself.
    let scalar = [0x05, 1, 0];
    for (operation, path) in
        [(0u8, "$.a"), (1, "$.a"), (2, "$.a"), (2, "$"), (1, "$"), (0, "$[1]"), (1, "$[0]"), (2, "$[0]")]
    {
        let mut diff = vec![operation, path.len() as u8];
        diff.extend_from_slice(path.as_bytes());
        if operation != 2 {
            diff.extend_from_slice(&[2, 0x04, 0]);
        }
        let mut out = Vec::new();
        let error = apply_diff(&scalar, &diff, &mut out).unwrap_err();
        assert!(
            error.to_string().contains("does not fit the document before the update"),
            "{operation} {path}: {error}"
        );
        assert!(out.is_empty());
    }
    assert!(matches!(apply_diff(&scalar, &[3, 1, b'$'], &mut Vec::new()), Err(Error::Unsupported { code: 3, .. })));
}

#[test]
fn cut_diffs_are_errors() {
    for [before, diff, _] in recorded() {
        let whole: Vec<usize> = std::iter::successors(Some(0), |end| {
            let one = diffs(&diff[*end..]).next()?.unwrap();
            let value = if one.operation == Operation::Remove {
                0
            } else {
                one.value.len() + if one.value.len() < 251 { 1 } else { 3 }
            };
            Some(end + 2 + one.path.len() + value)
        })
        .collect();
        for length in (0..diff.len()).filter(|length| !whole.contains(length)) {
            assert!(apply_diff(&before, &diff[..length], &mut Vec::new()).is_err(), "{length} of {}", diff.len());
        }
    }
}

#[test]
fn no_bytes_are_null() {
    assert_eq!(text(b"").unwrap(), "null");
}

/// `levels` arrays in one another; the innermost is empty.
fn nested(levels: usize) -> Vec<u8> {
    let mut document = vec![0x03, 0, 0, 0, 0, 8, 0, 0, 0];
    for _ in 1..levels {
        let (kind, inner) = document.split_first().unwrap();
        let size = (8 + 5 + inner.len()) as u32;
        let mut outer = vec![0x03, 1, 0, 0, 0];
        outer.extend_from_slice(&size.to_le_bytes());
        outer.extend_from_slice(&[*kind, 13, 0, 0, 0]);
        outer.extend_from_slice(inner);
        document = outer;
    }
    document
}

#[test]
fn nesting_ends_where_the_server_ends_it() {
    assert_eq!(text(&nested(100)).unwrap(), "[".repeat(100) + &"]".repeat(100));
    assert!(matches!(text(&nested(101)), Err(Error::TooLarge { size: 101, limit: 100, .. })));
    assert!(text(&nested(20_000)).is_err());
}

#[test]
fn an_array_that_contains_itself_is_an_error() {
    // One element, an array at offset 0: the outer one again.
    assert!(text(&[0x02, 1, 0, 7, 0, 0x02, 0, 0]).is_err());
}

#[test]
fn values_that_share_bytes_cannot_multiply() {
    // Each array has 40 elements, all the same next array: 40^3 strings out of a few hundred bytes.
    let mut document = vec![0x0c, 1, b'x'];
    for _ in 0..3 {
        let (kind, inner) = document.split_first().unwrap();
        let header = 4 + 40 * 3;
        let mut outer = vec![0x02, 40, 0];
        outer.extend_from_slice(&((header + inner.len()) as u16).to_le_bytes());
        for _ in 0..40 {
            outer.push(*kind);
            outer.extend_from_slice(&(header as u16).to_le_bytes());
        }
        outer.extend_from_slice(inner);
        document = outer;
    }
    assert!(text(&document).unwrap_err().to_string().contains("overlap"));
}

#[test]
fn lengths_beyond_the_document_take_no_memory() {
    for document in [
        &[0x03, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        &[0x01, 0xff, 0xff, 0xff, 0x7f, 9, 0, 0, 0, 0],
        &[0x0c, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x0c, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x0f, 15, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x0f, 246, 2, 200, 0],
        &[0x04, 3],
        &[0x0d],
    ] {
        assert!(text(document).is_err(), "{document:02x?}");
    }
}

#[test]
fn keys_in_the_wrong_order_take_no_long_time() {
    const KEYS: u32 = 200_000;
    // A large object: offset and length per key, type and value per member (all null), the keys.
    let head = 8 + KEYS * (6 + 5);
    let mut document = vec![0x01];
    document.extend([KEYS, head + KEYS * 6].iter().flat_map(|n| n.to_le_bytes()));
    for n in 0..KEYS {
        document.extend((head + n * 6).to_le_bytes());
        document.extend(6u16.to_le_bytes());
    }
    document.extend((0..KEYS).flat_map(|_| [0x04, 0, 0, 0, 0]));
    document.extend((0..KEYS).rev().flat_map(|n| format!("{n:06}").into_bytes()));
    let began = std::time::Instant::now();
    let mut out = Vec::new();
    apply_diff(&document, &[2, 8, b'$', b'.', b'0', b'0', b'0', b'0', b'0', b'7'], &mut out).unwrap();
    assert!(out.starts_with(br#"{"000000": null, "000001": null"#) && !out.windows(8).any(|w| w == br#""000007""#));
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

/// Counts what it sees; proves that a visitor gets typed values, not text.
#[derive(Default)]
struct Kinds(Vec<&'static str>);

impl<'a> Visitor<'a> for Kinds {
    fn null(&mut self) -> Result<()> {
        self.0.push("null");
        Ok(())
    }
    fn boolean(&mut self, _: bool) -> Result<()> {
        self.0.push("boolean");
        Ok(())
    }
    fn int(&mut self, _: i64) -> Result<()> {
        self.0.push("int");
        Ok(())
    }
    fn uint(&mut self, _: u64) -> Result<()> {
        self.0.push("uint");
        Ok(())
    }
    fn double(&mut self, _: f64) -> Result<()> {
        self.0.push("double");
        Ok(())
    }
    fn string(&mut self, _: Cow<'a, str>) -> Result<()> {
        self.0.push("string");
        Ok(())
    }
    fn opaque(&mut self, value: Opaque<'a>) -> Result<()> {
        self.0.push(match value {
            Opaque::Decimal(_) => "decimal",
            Opaque::Date(_) => "date",
            Opaque::Time(_) => "time",
            Opaque::DateTime(_) => "datetime",
            Opaque::Other { sql_type: 16, .. } => "bit",
            Opaque::Other { .. } => "other",
        });
        Ok(())
    }
    fn begin_array(&mut self, len: usize) -> Result<()> {
        assert!(len <= 100);
        self.0.push("array");
        Ok(())
    }
    fn end_array(&mut self) -> Result<()> {
        Ok(())
    }
    fn begin_object(&mut self, _: usize) -> Result<()> {
        self.0.push("object");
        Ok(())
    }
    fn key(&mut self, _: Cow<'a, str>) -> Result<()> {
        Ok(())
    }
    fn end_object(&mut self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_visitor_gets_every_kind_of_value() {
    let mut kinds = Kinds::default();
    for line in include_str!("data/values-mysql-9.7.tsv").lines().filter(|line| line.starts_with("json\t")) {
        walk(&unhex(line.split('\t').nth(1).unwrap())[4..], &mut kinds).unwrap();
    }
    for kind in [
        "null", "boolean", "int", "uint", "double", "string", "decimal", "date", "time", "datetime", "bit", "other",
        "array", "object",
    ] {
        assert!(kinds.0.contains(&kind), "{kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A real document with some bytes changed: text or an error, always in bounds.
    #[test]
    fn damaged_documents_never_panic(which in 0usize..64, damage in proptest::collection::vec((0usize..4096, 0u8..), 1..6)) {
        let documents: Vec<&str> = include_str!("data/values-mysql-9.7.tsv").lines()
            .filter(|line| line.starts_with("json\t") && line.len() < 20_000).collect();
        let mut document = unhex(documents[which % documents.len()].split('\t').nth(1).unwrap()).split_off(4);
        for (at, byte) in damage {
            let at = at % document.len();
            document[at] = byte;
        }
        if let Ok(text) = text(&document) {
            // Six characters for a control character; a number or an opaque value has a bounded length.
            prop_assert!(text.len() <= document.len() * 400);
        }
    }

    #[test]
    fn damaged_diffs_never_panic(which in 0usize..25, damage in proptest::collection::vec((0usize..4096, 0u8..), 1..4)) {
        let [before, mut diff, _] = recorded().nth(which).unwrap();
        for (at, byte) in damage {
            let at = at % diff.len();
            diff[at] = byte;
        }
        let mut out = Vec::new();
        if apply_diff(&before, &diff, &mut out).is_err() {
            prop_assert!(out.is_empty());
        }
        let _ = write_diff(&diff, &mut out);
    }
}
