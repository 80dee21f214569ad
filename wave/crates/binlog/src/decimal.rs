//! DECIMAL(p,s) in the packed form of NEWDECIMAL columns: exact, never through a float.
//!
//! Nine decimal digits take four bytes, big-endian; the digits left over at the outer end of the integer and fractional
//! parts take 1 to 4 bytes. The topmost bit is inverted (so that bytes sort as numbers do) and a negative number has
//! all its bits inverted. Source: MySQL manual, "DECIMAL Data Type Characteristics", and the format comments of the
//! server's decimal library.

use crate::error::{Error, Result};

/// Bytes that 0 to 9 digits outside a group of nine take.
const PARTIAL_BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// 10 to the number of digits: what a group stays below.
const BEYOND: [u32; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
/// What the servers accept in a column definition: MySQL up to 30 fractional digits, MariaDB from 10.2 on up to 38.
const MAX_PRECISION: u8 = 65;
const MAX_SCALE: u8 = 38;

/// A number as it stands in the row. Equal values of one column have equal bytes, so comparing is comparing bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal<'a> {
    /// Exactly [`Decimal::encoded_len`] bytes when made by [`Decimal::read`].
    pub bytes: &'a [u8],
    /// Digits in all, 1 to 65.
    pub precision: u8,
    /// Of them behind the point, 0 to 38 and not more than `precision`.
    pub scale: u8,
}

impl<'a> Decimal<'a> {
    /// Bytes that a DECIMAL(`precision`,`scale`) takes in a row; a scale above the precision counts as equal to it.
    #[must_use]
    pub fn encoded_len(precision: u8, scale: u8) -> usize {
        let digits = |n: u8| usize::from(n / 9) * 4 + usize::from(PARTIAL_BYTES[usize::from(n % 9)]);
        digits(precision.saturating_sub(scale)) + digits(scale)
    }

    /// Whether a server makes such columns.
    pub(crate) fn is_column_type(precision: u8, scale: u8) -> bool {
        (1..=MAX_PRECISION).contains(&precision) && scale <= MAX_SCALE.min(precision)
    }

    /// Takes the value from the front of `bytes`; more bytes may follow.
    ///
    /// # Errors
    /// Precision or scale beyond what a column can have, too few bytes, or a group that is no decimal number.
    pub fn read(bytes: &'a [u8], precision: u8, scale: u8) -> Result<Self> {
        if !Self::is_column_type(precision, scale) {
            return Err(Error::Malformed {
                what: "DECIMAL",
                detail: format!("({precision},{scale}) is no column type"),
            });
        }
        let need = Self::encoded_len(precision, scale);
        let bytes = bytes.get(..need).ok_or(Error::Truncated { what: "DECIMAL", need, have: bytes.len() })?;
        Self::unpack(bytes, precision, scale).ok_or_else(|| Error::Malformed {
            what: "DECIMAL",
            detail: "a group of digits is too large a number".into(),
        })
    }

    /// The same of exactly its bytes; the type is one that a column can have.
    #[inline(always)]
    pub(crate) fn unpack(bytes: &'a [u8], precision: u8, scale: u8) -> Option<Self> {
        let value = Self { bytes, precision, scale };
        value.is_number().then_some(value)
    }

    /// No group has more digits than it should. Not inlined: it would take registers from what reads the rows.
    #[inline(never)]
    fn is_number(&self) -> bool {
        self.groups().all(|(group, digits)| group < BEYOND[usize::from(digits)])
    }

    fn is_negative(&self) -> bool {
        self.bytes.first().is_some_and(|b| b & 0x80 == 0)
    }

    /// Writes the text that the server prints: `-0.50`, `0`, `12.00`.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.is_negative() {
            out.push(b'-');
        }
        let integer = self.precision.saturating_sub(self.scale);
        let integer_groups = usize::from(integer / 9) + usize::from(!integer.is_multiple_of(9));
        let mut groups = self.groups();
        let mut started = false;
        for (group, digits) in groups.by_ref().take(integer_groups) {
            if started {
                push_padded(group, digits, out);
            } else if group != 0 {
                out.extend_from_slice(itoa::Buffer::new().format(group).as_bytes());
                started = true;
            }
        }
        if !started {
            out.push(b'0');
        }
        if self.scale > 0 {
            out.push(b'.');
            for (group, digits) in groups {
                push_padded(group, digits, out);
            }
        }
    }

    /// The groups from the front: value and number of its digits.
    #[inline(always)]
    fn groups(&self) -> Groups<'a> {
        let integer = self.precision.saturating_sub(self.scale);
        Groups {
            bytes: self.bytes,
            mask: if self.is_negative() { u32::MAX } else { 0 },
            flip: 1 << 31,
            partial_integer: integer % 9,
            full: integer / 9 + self.scale / 9,
            partial_fraction: self.scale % 9,
        }
    }
}

struct Groups<'a> {
    bytes: &'a [u8],
    mask: u32,
    /// The inverted sign bit, in the very first group only.
    flip: u32,
    partial_integer: u8,
    full: u8,
    partial_fraction: u8,
}

impl Iterator for Groups<'_> {
    type Item = (u32, u8);

    #[inline(always)]
    fn next(&mut self) -> Option<(u32, u8)> {
        let digits = if self.partial_integer > 0 {
            std::mem::take(&mut self.partial_integer)
        } else if self.full > 0 {
            self.full -= 1;
            9
        } else if self.partial_fraction > 0 {
            std::mem::take(&mut self.partial_fraction)
        } else {
            return None;
        };
        let (group, rest) = self.bytes.split_at_checked(usize::from(PARTIAL_BYTES[usize::from(digits)]))?;
        self.bytes = rest;
        let (top, unused) = match *group {
            [a] => ([a, 0, 0, 0], 24),
            [a, b] => ([a, b, 0, 0], 16),
            [a, b, c] => ([a, b, c, 0], 8),
            [a, b, c, d] => ([a, b, c, d], 0),
            _ => return None,
        };
        let value = u32::from_be_bytes(top) ^ self.mask ^ std::mem::take(&mut self.flip);
        Some((value >> unused, digits))
    }
}

fn push_padded(value: u32, digits: u8, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value).as_bytes();
    out.extend(std::iter::repeat_n(b'0', usize::from(digits).saturating_sub(text.len())));
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_no_server_makes_are_errors() {
        for (precision, scale) in [(0, 0), (66, 0), (65, 39), (3, 4), (255, 255)] {
            assert!(matches!(Decimal::read(&[0x80; 200], precision, scale), Err(Error::Malformed { .. })));
        }
    }

    #[test]
    fn groups_beyond_their_digits_are_errors() {
        // Nine digits: the greatest, and one more (MySQL: 999999999 is BB9AC9FF with the sign bit turned).
        assert!(Decimal::read(&[0xbb, 0x9a, 0xc9, 0xff], 9, 0).is_ok());
        assert!(Decimal::read(&[0xbb, 0x9a, 0xca, 0x00], 9, 0).is_err());
        assert!(Decimal::read(&[0x8a], 1, 0).is_err());
    }

    #[test]
    fn lengths_of_columns() {
        let columns = [(10, 2), (65, 30), (1, 0), (30, 30), (14, 4), (65, 0), (65, 38), (31, 31)];
        let lengths = columns.map(|(p, s)| Decimal::encoded_len(p, s));
        assert_eq!(lengths, [5, 30, 1, 14, 7, 29, 29, 14]);
    }
}
