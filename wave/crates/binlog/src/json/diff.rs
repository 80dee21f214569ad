//! Partial updates: what `binlog_row_value_options=PARTIAL_JSON` logs in place of the new document (MySQL worklog 2955).
//!
//! A value is a sequence of operations: one byte of operation, the path with its length, and, unless the operation
//! removes, a document with its length. The lengths are the protocol's length-encoded integers. Applying them to the
//! before image gives the new document as the server then prints it; what the server would reject is an error here too.

use super::binary::{Visitor, walk};
use super::path::{Cell, Leg, parse};
use super::text::TextWriter;
use super::tree::Node;
use crate::error::{Error, Result};

const WHAT: &str = "JSON diff";

/// What one step of a partial update does at its path (server source: `json_diff.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The path exists and gets a new value.
    Replace,
    /// The path's parent exists: an object without this key, or an array, where later elements move up.
    Insert,
    /// The path exists.
    Remove,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Insert => "insert",
            Self::Remove => "remove",
        }
    }
}

/// One operation of a partial update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diff<'a> {
    pub operation: Operation,
    /// As in SQL: `$.a[0]."b c"`.
    pub path: &'a str,
    /// A binary document; empty for `Remove`.
    pub value: &'a [u8],
}

/// The operations in the order in which they apply; ends after the first error.
pub fn diffs(bytes: &[u8]) -> impl Iterator<Item = Result<Diff<'_>>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = read(rest);
        rest = next.as_ref().map_or(&[][..], |(_, tail)| tail);
        Some(next.map(|(diff, _)| diff))
    })
}

fn malformed(detail: impl Into<String>) -> Error {
    Error::Malformed { what: WHAT, detail: detail.into() }
}

fn read(bytes: &[u8]) -> Result<(Diff<'_>, &[u8])> {
    let (&code, rest) = bytes.split_first().ok_or(Error::Truncated { what: WHAT, need: 1, have: 0 })?;
    let operation = match code {
        0 => Operation::Replace,
        1 => Operation::Insert,
        2 => Operation::Remove,
        other => return Err(Error::Unsupported { what: "JSON diff operation", code: u64::from(other) }),
    };
    let (path, rest) = counted(rest)?;
    let path = std::str::from_utf8(path).map_err(|_| malformed("a path is not UTF-8"))?;
    let (value, rest) = if operation == Operation::Remove { (&[][..], rest) } else { counted(rest)? };
    Ok((Diff { operation, path, value }, rest))
}

/// Bytes behind their length-encoded length, and the rest.
fn counted(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let truncated = |need: usize, have: usize| Error::Truncated { what: WHAT, need, have };
    let (&first, rest) = bytes.split_first().ok_or_else(|| truncated(1, 0))?;
    let width = match first {
        0..=0xfa => 0,
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return Err(malformed(format!("length byte {first}"))),
    };
    let (number, rest) = rest.split_at_checked(width).ok_or_else(|| truncated(width, rest.len()))?;
    let length = if width == 0 {
        u64::from(first)
    } else {
        number.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte))
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    rest.split_at_checked(length).ok_or_else(|| truncated(length, rest.len()))
}

/// Appends the text of the document that `diff` makes of the document `before`, see [`walk_patched`].
///
/// # Errors
/// As there; `out` is as before.
pub fn apply_diff(before: &[u8], diff: &[u8], out: &mut Vec<u8>) -> Result<()> {
    walk_patched(before, diff, &mut TextWriter::new(out))
}

/// Visits the document that `diff` makes of the document `before`. Takes memory of up to about 15 times the size of both.
///
/// # Errors
/// Broken input, or an operation that does not fit the document: it is not the before image of this diff then. The visitor
/// has seen nothing.
pub fn walk_patched<'a>(before: &'a [u8], diff: &'a [u8], visitor: &mut impl Visitor<'a>) -> Result<()> {
    let mut root = Node::read(before)?;
    for diff in diffs(diff) {
        apply(&mut root, diff?)?;
    }
    root.visit(visitor)
}

fn apply<'a>(root: &mut Node<'a>, diff: Diff<'a>) -> Result<()> {
    let legs = parse(diff.path)?;
    let does_not_fit = || malformed(format!("{:?} does not fit the document before the update", diff.operation));
    let value = if diff.operation == Operation::Remove { Node::Null } else { Node::read(diff.value)? };
    if diff.operation == Operation::Replace {
        *seek(root, &legs).ok_or_else(does_not_fit)? = value;
        return Ok(());
    }
    let (last, parents) = legs.split_last().ok_or_else(does_not_fit)?;
    let parent = seek(root, parents).ok_or_else(does_not_fit)?;
    let done = match (parent, last, diff.operation) {
        (Node::Object(object), Leg::Member(key), Operation::Insert) => object.insert(key.clone(), value),
        (Node::Object(object), Leg::Member(key), _) => object.remove(key.clone()),
        (Node::Array(values), Leg::Cell(cell), Operation::Insert) => {
            values.insert(cell.clamped(values.len()), value);
            true
        }
        (Node::Array(values), Leg::Cell(cell), _) => match cell.index(values.len()) {
            Some(at) => {
                values.remove(at);
                true
            }
            None => false,
        },
        _ => false,
    };
    if done { Ok(()) } else { Err(does_not_fit()) }
}

fn seek<'n, 'a>(root: &'n mut Node<'a>, legs: &[Leg<'a>]) -> Option<&'n mut Node<'a>> {
    legs.iter().try_fold(root, |node, leg| match (node, leg) {
        (Node::Object(object), Leg::Member(key)) => object.get_mut(key.clone()),
        (Node::Array(values), Leg::Cell(cell)) => {
            let at = cell.index(values.len())?;
            values.get_mut(at)
        }
        // The only element of what is no array is the value itself.
        (node, Leg::Cell(Cell { from_end: _, number: 0 })) => Some(node),
        _ => None,
    })
}

/// Appends the operations themselves, for when there is no before image to apply them to:
/// `[{"op": "replace", "path": "$.a", "value": 1}, {"op": "remove", "path": "$.b"}]`.
///
/// # Errors
/// Broken input; `out` is as before then.
pub fn write_diff(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let written = walk_diff(bytes, &mut TextWriter::new(out));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Visits the operations themselves, as the document that [`write_diff`] shows.
///
/// # Errors
/// Broken input, or the visitor's own.
pub fn walk_diff<'a>(bytes: &'a [u8], visitor: &mut impl Visitor<'a>) -> Result<()> {
    visitor.begin_array(diffs(bytes).count())?;
    for diff in diffs(bytes) {
        let diff = diff?;
        let removes = diff.operation == Operation::Remove;
        visitor.begin_object(if removes { 2 } else { 3 })?;
        visitor.key("op".into())?;
        visitor.string(diff.operation.name().into())?;
        visitor.key("path".into())?;
        visitor.string(diff.path.into())?;
        if !removes {
            visitor.key("value".into())?;
            walk(diff.value, visitor)?;
        }
        visitor.end_object()?;
    }
    visitor.end_array()
}
