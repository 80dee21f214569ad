//! Paths of partial updates (MySQL worklog 2955; manual: "JSON Path Syntax"): `$`, then `.name`, `."quoted name"`,
//! `[3]`, `[last]`, `[last-2]`. No wildcards: the server has resolved them.

use std::borrow::Cow;

use super::binary::MAX_DEPTH;
use crate::error::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leg<'a> {
    Member(Cow<'a, str>),
    Cell(Cell),
}

/// An array index, counted from the start or from the end (0 is the last element).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) from_end: bool,
    pub(super) number: usize,
}

impl Cell {
    /// In an array of `len` elements; None outside of it.
    pub(super) fn index(self, len: usize) -> Option<usize> {
        let at = if self.from_end { len.checked_sub(1)?.checked_sub(self.number)? } else { self.number };
        (at < len).then_some(at)
    }

    /// The same; what is outside becomes the start or the end.
    pub(super) fn clamped(self, len: usize) -> usize {
        if self.from_end { len.saturating_sub(1).saturating_sub(self.number) } else { self.number.min(len) }
    }
}

fn malformed(detail: &str) -> Error {
    Error::Malformed { what: "JSON path", detail: detail.into() }
}

pub(super) fn parse(path: &str) -> Result<Vec<Leg<'_>>> {
    let mut rest = path.strip_prefix('$').ok_or_else(|| malformed("it does not start with $"))?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if legs.len() == MAX_DEPTH {
            return Err(malformed("it is deeper than a document can be"));
        }
        let (leg, tail) = if let Some(quoted) = rest.strip_prefix(".\"") {
            quoted_member(quoted)?
        } else if let Some(name) = rest.strip_prefix('.') {
            let (name, tail) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
            (Leg::Member(Cow::Borrowed(name)), tail)
        } else if let Some(cell) = rest.strip_prefix('[') {
            let (cell, tail) = cell.split_once(']').ok_or_else(|| malformed("an index does not end"))?;
            (Leg::Cell(index(cell)?), tail)
        } else {
            return Err(malformed("neither a member nor an index"));
        };
        legs.push(leg);
        rest = tail;
    }
    Ok(legs)
}

fn index(text: &str) -> Result<Cell> {
    let number = |digits: &str| digits.trim().parse().map_err(|_| malformed("an index is no number"));
    match text.trim().strip_prefix("last") {
        None => Ok(Cell { from_end: false, number: number(text)? }),
        Some("") => Ok(Cell { from_end: true, number: 0 }),
        Some(behind) => {
            let digits = behind.trim_start().strip_prefix('-').ok_or_else(|| malformed("an index is no number"))?;
            Ok(Cell { from_end: true, number: number(digits)? })
        }
    }
}

/// A JSON string whose opening quote is consumed already.
fn quoted_member(text: &str) -> Result<(Leg<'_>, &str)> {
    let unended = || malformed("a quoted name does not end");
    let end = text.find(['"', '\\']).ok_or_else(unended)?;
    let (plain, tail) = text.split_at(end);
    if let Some(tail) = tail.strip_prefix('"') {
        return Ok((Leg::Member(Cow::Borrowed(plain)), tail));
    }
    let mut name = plain.to_owned();
    let mut characters = tail.chars();
    loop {
        match characters.next().ok_or_else(unended)? {
            '"' => return Ok((Leg::Member(Cow::Owned(name)), characters.as_str())),
            '\\' => name.push(escaped(&mut characters)?),
            other => name.push(other),
        }
    }
}

fn escaped(characters: &mut std::str::Chars<'_>) -> Result<char> {
    let bad = || malformed("an escape in a quoted name is wrong");
    Ok(match characters.next().ok_or_else(bad)? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        // The server writes control characters this way, never surrogates.
        'u' => {
            let mut code = 0;
            for _ in 0..4 {
                code = code << 4 | characters.next().and_then(|c| c.to_digit(16)).ok_or_else(bad)?;
            }
            char::from_u32(code).ok_or_else(bad)?
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Leg<'_> {
        Leg::Member(Cow::Borrowed(name))
    }

    #[test]
    fn legs_of_every_kind() {
        assert_eq!(parse("$").unwrap(), []);
        let cell = |from_end, number| Leg::Cell(Cell { from_end, number });
        assert_eq!(
            parse(r#"$.a."b c"[3]."q\"\\\u001f\n"[last][last-2].é"#).unwrap(),
            [
                member("a"),
                member("b c"),
                cell(false, 3),
                member("q\"\\\u{1f}\n"),
                cell(true, 0),
                cell(true, 2),
                member("é")
            ]
        );
        for broken in ["", "a", "$a", "$[", "$[x]", "$[last+1]", "$.\"a", "$.\"\\u12", "$.\"\\ud800\""] {
            assert!(parse(broken).is_err(), "{broken}");
        }
        assert!(parse(&format!("${}", ".a".repeat(100))).is_ok());
        assert!(parse(&format!("${}", ".a".repeat(101))).is_err());
    }

    #[test]
    fn indexes_outside_of_the_array() {
        let last = |number| Cell { from_end: true, number };
        let first = |number| Cell { from_end: false, number };
        assert_eq!(
            [last(0).index(3), last(2).index(3), last(3).index(3), last(0).index(0)],
            [Some(2), Some(0), None, None]
        );
        assert_eq!([first(2).index(3), first(3).index(3)], [Some(2), None]);
        assert_eq!([first(9).clamped(3), last(9).clamped(3), last(0).clamped(0)], [3, 0, 0]);
    }
}
